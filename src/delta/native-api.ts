/**
 * The addon as `napi build` describes it (src/native.d.cts), and our documented types held against that: tsc fails where
 * a result of the addon (crates/kafka2delta-node/src/dto.rs) has fields that ours lacks, or the other way round.
 */

import type * as addon from '../native.cjs'
import type { CheckpointResult, CompactResult, MergeResult, TableInfo, VacuumResult } from './results.js'

export type { NativeBatches, NativeTable, NativeTableOptions } from '../native.cjs'

/** The addon's functions. */
export type NativeModule = Pick<
  typeof addon,
  'openTable' | 'scanTable' | 'tableChanges' | 'listObjects' | 'readObject' | 'tableHistory'
>

/** Fields of one side that the other one lacks, or has with another type: tsc names them when there are any. */
type None<Missing extends never> = Missing
type Fields<T> = { [K in keyof T]-?: [K, T[K]] }[keyof T]

/** The results of the addon are ours, and ours are the addon's. */
export type ResultsMatch = [
  None<Exclude<Fields<addon.NativeMergeResult>, Fields<MergeResult>>>,
  None<Exclude<Fields<MergeResult>, Fields<addon.NativeMergeResult>>>,
  None<Exclude<Fields<addon.NativeCompactResult>, Fields<CompactResult>>>,
  None<Exclude<Fields<CompactResult>, Fields<addon.NativeCompactResult>>>,
  None<Exclude<Fields<addon.NativeCheckpointResult>, Fields<CheckpointResult>>>,
  None<Exclude<Fields<CheckpointResult>, Fields<addon.NativeCheckpointResult>>>,
  None<Exclude<Fields<addon.NativeVacuumResult>, Fields<VacuumResult>>>,
  None<Exclude<Fields<VacuumResult>, Fields<addon.NativeVacuumResult>>>,
  // In the addon's description the merge mode is any text.
  None<Exclude<Fields<Omit<addon.NativeTableInfo, 'mergeMode'>>, Fields<TableInfo>>>,
  None<Exclude<Fields<TableInfo>, Fields<addon.NativeTableInfo>>>,
]
