/** The tables of a query: opened with patience, and let go of together where the start fails. */

import { asKafkaToDeltaError, type KafkaToDeltaError } from '../errors.js'
import type { Logger } from '../log.js'
import type { ResolvedOptions, ResolvedTable } from '../options/types.js'
import { type RetryOptions, withRetries } from '../retry.js'
import { settled, sideBySide, unlessAborted } from '../waits.js'
import type { StreamTable, Systems } from './dependencies.js'
import type { CompactionStep, StreamingQueryProgress } from './progress.js'
import { TableLoop } from './table/loop.js'
import type { StreamPolicies } from './table/retries.js'
import type { TableFailure } from './table-failure.js'

/** Milliseconds in which a start that failed lets go of what it had opened. */
const LET_GO_MS = 2_000

/** Tables that are opened at a time. */
const MAX_OPENING = 16

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

/** Whether it is the table that is amiss, as it lies there, and not what the configuration says of it. */
const isOfTable = ({ code, exitCode }: KafkaToDeltaError) => exitCode === 1 && code !== 'ADDON_UNAVAILABLE'

export class OpenTables {
  /** Every table that was opened and not closed yet. */
  readonly tables = new Set<StreamTable>()
  /** Null until the query runs. */
  listener: CommitListener | null = null
  readonly #start: OpeningOptions
  readonly #loops = new Map<string, { loop: TableLoop; delta: StreamTable }>()

  constructor(start: OpeningOptions) {
    this.#start = start
  }

  loopOf(topic: string): TableLoop | null {
    return this.#loops.get(topic)?.loop ?? null
  }

  /** Rejects with the signal's reason (the start's, by default); otherwise as `withRetries` does. */
  retried<T>(operation: () => Promise<T>, signal = this.#start.signal): Promise<T> {
    const { retryPolicies, logger } = this.#start
    const retry: RetryOptions = {
      ...(signal ? { signal } : {}),
      ...(retryPolicies ? { policies: retryPolicies.bounded } : {}),
      onRetry: (error, attempt, delayMs) => logger.warn({ code: error.code, attempt, delayMs }, error.message),
    }
    return withRetries(() => unlessAborted(operation(), signal), retry)
  }

  /**
   * Opens tables side by side. One that cannot be opened stops itself alone; rejects where that may pass, and where one that is
   * named has a wrong configuration.
   */
  async open(
    tables: readonly ResolvedTable[],
    options: ResolvedOptions,
    signal = this.#start.signal,
  ): Promise<{ loops: TableLoop[]; failures: TableFailure[] }> {
    const failures: TableFailure[] = []
    const loops = await sideBySide(MAX_OPENING, tables, async (table) => {
      try {
        return await this.#open(table, options, signal)
      } catch (thrown) {
        const error = asKafkaToDeltaError(thrown)
        if (error.canRetry || signal?.aborted || (table.pattern === null && !isOfTable(error))) throw error
        failures.push({ topic: table.topic, table: table.name ?? table.uri, error })
        return null
      }
    })
    return { loops: loops.filter((loop) => loop !== null), failures }
  }

  /** Closes the table of a topic, whose loop has ended. */
  async close(topic: string): Promise<void> {
    const found = this.#loops.get(topic)
    if (!found) return
    this.#loops.delete(topic)
    this.tables.delete(found.delta)
    await found.delta.close()
  }

  /** Ends a start that failed. */
  async letGo(): Promise<void> {
    const { systems, logger } = this.#start
    for (const { loop } of this.#loops.values()) loop.stop(0)
    const closing = Promise.allSettled([...[...this.tables].map((table) => table.close()), systems.close?.()])
    if (await settled(closing, LET_GO_MS)) return
    logger.warn({}, 'a system did not answer at the end of the start')
  }

  async #open(table: ResolvedTable, query: ResolvedOptions, signal: AbortSignal | undefined): Promise<TableLoop> {
    const { systems, logger, retryPolicies } = this.#start
    const delta = await this.retried(async () => {
      const opened = await systems.table(table, signal)
      this.tables.add(opened)
      return opened
    }, signal)
    const loop = new TableLoop({
      query,
      table,
      delta,
      decoder: systems.decoder(table, query),
      deadLetters: systems.deadLetters?.(table) ?? null,
      logger,
      onProgress: (progress) => this.listener?.noteProgress(progress),
      onCompaction: (step) => this.listener?.noteCompaction(step),
      ...(retryPolicies ? { retryPolicies } : {}),
    })
    this.#loops.set(table.topic, { loop, delta })
    return loop
  }
}
