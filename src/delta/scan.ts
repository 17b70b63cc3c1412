/** Reading Delta tables back: the rows of a version, or what versions changed, batch by batch as they are read. */

import { type RecordBatch, type Schema, Table, tableFromIPC } from 'apache-arrow'
import { KafkaToDeltaError } from '../errors.js'
import { tableUri } from '../options/table-uri.js'
import { onAbort } from '../waits.js'
import { withSignal } from './abort.js'
import { loadAddon } from './addon.js'
import type { NativeBatches, NativeModule } from './native-api.js'

/** What is read of a table. */
export interface ScanOptions {
  /** Names of columns, in the order of the result. Default: all. */
  columns?: readonly string[]
  /**
   * A condition on the rows, in Spark SQL: `id >= 5 AND status IN ('new', 'paid') AND note IS NULL`. Files and row
   * groups whose statistics or partition values rule it out are not read.
   */
  where?: string
  /** The version that is read. Default: the newest one. */
  version?: number
  /** The newest version that was committed by then is read; an alternative to `version`. */
  timestamp?: Date
  /** Stops the scan; the iteration throws its reason. */
  signal?: AbortSignal
}

/** How a store is reached. */
export interface StoreOptions {
  storageOptions?: Readonly<Record<string, string>>
}

/** What versions of a table changed, in the order of their numbers. */
export interface ChangesOptions {
  /** The last version that is read. Default: the newest one. */
  to?: number
  signal?: AbortSignal
}

/**
 * The rows of a scan: an async iterable of Arrow record batches, in no certain order. A few batches are in memory at a
 * time, however large the table is. Each iteration reads anew; leaving the loop stops the reading.
 *
 * @example
 * for await (const batch of scanTable('./orders', { columns: ['id'], where: 'year = 2026' })) console.log(batch.numRows)
 */
export class Scan implements AsyncIterable<RecordBatch> {
  readonly #uri: string
  readonly #signal: AbortSignal | undefined
  readonly #open: (signal: AbortSignal | undefined) => Promise<NativeBatches>

  /** @param open begins to read */
  constructor(
    uri: string,
    signal: AbortSignal | undefined,
    open: (signal: AbortSignal | undefined) => Promise<NativeBatches>,
  ) {
    this.#uri = uri
    this.#signal = signal
    this.#open = open
  }

  /**
   * @throws STORAGE, STORAGE_DENIED (no table is there), TABLE_UNSUPPORTED, TABLE_CORRUPT, EXPRESSION_INVALID (an unknown
   *   column, a wrong condition), VERSION_MISSING
   */
  async *[Symbol.asyncIterator](): AsyncGenerator<RecordBatch, void, undefined> {
    const batches = await this.#call((signal) => this.#open(signal))
    try {
      for (;;) {
        const bytes = await this.#next(batches)
        if (bytes === null) return
        yield* tableFromIPC(bytes).batches
      }
    } finally {
      await batches.close()
    }
  }

  /** The columns of the result. Throws as an iteration does. */
  async schema(): Promise<Schema> {
    const batches = await this.#call((signal) => this.#open(signal))
    try {
      return tableFromIPC(await batches.schema()).schema
    } finally {
      await batches.close()
    }
  }

  /** All rows at once, in memory. Throws as an iteration does. */
  async toTable(): Promise<Table> {
    const found: RecordBatch[] = []
    for await (const batch of this) found.push(batch)
    return found.length > 0 ? new Table(found) : new Table(await this.schema())
  }

  /** The next batch; where the signal is aborted meanwhile, its reason is thrown without waiting for the readers. */
  async #next(batches: NativeBatches): Promise<Uint8Array | null> {
    const signal = this.#signal
    const ended = onAbort(signal, () => void batches.close())
    try {
      const bytes = await this.#call(() => batches.next())
      signal?.throwIfAborted()
      return bytes
    } finally {
      ended()
    }
  }

  #call<T>(call: (signal: AbortSignal | undefined) => Promise<T>): Promise<T> {
    return withSignal(this.#signal, { table: this.#uri }, call)
  }
}

/**
 * Reads a Delta table, also one that is not written to here: a folder or a URL, as `path` of the options. Nothing is
 * read before the iteration begins.
 */
export function scanTable(path: string, options: ScanOptions & StoreOptions = {}, addon?: NativeModule): Scan {
  const uri = tableUri(path)
  const { columns, where, version, timestamp, storageOptions, signal } = options
  if (version !== undefined && timestamp !== undefined) {
    throw new KafkaToDeltaError('CONFIG_INVALID', 'a scan is of a version or of a timestamp, not of both', {
      table: uri,
    })
  }
  const asOf =
    version !== undefined ? { version } : timestamp !== undefined ? { timestamp: timestamp.getTime() } : 'newest'
  const complete = JSON.stringify({ uri, storageOptions: { ...storageOptions }, columns, where, asOf })
  return new Scan(uri, signal, (own) => (addon ?? loadAddon()).scanTable(complete, own))
}

/**
 * Reads what the versions from `from` on changed: the table's columns, `_change_type` (`insert`, `delete`,
 * `update_preimage`, `update_postimage`), `_commit_version` and `_commit_timestamp`. The table has to keep a change data
 * feed (`delta.enableChangeDataFeed`) in all of these versions.
 */
export function tableChanges(
  path: string,
  from: number,
  options: ChangesOptions & StoreOptions = {},
  addon?: NativeModule,
): Scan {
  const uri = tableUri(path)
  const { to, storageOptions, signal } = options
  return new Scan(uri, signal, (own) =>
    (addon ?? loadAddon()).tableChanges(uri, { ...storageOptions }, from, to ?? null, own),
  )
}
