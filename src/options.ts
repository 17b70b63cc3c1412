/** The options of a query: types, defaults, validation. The YAML file has the same ones. */

import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { ConsumerConfig, Kafka, KafkaConfig } from 'kafkajs'
import { KafkaToDeltaError } from './errors.js'
import { OptionsError, optionProblems, pathText } from './options/errors.js'
import {
  type DecimalChoice,
  type OptionsInput,
  optionsSchema,
  type ParsedOptions,
  type ParsedTable,
  type Trigger,
} from './options/schema.js'
import type { ResolvedStartingOffsets, StartingOffsets } from './options/starting-offsets.js'

export type { ResolvedStartingOffsets, StartingOffsets }
export { type DecimalChoice, OptionsError, pathText, type Trigger }

/** How values of a column are stored, where another way than the default is wanted. */
export interface ColumnOptions {
  /** Timestamps without zone as Delta's timestampNtz. Default: false: timestamp, taken as UTC. */
  readonly timestampNtz?: boolean
  /** Times of day as the number that they are (default), or as text `HH:MM:SS.ffffff`. */
  readonly time?: 'number' | 'string'
  /** Connect's int8 and int16 as byte and short. Default: false: integer. */
  readonly smallIntegers?: boolean
  /** Decimals without a fixed scale, or with more digits than Delta has. Default: `string`, exact. */
  readonly decimal?: DecimalChoice
  /** Values that the type cannot hold (infinity, BC years, NaN). Default: `fail`. */
  readonly outOfRange?: 'fail' | 'null' | 'clamp'
}

/** Column options, read. */
export type ResolvedColumn = Omit<ColumnOptions, 'decimal'> & {
  readonly decimal?: 'string' | 'double' | { precision: number; scale: number }
}

/** Options that hold for all tables of a query, and that each table may set for itself. */
export interface SharedTableOptions {
  /** The field that says whether a row is deleted; it is not stored. Default: `__deleted`. */
  readonly deletedColName?: string
  /** The field with the log sequence number. Default: found by Debezium's names. */
  readonly lsnColName?: string
  /** `merge-on-read` writes deletion vectors. Default: `auto`: new tables, and those that have them enabled. */
  readonly mergeMode?: 'auto' | 'merge-on-read' | 'copy-on-write'
  /** What a new column does: `add` (default) adds it, `none` ignores it, `fail` stops the table. */
  readonly schemaEvolution?: 'add' | 'none' | 'fail'
  /** When a change is dropped as old. Default: `auto`, where that is proven. */
  readonly orderGuard?: 'auto' | 'off' | 'lsn'
  /** A left-out value of which nothing is stored. Default: `null`, counted. */
  readonly onMissingValue?: 'null' | 'fail'
  /** A message that cannot be applied. Default: `fail`; `skip` counts it. */
  readonly onBadRecord?: 'fail' | 'skip'
  /** Debezium's `unavailable.value.placeholder`. Default: `__debezium_unavailable_value`. */
  readonly unavailableValuePlaceholder?: string
  /** Of the Parquet files. Default: `snappy`. */
  readonly compression?: 'snappy' | 'zstd'
  /** Size of a data file: bytes, or text as `128 MB`. Default: 128 MB. */
  readonly targetFileSize?: number | string
  /** Size up to which a table is rewritten when a column grows (int to long). Default: 10 GB. */
  readonly maxRewriteBytes?: number | string
  /** How many deletes and order values are remembered, in keys. Default: 1,000,000. */
  readonly rememberedKeys?: number
  /** How values are stored of columns that `columns` does not name. */
  readonly columnDefaults?: ColumnOptions
  /** Of envelopes: fields of the event to store, as Debezium's `add.fields` has them (`op`, `source.ts_ms`). */
  readonly metadataColumns?: string | readonly string[]
  /** Delta table properties, set when a table is created. A table's are added to the query's. */
  readonly tableProperties?: Readonly<Record<string, string>>
  /** Options of the object store: credentials, endpoint, region. A table's are added to the query's. */
  readonly storageOptions?: Readonly<Record<string, string>>
}

/** The options of one table. */
export interface TableOptions extends SharedTableOptions {
  /** Where the table lies: a folder, or an `s3://`, `gs://`, `az://` URL. */
  readonly path: string
  /** First part of the table's name. */
  readonly schema?: string
  /** Second part of the table's name. */
  readonly tableName?: string
  /** The table's description. */
  readonly description?: string
  /** The key columns. Default: the fields of the Kafka key's schema, in order. */
  readonly primaryKey?: string | readonly string[]
  /** Computed columns, `YEAR(created_at) AS year`, in Spark SQL. */
  readonly additionalCols?: readonly string[]
  /** The columns that the table is partitioned by. */
  readonly partitionCols?: string | readonly string[]
  /** Columns that are stored otherwise than by default, by field name. */
  readonly columns?: Readonly<Record<string, ColumnOptions>>
  /** The fields to keep; key columns always are. Default: all. */
  readonly includeColumns?: string | readonly string[]
  /** Fields to leave out. */
  readonly excludeColumns?: string | readonly string[]
  /** New names, by field name. */
  readonly renameColumns?: Readonly<Record<string, string>>
}

