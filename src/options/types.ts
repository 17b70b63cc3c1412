/** The options of a query: as users give them, and as they are once they are read. */

import type { ConnectionOptions } from 'node:tls'
import type { ConsumerConfig, Kafka } from 'kafkajs'
import type { ClientCredentials } from './client-credentials.js'
import type { MAINTENANCE_DEFAULTS } from './defaults.js'
import type { KafkaOptions } from './sasl.js'
import type { Secret } from './secret.js'
import type { ResolvedStartingOffsets, StartingOffsets } from './starting-offsets.js'
import type { OwnColumnsOption, WriteMode } from './write-modes.js'

/** How decimals are stored that Delta has no type for. */
export type DecimalChoice =
  | 'string'
  | 'double'
  | `decimal(${number},${number})`
  | { readonly precision: number; readonly scale: number }

/** How often a table is committed: durations in milliseconds, or text as `1 second`. */
export interface CommitPace {
  /**
   * Between two batches. Default: `adaptive`, from 150 milliseconds, where one table changes, to a second, where seven do or a
   * topic is behind, and up to half a minute while the process is overloaded; a change of a table that was quiet is committed at
   * once.
   */
  readonly processingTime?: string | number
  /** How long changes may wait for others as long as they are few, fewer than 1,000. Default: as `processingTime`. */
  readonly maxDelay?: string | number
}

/** When batches are made. */
export type Trigger =
  | CommitPace
  /** What is there now, then the end. */
  | { readonly availableNow: true }

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
  /**
   * The exact text of the value, whatever its type; not for bytes, arrays, maps and structs. Without the options that
   * it makes needless: `timestampNtz`, `time`, `smallIntegers`, `decimal`.
   */
  readonly type?: 'string'
}

/** Column options, read. */
export type ResolvedColumn = Omit<ColumnOptions, 'decimal'> & {
  readonly decimal?: 'string' | 'double' | { precision: number; scale: number }
}

/** A place for messages that cannot be applied: a Delta table or a Kafka topic. */
export type DeadLetterOptions =
  | {
      /** A Delta table for them alone: a folder or a URL, as {@link TableOptions.path}. */
      readonly path: string
      /** Added to the query's. */
      readonly storageOptions?: Readonly<Record<string, string>>
      readonly topic?: undefined
    }
  | {
      /** A Kafka topic, which exists or is created by the broker. */
      readonly topic: string
      readonly path?: undefined
      readonly storageOptions?: undefined
    }

/** A place for dead letters, complete. */
export type ResolvedDeadLetter =
  | { readonly kind: 'delta'; readonly uri: string; readonly storageOptions: Readonly<Record<string, string>> }
  | { readonly kind: 'kafka'; readonly topic: string }

/** Compaction beside the stream: what is not given has its default. */
export interface MaintenanceOptions {
  /** Small files of one size class, Kafka partition and partition value from which on they become one. Default: 8. */
  readonly minFiles?: number
  /** Bytes that one step reads, or text as `1 GB`. Default: 1 GB. */
  readonly maxBytes?: number | string
  /** Share of deleted rows from which on a file is rewritten, 0 to 1. Default: 0.3. */
  readonly deletedShare?: number
  /** Lag in messages above which nothing is rewritten, for an hour at most. Default: 1,000,000. */
  readonly maxLag?: number
}

/** Names of the columns that a version has with `writeMode: scd2`. */
export interface Scd2Columns {
  /** Timestamp since when it was the current one. Default: `__valid_from`. */
  readonly validFrom?: string
  /** Timestamp since when it is not any more; null for the current one. Default: `__valid_to`. */
  readonly validTo?: string
  /** Boolean, true for the current one. Default: `__is_current`. */
  readonly isCurrent?: string
}

/** PEM texts, or the names of files that hold them. */
export interface TlsOptions {
  readonly ca?: string
  readonly cert?: string
  readonly key?: string
  /** Of the key. */
  readonly passphrase?: Secret
  readonly rejectUnauthorized?: boolean
}

/** Options whose certificates, key and passphrase are read. */
export type WithTls<T> = T extends { readonly tls?: TlsOptions }
  ? Omit<T, 'tls'> & { readonly tls?: Omit<TlsOptions, 'passphrase'> & { readonly passphrase?: string } }
  : T

/** A Hive metastore. */
export interface HiveCatalogOptions {
  readonly type: 'hive'
  /** `thrift://host:port`, several with commas between, of which the first one that answers is asked. */
  readonly uri: string
  /** The user by whose name an open metastore knows us, or with a password a login by SASL PLAIN. Default: the system's user. */
  readonly auth?: { readonly username: string; readonly password?: Secret }
  /** Of a metastore with `hive.metastore.use.SSL`. */
  readonly tls?: TlsOptions
}

