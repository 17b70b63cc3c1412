/** What the calls of a Delta table take and return beside rows: by the names that the engine's structs have. */

/** A position that is committed with the rows, exactly once. */
export interface TableOffset {
  /**
   * `<queryName>:<topic>:<partition>`, or `<queryName>:<topic>:*` for all partitions of the topic that are not named beside
   * it: these are only looked at, not written.
   */
  appId: string
  /** The offset that must be stored now, null for none: the fence. */
  expected: bigint | null
  /** The last offset scanned. */
  last: bigint
  /** Whether `last` may be below what is stored. Default: false: that is a fence, too. */
  mayFall?: boolean
}

/** The counter of src/http/metrics.ts that adds a figure up. */
export interface MergeCounter {
  /** Its name, without `kafka2delta_`. */
  readonly counter: string
  readonly help: string
  /** Labels that tell it from other figures of the same counter. */
  readonly labels?: Readonly<Record<string, string>>
}

const ROWS = { counter: 'rows_total', help: 'Rows by what became of them.' } as const

/** The figures of a merge, by the names that the engine gives them, each with the counter that adds it up. */
export const MERGE_FIGURES = {
  /** Rows written. */
  numRowsUpserted: null,
  /** Of them, with keys that the table did not have. */
  numRowsInserted: { ...ROWS, labels: { operation: 'insert' } },
  /** Of them, with keys that it had. */
  numRowsUpdated: { ...ROWS, labels: { operation: 'update' } },
  numRowsDeleted: { ...ROWS, labels: { operation: 'delete' } },
  /** Changes dropped since a newer one is known. */
  numDroppedStale: {
    counter: 'dropped_stale_total',
    help: 'Changes that were dropped, since a newer one is known.',
  },
  /** Left-out values of which nothing was stored. */
  numMissingValues: { counter: 'missing_values_total', help: 'Left-out values of which nothing was stored.' },
  numFilesAdded: null,
  numFilesRemoved: null,
  numFilesTouched: null,
  bytesWritten: { counter: 'written_bytes_total', help: 'Bytes of data files and deletion vectors.' },
} as const satisfies Record<string, MergeCounter | null>

export type MergeFigure = keyof typeof MERGE_FIGURES

/** What a merge did. */
export interface MergeResult extends Record<MergeFigure, number> {
  /** The table's version after the commit. */
  version: number
  /** What the key index holds in memory after the commit. */
  indexBytes: number
  /** The most that the batch held in memory at a time, its stream and its files included. */
  peakBytes: number
  /** Columns, and nested fields by their paths (`address.zip`, `tags.element.name`), that are new. */
  addedColumns: string[]
  /** Those whose type grew: the table was rewritten. */
  widenedColumns: string[]
  /** What the user should know, each said once as long as the table is open. */
  notes: string[]
  /** Milliseconds. */
  timings: { collapse: number; locate: number; fetch: number; write: number; commit: number; total: number }
}

/** What is known of a table. */
export interface TableInfo {
  exists: boolean
  version: number | null
  uri: string
  name: string | null
  /** JSON of the Delta schema. */
  schemaJson: string | null
  partitionColumns: string[]
  numFiles: number
  numRows: number
  sizeBytes: number
  mergeMode: 'merge-on-read' | 'copy-on-write'
  properties: Record<string, string>
  /** Offsets stored in the table's `txn` actions: app id to version. */
  offsets: { appId: string; version: bigint }[]
  indexKeys: number
  indexBytes: number
}

/** A step of compaction, committed. */
export interface CompactResult {
  version: number
  filesRemoved: number
  filesAdded: number
  /** Rows written. */
  rows: number
  /** Of them, deleted or replaced while they were written: carried over as deletion vectors. */
  rowsCarriedOver: number
  bytesRead: number
  bytesWritten: number
  /** Milliseconds. */
  duration: number
}

/** A checkpoint. */
export interface CheckpointResult {
  version: number
  bytes: number
  /** Log files removed since their retention is over. */
  logFilesRemoved: number
  /** Milliseconds. */
  duration: number
}

/** What vacuum removed, or would remove. */
export interface VacuumResult {
  /** Paths relative to the table; the first 1,000. */
  files: string[]
  numFiles: number
  bytes: number
}
