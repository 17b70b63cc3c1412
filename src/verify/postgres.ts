/** Rows of a PostgreSQL table. */

import pg from 'pg'
import type { SourceRow, SourceTable } from './source.js'

const raw = { getTypeParser: () => (value: string) => value } as unknown as pg.CustomTypesConfig
const quote = (name: string) => `"${name.replaceAll('"', '""')}"`

/** Types whose text sorts by its bytes only where that is asked for. */
const TEXT = /^(text|character|character varying|citext|name)/

export async function openPostgres(url: string, path: readonly string[]): Promise<SourceTable> {
  const client = new pg.Client({ connectionString: url, types: raw, application_name: 'kafka2delta verify' })
  await client.connect()
  try {
    // Texts of dates, times, numbers and bytes as they are read here, whatever the server's settings are.
    await client.query(
      "SET TimeZone = 'UTC'; SET DateStyle = 'ISO'; SET bytea_output = 'hex'; SET extra_float_digits = 3",
    )
    const name = path.map(quote).join('.')
    const described = await client.query(
      `SELECT attname, format_type(atttypid, NULL) AS type FROM pg_attribute
       WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum`,
      [name],
    )
    const types = new Map<string, string>(described.rows.map((row) => [row.attname, row.type]))
    const ordered = (column: string) => {
      const type = types.get(column) ?? ''
      if (TEXT.test(type)) return `${quote(column)} COLLATE "C"`
      return /^(uuid|integer|bigint|smallint|numeric|date|timestamp)/.test(type)
        ? quote(column)
        : `${quote(column)}::text COLLATE "C"`
    }
    return {
      columns: [...types.keys()],
      async *rows(key, fetchSize) {
        await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY')
        try {
          const order = key.map(ordered).join(', ')
          await client.query(`DECLARE all_rows NO SCROLL CURSOR FOR SELECT * FROM ${name} ORDER BY ${order}`)
          for (;;) {
            const { rows } = await client.query<SourceRow>(`FETCH ${fetchSize} FROM all_rows`)
            if (rows.length > 0) yield rows
            if (rows.length < fetchSize) return
          }
        } finally {
          await client.query('ROLLBACK')
        }
      },
      async rowsOf(key, values) {
        const parameters = values.flat()
        const tuple = (row: number) =>
          `(${key.map((column, i) => `$${row * key.length + i + 1}::${types.get(column)}`).join(', ')})`
        const tuples = values.map((_, row) => tuple(row)).join(', ')
        const query = `SELECT * FROM ${name} WHERE (${key.map(quote).join(', ')}) IN (${tuples})`
        return (await client.query<SourceRow>(query, parameters)).rows
      },
      close: () => client.end(),
    }
  } catch (error) {
    await client.end().catch(() => {})
    throw error
  }
}
