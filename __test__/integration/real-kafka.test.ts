/** The newest broker: captured topics, and what its operation does to a stream. */

import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { DeltaTable, streamToDelta } from '../../src/index.js'
import { silentLogger } from '../../src/log.js'
import { resolveOptions } from '../../src/options/resolve.js'
import { realSystems } from '../../src/stream/connect.js'
import { startQuery } from '../../src/stream/start.js'
import { readTable } from '../helpers/read.js'
import { needs, serve } from './support/captured-sets.js'
import { testsOnBroker } from './support/on-broker.js'
import { capturedMessages, kafkaJars } from './support/real-kafka.js'

const { run, kafka, folder } = testsOnBroker(kafkaJars())

run('retention that overtook the stored offset', async (t) => {
  t.timeout(60_000)
  const [set, topic] = ['flat', 'flat.public.all_types'] as const
  const { registry } = await serve(set)
  const path = join(folder, 'tables', 'overtaken')
  const start = (failOnDataLoss: boolean) =>
    streamToDelta({
      queryName: 'overtaken',
      kafka: { brokers: kafka().brokers },
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
  const admin = kafka().client.admin()
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

run('a start after the last batch of a Spark job', async (t) => {
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
      kafka: { brokers: kafka().brokers },
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

run('a topic that is deleted and made anew', async (t) => {
  t.timeout(90_000)
  const [set, topic] = ['hard', 'hard.public.arr'] as const
  const { registry, dir } = await serve(set)
  const path = join(folder, 'tables', 'made-anew')
  const start = (failOnDataLoss: boolean) =>
    streamToDelta({
      queryName: 'made-anew',
      kafka: { brokers: kafka().brokers },
      schemaRegistry: { url: registry.url },
      tables: { [topic]: { path, ...needs(topic).table } },
      trigger: { availableNow: true },
      failOnDataLoss,
    })
  await (await start(true)).awaitTermination()
  const admin = kafka().client.admin()
  await admin.connect()
  const messages = capturedMessages(dir, topic)
  const anew = async (count: number, later: number) => {
    await admin.deleteTopics({ topics: [topic] })
    await sleep(1000)
    await kafka().createTopic(topic, 1)
    const producer = kafka().client.producer()
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

run('by pattern: topics that come, get partitions, go and come again while it runs', async (t) => {
  t.timeout(180_000)
  const { registry, dir } = await serve('flat')
  const messages = capturedMessages(dir, 'postgres.public.users').map(({ partition: _, ...message }) => message)
  const lake = join(folder, 'tables', 'by-pattern')
  const admin = kafka().client.admin()
  const producer = kafka().client.producer()
  await Promise.all([admin.connect(), producer.connect()])
  t.teardown(() => Promise.all([admin.disconnect(), producer.disconnect()]).then(() => {}))
  const make = async (topic: string) => {
    await kafka().createTopic(topic, 1)
    await producer.send({ topic, messages })
  }
  await make('come.a')
  const options = resolveOptions({
    queryName: 'by-pattern',
    kafka: { brokers: kafka().brokers },
    schemaRegistry: { url: registry.url },
    consumer: { metadataMaxAge: 500 },
    trigger: { processingTime: 50 },
    failOnDataLoss: false,
    tables: { '/come\\.(.*)/': { path: `${lake}/$1` } },
  })
  const query = await startQuery({
    options,
    systems: realSystems(options, silentLogger),
    logger: silentLogger,
    lookEveryMs: 500,
  })
  t.teardown(() => query.stop())
  const rowsOf = async (table: string) => (await readTable(join(lake, table))).numRows
  const lasts = async (topic: string) => {
    const table = await DeltaTable.open({ path: join(lake, topic.slice('come.'.length)) })
    const offsets = await table.offsets()
    await table.close()
    return [0, 1].map((partition) => Number(offsets.get(`by-pattern:${topic}:${partition}`) ?? -1))
  }
  const until = async (is: () => boolean | Promise<boolean>) => {
    while (!(await is())) await sleep(100)
  }
  await query.processAllAvailable()
  const numRows = await rowsOf('a')
  t.true(numRows > 0)

  await make('come.b')
  await until(() => query.status.tables['come.b'] !== undefined)
  await query.processAllAvailable()
  t.is(await rowsOf('b'), numRows)

  await admin.createPartitions({ topicPartitions: [{ topic: 'come.b', count: 2 }] })
  await sleep(1_000)
  const keyed = messages.map((message) => ({ ...message, partition: 1 }))
  await producer.send({ topic: 'come.b', messages: keyed })
  // These changes are older than what the first partition brought; they are read all the same.
  await query.processAllAvailable()
  t.is(await rowsOf('b'), numRows)

  await admin.deleteTopics({ topics: ['come.b'] })
  await until(() => query.status.tables['come.b']?.state === 'resting')
  await producer.send({ topic: 'come.a', messages })
  await query.processAllAvailable()
  t.is((await lasts('come.a'))[0], 2 * messages.length - 1)

  // Made anew, it is another topic, of which the table has nothing.
  await make('come.b')
  await until(() => query.status.tables['come.b']?.needsResync === true)
  t.is(await rowsOf('b'), numRows)
  t.is(query.exception, null)
})
