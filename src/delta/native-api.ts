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
  mergeMode: 'auto' | 'merge-on-read' | 'copy-on-write'
  schemaEvolution: 'add' | 'none' | 'fail'
  orderGuard: 'auto' | 'off' | 'lsn'
  /** Boolean column that marks deleted rows, which stay; null: deleted rows go. */
  softDeleteColumn: string | null
  /** What is known of the order of changes up to now no longer counts. */
  resetOrder: boolean
  onMissingValue: 'null' | 'fail'
  /** Bytes. */
  targetFileSize: number
  /** Bytes of data files up to which the table is rewritten for a wider column. */
  maxRewriteBytes: number
  /** Deletes and sequences remembered, number of keys. */
  rememberedKeys: number
  compression: 'snappy' | 'zstd'
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
}

export interface NativeMergeResult {
  version: number
  /** False where the table already held these offsets by the same commit (a retry that had landed). */
  numRowsUpserted: number
  numRowsInserted: number
  numRowsUpdated: number
  numRowsDeleted: number
  /** Changes dropped since a newer one is known. */
  numDroppedStale: number
  numMissingValues: number
  numFilesAdded: number
  numFilesRemoved: number
  numFilesTouched: number
  bytesWritten: number
  addedColumns: string[]
  /** Columns whose type grew: the table was rewritten. */
  widenedColumns: string[]
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

/** One open keyed table. Calls are serialised by the addon. */
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
  close(): Promise<void>
}

export interface NativeModule {
  openTable(options: NativeTableOptions, signal?: AbortSignal): Promise<NativeTable>
  /** All live rows as an Arrow IPC stream; `sql` may ask otherwise, of the table `t`. */
  readTable(uri: string, storageOptions: Record<string, string>, sql: string | null): Promise<Uint8Array>
}
