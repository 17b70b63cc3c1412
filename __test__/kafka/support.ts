/** What the tests of the source share: a broker, a table that keeps offsets and rows, and a loop over batches. */

import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import type { ExecutionContext } from 'ava'
import type { KafkaConfig } from 'kafkajs'
import { EmbeddedBroker } from '../../src/demo/broker/index.js'
import type { MicroBatch } from '../../src/kafka/micro-batch.js'
import type { SourceOptions } from '../../src/kafka/options.js'
import type { StoredOffsets } from '../../src/kafka/positions.js'
import { KafkaSource } from '../../src/kafka/source.js'

/** A server that accepts connections and answers nothing. */
export async function startSilentServer(t: ExecutionContext): Promise<{ port: number; connections: () => number }> {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {}).on('data', () => {})
    socket.on('close', () => sockets.delete(socket))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return { port: (server.address() as AddressInfo).port, connections: () => sockets.size }
}

export const TOPIC = 'orders'

export async function startBroker(t: ExecutionContext, partitions = 1, topics = [TOPIC]): Promise<EmbeddedBroker> {
  const broker = await EmbeddedBroker.start()
  t.teardown(() => broker.close())
  for (const topic of topics) broker.createTopic(topic, partitions)
  return broker
}

/** Appends `count` records with the values `<prefix>0`, `<prefix>1`…, ten in a batch. */
export function produce(broker: EmbeddedBroker, count: number, prefix = 'v', partition = 0, topic = TOPIC): void {
  for (let at = 0; at < count; at += 10) {
    const records = Array.from({ length: Math.min(10, count - at) }, (_, i) => ({
      key: Buffer.from(`k${at + i}`),
      value: Buffer.from(`${prefix}${at + i}`),
    }))
    broker.append(topic, partition, records)
  }
}

/** A table as the source sees it: commits are checked against the fence, as the engine does. */
export class FakeTable {
  offsets = new Map<number, bigint>()
  values: string[] = []
  commits = 0

  stored = async (): Promise<StoredOffsets> => ({ exists: this.commits > 0, last: new Map(this.offsets) })

  /** Throws where a range does not continue what is stored. */
  commit(batch: MicroBatch): void {
    const partitions = new Set<number>()
    for (const { partition, firstOffset, lastOffset, messages } of batch.ranges) {
      if (partitions.has(partition)) throw new Error(`partition ${partition} twice in one batch`)
      partitions.add(partition)
      const stored = this.offsets.get(partition)
      if (stored !== undefined && stored !== firstOffset - 1n) {
        throw new Error(`fence: partition ${partition} holds ${stored}, the batch begins at ${firstOffset}`)
      }
      let before = firstOffset - 1n
      for (const { offset } of messages) {
        if (BigInt(offset) <= before || BigInt(offset) > lastOffset) throw new Error(`offset ${offset} out of order`)
        before = BigInt(offset)
      }
    }
    for (const { partition, lastOffset, messages } of batch.ranges) {
      this.offsets.set(partition, lastOffset)
      for (const { value } of messages) this.values.push(value?.toString() ?? 'null')
    }
    this.commits++
  }
}

export const LIMITS = { maxBatchMessages: 10_000, maxBatchBytes: 16 << 20, maxQueueBytes: 64 << 20 }

export function optionsFor(broker: EmbeddedBroker, options: Partial<SourceOptions> = {}): SourceOptions {
  const kafka: KafkaConfig = { brokers: broker.brokers, retry: { initialRetryTime: 50, maxRetryTime: 500, retries: 3 } }
  return {
    queryName: 'test',
    kafka,
    consumer: {},
    workers: 'single',
    topics: [TOPIC],
    startingOffsets: 'earliest',
    failOnDataLoss: true,
    trigger: { processingTime: 0, maxDelay: 0 },
    limits: LIMITS,
    ...options,
  }
}

export function makeSource(
  t: ExecutionContext,
  broker: EmbeddedBroker,
  options: Partial<SourceOptions> = {},
  stored: (topic: string) => Promise<StoredOffsets> = async () => ({ exists: false, last: new Map() }),
): KafkaSource {
  const source = new KafkaSource(optionsFor(broker, options), stored)
  t.teardown(() => source.stop())
  return source
}

/** Applies batches to the table until it is at the end, or `until` holds. */
export async function drain(
  source: KafkaSource,
  table: FakeTable,
  until: () => boolean = () => false,
  topic = TOPIC,
): Promise<MicroBatch[]> {
  const batches: MicroBatch[] = []
  while (!until()) {
    const batch = await source.next(topic)
    if (!batch) break
    table.commit(batch)
    source.committed(batch)
    batches.push(batch)
  }
  return batches
}

export const numbers = (prefix: string, from: number, to: number): string[] =>
  Array.from({ length: to - from }, (_, i) => `${prefix}${from + i}`)

export async function eventually(condition: () => boolean, ms = 10_000): Promise<void> {
  const deadline = Date.now() + ms
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`not within ${ms} ms`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

export const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))
