/** Looks once whether the cluster can be used: fails fast, with the reason, where a consumer would retry for long. */

import type { Admin } from 'kafkajs'
import { KafkaToDeltaError } from '../errors.js'
import { within } from '../waits.js'
import { classify, createClient, kafkaError } from './client.js'
import type { SourceOptions } from './options.js'

/** An unreachable broker is reported within this time. Milliseconds. */
export const CONNECT_MS = 9_000

/** Rejects with `KAFKA_UNREACHABLE` after {@link CONNECT_MS}, and with kafkajs's errors in our terms. */
export function connected<T>(promise: Promise<T>, doing: string, redact: (text: string) => string): Promise<T> {
  const tooLong = () =>
    new KafkaToDeltaError(
      'KAFKA_UNREACHABLE',
      `${doing}: no answer in ${CONNECT_MS / 1000} seconds (check brokers, and whether they want TLS or SASL)`,
    )
  return within(promise, CONNECT_MS, tooLong).catch((error) => {
    throw kafkaError(error, doing, redact)
  })
}

/** Rejects with KAFKA_UNREACHABLE, KAFKA_AUTH or TOPIC_NOT_FOUND. */
export async function checkCluster(options: SourceOptions): Promise<void> {
  const { kafka, queryName, logger, topics } = options
  const brokers = 'brokers' in kafka && Array.isArray(kafka.brokers) ? kafka.brokers.length : 1
  const client = createClient(kafka, queryName, logger, {
    initialRetryTime: 200,
    maxRetryTime: 500,
    retries: Math.max(2, brokers - 1),
  })
  const admin = client.kafka.admin()
  const check = async (): Promise<void> => {
    await admin.connect()
    try {
      await admin.fetchTopicMetadata({ topics })
    } catch (error) {
      if (classify(error) === 'TOPIC_NOT_FOUND') await nameMissing(admin, topics)
      throw error
    }
  }
  try {
    await connected(check(), 'cannot connect to Kafka', client.redact)
  } finally {
    admin.disconnect().then(client.destroySockets, client.destroySockets)
  }
}

async function nameMissing(admin: Admin, topics: string[]): Promise<void> {
  const missing: string[] = []
  for (const topic of topics) {
    try {
      await admin.fetchTopicMetadata({ topics: [topic] })
    } catch (error) {
      if (classify(error) === 'TOPIC_NOT_FOUND') missing.push(topic)
    }
  }
  if (missing.length === 0) return
  const names = missing.join(', ')
  throw new KafkaToDeltaError(
    'TOPIC_NOT_FOUND',
    `Kafka has no topic ${names}: check the name, or wait until the connector has made it`,
    missing.length === 1 ? { topic: names } : {},
  )
}
