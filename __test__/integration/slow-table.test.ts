/** One table whose store refuses, is slow or silent: the others' commits go on, and it catches up when it may. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'
import { EmbeddedBroker } from '../../src/demo/broker/index.js'
import { silentLogger } from '../../src/log.js'
import { resolveOptions } from '../../src/options/resolve.js'
import { realSystems } from '../../src/stream/connect.js'
import { startQuery } from '../../src/stream/start.js'
import { readTable } from '../helpers/read.js'
import { HttpStore, HttpTable } from './support/http-table.js'
import { SlowServer } from './support/slow-server.js'

const SLOW = 'shop.slow'
const OTHERS = ['shop.a', 'shop.b', 'shop.c', 'shop.d']
/** Commits of each of the others by which it is seen that they go on. */
const ROUNDS = 5

/** Confluent's format: the schema 7, `{id}`. */
const record = (id: number) => Buffer.from([0, 0, 0, 0, 7, id * 2])
const SCHEMA = { type: 'record', name: 'r', fields: [{ name: 'id', type: 'int' }] }

test('one of many tables cannot be written to: the others are, meanwhile', async (t) => {
  t.timeout(120_000)
  const lake = mkdtempSync(join(tmpdir(), 'kafka2delta-slow-'))
  const broker = await EmbeddedBroker.start()
  const registry = await SlowServer.start(() => ({ json: { schema: JSON.stringify(SCHEMA) } }))
  const holder = new HttpStore()
  const store = await holder.start()
  t.teardown(async () => {
    await broker.close()
    registry.close()
    store.close()
    rmSync(lake, { recursive: true, force: true })
  })
  for (const topic of [SLOW, ...OTHERS]) broker.createTopic(topic)
  const options = resolveOptions({
    queryName: 'one-slow',
    kafka: { brokers: broker.brokers },
    schemaRegistry: { url: registry.url },
    tables: { '/shop\\..*/': { path: `${lake}/$0` } },
    trigger: { processingTime: 10 },
  })
  const real = realSystems(options, silentLogger)
  const systems: typeof real = {
    ...real,
    table: (table, signal) =>
      table.topic === SLOW ? HttpTable.open(store.url, table.uri, signal) : real.table(table, signal),
  }
  const query = await startQuery({ options, systems, logger: silentLogger })
  t.teardown(() => query.stop())
  const commits = new Map([SLOW, ...OTHERS].map((topic) => [topic, 0]))
  query.on('progress', ({ topic }) => commits.set(topic, (commits.get(topic) as number) + 1))
  let sent = 0
  const send = (topics: string[]) => {
    sent++
    for (const topic of topics) broker.append(topic, 0, [{ key: record(sent % 60), value: record(sent % 60) }])
  }
  /** Each of the others has some further commits, one after the other; the slow one's are so many by then. */
  const othersGoOn = async () => {
    for (let round = 0; round < ROUNDS; round++) {
      const before = new Map(commits)
      send([SLOW, ...OTHERS])
      while (OTHERS.some((topic) => commits.get(topic) === before.get(topic))) await sleep(5)
    }
    return commits.get(SLOW)
  }

  send([SLOW, ...OTHERS])
  await query.processAllAvailable()
  const atFirst = commits.get(SLOW)

  holder.failing = true
  t.is(await othersGoOn(), atFirst)
  t.like(query.status.tables[SLOW]?.waitingFor, { code: 'STORAGE' })
  t.is(query.exception, null)
  holder.failing = false
  await query.processAllAvailable()
  t.is(holder.offsets.get(`one-slow:${SLOW}:0`), String(sent - 1))

  store.delays.set('/write', 2_000)
  const asked = store.asked('/write')
  send([SLOW])
  await store.reached('/write', asked + 1)
  await othersGoOn()
  store.delays.clear()
  await query.processAllAvailable()
  t.is(holder.offsets.get(`one-slow:${SLOW}:0`), String(sent - 1))

  store.isSilent = true
  const beforeSilence = commits.get(SLOW)
  t.is(await othersGoOn(), beforeSilence)
  for (const topic of OTHERS) t.true((await readTable(join(lake, topic))).numRows > 0)
})
