/** The defaults of all options, but for the names of columns that write modes add (`write-modes.ts`). Sizes are in bytes, durations in milliseconds. */

import { totalmem } from 'node:os'

/** How a table's messages are decoded. */
export const DECODER_DEFAULTS = {
  deletedColName: '__deleted',
  deletes: 'hard',
  softDeleteColName: '__deleted',
  writeMode: 'upsert',
  orderGuard: 'auto',
  onBadRecord: 'fail',
  /** Debezium's own default of `unavailable.value.placeholder`. */
  unavailableValuePlaceholder: '__debezium_unavailable_value',
} as const

/** How a Delta table is written. The engine takes these options by the same names. */
export const DELTA_DEFAULTS = {
  writeMode: 'upsert',
  mergeMode: 'auto',
  schemaEvolution: 'add',
  onMissingValue: 'null',
  compression: 'snappy',
  targetFileSize: 128 * 1024 ** 2,
  maxRewriteBytes: 10 * 1024 ** 3,
  rememberedKeys: 1_000_000,
  keyIndex: 'auto',
  indexMemory: 1024 ** 3,
  clusterBy: [],
} as const

/** Options that a table takes from the query where it does not set them itself. */
export const TABLE_DEFAULTS = { ...DECODER_DEFAULTS, ...DELTA_DEFAULTS } as const

/** When compaction rewrites files. */
export const COMPACT_DEFAULTS = { minFiles: 8, maxBytes: 1024 ** 3, deletedShare: 0.3 } as const

/** Compaction beside a stream. */
export const MAINTENANCE_DEFAULTS = { ...COMPACT_DEFAULTS, maxLag: 1_000_000 } as const

/** A query. */
export const QUERY_DEFAULTS = {
  startingOffsets: 'earliest',
  failOnDataLoss: true,
  trigger: { processingTime: 'adaptive', maxDelay: 0 },
  workers: 'single',
} as const

/** The bounds of batches and memory. */
export const LIMIT_DEFAULTS = {
  maxBatchMessages: 100_000,
  maxBatchBytes: 64 * 1024 ** 2,
  maxQueueBytes: 192 * 1024 ** 2,
} as const

/** The part of the memory that a query takes by default. */
const MEMORY_SHARE = 0.5

/** Bytes: a part of the container's limit, where there is one, or of the machine's memory. */
export function defaultMaxMemory(): number {
  // Cgroups of both versions; a number beyond the machine's memory says that there is no limit.
  const limit = process.constrainedMemory?.() ?? 0
  return Math.floor((limit > 0 ? Math.min(limit, totalmem()) : totalmem()) * MEMORY_SHARE)
}

/** How long Kafka may fail while a run over what is there now is under way. A query that runs on waits for ever. */
export const MAX_UNAVAILABLE_MS = 5 * 60_000

/** kafkajs's consumer. */
export const CONSUMER_DEFAULTS = {
  sessionTimeout: 30_000,
  rebalanceTimeout: 60_000,
  heartbeatInterval: 3_000,
  /** A fetch that waits holds back partitions that go on meanwhile; where all are fetched, it waits longer. */
  maxWaitTimeInMs: 250,
  /** New partitions are noticed by a refresh of the metadata. */
  metadataMaxAge: 60_000,
} as const

/** The client of the schema registry. */
export const REGISTRY_DEFAULTS = {
  /** For one request. */
  timeout: 10_000,
  /** Tries of all addresses after the first one. */
  retries: 4,
  /** Before the first of them; each wait is twice the one before. */
  firstDelay: 200,
  /** In which an unknown id is asked for again. */
  unknownSchemaTimeout: 5_000,
  /** After which an id that was unknown is asked for again, should it come again. */
  unknownSchemaExpiry: 60_000,
} as const
