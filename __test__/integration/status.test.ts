/** `kafka2delta status`: by the tables and Kafka, and by a running worker. */

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { EmbeddedBroker } from '../../src/demo/broker/index.js'
import { HttpServer } from '../../src/http/server.js'
import { streamToDelta } from '../../src/index.js'
import { silentLogger } from '../../src/log.js'
import { resolveOptions } from '../../src/options/resolve.js'
import type { StreamOptions } from '../../src/options/types.js'
import { askedSystems } from '../../src/status/asked-systems.js'
import { statusOfTables } from '../../src/status/from-tables.js'
import { statusOfWorker } from '../../src/status/from-worker.js'
import { statusLines } from '../../src/status/print.js'
import { closeAll, serve } from './support/captured-sets.js'
import { capturedMessages } from './support/real-kafka.js'

const folder = mkdtempSync(join(tmpdir(), 'kafka2delta-status-'))
test.after.always(async () => {
  await closeAll()
  rmSync(folder, { recursive: true, force: true })
})

async function world(t: ExecutionContext, name: string) {
  const { dir, registry } = await serve('flat')
  const broker = await EmbeddedBroker.start()
  t.teardown(() => broker.close())
  const messages = capturedMessages(dir, 'postgres.public.users')
  const produce = (topic: string, partition = 0) => {
    const records = messages.map(({ key, value, timestamp }) => ({ key, value, timestamp: Number(timestamp) }))
    broker.append(topic, partition, records)
  }
  const lake = join(folder, name)
  const options: StreamOptions = {
    queryName: 'status',
    kafka: { brokers: broker.brokers, retry: { initialRetryTime: 50, maxRetryTime: 500, retries: 2 } },
    schemaRegistry: { url: registry.url },
    tables: { '/shop\\.(.*)/': { path: join(lake, '$1'), schema: 'shop', tableName: '$1' } },
  }
  const status = async (more: Partial<StreamOptions> = {}) => {
    const resolved = resolveOptions({ ...options, ...more })
    const systems = askedSystems(resolved, silentLogger)
    const report = await statusOfTables(resolved, systems)
    await systems.close()
    return report
  }
  const newest = Math.max(...messages.map(({ timestamp }) => Number(timestamp)))
  return { broker, lake, options, produce, status, length: messages.length, newest: new Date(newest).toISOString() }
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: colours
const plain = (lines: string[]) => lines.map((line) => line.replace(/\u001b\[\d+m/g, ''))

test('by the tables: what was applied, what waits, and what is wrong', async (t) => {
  const { broker, lake, options, produce, status, length, newest } = await world(t, 'tables')
  broker.createTopic('shop.users', 2)
  broker.createTopic('shop.orders')
  for (const topic of ['shop.users', 'shop.orders']) produce(topic)
  const query = await streamToDelta({ ...options, trigger: { availableNow: true } })
  await query.awaitTermination()
  produce('shop.users', 1)
  broker.createTopic('shop.later')
  produce('shop.later')
  broker.createTopic('shop.broken')
  mkdirSync(join(lake, 'broken', '_delta_log'), { recursive: true })
  writeFileSync(join(lake, 'broken', '_delta_log', '00000000000000000000.json'), 'no JSON\n')

  const report = await status()
  t.deepEqual(report.problems, [])
  const of = (topic: string) => report.tables.find((table) => table.topic === topic)
  t.like(of('shop.orders'), { version: 0, lag: 0, rows: 16, trouble: null, otherQueries: [], lastChange: newest })
  t.regex(of('shop.orders')?.lastCommit?.by ?? '', /kafka2delta/)
  t.like(of('shop.users'), { lag: length, rows: 16 })
  t.deepEqual(of('shop.users')?.partitions, [
    { partition: 0, applied: String(length - 1), end: String(length), lag: 0 },
    { partition: 1, applied: null, end: String(length), lag: length },
  ])
  t.like(of('shop.later'), { version: null, lag: null, trouble: null })
  t.truthy(of('shop.broken')?.trouble)
  const lines = plain(statusLines(report))
  for (const line of lines) t.log(line)
  t.regex(lines[1] as string, /^shop\.broken/)
  t.regex(lines.at(-1) as string, /^query status: 4 tables, 1 need help, 1 behind, 1 up to date$/)

  // Another query of the same tables, and Kafka away: what the tables tell is told.
  const other = await status({ queryName: 'another' })
  t.deepEqual(other.tables.find(({ topic }) => topic === 'shop.orders')?.otherQueries, ['status'])
  await broker.close()
  const away = await status({ tables: { 'shop.orders': { path: join(lake, 'orders') } } })
  t.like(away.tables[0], { version: 0, lag: null, rows: 16 })
  t.deepEqual(
    away.problems.map(({ code }) => code),
    ['KAFKA_UNREACHABLE'],
  )
})

test('by a running worker', async (t) => {
  const { broker, options, produce } = await world(t, 'worker')
  broker.createTopic('shop.users')
  produce('shop.users')
  const http = await HttpServer.listen({ host: '127.0.0.1', port: 0 })
  t.teardown(() => http.close())
  const address = `127.0.0.1:${http.port}`
  t.like(await statusOfWorker(address), { state: 'starting', tables: [] })
  const query = await streamToDelta({ ...options, trigger: { processingTime: 0 } })
  t.teardown(() => query.stop())
  http.watch(query)
  await query.processAllAvailable()
  const report = await statusOfWorker(address)
  t.like(report, { query: 'status', state: 'running', problems: [] })
  t.like(report.tables[0], { topic: 'shop.users', table: 'shop.users', version: 0, lag: 0, trouble: null })
  t.regex(plain(statusLines(report))[0] as string, /^table +version +lag +last commit$/)
  t.regex(
    plain(statusLines(report)).at(-2) as string,
    /^memory: .* queued, .* decoding, .* merging, .* indexes, .* compaction of .*$/,
  )
  t.true((report.memory?.indexes ?? 0) > 0, 'the index of the users')
  await t.throwsAsync(statusOfWorker('127.0.0.1:9'), { code: 'WORKER_UNREACHABLE' })
  await t.throwsAsync(statusOfWorker('http://'), { code: 'CONFIG_INVALID' })
})
