/** Rows of a MySQL or MariaDB table, and their hashes. All statements with values are prepared ones. */

import { type Connection, createConnection, type RowDataPacket } from 'mysql2'
import { hashText } from '../chunk-hash.js'
import { quote } from '../comparable.js'
import { hashesSql } from './mysql-hash.js'
import { mysqlReading } from './mysql-types.js'
import { hashedColumns, orderOf, withinChunks, withKeys } from './parameters.js'
import type { HashedChunk, Selection, SourceRow, SourceTable } from './source.js'

const placeholder = () => '?'

/** Window functions are there from MySQL 8 and MariaDB 10.2 on. */
function hasWindows(version: string): boolean {
  const [, major, minor] = /^(?:5\.5\.5-)?(\d+)\.(\d+)/.exec(version) ?? []
  const number = Number(major) * 100 + Number(minor)
  return number >= (/mariadb/i.test(version) ? 1002 : 800)
}

async function connect(uri: string): Promise<Connection> {
  const connection = createConnection({ uri, timezone: 'Z', charset: 'utf8mb4' })
  // A connection may be lost between two queries: the next one says so.
  connection.on('error', () => {})
  // Texts without the spaces that fill a CHAR up, as the connector sends them.
  const mode = "REPLACE(@@sql_mode, 'PAD_CHAR_TO_FULL_LENGTH', '')"
  try {
    await connection.promise().query(`SET time_zone = '+00:00', sql_mode = ${mode}`)
    return connection
  } catch (error) {
    connection.destroy()
    throw error
  }
}

const sqlOf = ({ columns }: Selection) => columns.map(({ reading }) => reading.sql).join(', ')

class MysqlTable implements SourceTable {
  readonly columns: readonly string[]
  /** For rows as they are now, which a transaction of another moment does not see. */
  #now: Promise<Connection> | null = null

  constructor(
    private readonly uri: string,
    private readonly connection: Connection,
    private readonly name: string,
    private readonly types: ReadonlyMap<string, string>,
  ) {
    this.columns = [...types.keys()]
  }

  reading(column: string, target: Parameters<typeof mysqlReading>[2]) {
    return mysqlReading(quote(column), this.types.get(column) as string, target)
  }

  async #begin(): Promise<void> {
    await this.connection.promise().query('SET TRANSACTION ISOLATION LEVEL REPEATABLE READ')
    await this.connection.promise().query('START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY')
  }

  #end = () => this.connection.promise().query('ROLLBACK')

  /** Rows of a query, `size()` of them at once. */
  async *#batches(sql: string, values: readonly string[], size: () => number): AsyncGenerator<SourceRow[]> {
    const stream = this.connection
      .execute({ sql, values: [...values], rowsAsArray: true })
      .stream({ highWaterMark: 1000 })
    let rows: SourceRow[] = []
    let wanted = size()
    for await (const row of stream) {
      rows.push(row as SourceRow)
      if (rows.length < wanted) continue
      yield rows
      rows = []
      wanted = size()
    }
    if (rows.length > 0) yield rows
  }

  /** A unique index of columns that are never null, none of them beside the key. */
  async #isUnique(key: readonly (string | undefined)[]): Promise<boolean> {
    const [parts] = await this.connection.promise().query<RowDataPacket[]>(`SHOW INDEX FROM ${this.name}`)
    const indexes = new Map<string, boolean>()
    for (const { Key_name, Non_unique, Column_name, Null, Sub_part } of parts) {
      const one = Number(Non_unique) === 0 && key.includes(Column_name) && Null !== 'YES' && Sub_part === null
      indexes.set(Key_name, (indexes.get(Key_name) ?? true) && one)
    }
    return [...indexes.values()].includes(true)
  }

  async *rows(selection: Selection, fetchSize: number): AsyncGenerator<SourceRow[]> {
    await this.#begin()
    try {
      const sql = `SELECT ${sqlOf(selection)} FROM ${this.name} ORDER BY ${orderOf(selection)}`
      yield* this.#batches(sql, [], () => fetchSize)
    } finally {
      await this.#end()
    }
  }

  async hashed(selection: Selection, chunkRows: number) {
    const { columns, key } = selection
    if (columns.some(({ reading }) => reading.hash === undefined)) return null
    if (!(await this.#isUnique(key.map((at) => columns[at]?.field)))) return null
    // A FIPS mode may refuse MD5.
    const asked = this.connection.promise().query<RowDataPacket[]>("SELECT VERSION() AS version, MD5('') AS md5")
    const [[server]] = await asked.catch(() => [[]] as [RowDataPacket[]])
    if (!server?.md5 || !hasWindows(String(server.version))) return null
    await this.#begin()
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
    const [rows] = (await this.connection.promise().execute(sql)) as unknown as [Record<string, string>[]]
    let after: string[] | null = null
    for (const [i, row] of rows.entries()) {
      const isLast = i === rows.length - 1
      const upTo = isLast ? null : readings.map((one, at) => one?.value(row[`#key${at}`] as string) as string)
      const hash = hashText(BigInt(row['#high'] as string), BigInt(row['#low'] as string))
      yield { after, upTo, rows: Number(row['#rows']), hash }
      after = upTo
    }
  }

  async *#rowsOfChunks(selection: Selection, some: readonly HashedChunk[]): AsyncGenerator<SourceRow[]> {
    const where = withinChunks(selection, some, placeholder)
    const sql = `SELECT ${sqlOf(selection)} FROM ${this.name} WHERE ${where.sql} ORDER BY ${orderOf(selection)}`
    const left = some.filter(({ rows }) => rows > 0).map(({ rows }) => rows)
    const found = this.#batches(sql, where.parameters, () => left.shift() ?? 1)
    try {
      for (const { rows } of some) yield rows === 0 ? [] : ((await found.next()).value ?? [])
    } finally {
      // A result that is not read to its end keeps the connection.
      await found.return(undefined)
    }
  }

  async rowsOf(selection: Selection, keys: readonly (readonly string[])[]): Promise<SourceRow[]> {
    const where = withKeys(selection, keys, placeholder)
    if (where === null) return []
    this.#now ??= connect(this.uri)
    const sql = `SELECT ${sqlOf(selection)} FROM ${this.name} WHERE ${where.sql}`
    const query = { sql, values: where.parameters, rowsAsArray: true }
    return (await (await this.#now).promise().execute(query))[0] as unknown as SourceRow[]
  }

  async close(): Promise<void> {
    await this.connection.promise().end()
    await (await this.#now?.catch(() => undefined))?.promise().end()
  }
}

export async function openMysql(url: string, path: readonly string[]): Promise<SourceTable> {
  const uri = url.replace(/^mariadb:/, 'mysql:')
  const connection = await connect(uri)
  try {
    const name = path.map(quote).join('.')
    const [described] = await connection.promise().query<RowDataPacket[]>(`SHOW COLUMNS FROM ${name}`)
    const types = new Map<string, string>(described.map((row) => [String(row.Field), String(row.Type)]))
    return new MysqlTable(uri, connection, name, types)
  } catch (error) {
    await connection
      .promise()
      .end()
      .catch(() => {})
    throw error
  }
}
