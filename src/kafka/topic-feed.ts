/** One topic on its way: the positions of its partitions, its queue, and when a micro-batch is cut. */

import { KafkaToDeltaError } from '../errors.js'
import { AdaptivePace, MOST_MS } from './adaptive-pace.js'
import { MemoryBudget, type TopicMemory } from './memory-budget.js'
import { Messages } from './messages.js'
import type { MicroBatch } from './micro-batch.js'
import type { SourceLimits, SourceTrigger } from './options.js'
import type { FindPairMember, ReadProgress } from './paired-messages.js'
import { TopicQueue } from './topic-queue.js'

/** How long offsets without messages wait for company before they are handed over alone. Milliseconds. */
export const EMPTY_BATCH_INTERVAL_MS = 10_000

/** How often messages are looked at that wait for others. Milliseconds. */
const HELD_INTERVAL_MS = 100

/** Messages of a batch that is worth a commit: fewer wait for others, where `maxDelay` says so. */
const FEW_MESSAGES = 1_000

/** How long `availableNow` collects, where a batch does not fill up. Milliseconds. */
const AVAILABLE_NOW_WAIT_MS = 10_000

/** One partition that is read. */
export interface PartitionState {
  readonly topic: string
  readonly partition: number
  /** The next offset to be read; null until it was found out. */
  expected: bigint | null
  /** The first of the offsets before `expected` that were lost: the next range begins there, so that ranges join. */
  lostFrom: bigint | null
  /** Where reading went on after a loss that no range tells of yet. */
  resumedAt: bigint | null
  /** The consumer stands at `expected`: what comes is handed on. */
  confirmed: boolean
  /** What kafkajs was told. */
  paused: boolean
  /** Where reading of this partition began, where the table had no offset of it. */
  initial: bigint | null
  /** Whether the table knows a position of this partition, or will by a batch that was handed over. */
  recorded: boolean
  /** The next offset after what is in the table. */
  committed: bigint | null
  /** The end of the partition, as last seen. */
  high: bigint | null
  /** With `availableNow`: where it ends. */
  end: bigint | null
  /** First seen after the start. */
  isNew: boolean
  /** When something was last read, or a seek was made. Milliseconds since 1970. */
  movedAt: number
  /** Scanned offsets that begin elsewhere than expected: to be checked against the log's offsets. */
  gap: { last: bigint; messages: Messages; high: bigint } | null
}

/** How far a partition is. */
export interface PartitionLag {
  /** The next offset that will be read. */
  position: bigint | null
  /** The next offset after what is in the table. */
  committed: bigint | null
  /** The end of the partition, as last seen. */
  high: bigint | null
  /** Offsets (not messages) between the table and the end; null while unknown. */
  lag: bigint | null
}

interface Waiter {
  resolve(batch: MicroBatch | null): void
  reject(error: Error): void
}

export class TopicFeed {
  readonly topic: string
  readonly partitions = new Map<number, PartitionState>()
  readonly queue: TopicQueue
  /** What its batches hold. */
  readonly memory: TopicMemory
  /** With `availableNow`: the end of each partition when the source started. */
  ends: Map<number, bigint> | null = null
  /** Counts the rewinds: what was begun before one is not to be finished. */
  epoch = 0
  /**
   * The table has commits of ours, or will by a batch that was handed over. Before, skipped offsets wait for
   * messages: a table cannot be made from them.
   */
  hasTable = false
  /** Nothing more is read of this topic. */
  isClosed = false
  /** The topic was deleted before: what is there now is another one. */
  wasDeleted = false
  /** The search for positions that is under way. */
  locating: Promise<void> | null = null
  /** All partitions of an assignment were confirmed, at some time. */
  wasLocated = false
  /** Resolves when reading begins; false where it never will. */
  readonly located: Promise<boolean>
  #onLocated: (isRead: boolean) => void = () => {}
  readonly #trigger: SourceTrigger
  readonly #pace: AdaptivePace
  #waiter: Waiter | null = null
  #timer: NodeJS.Timeout | null = null
  #lastCut = Number.NEGATIVE_INFINITY
  #waitingSince = 0
  /** Whether the batch that is waited for was due by the adaptive pace when it was asked for; null where that does not decide. */
  #isLate: boolean | null = null
  #error: KafkaToDeltaError | null = null
  #stopped = false

  constructor(
    topic: string,
    trigger: SourceTrigger,
    limits: SourceLimits,
    pairMemberOf?: FindPairMember,
    budget = new MemoryBudget(),
    pace = new AdaptivePace(),
  ) {
    this.topic = topic
    this.#trigger = trigger
    this.#pace = pace
    this.memory = budget.topic(() => this.wake(), limits.maxBatchBytes)
    this.queue = new TopicQueue(topic, limits, pairMemberOf, this.memory)
    this.located = new Promise((resolve) => {
      this.#onLocated = resolve
    })
  }

