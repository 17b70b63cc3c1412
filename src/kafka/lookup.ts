/** Asks Kafka beside the consumer where logs begin and end, and what is at an offset. Every question has an end. */

import kafkajs, { type Admin, type Kafka } from 'kafkajs'
import { KafkaToDeltaError } from '../errors.js'
import { unlessAborted, within } from '../waits.js'
import { AskedTogether } from './asked-together.js'
import { classify, isTopicDenied } from './client.js'
import { fetchWatermarks, type Watermarks } from './positions.js'
import { PartitionProbe, type ProbeResult } from './probe.js'
import type { RawMessage } from './raw-message.js'

const { ConfigResourceTypes } = kafkajs

/** Longer than kafkajs waits for an answer. */
const ANSWER_MS = 40_000

/** Fetches for the first message of a partition: what lies further is asked for again at the next look. */
const MAX_STEPS = 200

/** See {@link TopicLookup.firstMessage}. */
export type FirstMessage = RawMessage | null | 'unseen'

interface Connections {
  admin: Admin
  probe: PartitionProbe
  connected: Promise<void>
  /** Questions that wait for an answer. */
  numAsking: number
}

/** Errors are kafkajs's. After one, the next question goes through new connections. */
export class TopicLookup {
  readonly #kafka: Kafka
  readonly #closing = new AbortController()
  readonly #watermarks = new AskedTogether<Map<number, Watermarks>>({
    many: (topics) => this.#ask(({ probe }) => probe.watermarks(topics)),
    one: (topic) => this.#ask(({ admin }) => fetchWatermarks(admin, topic)),
    isOfSome: (error) => classify(error) === 'TOPIC_NOT_FOUND' || isTopicDenied(error),
  })
  #connections: Connections | null = null

  constructor(kafka: Kafka) {
    this.#kafka = kafka
  }

  /** Throws CONFIG_INVALID for a `Kafka` instance that is not of kafkajs 2. */
  connect(): Promise<void> {
    return this.#connect().connected
  }

  /** The names of all topics, those that are Kafka's own included. */
  topics(): Promise<string[]> {
    return this.#ask(({ admin }) => admin.listTopics())
  }

  /** What many ask for at a time is one question. */
  watermarks(topic: string): Promise<Map<number, Watermarks>> {
    return this.#watermarks.of(topic)
  }

  /** Of each partition, the first offset at or after a time. */
  fetchTopicOffsetsByTimestamp(topic: string, ms: number): Promise<{ partition: number; offset: string }[]> {
    return this.#ask(({ admin }) => admin.fetchTopicOffsetsByTimestamp(topic, ms))
  }

  fetch(topic: string, partition: number, offset: bigint): Promise<ProbeResult | null> {
    return this.#ask(({ probe }) => probe.fetch(topic, partition, offset))
  }

  /** A topic's settings, those that it has by default included. */
  async settings(topic: string): Promise<Map<string, string>> {
    const resources = [{ type: ConfigResourceTypes.TOPIC, name: topic }]
    const found = await this.#ask(({ admin }) => admin.describeConfigs({ resources, includeSynonyms: false }))
    return new Map(found.resources[0]?.configEntries.map(({ configName, configValue }) => [configName, configValue]))
  }

  /** Whether the user may not use a consumer group. Nothing is made by the question. */
  isGroupDenied(groupId: string): Promise<boolean> {
    return this.#ask(({ probe }) => probe.isGroupDenied(groupId))
  }

  /** How many members a consumer group has. */
  async numMembers(groupId: string): Promise<number> {
    const { groups } = await this.#ask(({ admin }) => admin.describeGroups([groupId]))
    return groups[0]?.members.length ?? 0
  }

  /** The first message of a topic; null where its log is empty, `unseen` where it is not, but no message was found. */
  async firstMessage(topic: string): Promise<FirstMessage> {
    let isEmpty = true
    for (const [partition, { low, high }] of await this.watermarks(topic)) {
      if (low === high) continue
      isEmpty = false
      const found = await this.#firstOf(topic, partition, low)
      if (found !== null) return found
    }
    return isEmpty ? null : 'unseen'
  }

  /** Goes on past record batches that compaction has emptied, and past aborted transactions. */
  async #firstOf(topic: string, partition: number, low: bigint): Promise<RawMessage | null> {
    let at = low
    for (let steps = 0; steps < MAX_STEPS; steps++) {
      const from = at
      // One record batch is enough, most times.
      const limits = steps === 0 ? { maxBytes: 1 } : {}
      const result = await this.#ask(({ probe }) => probe.fetch(topic, partition, from, limits))
      if (result === null) return null
      const found = result.visible.from(at).at(0)
      if (found !== undefined) return found
      if (result.end <= at) return null
      if (result.next > at) at = result.next
      // Without records: more is asked for at the same place first, then the batch is stepped over as by skipEmpty.
      else if (steps > 0) at++
    }
    return null
  }

  /** Whether the user may not read a topic that it may see: Kafka says so where it is read, before it looks at the offset. */
  async isReadDenied(topic: string): Promise<boolean> {
    try {
      // Kafka answers one fetch after the other: it is not to wait for messages.
      await this.#ask(({ probe }) => probe.fetch(topic, 0, 0n, { maxBytes: 1, maxWaitTime: 0 }))
      return false
    } catch (error) {
      return isTopicDenied(error)
    }
  }

  /**
   * The first offset from `from` at which there is something, or where what was looked at ends. A fetch that brings a later
   * record first proves that what lies before it is empty. Batches without records (compaction leaves such behind) say where
   * they end; where kafkajs reads them, they do not, and are stepped over one offset at a time. The first offset is asked for
   * twice then.
   */
  async skipEmpty(topic: string, partition: number, from: bigint, stopped: () => boolean): Promise<bigint> {
    let at = from
    while (!stopped()) {
      for (let attempt = at === from ? 0 : 1; attempt < 2; attempt++) {
        const result = await this.fetch(topic, partition, at)
        if (!result || result.end <= at) return at
        const { length } = result.all
        const first = result.all.indexOf(at)
        if (first < length) return result.all.offsetAt(first)
        if (result.next > at) return result.next
        // The rest of a compacted batch, which kafkajs steps over by itself.
        if (length > 0) return at
      }
      at++
    }
    return from
  }

  async close(): Promise<void> {
    this.#closing.abort(new KafkaToDeltaError('CANCELLED', 'the source was stopped'))
    const connections = this.#connections
    this.#connections = null
    if (connections) await disconnect(connections)
  }

  #connect(): Connections {
    if (this.#connections) return this.#connections
    const admin = this.#kafka.admin()
    this.#connections = { admin, probe: new PartitionProbe(this.#kafka), connected: admin.connect(), numAsking: 0 }
    return this.#connections
  }

  /**
   * kafkajs asks for all topics that it was ever asked for, and fails for all where one of them is gone: a question about
   * another topic is put again through new connections.
   */
  async #ask<T>(question: (connections: Connections) => Promise<T>): Promise<T> {
    const isFirst = this.#connections === null
    try {
      return await this.#askOnce(question)
    } catch (error) {
      if (isFirst || (classify(error) !== 'TOPIC_NOT_FOUND' && !isTopicDenied(error))) throw error
      return this.#askOnce(question)
    }
  }

  /**
   * kafkajs may wait for ever while it authenticates: connections through which a question failed get no other one, and are
   * closed when those that still wait have their answers.
   */
  async #askOnce<T>(question: (connections: Connections) => Promise<T>): Promise<T> {
    this.#closing.signal.throwIfAborted()
    const connections = this.#connect()
    connections.numAsking++
    const answer = connections.connected.then(() => question(connections))
    const error = new Error(`Kafka did not answer in ${ANSWER_MS / 1000} seconds`)
    const tooLong = () => Object.assign(error, { name: 'KafkaJSRequestTimeoutError' })
    try {
      return await within(unlessAborted(answer, this.#closing.signal), ANSWER_MS, tooLong)
    } catch (error) {
      if (this.#connections === connections) this.#connections = null
      throw error
    } finally {
      connections.numAsking--
      if (connections !== this.#connections && connections.numAsking === 0) void disconnect(connections)
    }
  }
}

async function disconnect({ admin, probe }: Connections): Promise<void> {
  await Promise.allSettled([admin.disconnect(), probe.close()])
}
