/** How MySQL and MariaDB hash rows: an MD5 of the texts that they write for their values. */

import { type DeltaType, scaleOf } from '../comparable.js'
import {
  bytesAfter,
  type Cells,
  date,
  decimalOf,
  digits,
  END,
  momentOf,
  mysqlDouble,
  plain,
  strings,
  type Text,
  timeOf,
} from '../database-text.js'

interface HashedColumn {
  /** An expression of a cell's text. */
  sql: string
  /** The same text from the Delta table. */
  cells: Cells
}

const TEXT = /^(char|varchar|tinytext|text|mediumtext|longtext|enum|set|json|decimal)\b/
const BYTES = /^(binary|varbinary|tinyblob|blob|mediumblob|longblob)\b/
const WHOLE = /^(tinyint|smallint|mediumint|int|bigint|year)\b/

/** A value's text where it has no ends in it. */
function textOf(type: DeltaType & string, source: string): Text | null {
  // Digits of a second: all of them are written.
  const [, moment, digitsOfSecond = '0'] = /^(datetime|timestamp|time)(?:\((\d)\))?$/.exec(source) ?? []
  if (type.startsWith('decimal')) {
    const decimal = /^decimal\(\d+,(\d+)\)/.exec(source)
    return decimal && decimalOf(Number(decimal[1]), scaleOf(type))
  }
  switch (type) {
    case 'byte':
    case 'short':
    case 'integer':
      return WHOLE.test(source) ? digits : null
    case 'long':
      return WHOLE.test(source) ? digits : moment === 'time' ? timeOf(Number(digitsOfSecond)) : null
    case 'double':
      return source === 'double' ? mysqlDouble : null
    case 'boolean':
      return /^tinyint\b/.test(source) ? (value) => (value ? '1' : '0') : null
    case 'date':
      return source === 'date' ? date : null
    case 'timestamp':
    case 'timestamp_ntz':
      return moment === 'datetime' || moment === 'timestamp' ? momentOf(Number(digitsOfSecond)) : null
    case 'binary':
      return BYTES.test(source) ? bytesAfter('x') : null
    default:
      return null
  }
}

/**
 * Null where the text of a value is not sure to be what the comparison of rows makes of it: `FLOAT`, of which not all
 * digits are written, `BIT`, `ZEROFILL`.
 * @param name quoted
 * @param source the column's type, as `SHOW COLUMNS` tells it
 */
export function hashedColumn(name: string, type: DeltaType, source: string): HashedColumn | null {
  if (typeof type !== 'string' || source.includes('zerofill')) return null
  if (type === 'string') {
    if (!TEXT.test(source)) return null
    const text = `CAST(${name} AS CHAR CHARACTER SET utf8mb4)`
    return { sql: `IFNULL(CONCAT(LENGTH(${text}), ':', ${text}, '${END}'), ':${END}')`, cells: strings }
  }
  const text = textOf(type, source)
  if (text === null) return null
  const sql = type === 'binary' ? `CONCAT('x', LOWER(HEX(${name})))` : name
  return { sql: `IFNULL(CONCAT(${sql}, '${END}'), '${END}')`, cells: plain(text) }
}

export interface ChunkQuery {
  /** Quoted, with its database. */
  table: string
  /** Quoted, with the expressions that the rows are ordered by. */
  key: readonly { name: string; order: string }[]
  columns: readonly HashedColumn[]
  chunkRows: number
}

/**
 * The query of all chunks in the key's order: of each the key of its last row where it is full, the number of rows and
 * the sums of both halves of their hashes.
 */
export function hashesSql({ table, key, columns, chunkRows }: ChunkQuery): string {
  // No column has such names.
  const half = (from: number) => `SUM(CAST(CONV(SUBSTR(\`#hash\`, ${from}, 16), 16, 10) AS UNSIGNED))`
  const names = key.map(({ name }) => name).join(', ')
  const last = key
    .map(({ name }) => `MAX(CASE WHEN \`#row\` % ${chunkRows} = 0 THEN ${name} END) AS ${name}`)
    .join(', ')
  const hash = `MD5(CONCAT(${columns.map(({ sql }) => sql).join(', ')}))`
  const order = key.map((_, i) => `\`#order${i}\``).join(', ')
  const orders = key.map(({ order }, i) => `${order} AS \`#order${i}\``).join(', ')
  return `SELECT ${last}, COUNT(*) AS \`#rows\`, ${half(1)} AS \`#high\`, ${half(17)} AS \`#low\` FROM (
  SELECT ${names}, \`#hash\`, ROW_NUMBER() OVER (ORDER BY ${order}) AS \`#row\`
  FROM (SELECT ${names}, ${orders}, ${hash} AS \`#hash\` FROM ${table}) AS hashed
) AS numbered GROUP BY (\`#row\` - 1) DIV ${chunkRows} ORDER BY MIN(\`#row\`)`
}
