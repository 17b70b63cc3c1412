/** Tables of ours that Spark reads by their names, from a Hive metastore: right after a change of their columns. */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { encode } from '../../__test__/debezium/support.js'
import { RealHive } from '../../__test__/integration/support/real-hive.js'
import { syncEntry } from '../../src/catalog/entry.js'
import { openHive } from '../../src/catalog/hive/hive.js'
import type { DeltaType } from '../../src/delta/schema-json.js'
import { EmbeddedBroker } from '../../src/demo/broker/index.js'
import { EmbeddedRegistry } from '../../src/demo/registry.js'
import { streamToDelta } from '../../src/index.js'
import type { TableRead } from './difference.js'
import type { Report } from './report.js'

const TOPIC = 'shop.public.orders'

export interface Programs {
  python: string
  jars: string
  hive: string
}

type Answer = TableRead | { error: string }

/** A Spark that stays, and answers statements one after the other. */
class Spark {
  readonly #child
  readonly #lines
  #errors = ''

  constructor({ python, jars }: Programs, scratch: string, metastore: string) {
    const program = join(import.meta.dirname, 'by_name.py')
    const env = { ...process.env, SPARK_LOCAL_IP: '127.0.0.1', PYTHONDONTWRITEBYTECODE: '1' }
    this.#child = spawn(python, [program, jars, scratch, metastore], { env, stdio: 'pipe' })
    this.#child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#errors = (this.#errors + text).slice(-4000)
    })
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]()
  }

  async #answer<T>(): Promise<T> {
    for (;;) {
      const { value, done } = await this.#lines.next()
      if (done) throw new Error(`by_name.py ended:\n${this.#errors}`)
      // Java prints there, too.
      if (value.startsWith('{')) return JSON.parse(value) as T
    }
  }

  async version(): Promise<string> {
    return (await this.#answer<{ version: string }>()).version
  }

  ask(sql: string): Promise<Answer> {
    this.#child.stdin.write(`${sql}\n`)
    return this.#answer<Answer>()
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null) return
    const ended = once(this.#child, 'close')
    this.#child.stdin.end()
    await ended
  }
}

const record = (name: string, fields: Record<string, unknown>) => ({
  type: 'record',
  name,
  fields: Object.entries(fields).map(([field, type]) => ({ name: field, type })),
})

/** The columns of the topic's two schemas: one is widened, one comes. */
const FIRST = { id: 'int', amount: 'int', __deleted: 'string' }
const SECOND = { id: 'int', amount: 'long', note: ['null', 'string'], __deleted: 'string' }

export async function compareByName(report: Report, folder: string, programs: Programs): Promise<void> {
  const [hive, broker, registry] = [
    await RealHive.start(programs.hive, join(folder, 'hive'), { major: 3 }),
    await EmbeddedBroker.start(),
    await EmbeddedRegistry.start(),
  ]
  const spark = new Spark(programs, join(folder, 'by-name'), hive.uri)
  try {
    report.say(`Spark ${await spark.version()} has a Hive metastore`)
    const check = async (title: string, sql: string, expected: (read: TableRead) => unknown, wanted: unknown) => {
      const answer = await spark.ask(sql)
      const got = 'error' in answer ? answer.error : JSON.stringify(expected(answer))
      if (got === JSON.stringify(wanted)) report.passed(`by name: ${title}`, sql, true)
      else report.failed(`by name: ${title}`, `${sql}\n${got}\ninstead of\n${JSON.stringify(wanted)}`)
    }
    await followColumns(check, { broker, registry, hive, path: join(folder, 'lake', 'orders') })
    await readOddEntries(check, spark, hive, join(folder, 'lake', 'orders'))
  } finally {
    await spark.stop()
    await Promise.all([broker.close(), registry.close(), hive.stop()])
  }
}

type Check = (title: string, sql: string, expected: (read: TableRead) => unknown, wanted: unknown) => Promise<void>

const SELECT = 'SELECT * FROM shop.orders ORDER BY id'
const rows = (read: TableRead) => read.rows
const columns = (read: TableRead) => read.columns.map(({ name, type }) => `${name} ${type}`)

interface Row {
  id: number
  amount: number | bigint
  note?: string | null
}

interface Systems {
  broker: EmbeddedBroker
  registry: EmbeddedRegistry
  hive: RealHive
  path: string
}

