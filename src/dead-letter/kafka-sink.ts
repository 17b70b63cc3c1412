/**
 * Dead letters in a Kafka topic, each once: the letters and a consumer group's offset, which says how far they go, are
 * written in one transaction.
 */

import kafkajs, { type Kafka } from 'kafkajs'
import { KafkaToDeltaError } from '../errors.js'
import { connected } from '../kafka/ask.js'
import { classify, createClient, kafkaError } from '../kafka/client.js'
import type { Logger } from '../log.js'
import type { KafkaOptions } from '../options/sasl.js'
import { onAbort, pause, within } from '../waits.js'
import type { DeadLetter, DeadLetterSink } from './dead-letter.js'
import { KafkaSession, SendError, type SessionOptions } from './kafka-session.js'

/** A write that takes longer than this has failed. Milliseconds. */
const WRITE_MS = 90_000

/** Milliseconds that a write under way has left when the query is stopped. */
const STOP_MS = 5_000

const CLOSE_MS = 3_000

export interface KafkaDeadLetterOptions {
  kafka: KafkaOptions | Kafka
  queryName: string
  topic: string
  logger: Logger
}

export interface DeadLetterSession {
  write(letters: readonly DeadLetter[]): Promise<void>
  close(): Promise<void>
}

export class KafkaDeadLetters implements DeadLetterSink {
  readonly target: string
  readonly #options: KafkaDeadLetterOptions
  readonly #makeSession: (options: SessionOptions) => DeadLetterSession
  #session: DeadLetterSession | null = null
  #redact = (text: string): string => text
  /** Tables of a query write one after another: a producer has one transaction at a time. */
  #queue: Promise<void> = Promise.resolve()

  constructor(
    options: KafkaDeadLetterOptions,
    makeSession: (options: SessionOptions) => DeadLetterSession = (given) => new KafkaSession(given),
  ) {
    this.#options = options
    this.#makeSession = makeSession
    this.target = `topic ${options.topic}`
  }

  /** @throws TOPIC_NOT_FOUND where the topic neither exists nor is created by the broker; KAFKA_UNREACHABLE, KAFKA_AUTH */
  async check(signal?: AbortSignal): Promise<void> {
    const { topic } = this.#options
    const client = this.#client({ initialRetryTime: 200, maxRetryTime: 500, retries: 3 })
    const producer = client.kafka.producer({ createPartitioner: kafkajs.Partitioners.DefaultPartitioner })
    const look = async () => {
      await producer.connect()
      // Nothing is sent: asking for the topic as a producer creates it where brokers do that.
      await producer.send({ topic, messages: [] })
    }
    try {
      await connected(look(), `cannot use the dead-letter topic ${topic}`, client.redact, signal)
    } catch (error) {
      throw this.#missing(error) ?? error
    } finally {
      await client.close([producer.disconnect()], CLOSE_MS)
    }
  }

  write(letters: readonly DeadLetter[], signal?: AbortSignal): Promise<void> {
    if (letters.length === 0) return Promise.resolve()
    const written = this.#queue.then(() => this.#write(letters, signal))
    this.#queue = written.catch(() => {})
    return written
  }

  async close(): Promise<void> {
    await this.#queue
    await this.#drop()
  }

  async #write(letters: readonly DeadLetter[], signal: AbortSignal | undefined): Promise<void> {
    const { queryName, topic, logger } = this.#options
    if (!this.#session) {
      const client = this.#client()
      this.#redact = client.redact
      this.#session = this.#makeSession({
        client,
        topic,
        transactionalId: `kafka2delta-${queryName}-dead-letter-${topic}`,
        groupId: `${queryName}-dead-letter`,
        logger,
      })
    }
    const session = this.#session
    const doing = `cannot write dead letters to the topic ${topic}`
    const ended = new AbortController()
    try {
      const tooLong = () => new KafkaToDeltaError('KAFKA_UNREACHABLE', `${doing}: it takes too long`)
      const stopped = cutOff(signal, ended.signal, () => {
        throw new KafkaToDeltaError('KAFKA_UNREACHABLE', `${doing}: no answer before the stop`)
      })
      await within(Promise.race([session.write(letters), stopped]), WRITE_MS, tooLong)
    } catch (error) {
      // Whether the transaction was committed is not known: the next session asks the group.
      await this.#drop()
      throw this.#asOurs(error, doing)
    } finally {
      ended.abort()
    }
  }

  async #drop(): Promise<void> {
    const session = this.#session
    this.#session = null
    await session?.close()
  }

  #client(retry?: Parameters<typeof createClient>[3]) {
    const { kafka, queryName, logger } = this.#options
    return createClient(kafka, queryName, logger, retry)
  }

  #asOurs(thrown: unknown, doing: string): KafkaToDeltaError {
    const { topic } = this.#options
    const error = thrown instanceof SendError ? thrown.cause : thrown
    const type = protocolType(error)
    if (type === 'INVALID_PRODUCER_EPOCH' || type === 'PRODUCER_FENCED') {
      return new KafkaToDeltaError('FENCED', `${doing}: another process with this query writes to it, too`, {
        topic,
        cause: error,
      })
    }
    if (type === 'MESSAGE_TOO_LARGE' || type === 'RECORD_LIST_TOO_LARGE') {
      const letter = thrown instanceof SendError ? thrown.letter : null
      const position = letter && { topic: letter.topic, partition: letter.partition, offset: letter.offset }
      const which = letter ? `the record at offset ${letter.offset} of ${letter.topic}/${letter.partition}` : 'a record'
      return new KafkaToDeltaError(
        'BAD_RECORD',
        `${doing}: ${which} is too large for it; raise max.message.bytes of ${topic}`,
        { ...position, cause: error },
      )
    }
    return this.#missing(error) ?? kafkaError(error, doing, this.#redact)
  }

  #missing(error: unknown): KafkaToDeltaError | null {
    if (classify(error) !== 'TOPIC_NOT_FOUND') return null
    const { topic } = this.#options
    return new KafkaToDeltaError(
      'TOPIC_NOT_FOUND',
      `Kafka has no topic ${topic} for dead letters, and does not create it by itself: create it, or check deadLetter.topic`,
      { topic, cause: error },
    )
  }
}

/** The name of Kafka's own error code in an error or its causes. */
function protocolType(error: unknown): string | null {
  let at = error
  for (let depth = 0; depth < 10 && at instanceof Error; depth++) {
    const { type, code } = at as Error & { type?: unknown; code?: unknown }
    // kafkajs does not know this code.
    if (code === 90) return 'PRODUCER_FENCED'
    if (typeof type === 'string') return type
    at = at.cause
  }
  return null
}

/** Runs `then` some time after `signal` was aborted; never settles where `end` comes first. */
async function cutOff(signal: AbortSignal | undefined, end: AbortSignal, then: () => never): Promise<never> {
  const never = new Promise<never>(() => {})
  if (!signal) return never
  await new Promise<void>((resolve) => {
    onAbort(end, onAbort(signal, resolve))
  })
  await pause(STOP_MS, end)
  return end.aborted ? never : then()
}
