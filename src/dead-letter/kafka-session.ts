/** One transactional producer and what it knows: from its start, which fences its predecessors, to its first error. */

import { setTimeout as sleep } from 'node:timers/promises'
import kafkajs, { type Admin, type IHeaders, type Message, type PartitionMetadata, type Producer } from 'kafkajs'
import type { KafkaClient } from '../kafka/client.js'
import type { Logger } from '../log.js'
import { settled } from '../waits.js'
import { type DeadLetter, inGroups, letterBytes } from './dead-letter.js'

/** Bounds of one transaction. */
const MAX_LETTERS = 10_000
const MAX_BYTES = 8 * 1024 * 1024

/** Bytes of one record batch, before compression: brokers take 1 MB by default. A larger letter is alone. */
const MAX_SEND_BYTES = 512 * 1024

/** A broker without news from us gives a transaction up after so many milliseconds; a new process ends it at once. */
const TRANSACTION_TIMEOUT_MS = 60_000

/** Older brokers show the offsets of a transaction some moments after they say that it has ended. Milliseconds. */
const SETTLE_MS = 100

const CLOSE_MS = 3_000

export interface SessionOptions {
  client: KafkaClient
  /** The dead-letter topic. */
  topic: string
  transactionalId: string
  /** The consumer group whose offsets say which letters are in the topic. */
  groupId: string
  logger: Logger
}

/** The partition that Java's and kafkajs's producers choose; letters without a key follow their own partition. */
type Partitioner = (message: { key: Buffer | null; partition: number }) => number

export class KafkaSession {
  readonly #options: SessionOptions
  readonly #producer: Producer
  readonly #admin: Admin
  /** Source topic to partition to the offset after the last letter that is in the topic. */
  readonly #next = new Map<string, Map<number, bigint>>()
  #partitioner: Partitioner | null = null
  #settled = false

  constructor(options: SessionOptions) {
    const { client, transactionalId } = options
    this.#options = options
    this.#admin = client.kafka.admin()
    this.#producer = client.kafka.producer({
      transactionalId,
      idempotent: true,
      maxInFlightRequests: 1,
      transactionTimeout: TRANSACTION_TIMEOUT_MS,
      createPartitioner: kafkajs.Partitioners.DefaultPartitioner,
    })
  }

  /** Errors are kafkajs's. After one, nothing is known of the transaction: the session is of no more use. */
  async write(letters: readonly DeadLetter[]): Promise<void> {
    if (!this.#partitioner) {
      await this.#admin.connect()
      this.#partitioner = await this.#loadPartitioner()
      await this.#producer.connect()
    }
    for (const group of inGroups(letters, MAX_LETTERS, MAX_BYTES)) await this.#writeGroup(group)
  }

  async close(): Promise<void> {
    await this.#options.client.close([this.#producer.disconnect(), this.#admin.disconnect()], CLOSE_MS)
  }

  async #writeGroup(letters: readonly DeadLetter[]): Promise<void> {
    const { groupId, topic, logger } = this.#options
    // The first call fences the predecessors and ends their transaction. What the group holds then stays, until we
    // change it or are fenced ourselves.
    const transaction = await this.#producer.transaction()
    try {
      for (const source of new Set(letters.map((letter) => letter.topic))) await this.#loadOffsets(source)
      const fresh = letters.filter((letter) => !this.#isThere(letter))
      if (fresh.length < letters.length) {
        const skipped = letters.length - fresh.length
        logger.info({ deadLetter: topic, skipped }, 'dead letters were left out that the topic has already')
      }
      for (const [partition, ofPartition] of this.#byPartition(fresh)) {
        for (const group of inGroups(ofPartition, MAX_LETTERS, MAX_SEND_BYTES)) {
          // One partition at a time, named in each message: what kafkajs sends again is then what it sent before.
          const messages = group.map((letter) => ({ ...toMessage(letter), partition }))
          try {
            await transaction.send({ topic, messages, acks: -1, compression: kafkajs.CompressionTypes.GZIP })
          } catch (error) {
            throw withLargest(error, group)
          }
        }
      }
      const ends = endsOf(fresh)
      if (ends.length > 0) await transaction.sendOffsets({ consumerGroupId: groupId, topics: ends })
      // Without a letter there is nothing to commit: kafkajs sends nothing then.
      await transaction.commit()
      for (const letter of fresh) this.#next.get(letter.topic)?.set(letter.partition, BigInt(letter.offset) + 1n)
    } catch (error) {
      // Readers of the topic wait at an open transaction.
      if (transaction.isActive()) await settled(transaction.abort(), CLOSE_MS)
      throw error
    }
  }

  #isThere({ topic, partition, offset }: DeadLetter): boolean {
    return BigInt(offset) < (this.#next.get(topic)?.get(partition) ?? 0n)
  }

  /** Asks once for each source topic; the transaction must have begun. */
  async #loadOffsets(source: string): Promise<void> {
    if (this.#next.has(source)) return
    const { groupId, logger } = this.#options
    if (!this.#settled) await sleep(SETTLE_MS)
    this.#settled = true
    const [stored, ends] = await Promise.all([
      this.#admin.fetchOffsets({ groupId, topics: [source] }),
      this.#admin.fetchTopicOffsets(source),
    ])
    const next = new Map<number, bigint>()
    for (const { partition, offset } of stored.find(({ topic }) => topic === source)?.partitions ?? []) {
      const after = BigInt(offset)
      if (after <= 0n) continue
      const end = ends.find((of) => of.partition === partition)
      if (end && BigInt(end.high) < after) {
        // Those letters are of a topic that was deleted; what comes now was never written.
        logger.warn({ topic: source, partition, offset, end: end.high }, 'the topic ends before its dead letters')
        continue
      }
      next.set(partition, after)
    }
    this.#next.set(source, next)
  }

  async #loadPartitioner(): Promise<Partitioner> {
    const { topic } = this.#options
    const { topics } = await this.#admin.fetchTopicMetadata({ topics: [topic] })
    const partitionMetadata = topics.find(({ name }) => name === topic)?.partitions as PartitionMetadata[]
    const choose = kafkajs.Partitioners.DefaultPartitioner()
    return ({ key, partition }) =>
      key === null
        ? partition % partitionMetadata.length
        : choose({ topic, partitionMetadata, message: { key, value: null } })
  }

  #byPartition(letters: readonly DeadLetter[]): Map<number, DeadLetter[]> {
    const partitions = new Map<number, DeadLetter[]>()
    for (const letter of letters) {
      const partition = (this.#partitioner as Partitioner)(letter)
      const known = partitions.get(partition)
      if (known) known.push(letter)
      else partitions.set(partition, [letter])
    }
    return partitions
  }
}

