/** The Delta side alone: a keyed table that batches of changes are merged into. */

import type { Table } from 'apache-arrow'
import { KafkaToDeltaError } from '../errors.js'
import { omit, withoutUndefined } from '../objects.js'
import { COMPACT_DEFAULTS, DELTA_DEFAULTS } from '../options/defaults.js'
import { tableUri } from '../options/table-uri.js'
import type { MaintenanceOptions, Plain, SharedTableOptions, TableOptions } from '../options/types.js'
import { OWN_COLUMNS, type OwnColumnsOption, traitsOf, WRITE_MODES } from '../options/write-modes.js'
import { withSignal } from './abort.js'
import { fromNative, loadAddon } from './addon.js'
import { tableToChangeIpc } from './change-ipc.js'
import type { NativeModule, NativeTable } from './native-api.js'
import type { CheckpointResult, CompactResult, MergeResult, TableInfo, TableOffset, VacuumResult } from './results.js'
import { type ChangesOptions, type Scan, type ScanOptions, scanTable, tableChanges } from './scan.js'

export type { CheckpointResult, CompactResult, MergeResult, TableInfo, TableOffset, VacuumResult }

/** What a table is told by the same names as a table of a query. */
type SharedOption = keyof typeof DELTA_DEFAULTS | 'storageOptions' | 'tableProperties' | OwnColumnsOption

/** How to open a table. What is not given has the defaults of the stream's options. Sizes are in bytes. */
export interface DeltaTableOptions
  extends Plain<
    Pick<SharedTableOptions, SharedOption> & Pick<TableOptions, 'additionalCols' | 'description' | 'partitionCols'>
  > {
  /** A folder or a URL, as {@link TableOptions.path}. The table is created by its first merge. */
  path: string
  /** The key columns. Default: those that each merge names. */
  primaryKey?: readonly string[]
  /** At creation. */
  name?: string
  /** Boolean column that marks deleted rows (`_op` 5), which stay. Default: none, and deleted rows go. */
  softDeleteColumn?: string
  /** Local folder that keeps the key index between runs. Default: none, and each start builds it anew. */
  indexDir?: string | null
  signal?: AbortSignal
}

/** When {@link DeltaTable.compact} rewrites files. Sizes are in bytes. */
export interface CompactOptions extends Plain<Pick<MaintenanceOptions, keyof typeof COMPACT_DEFAULTS>> {
  /** Rewrites every small file and every deleted row, whether it pays or not. Default: false. */
  full?: boolean
  /** Stops the step; nothing has happened then. Where the store does not answer: as {@link MergeOptions.signal}. */
  signal?: AbortSignal
}

export interface VacuumOptions {
  /** Milliseconds that removed files are kept. Default: the table's `delta.deletedFileRetentionDuration`. */
  retention?: number
  /** Nothing is removed; the result says what would be. Default: false. */
  dryRun?: boolean
  signal?: AbortSignal
}

export interface MergeOptions {
  /** The key columns; default: those that the table was opened with. */
  primaryKey?: readonly string[]
  /** Committed with the rows. A commit fails with FENCED where another stored offset is found than expected. */
  offsets?: readonly TableOffset[]
  /**
   * Stops the merge, ten seconds later at the latest. Whether it was committed then, the stored offsets tell. Where the store
   * did not answer in that time, the table is closed.
   */
  signal?: AbortSignal
  /** The bytes are not touched until the promise settles, so that no copy is needed. */
  transfer?: boolean
}

/** The table's property with the names of its key columns, as JSON. */
const KEY_PROPERTY = 'kafka2delta.primaryKey'

/** The names of a table's key columns, as far as the table says; none otherwise. */
export function storedKey({ properties }: Pick<TableInfo, 'properties'>): string[] {
  const stored = properties[KEY_PROPERTY]
  return stored === undefined ? [] : (JSON.parse(stored) as string[])
}

