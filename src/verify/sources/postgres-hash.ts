/**
 * How PostgreSQL hashes rows: an MD5 of the texts that it writes for their values, which are those that rows are read
 * with, since `concat` asks the same functions.
 */

import { END } from '../database-text.js'
import type { Reading } from './source.js'

/** A function has at most 100 arguments. */
const MOST_ARGUMENTS = 90

function concat(parts: readonly string[]): string {
  if (parts.length <= MOST_ARGUMENTS) return `concat(${parts.join(', ')})`
  const groups: string[] = []
  for (let i = 0; i < parts.length; i += MOST_ARGUMENTS) groups.push(concat(parts.slice(i, i + MOST_ARGUMENTS)))
  return concat(groups)
}

/** The text of any value after its bytes' number. Not `IS NULL`, which holds for a row of nulls, too. */
const sizedSql = (sql: string) => [
  `CASE WHEN ${sql} IS DISTINCT FROM NULL THEN octet_length(concat(${sql})) END`,
  "':'",
  sql,
  `'${END}'`,
]

export interface ChunkQuery {
  /** Quoted, with its schema. */
  table: string
  columns: readonly Pick<Reading, 'sql' | 'hash'>[]
  key: readonly { text: string; order: string }[]
  chunkRows: number
}

/**
 * The query of all chunks in the key's order: the key of each one's last row, and up to that row the number of rows and
 * the sums of both halves of their hashes. Sums that go on from chunk to chunk are given out while the table is still
 * read. `OFFSET 0` keeps a hash from being computed twice.
 */
export function hashesSql({ table, key, columns, chunkRows }: ChunkQuery): string {
  const keys = key.map((_, i) => `k${i}`).join(', ')
  const order = key.map((_, i) => `o${i}`).join(', ')
  const named = key.map(({ text, order }, i) => `${text} AS k${i}, ${order} AS o${i}`).join(', ')
  const hash = `md5(${concat(columns.flatMap(({ sql, hash }) => (hash?.sized ? sizedSql(sql) : [sql, `'${END}'`])))})`
  const half = (from: number) => `('x' || substr(hash, ${from}, 16))::bit(64)::bigint`
  return `SELECT ${keys}, rows, high, low, last FROM (
  SELECT ${keys}, row_number() OVER up_to AS rows, lead(true) OVER up_to IS NULL AS last,
    sum(${half(1)}) OVER up_to AS high, sum(${half(17)}) OVER up_to AS low
  FROM (SELECT ${named}, ${hash} AS hash FROM ${table} ORDER BY ${key.map(({ order }) => order).join(', ')} OFFSET 0) AS hashed
  WINDOW up_to AS (ORDER BY ${order} ROWS UNBOUNDED PRECEDING)
) AS running WHERE rows % ${chunkRows} = 0 OR last`
}
