/** Looks once whether the cluster can be used: fails fast, with the reason, where a consumer would retry for long. */

import type { Admin } from 'kafkajs'
import { KafkaToDeltaError } from '../errors.js'
import { askKafka } from './ask.js'
import { classify } from './client.js'
import type { SourceOptions } from './options.js'

/**
 * Of the topics, those that do not exist.
 * @throws KAFKA_UNREACHABLE, KAFKA_AUTH within some seconds
 */
export async function findMissing(
  options: SourceOptions,
  topics: readonly string[],
  signal?: AbortSignal,
): Promise<string[]> {
  const { kafka, queryName, logger } = options
  const brokers = 'brokers' in kafka && Array.isArray(kafka.brokers) ? kafka.brokers.length : 1
  const retry = { initialRetryTime: 200, maxRetryTime: 500, retries: Math.max(2, brokers - 1) }
  const asked = { kafka, queryName, retry, ...(logger ? { logger } : {}), ...(signal ? { signal } : {}) }
  return askKafka(asked, 'cannot connect to Kafka', async (admin) => {
    if (await exist(admin, topics)) return []
    const missing: string[] = []
    for (const topic of topics) if (!(await exist(admin, [topic]))) missing.push(topic)
    return missing
  })
}

async function exist(admin: Admin, topics: readonly string[]): Promise<boolean> {
  try {
    await admin.fetchTopicMetadata({ topics: [...topics] })
    return true
  } catch (error) {
    if (classify(error) !== 'TOPIC_NOT_FOUND') throw error
    return false
  }
}

export function missingTopics(topics: readonly string[]): KafkaToDeltaError {
  const names = topics.join(', ')
  return new KafkaToDeltaError(
    'TOPIC_NOT_FOUND',
    `Kafka has no topic ${names}: check the name, or wait until the connector has made it`,
    topics.length === 1 ? { topic: names } : {},
  )
}
