/** What topics are and hold now: partitions, settings and their newest messages. Nothing is written, and no group joined. */

import type { KafkaToDeltaError } from '../errors.js'
import { sideBySide } from '../waits.js'
import { classify } from './client.js'
import type { TopicLookup } from './lookup.js'
import { Messages } from './messages.js'
import type { OffsetRange } from './micro-batch.js'
import type { Watermarks } from './positions.js'
import { type CatalogOptions, withLookup } from './topic-catalog.js'

/** Topics that are looked at a time. */
const MAX_LOOKS = 8

/** What is read of a topic, at most. */
const MAX_BYTES = 8 * 1024 * 1024

/** Milliseconds in which reading of a topic goes on. */
const MAX_MS = 10_000

export interface TopicState {
  partitions: Map<number, Watermarks>
  /** Null where this user may not see them. */
  settings: Map<string, string> | null
  /** The newest messages of each partition that has any. */
  newest: OffsetRange[]
  /** Whether reading ended before all that was wanted had been read. */
  isCut: boolean
}

/**
 * Looks at topics that exist, a few at a time.
 * @param numMessages that are read of each topic, spread over its partitions
 * @param use is given each topic's state, or why it cannot be read; its messages are not kept
 * @throws KAFKA_UNREACHABLE, KAFKA_AUTH; what `use` throws
 */
export async function eachTopicState(
  of: CatalogOptions,
  topics: readonly string[],
  numMessages: number,
  use: (topic: string, state: TopicState | KafkaToDeltaError) => Promise<void>,
): Promise<void> {
  if (topics.length === 0) return
  await withLookup(of, 'cannot look at the topics', undefined, (lookup, inOurTerms) =>
    sideBySide(MAX_LOOKS, topics, async (topic) => {
      const state = await stateOf(lookup, topic, numMessages).catch(inOurTerms)
      await use(topic, state)
    }),
  )
}

async function stateOf(lookup: TopicLookup, topic: string, numMessages: number): Promise<TopicState> {
  const partitions = await lookup.watermarks(topic)
  const state: TopicState = { partitions, settings: await settingsOf(lookup, topic), newest: [], isCut: false }
  const filled = [...partitions].filter(([, { low, high }]) => low < high)
  const share = BigInt(Math.ceil(numMessages / Math.max(1, filled.length)))
  const until = performance.now() + MAX_MS
  let bytes = 0
  for (const [partition, { low, high }] of filled) {
    if (numMessages === 0) break
    const from = high - low > share ? high - share : low
    const range = { partition, firstOffset: from, lastOffset: from - 1n, messages: Messages.none } as OffsetRange
    while (range.lastOffset + 1n < high && bytes < MAX_BYTES && performance.now() < until) {
      const read = await readOn(lookup, topic, range, high)
      if (read === null) break
      bytes += read
    }
    if (range.messages.length > 0) state.newest.push(range)
  }
  state.isCut = bytes >= MAX_BYTES || performance.now() >= until
  return state
}

/** Adds what one fetch brings. The bytes of it; null where it brings nothing. */
async function readOn(lookup: TopicLookup, topic: string, range: OffsetRange, high: bigint): Promise<number | null> {
  const at = range.lastOffset + 1n
  const found = await lookup.fetch(topic, range.partition, at)
  // A batch is given as a whole, also where it begins before the offset that was asked for.
  if (found === null || found.next <= at) return null
  const messages = found.visible.from(at).before(high)
  range.messages = Messages.joined([range.messages, messages])
  range.lastOffset = found.next - 1n
  return messages.countBytes()
}

async function settingsOf(lookup: TopicLookup, topic: string): Promise<Map<string, string> | null> {
  try {
    return await lookup.settings(topic)
  } catch (error) {
    if (classify(error) === 'KAFKA_AUTH') return null
    throw error
  }
}