/** Unity Catalog, by its REST interface. */
export interface UnityCatalogOptions {
  readonly type: 'unity'
  /** Of the server, without the interface's own path: `https://host`. */
  readonly url: string
  /** The catalog that has the schemas; it must be there. */
  readonly catalog: string
  /** A token, or OAuth client credentials. Default: none. */
  readonly auth?:
    | { readonly token: Secret }
    | {
        readonly clientId: string
        readonly clientSecret: Secret
        /** Where tokens are given. Default: `<url>/oidc/v1/token`, as Databricks has it. */
        readonly tokenUrl?: string
        /** Default: `all-apis`. */
        readonly scope?: string
      }
  readonly tls?: TlsOptions
  /**
   * The catalog gives the credentials for the tables' files, which are renewed before they end; those of `storageOptions` do not
   * count. Default: false.
   */
  readonly vendedCredentials?: boolean
}

/** The AWS Glue data catalog. Credentials are those of AWS's default chain. */
export interface GlueCatalogOptions {
  readonly type: 'glue'
  /** Default: as AWS's default chain has it. */
  readonly region?: string
  /** Another address than AWS's. */
  readonly endpoint?: string
  /** The account that has the data catalog. Default: that of the credentials. */
  readonly catalogId?: string
}

/** Where tables are registered by name. */
export type CatalogOptions = HiveCatalogOptions | UnityCatalogOptions | GlueCatalogOptions

/** How to reach a catalog, read. */
export type ResolvedCatalogOptions = WithTls<HiveCatalogOptions> | WithTls<UnityCatalogOptions> | GlueCatalogOptions

/** A table's entry in a catalog. */
export interface ResolvedCatalog {
  readonly options: ResolvedCatalogOptions
  readonly schema: string
  readonly tableName: string
}

/** Options that hold for all tables of a query, and that each table may set for itself. */
export interface SharedTableOptions {
  /** The field that says whether a row is deleted; it is not stored. Default: `__deleted`. */
  readonly deletedColName?: string
  /** The field with the log sequence number. Default: found by Debezium's names. */
  readonly lsnColName?: string
  /** `hard` (default): deletes remove rows; `soft`: they mark them in a boolean column; `ignore`: they do nothing. */
  readonly deletes?: 'hard' | 'soft' | 'ignore'
  /** With soft deletes, the column that is true for deleted rows and false for live ones. Default: `__deleted`. */
  readonly softDeleteColName?: string
  /** `merge-on-read` writes deletion vectors. Default: `auto`: new tables, and those that have them enabled. */
  readonly mergeMode?: 'auto' | 'merge-on-read' | 'copy-on-write'
  /**
   * `upsert` (default): the table equals the source's. `append`: a changelog, each change a row with its operation and
   * position. `scd2`: each version of a row with the time from which and to which it was the current one.
   */
  readonly writeMode?: WriteMode
  /** With `scd2`, the columns of a version's time. */
  readonly scd2Columns?: Scd2Columns
  /** What a new column does: `add` (default) adds it, `none` ignores it, `fail` stops the table. */
  readonly schemaEvolution?: 'add' | 'none' | 'fail'
  /**
   * How changes of several partitions are ordered: by the source's positions and the messages' timestamps (`auto`, the
   * default), or as they arrive (`off`). Within a partition the order of the offsets always counts.
   */
  readonly orderGuard?: 'auto' | 'off'
  /** A left-out value of which nothing is stored. Default: `null`, counted. */
  readonly onMissingValue?: 'null' | 'fail'
  /** A message that cannot be applied. Default: `fail`; `skip` counts it, `dead-letter` writes it to `deadLetter`. */
  readonly onBadRecord?: 'fail' | 'skip' | 'dead-letter'
  /** Where messages go that cannot be applied, each once. Several tables and queries may name the same place. */
  readonly deadLetter?: DeadLetterOptions
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
  /** Columns by which compaction sorts rows, as a Z-order where there are several. Default: rows keep their order. */
  readonly clusterBy?: string | readonly string[]
  /** `none`: no key index is kept; the key columns of the files that may hold a key are read instead. Default: `auto`. */
  readonly keyIndex?: 'auto' | 'none'
  /**
   * Memory for a table's key index, some 21 bytes a key; above, it works from a file. All indexes together have a quarter of
   * `limits.maxMemory`. Default: 1 GB.
   */
  readonly indexMemory?: number | string
  /** Local folder that keeps the key index between runs. Default: none, and each start builds it anew. */
  readonly indexDir?: string
  /** Compaction beside the stream; false: files are left as they are. */
  readonly maintenance?: boolean | MaintenanceOptions
  /** How values are stored of columns that `columns` does not name. */
  readonly columnDefaults?: Omit<ColumnOptions, 'type'>
  /**
   * What to store of the message of a row's last change: `kafka.topic`, `kafka.partition`, `kafka.offset`,
   * `kafka.timestamp`, `operation` (c, r, u, d; null where the message does not tell), and of envelopes fields of the
   * event, as Debezium's `add.fields` has them (`op`, `source.ts_ms`). The column is `__kafka_topic`; `kafka.topic:name`
   * makes it `__name`.
   */
  readonly metadataColumns?: string | readonly string[]
  /** Delta table properties, set when a table is created. A table's are added to the query's. */
  readonly tableProperties?: Readonly<Record<string, string>>
  /** Options of the object store: credentials, endpoint, region. A table's are added to the query's. */
  readonly storageOptions?: Readonly<Record<string, string>>
  /**
   * Registers tables by `schema` and `tableName`, and keeps their columns up to date there. `{ type: 'none' }`, of a table,
   * leaves it out.
   */
  readonly catalog?: CatalogOptions | { readonly type: 'none' }
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
  /**
   * Several topics are written to this path, as those of a sharded or partitioned table: no key may be in two of them.
   * Each of them says so. A truncate, which is of one topic alone, is a bad record then. Default: false.
   */
  readonly shared?: boolean
  /** Of a pattern: topics that it does not take, by name or by pattern. */
  readonly exclude?: string | readonly string[]
  /** How often this table is committed. What is not given is the query's; with `availableNow` there it has no effect. */
  readonly trigger?: CommitPace
}

