/** Tells the consumer which partitions it fetches: those whose queues, and the queues of all together, have room. */

import type { ConsumerSession } from './consumer-session.js'
import type { SourceLogger } from './options.js'
import type { QueueRoom } from './queue-room.js'
import type { TopicFeed } from './topic-feed.js'

export interface FetchHost {
  feeds(): Iterable<TopicFeed>
  session(): Pick<ConsumerSession, 'hold' | 'resume'> | null | undefined
  logger: SourceLogger | undefined
  /** Milliseconds that a fetch waits for messages where partitions wait that it does not fetch, and where none does. */
  waits: { busyMs: number; idleMs: number }
}

export class FetchControl {
  readonly #room: QueueRoom
  readonly #host: FetchHost
  /** How the room was when all topics were last told to go on or to wait. */
  #told = { isTight: false, isFull: false }

  readonly #stopListening: () => void

  constructor(room: QueueRoom, host: FetchHost) {
    this.#room = room
    this.#host = host
    // Other queries share the room: what they take and give is no change of a topic here.
    this.#stopListening = room.onChange(() => queueMicrotask(() => this.#tellAll()))
  }

  /**
   * Milliseconds that the next fetch may wait for messages. It cannot be ended before, and partitions that go on meanwhile
   * are fetched after it: it is not to wait for long where there are such.
   */
  get waitMs(): number {
    const { feeds, waits } = this.#host
    for (const feed of feeds()) {
      if (feed.isClosed) continue
      for (const state of feed.partitions.values()) if (state.paused && !feed.isDone(state)) return waits.busyMs
    }
    return waits.idleMs
  }

  /** Nothing is told any more when only the common memory changes. */
  close(): void {
    this.#stopListening()
  }

  /** After a change in a topic; tells all of them where their common memory changed. */
  update(feed: TopicFeed): void {
    if (!this.#tellAll()) this.#tell(feed)
  }

  /** Where the common memory has changed since the last time: then the answer is true. */
  #tellAll(): boolean {
    const { isTight, isFull, heldBytes } = this.#room
    if (isTight === this.#told.isTight && isFull === this.#told.isFull) return false
    this.#told = { isTight, isFull }
    const note = 'the memory of all queues is tight, or is not any more'
    this.#host.logger?.info({ bytes: heldBytes, isTight, isFull }, note)
    for (const other of this.#host.feeds()) {
      this.#tell(other)
      other.wake()
    }
    return true
  }

  #tell(feed: TopicFeed): void {
    const hold: number[] = []
    const resume: number[] = []
    for (const state of feed.partitions.values()) {
      const isHeld = feed.isHeld(state)
      if (isHeld === state.paused) continue
      state.paused = isHeld
      ;(isHeld ? hold : resume).push(state.partition)
      if (!isHeld) state.movedAt = performance.now()
    }
    const session = this.#host.session()
    if (hold.length > 0) session?.hold(feed.topic, hold)
    if (resume.length > 0) session?.resume(feed.topic, resume)
  }
}
