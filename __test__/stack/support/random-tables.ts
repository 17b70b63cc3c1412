/** Random PostgreSQL tables: keys and columns of many types, and values for them as SQL. */

import type { Random } from '../../helpers/random.js'

export interface RandomColumn {
  name: string
  type: string
  /** A value as an expression of SQL, `NULL` included. */
  value(): string
}

interface Kind {
  type: string
  /** Beyond the size up to which PostgreSQL keeps a value in the row itself. */
  large?: true
  value(random: Random): string
}

const quoted = (text: string) => `'${text.replaceAll("'", "''")}'`
const TEXTS = ['', ' ', 'a', 'é 🎉', "it's", 'NULL', '\\N', '{a,"b"}', 'a\nb\tc', '__debezium', '☃'.repeat(40)]
const digits = (random: Random, most: number) =>
  Array.from({ length: 1 + random.below(most) }, () => random.below(10)).join('')
const decimal = (random: Random, before: number, after: number) =>
  `${random.pick(['', '-'])}${digits(random, before)}.${digits(random, after)}`
// Not before 1582: Debezium's snapshots read such dates by the Julian calendar.
const day = (random: Random) => `date '${random.pick(['1582-10-20', '1969-12-20', '2024-02-25', '9999-12-01'])}'`
const moment = (random: Random) =>
  `timestamp '${random.pick(['1600-01-01', '1969-12-31', '2024-02-29', '9999-12-30'])} ` +
  `${String(random.below(24)).padStart(2, '0')}:59:${String(random.below(60)).padStart(2, '0')}.` +
  `${String(random.below(1_000_000)).padStart(6, '0')}'`
const array = (random: Random, item: () => string, type: string) => {
  const items = Array.from({ length: random.below(4) }, () => (random.next() < 0.2 ? 'NULL' : item()))
  return `ARRAY[${items.join(', ')}]::${type}[]`
}
const large = (random: Random) => `repeat(${quoted(random.pick(['x', 'é', 'ab,"c"']))}, ${2500 + random.below(3000)})`

const KINDS: readonly Kind[] = [
  { type: 'int', value: (r) => String(r.signed(32)) },
  { type: 'bigint', value: (r) => `(${r.signed(64)})::numeric::bigint` },
  { type: 'smallint', value: (r) => `(${r.signed(16)})::smallint` },
  { type: 'numeric(12,3)', value: (r) => decimal(r, 9, 3) },
  { type: 'numeric(38,10)', value: (r) => decimal(r, 28, 10) },
  // The connector sends such a number without zeros at its end.
  { type: 'numeric', value: (r) => `${decimal(r, 30, 20)}${1 + r.below(9)}` },
  { type: 'boolean', value: (r) => r.pick(['true', 'false']) },
  { type: 'text', value: (r) => quoted(r.pick(TEXTS)) },
  { type: 'varchar(60)', value: (r) => quoted(r.pick(TEXTS)) },
  { type: 'char(5)', value: (r) => quoted(r.pick(['', 'ab', 'é'])) },
  { type: 'bytea', value: (r) => `'\\x${r.bytes(r.below(20)).toString('hex')}'::bytea` },
  { type: 'uuid', value: (r) => `'${r.bytes(16).toString('hex')}'::uuid` },
  { type: 'date', value: (r) => `${day(r)} + ${r.below(20)}` },
  { type: 'time', value: (r) => `'${r.below(24)}:${r.below(60)}:59.${r.below(1_000_000)}'::time` },
  { type: 'timestamp', value: moment },
  { type: 'timestamp(3)', value: moment },
  { type: 'timestamptz', value: (r) => `${moment(r)} AT TIME ZONE '${r.pick(['UTC', 'Asia/Tokyo'])}'` },
  { type: 'real', value: (r) => `'${r.pick(['0', '-0', '1.5', '-3.4e38', '1e-40', 'NaN', 'Infinity'])}'::real` },
  { type: 'double precision', value: (r) => `'${r.pick(['0.1', '-0', '5e-324', '1.7e308', '-Infinity'])}'::float8` },
  { type: 'jsonb', value: (r) => `'${r.pick(['null', '[]', '{"a": [1, 2.50]}', '"x"'])}'::jsonb` },
  { type: 'int[]', value: (r) => array(r, () => String(r.signed(32)), 'int') },
  { type: 'text[]', value: (r) => array(r, () => quoted(r.pick(TEXTS)), 'text') },
  { type: 'text', large: true, value: large },
  { type: 'bytea', large: true, value: (r) => `convert_to(${large(r)}, 'UTF8')` },
  {
    type: 'text[]',
    large: true,
    value: (r) => `array_fill(${quoted(r.pick(['zz', '', 'é,"', 'NULL']))}::text, ARRAY[${3000 + r.below(999)}])`,
  },
  { type: 'jsonb', large: true, value: (r) => `to_jsonb(${large(r)})` },
  { type: 'int[]', large: true, value: (r) => `array_fill(${r.below(99)}, ARRAY[${3000 + r.below(999)}])` },
]

/** Types that grow into another one, as a source's table does in its life. */
const GROWTH: Readonly<Record<string, string>> = { int: 'bigint', 'numeric(12,3)': 'numeric(18,5)' }

export class RandomTable {
  readonly keys: RandomColumn[]
  readonly columns: RandomColumn[] = []
  #names = 0
  #next = 1000

