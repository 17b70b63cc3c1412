/** The memory that topics share: what their messages and batches hold, and who may take more. */

import { MEMORY_SHARES } from './memory-shares.js'
import { QueueRoom } from './queue-room.js'

/** What of the batches' share all topics have in common. The rest is divided: an equal part for each topic. */
const COMMON = 0.75

/** What a batch may take of what is common. */
const MAX_TAKE = 0.25

/** A batch may decode to so many times `limits.maxBatchBytes`: the columns, and the stream that is made of them. */
const BATCH_FACTOR = 2

/** What a message may have of `limits.maxMemory`: decoded, it takes several times its size. */
const MAX_MESSAGE = 1 / 8

/** What a batch weighs beside its messages: each column has buffers, however few the rows are. */
const BATCH_WEIGHT = 64 * 1024

/** Bytes that a byte of messages takes, as long as nothing was decoded of a topic: more than most tables need. */
const UNKNOWN_RATIO = 16

/** The next batch may need a little more than the last one. */
const HEADROOM = 1.25

/** Where nothing was freed for so many milliseconds, no topic waits for the others any more. */
const STUCK_MS = 1_000

/** Bytes of memory by what holds them. */
export interface MemoryUse {
  /** `limits.maxMemory`. */
  limit: number
  /** Messages of all topics that wait, or are being decoded. */
  queued: number
  /** Columns that batches are decoded into. */
  decoding: number
  /** Decoded batches that are not committed, and what the engine makes of them. */
  merging: number
}

/** The largest message that is decoded. */
export const maxMessageBytes = (maxMemory: number): number => Math.floor(maxMemory * MAX_MESSAGE)

/**
 * Who takes a batch reserves what it decodes to and what the engine makes of that, by what the batch before came to, and holds
 * it until the batch is committed. Topics stand in line for what is common. Where nothing else is held, the first one may take what it wants: so
 * there always is one that goes on. Where tables keep what they hold, since their store does not answer, each of the others
 * still has a part of its own, for small batches.
 *
 * So batches stay within their share of `maxMemory`, but for a batch that alone is larger, and for one that comes to more
 * than was to be expected.
 */
export class MemoryBudget {
  /** What messages hold that wait. */
  readonly queues: QueueRoom
  #limit = 0
  readonly #topics = new Set<TopicMemory>()
  /** Those that wait, in the order in which they came, and what each one wants. */
  readonly #line = new Map<TopicMemory, number>()
  readonly #held = { decoding: 0, merging: 0 }
  /** When something was last freed, or someone came to wait where nobody did. */
  #movedAt = 0
  readonly #now: () => number
  #isServing = false

  /**
   * @param maxMemory bytes of all that the topics share
   * @param now milliseconds, for tests
   */
  constructor(maxMemory = Number.POSITIVE_INFINITY, now = () => performance.now()) {
    this.#now = now
    this.queues = new QueueRoom(maxMemory)
    this.resize(maxMemory)
  }

  /** @param maxMemory what it is from now on; what is held beyond it is given back in time */
  resize(maxMemory: number): void {
    this.#limit = maxMemory
    this.queues.resize(maxMemory)
    this.#serve()
  }

  /** @internal The most that is reserved for a batch. */
  get most(): number {
    return this.#common
  }