/** Key, value and headers as they were, and where they were in headers of our own. */
export function toMessage(letter: DeadLetter): Message {
  // The names are the message's own: none is one of Object's.
  const headers: IHeaders = Object.create(null)
  const add = (name: string, value: Buffer | string) => {
    const known = headers[name]
    if (known === undefined) headers[name] = value
    else headers[name] = Array.isArray(known) ? [...known, value] : [known, value]
  }
  // kafkajs writes null as a header without a value, though its types do not say so.
  for (const { name, value } of letter.headers) add(name, value as Buffer)
  add('kafka2delta.topic', letter.topic)
  add('kafka2delta.partition', String(letter.partition))
  add('kafka2delta.offset', letter.offset)
  if (letter.timestamp !== null) add('kafka2delta.timestamp', letter.timestamp)
  add('kafka2delta.code', letter.code)
  add('kafka2delta.reason', letter.reason)
  add('kafka2delta.query', letter.queryName)
  return { key: letter.key, value: letter.value, headers }
}

/** The offsets after the last letter of each source partition. */
function endsOf(letters: readonly DeadLetter[]) {
  const ends = new Map<string, Map<number, string>>()
  for (const { topic, partition, offset } of letters) {
    const partitions = ends.get(topic) ?? new Map<number, string>()
    partitions.set(partition, String(BigInt(offset) + 1n))
    ends.set(topic, partitions)
  }
  return [...ends].map(([topic, partitions]) => ({
    topic,
    partitions: [...partitions].map(([partition, offset]) => ({ partition, offset })),
  }))
}

/** The largest letter of a request that failed: a broker refuses a request for its size. */
export class SendError extends Error {
  readonly letter: DeadLetter

  constructor(cause: unknown, letter: DeadLetter) {
    super(cause instanceof Error ? cause.message : String(cause), { cause })
    this.letter = letter
  }
}

function withLargest(error: unknown, group: readonly DeadLetter[]): SendError {
  const largest = group.reduce((a, b) => (letterBytes(a) >= letterBytes(b) ? a : b))
  return new SendError(error, largest)
}
