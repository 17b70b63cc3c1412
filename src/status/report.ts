/** What is known of a query's tables, whether a running worker tells it or the tables do. */

import type { MemoryStatus } from '../stream/index.js'

/** One partition of a topic. Offsets are text: they exceed what JSON numbers hold. */
export interface PartitionReport {
  partition: number
  /** The last offset that was applied; null where none was. */
  applied: string | null
  /** The end of the partition; null where Kafka was not asked, or did not tell. */
  end: string | null
  /** Offsets between the two; null where one of them is not known. */
  lag: number | null
}

export interface TableReport {
  topic: string
  /** The table's name, or its path where it has none. */
  table: string
  path: string | null
  /** What a running worker does with it; null where only the table was asked. */
  state: string | null
  /** Null where there is no table yet. */
  version: number | null
  /** Offsets behind the topic's end; null where that is not known. */
  lag: number | null
  partitions: PartitionReport[]
  /** The time of the newest message that was applied, ISO 8601; null where that is not known. */
  lastChange: string | null
  /** The last commit of anyone, ISO 8601, and the program that made it. */
  lastCommit: { time: string | null; by: string | null } | null
  rows: number | null
  files: number | null
  bytes: number | null
  /** Messages were lost, and the table was not made equal to its source since. */
  needsResync: boolean
  /** Other queries that have written to the table. */
  otherQueries: string[]
  /** How a running worker says that its entry in its catalog stands; null where only the table was asked, or it stands in none. */
  catalog: { name: string; state: string; error: { code: string; message: string } | null } | null
  /** A system that fails and is waited for, or what stopped the table, or why it could not be looked at. */
  trouble: { code: string; message: string } | null
}

export interface StatusReport {
  query: string
  /** Of a running worker; null where only the tables were asked. */
  state: string | null
  /** Of a running worker, in bytes by what holds it; null where only the tables were asked, or the worker starts. */
  memory: MemoryStatus | null
  tables: TableReport[]
  /** Systems that could not be asked, and topics that no table could be made for. */
  problems: { code: string; message: string }[]
}

/** Whether something is to be done about a table. */
export const needsHelp = ({ trouble, needsResync }: TableReport): boolean => trouble !== null || needsResync

/** Those that need help first, then the largest lag. */
export function byUrgency(tables: readonly TableReport[]): TableReport[] {
  const rank = (table: TableReport) => (needsHelp(table) ? Number.POSITIVE_INFINITY : (table.lag ?? 0))
  return [...tables].sort((a, b) => {
    const difference = rank(b) - rank(a)
    return Number.isNaN(difference) || difference === 0 ? (a.topic < b.topic ? -1 : 1) : difference
  })
}
