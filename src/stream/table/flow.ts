/** What is on the way from the source to a table. */

export type LoopState = 'starting' | 'waiting' | 'merging' | 'ended'

export class Flow {
  #state: LoopState = 'starting'
  /** Batches that were taken from the source and are not committed. */
  #inHand = 0
  #mustRewind = false

  get state(): LoopState {
    return this.#state
  }

  /** Nothing is on the way. */
  get isIdle(): boolean {
    return this.#inHand === 0 && !this.#mustRewind
  }

  /** What is on the way is to be dropped: its positions are not those of the table. */
  get mustRewind(): boolean {
    return this.#mustRewind
  }

  /** The next batch is asked for. */
  asked(): void {
    if (this.#inHand === 0) this.#state = 'waiting'
  }

  taken(): void {
    this.#inHand++
  }

  merging(): void {
    this.#state = 'merging'
  }

  /** A batch is in the table, or dropped. */
  finished(): void {
    this.#inHand--
    this.asked()
  }

  rewind(): void {
    this.#mustRewind = true
  }

  /** All that was on the way is dropped, and is read again. */
  rewound(): void {
    this.#inHand = 0
    this.#mustRewind = false
  }

  ended(): void {
    this.#state = 'ended'
    this.#inHand = 0
  }
}
