/** Takes the tables of topics that appear while a query runs. */

import { asKafkaToDeltaError, type KafkaToDeltaError, retryPolicyOf } from '../errors.js'
import type { Logger } from '../log.js'
import type { ResolvedOptions, ResolvedTable } from '../options/types.js'
import { pause, unlessAborted } from '../waits.js'
import type { TableDiscovery } from './discovery.js'
import type { OpenTables } from './open-tables.js'
import type { TableLoop } from './table/loop.js'
import type { TableFailure } from './table-failure.js'
import type { WorkerTables } from './worker-tables.js'

/** Milliseconds between two looks: a topic is taken within a minute. */
const LOOK_EVERY_MS = 20_000

export interface NewTablesOptions {
  options: ResolvedOptions
  discovery: TableDiscovery
  opened: OpenTables
  /** Where many workers share the tables: whom new ones are told to, rather than opened. */
  shared: WorkerTables | null
  logger: Logger
  /** Default: {@link LOOK_EVERY_MS}. */
  lookEveryMs?: number
}

/** `shared` are tables that come to some worker. */
type Add = (
  loops: readonly TableLoop[],
  failures: readonly TableFailure[],
  shared?: readonly ResolvedTable[],
) => Promise<void>

export class NewTables {
  readonly #of: NewTablesOptions
  readonly #stopping = new AbortController()

  constructor(of: NewTablesOptions) {
    this.#of = of
  }

  /** Looks now and then, and hands over what is new, until {@link stop}. Never rejects. */
  async run(add: Add): Promise<void> {
    const { logger, lookEveryMs = LOOK_EVERY_MS } = this.#of
    const { signal } = this.#stopping
    while (!signal.aborted) {
      await pause(lookEveryMs, signal)
      if (signal.aborted) return
      try {
        await this.#look(add)
      } catch (error) {
        if (!signal.aborted) logger.warn({ err: error }, 'new topics could not be looked for; it is tried again')
      }
    }
  }

  stop(): void {
    this.#stopping.abort()
  }

  /** Whether a table that was stopped only rests: its topic was deleted, and may be made again. */
  rests(topic: string, error: KafkaToDeltaError): boolean {
    const { discovery, opened, logger } = this.#of
    if (error.code !== 'TOPIC_NOT_FOUND' || !discovery.hasTaken(topic)) return false
    logger.warn({ topic }, 'the topic was deleted: its table rests')
    discovery.forget(topic)
    opened.close(topic).catch((cause) => logger.warn({ err: cause, topic }, 'the table could not be closed'))
    return true
  }

  async #look(add: Add): Promise<void> {
    const { discovery, opened, shared, options, logger } = this.#of
    const { signal } = this.#stopping
    const { tables, failures } = await discovery.look(signal)
    // Told once, and so before anything that may fail.
    await add([], failures)
    try {
      shared?.know(tables)
      const loops: TableLoop[] = []
      const failed: TableFailure[] = []
      const listener = { opened: (loop: TableLoop) => loops.push(loop), failed: (of: TableFailure) => failed.push(of) }
      if (!shared) await opened.open(tables, options, listener, { signal, refuses: () => true })
      if (signal.aborted) return
      const refused = failed.filter(({ error }) => retryPolicyOf(error.code) === 'access')
      for (const { topic, error } of refused) {
        logger.warn(
          { topic, code: error.code },
          `a topic cannot be taken yet, and is looked at again: ${error.message}`,
        )
        discovery.forget(topic)
      }
      const failures = failed.filter((failure) => !refused.includes(failure))
      // Kafka may take a minute to join the group anew, and it is let go of at the end.
      await unlessAborted(add(loops, failures, shared ? tables : []), signal)
    } catch (error) {
      // What was opened is closed at the end, with all others.
      if (signal.aborted) throw error
      // An outage: all of them are found again.
      for (const { topic } of tables) {
        discovery.forget(topic)
        await opened.close(topic)
      }
      throw asKafkaToDeltaError(error)
    }
  }
}
