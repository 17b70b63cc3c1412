/** Finds where two tables differ, and says it in few words with an example. */

/** A value as values.py writes it. */
export type Plain = null | boolean | string | Plain[] | { [name: string]: Plain }

export interface TableRead {
  columns: { name: string; type: string; nullable: boolean }[]
  rows: Plain[][]
}

/** How the Spark job fared with a topic; the names are those of main.py. */
export interface SparkOutcome {
  /** Columns that end the job. */
  stops: { column: string; reason: string; offset: number | null }[]
  /** Why there is no table, if there is none. */
  stopped: string | null
  /** Columns that had to be left out for the job to go on. */
  without: string[]
  table?: TableRead
}

export interface Difference {
  topic: string
  /** A column, or `(table)`, `(rows)`, `(order of columns)`. */
  what: string
  spark: string
  ours: string
}

const TEXT_LENGTH = 64
/** How many keys an example of rows names. */
const KEYS_SHOWN = 3

/** Differences of a topic's two tables; columns in their order, then rows. */
export function differences(topic: string, key: readonly string[], job: SparkOutcome, ours: TableRead): Difference[] {
  const found: Difference[] = []
  const add = (what: string, spark: string, our: string) => {
    const same = found.find((d) => d.what === what)
    if (same) [same.spark, same.ours] = [`${same.spark}; ${spark}`, same.ours === our ? our : `${same.ours}; ${our}`]
    else found.push({ topic, what, spark, ours: our })
  }
  for (const { column, reason, offset } of job.stops) {
    add(column, `stops at offset ${offset}: ${shortReason(reason)}`, described(ours, column))
  }
  const { table } = job
  if (!table) {
    if (job.stops.length === 0) add('(table)', `stops: ${shortReason(job.stopped ?? '')}`, count(ours.rows.length))
    return found
  }
  const names = table.columns.map((c) => c.name)
  const shared = ours.columns.filter((c) => names.includes(c.name))
  const pairs = pairRows(key, table, ours)
  for (const column of ours.columns) {
    const theirs = table.columns.find((c) => c.name === column.name)
    if (!theirs) {
      if (!job.without.includes(column.name)) add(column.name, 'no such column', described(ours, column.name))
    } else if (theirs.type !== column.type) {
      const [spark, our] = retyped(key, column.name, table, ours, pairs)
      add(column.name, `${theirs.type}${spark}`, `${column.type}${our}`)
    } else {
      const different = pairs.both.filter(([a, b]) => !same(cell(table, a, column.name), cell(ours, b, column.name)))
      const first = different[0]
      if (first) {
        const many = different.length > 1 ? `${different.length} rows, ` : ''
        const text = (read: TableRead, row: Plain[]) =>
          `${many}${keyText(key, read, row)}: ${shown(cell(read, row, column.name), column.type)}`
        add(column.name, text(table, first[0]), text(ours, first[1]))
      }
    }
  }
  for (const { name } of table.columns) {
    if (!ours.columns.some((c) => c.name === name)) add(name, described(table, name), 'no such column')
  }
  if (shared.map((c) => c.name).join() !== names.filter((n) => shared.some((c) => c.name === n)).join()) {
    add('(order of columns)', names.join(', '), ours.columns.map((c) => c.name).join(', '))
  }
  const rows = rowDifferences(key, table, ours, pairs)
  if (rows) add('(rows)', rows.spark, rows.ours)
  return found
}

/** Columns whose values differ between two readers of one table, and the number of rows; null if none does. */
export function readersDiffer(
  a: TableRead,
  b: Pick<TableRead, 'rows'> & { columns: { name: string }[] },
): string | null {
  const names = (read: { columns: { name: string }[] }) => read.columns.map((c) => c.name).join(', ')
  if (names(a) !== names(b)) return `columns ${names(a)} and ${names(b)}`
  if (a.rows.length !== b.rows.length) return `${a.rows.length} and ${b.rows.length} rows`
  const sorted = (rows: Plain[][]) =>
    rows
      .map((row) => ({ row, text: JSON.stringify(row) }))
      .sort((x, y) => (x.text < y.text ? -1 : x.text > y.text ? 1 : 0))
  const [left, right] = [sorted(a.rows), sorted(b.rows)]
  const at = left.findIndex(({ text }, i) => text !== right[i]?.text)
  if (at < 0) return null
  const [x, y] = [left[at]?.row ?? [], right[at]?.row ?? []]
  const columns = a.columns.filter((_, i) => !same(x[i] ?? null, y[i] ?? null)).map((c) => c.name)
  const position = a.columns.findIndex((c) => c.name === columns[0])
  return `column ${columns.join(', ')}: ${JSON.stringify(x[position])} and ${JSON.stringify(y[position])}`
}

interface Pairs {
  /** Rows of one key on both sides: the job's, ours. */
  both: [Plain[], Plain[]][]
  spark: Map<string, Plain[][]>
  ours: Map<string, Plain[][]>
}

function pairRows(key: readonly string[], spark: TableRead, ours: TableRead): Pairs {
  const byKey = (read: TableRead) => {
    const rows = new Map<string, Plain[][]>()
    for (const row of read.rows) {
      const id = keyText(key, read, row)
      rows.set(id, [...(rows.get(id) ?? []), row])
    }
    return rows
  }
  const [left, right] = [byKey(spark), byKey(ours)]
  const both = [...left]
    .sort(([a], [b]) => byNumber(a, b))
    .flatMap(([id, rows]): [Plain[], Plain[]][] => {
      const other = right.get(id)
      // Of a doubled row no pair can be told; the rows' difference says it.
      return rows.length === 1 && other?.length === 1 ? [[rows[0] as Plain[], other[0] as Plain[]]] : []
    })
  return { both, spark: left, ours: right }
}

