/** What a table's decoder is told. */

import { KafkaToDeltaError } from '../errors.js'
import { withoutUndefined } from '../objects.js'
import { DECODER_DEFAULTS } from '../options/defaults.js'
import type { Plain, ResolvedColumn, SharedTableOptions } from '../options/types.js'
import { traitsOf, type WriteModeTraits } from '../options/write-modes.js'

/** What a decoder is told by the same names as a table of a query. */
type TableOption = Exclude<keyof typeof DECODER_DEFAULTS, 'onBadRecord'> | 'lsnColName'

export interface DecodeOptions extends Plain<Pick<SharedTableOptions, TableOption>> {
  /** The topic: named in errors. */
  topic: string
  /** Key columns, for topics whose messages have no key, or another one. Default: the fields of the key's schema. */
  primaryKey?: string[]
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
  /** Other topics are written to the same table: a truncate of this one cannot be applied. Default false. */
  shared?: boolean
  /** 'collect' keeps the raw key and value of bad records, 'skip' only their position. Default 'fail'. */
  onBadRecord?: 'fail' | 'skip' | 'collect'
  /** Bytes of key and value from which on a message is a bad record. Default: no bound. */
  maxMessageBytes?: number
}

/** What has no default: it is left out, or given. */
type Optional = 'primaryKey' | 'lsnColName' | 'includeColumns'

export interface DecoderSettings extends Required<Omit<DecodeOptions, Optional>>, Pick<DecodeOptions, Optional> {
  /** What `writeMode` asks for. */
  mode: WriteModeTraits
}

export function decoderSettings(options: DecodeOptions): DecoderSettings {
  return {
    ...DECODER_DEFAULTS,
    mode: traitsOf(options.writeMode ?? DECODER_DEFAULTS.writeMode),
    defaults: {},
    columns: {},
    excludeColumns: [],
    renameColumns: {},
    metadataColumns: [],
    shared: false,
    maxMessageBytes: Number.POSITIVE_INFINITY,
    ...withoutUndefined(options),
    topic: options.topic,
  }
}

/**
 * The only topic whose changes the table's have an order with; null where it has no others. Of several topics that share a
 * table neither positions nor timestamps say which of their changes is the later one.
 */
export function orderedTopic({ shared, topic }: DecoderSettings): string | null {
  return shared ? topic : null
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