  /** @param name of a table in the schema public */
  constructor(
    readonly name: string,
    private readonly random: Random,
  ) {
    this.keys = this.#randomKeys()
    const count = 2 + random.below(6)
    for (let i = 0; i < count; i++) this.columns.push(this.#column())
    // Most of what goes wrong with left-out values needs some.
    if (random.next() < 0.6) this.columns.push(this.#column(KINDS.filter((kind) => kind.large)))
  }

  #randomKeys(): RandomColumn[] {
    const { random } = this
    // Few keys, so that they meet again; those that are taken up by key updates are new.
    const pool = () => random.below(30)
    const id = { name: 'id', type: 'int', value: () => String(pool()) }
    const big = { name: 'id', type: 'bigint', value: () => `(9007199254740993 + ${pool()})::bigint` }
    const code = { name: 'code', type: 'text', value: () => quoted(random.pick(['a', 'B', 'é', '', '☃', 'a b', "q'"])) }
    const uuid = { name: 'id', type: 'uuid', value: () => `md5('${pool()}')::uuid` }
    return random.pick([[id], [id], [big], [uuid], [id, code], [code, id]])
  }

  #column(kinds: readonly Kind[] = KINDS): RandomColumn {
    const { random } = this
    const kind = random.pick(kinds)
    return {
      name: `c${this.#names++}${kind.large ? '_large' : ''}`,
      type: kind.type,
      value: () => (random.next() < 0.12 ? 'NULL' : kind.value(random)),
    }
  }

  get create(): string[] {
    const columns = [...this.keys, ...this.columns].map(({ name, type }) => `${name} ${type}`)
    const key = this.keys.map(({ name }) => name).join(', ')
    const external = this.columns.filter(({ name }) => name.endsWith('_large'))
    return [
      `CREATE TABLE ${this.name} (${columns.join(', ')}, PRIMARY KEY (${key}))`,
      ...external.map((column) => this.#external(column)),
      ...(this.random.next() < 0.25 ? [`ALTER TABLE ${this.name} REPLICA IDENTITY FULL`] : []),
    ]
  }

  /** Not compressed, or what repeats would stay in the row. */
  #external({ name }: RandomColumn): string {
    return `ALTER TABLE ${this.name} ALTER ${name} SET STORAGE EXTERNAL`
  }

  /** A value of a key that no row has had yet. */
  #fresh({ type }: RandomColumn): string {
    const n = this.#next++
    if (type === 'uuid') return `md5('fresh ${n}')::uuid`
    return type === 'text' ? `'fresh ${n}'` : type === 'bigint' ? `(9007199254740993 + ${n})::bigint` : String(n)
  }

  /** Some rows that no other transaction holds: which ones, `salt` decides. An array is made once; `IN` may ask for each row. */
  #some(count: number): string {
    const salt = this.random.below(1_000_000)
    const rows = `SELECT ctid FROM ${this.name} ORDER BY md5(ctid::text || '${salt}') LIMIT ${count} FOR UPDATE SKIP LOCKED`
    return `ctid = ANY (ARRAY(${rows}))`
  }

  change(): string {
    const { random, name } = this
    const rows = 1 + (random.next() < 0.15 ? random.below(40) : random.below(3))
    const what = random.next()
    if (what < 0.4 || this.columns.length === 0) {
      // Each key once: a row cannot be changed twice by one statement.
      const all = [...this.keys, ...this.columns]
      const row = () => `(${all.map((column) => column.value()).join(', ')})`
      const values = new Map(Array.from({ length: rows }, row).map((text) => [this.keyOf(text), text]))
      const key = this.keys.map((column) => column.name).join(', ')
      const set = this.columns.map((column) => `${column.name} = EXCLUDED.${column.name}`).join(', ')
      return (
        `INSERT INTO ${name} (${all.map((column) => column.name).join(', ')}) VALUES ${[...values.values()].join(', ')} ` +
        `ON CONFLICT (${key}) DO ${set === '' || random.next() < 0.2 ? 'NOTHING' : `UPDATE SET ${set}`}`
      )
    }
    if (what < 0.75) {
      const changed = this.columns.filter(() => random.next() < 0.4)
      const columns = changed.length > 0 ? changed : [random.pick(this.columns)]
      const set = columns.map((column) => `${column.name} = ${column.value()}`).join(', ')
      return `UPDATE ${name} SET ${set} WHERE ${this.#some(rows)}`
    }
    if (what < 0.85) {
      const key = random.pick(this.keys)
      const column = random.pick(this.columns)
      const more = random.next() < 0.5 ? `, ${column.name} = ${column.value()}` : ''
      return `UPDATE ${name} SET ${key.name} = ${this.#fresh(key)}${more} WHERE ${this.#some(1)}`
    }
    return `DELETE FROM ${name} WHERE ${this.#some(rows)}`
  }

  /** The first values of a row's text are those of its key. */
  private keyOf(row: string): string {
    return row.split(', ', this.keys.length).join(', ')
  }

  /** A column more, less, or wider. Nothing that a topic cannot tell, such as defaults of rows that are there. */
  alter(): string[] {
    const { random, name } = this
    const growing = this.columns.find(({ type }) => type in GROWTH)
    const what = random.next()
    if (what < 0.3 && this.columns.length > 1) {
      const [dropped] = this.columns.splice(random.below(this.columns.length), 1)
      return [`ALTER TABLE ${name} DROP COLUMN ${dropped?.name}`]
    }
    if (what < 0.5 && growing) {
      growing.type = GROWTH[growing.type] as string
      return [`ALTER TABLE ${name} ALTER ${growing.name} TYPE ${growing.type}`]
    }
    const added = this.#column()
    this.columns.push(added)
    const storage = added.name.endsWith('_large') ? [this.#external(added)] : []
    return [`ALTER TABLE ${name} ADD COLUMN ${added.name} ${added.type}`, ...storage]
  }
}
