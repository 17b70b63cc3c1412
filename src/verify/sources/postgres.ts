/** Rows of a PostgreSQL table, and their hashes. */

import pg from 'pg'
import { hashText } from '../chunk-hash.js'
import type { Ordered, Range } from '../ranges.js'
import { type Condition, hashedColumns, orderOf, withinChunks, withKeys } from './parameters.js'
import { hashesSql } from './postgres-hash.js'
import { type PostgresType, postgresReading } from './postgres-types.js'
import type { HashedChunk, Selection, SourceRow, SourceTable } from './source.js'

const raw = { getTypeParser: () => (value: string) => value } as unknown as pg.CustomTypesConfig
const quote = (name: string) => `"${name.replaceAll('"', '""')}"`
const placeholder = (number: number) => `$${number}`

const SERVER = "SELECT current_setting('server_encoding') AS encoding, md5('')"

/** Columns and their types; a domain is what it is made of, in the end. */
const COLUMNS = `WITH RECURSIVE found AS (
    SELECT attnum, attname::text AS name, atttypid AS type, atttypmod AS modifier FROM pg_attribute
    WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped
  UNION ALL
    SELECT attnum, name, typbasetype, CASE WHEN modifier = -1 THEN typtypmod ELSE modifier END
    FROM found JOIN pg_type ON pg_type.oid = type WHERE typtype = 'd'
  )
  SELECT name, format_type(type, modifier) AS type, typtype = 'e' AS is_enum
  FROM found JOIN pg_type ON pg_type.oid = type WHERE typtype <> 'd' ORDER BY attnum`

/** Unique indexes of columns that are never null, none of them beside the key; rows of other tables may be alike. */
const UNIQUE = `SELECT indexrelid FROM pg_index
  JOIN pg_class ON pg_class.oid = indrelid AND (relkind = 'p' OR NOT relhassubclass)
  JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY (indkey)
  WHERE indrelid = $1::regclass AND indisunique AND indisvalid AND indpred IS NULL AND indexprs IS NULL
  GROUP BY indexrelid HAVING bool_and(attnotnull AND attname::text = ANY ($2::text[]))`

async function connect(url: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url, types: raw, application_name: 'kafka2delta verify' })
  // A connection may be lost between two queries: the next one says so.
  client.on('error', () => {})
  await client.connect()
  // Texts of dates, times, numbers and bytes as they are read here, whatever the server's settings are.
  await client.query(
    "SET TimeZone = 'UTC'; SET DateStyle = 'ISO'; SET bytea_output = 'hex'; SET extra_float_digits = 3",
  )
  return client
}

/** A range as one comparison of rows, so that an index can be used. */
function rowRange({ after, upTo }: Range, key: readonly Ordered[]): string {
  const names = key.map(({ sql }) => sql).join(', ')
  const row = (values: readonly string[]) => values.map((value, i) => (key[i] as Ordered).literal(value)).join(', ')
  const bounds = [...(after ? [`(${names}) > (${row(after)})`] : []), ...(upTo ? [`(${names}) <= (${row(upTo)})`] : [])]
  return bounds.join(' AND ')
}

const sqlOf = ({ columns }: Selection) => columns.map(({ reading }) => reading.sql).join(', ')

class PostgresTable implements SourceTable {
  readonly columns: readonly string[]
  /** For rows as they are now, which a transaction of another moment does not see. */
  #now: Promise<pg.Client> | null = null

  constructor(
    private readonly url: string,
    private readonly client: pg.Client,
    private readonly name: string,
    private readonly types: ReadonlyMap<string, PostgresType>,
  ) {
    this.columns = [...types.keys()]
  }

  reading(column: string, target: Parameters<typeof postgresReading>[2]) {
    return postgresReading(quote(column), this.types.get(column) as PostgresType, target)
  }

  #begin = () => this.client.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY')
  #end = () => this.client.query('ROLLBACK')

