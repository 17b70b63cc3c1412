/** What the source hands over: the raw messages of some offset ranges of one topic. */

import { Messages } from './messages.js'
import type { RawMessage } from './raw-message.js'

export type { RawMessage } from './raw-message.js'

/** A contiguous range of one partition: every offset of it was scanned, also those that hold no message. */
export interface OffsetRange<M = Messages> {
  partition: number
  /** The first offset of the range: the position before it was applied. */
  firstOffset: bigint
  /**
   * The last offset scanned: `batch.lastOffset()`, not the last message's. `firstOffset - 1` (-1 for a partition
   * read from 0) where nothing was read yet: the first commit of a table stores so where each partition starts.
   */
  lastOffset: bigint
  /** In offset order. */
  messages: M
  /**
   * Offsets before this one were lost (`failOnDataLoss: false`). It is `firstOffset` where the topic was made anew: the
   * range does not join the one before.
   */
  resumedAt?: bigint
  /** The hash of the key, where the table knows that the message before the range was a delete. */
  afterDelete?: bigint
}

/** All that one commit of one table holds. */
export interface MicroBatch<M = Messages> {
  topic: string
  /** Ranges in order of arrival; at most one range for a partition. */
  ranges: OffsetRange<M>[]
  numMessages: number
  /** Partitions that the topic has. */
  numPartitions: number
  /** Bytes of keys and values. */
  numBytes: number
}

/** A micro-batch of another source, which may have its messages as objects. */
export type GivenBatch = MicroBatch<Messages | readonly RawMessage[]>

/** The batch with its messages as columns. */
export function inColumns(given: GivenBatch): MicroBatch {
  return { ...given, ranges: given.ranges.map((range) => ({ ...range, messages: Messages.of(range.messages) })) }
}
