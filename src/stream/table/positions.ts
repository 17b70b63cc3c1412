/** What a table holds of its topic's partitions, what is on the way to it, and what a batch may therefore contain. */

import {
  DELETED,
  entriesByPartition,
  entryPrefix,
  LOST,
  NONE,
  type StoredOffset,
  TIME,
} from '../../delta/offset-entries.js'
import type { TableOffset } from '../../delta/results.js'
import { KafkaToDeltaError } from '../../errors.js'
import type { MicroBatch, OffsetRange } from '../../kafka/micro-batch.js'
import type { StoredOffsets } from '../../kafka/positions.js'

/** A contiguous range of one partition, without its messages. */
export interface BatchRange extends Omit<OffsetRange, 'messages'> {
  /** Timestamp of the message at `lastOffset`, in milliseconds; null where there is none. */
  lastTime: bigint | null
  /** The hash of the key where the last message was a delete; else null. */
  lastDelete: bigint | null
}

/** A range without its messages, and with the delete that its last one is, as the decoder tells. */
export function batchRange(
  { messages, afterDelete: _, ...range }: OffsetRange,
  lastDeletes?: ReadonlyMap<number, bigint>,
): BatchRange {
  const last = messages.at(-1)
  const isAtEnd = last !== undefined && BigInt(last.offset) === range.lastOffset
  const lastDelete = lastDeletes?.get(range.partition) ?? null
  return { ...range, lastTime: isAtEnd ? BigInt(last.timestamp) : null, lastDelete }
}

type Entry = Pick<BatchRange, 'lastOffset' | 'lastTime' | 'lastDelete' | 'resumedAt' | 'firstOffset'>

export class Positions {
  readonly #prefix: string
  readonly #topic: string
  /** App id to what the table holds: the fence of the next commit. */
  #stored = new Map<string, bigint>()
  /** Partition to the next offset that has not been handed on. */
  #next = new Map<number, bigint>()
  /** Partition to a range that only ignored messages moved, not committed yet. */
  readonly #pending = new Map<number, Entry>()
  #isUntouched = true

  constructor(queryName: string, topic: string) {
    this.#topic = topic
    this.#prefix = entryPrefix(queryName, topic)
  }

