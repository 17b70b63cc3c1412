/** Positions of partitions: what the log holds, where a partition starts, and what was lost. */

import type { Admin } from 'kafkajs'
import { KafkaToDeltaError } from '../errors.js'
import { isTimestamp, offsetOf, type StartingOffsets, timestampOf } from './options.js'

/** The offsets of a table, as its commits hold them. */
export interface StoredOffsets {
  /** False where the table has none of our commits. */
  exists: boolean
  /** The last offset applied, per partition. -1: nothing yet, and the partition starts at 0. */
  last: Map<number, bigint>
  /**
   * The last record applied, per partition, where the table keeps it: a record with this offset and another
   * timestamp tells a topic that was deleted and made anew.
   */
  records?: Map<number, { offset: bigint; timestamp: string }>
  /**
   * Where partitions were found to start, by what was kept apart from a table that has none of our commits yet. Left out
   * where starts need not be kept.
   */
  starts?: ReadonlyMap<number, bigint>
}

/** The offsets that a partition holds: from `low`, below `high` (the last stable offset). */
export interface Watermarks {
  low: bigint
  high: bigint
}

/** Offsets that were to be applied and that the topic no longer has. */
export interface DataLoss {
  topic: string
  partition: number
  /** The offset that was to be read next. */
  expected: bigint
  low: bigint
  high: bigint
  /** How many offsets are gone; null where that cannot be known, since the topic was cut or made anew. */
  lost: bigint | null
}

export async function fetchWatermarks(admin: Admin, topic: string): Promise<Map<number, Watermarks>> {
  const found = await admin.fetchTopicOffsets(topic)
  return new Map(found.map(({ partition, low, high }) => [partition, { low: BigInt(low), high: BigInt(high) }]))
}

/** What is lost if reading goes on at `expected`; null if nothing is. */
export function findLoss(topic: string, partition: number, expected: bigint, marks: Watermarks): DataLoss | null {
  const { low, high } = marks
  if (expected < low) return { topic, partition, expected, low, high, lost: low - expected }
  if (expected > high) return { topic, partition, expected, low, high, lost: null }
  return null
}

const REMEDY =
  'set failOnDataLoss to false to go on at the earliest offset, and resync the table from a snapshot afterwards'

export function dataLossError({ topic, partition, expected, low, high, lost }: DataLoss): KafkaToDeltaError {
  const what =
    lost === null
      ? `offset ${expected} was to be read next, but the partition ends before offset ${high}: ` +
        'the topic was cut or deleted and made anew'
      : `offsets ${expected} to ${low - 1n} (${lost}) are gone, the earliest is ${low}: ` +
        'retention or a deletion removed them before they were applied'
  return new KafkaToDeltaError('DATA_LOSS', `topic ${topic}, partition ${partition}: ${what}; ${REMEDY}`, {
    topic,
    partition,
    offset: expected.toString(),
  })
}

/** The topic has the offset, but another record there. */
export function remadeTopicError(topic: string, partition: number, offset: bigint): KafkaToDeltaError {
  return new KafkaToDeltaError(
    'DATA_LOSS',
    `topic ${topic}, partition ${partition}: the record at offset ${offset} is not the one that was applied: ` +
      `the topic was deleted and made anew; ${REMEDY}`,
    { topic, partition, offset: offset.toString() },
  )
}

function missing(topic: string, partition: number, why: string): KafkaToDeltaError {
  return new KafkaToDeltaError('OFFSET_MISSING', `topic ${topic}, partition ${partition}: ${why}`, { topic, partition })
}

/**
 * Where a partition goes on that the table's commits say something of: after its last offset; at the earliest if
 * it is new. Null: the table has none of our commits.
 *
 * Every first batch of a table records where each partition starts, and Kafka adds partitions at the end: a
 * partition without an offset below one that has one was not new, its offset was lost. Throws OFFSET_MISSING.
 */
export function storedPosition(
  topic: string,
  partition: number,
  stored: StoredOffsets,
  marks: Watermarks,
): bigint | null {
  const last = stored.last.get(partition)
  if (last !== undefined) return last + 1n
  if (!stored.exists) return null
  // Never written to: there is nothing to skip.
  if (marks.high === 0n) return 0n
  const highest = Math.max(-1, ...stored.last.keys())
  if (highest >= 0 && partition > highest) return marks.low
  throw missing(
    topic,
    partition,
    'the table has our commits, but no offset of this partition. Its txn action may have expired ' +
      '(delta.setTransactionRetentionDuration) or the queryName changed; use the former queryName, or a new table',
  )
}

/** The configured start of partitions. Throws CONFIG_INVALID for a partition without one. */
export async function startingPositions(
  lookup: Pick<Admin, 'fetchTopicOffsetsByTimestamp'>,
  topic: string,
  starting: StartingOffsets,
  topics: string[],
  marks: Map<number, Watermarks>,
): Promise<(partition: number) => bigint> {
  const at = (partition: number): Watermarks => {
    const found = marks.get(partition)
    if (!found) throw new KafkaToDeltaError('INTERNAL', `no offsets of ${topic}, partition ${partition}`)
    return found
  }
  if (starting === 'earliest') return (partition) => at(partition).low
  if (starting === 'latest') return (partition) => at(partition).high
  if (isTimestamp(starting, topics)) {
    const found = await lookup.fetchTopicOffsetsByTimestamp(topic, timestampOf(starting.timestamp))
    const offsets = new Map(found.map(({ partition, offset }) => [partition, BigInt(offset)]))
    return (partition) => offsets.get(partition) ?? at(partition).high
  }
  const configured: Record<string, bigint | number | string> =
    (Object.hasOwn(starting, topic) ? starting[topic] : undefined) ?? {}
  return (partition) => {
    const value = configured[partition] ?? configured['*']
    if (value === undefined) {
      throw new KafkaToDeltaError(
        'CONFIG_INVALID',
        `startingOffsets of ${topic} has no offset of partition ${partition} (-2 is the earliest, -1 the latest)`,
        { topic, partition },
      )
    }
    const offset = offsetOf(topic, partition, value)
    if (offset === -2n) return at(partition).low
    return offset === -1n ? at(partition).high : offset
  }
}
