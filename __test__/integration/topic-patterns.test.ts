/** Topics by pattern: those that are there, those that come and go, and those that are not meant. */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'
import { EmbeddedBroker } from '../../src/demo/broker/index.js'
import { createLogger } from '../../src/log.js'
import { resolveOptions } from '../../src/options/resolve.js'
import type { StreamOptions } from '../../src/options/types.js'
import { realSystems } from '../../src/stream/connect.js'
import type { StreamingQuery } from '../../src/stream/query.js'
import { startQuery } from '../../src/stream/start.js'
import { readRows, readTable } from '../helpers/read.js'
import { closeAll, serve } from './support/captured-sets.js'
import { capturedMessages } from './support/real-kafka.js'

const folder = mkdtempSync(join(tmpdir(), 'kafka2delta-patterns-'))
test.after.always(async () => {
  await closeAll()
  rmSync(folder, { recursive: true, force: true })
})

const SET = 'flat'
const USERS = 'postgres.public.users'
const LOOK_MS = 200
/** Rows that the captured messages leave. */
const NUM_USERS = 16

let numLakes = 0

/** A broker with topics that hold the captured users, and a lake of its own. */
async function world(t: ExecutionContext, topics: string[]) {
  const { dir, registry } = await serve(SET)
  const broker = await EmbeddedBroker.start()
  t.teardown(() => broker.close())
  const lake = join(folder, String(numLakes++))
  const messages = capturedMessages(dir, USERS)
  const produce = (topic: string) => {
    const records = messages.map(({ key, value, timestamp }) => ({ key, value, timestamp: Number(timestamp) }))
    broker.append(topic, 0, records)
  }
  const make = (topic: string) => {
    broker.createTopic(topic)
    produce(topic)
  }
  for (const topic of topics) make(topic)
  const logged: Record<string, unknown>[] = []
  const logger = createLogger('info', { write: (text: string) => void logged.push(JSON.parse(text)) })
  const start = async (tables: StreamOptions['tables'], more: Partial<StreamOptions> = {}) => {
    const options = resolveOptions({
      queryName: 'patterns',
      kafka: { brokers: broker.brokers, retry: { initialRetryTime: 50, maxRetryTime: 500, retries: 3 } },
      schemaRegistry: { url: registry.url },
      consumer: { metadataMaxAge: 300 },
      trigger: { processingTime: 50 },
      tables,
      ...more,
    })
    const systems = realSystems(options, logger)
    const query = await startQuery({ options, systems, logger, lookEveryMs: LOOK_MS })
    t.teardown(() => query.stop())
    return query
  }
  return { broker, lake, logged, start, make, produce }
}

const topicsOf = (query: StreamingQuery) => Object.keys(query.status.tables).sort()

async function until(condition: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const deadline = Date.now() + 30_000
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`not within 30 seconds: ${what}`)
    await sleep(20)
  }
}

const PATTERN = String.raw`/shop\.(?<schema>\w+)\.(.*)/`

test('a pattern takes topics by their groups; names, and patterns before it, count first', async (t) => {
  const { lake, logged, start } = await world(t, [
    'shop.public.users',
    'shop.public.orders',
    'shop.audit.users',
    'shop.public.tmp_1',
    'shop.public.named',
    'other.public.users',
  ])
  const query = await start({
    'shop.public.named': { path: join(lake, 'by-name') },
    '/shop\\.audit\\..*/': { path: join(lake, 'audit', '$0') },
    [PATTERN]: { path: `${lake}/$<schema>/t_$2`, tableName: '$2', schema: '$<schema>', exclude: ['/.*\\.tmp_.*/'] },
  })
  t.deepEqual(topicsOf(query), ['shop.audit.users', 'shop.public.named', 'shop.public.orders', 'shop.public.users'])
  t.is(query.status.tables['shop.public.users']?.table, 'public.users')
  await query.processAllAvailable()
  for (const path of ['by-name', 'audit/shop.audit.users', 'public/t_orders', 'public/t_users']) {
    t.is((await readTable(join(lake, path))).numRows, NUM_USERS, path)
  }
  const told = logged.filter(({ msg }) => msg === 'a pattern takes a topic')
  t.deepEqual(
    new Map(told.map(({ topic, pattern }) => [topic, pattern])),
    new Map([
      ['shop.audit.users', '/shop\\.audit\\..*/'],
      ['shop.public.orders', PATTERN],
      ['shop.public.users', PATTERN],
    ]),
  )
})

