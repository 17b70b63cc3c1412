/** The shape of the addon (crates/kafka2delta-node). Complete options go in, results come out: no defaults here. */

export interface NativeTableOptions {
  /** Absolute path or URL of the table. */
  uri: string
  storageOptions: Record<string, string>
  primaryKey: string[] | null
  /** SQL expressions, `expr AS name`, with Spark's function names. */
  additionalColumns: string[]
  partitionColumns: string[]
  /** Delta table name and description at creation. */
  name: string | null
  description: string | null
  /** Table properties at creation. */
  properties: Record<string, string>
  writeMode: 'upsert' | 'append' | 'scd2'
  /** Names of the columns valid from, valid to, is current; null unless `scd2`. */
  versionColumns: string[] | null
  mergeMode: 'auto' | 'merge-on-read' | 'copy-on-write'
  schemaEvolution: 'add' | 'none' | 'fail'
  /** Boolean column that marks deleted rows, which stay; null: deleted rows go. */
  softDeleteColumn: string | null
  onMissingValue: 'null' | 'fail'
  /** Bytes. */
  targetFileSize: number
  /** Bytes of data files up to which the table is rewritten for a wider column. */
  maxRewriteBytes: number
  /** Deletes and sequences remembered, number of keys. */
  rememberedKeys: number
  compression: 'snappy' | 'zstd'
  /** Columns by which rewritten files are sorted; empty: rows keep their order. */
  clusterBy: string[]
  /** `none`: no index is kept, keys are looked for in the key columns of the files that may hold them. */
  keyIndex: 'auto' | 'none'
  /** Bytes of memory for the key index; above, it works from a file in `indexDir`, or in the temporary folder. */
  indexMemory: number
  /** Local folder where the key index is saved between runs; null: it is built anew at each start. */
  indexDir: string | null
}

export interface NativeOffset {
  /** `<queryName>:<topic>:<partition>` */
  appId: string
  /** The offset that must be stored now, null for none: the fence. */
  expected: bigint | null
  /** The last offset scanned. */
  last: bigint
  /** Whether `last` may be below what is stored. Default: false: that is a fence, too. */
  mayFall?: boolean
}

export interface NativeMergeResult {
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
  notes?: string[]
  /** Milliseconds. */
  timings: { collapse: number; locate: number; fetch: number; write: number; commit: number; total: number }
}

export interface NativeTableInfo {
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

/** When files are rewritten. */
export interface NativeCompactOptions {
  /** Small files of one size class, Kafka partition and partition value from which on they become one. */
  minFiles: number
  /** Bytes of the files that one step reads. */
  maxBytes: number
  /** Share of deleted rows from which on a file is rewritten, 0 to 1. */
  deletedShare: number
  /** Every file that is small or has deleted rows, whether it pays or not. */
  full: boolean
}

/** One step of compaction, committed. */
export interface NativeCompactResult {
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

export interface NativeCheckpointResult {
  version: number
  bytes: number
  /** Log files removed since their retention is over. */
  logFilesRemoved: number
  /** Milliseconds. */
  duration: number
}

export interface NativeVacuumOptions {
  /** Milliseconds; null: the table's `delta.deletedFileRetentionDuration`. */
  retention: number | null
  dryRun: boolean
}

export interface NativeVacuumResult {
  /** Paths relative to the table; the first 1,000. */
  files: string[]
  numFiles: number
  bytes: number
}

/** One open keyed table. Merges are serialised by the addon; `compact`, `checkpoint`, `vacuum` run beside them. */
export interface NativeTable {
  info(): Promise<NativeTableInfo>
  /** Looks for commits of others. */
  refresh(): Promise<NativeTableInfo>
  /** `ipc` must not be changed until the promise settles. Null commits offsets alone. */
  merge(
    ipc: Uint8Array | null,
    primaryKey: string[],
    offsets: NativeOffset[],
    signal?: AbortSignal,
  ): Promise<NativeMergeResult>
  /** One bounded step; null where nothing is due, or where other writers came in between. */
  compact(options: NativeCompactOptions, signal?: AbortSignal): Promise<NativeCompactResult | null>
  /** Writes a checkpoint of the newest version and cleans the log up by the table's properties. */
  checkpoint(signal?: AbortSignal): Promise<NativeCheckpointResult>
  vacuum(options: NativeVacuumOptions, signal?: AbortSignal): Promise<NativeVacuumResult>
  /** Saves the key index, if it is kept. */
  close(): Promise<void>
}

export interface NativeModule {
  openTable(options: NativeTableOptions, signal?: AbortSignal): Promise<NativeTable>
  /** All live rows as an Arrow IPC stream; `sql` may ask otherwise, of the table `t`. */
  readTable(uri: string, storageOptions: Record<string, string>, sql: string | null): Promise<Uint8Array>
  /** Names of the files right in a folder below a path or URL. */
  listObjects(uri: string, storageOptions: Record<string, string>, folder: string): Promise<string[]>
  readObject(uri: string, storageOptions: Record<string, string>, path: string): Promise<Uint8Array>
  /** The newest commits first, each as the JSON of its `commitInfo` with a field `version`. */
  tableHistory(uri: string, storageOptions: Record<string, string>, limit: number): Promise<string[]>
}
