/** When a table's loop begins nothing new, and when it leaves what is under way. */

import { KafkaToDeltaError } from '../../errors.js'

/** Milliseconds in which a batch in hand is to be committed after a stop. */
const STOP_MS = 10_000

export class Lifetime {
  readonly #stopping = new AbortController()
  readonly #cutOff = new AbortController()
  #grace: NodeJS.Timeout | undefined
  #isCutOff = false

  /** Aborted by {@link stop}: nothing new is begun. */
  get stopping(): AbortSignal {
    return this.#stopping.signal
  }

  /** Aborted some time after {@link stop}, and at the end: what is under way is left for the next start. */
  get cutOff(): AbortSignal {
    return this.#cutOff.signal
  }

  get isStopping(): boolean {
    return this.#stopping.signal.aborted
  }

  /** Something did not answer before the end. */
  get isCutOff(): boolean {
    return this.#isCutOff
  }

  stop(graceMs = STOP_MS): void {
    if (this.isStopping) return
    this.#stopping.abort(new KafkaToDeltaError('CANCELLED', 'the table was stopped'))
    this.#grace = setTimeout(() => {
      this.#isCutOff = true
      this.#cutOff.abort(new KafkaToDeltaError('CANCELLED', `nothing answered for ${graceMs} ms after the stop`))
    }, graceMs)
  }

  end(): void {
    clearTimeout(this.#grace)
    this.#cutOff.abort(new KafkaToDeltaError('CANCELLED', 'the table was stopped'))
  }
}
