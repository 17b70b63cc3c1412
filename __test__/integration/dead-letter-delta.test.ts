/** Dead letters in a Delta table that several tables share, while the stream is killed again and again. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { StructRowProxy } from 'apache-arrow'
import test from 'ava'
import { deadLetterRows } from '../../src/dead-letter/delta-rows.js'
import { DeltaDeadLetters } from '../../src/dead-letter/delta-sink.js'
import { DeltaTable } from '../../src/delta/table.js'
import { EmbeddedBroker } from '../../src/demo/broker/index.js'
import { EmbeddedRegistry } from '../../src/demo/registry.js'
import { KafkaToDeltaError, type StreamOptions, streamToDelta } from '../../src/index.js'
import { silentLogger } from '../../src/log.js'
import { letter } from '../dead-letter/support.js'
import { readTable } from '../helpers/read.js'
import { badMessage, goodMessage, registerSchemas, type TestMessage, UNKNOWN_ID } from './support/bad-records.js'
import { startChild } from './support/children.js'
import { randomNumbers, testSeed } from './support/generated-topic.js'

const KILLS = 5
const PARTITIONS = 2

let folder: string
let broker: EmbeddedBroker
let registry: EmbeddedRegistry

test.before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'kafka2delta-dead-letter-'))
  broker = await EmbeddedBroker.start()
  registry = await EmbeddedRegistry.start()
  registerSchemas(registry)
})

test.after.always(async () => {
  await broker?.close()
  await registry?.close()
  rmSync(folder, { recursive: true, force: true })
})

const rowsOf = async (path: string): Promise<StructRowProxy[]> => (await readTable(path)).toArray()

const buffer = (bytes: Uint8Array | null): Buffer | null => (bytes === null ? null : Buffer.from(bytes))

function options(queryName: string, topics: readonly string[], dead: string): StreamOptions {
  return {
    queryName,
    kafka: { brokers: broker.brokers },
    schemaRegistry: { url: registry.url, unknownSchemaTimeout: 0 },
    tables: Object.fromEntries(topics.map((topic) => [topic, { path: join(folder, queryName, topic) }])),
    onBadRecord: 'dead-letter',
    deadLetter: { path: dead },
    trigger: { availableNow: true },
  }
}

test(`kill -9 at ${KILLS} random moments: each bad record is one row, as it came`, async (t) => {
  t.timeout(240_000)
  const seed = testSeed()
  t.log(`seed ${seed}`)
  const random = randomNumbers(seed)
  const topics = ['killed.a', 'killed.b']
  for (const topic of topics) broker.createTopic(topic, PARTITIONS)
  const sent = new Map<string, TestMessage>()
  let count = 0
  const append = (changes: number) => {
    for (const topic of topics) {
      for (let partition = 0; partition < PARTITIONS; partition++) {
        const messages = Array.from({ length: changes }, () => {
          const n = count++
          return random() < 0.2 ? badMessage(n, 1_700_000_000_000 + n) : goodMessage(n, `${n}`)
        })
        const { first } = broker.append(topic, partition, messages)
        for (const [i, message] of messages.entries()) sent.set(`${topic}/${partition}/${first + i}`, message)
      }
    }
  }
  const dead = join(folder, 'killed-dead')
  const given = options('killed', topics, dead)
  const running = { ...given, limits: { maxBatchMessages: 100 }, trigger: { processingTime: '20 ms' } }
  const producing = new AbortController()
  const producer = (async () => {
    while (!producing.signal.aborted) {
      append(1 + Math.floor(random() * 20))
      await sleep(10 + random() * 30)
    }
  })()
  try {
    for (let kill = 0; kill < KILLS; kill++) {
      const child = startChild('stream-child.ts', [JSON.stringify(running)])
      await child.printed('committed')
      await sleep(random() * 300)
      child.process.kill('SIGKILL')
      t.is((await child.exit).signal, 'SIGKILL', child.output())
    }
  } finally {
    producing.abort()
    await producer
  }
  const last = startChild('stream-child.ts', [JSON.stringify(given)])
  t.is((await last.exit).code, 0, last.output())

  const letters = await rowsOf(dead)
  const bad = [...sent].filter(([, message]) => message.bad !== null)
  t.log(`${sent.size} messages, ${bad.length} of them bad`)
  t.is(letters.length, bad.length)
  const byPosition = new Map(letters.map((row) => [`${row.topic}/${row.partition}/${row.offset}`, row]))
  for (const [position, message] of bad) {
    const row = byPosition.get(position)
    if (!row) return t.fail(`${position} is missing`)
    t.deepEqual([buffer(row.key), buffer(row.value)], [message.key, message.value], position)
    t.is(Number(row.timestamp), message.timestamp)
    const headers = [...row.headers].map((entry) => [entry.key, String(buffer(entry.value))])
    const expected = Object.entries(message.headers).flatMap(([name, value]) =>
      [value].flat().map((one) => [name, String(one)]),
    )
    t.deepEqual(headers, expected)
    t.regex(row.reason, message.bad as RegExp)
    t.is(row.error_code, 'BAD_RECORD')
    t.is(row.query_name, 'killed')
    t.true(Math.abs(Number(row.written_at) - Date.now()) < 240_000)
    if (message.bad?.source.includes('unknown')) t.is(row.value_schema_id, UNKNOWN_ID)
  }
  for (const topic of topics) {
    const good = [...sent].filter(([position, message]) => position.startsWith(topic) && message.bad === null)
    t.is((await rowsOf(join(folder, 'killed', topic))).length, good.length)
  }
})

test('two queries share a table; a topic with bad records alone advances', async (t) => {
  t.timeout(60_000)
  const dead = join(folder, 'shared-dead')
  broker.createTopic('shared.a', 1)
  broker.createTopic('shared.b', 1)
  const bads = Array.from({ length: 30 }, (_, n) => badMessage(n))
  broker.append('shared.a', 0, [goodMessage(1, 'a')])
  broker.append('shared.b', 0, bads)
  const one = { ...options('one', ['shared.a'], dead), limits: { maxBatchMessages: 5 } }
  const two = { ...options('two', ['shared.b'], dead), limits: { maxBatchMessages: 5 } }
  const first = await streamToDelta(one)
  await first.awaitTermination()
  broker.append('shared.a', 0, bads)
  const [again, second] = await Promise.all([streamToDelta(one), streamToDelta(two)])
  await Promise.all([again.awaitTermination(), second.awaitTermination()])
  t.is((await rowsOf(dead)).length, 60)
  // The table exists: its offsets are after the bad records, and the next start has nothing to do.
  t.like(again.lastProgress, { numBadRecords: 5, deadLetter: dead, numRowsUpserted: 0, lag: 0 })
  t.is(again.status.tables['shared.a']?.numBadRecords, 30)
  t.is(second.status.tables['shared.b']?.numBadRecords, 30)
  const third = await streamToDelta(one)
  await third.awaitTermination()
  t.is(third.lastProgress, null)
  // No row has made the table of the other one: its letters replace themselves.
  const fourth = await streamToDelta(two)
  await fourth.awaitTermination()
  t.is((await rowsOf(dead)).length, 60)
})

test('a topic that was made anew leaves the letters of the one before it', async (t) => {
  t.timeout(60_000)
  const dead = join(folder, 'anew-dead')
  for (const [n, query] of ['anew-1', 'anew-2', 'anew-2'].entries()) {
    if (n < 2) {
      if (n > 0) broker.deleteTopic('anew.a')
      broker.createTopic('anew.a', 1)
      broker.append('anew.a', 0, [badMessage(n, 1_700_000_000_000 + n)])
    }
    await (await streamToDelta(options(query, ['anew.a'], dead))).awaitTermination()
  }
  const letters = await rowsOf(dead)
  t.deepEqual(letters.map(({ offset, timestamp }) => [Number(offset), Number(timestamp)]).sort(), [
    [0, 1_700_000_000_000],
    [0, 1_700_000_000_001],
  ])
})

test('a table of letters that an older version made goes on with its key', async (t) => {
  const path = join(folder, 'older-dead')
  const position = ['topic', 'partition', 'offset']
  const table = await DeltaTable.open({ path, primaryKey: position })
  await table.merge(deadLetterRows([letter(1), letter(2)], 0))
  await table.close()
  const sink = new DeltaDeadLetters({ uri: path, storageOptions: {} }, silentLogger)
  await sink.write([letter(2, { timestamp: '1800000000000' }), letter(3)])
  await sink.close()
  const letters = await rowsOf(path)
  t.deepEqual(letters.map(({ offset, timestamp }) => [Number(offset), Number(timestamp)]).sort(), [
    [1, 1_700_000_000_123],
    [2, 1_800_000_000_000],
    [3, 1_700_000_000_123],
  ])
})

test('a Delta table of something else is refused, and nothing is committed', async (t) => {
  t.timeout(60_000)
  for (const topic of ['other.a', 'other.b']) broker.createTopic(topic, 1)
  broker.append('other.a', 0, [goodMessage(1, 'a')])
  await (await streamToDelta(options('other', ['other.a'], join(folder, 'unused')))).awaitTermination()
  broker.append('other.b', 0, [goodMessage(1, 'a'), badMessage(1)])
  const query = await streamToDelta(options('wrong', ['other.b'], join(folder, 'other', 'other.a')))
  const error = await t.throwsAsync(query.awaitTermination(), { instanceOf: KafkaToDeltaError })
  t.is(error?.code, 'TABLE_UNSUPPORTED')
  t.regex(error?.message ?? '', /something else than dead letters/)
  t.is(query.lastProgress, null)
})

test('fail: the error names the record and its fault, its batch is not committed, and other tables go on', async (t) => {
  t.timeout(60_000)
  for (const topic of ['fail.a', 'fail.b']) broker.createTopic(topic, 2)
  for (const topic of ['fail.a', 'fail.b']) broker.append(topic, 1, [goodMessage(1, 'a')])
  const { deadLetter: _, ...rest } = options('fail', ['fail.a', 'fail.b'], '')
  const query = await streamToDelta({ ...rest, onBadRecord: 'fail', trigger: { processingTime: '10 ms' } })
  await query.processAllAvailable()
  broker.append('fail.a', 1, [goodMessage(2, 'b'), badMessage(3), goodMessage(3, 'c')])
  while (query.exception === null) await sleep(10)
  t.is(query.exception?.code, 'BAD_RECORD')
  t.like(query.exception?.position, { topic: 'fail.a', partition: 1, offset: '2' })
  t.regex(query.exception?.message ?? '', /^fail\.a, partition 1, offset 2: unknown schema id 999/)
  broker.append('fail.b', 1, [goodMessage(2, 'b')])
  while (query.lastProgress?.topic !== 'fail.b' || query.lastProgress.offsets[1]?.end !== '1') await sleep(10)
  await query.stop()
  t.is((await rowsOf(join(folder, 'fail', 'fail.a'))).length, 1)
  t.is((await rowsOf(join(folder, 'fail', 'fail.b'))).length, 2)
})

test('a registry that is down: the batch waits, the status says for what, and stop ends in time', async (t) => {
  t.timeout(60_000)
  const own = await EmbeddedRegistry.start()
  t.teardown(() => own.close())
  registerSchemas(own)
  broker.createTopic('down.a', 1)
  const given = options('down', ['down.a'], join(folder, 'down-dead'))
  const query = await streamToDelta({
    ...given,
    schemaRegistry: { url: own.url },
    trigger: { processingTime: '10 ms' },
  })
  own.failWith(500, 'out of order')
  broker.append('down.a', 0, [goodMessage(1, 'a'), badMessage(1)])
  while (!query.status.tables['down.a']?.waitingFor) await sleep(20)
  t.like(query.status.tables['down.a']?.waitingFor, { code: 'REGISTRY_UNREACHABLE' })
  t.regex(query.status.message, /^Trying again, down\.a: the schema registry .* answers with status 500/)
  own.recover()
  await query.processAllAvailable()
  t.falsy(query.status.tables['down.a']?.waitingFor)
  t.is(query.lastProgress?.numBadRecords, 1)
  await query.stop()

  const second = await streamToDelta({
    ...given,
    queryName: 'down-2',
    tables: { 'down.a': { path: join(folder, 'down-2') } },
    schemaRegistry: { url: own.url },
    trigger: { processingTime: '10 ms' },
  })
  own.hang()
  const begun = performance.now()
  await sleep(300)
  await second.stop()
  t.true(performance.now() - begun < 5_000)
  t.is(second.exception, null)
})