/** The table's property that says of columns what their types do not tell, as JSON. */
const FORMS_PROPERTY = 'kafka2delta.forms'

/** Of numbers and texts that are stored as they are. */
const PLAIN = 'plain'

/**
 * By column, and path within it: the unit of numbers, the form of texts that are made of other values. None for values that
 * are stored as they are.
 */
export function storedForms({ properties }: Pick<TableInfo, 'properties'>): Record<string, string> {
  const stored = JSON.parse(properties[FORMS_PROPERTY] ?? '{}') as Record<string, string>
  return Object.fromEntries(Object.entries(stored).filter(([, form]) => form !== PLAIN))
}

/** Complete options, as the engine has them (`TableOptions` in crates/kafka2delta/src/options.rs). */
export function engineOptions({ path, signal: _signal, writeMode, ...given }: DeltaTableOptions) {
  const mode = writeMode ?? DELTA_DEFAULTS.writeMode
  // A mode that is none is for the engine to refuse.
  const ownColumns = Object.hasOwn(WRITE_MODES, mode) ? traitsOf(mode).ownColumns : null
  return {
    ...DELTA_DEFAULTS,
    storageOptions: {},
    additionalCols: [],
    partitionCols: [],
    tableProperties: {},
    ...withoutUndefined(omit(given, OWN_COLUMNS)),
    writeMode:
      ownColumns === null
        ? mode
        : { [mode]: { ...OWN_COLUMNS[ownColumns], ...withoutUndefined(given[ownColumns] ?? {}) } },
    uri: tableUri(path),
  }
}

type EngineOptions = ReturnType<typeof engineOptions>

/**
 * A Delta table with a primary key. A merge applies a batch of changes, the last one of each key, and commits rows
 * and offsets in one Delta commit: both or neither. Calls are done one after another, in the order of the calls.
 *
 * @example
 * const table = await DeltaTable.open({ path: './orders', primaryKey: ['id'] })
 * await table.merge(tableFromArrays({ id: [1, 2], name: ['a', 'b'] }))
 * await table.close()
 */
export class DeltaTable {
  /** Absolute path or URL. */
  readonly uri: string
  readonly #native: NativeTable
  readonly #addon: NativeModule
  #options: EngineOptions
  #closed: Promise<void> | null = null

  private constructor(native: NativeTable, addon: NativeModule, options: EngineOptions) {
    this.#native = native
    this.#addon = addon
    this.#options = options
    this.uri = options.uri
  }

  /**
   * Opens a table; one that does not exist is created by its first merge.
   * @throws STORAGE, STORAGE_DENIED, TABLE_UNSUPPORTED, TABLE_CORRUPT, EXPRESSION_INVALID, ADDON_UNAVAILABLE
   */
  static async open(options: DeltaTableOptions, addon?: NativeModule): Promise<DeltaTable> {
    const complete = engineOptions(options)
    const module = addon ?? loadAddon()
    const table = await withSignal(options.signal, { table: complete.uri }, (signal) =>
      module.openTable(JSON.stringify(complete), signal),
    )
    return new DeltaTable(table, module, complete)
  }

  /**
   * Applies changes and commits them with the offsets.
   *
   * @param changes an Arrow table, where `_op` says what each row is (0 upsert, 1 delete; without the column all are
   *   upserts); an Arrow IPC stream with one record batch that has `_op`; or null, to commit offsets alone
   * @throws FENCED where a stored offset is not the expected one: nothing was committed
   * @throws BATCH_INVALID where neither the options nor the table name a primary key
   * @throws the signal's reason where it was aborted; see {@link MergeOptions.signal}
   */
  async merge(changes: Table | Uint8Array | null, options: MergeOptions = {}): Promise<MergeResult> {
    // Where none is named, it is the table's own.
    return this.#merge(changes, [...(options.primaryKey ?? this.#options.primaryKey ?? [])], options)
  }

