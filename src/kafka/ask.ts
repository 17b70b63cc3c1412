/** Asks Kafka a question through connections of its own, which are closed behind it: an answer or an error in seconds. */

import type { Admin, Kafka, RetryOptions } from 'kafkajs'
import { KafkaToDeltaError } from '../errors.js'
import type { KafkaOptions } from '../options/sasl.js'
import { unlessAborted, within } from '../waits.js'
import { createClient, kafkaError } from './client.js'
import type { SourceLogger } from './options.js'

/** An unreachable broker is reported within this time, with what closing the connections takes within 10 seconds. */
const CONNECT_MS = 7_000

/** Milliseconds for closing the connections. */
const CLOSE_MS = 500

/** Rejects with `KAFKA_UNREACHABLE` after {@link CONNECT_MS}, with kafkajs's errors in our terms, or as `signal` says. */
export async function connected<T>(
  promise: Promise<T>,
  doing: string,
  redact: (text: string) => string,
  signal?: AbortSignal,
): Promise<T> {
  const tooLong = () =>
    new KafkaToDeltaError(
      'KAFKA_UNREACHABLE',
      `${doing}: no answer in ${CONNECT_MS / 1000} seconds (check brokers, and whether they want TLS or SASL)`,
    )
  try {
    return await within(unlessAborted(promise, signal), CONNECT_MS, tooLong)
  } catch (error) {
    throw signal?.aborted ? signal.reason : kafkaError(error, doing, redact)
  }
}

export interface Asked {
  kafka: KafkaOptions | Kafka
  queryName: string
  logger?: SourceLogger
  retry?: RetryOptions
  signal?: AbortSignal
}

/**
 * What kafkajs tries again where somebody waits for the answer: it holds an unknown topic for one that is to come, and by
 * default asks for it for some 40 seconds. Each broker that is named has its turn.
 */
export function fewRetries(kafka: KafkaOptions | Kafka): RetryOptions {
  const brokers = 'brokers' in kafka && Array.isArray(kafka.brokers) ? kafka.brokers.length : 1
  return { initialRetryTime: 200, maxRetryTime: 500, retries: Math.max(2, brokers - 1) }
}

/**
 * @param doing begins the message of an error
 * @throws KAFKA_UNREACHABLE, KAFKA_AUTH, TOPIC_NOT_FOUND, what `question` throws of ours, the signal's reason
 */
export async function askKafka<T>(of: Asked, doing: string, question: (admin: Admin) => Promise<T>): Promise<T> {
  const client = createClient(of.kafka, of.queryName, of.logger, of.retry)
  const admin = client.kafka.admin()
  const ask = async () => {
    await admin.connect()
    return question(admin)
  }
  try {
    return await connected(ask(), doing, client.redact, of.signal)
  } finally {
    await client.close([admin.disconnect()], CLOSE_MS)
  }
}
