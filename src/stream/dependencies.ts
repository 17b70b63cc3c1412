/** The systems around a stream, as it sees them: so that tests can stand in for them, and only for them. */

import type { DescribedTable } from '../catalog/entry.js'
import type { EntryStatus, RegisteredTable } from '../catalog/keeper.js'
import type { DeadLetterSink } from '../dead-letter/dead-letter.js'
import type { ChangeBatch } from '../debezium/change-batch.js'
import type { EngineMemory } from '../delta/memory.js'
import type { CompactOptions, CompactResult, MergeOptions, MergeResult, TableInfo } from '../delta/table.js'
import type { KafkaToDeltaError, Waiting } from '../errors.js'
import type { MemoryUse } from '../kafka/memory-budget.js'
import type { MicroBatch } from '../kafka/micro-batch.js'
import type { KeepStarts } from '../kafka/options.js'
import type { DataLoss, StoredOffsets } from '../kafka/positions.js'
import type { Sharing } from '../kafka/sharing.js'
import type { PartitionLag } from '../kafka/topic-feed.js'
import type { ResolvedOptions, ResolvedTable, ResolvedTrigger } from '../options/types.js'

/** Where messages come from: `KafkaSource`. */
export interface StreamSource {
  /** Resolves when each topic is read, or cannot be; rejects where none can. */
  start(): Promise<void>
  /** Resolves when a topic is read, true; or when it is known that it will not be, false: `next` says why. */
  located(topic: string): Promise<boolean>
  /** Messages in each topic when the source started; of none where Kafka did not tell. */
  backlog(): Promise<ReadonlyMap<string, bigint>>
  /**
   * The next messages of a topic; null at the end (availableNow), after `stop`, and where a `rewind` came. Not called twice
   * at a time for one topic.
   */
  next(topic: string): Promise<MicroBatch | null>
  /** A batch is decoded, to `bytes` that are held until it is committed; its messages are held no longer. */
  decoded(batch: MicroBatch, bytes: number): void
  /** A decoded batch was merged, for which the engine held so much at a time. */
  merged(batch: MicroBatch, peakBytes: number): void
  /** What the columns that a topic's batches are decoded into hold now, in bytes. */
  noteColumns(topic: string, bytes: number): void
  /** Tells the group about offsets that are in the table: for dashboards. */
  committed(batch: MicroBatch): Promise<void> | void
  /** Drops what waits, and goes on after what the table holds. A call of `next` under way gives null at once. */
  rewind(topic: string): Promise<void>
  /** Why nothing comes, of any topic: Kafka fails, and is waited for. Null where it does not. */
  readonly waitingFor: Waiting | null
  /** What the topics hold in memory. */
  readonly memory: MemoryUse
  /** How far each partition is, by what was last seen. */
  lag(topic: string): Map<number, PartitionLag>
  /** The end of each partition as it is now. */
  fetchEnds(topic: string): Promise<Map<number, bigint>>
  /** Reads further topics, each at its own pace. */
  add(topics: ReadonlyMap<string, ResolvedTrigger>): Promise<void>
  /** Reads nothing more of a topic whose table failed. */
  close(topic: string): void
  stop(): Promise<void>
  on(event: 'failed', listener: (error: KafkaToDeltaError) => void): unknown
  on(event: 'dataLoss', listener: (loss: DataLoss) => void): unknown
}

/** What turns messages into columns: `TableDecoder`. */
export interface StreamDecoder {
  decode(batch: MicroBatch): Promise<ChangeBatch>
  /** Told what its columns hold in memory, whenever that has changed. */
  onHeld?: (bytes: number) => void
}

/** What changes go into: `DeltaTable`. */
export interface StreamTable {
  readonly uri: string
  info(): Promise<TableInfo>
  refresh(options?: { signal?: AbortSignal }): Promise<TableInfo>
  merge(changes: Uint8Array | null, options: MergeOptions): Promise<MergeResult>
  /** A step of compaction; null where nothing is due. Left out: there is none. */
  compact?(options: CompactOptions): Promise<CompactResult | null>
  close(): Promise<void>
}

/** Keeps the entries of tables in their catalogs: `CatalogKeeper`. */
export interface EntryKeeper {
  /** A table is as it is described now. Returns at once. */
  note(table: RegisteredTable, described: DescribedTable): void
  /** Null for a table that stands in no catalog. */
  statusOf(table: RegisteredTable): EntryStatus | null
}

/** Keeps where partitions start, as long as their table holds no offsets: `StartNote`. */
export interface StartKeeper {
  read(): Promise<ReadonlyMap<number, bigint>>
  /** Resolves with what is kept then: where another worker was first, that. */
  keep(starts: ReadonlyMap<number, bigint>, known: ReadonlyMap<number, bigint>): Promise<ReadonlyMap<number, bigint>>
}

/** What a source may ask the query for, or be asked. */
export interface SourceParts {
  /** Whether a topic is younger than the query, and read from the beginning. */
  isNewTopic?: ((topic: string) => Promise<boolean>) | undefined
  /** With `workers: 'many'`. */
  sharing?: Sharing
  /** Makes durable where a topic starts. */
  keepStarts?: KeepStarts
}

/** Makes the systems of a query. */
export interface Systems {
  /** Where new tables start, where that has to be looked up (`sparkCheckpoint`). Left out: as the options say. */
  startingOffsets?(options: ResolvedOptions, signal?: AbortSignal): Promise<ResolvedOptions['startingOffsets']>
  /** Topics of the cluster that are wanted and may hold rows; for patterns. */
  topics?(isWanted: (topic: string) => boolean, signal?: AbortSignal): Promise<string[]>
  /** @param storedOffsets waits until the topic's table is open */
  source(
    options: ResolvedOptions,
    storedOffsets: (topic: string) => Promise<StoredOffsets>,
    more?: SourceParts,
  ): StreamSource
  /** `signal` ends what it does. Left out: starts are not kept. */
  startKeeper?(table: ResolvedTable, signal: AbortSignal): StartKeeper
  decoder(table: ResolvedTable, options: ResolvedOptions): StreamDecoder
  /** `signal` ends the opening. */
  table(table: ResolvedTable, signal?: AbortSignal): Promise<StreamTable>
  /** Where a table's bad records go (`onBadRecord: 'dead-letter'`); null where it keeps none. Closed by {@link close}. */
  deadLetters?(table: ResolvedTable): DeadLetterSink | null
  /** Left out: no table stands in a catalog. Closed by {@link close}. */
  catalogs?: EntryKeeper | undefined
  /** What the tables of the process hold in memory, beside what the source counts. */
  engineMemory?(): EngineMemory
  /** Whether what the tables share can be reached: a start says so at once, a running query waits for it. */
  check?(signal?: AbortSignal): Promise<void>
  /** Lets go of what the tables share. */
  close?(): Promise<void> | void
}
