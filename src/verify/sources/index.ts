/** Opens the source of a comparison by its address. */

import { KafkaToDeltaError } from '../../errors.js'
import { openMysql } from './mysql.js'
import { openPostgres } from './postgres.js'
import type { SourceTable } from './source.js'

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
