/** What the calls of a Delta table take and return beside rows. */

/** A position that is committed with the rows, exactly once. */
export interface TableOffset {
  /** `<queryName>:<topic>:<partition>` */
  appId: string
  /** The offset that must be stored now, null for none: the fence. */
  expected: bigint | null
  /** The last offset scanned. */
  last: bigint
  /** Whether `last` may be below what is stored. Default: false: that is a fence, too. */
  mayFall?: boolean
}

/** What a merge did. */
export interface MergeResult {
  /** The table's version after the commit. */
  version: number
  numRowsUpserted: number
  numRowsInserted: number
  numRowsUpdated: number
  numRowsDeleted: number
  /** Changes dropped since a newer one is known. */
  numDroppedStale: number
  /** Left-out values of which nothing was stored. */
  numMissingValues: number
  numFilesAdded: number
  numFilesRemoved: number
  numFilesTouched: number
  bytesWritten: number
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
