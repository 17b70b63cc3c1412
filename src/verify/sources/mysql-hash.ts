/** How MySQL and MariaDB hash rows: an MD5 of the texts that they write for their values. */

import { END } from '../database-text.js'
import type { Reading } from './source.js'

const cellSql = ({ sql, hash }: Pick<Reading, 'sql' | 'hash'>) =>
  hash?.sized
    ? `IFNULL(CONCAT(LENGTH(${sql}), ':', ${sql}, '${END}'), ':${END}')`
    : `IFNULL(CONCAT(${sql}, '${END}'), '${END}')`

export interface ChunkQuery {
  /** Quoted, with its database. */
  table: string
  key: readonly { text: string; order: string }[]
  columns: readonly Pick<Reading, 'sql' | 'hash'>[]
  chunkRows: number
}

/**
 * The query of all chunks in the key's order: of each the key of its last row where it is full, the number of rows and
 * the sums of both halves of their hashes.
 */
export function hashesSql({ table, key, columns, chunkRows }: ChunkQuery): string {
  // No column has such names.
  const half = (from: number) => `SUM(CAST(CONV(SUBSTR(\`#hash\`, ${from}, 16), 16, 10) AS UNSIGNED))`
  const last = key
    .map((_, i) => `MAX(CASE WHEN \`#row\` % ${chunkRows} = 0 THEN \`#key${i}\` END) AS \`#key${i}\``)
    .join(', ')
  const hash = `MD5(CONCAT(${columns.map(cellSql).join(', ')}))`
  const keys = key.map((_, i) => `\`#key${i}\``).join(', ')
  const order = key.map((_, i) => `\`#order${i}\``).join(', ')
  const named = key.map(({ text, order }, i) => `${text} AS \`#key${i}\`, ${order} AS \`#order${i}\``).join(', ')
  return `SELECT ${last}, CAST(COUNT(*) AS CHAR) AS \`#rows\`, CAST(${half(1)} AS CHAR) AS \`#high\`,
  CAST(${half(17)} AS CHAR) AS \`#low\` FROM (
  SELECT ${keys}, \`#hash\`, ROW_NUMBER() OVER (ORDER BY ${order}) AS \`#row\`
  FROM (SELECT ${named}, ${hash} AS \`#hash\` FROM ${table}) AS hashed
) AS numbered GROUP BY (\`#row\` - 1) DIV ${chunkRows} ORDER BY MIN(\`#row\`)`
}