  async #merge(changes: Table | Uint8Array | null, primaryKey: string[], options: MergeOptions): Promise<MergeResult> {
    this.#mustBeOpen()
    options.signal?.throwIfAborted()
    const offsets = (options.offsets ?? []).map(nativeOffset)
    const ipc = toIpc(changes, options.transfer === true)
    return this.#result(options.signal, (signal) => this.#native.merge(ipc, primaryKey, offsets, signal))
  }

  /**
   * Appends rows in one commit, without a look at keys. The table is opened with `writeMode: 'append'`; in one with a
   * key, `merge` writes rows, so that no key is there twice.
   * @throws CONFIG_INVALID in other write modes; what {@link merge} throws
   */
  async append(rows: Table, options: Omit<MergeOptions, 'primaryKey'> = {}): Promise<MergeResult> {
    const { writeMode } = this.#options
    if (writeMode !== 'append') {
      const mode = typeof writeMode === 'string' ? writeMode : Object.keys(writeMode)[0]
      const message = `append() is for tables opened with writeMode 'append', and this one has '${mode}': use merge()`
      throw new KafkaToDeltaError('CONFIG_INVALID', message, { table: this.uri })
    }
    return this.#merge(rows, [], options)
  }

  /**
   * Deletes the rows that meet a condition in Spark SQL, such as `year < 2020 OR status IS NULL`, in one commit. Where no
   * row does, nothing is committed.
   * @throws EXPRESSION_INVALID, TABLE_UNSUPPORTED (rows may only be appended), STORAGE_DENIED (no table is there)
   */
  async deleteWhere(condition: string, options: { signal?: AbortSignal } = {}): Promise<MergeResult> {
    return this.#result(options.signal, (signal) => this.#native.deleteWhere(condition, signal))
  }

  /** Reads rows of a version, batch by batch: see {@link scanTable}. */
  scan(options: ScanOptions = {}): Scan {
    return scanTable(this.uri, { ...options, storageOptions: this.#options.storageOptions }, this.#addon)
  }

  /** Reads what versions changed: see {@link tableChanges}. */
  changes(from: number, options: ChangesOptions = {}): Scan {
    return tableChanges(this.uri, from, { ...options, storageOptions: this.#options.storageOptions }, this.#addon)
  }

  /**
   * One bounded step of compaction, beside the merges: small files become larger ones, and files with many deleted rows
   * are written anew. No row changes.
   * @returns null where nothing is due, or where another writer changed the same files meanwhile
   */
  async compact(options: CompactOptions = {}): Promise<CompactResult | null> {
    const { signal, ...given } = options
    const complete = JSON.stringify({ ...COMPACT_DEFAULTS, full: false, ...withoutUndefined(given) })
    return this.#result(signal, (own) => this.#native.compact(complete, own))
  }

  /** Writes a checkpoint of the newest version, and removes log files by the table's `delta.logRetentionDuration`. */
  async checkpoint(options: { signal?: AbortSignal } = {}): Promise<CheckpointResult> {
    return this.#result(options.signal, (signal) => this.#native.checkpoint(signal))
  }

  /**
   * Removes files that no reader within the retention needs. A retention below the table's own takes files from readers
   * that count on it; below the time that a commit takes, nothing else may work on the table.
   */
  async vacuum(options: VacuumOptions = {}): Promise<VacuumResult> {
    const { signal, ...given } = options
    const complete = JSON.stringify({ dryRun: false, ...withoutUndefined(given) })
    return this.#result(signal, (own) => this.#native.vacuum(complete, own))
  }

  /** What is known of the table, without asking the storage. */
  async info(): Promise<TableInfo> {
    return tableInfo(await this.#result(undefined, () => this.#native.info()))
  }

  /** Looks for commits of others, then {@link info}. Stopped by its `signal`, the table is read anew by the next call. */
  async refresh(options: { signal?: AbortSignal } = {}): Promise<TableInfo> {
    return tableInfo(await this.#result(options.signal, (signal) => this.#native.refresh(signal)))
  }

  /** The offsets that the table holds: app id to the last offset applied. */
  async offsets(): Promise<Map<string, bigint>> {
    const { offsets } = await this.refresh()
    return new Map(offsets.map(({ appId, version }) => [appId, version]))
  }

  /**
   * Has all requests to the store go by other options from now on, also those of calls that are under way: for credentials that
   * end while the table is open. Uploads in parts, listings and deletes that have begun end by the options of before: call it
   * while these are good for a while yet.
   * @param storageOptions all of them, in place of those that the table was opened with
   * @throws STORAGE_DENIED where the store cannot be opened by them; those of before stay
   */
  async renewStore(storageOptions: Readonly<Record<string, string>>): Promise<void> {
    this.#mustBeOpen()
    try {
      await this.#native.renewStore({ ...storageOptions })
    } catch (error) {
      throw fromNative(error, { table: this.uri })
    }
    this.#options = { ...this.#options, storageOptions: { ...storageOptions } }
  }

  /** Waits for the calls under way, saves the key index and frees what the table holds. Again: does nothing. */
  async close(): Promise<void> {
    this.#closed ??= this.#native.close().catch((error) => {
      throw fromNative(error, { table: this.uri })
    })
    return this.#closed
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  #mustBeOpen(): void {
    if (this.#closed) throw new KafkaToDeltaError('INTERNAL', 'the table was closed', { table: this.uri })
  }

  /** The result of a call, which the addon gives as JSON. */
  async #result<T>(signal: AbortSignal | undefined, call: (signal?: AbortSignal) => Promise<string>): Promise<T> {
    this.#mustBeOpen()
    return JSON.parse(await withSignal(signal, { table: this.uri }, call)) as T
  }
}

/** As the engine gives it: its offsets are texts, since JSON's numbers are not exact beyond 2^53. */
type EngineInfo = Omit<TableInfo, 'exists' | 'offsets'> & { offsets: Record<string, string> }

function tableInfo(info: EngineInfo): TableInfo {
  const offsets = Object.entries(info.offsets).map(([appId, last]) => ({ appId, version: BigInt(last) }))
  return { ...info, exists: info.version !== null, offsets }
}

/** napi-rs reads a missing field of an object as none, and refuses null there. */
const nativeOffset = ({ expected, ...offset }: TableOffset) => (expected === null ? offset : { ...offset, expected })

function toIpc(changes: Table | Uint8Array | null, transfer: boolean): Uint8Array | null {
  if (changes === null) return null
  if (!(changes instanceof Uint8Array)) return tableToChangeIpc(changes)
  // The caller may change or transfer its buffer while the addon reads it.
  return transfer ? changes : new Uint8Array(changes)
}

/** A commit of a table, as its `commitInfo` tells it: `operation`, `operationParameters`, `operationMetrics`… */
export interface HistoryEntry {
  version: number
  /** Milliseconds since 1970. */
  timestamp?: number
  operation?: string
  operationParameters?: Record<string, unknown>
  operationMetrics?: Record<string, string>
  engineInfo?: string
  [field: string]: unknown
}

/**
 * The newest commits of a table, the newest first, as far as the log still has them.
 * @throws STORAGE, STORAGE_DENIED
 */
export async function tableHistory(
  path: string,
  options: { limit?: number; storageOptions?: Readonly<Record<string, string>>; signal?: AbortSignal } = {},
): Promise<HistoryEntry[]> {
  const uri = tableUri(path)
  const { limit = 20, storageOptions, signal } = options
  const addon = loadAddon()
  const entries = await withSignal(signal, { table: uri }, (own) =>
    addon.tableHistory(uri, { ...storageOptions }, limit, own),
  )
  return entries.map((entry) => JSON.parse(entry) as HistoryEntry)
}
