/** Looks once whether the cluster can be used: fails fast, with the reason, where a consumer would retry for long. */

import type { Admin } from 'kafkajs'
import { KafkaToDeltaError } from '../errors.js'
import { askKafka, fewRetries } from './ask.js'
import { classify, isLeaderless, isTopicDenied } from './client.js'
import type { SourceOptions } from './options.js'

/** Why a topic cannot be read. */
export type Unreadable = 'missing' | 'denied' | 'leaderless'

/**
 * Of the topics, those that do not exist, that this user may not see, or that have a partition without a leader: kafkajs
 * reads none of the topics beside such a one.
 * @throws KAFKA_UNREACHABLE, KAFKA_AUTH within some seconds
 */
export async function findUnreadable(
  options: Pick<SourceOptions, 'kafka' | 'queryName' | 'logger'>,
  topics: readonly string[],
  signal?: AbortSignal,
): Promise<Map<string, Unreadable>> {
  const { kafka, queryName, logger } = options
  const asked = {
    kafka,
    queryName,
    retry: fewRetries(kafka),
    ...(logger ? { logger } : {}),
    ...(signal ? { signal } : {}),
  }
  return askKafka(asked, 'cannot connect to Kafka', async (admin) => {
    const unreadable = new Map<string, Unreadable>()
    if (topics.length === 0 || (await whyUnreadable(admin, topics)) === null) return unreadable
    for (const topic of topics) {
      const why = await whyUnreadable(admin, [topic])
      if (why) unreadable.set(topic, why)
    }
    return unreadable
  })
}

async function whyUnreadable(admin: Admin, topics: readonly string[]): Promise<Unreadable | null> {
  try {
    await admin.fetchTopicMetadata({ topics: [...topics] })
    return null
  } catch (error) {
    if (isTopicDenied(error)) return 'denied'
    if (classify(error) === 'TOPIC_NOT_FOUND') return 'missing'
    if (isLeaderless(error)) return 'leaderless'
    throw error
  }
}

/** The error that names the topics. */
export function unreadableTopics(topics: readonly string[], why: Unreadable): KafkaToDeltaError {
  const names = topics.join(', ')
  const position = topics.length === 1 ? { topic: names } : {}
  if (why === 'missing') {
    const message = `Kafka has no topic ${names}: check the name, or wait until the connector has made it`
    return new KafkaToDeltaError('TOPIC_NOT_FOUND', message, position)
  }
  if (why === 'leaderless') {
    const message = `a partition of ${names} has no leader: brokers that hold it are down`
    return new KafkaToDeltaError('KAFKA_UNREACHABLE', message, position)
  }
  const message = `Kafka does not let this user read ${names}: give it the operations Read and Describe on the topic`
  return new KafkaToDeltaError('KAFKA_AUTH', message, position)
}
