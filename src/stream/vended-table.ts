/** A table whose store goes by credentials that a catalog gives, and by new ones before they end. */

import type { HeldCredentials } from '../catalog/vended.js'
import type { CompactOptions, MergeOptions, TableInfo } from '../delta/table.js'
import { asKafkaToDeltaError, KafkaToDeltaError } from '../errors.js'
import type { Logger } from '../log.js'
import { unlessAborted } from '../waits.js'
import type { StreamTable } from './dependencies.js'

/** A table whose store's options may be replaced while calls are under way: `DeltaTable`. */
export interface RenewableTable extends StreamTable {
  renewStore(storageOptions: Record<string, string>): Promise<void>
}

export interface VendedTableOptions {
  credentials: HeldCredentials
  /** All options of the store, with these credentials among them. */
  storageOptions: (vended: Record<string, string>) => Record<string, string>
  open: (storageOptions: Record<string, string>, signal?: AbortSignal) => Promise<RenewableTable>
  logger: Logger
}

/** Credentials may come at their end already. Node.js fires timers of a longer wait at once. */
const [SHORTEST_WAIT_MS, LONGEST_WAIT_MS] = [500, 2 ** 31 - 1]

/** What S3 says of credentials that have ended, with status 400. */
const EXPIRED = /ExpiredToken/

const isRefusal = (error: unknown) =>
  error instanceof KafkaToDeltaError && (error.code === 'STORAGE_DENIED' || EXPIRED.test(error.message))

/**
 * Credentials are renewed when a call finds that they are due, and by a timer while calls are under way. Only a call whose
 * credentials are about to end waits for that: new ones count at once, also for the calls under way.
 */
export class VendedTable implements StreamTable {
  readonly uri: string
  readonly #options: VendedTableOptions
  readonly #table: RenewableTable
  readonly #closing = new AbortController()
  #calls = 0
  #timer: NodeJS.Timeout | null = null
  #renewing: Promise<void> | null = null

  private constructor(options: VendedTableOptions, table: RenewableTable) {
    this.#options = options
    this.#table = table
    this.uri = table.uri
  }

  static async open(options: VendedTableOptions, signal?: AbortSignal): Promise<VendedTable> {
    const { credentials, storageOptions, open } = options
    await credentials.renew(signal)
    return new VendedTable(options, await open(storageOptions(credentials.held), signal))
  }

  /** It asks no store. */
  info(): Promise<TableInfo> {
    return this.#table.info()
  }

  refresh(options: { signal?: AbortSignal } = {}): Promise<TableInfo> {
    return this.#call(() => this.#table.refresh(options), options.signal)
  }

  merge(changes: Uint8Array | null, options: MergeOptions) {
    return this.#call(() => this.#table.merge(changes, options), options.signal)
  }

  compact(options: CompactOptions) {
    return this.#call(async () => (await this.#table.compact?.(options)) ?? null, options.signal)
  }

  async close(): Promise<void> {
    this.#closing.abort(new KafkaToDeltaError('CANCELLED', 'the table was closed', { table: this.uri }))
    clearTimeout(this.#timer ?? undefined)
    await this.#renewing?.catch(() => {})
    await this.#table.close()
  }

  async #call<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    const { credentials } = this.#options
    this.#closing.signal.throwIfAborted()
    if (credentials.need === 'now') await unlessAborted(this.#renew(), signal)
    else if (credentials.need === 'soon') this.#renewBeside()
    this.#calls++
    this.#watch()
    try {
      return await work()
    } catch (error) {
      if (isRefusal(error)) credentials.refused()
      throw error
    } finally {
      this.#calls--
    }
  }

  /** A call may be under way for longer than its credentials live. */
  #watch(): void {
    const { dueIn } = this.#options.credentials
    if (this.#timer || this.#calls === 0 || this.#closing.signal.aborted || dueIn === Number.POSITIVE_INFINITY) return
    this.#timer = setTimeout(
      () => {
        this.#timer = null
        if (this.#calls > 0 && this.#options.credentials.need !== 'none') this.#renewBeside()
        else this.#watch()
      },
      Math.min(Math.max(dueIn, SHORTEST_WAIT_MS), LONGEST_WAIT_MS),
    ).unref()
  }

  #renewBeside(): void {
    const { logger } = this.#options
    const failed = (error: unknown) => {
      const err = asKafkaToDeltaError(error, 'STORAGE')
      if (!this.#closing.signal.aborted) logger.warn({ err, table: this.uri }, 'a table got no new credentials')
    }
    void this.#renew()
      .catch(failed)
      .finally(() => this.#watch())
  }

  /** One for all who wait for it. */
  #renew(): Promise<void> {
    this.#renewing ??= this.#renewNow().finally(() => {
      this.#renewing = null
    })
    return this.#renewing
  }

  async #renewNow(): Promise<void> {
    const { credentials, storageOptions, logger } = this.#options
    const vended = await credentials.renew(this.#closing.signal)
    if (vended === null) {
      logger.warn({ err: credentials.failure, table: this.uri }, 'the catalog gives no new credentials for the table')
      return
    }
    await this.#table.renewStore(storageOptions(vended))
    logger.info({ table: this.uri }, 'the catalog gave new credentials for the table')
  }
}
