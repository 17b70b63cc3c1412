/** Tries operations of one table again, and knows what keeps it waiting. */

import type { Waiting } from '../../errors.js'
import type { Logger } from '../../log.js'
import { type RetryPolicies, withRetries } from '../../retry.js'
import { unlessAborted } from '../../waits.js'
import type { Lifetime } from './lifetime.js'

/** The topic, and the table's name, or its path where it has none: named in logs and errors. */
export interface TableLabel {
  topic: string
  table: string
}

/** How long failing systems are waited for: at a start and in a run that has an end, and in one that has none. */
export interface StreamPolicies {
  bounded: RetryPolicies
  unbounded: RetryPolicies
}

export interface RetriesOptions {
  label: TableLabel
  lifetime: Lifetime
  logger: Logger
  /** Asked at each failure. */
  policies: () => RetryPolicies
}

export class Retries {
  readonly #options: RetriesOptions
  /** By operation: a batch may be decoded while another one is merged. */
  readonly #waiting = new Map<object, Waiting>()

  constructor(options: RetriesOptions) {
    this.#options = options
  }

  /** The oldest failure that is tried again. */
  get waitingFor(): Waiting | null {
    return this.#waiting.values().next().value ?? null
  }

  /**
   * Tries again what may heal; gives up when the table was stopped, and what hangs some time after it.
   * @param wasAllowed asked where access is refused: whether it was not before
   */
  async run<T>(
    operation: (signal: AbortSignal) => Promise<T>,
    wasAllowed: () => boolean | Promise<boolean> = () => false,
    until: AbortSignal = this.#options.lifetime.cutOff,
  ): Promise<T> {
    const { label, lifetime, logger, policies } = this.#options
    const id = {}
    try {
      return await withRetries(() => unlessAborted(operation(until), until), {
        signal: lifetime.stopping,
        onRetry: (error, attempt, delayMs) => {
          const { code, message } = error
          const since = this.#waiting.get(id)?.since ?? new Date().toISOString()
          this.#waiting.set(id, { code, message, since, attempts: attempt })
          logger.warn({ ...label, code, attempt, delayMs }, message)
        },
        wasAllowed,
        policies,
      })
    } finally {
      this.#waiting.delete(id)
    }
  }
}