/** What Confluent Cloud asks for beside a token. */
export interface ConfluentCloudLogin {
  /** The registry's id, `lsrc-…`: the header `target-sr-cluster`. */
  readonly logicalCluster?: string
  /** The header `Confluent-Identity-Pool-Id`. */
  readonly identityPoolId?: string
}

/** How to reach the Confluent Schema Registry. */
export interface SchemaRegistryOptions {
  readonly url?: string
  /** Several registries of one cluster, tried in turn. */
  readonly urls?: readonly string[]
  /** Basic authentication, a bearer token, or a provider of tokens. */
  readonly auth?:
    | { readonly username: string; readonly password: Secret }
    | ({ readonly token: Secret } & ConfluentCloudLogin)
    | (ClientCredentials & ConfluentCloudLogin)
  readonly tls?: TlsOptions
  /** How long an unknown schema id is asked for again before its message is a bad record. Default: 5 seconds. */
  readonly unknownSchemaTimeout?: number | string
}

/** KafkaJS's configuration, with our ways to log in, and secrets that may lie in files. */
export type GivenKafka = Omit<KafkaOptions, 'brokers' | 'ssl'> & {
  readonly brokers: KafkaOptions['brokers'] | string
  readonly ssl?: boolean | (Omit<ConnectionOptions, 'passphrase'> & { readonly passphrase?: Secret | undefined })
}

/** The options of {@link streamToDelta}. */
export interface StreamOptions extends SharedTableOptions {
  /** Names the offsets in the tables: with another name the topics are read anew. */
  readonly queryName: string
  /** KafkaJS's configuration, or an instance. */
  readonly kafka: GivenKafka | Kafka
  /** KafkaJS's consumer options, without those that exactly-once decides. */
  readonly consumer?: Partial<Omit<ConsumerConfig, 'partitionAssigners' | 'allowAutoTopicCreation'>>
  readonly schemaRegistry: SchemaRegistryOptions
  /**
   * Topic to table. A key between slashes, as `/shop\\.public\\.(.*)/`, is a regular expression: it takes the topics whose
   * whole name it matches and that are not named themselves, also those that appear while the query runs. What its groups
   * hold is `$1` or `$<name>` in `path`, `schema`, `tableName` and `description`. Of several patterns the first one counts.
   */
  readonly tables: Readonly<Record<string, TableOptions>>
  /**
   * Where partitions start that the table holds no offset of. What `latest`, -1 or a time comes to at the first start is kept
   * beside the table. Default: `earliest`.
   */
  readonly startingOffsets?: StartingOffsets
  /** Stop where the topic no longer has offsets that were not applied. Default: true. */
  readonly failOnDataLoss?: boolean
  /** When batches are made. Default: `{ processingTime: 'adaptive' }`. */
  readonly trigger?: Trigger
  readonly limits?: {
    /** Messages of one commit. Default: 100,000. */
    readonly maxBatchMessages?: number
    /** Bytes of keys and values of one commit; decoded, it takes twice as much at most. Default: 64 MB. */
    readonly maxBatchBytes?: number | string
    /** Bytes of one topic's messages in memory: waiting, and taken but not decoded. Default: 192 MB. */
    readonly maxQueueBytes?: number | string
    /**
     * Memory of all queries of the process, the largest of theirs: a quarter of it is for messages that wait, three eighths for
     * batches until they are committed, a quarter for key indexes, an eighth for compaction. A message of more than an eighth of
     * it is a bad record. Default: half of the container's limit, or of the machine's memory.
     */
    readonly maxMemory?: number | string
  }
  /**
   * `single` (default): one process; a second one by mistake meets the fence. `many`: any number of processes share the tables
   * by a consumer group, `consumer.groupId` or `kafka2delta-` and the queryName.
   */
  readonly workers?: 'single' | 'many'
}