/** How to reach the Confluent Schema Registry. */
export interface SchemaRegistryOptions {
  readonly url?: string
  /** Several registries of one cluster, tried in turn. */
  readonly urls?: readonly string[]
  /** Basic authentication, or a bearer token. */
  readonly auth?: { readonly username: string; readonly password: string } | { readonly token: string }
  /** PEM texts. */
  readonly tls?: {
    readonly ca?: string
    readonly cert?: string
    readonly key?: string
    readonly passphrase?: string
    readonly rejectUnauthorized?: boolean
  }
}

/** The options of {@link streamToDelta}. */
export interface StreamOptions extends SharedTableOptions {
  /** Names the offsets in the tables: with another name the topics are read anew. */
  readonly queryName: string
  /** KafkaJS's configuration, or an instance. */
  readonly kafka: (Omit<KafkaConfig, 'brokers'> & { readonly brokers: KafkaConfig['brokers'] | string }) | Kafka
  /** KafkaJS's consumer options, without those that exactly-once decides. */
  readonly consumer?: Partial<Omit<ConsumerConfig, 'partitionAssigners' | 'allowAutoTopicCreation'>>
  readonly schemaRegistry: SchemaRegistryOptions
  /** Topic to table. */
  readonly tables: Readonly<Record<string, TableOptions>>
  /** Where partitions start that the table holds no offset of. Default: `earliest`. */
  readonly startingOffsets?: StartingOffsets
  /** Stop where the topic no longer has offsets that were not applied. Default: true. */
  readonly failOnDataLoss?: boolean
  /** When batches are made. Default: `{ processingTime: '1 second' }`. */
  readonly trigger?: Trigger
  readonly limits?: {
    /** Messages of one commit. Default: 100,000. */
    readonly maxBatchMessages?: number
    /** Bytes of keys and values of one commit. Default: 64 MB. */
    readonly maxBatchBytes?: number | string
    /** Bytes of one topic's messages in memory: waiting, and taken but not committed. Default: 192 MB. */
    readonly maxQueueBytes?: number | string
  }
  /** `single`: one process; a second one by mistake meets the fence. */
  readonly workers?: 'single'
}

/** Options whose form or default differs once they are read. */
type ReadOption = 'targetFileSize' | 'maxRewriteBytes' | 'lsnColName' | 'columnDefaults' | 'metadataColumns'

/** A table's options, complete. */
export interface ResolvedTable extends Required<Omit<SharedTableOptions, ReadOption>> {
  readonly topic: string
  /** Absolute path or URL. */
  readonly uri: string
  /** `schema.tableName`, as far as given. */
  readonly name: string | null
  readonly description: string | null
  readonly primaryKey: readonly string[] | null
  readonly additionalCols: readonly string[]
  readonly partitionCols: readonly string[]
  /** Null: found by Debezium's names. */
  readonly lsnColName: string | null
  readonly columns: Readonly<Record<string, ResolvedColumn>>
  readonly columnDefaults: ResolvedColumn
  readonly metadataColumns: readonly string[]
  readonly includeColumns: readonly string[] | null
  readonly excludeColumns: readonly string[]
  readonly renameColumns: Readonly<Record<string, string>>
  /** Bytes. */
  readonly targetFileSize: number
  /** Bytes. */
  readonly maxRewriteBytes: number
}

/** All options, complete. Durations in milliseconds, sizes in bytes. */
export interface ResolvedOptions {
  readonly queryName: string
  readonly kafka: KafkaConfig | Kafka
  readonly consumer: Partial<ConsumerConfig>
  readonly schemaRegistry: SchemaRegistryOptions
  readonly tables: readonly ResolvedTable[]
  readonly startingOffsets: ResolvedStartingOffsets
  readonly failOnDataLoss: boolean
  readonly trigger: { readonly processingTime: number } | { readonly availableNow: true }
  readonly limits: { readonly maxBatchMessages: number; readonly maxBatchBytes: number; readonly maxQueueBytes: number }
}

export const TABLE_DEFAULTS = {
  deletedColName: '__deleted',
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
} as const

const LIMITS = { maxBatchMessages: 100_000, maxBatchBytes: 64 * 1024 * 1024, maxQueueBytes: 192 * 1024 * 1024 }

/** A path as an absolute one; URLs stay as they are, but for `file:`, which becomes a path. */
export function tableUri(path: string, baseDir = process.cwd()): string {
  if (/^file:/i.test(path)) return fileURLToPath(path)
  // One letter before the colon is a Windows drive.
  return /^[a-z][a-z0-9+.-]+:\/\//i.test(path) ? path.replace(/\/+$/, '') : resolve(baseDir, path)
}

