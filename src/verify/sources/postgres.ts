/** Rows of a PostgreSQL table, and their hashes. */

import pg from 'pg'
import { hashText } from '../chunk-hash.js'
import { joined, type Range } from '../ranges.js'
import { hashedColumn, hashesSql } from './postgres-hash.js'
import type { HashedChunk, SourceRow, SourceTable } from './source.js'

const raw = { getTypeParser: () => (value: string) => value } as unknown as pg.CustomTypesConfig
const quote = (name: string) => `"${name.replaceAll('"', '""')}"`

/** Types whose text sorts by its bytes only where that is asked for. */
const TEXT = /^(text|character|citext|name)/

/** How a value of a type is ordered. */
function orderedBy(type: string, sql: string): string {
  if (TEXT.test(type)) return `${sql} COLLATE "C"`
  return /^(uuid|integer|bigint|smallint|numeric|date|timestamp)/.test(type) ? sql : `${sql}::text COLLATE "C"`
}

const SERVER =
  "SELECT current_setting('server_encoding') AS encoding, current_setting('server_version_num') AS version, md5('')"

/** Unique indexes of columns that are never null, none of them beside the key; rows of other tables may be alike. */
const UNIQUE = `SELECT indexrelid FROM pg_index
  JOIN pg_class ON pg_class.oid = indrelid AND (relkind = 'p' OR NOT relhassubclass)
  JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY (indkey)
  WHERE indrelid = $1::regclass AND indisunique AND indisvalid AND indpred IS NULL AND indexprs IS NULL
  GROUP BY indexrelid HAVING bool_and(attnotnull AND attname::text = ANY ($2::text[]))`

export async function openPostgres(url: string, path: readonly string[]): Promise<SourceTable> {
  const client = new pg.Client({ connectionString: url, types: raw, application_name: 'kafka2delta verify' })
  // A connection may be lost between two queries: the next one says so.
  client.on('error', () => {})
  await client.connect()
  try {
    // Texts of dates, times, numbers and bytes as they are read here, whatever the server's settings are.
    await client.query(
      "SET TimeZone = 'UTC'; SET DateStyle = 'ISO'; SET bytea_output = 'hex'; SET extra_float_digits = 3",
    )
    const name = path.map(quote).join('.')
    const described = await client.query(
      `SELECT attname, format_type(atttypid, atttypmod) AS type FROM pg_attribute
       WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum`,
      [name],
    )
    const types = new Map<string, string>(described.rows.map((row) => [row.attname, row.type]))
    const typeOf = (column: string) => types.get(column) ?? ''
    const order = (key: readonly string[]) => key.map((column) => orderedBy(typeOf(column), quote(column))).join(', ')

    const begin = () => client.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY')
    const end = () => client.query('ROLLBACK')
    async function cursor(sql: string): Promise<(rows: number) => Promise<SourceRow[]>> {
      await client.query(`DECLARE found NO SCROLL CURSOR FOR ${sql}`)
      return async (rows) => (await client.query<SourceRow>(`FETCH ${rows} FROM found`)).rows
    }

    /** As one comparison of rows, so that an index can be used. */
    const within = (key: readonly string[], { after, upTo }: Range) => {
      const literals = (values: readonly string[]) =>
        key.map((column, i) => {
          const type = typeOf(column)
          return orderedBy(type, `${client.escapeLiteral(values[i] as string)}::${type}`)
        })
      const bounds = [
        ...(after ? [`(${order(key)}) > (${literals(after).join(', ')})`] : []),
        ...(upTo ? [`(${order(key)}) <= (${literals(upTo).join(', ')})`] : []),
      ]
      return bounds.length === 0 ? 'true' : `(${bounds.join(' AND ')})`
    }

    async function* chunks(sql: string, keys: number): AsyncGenerator<HashedChunk> {
      const fetch = await cursor(sql)
      let next = fetch(1)
      let before = { rows: '0', high: '0', low: '0' }
      for (let after: string[] | null = null; ; ) {
        const [row] = (await next) as [Record<string, string> & typeof before]
        if (row === undefined) break
        // The database goes on while this chunk is compared.
        next = fetch(1)
        next.catch(() => {})
        const upTo = Array.from({ length: keys }, (_, i) => row[`k${i}`] as string)
        const hash = hashText(BigInt(row.high) - BigInt(before.high), BigInt(row.low) - BigInt(before.low))
        yield { after, upTo: row.last === 't' ? null : upTo, rows: Number(row.rows) - Number(before.rows), hash }
        before = row
        after = upTo
      }
      await client.query('CLOSE found')
    }

    return {
      columns: [...types.keys()],
      isUnscaled: (column) => typeOf(column) === 'numeric',
      async *rows(key, fetchSize) {
        await begin()
        try {
          const fetch = await cursor(`SELECT * FROM ${name} ORDER BY ${order(key)}`)
          for (;;) {
            const rows = await fetch(fetchSize)
            if (rows.length > 0) yield rows
            if (rows.length < fetchSize) return
          }
        } finally {
          await end()
        }
      },
      async hashed(key, compared, chunkRows) {
        // A FIPS mode may refuse MD5.
        const server = (await client.query(SERVER).catch(() => null))?.rows[0]
        if (server?.encoding !== 'UTF8') return null
        if ((await client.query(UNIQUE, [name, key])).rows.length === 0) return null
        const columns = compared.flatMap((column) => {
          const hashed = hashedColumn(quote(column.name), column.type, typeOf(column.name), Number(server.version))
          return hashed ? [hashed] : []
        })
        if (columns.length < compared.length) return null
        const ordered = key.map((column) => ({
          name: quote(column),
          order: (sql: string) => orderedBy(typeOf(column), sql),
        }))
        const sql = hashesSql({ table: name, key: ordered, columns, chunkRows })
        await begin()
        // All chunks are wanted, not the first ones soon.
        await client.query('SET LOCAL cursor_tuple_fraction = 1')
        return {
          cells: columns.map(({ cells }) => cells),
          chunks: () => chunks(sql, key.length),
          async *rows(some) {
            const where = joined(some).map((range) => within(key, range))
            const fetch = await cursor(`SELECT * FROM ${name} WHERE ${where.join(' OR ')} ORDER BY ${order(key)}`)
            // FETCH 0 re-reads the last row, so never ask for zero rows.
            for (const { rows } of some) yield rows === 0 ? [] : await fetch(rows)
          },
          end: async () => void (await end()),
        }
      },
      async rowsOf(key, values) {
        const parameters = values.flat()
        const tuple = (row: number) =>
          `(${key.map((column, i) => `$${row * key.length + i + 1}::${typeOf(column)}`).join(', ')})`
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