  get #common(): number {
    return this.#limit * MEMORY_SHARES.batches * COMMON
  }

  get use(): MemoryUse {
    return { limit: this.#limit, queued: this.queues.heldBytes, ...this.#held }
  }

  /**
   * @param wake called when it may be the topic's turn
   * @param maxBatchBytes of the messages of a batch
   */
  topic(wake: () => void, maxBatchBytes = Number.POSITIVE_INFINITY): TopicMemory {
    const topic = new TopicMemory(this, wake, maxBatchBytes)
    this.#topics.add(topic)
    return topic
  }

  /** @internal What the next batch of a topic may take, unless a single message is larger. */
  maxTake(topic: TopicMemory): number {
    const most = this.#common * MAX_TAKE
    return this.#isStuck ? Math.min(this.#part - topic.heldBytes, most) : most
  }

  /** @internal Whether the topic stands in line, behind others. */
  mustWait(topic: TopicMemory): boolean {
    return this.#line.has(topic) && !this.#isFirst(topic) && !this.#isStuck
  }

  /** @internal Whether the topic may decode to so many bytes: otherwise it stands in line. */
  take(topic: TopicMemory, bytes: number): boolean {
    if (this.#line.size === 0) this.#movedAt = this.#now()
    this.#line.set(topic, bytes)
    return this.#mayTake(topic, bytes)
  }

  /** @internal What a topic holds has changed by so much. */
  note(decoding: number, merging: number): void {
    this.#held.decoding += decoding
    this.#held.merging += merging
    if (decoding + merging >= 0) return
    this.#movedAt = this.#now()
    this.#serve()
  }

  /** @internal A topic waits no longer. */
  leave(topic: TopicMemory): void {
    if (this.#line.delete(topic)) this.#serve()
  }

  /** @internal A topic is not read any more. */
  forget(topic: TopicMemory): void {
    this.#topics.delete(topic)
    this.leave(topic)
  }

  #mayTake(topic: TopicMemory, bytes: number): boolean {
    const more = Math.max(0, bytes - topic.decodingBytes)
    if (this.#isStuck && topic.heldBytes + more <= this.#part) return true
    const { decoding, merging } = this.#held
    const isAlone = merging === 0 && decoding === topic.decodingBytes
    return this.#isFirst(topic) && (isAlone || decoding + merging + more <= this.#common)
  }

  #isFirst(topic: TopicMemory): boolean {
    for (const first of this.#line.keys()) return first === topic
    return false
  }

  get #part(): number {
    return (this.#limit * MEMORY_SHARES.batches * (1 - COMMON)) / Math.max(1, this.#topics.size)
  }

  get #isStuck(): boolean {
    return this.#line.size > 0 && this.#now() - this.#movedAt >= STUCK_MS
  }

  /** Those that stand in line have their turns, until one has to wait. */
  #serve(): void {
    if (this.#isServing) return
    this.#isServing = true
    for (const [topic, bytes] of this.#line) {
      if (!this.#mayTake(topic, bytes)) break
      topic.wake()
      if (this.#line.has(topic)) break
    }
    this.#isServing = false
  }
}

/** What the batches of one topic hold. */
export class TopicMemory {
  /** Called when it may be the topic's turn. */
  readonly wake: () => void
  readonly maxBatchBytes: number
  readonly #budget: MemoryBudget
  /** What the batch that is being decoded is expected to come to. */
  #reserved = 0
  #columns = 0
  #merging = 0
  /** The last batch that was decoded: its messages, and what they became. */
  #last: { weight: number; columns: number; bytes: number } | null = null
  /** Bytes that the engine holds for each byte of a decoded batch, that one included. */
  #engineRatio = 1
  #isClosed = false

  constructor(budget: MemoryBudget, wake: () => void, maxBatchBytes: number) {
    this.#budget = budget
    this.wake = wake
    this.maxBatchBytes = maxBatchBytes
  }

  get queues(): QueueRoom {
    return this.#budget.queues
  }

  get decodingBytes(): number {
    return Math.max(this.#reserved, this.#columns)
  }

  get heldBytes(): number {
    return this.decodingBytes + this.#merging
  }

  /** What the messages of the next batch may weigh, unless it is a single one. */
  get maxWeight(): number {
    const decoded = (this.maxBatchBytes * BATCH_FACTOR) / this.#ratio(1)
    return Math.max(1, Math.min(this.#budget.maxTake(this) / this.#ratio(this.#engineRatio), decoded))
  }

  /** Bytes that a byte of messages takes, where one of the decoded batch takes `engine`. */
  #ratio(engine: number): number {
    if (this.#last === null) return UNKNOWN_RATIO
    const { weight, columns, bytes } = this.#last
    return (HEADROOM * (columns + bytes * engine)) / (BATCH_WEIGHT + weight)
  }

  /** It stands in line, behind others. */
  get mustWait(): boolean {
    return this.#budget.mustWait(this)
  }

  /** Reserves what messages decode to. False where they have to wait: {@link wake} is called then. */
  take(weight: number): boolean {
    const expected = Math.ceil((BATCH_WEIGHT + weight) * this.#ratio(this.#engineRatio))
    // With more, too, it goes alone.
    const bytes = Math.min(expected, this.#budget.most)
    if (!this.#budget.take(this, bytes)) return false
    this.#hold({ reserved: bytes })
    this.leave()
    return true
  }

  /** Gives up its place in the line. */
  leave(): void {
    this.#budget.leave(this)
  }

  /** A batch was decoded to `bytes`, beside what the columns hold. Gives what it holds until it is {@link committed}. */
  decoded(weight: number, bytes: number): number {
    if (bytes > 0) this.#last = { weight, columns: this.#columns, bytes }
    const held = Math.ceil(bytes * this.#engineRatio)
    this.#hold({ reserved: 0, merging: this.#merging + held })
    return held
  }

  /** The engine held so much at a time of a batch that was decoded to `bytes`. */
  merged(bytes: number, peak: number): void {
    // A file has its size, however few the rows are.
    this.#engineRatio = Math.max(1, peak / (BATCH_WEIGHT + bytes))
  }

  /** A batch that was not decoded is not going to be. */
  dropped(): void {
    this.#hold({ reserved: 0 })
  }

  /** A batch is committed that held so much. */
  committed(held: number): void {
    this.#hold({ merging: this.#merging - held })
  }

  /** What the columns hold now. */
  noteColumns(columns: number): void {
    this.#hold({ columns })
  }

  /** What messages hold that wait. */
  noteQueued(bytes: number): void {
    if (!this.#isClosed) this.queues.note(this, bytes)
  }

  /** Nothing of what was taken will be committed. */
  clear(): void {
    this.leave()
    this.#hold({ reserved: 0, merging: 0 })
  }

  /** The topic is not read any more. */
  close(): void {
    this.#hold({ reserved: 0, columns: 0, merging: 0 })
    this.noteQueued(0)
    this.#isClosed = true
    this.#budget.forget(this)
  }

  #hold({ reserved = this.#reserved, columns = this.#columns, merging = this.#merging }): void {
    if (this.#isClosed) return
    const before = { decoding: this.decodingBytes, merging: this.#merging }
    this.#reserved = reserved
    this.#columns = columns
    this.#merging = merging
    this.#budget.note(this.decodingBytes - before.decoding, merging - before.merging)
  }
}
