/** Fetches one partition alone, beside the consumer: to prove that an offset holds nothing, or what it holds. */

import type { Kafka } from 'kafkajs'
import { KafkaToDeltaError } from '../errors.js'
import type { RawMessage } from './micro-batch.js'

const READ_COMMITTED = 1
const MAX_WAIT_MS = 100
const MAX_BYTES = 1024 * 1024

interface Fetched {
  partition: number
  highWatermark: string
  /** Absent from brokers before 0.11. */
  lastStableOffset?: string
  messages: RawMessage[]
}

interface Broker {
  fetch(request: object): Promise<{ responses: { topicName: string; partitions: Fetched[] }[] }>
  describeGroups(request: { groupIds: string[] }): Promise<unknown>
}

/** kafkajs's inner cluster: its public interface has no way to fetch one partition. */
interface Cluster {
  connect(): Promise<void>
  disconnect(): Promise<void>
  addMultipleTargetTopics(topics: string[]): Promise<void>
  refreshMetadata(): Promise<void>
  findLeaderForPartitions(topic: string, partitions: number[]): Record<string, number[]>
  findBroker(of: { nodeId: string }): Promise<Broker>
  findControllerBroker(): Promise<Broker>
}

/** What a fetch at one offset gave. */
export interface ProbeResult {
  /** The end of what a reader may see: the last stable offset. */
  end: bigint
  messages: RawMessage[]
}

export class PartitionProbe {
  #cluster: Cluster
  #connected: Promise<void> | null = null

  /** Throws CONFIG_INVALID for a `Kafka` instance that is not of kafkajs 2. */
  constructor(kafka: Kafka) {
    const symbol = Object.getOwnPropertySymbols(kafka).find((s) => s.description === 'private:Kafka:createCluster')
    const create = symbol && (kafka as unknown as Record<symbol, unknown>)[symbol]
    if (typeof create !== 'function') {
      throw new KafkaToDeltaError('CONFIG_INVALID', 'kafka must be a configuration or a Kafka instance of kafkajs 2.2')
    }
    this.#cluster = create({
      metadataMaxAge: 60_000,
      allowAutoTopicCreation: false,
      isolationLevel: READ_COMMITTED,
    }) as Cluster
  }

  /**
   * One fetch, of at least one record batch. Null where the answer proves nothing (throttled, no such partition). Errors
   * are kafkajs's.
   */
  async fetch(topic: string, partition: number, offset: bigint, maxBytes = MAX_BYTES): Promise<ProbeResult | null> {
    try {
      this.#connected ??= this.#cluster.connect()
      await this.#connected
      await this.#cluster.addMultipleTargetTopics([topic])
      const [nodeId] = Object.keys(this.#cluster.findLeaderForPartitions(topic, [partition]))
      if (nodeId === undefined) return null
      const broker = await this.#cluster.findBroker({ nodeId })
      const { responses } = await broker.fetch({
        maxWaitTime: MAX_WAIT_MS,
        minBytes: 1,
        maxBytes,
        isolationLevel: READ_COMMITTED,
        topics: [{ topic, partitions: [{ partition, fetchOffset: offset.toString(), maxBytes }] }],
        rackId: '',
      })
      const found = responses.find((r) => r.topicName === topic)?.partitions.find((p) => p.partition === partition)
      if (!found) return null
      return { end: BigInt(found.lastStableOffset ?? found.highWatermark), messages: found.messages }
    } catch (error) {
      this.#connected = null
      await this.#cluster.refreshMetadata().catch(() => {})
      throw error
    }
  }

  /**
   * Whether the user may not use a consumer group. Any broker tells it, before it looks whether the group is its own: the
   * group's coordinator is not asked for, since that question makes Kafka's topic of offsets where there is none yet.
   */
  async isGroupDenied(groupId: string): Promise<boolean> {
    this.#connected ??= this.#cluster.connect()
    await this.#connected
    await this.#cluster.refreshMetadata()
    const broker = await this.#cluster.findControllerBroker()
    try {
      await broker.describeGroups({ groupIds: [groupId] })
      return false
    } catch (error) {
      return (error as { type?: unknown }).type === 'GROUP_AUTHORIZATION_FAILED'
    }
  }

  async close(): Promise<void> {
    await this.#cluster.disconnect()
  }
}
