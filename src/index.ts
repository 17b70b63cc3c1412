/** kafka2delta: keeps Delta Lake tables equal to database tables, from Debezium change events in Kafka. */

export { type BadRecord, type ChangeBatch, CONTROL_COLUMNS, Op } from './debezium/change-batch.js'
export { type ColumnDescription, TableDecoder, type TableDescription } from './debezium/decoder.js'
export type { DecodeOptions } from './debezium/options.js'
export * from './delta/index.js'
export type { Message } from './kafka/message.js'
export { Messages } from './kafka/messages.js'
export type { GivenBatch, MicroBatch, OffsetRange, RawMessage } from './kafka/micro-batch.js'
export type { Logger, LogLevel } from './log.js'
export type { ClientCredentials } from './options/client-credentials.js'
export type { KafkaOptions, SaslOptions } from './options/sasl.js'
export type { Secret } from './options/secret.js'
export type { StartingOffsets } from './options/starting-offsets.js'
export type {
  CatalogOptions,
  ColumnOptions,
  ConfluentCloudLogin,
  DeadLetterOptions,
  GlueCatalogOptions,
  HiveCatalogOptions,
  MaintenanceOptions,
  Scd2Columns,
  SchemaRegistryOptions,
  SharedTableOptions,
  StreamOptions,
  TableOptions,
  TlsOptions,
  Trigger,
  UnityCatalogOptions,
} from './options/types.js'
export type { SchemaSource } from './registry/schema-source.js'
export {
  type CompactionStep,
  type EntryStatus,
  type OffsetProgress,
  type StreamContext,
  StreamingQuery,
  type StreamingQueryEvents,
  type StreamingQueryProgress,
  type StreamingQueryStatus,
  type StreamingQueryTermination,
  streamToDelta,
  type TableFailure,
  type TableStatus,
  type TopicMoves,
  type Waiting,
} from './stream/index.js'
