/**
 * Defects of kafkajs 2.2.4 (its last release) that are mended in the loaded module.
 * The patches leave alone what is not as they expect it.
 */

import { createRequire } from 'node:module'
import { withOwnDecoder } from './fetch-decoder.js'
import { waitOfGroup } from './fetch-wait.js'
import { type FetchedPortion, portionsOf } from './fetched-messages.js'
import { FetchedRecords } from './record-batches.js'

const require = createRequire(import.meta.url)
const DONE = Symbol.for('kafka2delta.kafkajsFixes')

type Prototype = Record<string | symbol, unknown>

interface RequestQueueState {
  pending: unknown[]
  inflight: Map<number, { entry: { apiName?: string } }>
  throttledUntil: number
  rejectAll(error: Error): void
}

export interface FetchedMessage {
  offset: string
  key: Buffer | null
  isControlRecord: boolean
  batchContext?: { producerId: string; inTransaction: boolean }
}

export interface FetchedPartition {
  abortedTransactions?: { producerId: string; firstOffset: string }[]
  messages: FetchedMessage[]
  preferredReadReplica?: number
}

interface FetchRequest {
  topics?: { topic: string; partitions: { partition: number; fetchOffset: string }[] }[]
}

interface Answered {
  messages: readonly unknown[] | FetchedRecords
  preferredReadReplica?: number
}

interface FetchAnswer<P extends Answered = Answered> {
  responses?: { topicName?: string; partitions?: P[] }[] | undefined
}

/** A partition of an answer, as kafkajs reads it, or as we do. */
type AnsweredPartition = Omit<FetchedPartition, 'messages'> & {
  partition: number
  messages: FetchedMessage[] | FetchedRecords | FetchedPortion[]
}

interface TopicMetadata {
  topic: string
  partitionMetadata: unknown[]
}

interface BrokerPoolState {
  metadata: { topicMetadata?: TopicMetadata[] } | null
  metadataExpireAt: number | null
}

interface GroupState {
  groupId: string
  /** Ours has the name of its consumer, where many workers share a group. */
  assigners?: { waitId?: string }[]
  maxWaitTime: number
  cluster: { committedOffsetsByGroup: Map<string, unknown> }
}

const waitOf = ({ assigners, groupId }: GroupState) => waitOfGroup(assigners?.[0]?.waitId ?? groupId)

function prototypeOf(path: string): Prototype | null {
  try {
    return (require(path) as { prototype: Prototype }).prototype
  } catch {
    return null
  }
}

/**
 * An idle connection arms a timer with a negative delay again and again: each one costs a wake-up per
 * millisecond and, on Node 24, a TimeoutNegativeWarning (kafkajs#1751). Nothing waits then: no timer is needed.
 */
function stopIdleTimers(): void {
  const prototype = prototypeOf('kafkajs/src/network/requestQueue')
  const original = prototype?.scheduleCheckPendingRequests
  if (!prototype || typeof original !== 'function') return
  prototype.scheduleCheckPendingRequests = function (this: RequestQueueState): void {
    if (this.pending.length === 0 && this.throttledUntil <= Date.now()) return
    original.call(this)
  }
}

/** Milliseconds that a connection waits for answers when it is closed. */
const DISCONNECT_MS = 500

/**
 * A connection that is being closed waits for the answers that are due, and looks no more whether they are overdue: with
 * a broker that does not answer, `disconnect()` took for ever, and so did a crashed consumer before it said so. A fetch that
 * waits for messages is not waited for.
 */
function endDisconnects(): void {
  const prototype = prototypeOf('kafkajs/src/network/requestQueue')
  const original = prototype?.waitForPendingRequests
  if (!prototype || typeof original !== 'function') return
  prototype.waitForPendingRequests = async function (this: RequestQueueState): Promise<void> {
    const error = Object.assign(new Error('the connection was closed'), { name: 'KafkaJSConnectionError' })
    const isFetching = [...this.inflight.values()].every(({ entry }) => entry.apiName === 'Fetch')
    const timer = setTimeout(() => this.rejectAll(error), isFetching && this.pending.length === 0 ? 0 : DISCONNECT_MS)
    await original.call(this)
    clearTimeout(timer)
  }
}

/** Marks the messages of aborted transactions as control records: kafkajs counts those as scanned and hides them. */
export function hideAborted(partition: FetchedPartition): void {
  const { abortedTransactions, messages } = partition
  if (!abortedTransactions || abortedTransactions.length === 0) return
  const starts = abortedTransactions
    .map(({ producerId, firstOffset }) => ({ producerId, first: BigInt(firstOffset) }))
    .sort((a, b) => (a.first < b.first ? -1 : a.first > b.first ? 1 : 0))
  const aborted = new Set<string>()
  let next = 0
  for (const message of messages) {
    const context = message.batchContext
    if (!context) return
    const offset = BigInt(message.offset)
    for (let start = starts[next]; start && start.first <= offset; start = starts[++next]) aborted.add(start.producerId)
    if (message.isControlRecord) {
      // Of the markers, only the abort (version 0, type 0) ends an aborted transaction.
      if (message.key && message.key.length >= 4 && message.key.readInt16BE(2) === 0) aborted.delete(context.producerId)
    } else if (context.inTransaction && aborted.has(context.producerId)) {
      message.isControlRecord = true
    }
  }
  partition.abortedTransactions = []
}

