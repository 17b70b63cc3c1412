/**
 * Consuming alone, of one topic with one partition: CPU seconds for a million messages, of kafkajs that reads and drops them,
 * of the source that hands over micro-batches and drops them, and of the source with the decoder behind it.
 *
 *   npx tsx benchmark/consume.ts [messages] [rounds]
 *
 * The broker is a process of its own. All three run in this process, one after another; the best round of each counts.
 */

import { fork } from 'node:child_process'
import { once } from 'node:events'
import avsc from 'avsc'
import kafkajs, { type Kafka, type KafkaConfig } from 'kafkajs'
import { TableDecoder } from '../src/debezium/decoder.js'
import { EmbeddedBroker } from '../src/demo/broker/index.js'
import { KafkaSource } from '../src/kafka/source.js'

const MESSAGES = Number(process.argv[2] ?? 500_000)
const ROUNDS = Number(process.argv[3] ?? 5)
const IS_BROKER = process.argv[4] === 'broker'

/** Records of a batch: some 70 KB. */
const BATCH = 500
const TOPIC = 'consume'

const nullable = (type: unknown) => ['null', type]
const KEY = { type: 'record', name: 'Key', fields: [{ name: 'id', type: 'long' }] }
const VALUE = {
  type: 'record',
  name: 'Value',
  fields: [
    { name: 'id', type: 'long' },
    { name: 'name', type: 'string' },
    { name: 'email', type: nullable('string') },
    { name: 'note', type: nullable('string') },
    { name: 'quantity', type: nullable('int') },
    { name: 'created', type: nullable({ type: 'long', 'connect.name': 'io.debezium.time.MicroTimestamp' }) },
    { name: '__deleted', type: nullable('string') },
    { name: '__timestamp', type: nullable('long') },
    { name: '__log_sequence_number', type: nullable('long') },
  ],
}
const SCHEMAS = new Map<number, unknown>([
  [1, KEY],
  [2, VALUE],
])

/** The broker's process. */
async function serve(): Promise<void> {
  const keyType = avsc.Type.forSchema(KEY as never)
  const valueType = avsc.Type.forSchema(VALUE as never)
  const encode = (id: number, type: avsc.Type, value: unknown) =>
    Buffer.concat([Buffer.from([0, 0, 0, 0, id]), type.toBuffer(value)])
  const recordOf = (id: number) => ({
    key: encode(1, keyType, { id }),
    value: encode(2, valueType, {
      id,
      name: `Customer ${id}`,
      email: `customer${id}@example.com`,
      note: id % 2 === 0 ? null : 'a note of about forty characters, mostly',
      quantity: id % 100,
      created: 1_709_212_455_123_456 + id,
      __deleted: 'false',
      __timestamp: 1_795_424_574_300 + id,
      __log_sequence_number: 22_503_360 + id * 8,
    }),
  })
  const broker = await EmbeddedBroker.start()
  broker.createTopic(TOPIC, 1)
  for (let at = 0; at < MESSAGES; at += BATCH) {
    broker.append(
      TOPIC,
      0,
      Array.from({ length: Math.min(BATCH, MESSAGES - at) }, (_, i) => recordOf(at + i)),
    )
  }
  process.send?.(broker.brokers)
  process.once('disconnect', () => process.exit())
}

/** Reads all and drops it, in as few lines as kafkajs lets one. */
async function dropByKafkajs(kafka: Kafka, round: number): Promise<void> {
  const consumer = kafka.consumer({ groupId: `drop-${round}` })
  await consumer.connect()
  await consumer.subscribe({ topic: TOPIC, fromBeginning: true })
  let left = MESSAGES
  await new Promise<void>((resolve) => {
    void consumer.run({
      autoCommit: false,
      eachBatch: async ({ batch }) => {
        left -= batch.messages.length
        if (left <= 0) resolve()
      },
    })
  })
  await consumer.disconnect()
}

/** Gives the bytes that the messages were decoded to. */
async function readBySource(kafka: KafkaConfig, decoder: TableDecoder | null): Promise<number> {
  const source = new KafkaSource(
    {
      queryName: 'consume',
      kafka,
      consumer: {},
      workers: 'single',
      topics: [TOPIC],
      startingOffsets: 'earliest',
      failOnDataLoss: true,
      trigger: { availableNow: true },
      limits: { maxBatchMessages: 100_000, maxBatchBytes: 64 << 20, maxQueueBytes: 128 << 20 },
    },
    async () => ({ exists: false, last: new Map() }),
  )
  await source.start()
  let bytes = 0
  for (;;) {
    const batch = await source.next(TOPIC)
    if (batch === null) break
    const decoded = decoder && (await decoder.decode(batch))
    const size = decoded?.ipc?.byteLength ?? 0
    bytes += size
    source.decoded(batch, size)
    source.committed(batch)
  }
  await source.stop()
  return bytes
}

async function measure(run: (round: number) => Promise<unknown>): Promise<number> {
  let best = Number.POSITIVE_INFINITY
  for (let round = 0; round < ROUNDS; round++) {
    const before = process.cpuUsage()
    await run(round)
    const { user, system } = process.cpuUsage(before)
    best = Math.min(best, (user + system) / MESSAGES)
  }
  return best
}

async function compare(): Promise<void> {
  const child = fork(new URL(import.meta.url), [String(MESSAGES), String(ROUNDS), 'broker'])
  const [brokers] = (await once(child, 'message')) as [string[]]
  const kafka = new kafkajs.Kafka({ brokers, logLevel: kafkajs.logLevel.NOTHING })
  const schemas = { get: async (id: number) => SCHEMAS.get(id) as never }
  let bytes = 0
  const theirs = await measure((round) => dropByKafkajs(kafka, round))
  const dropped = await measure(() => readBySource({ brokers }, null))
  const decoded = await measure(async () => {
    bytes = await readBySource({ brokers }, new TableDecoder({ topic: TOPIC }, schemas))
  })
  console.log(`${MESSAGES.toLocaleString('en')} messages, ${bytes.toLocaleString('en')} bytes of Arrow IPC`)
  for (const [name, seconds] of [
    ['kafkajs, dropped', theirs],
    ['source, dropped', dropped],
    ['source, decoded', decoded],
  ] as const) {
    const ratio = (seconds / theirs).toFixed(2)
    console.log(`  ${name.padEnd(20)} ${seconds.toFixed(2)} CPU s a million messages   ${ratio} of kafkajs`)
  }
  child.disconnect()
}

await (IS_BROKER ? serve() : compare())
