/** Dead letters in a topic of Apache Kafka: each once, whatever happens between the transaction and the commit. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import type { KafkaMessage } from 'kafkajs'
import type { DeadLetter } from '../../src/dead-letter/dead-letter.js'
import { KafkaDeadLetters } from '../../src/dead-letter/kafka-sink.js'
import { EmbeddedRegistry } from '../../src/demo/registry.js'
import { KafkaToDeltaError, type StreamOptions } from '../../src/index.js'
import { fixKafkajs } from '../../src/kafka/kafkajs-fixes.js'
import { silentLogger } from '../../src/log.js'
import { resolveOptions } from '../../src/options/resolve.js'
import { realSystems } from '../../src/stream/connect.js'
import type { StreamTable, Systems } from '../../src/stream/dependencies.js'
import { startQuery } from '../../src/stream/start.js'
import { readRows } from '../helpers/read.js'
import { badMessage, goodMessage, registerSchemas, type TestMessage } from './support/bad-records.js'
import { startChild } from './support/children.js'
import { kafkaJars, NO_KAFKA, RealKafka } from './support/real-kafka.js'

const folder = mkdtempSync(join(tmpdir(), 'kafka2delta-dead-letter-'))
const jars = kafkaJars()
const run = jars ? test.serial : test.serial.skip
const reason = jars ? '' : ` (${NO_KAFKA})`

let kafka: RealKafka
let registry: EmbeddedRegistry

test.before(async (t) => {
  if (!jars) return
  t.timeout(120_000)
  fixKafkajs()
  kafka = await RealKafka.start(jars, join(folder, 'kafka'))
  registry = await EmbeddedRegistry.start()
  registerSchemas(registry)
})

test.after.always(async () => {
  await kafka?.stop()
  await registry?.close()
  rmSync(folder, { recursive: true, force: true })
})

async function produce(topic: string, partition: number, messages: readonly TestMessage[]): Promise<void> {
  const producer = kafka.client.producer()
  await producer.connect()
  const sent = messages.map(({ bad: _, timestamp, ...message }) => ({
    ...message,
    partition,
    timestamp: String(timestamp),
  }))
  await producer.send({ topic, messages: sent })
  await producer.disconnect()
}

const endOf = async (topic: string): Promise<{ partition: number; high: bigint }[]> => {
  const admin = kafka.client.admin()
  await admin.connect()
  const offsets = await admin.fetchTopicOffsets(topic)
  await admin.disconnect()
  return offsets.map(({ partition, high }) => ({ partition, high: BigInt(high) }))
}

/** All committed messages of a topic, up to its end. */
async function readCommitted(topic: string): Promise<KafkaMessage[]> {
  // The last message is a marker of our own: control records after messages are not delivered.
  const marker = `marker ${Math.random()}`
  const producer = kafka.client.producer()
  await producer.connect()
  const ends = await endOf(topic)
  for (const { partition } of ends) {
    await producer.send({ topic, messages: [{ partition, key: 'marker', value: marker }] })
  }
  await producer.disconnect()
  const consumer = kafka.client.consumer({ groupId: `reader-${Math.random()}`, readUncommitted: false })
  await consumer.connect()
  await consumer.subscribe({ topics: [topic], fromBeginning: true })
  const found: KafkaMessage[] = []
  let left = ends.length
  await new Promise<void>((resolve) => {
    void consumer.run({
      eachMessage: async ({ message }) => {
        if (String(message.value) === marker && --left === 0) resolve()
        if (String(message.key) !== 'marker') found.push(message)
      },
    })
  })
  await consumer.disconnect()
  return found
}

const header = ({ headers }: KafkaMessage, name: string): string => String(headers?.[name])
const positionOf = (message: KafkaMessage): string =>
  ['topic', 'partition', 'offset'].map((part) => header(message, `kafka2delta.${part}`)).join('/')

type Sent = Map<string, TestMessage>

function checkLetters(t: ExecutionContext, letters: readonly KafkaMessage[], sent: Sent, queryName: string): void {
  const bad = [...sent].filter(([, message]) => message.bad !== null)
  t.deepEqual(letters.map(positionOf).sort(), bad.map(([position]) => position).sort())
  for (const letter of letters) {
    const message = sent.get(positionOf(letter)) as TestMessage
    t.deepEqual([letter.key, letter.value], [message.key, message.value])
    for (const [name, value] of Object.entries(message.headers)) t.deepEqual(letter.headers?.[name], value)
    t.regex(header(letter, 'kafka2delta.reason'), message.bad as RegExp)
    t.is(header(letter, 'kafka2delta.code'), 'BAD_RECORD')
    t.is(header(letter, 'kafka2delta.timestamp'), String(message.timestamp))
    t.is(header(letter, 'kafka2delta.query'), queryName)
  }
}

