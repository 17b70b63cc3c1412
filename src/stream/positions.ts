/** What a table holds of its topic's partitions, what is on the way to it, and what a batch may therefore contain. */

import type { NativeOffset } from '../delta/native-api.js'
import { KafkaToDeltaError } from '../errors.js'
import type { MicroBatch, OffsetRange } from '../kafka/micro-batch.js'

/** A contiguous range of one partition, without its messages. */
export type BatchRange = Omit<OffsetRange, 'messages'>

export class Positions {
  readonly #prefix: string
  readonly #topic: string
  /** Partition to the offset in the table: the fence of the next commit. */
  #stored = new Map<number, bigint>()
  /** Partition to the next offset that has not been handed on. */
  #next = new Map<number, bigint>()
  /** Partition to a last offset that only ignored messages moved, not committed yet. */
  readonly #pending = new Map<number, bigint>()

  constructor(queryName: string, topic: string) {
    this.#topic = topic
    this.#prefix = `${queryName}:${topic}:`
  }

  /** Picks this topic's partitions out of a table's offsets. */
  read(offsets: readonly { appId: string; version: bigint }[]): Map<number, bigint> {
    const last = new Map<number, bigint>()
    for (const { appId, version } of offsets) {
      const partition = appId.startsWith(this.#prefix) ? appId.slice(this.#prefix.length) : ''
      if (/^\d+$/.test(partition)) last.set(Number(partition), version)
    }
    return last
  }

  /** Begins anew after what the table holds: at the start and after a fence. */
  reset(stored: ReadonlyMap<number, bigint>): void {
    this.#stored = new Map(stored)
    this.#next = new Map([...stored].map(([partition, last]) => [partition, last + 1n]))
    this.#pending.clear()
  }

  /**
   * Takes a batch in: without messages that were handed on before. Null where nothing is left.
   * @param lossAllowed whether offsets may be missing (`failOnDataLoss: false`)
   */
  accept(batch: MicroBatch, lossAllowed: boolean): MicroBatch | null {
    const ranges: OffsetRange[] = []
    for (const range of batch.ranges) {
      const next = this.#next.get(range.partition)
      if (next !== undefined && range.lastOffset < next) continue
      if (next !== undefined && range.firstOffset > next && !lossAllowed) {
        throw new KafkaToDeltaError(
          'DATA_LOSS',
          `offsets ${next} to ${range.firstOffset - 1n} of partition ${range.partition} were not delivered`,
          { topic: this.#topic, partition: range.partition, offset: String(next) },
        )
      }
      ranges.push(next !== undefined && range.firstOffset < next ? cutBefore(range, next) : range)
      this.#next.set(range.partition, range.lastOffset + 1n)
    }
    if (ranges.length === 0) return null
    if (ranges.length === batch.ranges.length && ranges.every((range, i) => range === batch.ranges[i])) return batch
    return withRanges(batch, ranges)
  }

  /** Keeps the positions of a batch that changes nothing, for a later commit. */
  keep(ranges: readonly BatchRange[]): void {
    for (const { partition, lastOffset } of ranges) this.#pending.set(partition, lastOffset)
  }

  get hasPending(): boolean {
    return this.#pending.size > 0
  }

  /** The offset after the last one that is in the table, or that only ignored messages moved; null for none. */
  done(partition: number): bigint | null {
    const last = this.#pending.get(partition) ?? this.#stored.get(partition)
    return last === undefined ? null : last + 1n
  }

  /** The offsets of a commit: those of the batch, and those that were kept. */
  offsetsFor(ranges: readonly BatchRange[]): NativeOffset[] {
    const last = new Map(this.#pending)
    for (const range of ranges) last.set(range.partition, range.lastOffset)
    return [...last].map(([partition, offset]) => ({
      appId: `${this.#prefix}${partition}`,
      expected: this.#stored.get(partition) ?? null,
      last: offset,
    }))
  }

  /** Notes a commit. */
  committed(offsets: readonly NativeOffset[]): void {
    for (const { appId, last } of offsets) this.#stored.set(Number(appId.slice(this.#prefix.length)), last)
    this.#pending.clear()
  }

  /** Whether the table holds exactly what a commit would have written: it had landed. */
  isApplied(offsets: readonly NativeOffset[], stored: ReadonlyMap<number, bigint>): boolean {
    return offsets.every(({ appId, last }) => stored.get(Number(appId.slice(this.#prefix.length))) === last)
  }
}

function cutBefore(range: OffsetRange, next: bigint): OffsetRange {
  return { ...range, firstOffset: next, messages: range.messages.filter(({ offset }) => BigInt(offset) >= next) }
}

function withRanges(batch: MicroBatch, ranges: OffsetRange[]): MicroBatch {
  let numMessages = 0
  let numBytes = 0
  for (const { messages } of ranges) {
    numMessages += messages.length
    for (const { key, value } of messages) numBytes += (key?.length ?? 0) + (value?.length ?? 0)
  }
  return { topic: batch.topic, ranges, numMessages, numBytes }
}
