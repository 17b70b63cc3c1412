/** Compaction beside a table's stream: one bounded step at a time, and none while the stream is far behind. */

import type { CompactOptions, CompactResult } from '../../delta/table.js'
import { asKafkaToDeltaError } from '../../errors.js'
import type { Logger } from '../../log.js'
import { pick } from '../../objects.js'
import { COMPACT_DEFAULTS } from '../../options/defaults.js'
import type { ResolvedMaintenance } from '../../options/types.js'
import { pause } from '../../waits.js'

/** Milliseconds between two looks where nothing was due. */
const PAUSE_MS = 1_000

/** Longest wait after failures, in milliseconds. */
const MAX_BACK_OFF_MS = 5 * 60_000

/** A stream that stays behind for so many milliseconds gets a step all the same: readers feel the files, too. */
const MAX_WAIT_MS = 60 * 60_000

export interface CompactionParts {
  compact: (options: CompactOptions) => Promise<CompactResult | null>
  options: ResolvedMaintenance
  /** Messages that wait; null where that is not known. */
  lag: () => number | null
  logger: Logger
  onStep: (result: CompactResult) => void
}

export class Compaction {
  readonly #parts: CompactionParts
  readonly #stopping = new AbortController()
  #running: Promise<void> | null = null
  #notBefore = 0
  #failures = 0
  #lastStep = Date.now()

  constructor(parts: CompactionParts) {
    this.#parts = parts
  }

  /** After a commit: steps begin, if any are due and none is under way. Returns at once. */
  noteCommit(): void {
    if (this.#running || this.#stopping.signal.aborted || Date.now() < this.#notBefore || this.#isBehind()) return
    this.#running = this.#steps(true).finally(() => {
      this.#running = null
    })
  }

  /** Does all that is due, at the end of what there was to apply. */
  async finish(): Promise<void> {
    await this.#running
    await this.#steps(false)
  }

  /** Stops the step under way: it has not happened then, unless it was being committed already. */
  async stop(): Promise<void> {
    this.#stopping.abort()
    await this.#running
  }

  #isBehind(): boolean {
    const lag = this.#parts.lag()
    return lag !== null && lag > this.#parts.options.maxLag && Date.now() - this.#lastStep < MAX_WAIT_MS
  }

  /** Never rejects: a table is whole without compaction. */
  async #steps(sparing: boolean): Promise<void> {
    const { compact, options, logger, onStep } = this.#parts
    const { signal } = this.#stopping
    try {
      while (!signal.aborted) {
        const begun = Date.now()
        const result = await compact({ ...pick(options, COMPACT_DEFAULTS), signal })
        this.#failures = 0
        if (result === null) {
          this.#notBefore = Date.now() + PAUSE_MS
          return
        }
        this.#lastStep = Date.now()
        onStep(result)
        if (sparing) {
          // At most half of the time is compaction's, as long as changes come in.
          await pause(Date.now() - begun, signal, { ref: false })
          if (this.#isBehind()) return
        }
      }
    } catch (thrown) {
      if (signal.aborted) return
      const delayMs = Math.min(PAUSE_MS * 2 ** this.#failures++, MAX_BACK_OFF_MS)
      this.#notBefore = Date.now() + delayMs
      const { code, message } = asKafkaToDeltaError(thrown)
      logger.warn({ code, delayMs }, `a step of compaction failed and is tried again later: ${message}`)
    }
  }
}
