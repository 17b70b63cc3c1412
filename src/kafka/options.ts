/** Options of the source, and what of kafkajs's consumer options they allow. */

import type { ConsumerConfig, Kafka } from 'kafkajs'
import { KafkaToDeltaError } from '../errors.js'
import { CONSUMER_DEFAULTS } from '../options/defaults.js'
import type { KafkaOptions } from '../options/sasl.js'
import type { MemoryBudget } from './memory-budget.js'
import type { FindPairMember } from './paired-messages.js'
import { COLUMN_BYTES } from './records.js'
import type { Sharing } from './sharing.js'

/**
 * Where a topic starts that the table holds no offsets of: `earliest`, `latest`, the first offsets at or after
 * a time (milliseconds since 1970, or ISO 8601), or offsets per topic and partition (-2 earliest, -1 latest; `*`: of the
 * partitions that are not named).
 */
export type StartingOffsets =
  | 'earliest'
  | 'latest'
  | { timestamp: number | string }
  | Record<string, Record<number | string, bigint | number | string>>

export type KeepStarts = (
  topic: string,
  starts: ReadonlyMap<number, bigint>,
  known: ReadonlyMap<number, bigint>,
) => Promise<ReadonlyMap<number, bigint>>

/** The part of pino's logger that is used. */
export interface SourceLogger {
  debug(fields: object, message: string): void
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
}

/**
 * When a micro-batch is cut: `processingTime` after the last one (ms, 0: as soon as there is something; or as `AdaptivePace`
 * says), or until now. Where there are few messages, `maxDelay` after the first of them came (ms), if that is later.
 */
export type SourceTrigger = { processingTime: number | 'adaptive'; maxDelay: number } | { availableNow: true }

export interface SourceLimits {
  /** Messages of one micro-batch, at most. */
  maxBatchMessages: number
  /**
   * Bytes of keys and values of one micro-batch, and half of what it may decode to; a single larger message is a batch of
   * its own.
   */
  maxBatchBytes: number
  /**
   * Bytes that a topic may hold in memory: what is queued and what was handed over and is not decoded. What counts is
   * what is held: the buffers that keys, values and headers lie in, and the columns that tell where. A full queue pauses the
   * topic's partitions; drained below half, they go on. It is exceeded by one fetch at most (`consumer.maxBytes`).
   */
  maxQueueBytes: number
  /** Bytes of memory: see `MEMORY_SHARES`. Default: no bound. */
  maxMemory?: number
}

export interface SourceOptions {
  /** Names the consumer group (and, elsewhere, the offsets in the tables). */
  queryName: string
  /** kafkajs's configuration, or a Kafka instance of kafkajs 2.2. */
  kafka: KafkaOptions | Kafka
  /**
   * kafkajs's consumer configuration; what conflicts with exactly-once is refused. `groupId` is the group of many workers, and a
   * prefix with one.
   */
  consumer: Partial<ConsumerConfig>
  /** `single`: one process consumes all topics, with a fresh consumer group for each start. `many`: they share one group. */
  workers: 'single' | 'many'
  /** With `many`, whom the tables belong to that the group gives this worker. */
  sharing?: Sharing
  topics: string[]
  startingOffsets: StartingOffsets
  /**
   * Whether a topic, of which the table holds nothing, is younger than the query: it is read from the beginning then, wherever
   * others start.
   */
  isNewTopic?: (topic: string) => Promise<boolean>
  /**
   * Makes durable where partitions start, before the first message of them is handed on: what `latest` says is another
   * position at each start. `known` is what was kept before. Resolves with what is kept then, since another worker may have
   * been first. Asked of topics whose `StoredOffsets` have `starts`.
   */
  keepStarts?: KeepStarts
  failOnDataLoss: boolean
  trigger: SourceTrigger
  /** Of topics that have one of their own. */
  triggers?: ReadonlyMap<string, SourceTrigger>
  limits: SourceLimits
  /** Which messages tell of a change together with one of another partition: both are in one micro-batch then. */
  pairMemberOf?: FindPairMember
  logger?: SourceLogger
  /** What the topics share with those of other sources. Default: one of their own, of `limits.maxMemory`. */
  budget?: MemoryBudget
  /** How long Kafka may fail while running before the source gives up. Milliseconds; default: for ever. */
  maxUnavailableMs?: number
}

/** Bytes that a queued message takes beside what was fetched. */
export const MESSAGE_OVERHEAD = COLUMN_BYTES

/** Bytes that what was fetched of a partition takes beside its buffers and columns, however little it is. */
export const FETCHED_OVERHEAD = 2_400

/** Bytes that a half of a key update takes in the queue beside its message. */
export const HALF_OVERHEAD = 1_000

/** Bytes that a message weighs beside its own, where it is counted what it makes to do: small ones decode to more. */
export const MESSAGE_WEIGHT = 400

const invalid = (message: string, cause?: unknown): KafkaToDeltaError =>
  new KafkaToDeltaError('CONFIG_INVALID', message, { cause })