/**
 * kafkajs takes the broker's list of aborted transactions as sorted by their start, and moves on by one of them
 * per message. The list is sorted by their end: where transactions of several producers overlap, or a fetch
 * begins within two of them, aborted messages were handed on.
 */
function filterFetched(): void {
  const prototype = prototypeOf('kafkajs/src/broker')
  const original = prototype?.fetch
  if (!prototype || typeof original !== 'function') return
  prototype.fetch = async function (this: unknown, request: FetchRequest, ...more: unknown[]): Promise<unknown> {
    const result = (await original.call(this, request, ...more)) as FetchAnswer<AnsweredPartition>
    const offsets = askedOffsets(request)
    for (const { topicName, partitions = [] } of result?.responses ?? []) {
      for (const partition of partitions) filterPartition(partition, () => offsets(topicName, partition.partition))
    }
    return isOfOne(request) ? result : withoutEmpty(result)
  }
}

/** The offset that was asked for of a partition. Most answers bring nothing of most partitions: the topics are indexed late. */
function askedOffsets({ topics = [] }: FetchRequest) {
  let byTopic: Map<string, (typeof topics)[number]['partitions']> | null = null
  return (topicName = '', id?: number): string => {
    byTopic ??= new Map(topics.map(({ topic, partitions }) => [topic, partitions]))
    return byTopic.get(topicName)?.find(({ partition }) => partition === id)?.fetchOffset ?? '0'
  }
}

function filterPartition(given: AnsweredPartition, fetchOffset: () => string): void {
  const { messages } = given
  if (!(messages instanceof FetchedRecords)) {
    hideAborted(given as FetchedPartition)
    return
  }
  const isEmpty = messages.batches.length === 0
  given.messages = isEmpty ? [] : portionsOf(messages, given.abortedTransactions ?? [], fetchOffset())
  given.abortedTransactions = []
}

const isOfOne = ({ topics = [] }: FetchRequest) => topics.length === 1 && topics[0]?.partitions.length === 1

/**
 * The answer without partitions that bring nothing. kafkajs makes a batch of each of them and does no more with it than look
 * whether a heartbeat is due: with 1,000 idle partitions, a thousand times at each fetch.
 */
export function withoutEmpty<T extends FetchAnswer>(answer: T): T {
  const isTelling = ({ messages, preferredReadReplica = -1 }: Answered) =>
    !Array.isArray(messages) || messages.length > 0 || preferredReadReplica !== -1
  const responses = answer.responses
    ?.map((topic) => ({ ...topic, partitions: topic.partitions?.filter(isTelling) ?? [] }))
    .filter(({ partitions }) => partitions.length > 0)
  return { ...answer, responses }
}

/** Fetches of our own clients are read as columns. */
function readFetches(): void {
  const prototype = prototypeOf('kafkajs/src/network/connection')
  const original = prototype?.send
  if (!prototype || typeof original !== 'function') return
  prototype.send = function (this: { socketFactory?: object }, sent: Parameters<typeof withOwnDecoder>[1]): unknown {
    return original.call(this, withOwnDecoder(this, sent))
  }
}

interface ConnectionState {
  socket?: { destroy(error?: Error): void }
  chunks: Buffer[]
  bytesBuffered: number
  bytesNeeded: number
  reauthenticationThreshold: number
  /** Milliseconds: a Long of kafkajs's. */
  sessionLifetime: { toString(): string }
  isConnected(): boolean
}

/** Bytes of an answer's length, which comes first. */
const LENGTH = 4

/** Connections that are being made. */
const connecting = new WeakMap<ConnectionState, Promise<unknown>>()

/**
 * What came of an answer before its connection broke is kept by kafkajs, and the next connection's first answer is taken for the
 * rest of it: no answer is found any more, and a length beyond what is there throws in the socket's event, which ends the process.
 * Requests that find no connection at the same time made one each, and the end of any ended the one in use: they share one.
 */
function beginConnectionsAnew(): void {
  const prototype = prototypeOf('kafkajs/src/network/connection')
  const { connect, processData } = prototype ?? {}
  if (!prototype || typeof connect !== 'function' || typeof processData !== 'function') return
  prototype.connect = function (this: ConnectionState): Promise<unknown> {
    if (this.isConnected()) return Promise.resolve(true)
    const before = connecting.get(this)
    if (before) return before
    // It might still deliver something.
    this.socket?.destroy()
    Object.assign(this, { chunks: [], bytesBuffered: 0, bytesNeeded: LENGTH })
    const made = (connect.call(this) as Promise<unknown>).finally(() => connecting.delete(this))
    connecting.set(this, made)
    return made
  }
  prototype.processData = function (this: ConnectionState, data: Buffer): unknown {
    try {
      return processData.call(this, data)
    } catch (error) {
      // As when the broker ends it: requests that wait are rejected, and made again on another connection.
      this.socket?.destroy(error as Error)
      return undefined
    }
  }
}