  async #cursor<Row>(
    sql: string,
    { parameters }: Pick<Condition, 'parameters'> = { parameters: [] },
    rowMode?: 'array',
  ) {
    await this.client.query(`DECLARE found NO SCROLL CURSOR FOR ${sql}`, parameters)
    return async (rows: number): Promise<Row[]> => {
      const text = `FETCH ${rows} FROM found`
      return (await this.client.query(rowMode ? ({ text, rowMode } as never) : text)).rows as Row[]
    }
  }

  async *rows(selection: Selection, fetchSize: number): AsyncGenerator<SourceRow[]> {
    await this.#begin()
    try {
      const sql = `SELECT ${sqlOf(selection)} FROM ${this.name} ORDER BY ${orderOf(selection)}`
      const fetch = await this.#cursor<SourceRow>(sql, undefined, 'array')
      for (;;) {
        const rows = await fetch(fetchSize)
        if (rows.length > 0) yield rows
        if (rows.length < fetchSize) return
      }
    } finally {
      await this.#end()
    }
  }

  async hashed(selection: Selection, chunkRows: number) {
    const { columns, key } = selection
    const keyFields = key.map((at) => columns[at]?.field)
    // A FIPS mode may refuse MD5.
    const server = (await this.client.query(SERVER).catch(() => null))?.rows[0]
    if (server?.encoding !== 'UTF8' || columns.some(({ reading }) => reading.hash === undefined)) return null
    if ((await this.client.query(UNIQUE, [this.name, keyFields])).rows.length === 0) return null
    await this.#begin()
    // All chunks are wanted, not the first ones soon.
    await this.client.query('SET LOCAL cursor_tuple_fraction = 1')
    return {
      cells: columns.flatMap(({ reading }) => reading.hash?.cells ?? []),
      chunks: () => this.#chunks(selection, chunkRows),
      rows: (some: readonly HashedChunk[]) => this.#rowsOfChunks(selection, some),
      end: async () => void (await this.#end()),
    }
  }

  async *#chunks(selection: Selection, chunkRows: number): AsyncGenerator<HashedChunk> {
    const { readings, ...hashed } = hashedColumns(selection)
    const sql = hashesSql({ table: this.name, ...hashed, chunkRows })
    const fetch = await this.#cursor<Record<'rows' | 'high' | 'low' | 'last' | `k${number}`, string>>(sql)
    let next = fetch(1)
    let before = { rows: '0', high: '0', low: '0' }
    for (let after: string[] | null = null; ; ) {
      const [row] = await next
      if (row === undefined) break
      // The database goes on while this chunk is compared.
      next = fetch(1)
      next.catch(() => {})
      const upTo = row.last === 't' ? null : readings.map((one, i) => one?.value(row[`k${i}`] as string) as string)
      const hash = hashText(BigInt(row.high) - BigInt(before.high), BigInt(row.low) - BigInt(before.low))
      yield { after, upTo, rows: Number(row.rows) - Number(before.rows), hash }
      before = row
      after = upTo
    }
    await this.client.query('CLOSE found')
  }

  async *#rowsOfChunks(selection: Selection, some: readonly HashedChunk[]): AsyncGenerator<SourceRow[]> {
    const where = withinChunks(selection, some, placeholder, rowRange)
    const sql = `SELECT ${sqlOf(selection)} FROM ${this.name} WHERE ${where.sql} ORDER BY ${orderOf(selection)}`
    const fetch = await this.#cursor<SourceRow>(sql, where, 'array')
    // FETCH 0 re-reads the last row, so never ask for zero rows.
    for (const { rows } of some) yield rows === 0 ? [] : await fetch(rows)
  }

  async rowsOf(selection: Selection, keys: readonly (readonly string[])[]): Promise<SourceRow[]> {
    const where = withKeys(selection, keys, placeholder)
    if (where === null) return []
    this.#now ??= connect(this.url)
    const text = `SELECT ${sqlOf(selection)} FROM ${this.name} WHERE ${where.sql}`
    const query = { text, values: where.parameters, rowMode: 'array' as const }
    return (await (await this.#now).query<(string | null)[]>(query)).rows
  }

  async close(): Promise<void> {
    await this.client.end()
    await (await this.#now?.catch(() => undefined))?.end()
  }
}

export async function openPostgres(url: string, path: readonly string[]): Promise<SourceTable> {
  const client = await connect(url)
  try {
    const name = path.map(quote).join('.')
    const { rows } = await client.query<{ name: string; type: string; is_enum: string }>(COLUMNS, [name])
    const types = rows.map((row) => [row.name, { name: row.type, isEnum: row.is_enum === 't' }] as const)
    return new PostgresTable(url, client, name, new Map(types))
  } catch (error) {
    await client.end().catch(() => {})
    throw error
  }
}
