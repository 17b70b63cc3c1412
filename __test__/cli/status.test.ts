/** `kafka2delta status [TABLE]`: what it prints and its exit code, by a worker and by the tables. */

import { EventEmitter } from 'node:events'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { tableFromArrays } from 'apache-arrow'
import test, { type ExecutionContext } from 'ava'
import { register } from '../../src/cli/commands/status.js'
import { DeltaTable } from '../../src/delta/table.js'
import { EmbeddedBroker } from '../../src/demo/broker/index.js'
import { HttpServer } from '../../src/http/server.js'
import type { StreamingQuery, StreamingQueryStatus } from '../../src/stream/index.js'
import { runCommand } from '../helpers/command.js'

const hasAddon = existsSync(fileURLToPath(new URL('../../src/native.cjs', import.meta.url)))
const withAddon = hasAddon ? test : test.skip

const dir = mkdtempSync(join(tmpdir(), 'kafka2delta-status-'))
test.after.always(() => rmSync(dir, { recursive: true, force: true }))

/** What the command writes, without colours, and its exit code. */
async function status(...args: string[]): Promise<{ code: number; lines: string[] }> {
  const { code, text } = await runCommand(register, ['status', ...args])
  return { code, lines: text.trimEnd().split('\n') }
}

type Tables = StreamingQueryStatus['tables']

const IDLE: Tables[string] = {
  table: '',
  state: 'waiting',
  lag: 0,
  lastCommit: null,
  numBadRecords: 0,
  needsResync: false,
  waitingFor: null,
  catalog: null,
  error: null,
}

/** The address of a worker with these tables; without some it has not started yet. */
async function worker(t: ExecutionContext, tables?: Tables): Promise<string> {
  const http = await HttpServer.listen({ host: '127.0.0.1', port: 0 })
  t.teardown(() => http.close())
  const query = Object.assign(new EventEmitter(), { name: 'shop', isActive: true, exception: null, lastProgress: null })
  if (tables) http.watch(Object.assign(query, { status: { tables } }) as unknown as StreamingQuery)
  return `127.0.0.1:${http.port}`
}

test('by a worker: all of its tables, or the one that is named by its topic or its name', async (t) => {
  const lastCommit = { version: 3, timestamp: new Date().toISOString() }
  const address = await worker(t, {
    'shop.orders': { ...IDLE, table: 'lake.orders', lag: 7, lastCommit },
    'shop.users': { ...IDLE, table: 'lake.users' },
  })
  const all = await status('--url', address)
  t.is(all.code, 0)
  t.deepEqual(
    all.lines.map((line) => line.split(/ {2,}/)[0]),
    ['table', 'lake.orders', 'lake.users', 'query shop (running): 2 tables, 1 behind, 1 up to date'],
  )
  for (const name of ['shop.orders', 'lake.orders']) {
    const { code, lines } = await status(name, '--url', address)
    t.is(code, 0)
    t.regex(lines[1] ?? '', /^lake\.orders +3 +7 +\d+ s +waiting$/)
    t.is(lines.at(-1), 'query shop (running): 1 tables, 1 behind')
  }
  const { lines } = await status('shop.users', '--url', address, '--json')
  const report = JSON.parse(lines.join('\n'))
  t.like(report, { query: 'shop', state: 'running', problems: [] })
  t.deepEqual(
    report.tables.map(({ topic, lag }: { topic: string; lag: number }) => [topic, lag]),
    [['shop.users', 0]],
  )
  const unknown = { code: 'CONFIG_INVALID', message: 'there is no table "shop": name one by its topic' }
  await t.throwsAsync(status('shop', '--url', address), unknown)
})

test('by a worker: exit code 1 where a table that is asked for needs help', async (t) => {
  const error = { code: 'BAD_RECORD', message: 'no header byte' } as const
  const address = await worker(t, {
    'shop.orders': { ...IDLE, table: 'lake.orders', state: 'ended', lag: null, error },
    'shop.users': { ...IDLE, table: 'lake.users' },
    'shop.parts': { ...IDLE, table: 'lake.parts', needsResync: true },
  })
  t.is((await status('--url', address)).code, 1)
  t.is((await status('shop.users', '--url', address)).code, 0)
  t.is((await status('shop.parts', '--url', address)).code, 1)
  const { code, lines } = await status('shop.orders', '--url', address)
  t.is(code, 1)
  t.true(lines.includes('BAD_RECORD shop.orders: no header byte'), lines.join('\n'))
})

