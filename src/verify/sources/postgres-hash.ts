/**
 * How PostgreSQL hashes rows: an MD5 of the texts that it writes for their values, which are those that rows are read
 * with, since `concat` asks the same functions.
 */

import { type DeltaType, scaleOf } from '../comparable.js'
import {
  arrayOf,
  bytesAfter,
  type Cells,
  date,
  decimalOf,
  digits,
  END,
  momentOf,
  numberTexts,
  plain,
  postgresDouble,
  sized,
  strings,
  type Text,
  timeOf,
  utf8,
} from '../database-text.js'

interface HashedColumn {
  /** Arguments of `concat` that give a cell's text. */
  sql: string[]
  /** The same text from the Delta table. */
  cells: Cells
}

const WHOLE = /^(smallint|integer|bigint)$/
const TEXT = /^(text|character varying(\(\d+\))?)$/

/** A value's text where PostgreSQL's own has neither quotes nor ends in it. */
function textOf(type: DeltaType, source: string): Text | null {
  switch (type) {
    case 'byte':
    case 'short':
    case 'integer':
      return WHOLE.test(source) ? digits : null
    case 'long':
      if (WHOLE.test(source)) return digits
      return /^time(\(\d\))? without time zone$/.test(source) ? timeOf(0) : null
    case 'float':
      return source === 'real' ? postgresDouble : null
    case 'double':
      return source === 'double precision' ? postgresDouble : null
    case 'boolean':
      return source === 'boolean' ? (value) => (value ? 't' : 'f') : null
    case 'date':
      return source === 'date' ? date : null
    case 'timestamp':
    case 'timestamp_ntz':
      if (/^timestamp(\(\d\))? without time zone$/.test(source)) return momentOf(0)
      return /^timestamp(\(\d\))? with time zone$/.test(source) ? momentOf(0, '+00') : null
    case 'binary':
      return source === 'bytea' ? bytesAfter('\\x') : null
    default:
      return null
  }
}

/** The text of any value after its bytes' number. Not `IS NULL`, which holds for a row of nulls, too. */
const sizedSql = (name: string) => [
  `CASE WHEN ${name} IS DISTINCT FROM NULL THEN octet_length(concat(${name})) END`,
  "':'",
  name,
  `'${END}'`,
]

/**
 * Null where the text of a value is not sure to be what the comparison of rows makes of it.
 * @param name quoted
 * @param source the column's type, as `format_type` tells it
 */
export function hashedColumn(name: string, type: DeltaType, source: string, version: number): HashedColumn | null {
  if (type === 'string') {
    // The connector may leave zeros out at the end of a number with a scale of its own.
    if (source === 'numeric' && version >= 130_000) return { sql: sizedSql(`trim_scale(${name})`), cells: numberTexts }
    const [, ...rest] = sizedSql(name)
    return { sql: TEXT.test(source) ? [`octet_length(${name})`, ...rest] : sizedSql(name), cells: strings }
  }
  if (typeof type !== 'string') {
    const item = type.elementType
    if (type.type !== 'array' || item === undefined || !source.endsWith('[]')) return null
    const text: Text | null = item === 'string' ? (value) => utf8(value as string) : textOf(item, source.slice(0, -2))
    if (text === null) return null
    const exact = source === 'real[]' ? `${name}::double precision[]` : name
    return { sql: sizedSql(exact), cells: sized(arrayOf(text)) }
  }
  const decimal = /^numeric(?:\(\d+,(-?\d+)\))?$/.exec(source)
  if (type.startsWith('decimal')) {
    if (!decimal) return null
    const cells = plain(decimalOf(Number(decimal[1] ?? 0), scaleOf(type)))
    if (decimal[1] !== undefined) return { sql: [name, `'${END}'`], cells }
    return version < 130_000 ? null : { sql: [`trim_scale(${name})`, `'${END}'`], cells }
  }
  const text = textOf(type, source)
  if (text === null) return null
  // As a double, a real has the digits that tell all of it, as the Delta table's has.
  return { sql: [source === 'real' ? `${name}::double precision` : name, `'${END}'`], cells: plain(text) }
}

/** A function has at most 100 arguments. */
const MOST_ARGUMENTS = 90

function concat(parts: readonly string[]): string {
  if (parts.length <= MOST_ARGUMENTS) return `concat(${parts.join(', ')})`
  const groups: string[] = []
  for (let i = 0; i < parts.length; i += MOST_ARGUMENTS) groups.push(concat(parts.slice(i, i + MOST_ARGUMENTS)))
  return concat(groups)
}

export interface ChunkQuery {
  /** Quoted, with its schema. */
  table: string
  key: readonly { name: string; order(name: string): string }[]
  columns: readonly HashedColumn[]
  chunkRows: number
}

/**
 * The query of all chunks in the key's order: the key of each one's last row, and up to that row the number of rows and
 * the sums of both halves of their hashes. Sums that go on from chunk to chunk are given out while the table is still
 * read. `OFFSET 0` keeps a hash from being computed twice.
 */
export function hashesSql({ table, key, columns, chunkRows }: ChunkQuery): string {
  const keys = key.map((_, i) => `k${i}`)
  const order = key.map(({ order }, i) => order(`k${i}`)).join(', ')
  const inner = key.map(({ name, order }) => order(name)).join(', ')
  const named = key.map(({ name }, i) => `${name} AS k${i}`).join(', ')
  const hash = `md5(${concat(columns.flatMap(({ sql }) => sql))})`
  const half = (from: number) => `('x' || substr(hash, ${from}, 16))::bit(64)::bigint`
  return `SELECT ${keys.join(', ')}, rows, high, low, last FROM (
  SELECT ${keys.join(', ')}, row_number() OVER up_to AS rows, lead(true) OVER up_to IS NULL AS last,
    sum(${half(1)}) OVER up_to AS high, sum(${half(17)}) OVER up_to AS low
  FROM (SELECT ${named}, ${hash} AS hash FROM ${table} ORDER BY ${inner} OFFSET 0) AS hashed
  WINDOW up_to AS (ORDER BY ${order} ROWS UNBOUNDED PRECEDING)
) AS running WHERE rows % ${chunkRows} = 0 OR last`
}
