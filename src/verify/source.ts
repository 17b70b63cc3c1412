/** The source's side of a comparison: rows as text, in the order of the key's bytes. */

import { KafkaToDeltaError } from '../errors.js'
import { openMysql } from './mysql.js'
import { openPostgres } from './postgres.js'

/** A row of the source: what the database writes as text; binary values are `\x` and hexadecimal digits. */
export type SourceRow = Readonly<Record<string, string | null>>

export interface SourceTable {
  /** Columns in the table's order. */
  readonly columns: readonly string[]
  /** All rows as of one moment, ordered by the key columns, texts by their UTF-8 bytes. */
  rows(key: readonly string[], fetchSize: number): AsyncIterable<readonly SourceRow[]>
  /** The rows of some keys as they are now. */
  rowsOf(key: readonly string[], values: readonly (readonly string[])[]): Promise<readonly SourceRow[]>
  /** Brings forward what is not asked anew each time. */
  refresh?(): Promise<void>
  close(): Promise<void>
}

/**
 * Opens a table of a database.
 * @param url `postgres://user:password@host:port/database` or `mysql://…`, `mariadb://…`
 * @param table `schema.table`; with MySQL `database.table`
 * @throws CONFIG_INVALID for another kind of address, SOURCE_UNREACHABLE
 */
export async function openSource(url: string, table: string): Promise<SourceTable> {
  const scheme = /^([a-z]+):\/\//.exec(url)?.[1]
  const open = { postgres: openPostgres, postgresql: openPostgres, mysql: openMysql, mariadb: openMysql }[scheme ?? '']
  if (open === undefined) {
    throw new KafkaToDeltaError('CONFIG_INVALID', '--source must be a postgres://, mysql:// or mariadb:// address')
  }
  try {
    return await open(url, table.split('.'))
  } catch (error) {
    if (error instanceof KafkaToDeltaError) throw error
    const { message, code } = error as Error & { code?: string }
    throw new KafkaToDeltaError('SOURCE_UNREACHABLE', `the source ${table}: ${message || code}`, { cause: error })
  }
}
