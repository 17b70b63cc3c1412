/** Lists the topics of a cluster and looks into them, through connections of its own that are closed behind it. */

import type { KafkaToDeltaError } from '../errors.js'
import { sideBySide, unlessAborted } from '../waits.js'
import { type Asked, connected } from './ask.js'
import { classify, createClient, isTopicDenied, kafkaError } from './client.js'
import { type FirstMessage, TopicLookup } from './lookup.js'

/** Milliseconds for closing the connections. */
const CLOSE_MS = 500

/** Topics that are read at a time. */
const MAX_READS = 16

/** Topics of Kafka itself and of what runs on it begin so: offsets, transactions, heartbeats. */
const INTERNAL = /^__/

/** The cluster that is looked at. */
export type CatalogOptions = Omit<Asked, 'signal'>

/**
 * Puts questions through connections of their own, which are closed behind them.
 * @throws KAFKA_UNREACHABLE, KAFKA_AUTH within some seconds, what `question` throws of ours, the signal's reason
 */
export async function withLookup<T>(
  { kafka, queryName, logger, retry }: CatalogOptions,
  doing: string,
  signal: AbortSignal | undefined,
  question: (lookup: TopicLookup, inOurTerms: (error: unknown) => KafkaToDeltaError) => Promise<T>,
): Promise<T> {
  const client = createClient(kafka, queryName, logger, retry)
  const lookup = new TopicLookup(client.kafka)
  const inOurTerms = (error: unknown) => kafkaError(error, doing, client.redact)
  try {
    await connected(lookup.connect(), doing, client.redact, signal)
    return await unlessAborted(question(lookup, inOurTerms), signal)
  } catch (error) {
    throw signal?.aborted ? signal.reason : inOurTerms(error)
  } finally {
    await client.close([lookup.close()], CLOSE_MS)
  }
}

/** @throws KAFKA_UNREACHABLE, KAFKA_AUTH within some seconds */
export class TopicCatalog {
  readonly #of: CatalogOptions

  constructor(of: CatalogOptions) {
    this.#of = of
  }

  /** The names of all topics that this user may see, but for {@link INTERNAL} ones, sorted. */
  async list(signal?: AbortSignal): Promise<string[]> {
    const topics = await this.#ask('cannot list the topics', signal, (lookup) => lookup.topics())
    return topics.filter((topic) => !INTERNAL.test(topic)).sort()
  }

  /** The first message of each of the topics: see {@link TopicLookup.firstMessage}. */
  async firstMessages(topics: readonly string[], signal?: AbortSignal): Promise<Map<string, FirstMessage>> {
    if (topics.length === 0) return new Map()
    const messages = await this.#ask('cannot read the topics', signal, (lookup) =>
      sideBySide(MAX_READS, topics, (topic) => lookup.firstMessage(topic)),
    )
    return new Map(topics.map((topic, at) => [topic, messages[at] ?? null]))
  }

  /** The end of each partition of the topics, without topics that do not exist or may not be seen. */
  ends(topics: readonly string[], signal?: AbortSignal): Promise<Map<string, Map<number, bigint>>> {
    return this.#ask('cannot read the offsets of the topics', signal, async (lookup) => {
      const ends = new Map<string, Map<number, bigint>>()
      await sideBySide(MAX_READS, topics, async (topic) => {
        try {
          const marks = await lookup.watermarks(topic)
          ends.set(topic, new Map([...marks].map(([partition, { high }]) => [partition, high])))
        } catch (error) {
          if (classify(error) !== 'TOPIC_NOT_FOUND' && !isTopicDenied(error)) throw error
        }
      })
      return ends
    })
  }

  #ask<T>(doing: string, signal: AbortSignal | undefined, question: (lookup: TopicLookup) => Promise<T>): Promise<T> {
    return withLookup(this.#of, doing, signal, question)
  }
}