/** A stream whose topic gets another schema: Spark is asked as soon as the commit is there. */
async function followColumns(check: Check, { broker, registry, hive, path }: Systems): Promise<void> {
  broker.createTopic(TOPIC)
  const keySchema = record('Key', { id: 'int' })
  registry.setSchema(1, keySchema)
  const append = (schemaId: number, fields: Record<string, unknown>, values: Row[]) => {
    const schema = record('Value', fields)
    registry.setSchema(schemaId, schema)
    const records = values.map((value) => ({
      key: encode(1, keySchema, { id: value.id }),
      value: encode(schemaId, schema, { __deleted: 'false', ...value }),
    }))
    broker.append(TOPIC, 0, records)
  }
  const query = await streamToDelta({
    queryName: 'by-name',
    kafka: { brokers: broker.brokers },
    schemaRegistry: { url: registry.url },
    tables: { [TOPIC]: { path, schema: 'shop', tableName: 'orders', catalog: { type: 'hive', uri: hive.uri } } },
  })
  const committed = () => new Promise<void>((resolve) => query.once('progress', () => resolve()))
  try {
    let commit = committed()
    append(2, FIRST, [
      { id: 1, amount: 10 },
      { id: 2, amount: 20 },
    ])
    await commit
    while (query.status.tables[TOPIC]?.catalog?.state !== 'registered') {
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
    await check('a new table', SELECT, rows, [
      ['1', '10'],
      ['2', '20'],
    ])
    commit = committed()
    append(3, SECOND, [
      { id: 2, amount: 3_000_000_000n, note: 'wide' },
      { id: 3, amount: 30n, note: null },
    ])
    await commit
    await check('right after a schema change', SELECT, rows, [
      ['1', '10', null],
      ['2', '3000000000', 'wide'],
      ['3', '30', null],
    ])
    await check('its columns', SELECT, columns, ['id int', 'amount bigint', 'note string'])
  } finally {
    await query.stop()
  }
  const described = (read: TableRead) => read.rows.map(([name, type]) => `${name} ${type}`).slice(0, 3)
  await check('described', 'DESCRIBE TABLE shop.orders', described, ['id int', 'amount bigint', 'note string'])
  await check('listed', 'SHOW TABLES IN shop', (read) => read.rows.map(([, name]) => name), ['orders'])
}

const field = (name: string, type: DeltaType) => ({ name, type, nullable: true, metadata: {} })
const struct = (...fields: { name: string; type: DeltaType }[]): DeltaType => ({ type: 'struct', fields })
const list = (elementType: DeltaType) => ({ type: 'array', elementType, containsNull: true })
const map = (valueType: DeltaType) => ({ type: 'map', keyType: 'string', valueType, valueContainsNull: true })

/** Spark parses the columns of every entry that it opens. */
const ODD = [
  field('größe, in cm', 'double'),
  field('a `b` c; d', struct(field('x.y', 'integer'), field('x-y', 'long'))),
  field('spaces', struct(field('a b', 'integer'))),
  field('lists', list(struct(field('größe', 'timestamp_ntz')))),
  field('maps', map(struct(field('a', 'decimal(38,18)'), field('2b', 'timestamp_ntz')))),
  field('wide', struct(...Array.from({ length: 600 }, (_, i) => field(`field_${i}`, 'long')))),
]

async function readOddEntries(check: Check, spark: Spark, hive: RealHive, path: string): Promise<void> {
  const catalog = await openHive({ type: 'hive', uri: hive.uri })
  const { signal } = new AbortController()
  try {
    const table = { schema: 'shop', name: 'odd', location: `file://${path}`, columns: ODD, partitionColumns: [] }
    await syncEntry(catalog, { ...table, properties: {}, comment: 'odd' }, signal)
    await check('an entry with odd columns', 'SELECT count(*) FROM shop.odd', rows, [['3']])

    const made = await spark.ask("CREATE TABLE shop.made USING delta AS SELECT 1 AS id, 'a' AS name")
    if ('error' in made) throw new Error(made.error)
    const found = await catalog.find('shop', 'made', signal)
    if (!found) throw new Error("Spark's table is not in the metastore")
    const { location } = found
    const taken = { ...table, name: 'made', location, columns: [field('id', 'integer'), field('name', 'string')] }
    await syncEntry(catalog, { ...taken, properties: {} }, signal)
    await check("an entry of Spark's that is ours now", 'SELECT * FROM shop.made', rows, [['1', 'a']])
    await check('and is written by Spark', 'INSERT INTO shop.made VALUES (2, "b")', () => null, null)
    await check('and read again', 'SELECT * FROM shop.made ORDER BY id', rows, [
      ['1', 'a'],
      ['2', 'b'],
    ])
  } finally {
    await catalog.close()
  }
}
