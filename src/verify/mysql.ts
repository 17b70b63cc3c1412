/** Rows of a MySQL or MariaDB table. */

import { createConnection, type RowDataPacket } from 'mysql2'
import type { SourceRow, SourceTable } from './source.js'
import { quote } from './values.js'

const BINARY = /blob|binary|^bit/

export async function openMysql(url: string, path: readonly string[]): Promise<SourceTable> {
  const uri = url.replace(/^mariadb:/, 'mysql:')
  const callbacks = createConnection({ uri, timezone: 'Z', charset: 'utf8mb4' })
  const connection = callbacks.promise()
  try {
    await connection.query("SET time_zone = '+00:00'")
    const name = path.map(quote).join('.')
    const [described] = await connection.query<RowDataPacket[]>(`SHOW COLUMNS FROM ${name}`)
    const types = new Map<string, string>(described.map((row) => [String(row.Field), String(row.Type)]))
    // Names are not all that `typeCast` could go by, but they tell a binary column from a text for sure.
    const typeCast = (field: { name: string; string(): string | null; buffer(): Buffer | null }) => {
      if (!BINARY.test(types.get(field.name) ?? '')) return field.string()
      const bytes = field.buffer()
      return bytes && `\\x${bytes.toString('hex')}`
    }
    const ordered = (column: string) =>
      /char|text|enum/.test(types.get(column) ?? '') ? `CAST(${quote(column)} AS BINARY)` : quote(column)
    return {
      columns: [...types.keys()],
      async *rows(key, fetchSize) {
        await connection.query('SET TRANSACTION ISOLATION LEVEL REPEATABLE READ')
        await connection.query('START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY')
        try {
          const sql = `SELECT * FROM ${name} ORDER BY ${key.map(ordered).join(', ')}`
          const stream = callbacks.query({ sql, typeCast }).stream({ highWaterMark: 1000 })
          let rows: SourceRow[] = []
          for await (const row of stream) {
            rows.push(row as SourceRow)
            if (rows.length < fetchSize) continue
            yield rows
            rows = []
          }
          if (rows.length > 0) yield rows
        } finally {
          await connection.query('ROLLBACK')
        }
      },
      async rowsOf(key, values) {
        const tuple = `(${key.map(() => '?').join(', ')})`
        const tuples = values.map(() => tuple).join(', ')
        const sql = `SELECT * FROM ${name} WHERE (${key.map(quote).join(', ')}) IN (${tuples})`
        return (await connection.query({ sql, typeCast, values: values.flat() }))[0] as SourceRow[]
      },
      close: () => connection.end(),
    }
  } catch (error) {
    await connection.end().catch(() => {})
    throw error
  }
}
