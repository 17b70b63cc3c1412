/** Batches whose positions are not committed yet, since they change no row. */

import type { MicroBatch } from '../../kafka/micro-batch.js'
import { MESSAGE_WEIGHT } from '../../kafka/options.js'

/** Milliseconds after which positions that only ignored messages moved are committed. */
const PENDING_COMMIT_MS = 30_000

/** As long as a timer can be. */
const FOREVER_MS = 2 ** 31 - 1

export class Pending {
  readonly #maxBytes: number
  #batches: MicroBatch[] = []
  #since: number | null = null

  /** @param maxBytes of messages from which on positions are not kept back */
  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes
  }

  /** Milliseconds until the positions are to be committed. */
  get dueIn(): number {
    return this.#since === null ? FOREVER_MS : Math.max(0, this.#since + PENDING_COMMIT_MS - performance.now())
  }

  keep(batch: MicroBatch): void {
    this.#since ??= performance.now()
    this.#batches.push(batch)
  }

  /** The positions are committed, or are about to be. */
  committing(): void {
    this.#since = null
  }

  /** A batch that is committed: the source is to be told of it with the others. */
  add(batch: MicroBatch): void {
    this.#batches.push(batch)
  }

  /** Whether the batches had many messages, and this one with them. */
  holdsMuch(...more: MicroBatch[]): boolean {
    let held = 0
    for (const { numBytes, numMessages } of [...this.#batches, ...more]) {
      held += numBytes + numMessages * MESSAGE_WEIGHT
    }
    return held >= this.#maxBytes
  }

  /** The batches that the source is to be told of, once. */
  take(): MicroBatch[] {
    const batches = this.#batches
    this.#batches = []
    return batches
  }

  /** They are read again. */
  drop(): void {
    this.#batches = []
    this.#since = null
  }
}
