/** What decode hands to the engine: one Arrow IPC stream of changes, and what is told about it. */

/** The value of the column `_op`. */
export const Op = {
  upsert: 0,
  delete: 1,
  /** Removes rows, or marks them where deletes are soft; every other column of its row is null. */
  truncate: 2,
  /** A delete whose row goes on under another key (`__debezium.newkey`): its values may still be needed. */
  moved: 4,
  /**
   * A delete that keeps the row and marks it: the row has the key, the flag column true, and the metadata columns that
   * the delete knows; every other column is in `_left_out`. Where no row of the key is stored, nor earlier in the batch,
   * it does nothing.
   */
  softDelete: 5,
  /** {@link Op.softDelete} where the op would be {@link Op.moved}. */
  softMoved: 6,
} as const

/** Whether the change takes the row of its key away, or marks it as deleted. */
export function isDelete(op: number): boolean {
  return op === Op.delete || op === Op.moved || op === Op.softDelete || op === Op.softMoved
}

/**
 * Columns of the stream after the table's own. All but `_op` are left out where no row needs them. The rows stand in the
 * order in which they are applied.
 *
 * | column | Arrow type | meaning |
 * |---|---|---|
 * | `_op` | uint8, not null | see {@link Op} |
 * | `_part` | int32, not null | Kafka partition that the change came through (absent: all 0) |
 * | `_seq` | fixed_size_binary[24] | the source's position as three unsigned 64-bit numbers, big endian: two that order transactions, and one that tells the changes of a transaction apart; null where it proves nothing |
 * | `_epoch` | uint64 | a 64-bit hash of the source epoch in which `_seq` compares; where topics share the table, of the topic, too |
 * | `_timestamp` | int64 | timestamp of the Kafka message in milliseconds since 1970, by which changes of several partitions are ordered; null where it is not known, or topics share the table: then it is `_seq`, where that would be null |
 * | `_time` | int64 | microseconds since 1970 at which the source made the change, else Kafka took it; `writeMode: scd2` alone |
 * | `_old_key` | struct of the key columns | of a primary-key update, the key of its other half: the one that this row had before, or that a deleted row has from now on; null where it is not known, and otherwise |
 * | `_left_out` | struct of boolean columns, named as the table's | true where the change leaves that column as it is stored |
 */
export const CONTROL_COLUMNS = [
  '_op',
  '_part',
  '_seq',
  '_epoch',
  '_timestamp',
  '_time',
  '_old_key',
  '_left_out',
] as const

/**
 * Metadata of the stream's schema: what the columns' types do not tell of their values (forms.ts), as JSON. The table
 * remembers it as a property of the same name, and refuses batches that say otherwise.
 */
export const FORMS = 'kafka2delta.forms'

/** In the stream's metadata, the topic's number of partitions, beside `_timestamp`. */
export const PARTITIONS = 'kafka2delta.partitions'

/**
 * In the stream's metadata, the names of the columns that tell of the change and not of the row, as a JSON list: what
 * differs in them alone is no other version of a row, nor another change than the one that was sent before.
 */
export const OF_THE_CHANGE = 'kafka2delta.ofTheChange'

/** A record that could not be decoded. */
export interface BadRecord {
  topic: string
  partition: number
  offset: string
  reason: string
  key: Buffer | null
  value: Buffer | null
}

export interface ChangeBatch {
  /** An Arrow IPC stream with exactly one record batch; null when no message is a change. */
  ipc: Uint8Array | null
  numRows: number
  /** Whether no change leaves a row, nor anything to be remembered. Such a batch makes no table. */
  onlyRemoves?: boolean
  /** Names of the key columns, in the order of the key's schema. */
  primaryKey: string[]
  /** Messages that are no change of a row: heartbeats, transaction markers, schema changes, logical messages. */
  numIgnored: number
  badRecords: BadRecord[]
  /** The partitions whose last message is a delete, with a hash of its key, where a tombstone that follows is ignored. */
  lastDeletes?: ReadonlyMap<number, bigint>
  /** What the user should know of the topic, each said once per decoder: why its messages are ignored, for one. */
  notes?: string[]
}
