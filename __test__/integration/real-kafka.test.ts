/** Captured topics on a real broker: all codecs, transactions, control records. */

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { tableFromIPC } from 'apache-arrow'
import test, { type ExecutionContext } from 'ava'
import { CompressionTypes } from 'kafkajs'
import { DeltaTable, readTable, streamToDelta } from '../../src/index.js'
import { registerCodecs } from '../../src/kafka/codecs.js'
import { closeAll, needs, serve } from './support/captured-sets.js'
import { NO_ORACLE, Oracle, oraclePython } from './support/oracle.js'
import { capturedMessages, kafkaJars, NO_KAFKA, RealKafka } from './support/real-kafka.js'

const QUERY_NAME = 'real'
const folder = mkdtempSync(join(tmpdir(), 'kafka2delta-real-'))
const jars = kafkaJars()
const python = oraclePython()
const run = jars && python ? test.serial : test.serial.skip
const reason = jars ? (python ? '' : ` (${NO_ORACLE})`) : ` (${NO_KAFKA})`

let kafka: RealKafka
let oracle: Oracle

test.before(async (t) => {
  if (!jars || !python) return
  // For the producer here; the stream's own client does it by itself.
  registerCodecs()
  t.timeout(120_000)
  kafka = await RealKafka.start(jars, join(folder, 'kafka'))
  oracle = new Oracle(python)
})

test.after.always(async () => {
  await oracle?.close()
  await kafka?.stop()
  await closeAll()
  rmSync(folder, { recursive: true, force: true })
})

async function replayAndCheck(t: ExecutionContext, set: string, topic: string): Promise<void> {
  const { dir, registry } = await serve(set)
  const path = join(folder, 'tables', topic)
  const query = await streamToDelta({
    queryName: QUERY_NAME,
    kafka: { brokers: kafka.brokers },
    schemaRegistry: { url: registry.url },
    tables: { [topic]: { path, ...needs(topic).table } },
    trigger: { availableNow: true },
  })
  await query.awaitTermination()
  const job = { set: dir, topic, table: path, query_name: QUERY_NAME, source_rows: true, ...needs(topic).job }
  t.deepEqual(await oracle.differences(job), [])
}

const TOPICS = [
  ['flat', 'postgres.public.users', CompressionTypes.None],
  ['flat', 'flat.public.all_types', CompressionTypes.GZIP],
  ['hard', 'hard.public.pkt', CompressionTypes.Snappy],
  ['hard', 'hard.public.arr', CompressionTypes.LZ4],
  ['hard-env', 'henv.public.openx', CompressionTypes.ZSTD],
  ['mariadb-envelope', 'myenv.shop.users', CompressionTypes.None],
] as const

for (const [set, topic, compression] of TOPICS) {
  run(`${set}: ${topic}, codec ${compression}${reason}`, async (t) => {
    t.timeout(60_000)
    await kafka.produceCaptured((await serve(set)).dir, topic, compression)
    await replayAndCheck(t, set, topic)
  })
}

run(`transactions: aborted messages stay out, and control records do not keep a query waiting${reason}`, async (t) => {
  t.timeout(60_000)
  const [set, topic] = ['flat', 'inc.public.inc'] as const
  const { dir } = await serve(set)
  const messages = capturedMessages(dir, topic)
  await kafka.createTopic(topic, 1)
  const producer = kafka.client.producer({ transactionalId: 'test', idempotent: true, maxInFlightRequests: 1 })
  await producer.connect()
  for (let i = 0; i < messages.length; i += 4) {
    const aborted = await producer.transaction()
    await aborted.send({ topic, messages: messages.slice(0, 3) })
    await aborted.abort()
    const committed = await producer.transaction()
    await committed.send({ topic, messages: messages.slice(i, i + 4) })
    await committed.commit()
  }
  await producer.disconnect()
  await replayAndCheck(t, set, topic)
})

