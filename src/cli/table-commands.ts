/** Commands on one Delta table: `describe`, `history`, `compact`, `checkpoint`, `vacuum`. */

import { isCompanionEntry, lostEntries } from '../delta/offset-entries.js'
import type { DeltaTableOptions, TableInfo } from '../delta/table.js'
import { DeltaTable, tableHistory } from '../delta/table.js'
import { KafkaToDeltaError } from '../errors.js'
import type { ResolvedOptions, ResolvedTable } from '../options/types.js'
import { parseDuration, parseSize } from '../options/units.js'
import { formatBytes, formatCount, formatMs, formatTable } from '../terminal/format.js'
import type { Output } from '../terminal/output.js'
import { loadConfig } from './config.js'

/** Milliseconds below which vacuum asks for `--force`. */
const SAFE_RETENTION_MS = 24 * 3600 * 1000

export interface TableFlags {
  /** A configuration file; the path is then the topic, name or path of one of its tables. */
  config?: string
  storageOption?: Record<string, string>
  json?: boolean
  verbose?: boolean
}

export const invalid = (message: string) => new KafkaToDeltaError('CONFIG_INVALID', message)

/** The configuration's options, and those of the table that is meant: by its topic, name or path. */
export function configuredTable(path: string, config: string): { options: ResolvedOptions; table: ResolvedTable } {
  const options = loadConfig(config)
  const table = options.tables.find(({ topic, name, uri }) => [topic, name, uri].includes(path))
  if (table !== undefined) return { options, table }
  const known = options.tables.map(({ topic }) => topic).join(', ')
  throw invalid(`${config} has no table ${JSON.stringify(path)}; name one by its topic: ${known}`)
}

/** The table that is meant, with the options that matter for maintenance. */
export function tableOptions(path: string, flags: TableFlags): DeltaTableOptions {
  const own = flags.storageOption ?? {}
  if (flags.config === undefined) return { path, storageOptions: own }
  const { uri, storageOptions, clusterBy, compression, targetFileSize } = configuredTable(path, flags.config).table
  return { path: uri, storageOptions: { ...storageOptions, ...own }, clusterBy, compression, targetFileSize }
}

export async function withTable(
  path: string,
  flags: TableFlags,
  more: Partial<DeltaTableOptions>,
  use: (table: DeltaTable, info: TableInfo) => Promise<void>,
): Promise<number> {
  const table = await DeltaTable.open({ ...tableOptions(path, flags), ...more })
  try {
    const info = await table.info()
    if (!info.exists) throw new KafkaToDeltaError('STORAGE_DENIED', `there is no Delta table at ${table.uri}`)
    await use(table, info)
  } finally {
    await table.close()
  }
  return 0
}

/** JSON of a result; offsets exceed what JSON numbers hold and become text. */
export const json = (value: unknown): string =>
  `${JSON.stringify(value, (_key, entry) => (typeof entry === 'bigint' ? String(entry) : entry))}\n`

const lines = (output: Output, rows: readonly (readonly string[])[], right?: ReadonlySet<number>): void => {
  for (const line of formatTable(rows, right)) output.stdout.write(`${line}\n`)
}

/** `kafka2delta describe`: what a table is and holds. */
export async function describe(path: string, flags: TableFlags, output: Output): Promise<number> {
  return withTable(path, flags, {}, async (_table, info) => {
    const schema = JSON.parse(info.schemaJson ?? '{"fields":[]}') as {
      fields: { name: string; type: unknown; nullable: boolean }[]
    }
    if (flags.json) {
      const { schemaJson: _, ...rest } = info
      output.stdout.write(json({ ...rest, schema }))
      return
    }
    lines(output, [
      ['path', info.uri],
      ['name', info.name ?? '-'],
      ['version', formatCount(info.version ?? 0)],
      ['rows', formatCount(info.numRows)],
      ['files', `${formatCount(info.numFiles)}, ${formatBytes(info.sizeBytes)}`],
      ['merge mode', info.mergeMode],
      ['partitioned by', info.partitionColumns.join(', ') || '-'],
    ])
    const type = (value: unknown) => (typeof value === 'string' ? value : JSON.stringify(value))
    const columns = schema.fields.map(({ name, type: of, nullable }) => [
      `  ${name}`,
      `${type(of)}${nullable ? '' : ' not null'}`,
    ])
    output.stdout.write('columns\n')
    lines(output, columns)
    const properties = Object.entries(info.properties).sort(([a], [b]) => (a < b ? -1 : 1))
    if (properties.length > 0) output.stdout.write('properties\n')
    lines(
      output,
      properties.map(([name, value]) => [`  ${name}`, value]),
    )
    const offsets = info.offsets.filter(({ appId }) => !isCompanionEntry(appId))
    if (offsets.length > 0) output.stdout.write('last offsets applied\n')
    lines(
      output,
      offsets.map(({ appId, version }) => [`  ${appId}`, String(version)]),
      new Set([1]),
    )
    const lost = lostEntries(new Map(info.offsets.map(({ appId, version }) => [appId, version])))
    if (lost.length > 0) output.stdout.write('messages were lost: make it equal to its source with verify --repair\n')
  })
}

