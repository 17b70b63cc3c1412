/** What the tests of the embedded systems share. */

import { randomBytes } from 'node:crypto'
import { createRequire } from 'node:module'
import type { ExecutionContext } from 'ava'
import avro from 'avsc'
import kafkajs, {
  type Admin,
  type Consumer,
  type Kafka as KafkaClient,
  type KafkaMessage,
  type Producer,
} from 'kafkajs'
import { EmbeddedBroker, type EmbeddedBrokerOptions } from '../../src/demo/broker/index.js'
import { bigLong } from '../helpers/avsc-long.js'

const require = createRequire(import.meta.url)
const { Kafka, logLevel, CompressionCodecs, CompressionTypes } = kafkajs

export function client(broker: EmbeddedBroker, options: object = {}): KafkaClient {
  return new Kafka({
    clientId: 'test',
    brokers: broker.brokers,
    logLevel: logLevel.NOTHING,
    retry: { initialRetryTime: 50, retries: 8 },
    ...options,
  })
}

/** A broker that is closed when the test ends. */
export async function startBroker(t: ExecutionContext, options?: EmbeddedBrokerOptions): Promise<EmbeddedBroker> {
  const broker = await EmbeddedBroker.start(options)
  t.teardown(() => broker.close())
  return broker
}

export async function admin(t: ExecutionContext, broker: EmbeddedBroker): Promise<Admin> {
  const made = client(broker).admin()
  await made.connect()
  t.teardown(() => made.disconnect())
  return made
}

export async function producer(t: ExecutionContext, broker: EmbeddedBroker, options: object = {}): Promise<Producer> {
  const made = client(broker).producer(options)
  await made.connect()
  t.teardown(() => made.disconnect())
  return made
}

export const unique = (prefix: string) => `${prefix}-${randomBytes(4).toString('hex')}`

/** Registers the codecs that kafkajs does not bring. Done once for a process. */
export function registerCodecs(): void {
  const snappy = require('snappy') as typeof import('snappy')
  const lz4 = require('lz4-napi') as typeof import('lz4-napi')
  const Zstd = require('@toondepauw/node-zstd') as typeof import('@toondepauw/node-zstd')
  const encoder = new Zstd.Encoder(3)
  const decoder = new Zstd.Decoder()
  CompressionCodecs[CompressionTypes.Snappy] = () => ({
    compress: ({ buffer }: { buffer: Buffer }) => snappy.compress(buffer),
    decompress: (buffer: Buffer) => snappy.uncompress(buffer, { asBuffer: true }) as Promise<Buffer>,
  })
  CompressionCodecs[CompressionTypes.LZ4] = () => ({
    compress: ({ buffer }: { buffer: Buffer }) => lz4.compressFrame(buffer),
    decompress: (buffer: Buffer) => lz4.decompressFrame(buffer),
  })
  CompressionCodecs[CompressionTypes.ZSTD] = () => ({
    compress: ({ buffer }: { buffer: Buffer }) => encoder.encode(buffer),
    decompress: (buffer: Buffer) => decoder.decode(buffer),
  })
}

export interface Received {
  topic: string
  partition: number
  message: KafkaMessage
}

/** Waits until `condition` holds; rejects after `ms`. */
export async function until(condition: () => boolean | Promise<boolean>, ms = 15_000, what = 'condition') {
  const deadline = Date.now() + ms
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`${what}: not within ${ms} ms`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

/** Reads a topic from the start until `count` messages came. */
export async function consume(kafka: KafkaClient, topics: string[], count: number, ms?: number): Promise<Received[]> {
  const consumer: Consumer = kafka.consumer({ groupId: unique('group'), maxWaitTimeInMs: 100 })
  const received: Received[] = []
  await consumer.connect()
  try {
    await consumer.subscribe({ topics, fromBeginning: true })
    await consumer.run({
      eachBatch: async ({ batch }) => {
        for (const message of batch.messages) {
          received.push({ topic: batch.topic, partition: batch.partition, message })
        }
      },
    })
    await until(() => received.length >= count, ms, `${count} messages of ${topics.join(', ')}`)
  } finally {
    await consumer.disconnect()
  }
  return received
}

/** Decodes messages in Confluent's format by schemas that are asked for once each, straight with avsc. */
export class AvroReader {
  readonly #types = new Map<number, avro.Type>()
  readonly #url: string

  constructor(registryUrl: string) {
    this.#url = registryUrl
  }

  async decode(bytes: Buffer): Promise<{ id: number; value: Record<string, unknown> }> {
    const id = bytes.readInt32BE(1)
    let type = this.#types.get(id)
    if (!type) {
      const answer = (await (await fetch(`${this.#url}/schemas/ids/${id}`)).json()) as { schema: string }
      type = avro.Type.forSchema(JSON.parse(answer.schema), {
        // A registry of types alone would miss longs that are written as objects.
        typeHook: (schema) => {
          const name = typeof schema === 'string' ? schema : (schema as { type?: unknown }).type
          return name === 'long' ? bigLong : undefined
        },
      })
      this.#types.set(id, type)
    }
    return { id, value: type.fromBuffer(bytes.subarray(5)) }
  }
}