async function tableRows(path: string): Promise<Record<number, string>> {
  return Object.fromEntries((await readRows(path)).map((row) => [row.id, row.v]))
}

/** Fills two topics with good and bad messages; all start at offset 0. */
async function fill(topics: readonly string[], count: number): Promise<Sent> {
  const sent: Sent = new Map()
  for (const [t, topic] of topics.entries()) {
    await kafka.createTopic(topic, 2)
    for (const partition of [0, 1]) {
      const messages = Array.from({ length: count }, (_, i) =>
        i % 3 === 1 ? badMessage(i + 100 * t) : goodMessage(2 * i + partition, `${i}`),
      )
      await produce(topic, partition, messages)
      for (const [offset, message] of messages.entries()) sent.set(`${topic}/${partition}/${offset}`, message)
    }
  }
  return sent
}

function options(queryName: string, topics: readonly string[], deadLetter: string): StreamOptions {
  return {
    queryName,
    kafka: { brokers: kafka.brokers },
    schemaRegistry: { url: registry.url, unknownSchemaTimeout: 0 },
    tables: Object.fromEntries(topics.map((topic) => [topic, { path: join(folder, queryName, topic) }])),
    onBadRecord: 'dead-letter',
    deadLetter: { topic: deadLetter },
    limits: { maxBatchMessages: 7 },
    trigger: { availableNow: true },
  }
}

/** Runs a query whose tables go through `wrap`. */
function start(given: StreamOptions, wrap: (table: StreamTable) => StreamTable = (table) => table) {
  const resolved = resolveOptions(given)
  const systems = realSystems(resolved, silentLogger)
  const wrapped: Systems = { ...systems, table: async (table) => wrap(await systems.table(table)) }
  return startQuery({ options: resolved, systems: wrapped, logger: silentLogger })
}

/** A table whose first merges fail, after `fails` successes, in a way that ends it. */
function failing(table: StreamTable, after: number): StreamTable {
  let merges = 0
  return {
    uri: table.uri,
    info: () => table.info(),
    refresh: () => table.refresh(),
    close: () => table.close(),
    merge: async (changes, mergeOptions) => {
      if (merges++ >= after) throw new KafkaToDeltaError('INTERNAL', 'crashed before the commit')
      return table.merge(changes, mergeOptions)
    },
  }
}

run(`two tables share a topic; a crash between transaction and commit repeats no letter${reason}`, async (t) => {
  t.timeout(120_000)
  const topics = ['crash.a', 'crash.b']
  const sent = await fill(topics, 40)
  await kafka.createTopic('crash.dead', 3)
  const given = options('crash', topics, 'crash.dead')
  for (const after of [0, 1, 2]) {
    const query = await start(given, (table) => failing(table, after))
    const error = await t.throwsAsync(query.awaitTermination(), { instanceOf: KafkaToDeltaError })
    t.is(error?.message, 'crashed before the commit')
  }
  const query = await start(given)
  const progress: [number, string | null][] = []
  query.on('progress', (p) => progress.push([p.numBadRecords, p.deadLetter]))
  await query.awaitTermination()
  t.true(progress.every(([bad, place]) => (bad > 0 ? place === 'topic crash.dead' : place === null)))
  t.true(progress.some(([bad]) => bad > 0))
  checkLetters(t, await readCommitted('crash.dead'), sent, 'crash')
  for (const topic of topics) {
    const rows = await tableRows(join(folder, 'crash', topic))
    const good = [...sent].filter(([position, { bad }]) => position.startsWith(topic) && bad === null)
    t.is(Object.keys(rows).length, good.length)
  }
})

run(`kill -9 at random moments: one letter for each bad record${reason}`, async (t) => {
  t.timeout(120_000)
  const topics = ['killed.a']
  const sent = await fill(topics, 400)
  await kafka.createTopic('killed.dead', 2)
  const given = { ...options('killed', topics, 'killed.dead'), limits: { maxBatchMessages: 20 } }
  const running = { ...given, trigger: { processingTime: '10 ms' } }
  for (let kill = 0; kill < 3; kill++) {
    const child = startChild('stream-child.ts', [JSON.stringify(running)])
    await child.printed('committed')
    await new Promise((resolve) => setTimeout(resolve, Math.random() * 60))
    child.process.kill('SIGKILL')
    await child.exit
  }
  await (await start(given)).awaitTermination()
  checkLetters(t, await readCommitted('killed.dead'), sent, 'killed')
})

