/** The queue of one topic: scanned ranges on their way into micro-batches, and how much memory they hold. */

import { MemoryBudget, type TopicMemory } from './memory-budget.js'
import { Message } from './message.js'
import { Messages } from './messages.js'
import type { MicroBatch, OffsetRange } from './micro-batch.js'
import { FETCHED_OVERHEAD, HALF_OVERHEAD, MESSAGE_OVERHEAD, MESSAGE_WEIGHT, type SourceLimits } from './options.js'
import {
  type FindPairMember,
  holdBackUnpaired,
  type PairedMessage,
  type ReadProgress,
  type Take,
} from './paired-messages.js'

interface Segment {
  partition: number
  first: bigint
  last: bigint
  messages: Messages
  /** The first message that is not handed over yet. */
  next: number
  resumedAt?: bigint | undefined
  halves: PairedMessage[]
  /** Bytes that its messages hold, all of them until the last one is handed over: they lie in common buffers. */
  held: number
}

/** What a micro-batch takes: of each segment, the messages up to one; none of those that are not named. */
interface Plan {
  ends: Map<Segment, number>
  numMessages: number
  numBytes: number
}

const NO_HOLDS: ReadonlyMap<number, bigint> = new Map()

/** A batch that was handed over. */
interface Taken {
  /** What its messages weigh: {@link weightOf}. */
  weight: number
  /** Bytes that its messages hold; 0 once they are decoded. */
  held: number
  /** Bytes that they were decoded to, and that they hold of the memory of batches since; null before. */
  decoded: { bytes: number; held: number } | null
}

const weightOf = (numMessages: number, numBytes: number): number => numBytes + numMessages * MESSAGE_WEIGHT

export class TopicQueue {
  readonly topic: string
  #limits: SourceLimits
  #pairMemberOf: FindPairMember
  /** Halves that wait to be handed over. */
  #numHalves = 0
  /** The key of a delete that was half of a pair and came last, by partition: its tombstone follows. */
  readonly #lastDeletes = new Map<number, Buffer | null>()
  /** The time of the last message that was handed over, by partition. */
  readonly #times = new Map<number, number>()
  #segments: Segment[] = []
  #numMessages = 0
  #numBytes = 0
  /** What {@link Segment.held} says of all that wait. */
  #held = 0
  /** Handed over and not committed. */
  #inFlight = new Map<MicroBatch, Taken>()
  #inFlightHeld = 0
  #full = false
  readonly #memory: TopicMemory
  /** It holds more than its part while the topics' common memory is tight. */
  #isOverPart = false

  /** @param pairMemberOf of which change a message tells one half, where it does: see paired-messages.ts */
  constructor(
    topic: string,
    limits: SourceLimits,
    pairMemberOf: FindPairMember = () => null,
    memory: TopicMemory = new MemoryBudget().topic(() => {}),
  ) {
    this.topic = topic
    this.#memory = memory
    this.#limits = limits
    this.#pairMemberOf = pairMemberOf
  }

  get isEmpty(): boolean {
    return this.#segments.length === 0
  }

  /** Messages that wait to be handed over. */
  get numMessages(): number {
    return this.#numMessages
  }

  /** Bytes of keys and values that wait to be handed over. */
  get numBytes(): number {
    return this.#numBytes
  }

  get numInFlight(): number {
    return this.#inFlight.size
  }

  /** Bytes of memory, with what each message takes beside its key and value; also of batches not yet decoded. */
  get heldBytes(): number {
    return this.#held + this.#numMessages * MESSAGE_OVERHEAD + this.#inFlightHeld
  }