  /** Begins anew after what the table holds: at the start and after a fence. */
  reset(offsets: readonly StoredOffset[]): void {
    this.#stored = this.#own(offsets)
    this.#next = new Map(
      [...entriesByPartition(this.#stored, this.#prefix)].map(([partition, last]) => [partition, last + 1n]),
    )
    this.#pending.clear()
    this.#isUntouched = true
  }

  /** Nothing was taken in since {@link reset}. */
  get isUntouched(): boolean {
    return this.#isUntouched
  }

  /** What the source is told of a table that holds these offsets. */
  storedOffsets(offsets: readonly StoredOffset[]): StoredOffsets {
    const stored = this.#own(offsets)
    const last = entriesByPartition(stored, this.#prefix)
    const records = new Map<number, { offset: bigint; timestamp: string }>()
    for (const [partition, time] of entriesByPartition(stored, this.#prefix, TIME)) {
      const offset = last.get(partition)
      if (offset !== undefined && time >= 0n) records.set(partition, { offset, timestamp: String(time) })
    }
    return { exists: last.size > 0, last, records }
  }

  /** Partitions of which messages were lost since the table was last made equal to its source: where reading went on. */
  get lost(): Map<number, bigint> {
    return new Map([...entriesByPartition(this.#stored, this.#prefix, LOST)].filter(([, offset]) => offset >= 0n))
  }

  /**
   * Takes a batch in: without messages that were handed on before. Null where nothing is left.
   * @param lossAllowed whether offsets may be missing (`failOnDataLoss: false`)
   */
  accept(batch: MicroBatch, lossAllowed: boolean): MicroBatch | null {
    const ranges: OffsetRange[] = []
    this.#isUntouched = false
    for (const range of batch.ranges) {
      // Of a topic that was made anew, what was handed on before was another one's.
      const next = isAnew(range) ? undefined : this.#next.get(range.partition)
      if (next !== undefined && range.lastOffset < next) continue
      if (next !== undefined && range.firstOffset > next && !lossAllowed) {
        throw new KafkaToDeltaError(
          'DATA_LOSS',
          `offsets ${next} to ${range.firstOffset - 1n} of partition ${range.partition} were not delivered`,
          { topic: this.#topic, partition: range.partition, offset: String(next) },
        )
      }
      ranges.push(this.#afterDelete(next !== undefined && range.firstOffset < next ? cutBefore(range, next) : range))
      this.#next.set(range.partition, range.lastOffset + 1n)
    }
    if (ranges.length === 0) return null
    if (ranges.length === batch.ranges.length && ranges.every((range, i) => range === batch.ranges[i])) return batch
    return withRanges(batch, ranges)
  }

  /** With what the table knows of the message before the range. */
  #afterDelete(range: OffsetRange): OffsetRange {
    const appId = this.#prefix + range.partition
    const deleted = this.#stored.get(appId + DELETED) ?? NONE
    if (deleted === NONE || range.resumedAt !== undefined || this.#stored.get(appId) !== range.firstOffset - 1n)
      return range
    return { ...range, afterDelete: deleted }
  }

  /** Keeps the positions of a batch that changes nothing, for a later commit. */
  keep(ranges: readonly BatchRange[]): void {
    for (const range of ranges) this.#pending.set(range.partition, joined(this.#pending.get(range.partition), range))
  }

  get hasPending(): boolean {
    return this.#pending.size > 0
  }

  /** The offset after the last one that is in the table, or that only ignored messages moved; null for none. */
  done(partition: number): bigint | null {
    const last = this.#pending.get(partition)?.lastOffset ?? this.#stored.get(this.#prefix + partition)
    return last === undefined ? null : last + 1n
  }

  /** The offsets of a commit: those of the batch, and those that were kept. */
  offsetsFor(ranges: readonly BatchRange[]): TableOffset[] {
    const entries = new Map(this.#pending)
    for (const range of ranges) entries.set(range.partition, joined(entries.get(range.partition), range))
    return [...entries].flatMap(([partition, entry]) => {
      const appId = `${this.#prefix}${partition}`
      const offset = this.#offset(appId, entry.lastOffset)
      const offsets = [isAnew(entry) ? { ...offset, mayFall: true } : offset]
      for (const [suffix, companion] of [
        [TIME, entry.lastTime ?? NONE],
        [DELETED, entry.lastDelete ?? NONE],
      ] as const) {
        if (companion === (this.#stored.get(appId + suffix) ?? NONE)) continue
        offsets.push({ ...this.#offset(appId + suffix, companion), mayFall: true })
      }
      if (entry.resumedAt !== undefined) {
        offsets.push({ ...this.#offset(appId + LOST, entry.resumedAt), mayFall: true })
      }
      return offsets
    })
  }

  /** Notes a commit. */
  committed(offsets: readonly TableOffset[]): void {
    for (const { appId, last } of offsets) this.#stored.set(appId, last)
    this.#pending.clear()
  }

  /** Whether the table holds exactly what a commit would have written: it had landed. */
  isApplied(offsets: readonly TableOffset[], stored: readonly StoredOffset[]): boolean {
    const own = this.#own(stored)
    return offsets.every(({ appId, last }) => own.get(appId) === last)
  }

  #offset(appId: string, last: bigint): TableOffset {
    return { appId, expected: this.#stored.get(appId) ?? null, last }
  }

  #own(offsets: readonly StoredOffset[]): Map<string, bigint> {
    const own = offsets.filter(({ appId }) => appId.startsWith(this.#prefix))
    return new Map(own.map(({ appId, version }) => [appId, version]))
  }
}

const isAnew = ({ resumedAt, firstOffset }: Pick<OffsetRange, 'resumedAt' | 'firstOffset'>) => resumedAt === firstOffset

/** A range after another one, as one commit. */
function joined(before: Entry | undefined, after: BatchRange): Entry {
  if (before?.resumedAt === undefined || after.resumedAt !== undefined) return after
  return { ...after, firstOffset: before.firstOffset, resumedAt: before.resumedAt }
}

function cutBefore(range: OffsetRange, next: bigint): OffsetRange {
  return { ...range, firstOffset: next, messages: range.messages.from(next) }
}

function withRanges(batch: MicroBatch, ranges: OffsetRange[]): MicroBatch {
  let numMessages = 0
  let numBytes = 0
  for (const { messages } of ranges) {
    numMessages += messages.length
    numBytes += messages.countBytes()
  }
  return { ...batch, ranges, numMessages, numBytes }
}
