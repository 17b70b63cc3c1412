/** How far a table is behind its topic. */

import { lastOffsets, type StoredOffset } from '../delta/offset-entries.js'
import { askKafka } from '../kafka/ask.js'
import { fetchWatermarks } from '../kafka/positions.js'
import type { ResolvedOptions } from '../options/types.js'

/**
 * Messages between the offsets that a table holds and the end of its topic.
 * @throws KAFKA_UNREACHABLE, KAFKA_AUTH, TOPIC_NOT_FOUND
 */
export async function messagesBehind(
  { kafka, queryName }: Pick<ResolvedOptions, 'kafka' | 'queryName'>,
  topic: string,
  offsets: readonly StoredOffset[],
): Promise<number> {
  const asked = { kafka, queryName, retry: { retries: 2 } }
  const marks = await askKafka(asked, `the end of topic ${topic} cannot be read`, (admin) =>
    fetchWatermarks(admin, topic),
  )
  const stored = lastOffsets(queryName, topic, offsets)
  let behind = 0n
  for (const [partition, { low, high }] of marks) {
    const last = stored.get(partition)
    const next = last === undefined || last + 1n < low ? low : last + 1n
    if (high > next) behind += high - next
  }
  return Number(behind)
}
