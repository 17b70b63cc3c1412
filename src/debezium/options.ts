/** What a table's decoder is told. */

import { KafkaToDeltaError } from '../errors.js'
import { withoutUndefined } from '../objects.js'
import { DECODER_DEFAULTS } from '../options/defaults.js'
import type { ResolvedColumn } from '../options/types.js'

export interface DecodeOptions {
  /** The topic: named in errors. */
  topic: string
  /** Key columns, for topics whose messages have no key, or another one. Default: the fields of the key's schema. */
  primaryKey?: string[]
  /** Field of flattened values that says whether the row was deleted. Default `__deleted`. */
  deletedColName?: string
  /** Field with the log sequence number. Default: found by Debezium's names. */
  lsnColName?: string
  /** The connector's `unavailable.value.placeholder`. */
  unavailableValuePlaceholder?: string
  /**
   * 'hard': deletes, tombstones and truncates remove rows. 'soft': rows stay, marked by {@link softDeleteColName}.
   * 'ignore': they do nothing, so that the old key of an updated key stays too. Default 'hard'.
   */
  deletes?: 'hard' | 'soft' | 'ignore'
  /**
   * 'append': each change is a row; deletes and truncates have what the message tells. 'scd2': each change has the time
   * at which the source made it. Default 'upsert'.
   */
  writeMode?: 'upsert' | 'append' | 'scd2'
  /** With soft deletes: the boolean column that is true for deleted rows, false for live ones. Default `__deleted`. */
  softDeleteColName?: string
  /** How values are stored, for columns that {@link columns} does not name. */
  defaults?: ResolvedColumn
  /** How the values of single columns are stored, by field name. */
  columns?: Record<string, ResolvedColumn>
  /** Fields to keep; key columns always are. Default: all. */
  includeColumns?: string[]
  /** Fields to leave out. */
  excludeColumns?: string[]
  /** New names, by field name. */
  renameColumns?: Record<string, string>
  /**
   * What to store of the message of a row's last change, beside the row: `kafka.topic`, `kafka.partition`,
   * `kafka.offset`, `kafka.timestamp`, `operation`, and of envelopes fields of the event, as Debezium's `add.fields`
   * writes them (`op`, `source.ts_ms:timestamp`). The columns are named as in a flattened stream: `__kafka_topic`,
   * `__timestamp`. See {@link MetadataSpec}.
   */
  metadataColumns?: string[]
  /**
   * 'auto': changes of several partitions are ordered by the source's positions and the messages' timestamps. 'off': by
   * their arrival. Default 'auto'.
   */
  orderGuard?: 'auto' | 'off'
  /** Other topics are written to the same table: a truncate of this one cannot be applied. Default false. */
  shared?: boolean
  /** 'collect' keeps the raw key and value of bad records, 'skip' only their position. Default 'fail'. */
  onBadRecord?: 'fail' | 'skip' | 'collect'
}

export type DecoderSettings = Required<Omit<DecodeOptions, 'primaryKey' | 'lsnColName' | 'includeColumns'>> &
  Pick<DecodeOptions, 'primaryKey' | 'lsnColName' | 'includeColumns'>

export function decoderSettings(options: DecodeOptions): DecoderSettings {
  return {
    ...DECODER_DEFAULTS,
    defaults: {},
    columns: {},
    excludeColumns: [],
    renameColumns: {},
    metadataColumns: [],
    shared: false,
    ...withoutUndefined(options),
    topic: options.topic,
  }
}

/** The options of one column, its own before the defaults. */
export function columnOptions(options: DecoderSettings, field: string): ResolvedColumn {
  return { ...options.defaults, ...own(options, field) }
}

function own(options: DecoderSettings, field: string): ResolvedColumn {
  return Object.hasOwn(options.columns, field) ? (options.columns[field] as ResolvedColumn) : {}
}

/**
 * The options of a key column. Two keys must never become one: the defaults that could do that do not count.
 * @throws CONFIG_INVALID where the column's own options could
 */
export function keyColumnOptions(options: DecoderSettings, field: string): ResolvedColumn {
  const named = own(options, field)
  const lossy =
    named.outOfRange !== undefined && named.outOfRange !== 'fail'
      ? `outOfRange ${JSON.stringify(named.outOfRange)}`
      : named.decimal === 'double'
        ? 'decimal "double"'
        : null
  if (lossy !== null) {
    throw new KafkaToDeltaError(
      'CONFIG_INVALID',
      `${options.topic}: columns.${field} says ${lossy}, but ${field} is part of the primary key, whose values must stay exact`,
      { topic: options.topic, column: field },
    )
  }
  const { decimal, ...defaults } = { ...options.defaults, outOfRange: 'fail' as const }
  return { ...defaults, ...(decimal === undefined || decimal === 'double' ? {} : { decimal }), ...named }
}
