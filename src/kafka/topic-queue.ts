/** The queue of one topic: scanned ranges on their way into micro-batches, and how much memory they hold. */

import type { MicroBatch, OffsetRange, RawMessage } from './micro-batch.js'
import { MESSAGE_OVERHEAD, type SourceLimits } from './options.js'

interface Segment {
  partition: number
  first: bigint
  last: bigint
  messages: RawMessage[]
  /** The first message that is not handed over yet. */
  next: number
  resumedAt?: bigint | undefined
}

const messageBytes = ({ key, value }: RawMessage): number => (key?.length ?? 0) + (value?.length ?? 0)

export class TopicQueue {
  readonly topic: string
  #limits: SourceLimits
  #segments: Segment[] = []
  #numMessages = 0
  #numBytes = 0
  /** Handed over and not committed. */
  #inFlight = new Map<MicroBatch, { messages: number; bytes: number }>()
  #inFlightHeld = 0
  #full = false

  constructor(topic: string, limits: SourceLimits) {
    this.topic = topic
    this.#limits = limits
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

  /** Bytes of memory, with what each message takes beside its key and value; also of batches not yet committed. */
  get heldBytes(): number {
    return this.#numBytes + this.#numMessages * MESSAGE_OVERHEAD + this.#inFlightHeld
  }

  /** Full from `maxQueueBytes` on, until it is drained below half of it. */
  get isFull(): boolean {
    const held = this.heldBytes
    if (held >= this.#limits.maxQueueBytes) this.#full = true
    else if (held < this.#limits.maxQueueBytes / 2) this.#full = false
    return this.#full
  }

  /** What waits fills a micro-batch, or cannot grow since the queue is full of it. */
  get fillsBatch(): boolean {
    if (this.#numMessages === 0) return false
    const { maxBatchMessages, maxBatchBytes } = this.#limits
    if (this.#numMessages >= maxBatchMessages || this.#numBytes >= maxBatchBytes) return true
    return this.isFull && this.#inFlight.size === 0
  }

  /** Appends a range that continues its partition. */
  push(range: OffsetRange): void {
    const { partition, firstOffset: first, lastOffset: last, messages, resumedAt } = range
    this.#numMessages += messages.length
    for (const message of messages) this.#numBytes += messageBytes(message)
    if (messages.length === 0 && resumedAt === undefined) {
      // Skipped offsets that follow others need no segment of their own: one for a partition, however long they wait.
      const tail = this.#segments.findLast((segment) => segment.partition === partition)
      if (tail && tail.messages.length === 0) {
        tail.last = last
        return
      }
    }
    this.#segments.push({ partition, first, last, messages, next: 0, resumedAt })
  }

  /** Takes the next micro-batch, in order of arrival, up to the limits. Null if nothing waits. */
  cut(): MicroBatch | null {
    if (this.#segments.length === 0) return null
    const { maxBatchMessages, maxBatchBytes } = this.#limits
    const ranges = new Map<number, { range: OffsetRange; parts: RawMessage[][] }>()
    let numMessages = 0
    let numBytes = 0
    let whole = 0
    for (const segment of this.#segments) {
      const { messages } = segment
      // What follows a loss is a range of its own.
      if (segment.resumedAt !== undefined && ranges.has(segment.partition)) break
      const from = segment.next
      let to = from
      while (to < messages.length) {
        const bytes = messageBytes(messages[to] as RawMessage)
        const isFull = numMessages >= maxBatchMessages || (numMessages > 0 && numBytes + bytes > maxBatchBytes)
        if (isFull) break
        numMessages++
        numBytes += bytes
        to++
      }
      const isWhole = to === messages.length
      if (!isWhole && to === from) break
      const taken = from === 0 && isWhole ? messages : messages.slice(from, to)
      const last = isWhole ? segment.last : BigInt((messages[to - 1] as RawMessage).offset)
      const known = ranges.get(segment.partition)
      if (known) {
        known.range.lastOffset = last
        if (taken.length > 0) known.parts.push(taken)
      } else {
        const { partition, first: firstOffset, resumedAt } = segment
        const range: OffsetRange = { partition, firstOffset, lastOffset: last, messages: [] }
        if (resumedAt !== undefined) range.resumedAt = resumedAt
        segment.resumedAt = undefined
        ranges.set(segment.partition, { range, parts: taken.length > 0 ? [taken] : [] })
      }
      if (!isWhole) {
        segment.first = last + 1n
        segment.next = to
        break
      }
      whole++
    }
    this.#segments.splice(0, whole)
    this.#numMessages -= numMessages
    this.#numBytes -= numBytes
    const merged = [...ranges.values()].map(({ range, parts }) => ({
      ...range,
      messages: parts.length === 1 ? (parts[0] as RawMessage[]) : parts.flat(),
    }))
    const batch: MicroBatch = { topic: this.topic, ranges: merged, numMessages, numBytes }
    this.#inFlight.set(batch, { messages: numMessages, bytes: numBytes })
    this.#inFlightHeld += numBytes + numMessages * MESSAGE_OVERHEAD
    return batch
  }

  /** A batch that was handed over is in the table. False if it is not known: dropped by a rewind. */
  committed(batch: MicroBatch): boolean {
    const held = this.#inFlight.get(batch)
    if (!held) return false
    this.#inFlight.delete(batch)
    this.#inFlightHeld -= held.bytes + held.messages * MESSAGE_OVERHEAD
    return true
  }

  /** Forgets everything, also what was handed over. */
  clear(): void {
    this.dropAll()
    this.#inFlight.clear()
    this.#inFlightHeld = 0
    this.#full = false
  }

  /** Drops all that waits; what was handed over stays known. */
  dropAll(): void {
    this.#segments = []
    this.#numMessages = 0
    this.#numBytes = 0
  }

  /** Drops the messages, and of each partition what follows its first one: skipped offsets before it stay. */
  dropMessages(): void {
    const cut = new Set<number>()
    this.#segments = this.#segments.filter(({ partition, messages }) => {
      if (messages.length > 0) cut.add(partition)
      return !cut.has(partition)
    })
    this.#numMessages = 0
    this.#numBytes = 0
  }

  /** Drops what waits of a partition, such as one that was taken away. */
  dropPartition(partition: number): void {
    this.#segments = this.#segments.filter((segment) => {
      if (segment.partition !== partition) return true
      for (const message of segment.messages.slice(segment.next)) {
        this.#numMessages--
        this.#numBytes -= messageBytes(message)
      }
      return false
    })
  }
}