  /** All partitions are confirmed. */
  noteLocated(): void {
    this.wasLocated = true
    this.#onLocated(true)
  }

  /** The partition's state; made where it was not known. */
  partition(id: number, isNew: boolean): PartitionState {
    let state = this.partitions.get(id)
    if (!state) {
      state = {
        topic: this.topic,
        partition: id,
        expected: null,
        lostFrom: null,
        resumedAt: null,
        confirmed: false,
        paused: false,
        initial: null,
        recorded: false,
        committed: null,
        high: null,
        end: this.ends ? (this.ends.get(id) ?? 0n) : null,
        isNew,
        movedAt: performance.now(),
        gap: null,
      }
      this.partitions.set(id, state)
    }
    return state
  }

  /** Whether the consumer has to leave a partition alone for now. */
  isHeld(state: PartitionState): boolean {
    return !state.confirmed || this.isClosed || this.isDone(state) || this.queue.isFull
  }

  isDone({ expected, end }: PartitionState): boolean {
    return end !== null && expected !== null && expected >= end
  }

  /** All partitions were read up to the end that `availableNow` set. */
  get isComplete(): boolean {
    if (!this.ends) return false
    for (const id of this.ends.keys()) {
      const state = this.partitions.get(id)
      if (!state?.confirmed || !this.isDone(state)) return false
    }
    return true
  }

  /** How far each partition is, by what was last seen: no request. */
  lag(): Map<number, PartitionLag> {
    const result = new Map<number, PartitionLag>()
    for (const { partition, expected, committed, high } of this.partitions.values()) {
      const lag = high !== null && committed !== null ? (high > committed ? high - committed : 0n) : null
      result.set(partition, { position: expected, committed, high, lag })
    }
    return result
  }

  /** Takes what was scanned from the expected offset on. Beyond the end of `availableNow`, it is dropped. */
  accept(state: PartitionState, last: bigint, messages: Messages, high: bigint): void {
    const { expected, end, partition } = state
    if (expected === null || last < expected) return
    state.high = high
    state.movedAt = performance.now()
    state.expected = last + 1n
    if (end !== null) {
      if (expected >= end) return
      if (last >= end) {
        last = end - 1n
        messages = messages.before(end)
      }
    }
    if (this.queue.isEmpty) this.#waitingSince = performance.now()
    const range = { partition, firstOffset: state.lostFrom ?? expected, lastOffset: last, messages }
    this.queue.push(state.resumedAt === null ? range : { ...range, resumedAt: state.resumedAt })
    state.lostFrom = null
    state.resumedAt = null
    this.wake()
  }

  /** The next micro-batch; null at the end. One call at a time. */
  next(): Promise<MicroBatch | null> {
    return new Promise((resolve, reject) => {
      if (this.#waiter) {
        reject(new KafkaToDeltaError('INTERNAL', `next() of ${this.topic} was called while another call waits`))
        return
      }
      this.#waiter = { resolve, reject }
      this.#isLate = this.#cameLate()
      this.wake()
    })
  }

