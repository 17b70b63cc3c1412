/** `kafka2delta/delta`: Delta tables by themselves: read, merge, append, delete, change data feed, maintenance. */

export { ERROR_CODES, type ErrorCode, type ErrorPosition, KafkaToDeltaError } from '../errors.js'
export { type ChangesOptions, Scan, type ScanOptions, type StoreOptions, scanTable, tableChanges } from './scan.js'
export {
  type CheckpointResult,
  type CompactOptions,
  type CompactResult,
  DeltaTable,
  type DeltaTableOptions,
  type HistoryEntry,
  type MergeOptions,
  type MergeResult,
  type TableInfo,
  type TableOffset,
  tableHistory,
  type VacuumOptions,
  type VacuumResult,
} from './table.js'