/** Options as programs give them to a class: sizes in bytes and lists as such, without the texts that people write. */
export type Plain<T> = {
  -readonly [K in keyof T]: [number] extends [T[K]]
    ? Exclude<T[K], string>
    : [readonly string[]] extends [T[K]]
      ? Exclude<T[K], string>
      : T[K]
}

/** Options whose form or default differs once they are read. */
type ReadOption =
  | 'targetFileSize'
  | 'maxRewriteBytes'
  | 'clusterBy'
  | 'indexMemory'
  | 'indexDir'
  | 'maintenance'
  | OwnColumnsOption
  | 'lsnColName'
  | 'columnDefaults'
  | 'metadataColumns'
  | 'deadLetter'
  | 'catalog'

/** When batches are made, complete. Milliseconds. */
export type ResolvedTrigger =
  | { readonly processingTime: number | 'adaptive'; readonly maxDelay: number }
  | { readonly availableNow: true }

/** The columns that write modes add, complete. */
export type ResolvedOwnColumns = {
  readonly [Option in OwnColumnsOption]: Required<NonNullable<SharedTableOptions[Option]>>
}

/** A table's options, complete. */
export interface ResolvedTable extends Required<Omit<SharedTableOptions, ReadOption>>, ResolvedOwnColumns {
  readonly topic: string
  /** The pattern that has taken the topic; null where the topic is named. */
  readonly pattern: string | null
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
  readonly shared: boolean
  /** Bytes. */
  readonly targetFileSize: number
  /** Bytes. */
  readonly maxRewriteBytes: number
  readonly clusterBy: readonly string[]
  /** Bytes. */
  readonly indexMemory: number
  /** Absolute path. */
  readonly indexDir: string | null
  /** Null: files are left as they are. */
  readonly maintenance: ResolvedMaintenance | null
  /** Null unless `onBadRecord` is `dead-letter`. */
  readonly deadLetter: ResolvedDeadLetter | null
  /** Null: the table is registered nowhere. */
  readonly catalog: ResolvedCatalog | null
  readonly trigger: ResolvedTrigger
}

/** Topics by pattern. */
export interface TablePattern {
  /** As the configuration has it, between slashes. */
  readonly source: string
  /** For the whole name of a topic. */
  readonly include: RegExp
  readonly exclude: readonly RegExp[]
  /** The table of each such topic, with references to the pattern's groups in its path and names; `topic` is the source. */
  readonly table: ResolvedTable
}

/** Compaction beside the stream, complete. Sizes in bytes. */
export type ResolvedMaintenance = { readonly [K in keyof typeof MAINTENANCE_DEFAULTS]: number }

/** How to reach the registry, read. */
export type ResolvedRegistry = WithTls<Omit<SchemaRegistryOptions, 'unknownSchemaTimeout'>> & {
  readonly unknownSchemaTimeout?: number
}

/** All options, complete. Durations in milliseconds, sizes in bytes. */
export interface ResolvedOptions {
  readonly queryName: string
  readonly kafka: KafkaOptions | Kafka
  readonly consumer: Partial<ConsumerConfig>
  readonly schemaRegistry: ResolvedRegistry
  /** Of the topics that are named. */
  readonly tables: readonly ResolvedTable[]
  /** Of the topics that are not, in the order in which they count. */
  readonly patterns: readonly TablePattern[]
  readonly startingOffsets:
    | Exclude<ResolvedStartingOffsets, { sparkCheckpoint: string }>
    /** To be read before the source starts. */
    | { readonly sparkCheckpoint: string; readonly storageOptions: Readonly<Record<string, string>> }
  readonly failOnDataLoss: boolean
  readonly trigger: ResolvedTrigger
  readonly workers: 'single' | 'many'
  readonly limits: {
    readonly maxBatchMessages: number
    readonly maxBatchBytes: number
    readonly maxQueueBytes: number
    readonly maxMemory: number
  }
}