  /** Looks whether the waiting call can be answered; to be called after every change. */
  wake(): void {
    if (this.#timer) clearTimeout(this.#timer)
    this.#timer = null
    const waiter = this.#waiter
    if (!waiter) {
      this.memory.leave()
      return
    }
    if (this.#error) {
      this.#waiter = null
      waiter.reject(this.#error)
      return
    }
    const dueAt = this.#dueAt()
    const isDue = this.#stopped || dueAt <= performance.now()
    const batch = isDue ? this.#cut() : null
    if (!isDue) this.memory.leave()
    if (batch || this.#stopped || (this.isComplete && !this.#hasSomething)) {
      this.#waiter = null
      waiter.resolve(batch)
    } else if (dueAt < Number.POSITIVE_INFINITY) {
      this.#timer = setTimeout(() => this.wake(), isDue ? HELD_INTERVAL_MS : this.#untilNextLook(dueAt))
    }
  }

  /** Why nothing more is read of this topic. */
  get error(): KafkaToDeltaError | null {
    return this.#error
  }

  /** Every call of `next` rejects with this from now on. */
  fail(error: KafkaToDeltaError): void {
    this.#error ??= error
    this.isClosed = true
    this.#onLocated(false)
    this.queue.clear()
    this.memory.close()
    this.wake()
  }

  /** Drops all that waits; `next` gives null from now on. */
  close(): void {
    this.isClosed = true
    this.queue.clear()
    this.memory.close()
    this.stop()
  }

  /** Drops the messages that wait: `next` gives what only skipped offsets moved, then null. */
  stop(): void {
    if (this.#stopped) return
    this.#stopped = true
    this.#onLocated(false)
    this.queue.dropMessages()
    if (!this.hasTable) this.queue.dropAll()
    this.wake()
  }

  /** Forgets what is queued and every position; the waiting call of `next` gives null. */
  reset(): void {
    this.epoch++
    this.queue.clear()
    this.#waiter?.resolve(null)
    this.#waiter = null
    for (const state of this.partitions.values()) {
      state.confirmed = false
      state.expected = null
      state.gap = null
      state.lostFrom = null
      state.resumedAt = null
      state.recorded = false
    }
  }

  /** Something waits that can be handed over by itself. */
  get #hasSomething(): boolean {
    return this.queue.numMessages > 0 || (this.hasTable && !this.queue.isEmpty)
  }

  /** When what waits is to be handed over; infinity where nothing waits. */
  #dueAt(): number {
    if (!this.#hasSomething) return Number.POSITIVE_INFINITY
    if (this.queue.fillsBatch) return 0
    if (this.ends) {
      if (this.isComplete) return 0
      return this.#waitingSince + (this.queue.numMessages > 0 ? AVAILABLE_NOW_WAIT_MS : EMPTY_BATCH_INTERVAL_MS)
    }
    if (this.queue.numMessages === 0) return Math.max(this.#lastCut, this.#waitingSince) + EMPTY_BATCH_INTERVAL_MS
    if ('availableNow' in this.#trigger) return this.#lastCut
    const { processingTime, maxDelay } = this.#trigger
    const due = this.#lastCut + (processingTime === 'adaptive' ? this.#adaptivePause : processingTime)
    return this.queue.numMessages < FEW_MESSAGES ? Math.max(due, this.#waitingSince + maxDelay) : due
  }

  /** Larger batches cost less: a topic that is behind gets no small ones. Nothing waits for long where memory is short. */
  get #adaptivePause(): number {
    const isBehind = [...this.partitions.values()].some(({ expected, high }) => (high ?? 0n) > (expected ?? 0n))
    const pause = isBehind ? Math.max(MOST_MS, this.#pace.pauseMs) : this.#pace.pauseMs
    return this.memory.queues.isTight ? Math.min(MOST_MS, pause) : pause
  }

  /** What {@link AdaptivePace.noteBatch} asks for. The first batch and full ones are due at any time, and `maxDelay` may be longer. */
  #cameLate(): boolean | null {
    if ('availableNow' in this.#trigger || this.#trigger.processingTime !== 'adaptive') return null
    if (this.#lastCut < 0 || this.queue.fillsBatch) return null
    const pause = Math.max(MOST_MS, this.#pace.pauseMs)
    if (this.queue.numMessages < FEW_MESSAGES && this.#trigger.maxDelay > pause) return null
    return this.queue.numMessages > 0 && performance.now() >= this.#lastCut + pause
  }

  /** Milliseconds; while the process is overloaded no more than a second: the pause may have become shorter, or memory short. */
  #untilNextLook(dueAt: number): number {
    const until = Math.max(1, dueAt - performance.now())
    return this.#pace.pauseMs > MOST_MS ? Math.min(MOST_MS, until) : until
  }

  /** How far each partition was read. */
  #reach(): Map<number, ReadProgress> {
    const reachOf = (state: PartitionState): ReadProgress => {
      if (this.isDone(state)) return 'done'
      const { expected, high } = state
      return expected !== null && (high === null || expected >= high) ? 'end' : 'behind'
    }
    return new Map([...this.partitions].map(([partition, state]) => [partition, reachOf(state)]))
  }

  #cut(): MicroBatch | null {
    const batch = this.queue.cut(this.#reach())
    if (!batch) return null
    this.#lastCut = performance.now()
    this.#waitingSince = this.#lastCut
    for (const { partition } of batch.ranges) {
      const state = this.partitions.get(partition)
      if (state && batch.numMessages > 0) state.recorded = true
    }
    if (batch.numMessages > 0) {
      this.hasTable = true
      this.#pace.noteBatch(this, this.#isLate)
      this.#recordStarts(batch)
    }
    return batch
  }

  /**
   * Adds a range of no offsets for each partition that the table knows nothing of: without it, a restart could
   * not tell where a partition started that had nothing to read, nor whether it is new.
   */
  #recordStarts(batch: MicroBatch): void {
    for (const state of this.partitions.values()) {
      if (state.recorded || state.initial === null) continue
      state.recorded = true
      const { partition, initial } = state
      const range = { partition, firstOffset: initial, lastOffset: initial - 1n, messages: Messages.none }
      // A loss before the start is told by it, where no message has told it yet.
      batch.ranges.push(state.resumedAt === null ? range : { ...range, resumedAt: state.resumedAt })
    }
  }
}