test('by a worker: a table whose entry in its catalog is not right needs no help, but is told', async (t) => {
  const error = { code: 'CATALOG_CONFLICT', message: 'two places', since: '2026-01-01T00:00:00Z', attempts: 3 } as const
  const address = await worker(t, {
    'shop.orders': { ...IDLE, table: 'lake.orders', catalog: { name: 'lake.orders', state: 'failing', error } },
    'shop.users': { ...IDLE, table: 'lake.users', catalog: { name: 'lake.users', state: 'registered', error: null } },
  })
  const { code, lines } = await status('--url', address)
  t.is(code, 0)
  t.regex(lines.find((line) => line.startsWith('lake.orders ')) ?? '', /not in its catalog as it is$/)
  t.regex(lines.find((line) => line.startsWith('lake.users ')) ?? '', /waiting$/)
  t.true(lines.includes('CATALOG_CONFLICT lake.orders: two places'), lines.join('\n'))
  const { tables } = JSON.parse((await status('shop.orders', '--url', address, '--json')).lines.join('\n'))
  t.like(tables[0].catalog, { name: 'lake.orders', state: 'failing', error: { code: 'CATALOG_CONFLICT' } })
})

test('whether there is such a table is not said where nobody could tell', async (t) => {
  const starting = await status('shop.orders', '--url', await worker(t))
  t.like(starting, { code: 0, lines: ['query  (starting): 0 tables'] })
  // Which topics a pattern takes, Kafka alone knows.
  const config = join(dir, 'away.yaml')
  writeFileSync(
    config,
    `queryName: q
kafka: { brokers: "127.0.0.1:1", retry: { retries: 0 } }
schemaRegistry: { url: "http://127.0.0.1:1" }
tables: { '/shop\\.(.*)/': { path: ./$1 } }
`,
  )
  const { code, lines } = await status('shop.orders', '-c', config)
  t.is(code, 1)
  t.regex(lines[0] ?? '', /^KAFKA_UNREACHABLE /)
  t.is(lines[1], 'query q: 0 tables')
})

withAddon('by the tables: one, by its topic, name or path, with its partitions', async (t) => {
  const broker = await EmbeddedBroker.start()
  t.teardown(() => broker.close())
  const changes = (count: number) => Array.from({ length: count }, () => ({ key: null, value: null, timestamp: 0 }))
  broker.createTopic('shop.orders', 2)
  broker.append('shop.orders', 0, changes(10))
  broker.append('shop.orders', 1, changes(4))
  const path = join(dir, 'orders')
  const table = await DeltaTable.open({ path, primaryKey: ['id'] })
  const offsets = [{ appId: 'q:shop.orders:0', expected: null, last: 7n }]
  await table.merge(tableFromArrays({ id: BigInt64Array.of(1n, 2n, 3n) }), { offsets })
  await table.close()
  const config = join(dir, 'q.yaml')
  writeFileSync(
    config,
    `queryName: q
kafka: { brokers: "${broker.brokers[0]}" }
schemaRegistry: { url: "http://127.0.0.1:1" }
tables:
  shop.orders: { path: ./orders, schema: lake, tableName: orders }
  shop.gone: { path: ./gone, schema: lake, tableName: gone }
`,
  )
  const all = await status('-c', config)
  t.is(all.code, 1)
  t.is(all.lines.at(-1), 'query q: 2 tables, 1 need help')
  t.true(all.lines.some((line) => line.startsWith('TOPIC_NOT_FOUND shop.gone: ')))
  t.false(all.lines.some((line) => line.startsWith('partition')))
  for (const name of ['shop.orders', 'lake.orders', path]) {
    const { code, lines } = await status(name, '-c', config)
    t.is(code, 0, name)
    t.regex(lines[1] ?? '', /^lake\.orders +0 +3 +1 /)
    t.deepEqual(
      lines.slice(3).map((line) => line.trim().split(/ +/)),
      [
        ['partition', 'applied', 'end', 'lag'],
        ['0', '7', '10', '2'],
        ['1', '-', '4', '-'],
      ],
    )
  }
  const { lines } = await status('lake.orders', '-c', config, '--json')
  t.like(JSON.parse(lines.join('\n')).tables, {
    length: 1,
    0: { topic: 'shop.orders', path, version: 0, rows: 3, lag: null, otherQueries: [] },
  })
  await t.throwsAsync(status('orders', '-c', config), { code: 'CONFIG_INVALID', message: /no table "orders"/ })
})