const CONSUMER_KEYS = new Set<keyof ConsumerConfig>([
  'groupId',
  'metadataMaxAge',
  'sessionTimeout',
  'rebalanceTimeout',
  'heartbeatInterval',
  'maxBytesPerPartition',
  'minBytes',
  'maxBytes',
  'maxWaitTimeInMs',
  'retry',
  'allowAutoTopicCreation',
  'maxInFlightRequests',
  'readUncommitted',
  'rackId',
])

/** Options that would break the delivery contract, and why. */
const REFUSED = new Map([
  ['autoCommit', 'offsets are stored in the Delta tables; the group is only told of them after each commit'],
  ['autoCommitInterval', 'offsets are stored in the Delta tables; the group is only told of them after each commit'],
  ['autoCommitThreshold', 'offsets are stored in the Delta tables; the group is only told of them after each commit'],
  ['eachBatchAutoResolve', 'positions are resolved by kafka2delta'],
  ['eachBatch', 'messages go to the Delta tables'],
  ['eachMessage', 'messages go to the Delta tables'],
  ['fromBeginning', 'use startingOffsets'],
  ['partitionsConsumedConcurrently', 'tables are written side by side anyway'],
  ['partitionAssigners', 'all partitions of a table are read by one worker'],
])

const isFalse = (value: unknown): boolean => value === false || value === undefined

function checkConsumerKeys(consumer: Record<string, unknown>): void {
  for (const [key, value] of Object.entries(consumer)) {
    if (value === undefined) continue
    const reason = REFUSED.get(key)
    if (reason !== undefined) {
      if ((key === 'autoCommit' || key === 'eachBatchAutoResolve') && isFalse(value)) continue
      throw invalid(`consumer.${key} cannot be set: ${reason}`)
    }
    if (!CONSUMER_KEYS.has(key as keyof ConsumerConfig)) throw invalid(`consumer.${key} is not an option of kafkajs`)
  }
  if (consumer.readUncommitted === true) {
    throw invalid('consumer.readUncommitted cannot be true: rows of aborted transactions would reach the tables')
  }
  if (consumer.allowAutoTopicCreation === true) {
    throw invalid('consumer.allowAutoTopicCreation cannot be true: a mistyped topic would be created, not reported')
  }
}

function positive(name: string, value: unknown): void {
  if (typeof value !== 'number' || !Number.isFinite(value) || value <= 0) {
    throw invalid(`${name} must be a number above 0, not ${String(value)}`)
  }
}

function checkStartingOffsets(starting: StartingOffsets, topics: string[]): void {
  if (starting === 'earliest' || starting === 'latest') return
  if (typeof starting !== 'object' || starting === null) {
    throw invalid(
      `startingOffsets must be earliest, latest, { timestamp } or offsets per topic, not ${String(starting)}`,
    )
  }
  if (isTimestamp(starting, topics)) {
    timestampOf(starting.timestamp)
    return
  }
  for (const [topic, partitions] of Object.entries(starting)) {
    if (!topics.includes(topic)) throw invalid(`startingOffsets names the topic ${topic}, which is not consumed`)
    if (typeof partitions !== 'object' || partitions === null) {
      throw invalid(`startingOffsets of ${topic} must be offsets per partition`)
    }
    for (const [partition, offset] of Object.entries(partitions)) {
      if (!/^(\d+|\*)$/.test(partition)) throw invalid(`startingOffsets of ${topic}: "${partition}" is not a partition`)
      offsetOf(topic, partition, offset)
    }
  }
  for (const topic of topics) {
    if (!Object.hasOwn(starting, topic)) throw invalid(`startingOffsets has no offsets of the topic ${topic}`)
  }
}

/** Whether these are `{ timestamp }`; a topic may be called "timestamp" too. */
export function isTimestamp(
  starting: Exclude<StartingOffsets, string>,
  topics: string[],
): starting is { timestamp: number | string } {
  const value = Object.hasOwn(starting, 'timestamp') ? (starting as { timestamp?: unknown }).timestamp : undefined
  return (
    (typeof value === 'number' || typeof value === 'string') &&
    !topics.some((t) => t !== 'timestamp' && Object.hasOwn(starting, t))
  )
}

/** Milliseconds since 1970 of a number or an ISO 8601 text. Throws CONFIG_INVALID. */
export function timestampOf(value: number | string): number {
  const ms = typeof value === 'number' ? value : /^\d+$/.test(value) ? Number(value) : Date.parse(value)
  if (!Number.isSafeInteger(ms) || ms < 0) {
    throw invalid(`startingOffsets.timestamp must be milliseconds since 1970 or ISO 8601, not ${JSON.stringify(value)}`)
  }
  return ms
}

