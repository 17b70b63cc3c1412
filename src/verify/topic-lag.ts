/** How far a table is behind its topic. */

import { lastOffsets, type StoredOffset } from '../delta/offset-entries.js'
import { createClient, kafkaError } from '../kafka/client.js'
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
  const client = createClient(kafka, queryName, undefined, { retries: 2 })
  const admin = client.kafka.admin()
  try {
    await admin.connect()
    const stored = lastOffsets(queryName, topic, offsets)
    let behind = 0n
    for (const [partition, { low, high }] of await fetchWatermarks(admin, topic)) {
      const last = stored.get(partition)
      const next = last === undefined || last + 1n < low ? low : last + 1n
      if (high > next) behind += high - next
    }
    return Number(behind)
  } catch (error) {
    throw kafkaError(error, `the end of topic ${topic} cannot be read`, client.redact)
  } finally {
    await admin.disconnect().catch(() => {})
    client.destroySockets()
  }
}