run(`a compacted topic: batches that are empty or have gaps keep nothing waiting${reason}`, async (t) => {
  t.timeout(120_000)
  const [set, topic] = ['flat', 'postgres.public.users'] as const
  // By the captured timestamps, no segment would ever be closed.
  const closing = { 'segment.ms': '100', 'message.timestamp.type': 'LogAppendTime' }
  const compacted = { 'cleanup.policy': 'compact', 'min.cleanable.dirty.ratio': '0.001', ...closing }
  await kafka.client.admin().deleteTopics({ topics: [topic] })
  await sleep(1000)
  const { dir } = await serve(set)
  const messages = capturedMessages(dir, topic)
  await kafka.createTopic(topic, 1, { ...compacted, 'delete.retention.ms': '0', 'max.compaction.lag.ms': '100' })
  // A producer with an id: compaction leaves its last batch as an empty one.
  for (let round = 0; round < 3; round++) {
    const producer = kafka.client.producer({ idempotent: true, maxInFlightRequests: 1 })
    await producer.connect()
    for (const message of messages) {
      await producer.send({ topic, messages: [{ ...message, partition: 0 }] })
    }
    await producer.disconnect()
    await sleep(300)
  }
  const admin = kafka.client.admin()
  await admin.connect()
  const [{ high = '0' } = {}] = await admin.fetchTopicOffsets(topic)
  t.is(Number(high), messages.length * 3)
  const { registry } = await serve(set)
  const replay = async (path: string) => {
    const query = await streamToDelta({
      queryName: QUERY_NAME,
      kafka: { brokers: kafka.brokers },
      schemaRegistry: { url: registry.url },
      tables: { [topic]: { path, ...needs(topic).table } },
      trigger: { availableNow: true },
    })
    let read = 0
    query.on('progress', ({ numInputRows }) => {
      read += numInputRows
    })
    await query.awaitTermination()
    return read
  }
  const before = join(folder, 'tables', 'before')
  await replay(before)
  // Columns that only messages had which were compacted away are in the table before alone.
  const columns = 'id, name, email, created_at, phone_number, __log_sequence_number'
  // Segments are closed by a later message; these are the topic's last ones again, so that the rows stay.
  let read = messages.length * 3
  for (let tries = 0; tries < 60 && read > messages.length * 2; tries++) {
    const producer = kafka.client.producer({ idempotent: true, maxInFlightRequests: 1 })
    await producer.connect()
    await producer.send({ topic, messages: messages.slice(-1).map((message) => ({ ...message, partition: 0 })) })
    await producer.disconnect()
    await sleep(500)
    read = await replay(join(folder, 'tables', `compacted-${tries}`))
    const rows = async (path: string) =>
      tableFromIPC(await readTable(path, { sql: `SELECT ${columns} FROM t ORDER BY 1` }))
        .toArray()
        .map(String)
    t.deepEqual(await rows(join(folder, 'tables', `compacted-${tries}`)), await rows(before))
  }
  t.true(read <= messages.length * 2, `compaction took nothing: ${read} of ${high}`)
  t.log(`${read} of ${high} messages are left`)
  await admin.disconnect()
})

run(`retention that overtook the stored offset${reason}`, async (t) => {
  t.timeout(60_000)
  const [set, topic] = ['flat', 'flat.public.all_types'] as const
  const { registry } = await serve(set)
  const path = join(folder, 'tables', 'overtaken')
  const start = (failOnDataLoss: boolean) =>
    streamToDelta({
      queryName: 'overtaken',
      kafka: { brokers: kafka.brokers },
      schemaRegistry: { url: registry.url },
      tables: { [topic]: { path, ...needs(topic).table } },
      trigger: { availableNow: true },
      limits: { maxBatchMessages: 1 },
      failOnDataLoss,
    })
  const first = await start(true)
  // Of the first batch alone is known that it is in the table.
  await new Promise((resolve) => first.once('progress', resolve))
  await first.stop()
  const table = await DeltaTable.open({ path })
  const stored = (await table.offsets()).get(`overtaken:${topic}:0`) ?? 0n
  const admin = kafka.client.admin()
  await admin.connect()
  const [{ high = '0' } = {}] = await admin.fetchTopicOffsets(topic)
  const low = Number(high) - 1
  t.true(Number(stored) + 1 < low, `${stored}, ${high}`)
  await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: String(low) }] })
  const error = await t.throwsAsync(start(true), { code: 'DATA_LOSS' })
  t.regex(error.message, new RegExp(`offsets ${stored + 1n} to ${low - 1}`))
  await (await start(false)).awaitTermination()
  const offsets = await table.offsets()
  t.is(offsets.get(`overtaken:${topic}:0`), BigInt(high) - 1n)
  t.is(offsets.get(`overtaken:${topic}:0:lost`), BigInt(low))
  await table.close()
  await admin.disconnect()
})