/** kafkajs lets each fetch of a consumer wait for the same time, and a consumer that is closed waits for it to end. */
function endFetches(): void {
  const prototype = prototypeOf('kafkajs/src/consumer/consumerGroup')
  const original = prototype?.fetch
  if (!prototype || typeof original !== 'function') return
  prototype.fetch = function (this: GroupState, nodeId: unknown): Promise<unknown[]> {
    const wait = waitOf(this)
    if (!wait) return original.call(this, nodeId)
    this.maxWaitTime = wait.nextMs()
    return wait.unlessClosed(original.call(this, nodeId))
  }
}

/**
 * kafkajs has the offsets of a group once for all consumers of a client, and clears them when one of them is assigned
 * something. While a consumer takes the place of another one, both are members of one group: what the one was assigned made the
 * next fetch of the other one fail, for good, where it asked for a topic that the first has not got.
 */
function keepOffsetsApart(): void {
  const prototype = prototypeOf('kafkajs/src/consumer/consumerGroup')
  const original = prototype?.connect
  if (!prototype || typeof original !== 'function') return
  prototype.connect = function (this: GroupState): Promise<void> {
    if (waitOf(this)) this.cluster.committedOffsetsByGroup = new Map()
    return original.call(this)
  }
}

/** By list of kafkajs's, since it makes another list with each answer of the broker. */
const topicsOfLists = new WeakMap<readonly TopicMetadata[], Map<string, TopicMetadata>>()

function topicsOf(list: readonly TopicMetadata[]): Map<string, TopicMetadata> {
  let topics = topicsOfLists.get(list)
  if (!topics) {
    // Of a name that is there twice, kafkajs finds the first.
    topics = new Map(list.toReversed().map((metadata) => [metadata.topic, metadata]))
    topicsOfLists.set(list, topics)
  }
  return topics
}

/**
 * kafkajs searches a list of all topics for each topic, several times at each fetch: of 1,000 topics, that were some million
 * comparisons.
 */
function findTopicsByName(): void {
  const cluster = prototypeOf('kafkajs/src/cluster')
  const findPartitions = cluster?.findTopicPartitionMetadata
  if (cluster && typeof findPartitions === 'function') {
    cluster.findTopicPartitionMetadata = function (this: { brokerPool: BrokerPoolState }, topic: string): unknown {
      const list = this.brokerPool.metadata?.topicMetadata
      if (!list) return findPartitions.call(this, topic)
      return topicsOf(list).get(topic)?.partitionMetadata ?? []
    }
  }
  const pool = prototypeOf('kafkajs/src/cluster/brokerPool')
  const refreshIfNecessary = pool?.refreshMetadataIfNecessary
  if (pool && typeof refreshIfNecessary === 'function') {
    pool.refreshMetadataIfNecessary = async function (this: BrokerPoolState, topics: string[]): Promise<unknown> {
      const list = this.metadata?.topicMetadata
      const isFresh = this.metadataExpireAt !== null && Date.now() <= this.metadataExpireAt
      if (list && isFresh && topics.every((topic) => topicsOf(list).has(topic))) return
      return refreshIfNecessary.call(this, topics)
    }
  }
}

/**
 * kafkajs logs in anew when ten seconds are left of a session. Of a shorter one that is at once, and with each request: brokers
 * refuse more than one login a second, and end the connection. No more than half of a session is left.
 */
function endSessionsInTime(): void {
  const prototype = prototypeOf('kafkajs/src/network/connection')
  const symbols = prototype ? Object.getOwnPropertySymbols(prototype) : []
  const name = symbols.find(({ description }) => description === 'private:Connection:shouldReauthenticate')
  const original = prototype && name ? prototype[name] : undefined
  if (!prototype || !name || typeof original !== 'function') return
  prototype[name] = function (this: ConnectionState): unknown {
    const configured = this.reauthenticationThreshold
    this.reauthenticationThreshold = Math.min(configured, Math.floor(Number(this.sessionLifetime.toString()) / 2))
    try {
      return original.call(this)
    } finally {
      this.reauthenticationThreshold = configured
    }
  }
}

/** Mends the kafkajs that this package loads; once for a process. */
export function fixKafkajs(): void {
  const marks = globalThis as unknown as Record<symbol, boolean>
  if (marks[DONE]) return
  marks[DONE] = true
  stopIdleTimers()
  endDisconnects()
  readFetches()
  beginConnectionsAnew()
  filterFetched()
  endFetches()
  keepOffsetsApart()
  findTopicsByName()
  endSessionsInTime()
}
