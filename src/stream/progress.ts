/** What is told of each commit. */

import type { CompactResult, MergeResult } from '../delta/table.js'

/** Offsets of one partition in a batch, as decimal text: they may exceed 2^53. */
export interface OffsetProgress {
  /** The first offset of the batch. */
  start: string
  /** The last offset of the batch. */
  end: string
}

/** What a merge reports of itself, as far as it is a metric of its commit. */
type CommitMetrics = Omit<MergeResult, 'timings' | 'notes'>

/** Which table of which query. */
export interface QueryTable {
  /** The query's name. */
  name: string
  topic: string
  /** The table's name, or its path where it has none. */
  table: string
  path: string
}

/** One commit of one table, with the metrics of its merge. Only plain values: it can be written as JSON. */
export interface StreamingQueryProgress extends QueryTable, CommitMetrics {
  /** Counts the batches of this table since the start, from 0. */
  batchId: number
  /** When the batch was begun, ISO 8601. */
  timestamp: string
  /** Messages. */
  numInputRows: number
  /** Bytes of keys and values. */
  numInputBytes: number
  /** Messages that change no row: heartbeats, transaction markers. */
  numIgnored: number
  /** Messages that could not be applied: skipped, or written to {@link deadLetter}. */
  numBadRecords: number
  /** Where they were written: the path of a Delta table, or `topic <name>`. Null where there are none, or they were skipped. */
  deadLetter: string | null
  /** Messages that arrived, per second since the batch before. */
  inputRowsPerSecond: number
  /** Messages per second of the time that the batch took. */
  processedRowsPerSecond: number
  /** Messages that wait in the topic; null where that is not known yet. */
  lag: number | null
  /** Partition to offsets. */
  offsets: Record<string, OffsetProgress>
  /** Milliseconds. `wait`: for messages, and for the batch before to be written. */
  durationMs: {
    wait: number
    decode: number
    merge: number
    collapse: number
    locate: number
    fetch: number
    write: number
    commit: number
    /** Decoding and merging. */
    total: number
  }
}

/** A step of compaction beside the stream. Only plain values. */
export interface CompactionStep extends QueryTable, CompactResult {}

/** A progress entry out of what was measured. */
export function makeProgress(
  fixed: Pick<
    StreamingQueryProgress,
    | keyof QueryTable
    | 'batchId'
    | 'numInputRows'
    | 'numInputBytes'
    | 'numIgnored'
    | 'numBadRecords'
    | 'deadLetter'
    | 'lag'
    | 'offsets'
  >,
  result: MergeResult,
  times: { begun: number; sinceLast: number; wait: number; decode: number; merge: number },
): StreamingQueryProgress {
  const { timings, notes: _notes, ...metrics } = result
  const { collapse, locate, fetch, write, commit } = timings
  const total = times.decode + times.merge
  const perSecond = (ms: number) => (ms > 0 ? Math.round((fixed.numInputRows * 1000) / ms) : 0)
  return {
    ...fixed,
    ...metrics,
    timestamp: new Date(times.begun).toISOString(),
    inputRowsPerSecond: perSecond(times.sinceLast),
    processedRowsPerSecond: perSecond(total),
    durationMs: {
      wait: times.wait,
      decode: times.decode,
      merge: times.merge,
      collapse,
      locate,
      fetch,
      write,
      commit,
      total,
    },
  }
}