test('topics that come are taken, and those that go rest: the others go on', async (t) => {
  const { broker, lake, start, make, produce } = await world(t, ['shop.public.a'])
  const query = await start({ [PATTERN]: { path: `${lake}/$2` } }, { failOnDataLoss: false })
  await query.processAllAvailable()
  make('shop.public.b')
  make('shop.public.c')
  await until(() => topicsOf(query).length === 3, 'the new topics have tables')
  await query.processAllAvailable()
  for (const table of ['a', 'b', 'c']) t.is((await readTable(join(lake, table))).numRows, NUM_USERS, table)

  broker.deleteTopic('shop.public.b')
  await until(() => query.status.tables['shop.public.b']?.state === 'resting', 'the table rests')
  t.is(query.status.tables['shop.public.b']?.error, null)
  t.is(query.exception, null)
  produce('shop.public.a')
  await query.processAllAvailable()

  // Made anew, it is another topic, of which the table has nothing.
  make('shop.public.b')
  await until(() => query.status.tables['shop.public.b']?.needsResync === true, 'the table goes on')
  t.is((await readTable(join(lake, 'b'))).numRows, NUM_USERS)
  t.is(query.exception, null)
})

test('where all topics are gone, the query waits for others; where tables have failed, it ends', async (t) => {
  const { broker, lake, start, make } = await world(t, ['shop.public.a'])
  const query = await start({ [PATTERN]: { path: `${lake}/$2` } })
  await query.processAllAvailable()
  broker.deleteTopic('shop.public.a')
  await until(() => query.status.tables['shop.public.a']?.state === 'resting', 'the table rests')
  t.true(query.isActive)
  make('shop.public.b')
  await until(() => topicsOf(query).includes('shop.public.b'), 'the new topic has a table')
  await query.processAllAvailable()
  t.is((await readTable(join(lake, 'b'))).numRows, NUM_USERS)
  // The table holds offsets that the new topic does not have.
  broker.createTopic('shop.public.a')
  await until(() => query.status.tables['shop.public.a']?.error?.code === 'DATA_LOSS', 'the table fails')
  t.true(query.isActive)
  t.is(query.exception?.code, 'DATA_LOSS')
})

test('a table that cannot be opened, or has no place, stops itself alone', async (t) => {
  const { lake, start } = await world(t, ['shop.public.a', 'shop.public.b', 'shop.public...', 'shop.audit.a'])
  await mkdir(join(lake, 'b', '_delta_log'), { recursive: true })
  writeFileSync(join(lake, 'b', '_delta_log', '00000000000000000000.json'), '{"protocol":{"minReaderVersion":99}}\n')
  const query = await start({ [PATTERN]: { path: `${lake}/$2` } }, { trigger: { availableNow: true } })
  const error = await t.throwsAsync(query.awaitTermination())
  t.truthy(error)
  const errors = Object.entries(query.status.tables).map(([topic, { error }]) => [topic, error?.code ?? null])
  t.is((await readTable(join(lake, 'a'))).numRows, NUM_USERS)
  const byTopic = new Map(errors as [string, string | null][])
  t.truthy(byTopic.get('shop.public.b'))
  t.is(byTopic.get('shop.public...'), 'CONFIG_INVALID')
  // Two topics for one path: the first one has it.
  t.deepEqual(
    ['shop.audit.a', 'shop.public.a'].map((topic) => byTopic.get(topic)),
    [null, 'CONFIG_INVALID'],
  )
})

test('without a topic a start is refused', async (t) => {
  const { lake, start } = await world(t, ['other'])
  const error = await t.throwsAsync(start({ [PATTERN]: { path: `${lake}/$2` } }))
  t.like(error, { code: 'TOPIC_NOT_FOUND' })
  t.regex(error?.message ?? '', /no topic that .* takes/)
})

test('latest: a topic that came while no worker ran is read from its beginning', async (t) => {
  const { lake, start, make, produce } = await world(t, ['shop.public.a'])
  const tables = { [PATTERN]: { path: `${lake}/$2` } }
  const first = await start(tables, { startingOffsets: 'latest' })
  produce('shop.public.a')
  await first.processAllAvailable()
  await first.stop()
  make('shop.public.b')
  const second = await start(tables, { startingOffsets: 'latest' })
  await second.processAllAvailable()
  t.is((await readTable(join(lake, 'b'))).numRows, NUM_USERS)
})

test("Debezium's own topics are passed over, and told", async (t) => {
  const { broker, registry } = await serve('mariadb-envelope')
  const lake = join(folder, 'mariadb')
  const logged: Record<string, unknown>[] = []
  const logger = createLogger('info', { write: (text: string) => void logged.push(JSON.parse(text)) })
  const options = resolveOptions({
    queryName: 'own',
    kafka: { brokers: broker.brokers },
    schemaRegistry: { url: registry.url },
    trigger: { availableNow: true },
    columnDefaults: { outOfRange: 'null' },
    tables: { '/myenv(\\..*)?/': { path: `${lake}/$0` } },
  })
  const query = await startQuery({ options, systems: realSystems(options, logger), logger })
  await query.awaitTermination()
  const own = broker.topics.map(({ name }) => name).filter((name) => name === 'myenv')
  t.deepEqual(own, ['myenv'])
  t.false(topicsOf(query).includes('myenv'))
  t.deepEqual(topicsOf(query).length, 3)
  const passed = logged.find(({ topic }) => topic === 'myenv')
  t.regex(String(passed?.msg), /passed over by patterns, for it holds Debezium's own messages/)
  t.true((await readRows(join(lake, topicsOf(query)[0] as string))).length > 0)
})