/** A configured offset: at least 0, or -1 (latest), -2 (earliest). Throws CONFIG_INVALID. */
export function offsetOf(topic: string, partition: string | number, value: unknown): bigint {
  try {
    const isText = typeof value === 'string' && /^-?\d+$/.test(value)
    if (isText || typeof value === 'bigint' || Number.isSafeInteger(value)) {
      const offset = BigInt(value as string | bigint | number)
      if (offset >= -2n) return offset
    }
  } catch {
    // said below
  }
  throw invalid(`startingOffsets of ${topic}, partition ${partition}: ${String(value)} is not an offset`)
}

/** Throws CONFIG_INVALID for what cannot work. */
function checkTrigger(trigger: SourceTrigger): void {
  if ('availableNow' in trigger) {
    if (trigger.availableNow !== true) throw invalid('trigger.availableNow must be true')
    return
  }
  for (const name of ['processingTime', 'maxDelay'] as const) {
    const ms = trigger[name]
    if (name === 'processingTime' && ms === 'adaptive') continue
    if (typeof ms !== 'number' || !Number.isFinite(ms) || ms < 0) {
      throw invalid(`trigger.${name} must be milliseconds, not ${String(ms)}`)
    }
  }
}

export function checkSourceOptions(options: SourceOptions): void {
  if (typeof options.queryName !== 'string' || options.queryName === '') throw invalid('queryName must be a text')
  if (!Array.isArray(options.topics) || options.topics.length === 0) throw invalid('topics must name a topic')
  for (const topic of options.topics) {
    if (typeof topic !== 'string' || topic === '') throw invalid('topics must be names of topics')
  }
  if (new Set(options.topics).size !== options.topics.length) throw invalid('topics names a topic twice')
  if (options.workers !== 'single' && options.workers !== 'many') {
    throw invalid(`workers must be single or many, not ${String(options.workers)}`)
  }
  if ((options.workers === 'many') !== (options.sharing !== undefined)) {
    throw invalid('workers: many needs to be told whose the tables are, and nothing else does')
  }
  checkStartingOffsets(options.startingOffsets, options.topics)
  const { trigger, limits } = options
  checkTrigger(trigger)
  options.triggers?.forEach(checkTrigger)
  positive('limits.maxBatchMessages', limits.maxBatchMessages)
  positive('limits.maxBatchBytes', limits.maxBatchBytes)
  positive('limits.maxQueueBytes', limits.maxQueueBytes)
  if (limits.maxMemory !== undefined) positive('limits.maxMemory', limits.maxMemory)
  if (options.maxUnavailableMs !== undefined) positive('maxUnavailableMs', options.maxUnavailableMs)
  checkConsumerKeys(options.consumer as Record<string, unknown>)
}

/** Milliseconds that a fetch waits for messages where nothing else is to be fetched. */
const IDLE_WAIT_MS = 1_000

/**
 * How long fetches wait for messages, while partitions are held back and while none is. Where the user says, always so long. No
 * heartbeat is sent meanwhile. Throws CONFIG_INVALID.
 */
export function fetchWaits(options: SourceOptions): { busyMs: number; idleMs: number } {
  const { maxWaitTimeInMs: busyMs = 0, heartbeatInterval = 0 } = consumerConfig(options, 'any')
  const { maxWaitTimeInMs, minBytes = 1 } = options.consumer
  // Messages, too, wait for so long, where they are fewer than was asked for.
  const isGiven = maxWaitTimeInMs !== undefined || minBytes > 1
  return { busyMs, idleMs: isGiven ? busyMs : Math.max(busyMs, Math.min(IDLE_WAIT_MS, heartbeatInterval)) }
}

/** The consumer group of many workers, and how the names of a single one's groups begin. */
export const groupOf = ({ consumer, queryName }: Pick<SourceOptions, 'consumer' | 'queryName'>): string =>
  consumer.groupId ?? `kafka2delta-${queryName}`

/** kafkajs's consumer configuration: the user's, with our defaults. `retry.restartOnFailure` is set by the source. */
export function consumerConfig(options: SourceOptions, groupId: string): ConsumerConfig {
  const {
    autoCommit: _autoCommit,
    eachBatchAutoResolve: _autoResolve,
    ...consumer
  } = options.consumer as Partial<ConsumerConfig> & { autoCommit?: false; eachBatchAutoResolve?: false }
  const config: ConsumerConfig = {
    ...CONSUMER_DEFAULTS,
    ...consumer,
    groupId,
    readUncommitted: false,
    allowAutoTopicCreation: false,
  }
  const { sessionTimeout = 0, heartbeatInterval = 0, maxWaitTimeInMs = 0 } = config
  if (heartbeatInterval >= sessionTimeout) {
    throw invalid(
      `consumer.heartbeatInterval (${heartbeatInterval} ms) must be below consumer.sessionTimeout (${sessionTimeout} ms)`,
    )
  }
  if (maxWaitTimeInMs >= sessionTimeout) {
    throw invalid(
      `consumer.maxWaitTimeInMs (${maxWaitTimeInMs} ms) must be below consumer.sessionTimeout (${sessionTimeout} ms)`,
    )
  }
  return config
}