run(`a second process of the same query fences the first; no letter is doubled${reason}`, async (t) => {
  t.timeout(120_000)
  const topics = ['fence.a']
  const sent = await fill(topics, 60)
  await kafka.createTopic('fence.dead', 1)
  const given = options('fence', topics, 'fence.dead')
  const queries = await Promise.all([start(given), start(given)])
  const ends = await Promise.allSettled(queries.map((query) => query.awaitTermination()))
  for (const end of ends) if (end.status === 'rejected') t.is((end.reason as KafkaToDeltaError).code, 'FENCED')
  await (await start(given)).awaitTermination()
  checkLetters(t, await readCommitted('fence.dead'), sent, 'fence')
})

run(`a process that was fenced says so, and writes nothing twice when it goes on${reason}`, async (t) => {
  t.timeout(60_000)
  await kafka.createTopic('zombie.a', 1)
  await kafka.createTopic('zombie.dead', 1)
  const messages = Array.from({ length: 6 }, (_, n) => badMessage(n))
  await produce('zombie.a', 0, messages)
  const sink = () =>
    new KafkaDeadLetters({
      kafka: { brokers: kafka.brokers },
      queryName: 'zombie',
      topic: 'zombie.dead',
      logger: silentLogger,
    })
  const letter = (offset: number): DeadLetter => {
    const { key, value, timestamp } = messages[offset] as TestMessage
    return {
      topic: 'zombie.a',
      partition: 0,
      offset: String(offset),
      timestamp: String(timestamp),
      key,
      value,
      headers: [],
      reason: 'bad',
      code: 'BAD_RECORD',
      queryName: 'zombie',
      keySchemaId: null,
      valueSchemaId: null,
    }
  }
  const [old, fresh] = [sink(), sink()]
  await old.write([letter(0), letter(1)])
  await fresh.write([letter(0), letter(1), letter(2)])
  const error = await t.throwsAsync(old.write([letter(2), letter(3)]), { instanceOf: KafkaToDeltaError })
  t.is(error?.code, 'FENCED')
  // What it knew is forgotten: it asks again, and fences the other one.
  await old.write([letter(2), letter(3)])
  t.is((await t.throwsAsync(fresh.write([letter(3)]), { instanceOf: KafkaToDeltaError }))?.code, 'FENCED')
  await fresh.write([letter(3), letter(4)])
  await fresh.write([letter(4), letter(5)])
  await old.close()
  await fresh.close()
  const offsets = (await readCommitted('zombie.dead')).map((message) => header(message, 'kafka2delta.offset'))
  t.deepEqual(offsets, ['0', '1', '2', '3', '4', '5'])
})

run(`a topic that does not exist is told of at the start${reason}`, async (t) => {
  t.timeout(60_000)
  await fill(['missing.a'], 1)
  const error = await t.throwsAsync(start(options('missing', ['missing.a'], 'missing.dead')), {
    instanceOf: KafkaToDeltaError,
  })
  t.is(error?.code, 'TOPIC_NOT_FOUND')
  t.regex(error?.message ?? '', /missing\.dead.*create it/)
})

run(`large records go through, and one that is too large is named${reason}`, async (t) => {
  t.timeout(60_000)
  await kafka.createTopic('large.a', 1)
  await kafka.createTopic('large.dead', 1)
  const large = { ...badMessage(2), value: Buffer.concat([Buffer.from([0x80]), Buffer.alloc(900_000, 'x')]) }
  await produce('large.a', 0, [large])
  await produce('large.a', 0, [large])
  await (await start(options('large', ['large.a'], 'large.dead'))).awaitTermination()
  const letters = await readCommitted('large.dead')
  t.deepEqual(
    letters.map(({ value }) => value?.length),
    [900_001, 900_001],
  )

  const admin = kafka.client.admin()
  await admin.connect()
  await admin.alterConfigs({
    validateOnly: false,
    resources: [{ type: 2, name: 'large.dead', configEntries: [{ name: 'max.message.bytes', value: '500' }] }],
  })
  await admin.disconnect()
  await produce('large.a', 0, [goodMessage(1, 'a'), large])
  const query = await start(options('large', ['large.a'], 'large.dead'))
  const error = await t.throwsAsync(query.awaitTermination(), { instanceOf: KafkaToDeltaError })
  t.is(error?.code, 'BAD_RECORD')
  t.regex(error?.message ?? '', /offset 3 of large\.a\/0 is too large.*max\.message\.bytes/)
  t.like(error?.position, { topic: 'large.a', partition: 0, offset: '3' })
})
