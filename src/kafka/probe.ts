/**
 * Asks what kafkajs's public interface has no question for: one partition alone, to prove that an offset holds nothing, or
 * what it holds; and many topics at a time.
 */

import type { Kafka } from 'kafkajs'
import { KafkaToDeltaError } from '../errors.js'
import { FetchedPortion } from './fetched-messages.js'
import { type FetchedMessage, type FetchedPartition, hideAborted } from './kafkajs-fixes.js'
import { Messages } from './messages.js'
import type { Watermarks } from './positions.js'
import type { RawMessage } from './raw-message.js'

const READ_COMMITTED = 1
const MAX_WAIT_MS = 100
const MAX_BYTES = 1024 * 1024

/** A record as kafkajs decodes it: also those of aborted transactions, and the marks that end transactions. */
type FetchedRecord = RawMessage & FetchedMessage

interface Fetched extends Omit<FetchedPartition, 'messages'> {
  partition: number
  highWatermark: string
  /** Absent from brokers before 0.11. */
  lastStableOffset?: string
  messages: (FetchedRecord | FetchedPortion)[]
}

interface Broker {
  fetch(request: object): Promise<{ responses: { topicName: string; partitions: Fetched[] }[] }>
  describeGroups(request: { groupIds: string[] }): Promise<unknown>
}

interface AskedTopic {
  topic: string
  fromBeginning: boolean
  partitions: { partition: number }[]
}

/** kafkajs's inner cluster. */
interface Cluster {
  connect(): Promise<void>
  disconnect(): Promise<void>
  addMultipleTargetTopics(topics: string[]): Promise<void>
  refreshMetadata(): Promise<void>
  refreshMetadataIfNecessary(): Promise<void>
  findTopicPartitionMetadata(topic: string): { partitionId: number }[]
  fetchTopicsOffset(
    topics: AskedTopic[],
  ): Promise<{ topic: string; partitions: { partition: number; offset: string }[] }[]>
  findLeaderForPartitions(topic: string, partitions: number[]): Record<string, number[]>
  findBroker(of: { nodeId: string }): Promise<Broker>
  findControllerBroker(): Promise<Broker>
}

interface FetchLimits {
  maxBytes?: number
  maxWaitTime?: number
}

/** What a fetch at one offset gave. */
export interface ProbeResult {
  /** The end of what a reader may see: the last stable offset. */
  end: bigint
  /** Those that a reader may see: no marks, and of no aborted transaction. */
  visible: Messages
  all: Messages
  /** What comes after all that was fetched; 0 where nothing was. */
  next: bigint
}

function probeResult(found: Fetched): ProbeResult {
  const end = BigInt(found.lastStableOffset ?? found.highWatermark)
  const last = found.messages.at(-1)
  const next = last === undefined ? 0n : BigInt(last.offset) + 1n
  if (last instanceof FetchedPortion) return { end, visible: last.messages, all: last.all, next }
  hideAborted(found as FetchedPartition)
  const all = found.messages as FetchedRecord[]
  const visible = Messages.of(all.filter(({ isControlRecord }) => !isControlRecord))
  return { end, visible, all: Messages.of(all), next }
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
  async fetch(
    topic: string,
    partition: number,
    offset: bigint,
    { maxBytes = MAX_BYTES, maxWaitTime = MAX_WAIT_MS }: FetchLimits = {},
  ): Promise<ProbeResult | null> {
    try {
      this.#connected ??= this.#cluster.connect()
      await this.#connected
      await this.#cluster.addMultipleTargetTopics([topic])
      const [nodeId] = Object.keys(this.#cluster.findLeaderForPartitions(topic, [partition]))
      if (nodeId === undefined) return null
      const broker = await this.#cluster.findBroker({ nodeId })
      const { responses } = await broker.fetch({
        maxWaitTime,
        minBytes: 1,
        maxBytes,
        isolationLevel: READ_COMMITTED,
        topics: [{ topic, partitions: [{ partition, fetchOffset: offset.toString(), maxBytes }] }],
        rackId: '',
      })
      const found = responses.find((r) => r.topicName === topic)?.partitions.find((p) => p.partition === partition)
      return found ? probeResult(found) : null
    } catch (error) {
      this.#connected = null
      await this.#cluster.refreshMetadata().catch(() => {})
      throw error
    }
  }

  /**
   * What the topics hold, without those that kafkajs knows nothing of. One that is missing or may not be seen fails them all.
   * Errors are kafkajs's.
   */
  async watermarks(topics: readonly string[]): Promise<Map<string, Map<number, Watermarks>>> {
    this.#connected ??= this.#cluster.connect()
    await this.#connected
    await this.#cluster.addMultipleTargetTopics([...topics])
    await this.#cluster.refreshMetadataIfNecessary()
    const high = await this.#offsets(topics, false)
    const low = await this.#offsets(topics, true)
    const found = new Map<string, Map<number, Watermarks>>()
    for (const [topic, ends] of high) {
      const marks = new Map<number, Watermarks>()
      for (const [partition, begin] of low.get(topic) ?? []) {
        const end = ends.get(partition)
        if (end !== undefined) marks.set(partition, { low: begin, high: end })
      }
      if (marks.size === ends.size) found.set(topic, marks)
    }
    return found
  }

  async #offsets(topics: readonly string[], fromBeginning: boolean): Promise<Map<string, Map<number, bigint>>> {
    const asked = topics.map((topic) => {
      const partitions = this.#cluster.findTopicPartitionMetadata(topic)
      return { topic, fromBeginning, partitions: partitions.map(({ partitionId }) => ({ partition: partitionId })) }
    })
    const found = await this.#cluster.fetchTopicsOffset(asked.filter(({ partitions }) => partitions.length > 0))
    return new Map(
      found.map(({ topic, partitions }) => [
        topic,
        new Map(partitions.map(({ partition, offset }) => [partition, BigInt(offset)])),
      ]),
    )
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
