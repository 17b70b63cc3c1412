/** `kafka2delta status [TABLE]`: what it prints and its exit code. */

import { EventEmitter } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { stripVTControlCharacters } from 'node:util'
import test, { type ExecutionContext } from 'ava'
import { Command } from 'commander'
import type { Act } from '../../src/cli/command.js'
import { register } from '../../src/cli/commands/status.js'
import { HttpServer } from '../../src/http/server.js'
import type { StreamingQuery, StreamingQueryStatus } from '../../src/stream/index.js'

const dir = mkdtempSync(join(tmpdir(), 'kafka2delta-status-'))
test.after.always(() => rmSync(dir, { recursive: true, force: true }))

/** What the command writes, without colours, and its exit code. */
async function status(...args: string[]): Promise<{ code: number; lines: string[] }> {
  const stdout = new PassThrough()
  let code = -1
  const act: Act =
    (run) =>
    async (...given) => {
      code = await run(...(given.slice(0, -1) as never), { stdout, stderr: new PassThrough() })
    }
  const program = new Command().exitOverride()
  register(program, act)
  await program.parseAsync(['status', ...args], { from: 'user' })
  const text = String(stdout.read() ?? '')
  return { code, lines: stripVTControlCharacters(text).trimEnd().split('\n') }
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
