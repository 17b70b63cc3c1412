/** The tables of a query: opened with patience, and closed together at the end. */

import { asKafkaToDeltaError, KafkaToDeltaError, type Waiting } from '../errors.js'
import type { KeepStarts } from '../kafka/options.js'
import type { StoredOffsets } from '../kafka/positions.js'
import type { Logger } from '../log.js'
import type { ResolvedOptions, ResolvedTable } from '../options/types.js'
import { BOUNDED, type RetryOptions, UNBOUNDED, withRetries } from '../retry.js'
import { onAbort, sideBySide, unlessAborted } from '../waits.js'
import type { StreamTable, Systems } from './dependencies.js'
import { KeptStarts, startsAtMoment } from './kept-starts.js'
import type { CompactionStep, StreamingQueryProgress } from './progress.js'
import { TableLoop } from './table/loop.js'
import type { StreamPolicies } from './table/retries.js'
import type { TableFailure } from './table-failure.js'

/** Tables that are opened at a time. */
const MAX_OPENING = 16

/** Milliseconds after which a table that is still being opened holds up no other one. */
const SLOW_MS = 3_000

export interface OpeningOptions {
  systems: Systems
  logger: Logger
  /** Ends a start that is under way. */
  signal?: AbortSignal
  /** Replaces the policies, for tests. */
  retryPolicies?: StreamPolicies
}

/** Is told of commits. */
export interface CommitListener {
  noteProgress(progress: StreamingQueryProgress): void
  noteCompaction(step: CompactionStep): void
}

/** Is told of each table, as soon as it is open, or cannot be. */
export interface OpeningListener {
  opened(loop: TableLoop): void
  failed(failure: TableFailure): void
}

/** Whether it is the table that is amiss, as it lies there, and not what the configuration says of it. */
const isOfTable = ({ code, exitCode }: KafkaToDeltaError) => exitCode === 1 && code !== 'ADDON_UNAVAILABLE'

/** A table that is open, or is going to be. */
class Awaited {
  readonly loop: Promise<TableLoop>
  delta: StreamTable | null = null
  /** Null where its topic's start is always the same. */
  starts: KeptStarts | null = null
  hasFailed = false
  resolve: (loop: TableLoop) => void = () => {}
  reject: (error: unknown) => void = () => {}

  constructor() {
    this.loop = new Promise((resolve, reject) => {
      this.resolve = resolve
      this.reject = reject
    })
    this.loop.catch(() => {})
  }
}

export class OpenTables {
  /** Null until the query runs. */
  listener: CommitListener | null = null
  /** A start is under way, which is refused where a table has a wrong configuration. */
  isStarting = true
  readonly #start: OpeningOptions
  /** Every table that was opened and not closed yet. */
  readonly #tables = new Set<StreamTable>()
  /** By topic. */
  readonly #awaited = new Map<string, Awaited>()
  readonly #waiting = new Map<string, Waiting>()
  /** Aborted where no more tables are opened. */
  readonly #stopping = new AbortController()
  #isOver = false

  constructor(start: OpeningOptions) {
    this.#start = start
  }

  /** What the table of a topic holds. Waits until it is open; rejects where it cannot be opened. */
  async storedOffsets(topic: string): Promise<StoredOffsets> {
    const awaited = this.#awaitedOf(topic)
    const stored = await (await awaited.loop).storedOffsets()
    return stored.exists || !awaited.starts ? stored : { ...stored, starts: await awaited.starts.read() }
  }

  /** Makes durable where a topic starts, of which the table holds no offsets yet; see {@link KeptStarts}. */
  keepStarts: KeepStarts = async (topic, starts, known) => {
    const awaited = this.#awaitedOf(topic)
    await awaited.loop
    return awaited.starts?.keep(starts, known) ?? starts
  }

