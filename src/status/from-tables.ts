/** The state of a query by its tables alone, whether or not a worker runs. Nothing is written. */

import { entriesByPartition, entryPrefix, LOST, lostEntries, TIME } from '../delta/offset-entries.js'
import { type DeltaTable, type TableInfo, tableHistory } from '../delta/table.js'
import { asKafkaToDeltaError, type KafkaToDeltaError } from '../errors.js'
import type { ResolvedOptions, ResolvedTable } from '../options/types.js'
import { sideBySide } from '../waits.js'
import type { PartitionReport, StatusReport, TableReport } from './report.js'

/** Tables that are looked at a time. */
const MAX_LOOKS = 16

/** The systems that are asked. */
export interface AskedSystems {
  /** Tables of topics that patterns take. */
  findTables(): Promise<{ tables: ResolvedTable[]; failures: { topic: string; error: KafkaToDeltaError }[] }>
  /** The end of each partition of the topics. */
  ends(topics: readonly string[]): Promise<Map<string, Map<number, bigint>>>
  /** The table by credentials of now, where its catalog gives them. */
  ofNow?(table: ResolvedTable): Promise<ResolvedTable>
  open(table: ResolvedTable): Promise<Pick<DeltaTable, 'info' | 'close'>>
}

/**
 * Never rejects: what could not be asked is told in the report.
 * @param isWanted which tables are asked; default: all
 */
export async function statusOfTables(
  options: ResolvedOptions,
  systems: AskedSystems,
  isWanted: (table: ResolvedTable) => boolean = () => true,
): Promise<StatusReport> {
  const problems: StatusReport['problems'] = []
  const tables = options.tables.filter(isWanted)
  let ends: Map<string, Map<number, bigint>> | null = null
  try {
    const found = options.patterns.length > 0 ? await systems.findTables() : { tables: [], failures: [] }
    tables.push(...found.tables.filter(isWanted))
    problems.push(...found.failures.map(({ error }) => problemOf(error)))
    ends = await systems.ends(tables.map(({ topic }) => topic))
  } catch (thrown) {
    problems.push(problemOf(thrown))
  }
  const reports = await sideBySide(MAX_LOOKS, tables, (table) => reportOf(table, options.queryName, systems, ends))
  return { query: options.queryName, state: null, memory: null, tables: reports, problems }
}

async function reportOf(
  table: ResolvedTable,
  queryName: string,
  systems: AskedSystems,
  ends: Map<string, Map<number, bigint>> | null,
): Promise<TableReport> {
  const report = emptyReport(table)
  try {
    await fillIn(report, (await systems.ofNow?.(table)) ?? table, queryName, systems)
  } catch (thrown) {
    report.trouble = problemOf(thrown)
  }
  const ofTopic = ends?.get(table.topic)
  if (ofTopic) addEnds(report, ofTopic)
  else if (ends)
    report.trouble ??= { code: 'TOPIC_NOT_FOUND', message: `Kafka has no topic ${table.topic} for this user` }
  return report
}

function problemOf(thrown: unknown): { code: string; message: string } {
  const { code, message } = asKafkaToDeltaError(thrown)
  return { code, message }
}

function emptyReport({ topic, name, uri }: ResolvedTable): TableReport {
  return {
    topic,
    table: name ?? uri,
    path: uri,
    state: null,
    version: null,
    lag: null,
    partitions: [],
    lastChange: null,
    lastCommit: null,
    rows: null,
    files: null,
    bytes: null,
    needsResync: false,
    catalog: null,
    otherQueries: [],
    trouble: null,
  }
}

async function fillIn(report: TableReport, table: ResolvedTable, queryName: string, systems: AskedSystems) {
  const opened = await systems.open(table)
  let info: TableInfo
  try {
    info = await opened.info()
  } finally {
    await opened.close()
  }
  if (!info.exists) return
  const stored = info.offsets.map(({ appId, version }) => [appId, version] as const)
  const prefix = entryPrefix(queryName, table.topic)
  report.version = info.version
  report.rows = info.numRows
  report.files = info.numFiles
  report.bytes = info.sizeBytes
  report.partitions = [...entriesByPartition(stored, prefix)].map(([partition, last]) => ({
    partition,
    applied: last < 0n ? null : String(last),
    end: null,
    lag: null,
  }))
  const times = [...entriesByPartition(stored, prefix, TIME).values()].filter((time) => time >= 0n)
  report.lastChange = times.length === 0 ? null : iso(Number(times.reduce((a, b) => (a > b ? a : b))))
  report.needsResync = lostEntries(new Map(stored)).some(
    ({ appId }) => appId.startsWith(prefix) && appId.endsWith(LOST),
  )
  report.otherQueries = otherQueries(info, queryName)
  const [last] = await tableHistory(table.uri, { limit: 1, storageOptions: table.storageOptions })
  report.lastCommit = last ? { time: iso(last.timestamp), by: last.engineInfo ?? null } : null
}

const iso = (ms: number | undefined): string | null => (ms === undefined ? null : new Date(ms).toISOString())

/** Queries but this one that have written to the table. */
export function otherQueries({ offsets }: Pick<TableInfo, 'offsets'>, queryName: string): string[] {
  const names = offsets.flatMap(({ appId }) => /^(.*?):[^:]+:\d+$/.exec(appId)?.[1] ?? [])
  return [...new Set(names)].filter((name) => name !== queryName).sort()
}

/** A partition that the table does not know yet begins where `startingOffsets` says: how far it is behind is not known. */
function addEnds(report: TableReport, ends: Map<number, bigint>): void {
  const known = new Map(report.partitions.map((partition) => [partition.partition, partition]))
  report.partitions = [...ends].map(([partition, end]): PartitionReport => {
    const found = known.get(partition)
    const next = found ? BigInt(found.applied ?? -1) + 1n : end === 0n ? 0n : null
    const lag = next === null ? null : Number(end > next ? end - next : 0n)
    return { partition, applied: found?.applied ?? null, end: String(end), lag }
  })
  const lags = report.partitions.map(({ lag }) => lag)
  report.lag = lags.some((lag) => lag === null) ? null : lags.reduce<number>((sum, lag) => sum + (lag ?? 0), 0)
}
