/** The memory that the queues of all topics share. */

import { MEMORY_SHARES } from './memory-shares.js'

/**
 * It is tight from half of the queues' share on. Then topics wait that hold more than an equal part of that half: there always
 * is one, since that is the average. The others go on up to such a part each: no topic has to wait for one whose table is
 * slow. A fetch may bring more than a part, for each of them: where the whole share is held, all wait. So the sum stays
 * within the share, but for what is fetched meanwhile (`consumer.maxBytes`, twice at most).
 */
export class QueueRoom {
  #tightBytes = 0
  readonly #held = new Map<object, number>()
  #sum = 0
  #isTight = false
  #isFull = false
  readonly #listeners = new Set<() => void>()

  /** @param maxMemory of the process, in bytes */
  constructor(maxMemory: number) {
    this.resize(maxMemory)
  }

  /** @param maxMemory what it is from now on */
  resize(maxMemory: number): void {
    this.#tightBytes = (maxMemory * MEMORY_SHARES.messages) / 2
    this.#look()
  }

  /** Calls `listener` whenever it becomes tight or full, or is not any more, until the function is called that it gives. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Bytes that all queues hold. */
  get heldBytes(): number {
    return this.#sum
  }

  /** The queues hold much together, until they are drained below half of that. */
  get isTight(): boolean {
    return this.#isTight
  }

  /** The queues hold all that they may, until a quarter of it is drained. */
  get isFull(): boolean {
    return this.#isFull
  }

  /** Bytes that a queue may hold while it is tight. */
  get fairBytes(): number {
    return this.#tightBytes / Math.max(1, this.#held.size)
  }

  /** Notes what a queue holds now. */
  note(queue: object, bytes: number): void {
    this.#sum += bytes - (this.#held.get(queue) ?? 0)
    if (bytes === 0) this.#held.delete(queue)
    else this.#held.set(queue, bytes)
    this.#look()
  }

  #look(): void {
    const before = { isTight: this.#isTight, isFull: this.#isFull }
    if (this.#sum >= this.#tightBytes) this.#isTight = true
    else if (this.#sum < this.#tightBytes / 2) this.#isTight = false
    if (this.#sum >= this.#tightBytes * 2) this.#isFull = true
    else if (this.#sum < this.#tightBytes * 1.5) this.#isFull = false
    if (before.isTight === this.#isTight && before.isFull === this.#isFull) return
    for (const listener of this.#listeners) listener()
  }
}