  /** Whether the query had a topic before this run. Waits until its table is open. */
  async hadBegun(topic: string): Promise<boolean> {
    if ((await this.storedOffsets(topic)).exists) return true
    return (await this.#awaitedOf(topic).starts?.wasKept()) ?? false
  }

  /** Why a table is not open yet, where something fails and is tried again. */
  waitingFor(topic: string): Waiting | null {
    return this.#waiting.get(topic) ?? null
  }

  /** Rejects with the signal's reason (the start's, by default); otherwise as `withRetries` does. */
  retried<T>(operation: () => Promise<T>, signal = this.#start.signal, options: RetryOptions = {}): Promise<T> {
    const { retryPolicies, logger } = this.#start
    return withRetries(() => unlessAborted(operation(), signal), {
      policies: () => retryPolicies?.bounded ?? BOUNDED,
      onRetry: (error, attempt, delayMs) => logger.warn({ code: error.code, attempt, delayMs }, error.message),
      ...options,
      ...(signal ? { signal } : {}),
    })
  }

  /**
   * Opens tables side by side. One that cannot be opened stops itself alone. A start rejects where that may pass, and where one
   * that is named has a wrong configuration; so does `refuses`.
   */
  async open(
    tables: readonly ResolvedTable[],
    options: ResolvedOptions,
    listener: OpeningListener,
    { signal = this.#start.signal, refuses = () => this.isStarting } = {},
  ): Promise<void> {
    const ending = new AbortController()
    const unbind = [signal, this.#stopping.signal].map((by) => onAbort(by, () => ending.abort(by?.reason)))
    const openOne = async (table: ResolvedTable) => {
      try {
        listener.opened(await this.openOne(table, options, ending.signal))
      } catch (thrown) {
        if (ending.signal.aborted) throw thrown
        const error = asKafkaToDeltaError(thrown)
        if (refuses() && (error.canRetry || (table.pattern === null && !isOfTable(error)))) {
          // Those that hang do not keep the others' error back.
          ending.abort(error)
          throw error
        }
        listener.failed({ topic: table.topic, table: table.name ?? table.uri, error })
        const awaited = this.#awaitedOf(table.topic)
        awaited.hasFailed = true
        awaited.reject(error)
      }
    }
    try {
      await sideBySide(MAX_OPENING, tables, openOne, SLOW_MS)
    } finally {
      for (const ended of unbind) ended()
    }
  }

  /** Opens no more tables, and leaves those that are being opened. */
  stop(): void {
    const stopped = new KafkaToDeltaError('CANCELLED', 'the query was stopped')
    this.#stopping.abort(stopped)
    for (const { reject } of this.#awaited.values()) reject(stopped)
  }

  /** Closes the table of a topic, whose loop has ended. */
  async close(topic: string): Promise<void> {
    const delta = this.#awaited.get(topic)?.delta
    this.#awaited.delete(topic)
    if (!delta) return
    this.#tables.delete(delta)
    await delta.close()
  }

  /** Closes all of them, also those that come to be open later. */
  async closeAll(): Promise<void> {
    this.#isOver = true
    await Promise.all([...this.#tables].map((table) => this.#closeAtEnd(table)))
  }

  async #closeAtEnd(table: StreamTable): Promise<void> {
    try {
      await table.close()
    } catch (error) {
      this.#start.logger.warn({ err: error }, 'could not let go of a table at the end')
    }
  }

  #awaitedOf(topic: string): Awaited {
    let awaited = this.#awaited.get(topic)
    if (!awaited) {
      awaited = new Awaited()
      this.#awaited.set(topic, awaited)
    }
    return awaited
  }

  /** @throws what the table cannot be opened for */
  async openOne(table: ResolvedTable, query: ResolvedOptions, signal: AbortSignal): Promise<TableLoop> {
    const { systems, logger, retryPolicies } = this.#start
    const { topic } = table
    const delta = await this.#retriedOpening(topic, query, signal, async () => {
      const opened = await systems.table(table, signal)
      this.#tables.add(opened)
      if (this.#isOver) await this.#closeAtEnd(opened)
      return opened
    })
    const loop = new TableLoop({
      query,
      table,
      delta,
      decoder: systems.decoder(table, query),
      deadLetters: systems.deadLetters?.(table) ?? null,
      catalogs: systems.catalogs,
      logger,
      onProgress: (progress) => this.listener?.noteProgress(progress),
      onCompaction: (step) => this.listener?.noteCompaction(step),
      isStarting: () => this.isStarting,
      ...(retryPolicies ? { retryPolicies } : {}),
    })
    if (this.#awaited.get(topic)?.hasFailed) this.#awaited.delete(topic)
    const awaited = this.#awaitedOf(topic)
    awaited.delta = delta
    awaited.starts = this.#keptStarts(table, query)
    awaited.resolve(loop)
    return loop
  }

  #keptStarts(table: ResolvedTable, query: ResolvedOptions): KeptStarts | null {
    if (!startsAtMoment(table.topic, query.startingOffsets)) return null
    const { signal } = this.#stopping
    const keeper = this.#start.systems.startKeeper?.(table, signal)
    return keeper ? new KeptStarts(keeper, (work) => this.#retriedOpening(table.topic, query, signal, work)) : null
  }

  /** Once the query runs, an outage is waited for, however long it lasts. */
  async #retriedOpening<T>(
    topic: string,
    query: ResolvedOptions,
    signal: AbortSignal,
    open: () => Promise<T>,
  ): Promise<T> {
    const { retryPolicies = { bounded: BOUNDED, unbounded: UNBOUNDED }, logger } = this.#start
    const hasEnd = () => this.isStarting || 'availableNow' in query.trigger
    try {
      return await this.retried(open, signal, {
        policies: () => (hasEnd() ? retryPolicies.bounded : retryPolicies.unbounded),
        onRetry: ({ code, message }, attempts, delayMs) => {
          const since = this.#waiting.get(topic)?.since ?? new Date().toISOString()
          this.#waiting.set(topic, { code, message, since, attempts })
          logger.warn({ topic, code, attempt: attempts, delayMs }, message)
        },
      })
    } finally {
      this.#waiting.delete(topic)
    }
  }
}
