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

/** Milliseconds in which steps begin at the end of a run that has one. What is still due then is left to the next run. */
const FINISH_MS = 10_000

/** Longest wait after failures, in milliseconds. */
const MAX_BACK_OFF_MS = 5 * 60_000

/**
 * Milliseconds without a commit after which a table is looked at once more. The engine finishes the small files of a partition
 * that has got none for ten minutes, and of a table that falls quiet as a whole no commit would tell.
 */
const QUIET_MS = 11 * 60_000

/** A stream that stays behind for so many milliseconds gets a step all the same: readers feel the files, too. */
const MAX_WAIT_MS = 60 * 60_000

export interface CompactionParts {
  compact: (options: CompactOptions) => Promise<CompactResult | null>
  options: ResolvedMaintenance
  /** Messages that wait; null where that is not known. */
  lag: () => number | null
  logger: Logger
  onStep: (result: CompactResult) => void
  /** Default: {@link QUIET_MS}. */
  quietMs?: number
  /** Default: {@link FINISH_MS}. */
  finishMs?: number
}

export class Compaction {
  readonly #parts: CompactionParts
  readonly #stopping = new AbortController()
  #running: Promise<unknown> | null = null
  /** Goes off when the table has been quiet for long enough. */
  #quiet: NodeJS.Timeout | null = null
  #notBefore = 0
  #failures = 0
  #lastStep = performance.now()
  /** When no further step begins; null beside a stream, which gets half of the time. */
  #until: number | null = null

  constructor(parts: CompactionParts) {
    this.#parts = parts
  }

  /** After a commit: steps begin, if any are due and none is under way. Returns at once. */
  noteCommit(): void {
    this.lookWhenQuiet()
    if (this.#mayRun) void this.#run()
  }

  /** Has the table looked at when it has been quiet for a while from now on; not any more once nothing is due. */
  lookWhenQuiet(): void {
    if (this.#stopping.signal.aborted) return
    const { quietMs = QUIET_MS } = this.#parts
    this.#quiet ??= setTimeout(() => void this.#lookAtQuiet(), quietMs).unref()
    this.#quiet.refresh()
  }

  async #lookAtQuiet(): Promise<void> {
    const isDue = this.#mayRun ? await this.#run() : true
    if (isDue) this.lookWhenQuiet()
  }

  get #mayRun(): boolean {
    return !this.#running && !this.#stopping.signal.aborted && performance.now() >= this.#notBefore && !this.#isBehind()
  }

  /** Whether something was done, or failed: there may be more to do later. */
  async #run(): Promise<boolean> {
    const steps = this.#steps()
    this.#running = steps
    try {
      return await steps
    } finally {
      this.#running = null
    }
  }

  /** Does what is due at the end of what there was to apply, but begins nothing after a while. */
  async finish(): Promise<void> {
    const { finishMs = FINISH_MS } = this.#parts
    this.#until = performance.now() + finishMs
    await this.#running
    await this.#steps()
  }

  /** Stops the step under way: it has not happened then, unless it was being committed already. */
  async stop(): Promise<void> {
    this.#stopping.abort()
    if (this.#quiet) clearTimeout(this.#quiet)
    await this.#running
  }

  #isBehind(): boolean {
    const lag = this.#parts.lag()
    return lag !== null && lag > this.#parts.options.maxLag && performance.now() - this.#lastStep < MAX_WAIT_MS
  }

  /** Never rejects: a table is whole without compaction. False where nothing was due. */
  async #steps(): Promise<boolean> {
    const { compact, options, logger, onStep } = this.#parts
    const { signal } = this.#stopping
    let hasDone = false
    try {
      while (!signal.aborted && (this.#until === null || performance.now() < this.#until)) {
        const begun = performance.now()
        const result = await compact({ ...pick(options, COMPACT_DEFAULTS), signal })
        this.#failures = 0
        if (result === null) {
          this.#notBefore = performance.now() + PAUSE_MS
          return hasDone
        }
        hasDone = true
        this.#lastStep = performance.now()
        onStep(result)
        if (this.#until === null) {
          // At most half of the time is compaction's, as long as changes come in.
          await pause(performance.now() - begun, signal, { ref: false })
          if (this.#isBehind()) return true
        }
      }
    } catch (thrown) {
      if (signal.aborted) return false
      const delayMs = Math.min(PAUSE_MS * 2 ** this.#failures++, MAX_BACK_OFF_MS)
      this.#notBefore = performance.now() + delayMs
      const { code, message } = asKafkaToDeltaError(thrown)
      logger.warn({ code, delayMs }, `a step of compaction failed and is tried again later: ${message}`)
    }
    return true
  }
}
