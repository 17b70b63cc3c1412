/** Rows of a MySQL or MariaDB table, and their hashes. */

import { createConnection, type RowDataPacket } from 'mysql2'
import { hashText } from '../chunk-hash.js'
import { quote } from '../comparable.js'
import { joined, type Ordered, rangeSql } from '../ranges.js'
import { hashedColumn, hashesSql } from './mysql-hash.js'
import type { HashedChunk, SourceRow, SourceTable } from './source.js'

const BINARY = /blob|binary|^bit/
const BYTES = /^(var)?binary\b/
const TEXT = /char|text|enum/

/** How a key column is ordered: texts by their UTF-8 bytes. */
const orderedBy = (column: string, type: string) =>
  TEXT.test(type) ? `CAST(CONVERT(${quote(column)} USING utf8mb4) AS BINARY)` : quote(column)

/** A key column with literals that compare as the column is ordered; null for types of which that is not sure. */
function comparedKey(column: string, type: string): Ordered | null {
  const sql = orderedBy(column, type)
  if (TEXT.test(type)) return { sql, literal: (value) => `X'${Buffer.from(value).toString('hex')}'` }
  if (BYTES.test(type)) return { sql, literal: (value) => `X'${value.slice(2)}'` }
  if (/^(date|datetime|timestamp)\b/.test(type)) return { sql, literal: (value) => `'${value}'` }
  return /^(tinyint|smallint|mediumint|int|bigint|decimal)\b/.test(type) ? { sql, literal: (value) => value } : null
}

/** Window functions are there from MySQL 8 and MariaDB 10.2 on. */
function hasWindows(version: string): boolean {
  const [, major, minor] = /^(?:5\.5\.5-)?(\d+)\.(\d+)/.exec(version) ?? []
  const number = Number(major) * 100 + Number(minor)
  return number >= (/mariadb/i.test(version) ? 1002 : 800)
}

export async function openMysql(url: string, path: readonly string[]): Promise<SourceTable> {
  const uri = url.replace(/^mariadb:/, 'mysql:')
  const callbacks = createConnection({ uri, timezone: 'Z', charset: 'utf8mb4' })
  // A connection may be lost between two queries: the next one says so.
  callbacks.on('error', () => {})
  const connection = callbacks.promise()
  try {
    await connection.query("SET time_zone = '+00:00'")
    const name = path.map(quote).join('.')
    const [described] = await connection.query<RowDataPacket[]>(`SHOW COLUMNS FROM ${name}`)
    const types = new Map<string, string>(described.map((row) => [String(row.Field), String(row.Type)]))
    const typeOf = (column: string) => types.get(column) ?? ''
    // Names are not all that `typeCast` could go by, but they tell a binary column from a text for sure.
    const typeCast = (field: { name: string; string(): string | null; buffer(): Buffer | null }) => {
      if (!BINARY.test(typeOf(field.name))) return field.string()
      const bytes = field.buffer()
      return bytes && `\\x${bytes.toString('hex')}`
    }
    const order = (key: readonly string[]) => key.map((column) => orderedBy(column, typeOf(column))).join(', ')

    async function begin(): Promise<void> {
      await connection.query('SET TRANSACTION ISOLATION LEVEL REPEATABLE READ')
      await connection.query('START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY')
    }
    const end = () => connection.query('ROLLBACK')

    /** Rows of a query, `size()` of them at once. */
    async function* batches(sql: string, size: () => number): AsyncGenerator<SourceRow[]> {
      const stream = callbacks.query({ sql, typeCast }).stream({ highWaterMark: 1000 })
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
    async function isUnique(key: readonly string[]): Promise<boolean> {
      const [parts] = await connection.query<RowDataPacket[]>(`SHOW INDEX FROM ${name}`)
      const indexes = new Map<string, boolean>()
      for (const { Key_name, Non_unique, Column_name, Null, Sub_part } of parts) {
        const one = Number(Non_unique) === 0 && key.includes(Column_name) && Null !== 'YES' && Sub_part === null
        indexes.set(Key_name, (indexes.get(Key_name) ?? true) && one)
      }
      return [...indexes.values()].includes(true)
    }

    async function* chunks(sql: string, key: readonly string[]): AsyncGenerator<HashedChunk> {
      const [rows] = (await connection.query({ sql, typeCast })) as unknown as [Record<string, string>[]]
      let after: string[] | null = null
      for (const [i, row] of rows.entries()) {
        const upTo: string[] | null = i === rows.length - 1 ? null : key.map((column) => row[column] as string)
        const hash = hashText(BigInt(row['#high'] as string), BigInt(row['#low'] as string))
        yield { after, upTo, rows: Number(row['#rows']), hash }
        after = upTo
      }
    }

    return {
      columns: [...types.keys()],
      async *rows(key, fetchSize) {
        await begin()
        try {
          yield* batches(`SELECT * FROM ${name} ORDER BY ${order(key)}`, () => fetchSize)
        } finally {
          await end()
        }
      },
      async hashed(key, compared, chunkRows) {
        const ordered = key.flatMap((column) => comparedKey(column, typeOf(column)) ?? [])
        const columns = compared.flatMap(
          (column) => hashedColumn(quote(column.name), column.type, typeOf(column.name)) ?? [],
        )
        if (ordered.length < key.length || columns.length < compared.length || !(await isUnique(key))) return null
        // A FIPS mode may refuse MD5.
        const asked = connection.query<RowDataPacket[]>("SELECT VERSION() AS version, MD5('') AS md5")
        const [[server]] = await asked.catch(() => [[]] as [RowDataPacket[]])
        if (!server?.md5 || !hasWindows(String(server.version))) return null
        const keys = key.map((column, i) => ({ name: quote(column), order: (ordered[i] as Ordered).sql }))
        const sql = hashesSql({ table: name, key: keys, columns, chunkRows })
        await begin()
        return {
          cells: columns.map(({ cells }) => cells),
          chunks: () => chunks(sql, key),
          async *rows(some) {
            const where = joined(some).map((range) => `(${rangeSql(range, ordered) || 'TRUE'})`)
            const query = `SELECT * FROM ${name} WHERE ${where.join(' OR ')} ORDER BY ${order(key)}`
            const left = some.filter(({ rows }) => rows > 0).map(({ rows }) => rows)
            const found = batches(query, () => left.shift() ?? 1)
            try {
              for (const { rows } of some) yield rows === 0 ? [] : ((await found.next()).value ?? [])
            } finally {
              // A result that is not read to its end keeps the connection.
              await found.return(undefined)
            }
          },
          end: async () => void (await end()),
        }
      },
      async rowsOf(key, values) {
        const tuple = `(${key.map(() => '?').join(', ')})`
        const tuples = values.map(() => tuple).join(', ')
        const sql = `SELECT * FROM ${name} WHERE (${key.map(quote).join(', ')}) IN (${tuples})`
        const parameters = values.flatMap((one) =>
          one.map((value, i) => (BYTES.test(typeOf(key[i] as string)) ? Buffer.from(value.slice(2), 'hex') : value)),
        )
        return (await connection.query({ sql, typeCast, values: parameters }))[0] as SourceRow[]
      },
      close: () => connection.end(),
    }
  } catch (error) {
    await connection.end().catch(() => {})
    throw error
  }
}