const isKafka = (value: unknown): value is Kafka =>
  typeof value === 'object' && value !== null && 'consumer' in value && typeof value.consumer === 'function'

function withoutUndefined<T extends object>(value: T): Partial<T> {
  return Object.fromEntries(Object.entries(value).filter(([, entry]) => entry !== undefined)) as Partial<T>
}

function resolveTable(
  topic: string,
  table: ParsedTable,
  query: ParsedOptions,
  baseDir: string | undefined,
): ResolvedTable {
  const pick = <K extends keyof typeof TABLE_DEFAULTS>(name: K) => table[name] ?? query[name] ?? TABLE_DEFAULTS[name]
  return {
    topic,
    uri: tableUri(table.path, baseDir),
    name: [table.schema, table.tableName].filter(Boolean).join('.') || null,
    description: table.description ?? null,
    primaryKey: table.primaryKey ?? null,
    additionalCols: table.additionalCols ?? [],
    partitionCols: table.partitionCols ?? [],
    columns: (table.columns ?? {}) as Record<string, ResolvedColumn>,
    deletedColName: pick('deletedColName'),
    lsnColName: table.lsnColName ?? query.lsnColName ?? null,
    columnDefaults: withoutUndefined({ ...query.columnDefaults, ...table.columnDefaults }) as ResolvedColumn,
    metadataColumns: table.metadataColumns ?? query.metadataColumns ?? [],
    includeColumns: table.includeColumns ?? null,
    excludeColumns: table.excludeColumns ?? [],
    renameColumns: table.renameColumns ?? {},
    mergeMode: pick('mergeMode'),
    schemaEvolution: pick('schemaEvolution'),
    orderGuard: pick('orderGuard'),
    onMissingValue: pick('onMissingValue'),
    onBadRecord: pick('onBadRecord'),
    unavailableValuePlaceholder: pick('unavailableValuePlaceholder'),
    compression: pick('compression'),
    targetFileSize: pick('targetFileSize'),
    maxRewriteBytes: pick('maxRewriteBytes'),
    rememberedKeys: pick('rememberedKeys'),
    tableProperties: { ...query.tableProperties, ...table.tableProperties },
    storageOptions: { ...query.storageOptions, ...table.storageOptions },
  }
}

function refuseSharedPaths(tables: readonly ResolvedTable[]): void {
  const topicOf = new Map<string, string>()
  for (const { uri, topic } of tables) {
    const other = topicOf.get(uri)
    if (other !== undefined) {
      const message = `topic ${JSON.stringify(other)} is written to ${JSON.stringify(uri)} too; give each topic a path of its own`
      throw new OptionsError([{ path: ['tables', topic, 'path'], message, atKey: false }])
    }
    topicOf.set(uri, topic)
  }
}

/**
 * Checks options and fills in the defaults.
 *
 * @param baseDir what relative table paths count from; default: the working directory
 * @throws CONFIG_INVALID as an {@link OptionsError}, with every problem and where it is
 */
export function resolveOptions(input: StreamOptions | OptionsInput | unknown, baseDir?: string): ResolvedOptions {
  if (typeof input !== 'object' || input === null || Array.isArray(input)) {
    throw new KafkaToDeltaError('CONFIG_INVALID', 'the options must be an object')
  }
  const given = (input as { kafka?: unknown }).kafka
  const instance = isKafka(given) ? given : null
  // An instance was checked by KafkaJS; a valid stand-in lets the schema check all else.
  const checked = instance ? { ...input, kafka: { brokers: ['instance:0'] } } : input
  const result = optionsSchema.safeParse(checked)
  if (!result.success) throw new OptionsError(optionProblems(result.error, optionsSchema, checked))
  const options = result.data
  const tables = Object.entries(options.tables).map(([topic, table]) => resolveTable(topic, table, options, baseDir))
  refuseSharedPaths(tables)
  return {
    queryName: options.queryName,
    kafka: instance ?? (withoutUndefined(options.kafka) as unknown as KafkaConfig),
    consumer: withoutUndefined(options.consumer ?? {}) as Partial<ConsumerConfig>,
    schemaRegistry: options.schemaRegistry as SchemaRegistryOptions,
    tables,
    startingOffsets: options.startingOffsets ?? 'earliest',
    failOnDataLoss: options.failOnDataLoss ?? true,
    trigger: options.trigger ?? { processingTime: 1000 },
    limits: {
      maxBatchMessages: options.limits?.maxBatchMessages ?? LIMITS.maxBatchMessages,
      maxBatchBytes: options.limits?.maxBatchBytes ?? LIMITS.maxBatchBytes,
      maxQueueBytes: options.limits?.maxQueueBytes ?? LIMITS.maxQueueBytes,
    },
  }
}
