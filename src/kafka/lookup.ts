/** Asks Kafka beside the consumer where logs begin and end, and what is at an offset. Every question has an end. */

import type { Admin, Kafka } from 'kafkajs'
import { KafkaToDeltaError } from '../errors.js'
import { unlessAborted, within } from '../waits.js'
import { isTopicDenied } from './client.js'
import { fetchWatermarks, type Watermarks } from './positions.js'
import { PartitionProbe, type ProbeResult } from './probe.js'

/** Longer than kafkajs waits for an answer. */
const ANSWER_MS = 40_000

interface Connections {
  admin: Admin
  probe: PartitionProbe
  connected: Promise<void>
}

/** Errors are kafkajs's. After one, the next question goes through new connections. */
export class TopicLookup {
  readonly #kafka: Kafka
  readonly #closing = new AbortController()
  #connections: Connections | null = null

  constructor(kafka: Kafka) {
    this.#kafka = kafka
  }

  /** Throws CONFIG_INVALID for a `Kafka` instance that is not of kafkajs 2. */
  connect(): Promise<void> {
    return this.#connect().connected
  }

  watermarks(topic: string): Promise<Map<number, Watermarks>> {
    return this.#ask(({ admin }) => fetchWatermarks(admin, topic))
  }

  /** Of each partition, the first offset at or after a time. */
  fetchTopicOffsetsByTimestamp(topic: string, ms: number): Promise<{ partition: number; offset: string }[]> {
    return this.#ask(({ admin }) => admin.fetchTopicOffsetsByTimestamp(topic, ms))
  }

  fetch(topic: string, partition: number, offset: bigint): Promise<ProbeResult | null> {
    return this.#ask(({ probe }) => probe.fetch(topic, partition, offset))
  }

  /** Whether the user may not read a topic that it may see: Kafka says so where it is read, before it looks at the offset. */
  async isReadDenied(topic: string): Promise<boolean> {
    try {
      await this.fetch(topic, 0, 0n)
      return false
    } catch (error) {
      return isTopicDenied(error)
    }
  }

  /**
   * The first offset from `from` at which there is something, or the end. A fetch that brings a later record first
   * proves that what lies before it is empty. One without records, though the end lies above, proves that only of
   * its own offset: a record batch without records (compaction leaves such behind) is then stepped over one offset
   * at a time. The first offset is asked for twice.
   */
  async skipEmpty(topic: string, partition: number, from: bigint, stopped: () => boolean): Promise<bigint> {
    let at = from
    while (!stopped()) {
      for (let attempt = at === from ? 0 : 1; attempt < 2; attempt++) {
        const result = await this.fetch(topic, partition, at)
        if (!result || result.end <= at) return at
        if (result.messages.length === 0) continue
        const first = result.messages.find(({ offset }) => BigInt(offset) >= at)
        // None: the rest of a compacted batch, which kafkajs steps over by itself.
        return first ? BigInt(first.offset) : at
      }
      at++
    }
    return from
  }

  async close(): Promise<void> {
    this.#closing.abort(new KafkaToDeltaError('CANCELLED', 'the source was stopped'))
    await this.#drop()
  }

  #connect(): Connections {
    if (this.#connections) return this.#connections
    const admin = this.#kafka.admin()
    this.#connections = { admin, probe: new PartitionProbe(this.#kafka), connected: admin.connect() }
    return this.#connections
  }

  /**
   * kafkajs asks for all topics that it was ever asked for, and fails for all where one of them is gone; and it may wait
   * for ever while it authenticates. So connections through which a question failed are given up.
   */
  async #ask<T>(question: (connections: Connections) => Promise<T>): Promise<T> {
    this.#closing.signal.throwIfAborted()
    const connections = this.#connect()
    const answer = connections.connected.then(() => question(connections))
    const error = new Error(`Kafka did not answer in ${ANSWER_MS / 1000} seconds`)
    const tooLong = () => Object.assign(error, { name: 'KafkaJSRequestTimeoutError' })
    try {
      return await within(unlessAborted(answer, this.#closing.signal), ANSWER_MS, tooLong)
    } catch (error) {
      if (this.#connections === connections) void this.#drop()
      throw error
    }
  }

  async #drop(): Promise<void> {
    const connections = this.#connections
    this.#connections = null
    if (connections) await Promise.allSettled([connections.admin.disconnect(), connections.probe.close()])
  }
}
