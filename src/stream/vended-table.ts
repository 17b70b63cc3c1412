/** A table whose store is opened by credentials that a catalog gives, and anew before they end. */

import type { VendedOptions } from '../catalog/vended.js'
import type { CompactOptions, MergeOptions, TableInfo } from '../delta/table.js'
import { KafkaToDeltaError } from '../errors.js'
import type { Logger } from '../log.js'
import { unlessAborted } from '../waits.js'
import type { StreamTable } from './dependencies.js'

export interface VendedTableOptions {
  uri: string
  credentials: VendedOptions
  /** Opens the table by the credentials among a store's options. */
  open: (vended: Record<string, string>, signal?: AbortSignal) => Promise<StreamTable>
  logger: Logger
}

/** What S3 says of credentials that have ended, with status 400. */
const EXPIRED = /ExpiredToken/

const isRefusal = (error: unknown) =>
  error instanceof KafkaToDeltaError && (error.code === 'STORAGE_DENIED' || EXPIRED.test(error.message))

/**
 * The engine takes a store's options when a table is opened: for other ones it is closed and opened anew, between two calls. The
 * calls that are under way end first; as long as credentials are good for a while, nothing waits for that.
 */
export class VendedTable implements StreamTable {
  readonly uri: string
  readonly #options: VendedTableOptions
  readonly #calls = new Set<Promise<unknown>>()
  /** Null before it is opened, and after it could not be opened anew. */
  #table: StreamTable | null = null
  #renewing: Promise<void> | null = null
  #isClosed = false

  private constructor(options: VendedTableOptions) {
    this.#options = options
    this.uri = options.uri
  }

  static async open(options: VendedTableOptions, signal?: AbortSignal): Promise<VendedTable> {
    const table = new VendedTable(options)
    await table.#renewed(signal)
    return table
  }

  info(): Promise<TableInfo> {
    return this.#call((table) => table.info())
  }

  refresh(options: { signal?: AbortSignal } = {}): Promise<TableInfo> {
    return this.#call((table) => table.refresh(options), options.signal)
  }

  merge(changes: Uint8Array | null, options: MergeOptions) {
    return this.#call((table) => table.merge(changes, options), options.signal)
  }

  compact(options: CompactOptions) {
    return this.#call(async (table) => (await table.compact?.(options)) ?? null, options.signal)
  }

  async close(): Promise<void> {
    this.#isClosed = true
    await this.#renewing?.catch(() => {})
    await this.#table?.close()
  }

  async #call<T>(work: (table: StreamTable) => Promise<T>, signal?: AbortSignal): Promise<T> {
    let table = this.#current()
    // In one go from the look to the call: nothing may begin to open the table anew between them.
    for (let renewed = false; table === null || (!renewed && this.#isDue()); table = this.#current()) {
      renewed = await this.#renewed(signal)
    }
    const call = work(table)
    const ended = call.catch(() => {}).finally(() => this.#calls.delete(ended))
    this.#calls.add(ended)
    try {
      return await call
    } catch (error) {
      if (isRefusal(error)) this.#options.credentials.refused()
      throw error
    }
  }

  /** The table; null where it is being opened anew, or has to be. */
  #current(): StreamTable | null {
    if (this.#isClosed) throw new KafkaToDeltaError('CANCELLED', 'the table is closed', { table: this.uri })
    return this.#renewing ? null : this.#table
  }

  #isDue(): boolean {
    const { need } = this.#options.credentials
    return need === 'now' || (need === 'soon' && this.#calls.size === 0)
  }

  /** Opens the table by new credentials, or waits for the call that does. @returns whether it was this one */
  async #renewed(signal: AbortSignal | undefined): Promise<boolean> {
    if (this.#renewing) {
      // Its failure is that of the call which began it.
      await unlessAborted(
        this.#renewing.catch(() => {}),
        signal,
      )
      return false
    }
    this.#renewing = this.#renew(signal).finally(() => {
      this.#renewing = null
    })
    await this.#renewing
    return true
  }

  async #renew(signal: AbortSignal | undefined): Promise<void> {
    const { credentials, logger } = this.#options
    const vended = await credentials.renew(signal)
    // The catalog gives none now, and those that the table has are good for a while yet.
    if (vended === null && this.#table) return
    const isFirst = this.#table === null
    await this.#reopen(vended ?? credentials.held, signal)
    if (!isFirst) logger.info({ table: this.uri }, 'the catalog gave new credentials for the table')
  }

  async #reopen(vended: Record<string, string>, signal: AbortSignal | undefined): Promise<void> {
    const { open, logger } = this.#options
    await unlessAborted(Promise.all(this.#calls), signal)
    const before = this.#table
    this.#table = null
    // It saves its index, where that is kept.
    await before?.close().catch((error) => logger.warn({ err: error, table: this.uri }, 'a table could not be closed'))
    if (!this.#isClosed) this.#table = await open(vended, signal)
  }
}
