/** What a check found: the shape of `kafka2delta check --json`, which docs/check.md describes. */

import type { Finding, Severity } from './findings.js'

export interface SystemReport {
  kind: 'broker' | 'registry' | 'store' | 'catalog'
  name: string
  ok: boolean
  /** Milliseconds until it answered, or until that was given up. */
  ms: number
  detail: string | null
  finding: Finding | null
}

/** An entry of `tables` in the configuration. */
export interface EntryReport {
  entry: string
  path: string
  /** The topics that it takes. */
  topics: string[]
  /** Topics that a pattern matches and that its `exclude` leaves out. */
  excluded: string[]
}

export interface ColumnReport {
  name: string
  /** The source's type; null for columns that the program makes, and those that the table has and the topic has not. */
  source: string | null
  /** The type that the table has, or gets. */
  deltaType: string
  isKey: boolean
  nullable: boolean
  /** What becomes of it by the messages that are there: in a new table all columns are new. */
  change: 'none' | 'new' | 'widened'
  /** The type that the table has now, where it is widened. */
  before: string | null
}

/** Offsets are texts: they exceed what JSON numbers hold. */
export interface PartitionCheck {
  partition: number
  low: string
  end: string
  /** The last offset that the table holds. */
  applied: string | null
}

export interface TableCheck {
  topic: string
  entry: string
  table: string
  path: string
  partitions: PartitionCheck[]
  /** `cleanup.policy`, `retention.ms` and others; null where this user may not see them. */
  settings: Record<string, string> | null
  /** Ids, or GUIDs, of the newest schemas. */
  keySchema: string | null
  valueSchema: string | null
  form: 'flattened' | 'envelope' | 'other' | null
  primaryKey: string[]
  columns: ColumnReport[]
  /** Null where there is no table yet. */
  delta: { version: number; rows: number; bytes: number; mergeMode: string; partitionColumns: string[] } | null
  /** Null where no messages were read. */
  sample: { messages: number; bad: number } | null
  findings: Finding[]
}

export interface CheckReport {
  query: string
  systems: SystemReport[]
  entries: EntryReport[]
  /** Topics that patterns pass over, and why. */
  passedOver: { topic: string; why: string }[]
  tables: TableCheck[]
  /** What is of no single table. */
  findings: Finding[]
}

export const emptyCheck = (topic: string, entry: string, table: string, path: string): TableCheck => ({
  ...{ topic, entry, table, path },
  partitions: [],
  settings: null,
  keySchema: null,
  valueSchema: null,
  form: null,
  primaryKey: [],
  columns: [],
  delta: null,
  sample: null,
  findings: [],
})

/** Everything that was found, wherever it was. */
export function allFindings({ systems, findings, tables }: CheckReport): Finding[] {
  return [
    ...systems.flatMap((system) => system.finding ?? []),
    ...findings,
    ...tables.flatMap((table) => table.findings),
  ]
}

export const numberOf = (findings: readonly Finding[], severity: Severity): number =>
  findings.filter((found) => found.severity === severity).length
