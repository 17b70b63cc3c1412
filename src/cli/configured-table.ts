/** The table that a command is about: named by its path, or by a configuration file. */

import { OpenCatalogs } from '../catalog/open-catalogs.js'
import { withVended } from '../catalog/vended.js'
import { DeltaTable, type DeltaTableOptions, type TableInfo } from '../delta/table.js'
import { KafkaToDeltaError } from '../errors.js'
import { tableByPattern } from '../options/patterns.js'
import type { ResolvedOptions, ResolvedTable } from '../options/types.js'
import { loadConfig } from './config.js'
import { invalid, type TableFlags } from './flags.js'

/** The configuration's options, and those of the table that is meant: by its topic, name or path. */
export async function configuredTable(
  path: string,
  config: string,
): Promise<{ options: ResolvedOptions; table: ResolvedTable }> {
  const options = loadConfig(config)
  const named = options.tables.find(({ topic, name, uri }) => [topic, name, uri].includes(path))
  const table = named ?? tableByPattern(options.patterns, path)
  if (table !== null) return { options, table: await ofNow(table) }
  const known = [...options.tables.map(({ topic }) => topic), ...options.patterns.map(({ source }) => source)]
  throw invalid(`${config} has no table ${JSON.stringify(path)}; name one by its topic: ${known.join(', ')}`)
}

/** The table by credentials of now, where its catalog gives them. */
async function ofNow(table: ResolvedTable): Promise<ResolvedTable> {
  const catalogs = new OpenCatalogs()
  try {
    return await withVended(table, catalogs)
  } finally {
    await catalogs.close()
  }
}

/** The table that is meant, with the options that matter for maintenance. */
export async function tableOptions(path: string, flags: TableFlags): Promise<DeltaTableOptions> {
  const own = flags.storageOption ?? {}
  if (flags.config === undefined) return { path, storageOptions: own }
  const { table } = await configuredTable(path, flags.config)
  const { uri, storageOptions, clusterBy, compression, targetFileSize } = table
  return { path: uri, storageOptions: { ...storageOptions, ...own }, clusterBy, compression, targetFileSize }
}

export async function withTable(
  path: string,
  flags: TableFlags,
  more: Partial<DeltaTableOptions>,
  use: (table: DeltaTable, info: TableInfo) => Promise<void>,
): Promise<number> {
  const table = await DeltaTable.open({ ...(await tableOptions(path, flags)), ...more })
  try {
    const info = await table.info()
    if (!info.exists) throw new KafkaToDeltaError('STORAGE_DENIED', `there is no Delta table at ${table.uri}`)
    await use(table, info)
  } finally {
    await table.close()
  }
  return 0
}
