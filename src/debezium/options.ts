/** What a table's decoder is told. */
import { DEFAULT_PLACEHOLDER } from './placeholder.js'
import type { ColumnOptions } from './types.js'

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
  /** Whether deletes and tombstones remove rows or are ignored. Default 'apply'. */
  deletes?: 'apply' | 'ignore'
  /** How values are stored, for columns that {@link columns} does not name. */
  defaults?: ColumnOptions
  /** How the values of single columns are stored, by field name. */
  columns?: Record<string, ColumnOptions>
  /** Fields to keep; key columns always are. Default: all. */
  includeColumns?: string[]
  /** Fields to leave out. */
  excludeColumns?: string[]
  /** New names, by field name. */
  renameColumns?: Record<string, string>
  /**
   * Of envelopes: fields of the event to store, as Debezium's `add.fields` writes them (`op`, `source.ts_ms:timestamp`),
   * under the names that a flattened stream has (`__op`, `__timestamp`).
   */
  metadataColumns?: string[]
  /**
   * 'auto': `_seq` where the stream proves the order. 'off': none. 'lsn': the LSN alone, also of snapshot rows.
   * Default 'auto'.
   */
  orderGuard?: 'auto' | 'off' | 'lsn'
  /** 'collect' keeps the raw key and value of bad records, 'skip' only their position. Default 'fail'. */
  onBadRecord?: 'fail' | 'skip' | 'collect'
}

export type ResolvedOptions = Required<Omit<DecodeOptions, 'primaryKey' | 'lsnColName' | 'includeColumns'>> &
  Pick<DecodeOptions, 'primaryKey' | 'lsnColName' | 'includeColumns'>

export function resolveOptions(options: DecodeOptions): ResolvedOptions {
  return {
    deletedColName: '__deleted',
    unavailableValuePlaceholder: DEFAULT_PLACEHOLDER,
    deletes: 'apply',
    defaults: {},
    columns: {},
    excludeColumns: [],
    renameColumns: {},
    metadataColumns: [],
    orderGuard: 'auto',
    onBadRecord: 'fail',
    ...withoutUndefined(options),
  }
}

function withoutUndefined(options: DecodeOptions): DecodeOptions {
  return Object.fromEntries(
    Object.entries(options).filter(([, value]) => value !== undefined),
  ) as unknown as DecodeOptions
}

/** The options of one column, its own before the defaults. */
export function columnOptions(options: ResolvedOptions, field: string): ColumnOptions {
  return { ...options.defaults, ...options.columns[field] }
}