  /** Full from `maxQueueBytes` on, or from its part of what all topics share, until it is drained below half; or all are. */
  get isFull(): boolean {
    const held = this.heldBytes
    if (held >= this.#limits.maxQueueBytes) this.#full = true
    else if (held < this.#limits.maxQueueBytes / 2) this.#full = false
    const { isTight, isFull, fairBytes } = this.#memory.queues
    if (!isTight || held < fairBytes / 2) this.#isOverPart = false
    else if (held >= fairBytes) this.#isOverPart = true
    return this.#full || this.#isOverPart || isFull
  }

  /** What waits fills a micro-batch, or cannot grow since the queue is full of it. */
  get fillsBatch(): boolean {
    if (this.#numMessages === 0) return false
    const { maxBatchMessages, maxBatchBytes } = this.#limits
    if (this.#numMessages >= maxBatchMessages || this.#numBytes >= maxBatchBytes) return true
    if (weightOf(this.#numMessages, this.#numBytes) >= this.#memory.maxWeight) return true
    return this.isFull && this.#inFlightHeld === 0
  }

  /** After every change of what is held. */
  #noteHeld(): void {
    this.#memory.noteQueued(this.heldBytes)
  }

  /** Appends a range that continues its partition. */
  push(range: OffsetRange): void {
    const { partition, firstOffset: first, lastOffset: last, messages, resumedAt } = range
    this.#numMessages += messages.length
    this.#numBytes += messages.countBytes()
    if (messages.length === 0 && resumedAt === undefined) {
      // Skipped offsets that follow others need no segment of their own: one for a partition, however long they wait.
      const tail = this.#segments.findLast((segment) => segment.partition === partition)
      if (tail && tail.messages.length === 0) {
        tail.last = last
        return
      }
    }
    const halves = this.#findHalves(partition, messages)
    const held = FETCHED_OVERHEAD + messages.heldBytes + halves.length * HALF_OVERHEAD
    this.#held += held
    this.#numHalves += halves.length
    this.#segments.push({ partition, first, last, messages, next: 0, resumedAt, halves, held })
    this.#noteHeld()
  }

  /** The halves among messages that continue their partition. */
  #findHalves(partition: number, messages: Messages): PairedMessage[] {
    const halves: PairedMessage[] = []
    let lastDelete = this.#lastDeletes.get(partition) ?? null
    const message = new Message()
    for (let at = 0; at < messages.length; at++) {
      const half = this.#pairMemberOf(message.moveTo(messages, at))
      if (half === null) {
        lastDelete = null
        continue
      }
      const { key, position, time } = message
      const isCounted = half.isTombstone && lastDelete !== null && key?.equals(lastDelete)
      lastDelete = half.side === 'before' && !half.isTombstone ? key : null
      if (!isCounted) halves.push({ ...half, offset: position, time, blockedSince: null })
    }
    // A copy: the message's own one would keep all that was fetched with it.
    this.#lastDeletes.set(partition, lastDelete && Buffer.from(lastDelete))
    return halves
  }

  /**
   * Takes the next micro-batch, in order of arrival, up to the limits. Null if nothing waits, if all that waits are halves
   * that wait for their others, or as long as there is no memory for what it decodes to.
   * @param reach how each partition of the topic stands
   */
  cut(reach: ReadonlyMap<number, ReadProgress> = new Map()): MicroBatch | null {
    const plan = this.#nextPlan(reach)
    if (plan === null) return null
    const { ends, numMessages, numBytes } = plan
    const ranges = new Map<number, { range: OffsetRange; parts: Messages[] }>()
    let held = 0
    for (const [segment, to] of ends) {
      const { messages, next: from } = segment
      const isWhole = to === messages.length
      if (isWhole) held += segment.held
      const taken = messages.slice(from, to)
      const last = isWhole ? segment.last : messages.offsetAt(to - 1)
      const known = ranges.get(segment.partition)
      if (known) {
        known.range.lastOffset = last
        if (taken.length > 0) known.parts.push(taken)
      } else {
        const { partition, first: firstOffset, resumedAt } = segment
        const range: OffsetRange = { partition, firstOffset, lastOffset: last, messages: Messages.none }
        if (resumedAt !== undefined) range.resumedAt = resumedAt
        segment.resumedAt = undefined
        ranges.set(segment.partition, { range, parts: taken.length > 0 ? [taken] : [] })
      }
      if (to > from) this.#times.set(segment.partition, messages.timeAt(to - 1))
      const halves = segment.halves.filter(({ offset }) => offset > last)
      this.#numHalves -= segment.halves.length - halves.length
      segment.halves = halves
      segment.first = last + 1n
      segment.next = to
    }
    this.#segments = this.#segments.filter((segment) => ends.get(segment) !== segment.messages.length)
    this.#numMessages -= numMessages
    this.#numBytes -= numBytes
    const merged = [...ranges.values()].map(({ range, parts }) => ({ ...range, messages: Messages.joined(parts) }))
    const numPartitions = Math.max(reach.size, 1)
    const batch: MicroBatch = { topic: this.topic, ranges: merged, numMessages, numPartitions, numBytes }
    this.#held -= held
    const taken: Taken = {
      weight: weightOf(numMessages, numBytes),
      held: held + numMessages * MESSAGE_OVERHEAD,
      decoded: null,
    }
    this.#inFlight.set(batch, taken)
    this.#inFlightHeld += taken.held
    return batch
  }

  /** What the next micro-batch takes, where there is memory for it; null where there is none, or nothing to take. */
  #nextPlan(reach: ReadonlyMap<number, ReadProgress>): Plan | null {
    if (this.#numMessages > 0 && this.#memory.mustWait) return null
    const plan = this.#numHalves === 0 || reach.size < 2 ? this.#plan(NO_HOLDS) : this.#planWithHalves(reach)
    if (plan === null || plan.numMessages === 0) {
      this.#memory.leave()
      return plan !== null && plan.ends.size > 0 ? plan : null
    }
    return this.#memory.take(weightOf(plan.numMessages, plan.numBytes)) ? plan : null
  }

  /**
   * What the next micro-batch takes if no partition goes beyond the offset that holds it.
   * @param factor how often the limits count
   */
  #plan(holds: ReadonlyMap<number, bigint>, factor = 1): Plan {
    const maxBatchMessages = this.#limits.maxBatchMessages * factor
    const maxBatchBytes = this.#limits.maxBatchBytes * factor
    const maxWeight = this.#memory.maxWeight * factor
    const plan: Plan = { ends: new Map(), numMessages: 0, numBytes: 0 }
    const begun = new Set<number>()
    const held = new Set<number>()
    for (const segment of this.#segments) {
      const { messages, partition, next: from } = segment
      if (held.has(partition)) continue
      // What follows a loss is a range of its own.
      if (segment.resumedAt !== undefined && begun.has(partition)) break
      const hold = holds.get(partition)
      const end = hold === undefined ? messages.length : Math.max(from, messages.indexOf(hold))
      let to = from
      let isFull = false
      for (; to < end; to++) {
        const numMessages = plan.numMessages + 1
        const numBytes = plan.numBytes + messages.sizeAt(to)
        const isTooMuch = numBytes > maxBatchBytes || weightOf(numMessages, numBytes) > maxWeight
        isFull = numMessages > maxBatchMessages || (numMessages > 1 && isTooMuch)
        if (isFull) break
        plan.numMessages = numMessages
        plan.numBytes = numBytes
      }
      const isWhole = to === messages.length
      if (isWhole || to > from) {
        plan.ends.set(segment, to)
        begun.add(partition)
      }
      if (isFull) break
      if (!isWhole) held.add(partition)
    }
    return plan
  }

  /** A plan that parts no half from its other one, where there is one; null where what is missing is to be waited for. */
  #planWithHalves(reach: ReadonlyMap<number, ReadProgress>): Plan | null {
    for (let factor = 1; ; factor *= 2) {
      const { holds, isExpecting } = holdBackUnpaired((given) => this.#takes(given, reach, factor), reach, {
        monotonic: performance.now(),
        wall: Date.now(),
      })
      const plan = this.#plan(holds, factor)
      if (plan.ends.size > 0) return plan
      // Halves that do not fit into one micro-batch exceed its limits: by what the queue holds, at most.
      const { maxBatchMessages, maxBatchBytes } = this.#limits
      if (factor * maxBatchMessages < this.#numMessages || factor * maxBatchBytes < this.#numBytes) continue
      if (factor * this.#memory.maxWeight < weightOf(this.#numMessages, this.#numBytes)) continue
      // Where the queue is full, nothing comes in before something goes out.
      const isStuck = !isExpecting || (this.isFull && this.#inFlightHeld === 0)
      return isStuck ? this.#plan(NO_HOLDS) : null
    }
  }

  #takes(
    holds: ReadonlyMap<number, bigint>,
    reach: ReadonlyMap<number, ReadProgress>,
    factor: number,
  ): Map<number, Take> {
    const { ends } = this.#plan(holds, factor)
    const takes = new Map<number, Take & { halves: PairedMessage[] }>()
    for (const partition of reach.keys()) {
      takes.set(partition, { halves: [], time: this.#times.get(partition) ?? Number.NEGATIVE_INFINITY, isAll: true })
    }
    for (const segment of this.#segments) {
      const take = takes.get(segment.partition)
      if (!take) continue
      const to = ends.get(segment)
      take.isAll &&= to === segment.messages.length
      if (to === undefined || to === segment.next) continue
      take.time = segment.messages.timeAt(to - 1)
      const end = segment.messages.offsetAt(to - 1)
      for (const half of segment.halves) if (half.offset <= end) take.halves.push(half)
    }
    return takes
  }

  /** A batch that was handed over is decoded: its messages are free, and it holds `bytes` until it is committed. */
  decoded(batch: MicroBatch, bytes: number): void {
    const taken = this.#inFlight.get(batch)
    if (taken === undefined) return
    taken.decoded = { bytes, held: this.#memory.decoded(taken.weight, bytes) }
    this.#inFlightHeld -= taken.held
    taken.held = 0
    this.#noteHeld()
  }

  /** The engine held so much at a time of a batch that is decoded. */
  merged(batch: MicroBatch, peakBytes: number): void {
    const decoded = this.#inFlight.get(batch)?.decoded
    if (decoded) this.#memory.merged(decoded.bytes, peakBytes)
  }

  /** A batch that was handed over is in the table. False if it is not known: dropped by a rewind. */
  committed(batch: MicroBatch): boolean {
    const taken = this.#inFlight.get(batch)
    if (taken === undefined) return false
    this.#inFlight.delete(batch)
    this.#inFlightHeld -= taken.held
    if (taken.decoded === null) this.#memory.dropped()
    else this.#memory.committed(taken.decoded.held)
    this.#noteHeld()
    return true
  }

  /** Forgets everything, also what was handed over. */
  clear(): void {
    this.dropAll()
    this.#times.clear()
    this.#lastDeletes.clear()
    this.#inFlight.clear()
    this.#inFlightHeld = 0
    this.#memory.clear()
    this.#full = false
    this.#noteHeld()
  }

  /** Drops all that waits; what was handed over stays known. */
  dropAll(): void {
    this.#segments = []
    this.#noMessages()
  }

  /** Drops the messages, and of each partition what follows its first one: skipped offsets before it stay. */
  dropMessages(): void {
    const cut = new Set<number>()
    this.#segments = this.#segments.filter(({ partition, messages }) => {
      if (messages.length > 0) cut.add(partition)
      return !cut.has(partition)
    })
    this.#noMessages()
  }

  #noMessages(): void {
    this.#numHalves = 0
    this.#numMessages = 0
    this.#numBytes = 0
    this.#held = 0
    this.#noteHeld()
  }

  /** Drops what waits of a partition, such as one that was taken away. */
  dropPartition(partition: number): void {
    this.#segments = this.#segments.filter((segment) => {
      if (segment.partition !== partition) return true
      this.#numHalves -= segment.halves.length
      this.#held -= segment.held
      const left = segment.messages.slice(segment.next)
      this.#numMessages -= left.length
      this.#numBytes -= left.countBytes()
      return false
    })
    this.#noteHeld()
  }
}