run(`a start after the last batch of a Spark job${reason}`, async (t) => {
  t.timeout(60_000)
  const [set, topic] = ['hard', 'hard.public.pkt'] as const
  const { registry, dir } = await serve(set)
  const messages = capturedMessages(dir, topic)
  const checkpoint = join(folder, 'checkpoint')
  for (const name of ['offsets', 'commits']) mkdirSync(join(checkpoint, name), { recursive: true })
  writeFileSync(join(checkpoint, 'commits', '3'), 'v1\n{}')
  writeFileSync(join(checkpoint, 'offsets', '3'), `v1\n{}\n${JSON.stringify({ [topic]: { 0: messages.length - 2 } })}`)
  const start = async (sparkCheckpoint: string) => {
    const query = await streamToDelta({
      queryName: 'taken-over',
      kafka: { brokers: kafka.brokers },
      schemaRegistry: { url: registry.url },
      tables: { [topic]: { path: join(folder, 'tables', 'taken-over'), ...needs(topic).table } },
      trigger: { availableNow: true },
      startingOffsets: { sparkCheckpoint },
    })
    await query.awaitTermination()
    return query.recentProgress.reduce((sum, { numInputRows }) => sum + numInputRows, 0)
  }
  t.is(await start(checkpoint), 2)
  // The table's own offsets count from now on.
  t.is(await start(checkpoint), 0)
  writeFileSync(join(checkpoint, 'offsets', '3'), 'v1\n{}\n{"another":{"0":1}}')
  await t.throwsAsync(start(checkpoint), { code: 'CONFIG_INVALID', message: /knows no topic hard\.public\.pkt/ })
})

run(`a topic that is deleted and made anew${reason}`, async (t) => {
  t.timeout(90_000)
  const [set, topic] = ['hard', 'hard.public.arr'] as const
  const { registry, dir } = await serve(set)
  const path = join(folder, 'tables', 'made-anew')
  const start = (failOnDataLoss: boolean) =>
    streamToDelta({
      queryName: 'made-anew',
      kafka: { brokers: kafka.brokers },
      schemaRegistry: { url: registry.url },
      tables: { [topic]: { path, ...needs(topic).table } },
      trigger: { availableNow: true },
      failOnDataLoss,
    })
  await (await start(true)).awaitTermination()
  const admin = kafka.client.admin()
  await admin.connect()
  const messages = capturedMessages(dir, topic)
  const anew = async (count: number, later: number) => {
    await admin.deleteTopics({ topics: [topic] })
    await sleep(1000)
    await kafka.createTopic(topic, 1)
    const producer = kafka.client.producer()
    await producer.connect()
    const some = messages.slice(0, count).map((m) => ({ ...m, timestamp: String(Number(m.timestamp) + later) }))
    await producer.send({ topic, messages: some })
    await producer.disconnect()
  }
  // As long as it was: only the last message's time tells.
  await anew(messages.length, 1000)
  const error = await t.throwsAsync(start(true), { code: 'DATA_LOSS' })
  t.regex(error.message, /made anew/)
  // Shorter.
  await anew(2, 2000)
  await t.throwsAsync(start(true), { code: 'DATA_LOSS' })
  const query = await start(false)
  t.true(query.status.tables[topic]?.needsResync === false)
  await query.awaitTermination()
  t.is(
    query.recentProgress.reduce((sum, { numInputRows }) => sum + numInputRows, 0),
    2,
  )
  const again = await start(true)
  t.true(again.status.tables[topic]?.needsResync)
  await again.awaitTermination()
  const table = await DeltaTable.open({ path })
  t.is((await table.offsets()).get(`made-anew:${topic}:0`), 1n)
  await table.close()
  await admin.disconnect()
})