function rowDifferences(
  key: readonly string[],
  table: TableRead,
  ours: TableRead,
  pairs: Pairs,
): { spark: string; ours: string } | null {
  const list = (ids: string[]) =>
    ids.sort(byNumber).slice(0, KEYS_SHOWN).join('; ') + (ids.length > KEYS_SHOWN ? `; … ${ids.length} in all` : '')
  const notIn = (a: Map<string, Plain[][]>, b: Map<string, Plain[][]>) => [...a.keys()].filter((id) => !b.has(id))
  const twice = (rows: Map<string, Plain[][]>) => [...rows].filter(([, same]) => same.length > 1).map(([id]) => id)
  const side = (own: Map<string, Plain[][]>, other: Map<string, Plain[][]>, total: number) => {
    const parts = [count(total)]
    const [extra, double] = [notIn(own, other), twice(own)]
    if (extra.length > 0) parts.push(`also ${list(extra)}`)
    if (double.length > 0) parts.push(`twice: ${list(double)}`)
    return parts.join(', ')
  }
  const spark = side(pairs.spark, pairs.ours, table.rows.length)
  const our = side(pairs.ours, pairs.spark, ours.rows.length)
  const equal = spark === our && spark === count(table.rows.length)
  return equal || key.length === 0 ? null : { spark, ours: our }
}

const count = (rows: number) => (rows === 1 ? '1 row' : `${rows} rows`)

const byNumber = (a: string, b: string) => a.localeCompare(b, 'en', { numeric: true })

const same = (a: Plain, b: Plain): boolean => JSON.stringify(a) === JSON.stringify(b)

function cell(read: TableRead, row: Plain[], name: string): Plain {
  return row[read.columns.findIndex((c) => c.name === name)] ?? null
}

const keyText = (key: readonly string[], read: TableRead, row: Plain[]): string =>
  key.map((name) => `${name} ${shown(cell(read, row, name), '')}`).join(', ')

/** An example where the types differ: a number that is another one, or else any value that both have. */
function retyped(key: readonly string[], name: string, table: TableRead, ours: TableRead, { both }: Pairs) {
  const values = both.map(([a, b]) => ({ a: cell(table, a, name), b: cell(ours, b, name), row: b }))
  const filled = values.filter(({ a, b }) => a !== null && b !== null)
  const example = filled.find(({ a, b }) => isNumber(a) && isNumber(b) && Number(a) !== Number(b)) ?? filled[0]
  if (!example) return ['', ''] as const
  const id = keyText(key, ours, example.row)
  return [`, ${id}: ${shown(example.a, '')}`, `, ${id}: ${shown(example.b, '')}`] as const
}

const isNumber = (value: Plain): value is string => typeof value === 'string' && /^-?\d+(\.\d+)?$/.test(value)

/** A column's type and one value: of times the earliest, which readers have the most trouble with. */
function described(read: TableRead, name: string): string {
  const column = read.columns.find((c) => c.name === name)
  if (!column) return 'no such column'
  const values = read.rows.map((row) => cell(read, row, name)).filter((value) => value !== null)
  const first = /^(date|timestamp)$/.test(column.type)
    ? values.sort((a, b) => Number(a) - Number(b))[0]
    : values.sort((a, b) => byNumber(shown(a, column.type), shown(b, column.type)))[0]
  return first === undefined ? column.type : `${column.type}, ${shown(first, column.type)}`
}

/** Spark's names of errors without the words that say nothing. */
const shortReason = (reason: string): string => shortened(reason.replace(/^INCONSISTENT_BEHAVIOR_CROSS_VERSION\./, ''))

const shortened = (text: string): string =>
  text.length > TEXT_LENGTH ? `${text.slice(0, TEXT_LENGTH / 2)}… (${text.length} long)` : text

/** A value as a person reads it. */
export function shown(value: Plain, type: string): string {
  if (value === null) return 'null'
  if (typeof value === 'string' && type === 'date') return isoTime(BigInt(value) * 86_400_000n)?.slice(0, -14) ?? value
  if (typeof value === 'string' && type === 'timestamp') return timestampText(BigInt(value)) ?? value
  if (typeof value === 'string' && /^(double|float)$/.test(type)) return String(hexFloat(value))
  if (typeof value === 'string') return shortened(value)
  if (Array.isArray(value)) {
    const parts = value.slice(0, 3).map((part) => shown(part, ''))
    return shortened(`[${parts.join(', ')}${value.length > 3 ? `, … ${value.length} in all` : ''}]`)
  }
  if (typeof value === 'object') {
    return shortened(
      `{${Object.entries(value)
        .map(([name, part]) => `${name}: ${shown(part, '')}`)
        .join(', ')}}`,
    )
  }
  return String(value)
}

function isoTime(milliseconds: bigint): string | null {
  const date = new Date(Number(milliseconds))
  return Number.isNaN(date.getTime()) ? null : date.toISOString()
}

function timestampText(microseconds: bigint): string | null {
  const rest = ((microseconds % 1000n) + 1000n) % 1000n
  const text = isoTime((microseconds - rest) / 1000n)
  return text === null ? null : text.replace('Z', `${String(rest).padStart(3, '0')}Z`)
}

/** Python's `float.hex()`: `-0x1.8p+0`. */
function hexFloat(text: string): number {
  const parts = /^(-?)0x([01])\.?([0-9a-f]*)p([+-]\d+)$/.exec(text)
  if (!parts) return text === 'inf' ? Infinity : text === '-inf' ? -Infinity : Number.NaN
  const [, sign, whole, digits = '', exponent] = parts
  const mantissa = Number.parseInt(`${whole}${digits}`, 16) / 16 ** digits.length
  return (sign ? -1 : 1) * mantissa * 2 ** Number(exponent)
}
