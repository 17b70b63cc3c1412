/** The memory that the queues of all topics share. */

/** What the queues may hold together of `limits.maxMemory`: see {@link QueueRoom}. */
const SHARE = 0.5

/** What a queue knows of the others. */
export interface SharedRoom {
  /** The queues hold much together, until they are drained below half of that. */
  readonly isTight: boolean
  /** Bytes that a queue may hold while that is so. */
  readonly fairBytes: number
  /** Notes what a queue holds now. */
  note(queue: object, bytes: number): void
}

/**
 * It is tight from half of the queues' share on. Then topics wait that hold more than an equal part of that half: there always
 * is one, since that is the average. The others go on up to such a part each, which is another half together: so the sum
 * stays within the share, but for what is fetched meanwhile (`consumer.maxBytes`, twice at most), and no topic has to wait for one whose table is slow.
 */
export class QueueRoom implements SharedRoom {
  readonly #tightBytes: number
  readonly #held = new Map<object, number>()
  #sum = 0
  #isTight = false

  /** @param maxMemory of the query, in bytes */
  constructor(maxMemory: number) {
    this.#tightBytes = (maxMemory * SHARE) / 2
  }

  /** Bytes that all queues hold. */
  get heldBytes(): number {
    return this.#sum
  }

  get isTight(): boolean {
    return this.#isTight
  }

  get fairBytes(): number {
    return this.#tightBytes / Math.max(1, this.#held.size)
  }

  note(queue: object, bytes: number): void {
    this.#sum += bytes - (this.#held.get(queue) ?? 0)
    if (bytes === 0) this.#held.delete(queue)
    else this.#held.set(queue, bytes)
    if (this.#sum >= this.#tightBytes) this.#isTight = true
    else if (this.#sum < this.#tightBytes / 2) this.#isTight = false
  }
}
