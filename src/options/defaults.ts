/** The defaults of all options. */

export const TABLE_DEFAULTS = {
  deletedColName: '__deleted',
  deletes: 'hard',
  softDeleteColName: '__deleted',
  writeMode: 'upsert',
  mergeMode: 'auto',
  schemaEvolution: 'add',
  orderGuard: 'auto',
  onMissingValue: 'null',
  onBadRecord: 'fail',
  unavailableValuePlaceholder: '__debezium_unavailable_value',
  compression: 'snappy',
  targetFileSize: 128 * 1024 * 1024,
  maxRewriteBytes: 10 * 1024 ** 3,
  rememberedKeys: 1_000_000,
  keyIndex: 'auto',
  indexMemory: 1024 ** 3,
} as const

export const SCD2_COLUMNS = { validFrom: '__valid_from', validTo: '__valid_to', isCurrent: '__is_current' } as const

/** What a changelog says of each change, unless `metadataColumns` is given. */
export const CHANGELOG_COLUMNS = ['operation', 'kafka.partition', 'kafka.offset', 'kafka.timestamp'] as const

/** When files are rewritten. */
export const COMPACT_DEFAULTS = { minFiles: 8, maxBytes: 1024 ** 3, deletedShare: 0.3 } as const

export const MAX_LAG = 1_000_000

export const LIMITS = { maxBatchMessages: 100_000, maxBatchBytes: 64 * 1024 * 1024, maxQueueBytes: 192 * 1024 * 1024 }