/** `kafka2delta history`: the newest commits. */
export async function history(path: string, flags: TableFlags & { limit: number }, output: Output): Promise<number> {
  const { path: uri, storageOptions } = tableOptions(path, flags)
  const entries = await tableHistory(uri, { limit: flags.limit, ...(storageOptions ? { storageOptions } : {}) })
  if (flags.json) {
    output.stdout.write(json(entries))
    return 0
  }
  const rows = entries.map(({ version, timestamp, operation, engineInfo, operationMetrics = {} }) => {
    const metric = (name: string) => operationMetrics[name] ?? ''
    return [
      String(version),
      timestamp === undefined ? '-' : new Date(timestamp).toISOString(),
      operation ?? '-',
      metric('numTargetRowsInserted'),
      metric('numTargetRowsUpdated'),
      metric('numTargetRowsDeleted'),
      engineInfo ?? '-',
    ]
  })
  const head = ['version', 'time', 'operation', 'inserted', 'updated', 'deleted', 'by']
  lines(output, [head, ...rows], new Set([0, 3, 4, 5]))
  return 0
}

export interface CompactFlags extends TableFlags {
  full?: boolean
  minFiles?: number
  maxBytes?: string
  deletedShare?: number
  clusterBy?: string
}

/** A stream's table may get a column of `clusterBy` later; what is named by hand must be there. */
function mustHaveColumns(names: readonly string[], schemaJson: string | null): void {
  const { fields } = JSON.parse(schemaJson ?? '{"fields":[]}') as { fields: { name: string }[] }
  const missing = names.find((name) => !fields.some((field) => field.name === name))
  if (missing !== undefined) throw invalid(`--cluster-by names ${missing}, which is no column of the table`)
}

/** `kafka2delta compact`: steps until nothing is due. */
export async function compact(path: string, flags: CompactFlags, output: Output): Promise<number> {
  const maxBytes = flags.maxBytes === undefined ? undefined : parseSize(flags.maxBytes)
  if (maxBytes === null) throw invalid(`--max-bytes: expected a size such as "1 GB", got ${flags.maxBytes}`)
  const more = flags.clusterBy === undefined ? {} : { clusterBy: flags.clusterBy.split(',').map((name) => name.trim()) }
  const total = { steps: 0, filesRemoved: 0, filesAdded: 0, bytesRead: 0, bytesWritten: 0, duration: 0 }
  return withTable(path, flags, more, async (table, { schemaJson }) => {
    mustHaveColumns(more.clusterBy ?? [], schemaJson)
    for (;;) {
      const result = await table.compact({
        full: flags.full ?? false,
        ...(flags.minFiles === undefined ? {} : { minFiles: flags.minFiles }),
        ...(maxBytes === undefined ? {} : { maxBytes }),
        ...(flags.deletedShare === undefined ? {} : { deletedShare: flags.deletedShare }),
      })
      if (result === null) break
      total.steps++
      for (const name of ['filesRemoved', 'filesAdded', 'bytesRead', 'bytesWritten', 'duration'] as const) {
        total[name] += result[name]
      }
      if (flags.json) continue
      const { version, filesRemoved, filesAdded, bytesRead, bytesWritten, duration } = result
      output.stdout.write(
        `version ${version}: ${filesRemoved} files (${formatBytes(bytesRead)}) became ${filesAdded} (${formatBytes(bytesWritten)}) in ${formatMs(duration)}\n`,
      )
      // What stays is as small as it can be: a full step would find it again.
      if (flags.full && filesRemoved <= filesAdded) break
    }
    if (flags.json) output.stdout.write(json(total))
    else if (total.steps === 0) output.stdout.write('nothing is due\n')
  })
}

/** `kafka2delta checkpoint`. */
export async function checkpoint(path: string, flags: TableFlags, output: Output): Promise<number> {
  return withTable(path, flags, {}, async (table) => {
    const result = await table.checkpoint()
    if (flags.json) output.stdout.write(json(result))
    else
      output.stdout.write(
        `checkpoint of version ${result.version}, ${formatBytes(result.bytes)}, in ${formatMs(result.duration)}; ${formatCount(result.logFilesRemoved)} log files removed\n`,
      )
  })
}

export interface VacuumFlags extends TableFlags {
  retention?: string
  dryRun?: boolean
  force?: boolean
}

/** `kafka2delta vacuum`. */
export async function vacuum(path: string, flags: VacuumFlags, output: Output): Promise<number> {
  const retention = flags.retention === undefined ? undefined : parseDuration(flags.retention)
  if (retention === null) throw invalid(`--retention: expected a duration such as "7 days", got ${flags.retention}`)
  if (retention !== undefined && retention < SAFE_RETENTION_MS && !flags.force && !flags.dryRun) {
    throw invalid(
      '--retention below a day takes files that queries may still read, and below the time that a commit takes damages ' +
        'the table; with --force it is done all the same',
    )
  }
  return withTable(path, flags, {}, async (table) => {
    const result = await table.vacuum({
      dryRun: flags.dryRun ?? false,
      ...(retention === undefined ? {} : { retention }),
    })
    if (flags.json) {
      output.stdout.write(json(result))
      return
    }
    if (flags.dryRun) for (const file of result.files) output.stdout.write(`${file}\n`)
    const done = flags.dryRun ? 'would be removed' : 'removed'
    output.stdout.write(`${formatCount(result.numFiles)} files, ${formatBytes(result.bytes)}, ${done}\n`)
  })
}
