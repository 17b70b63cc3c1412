/** `kafka2delta check`: configurations that work, and mistakes of many kinds, on the embedded broker and registry. */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import test, { type ExecutionContext } from 'ava'
import { type CheckOptions, check } from '../../src/check/check.js'
import { checkLines } from '../../src/check/print.js'
import { allFindings, type CheckReport } from '../../src/check/report.js'
import { EmbeddedBroker } from '../../src/demo/broker/index.js'
import { EmbeddedRegistry } from '../../src/demo/registry.js'
import { streamToDelta } from '../../src/index.js'
import { resolveOptions } from '../../src/options/resolve.js'
import type { StreamOptions } from '../../src/options/types.js'
import { closeAll, serve } from './support/captured-sets.js'
import { capturedMessages } from './support/real-kafka.js'

const folder = mkdtempSync(join(tmpdir(), 'kafka2delta-check-test-'))
test.after.always(async () => {
  await closeAll()
  rmSync(folder, { recursive: true, force: true })
})

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const USERS = 'postgres.public.users'

let numLakes = 0

/** A broker of its own, which holds captured users, and the registry of the captured set. */
async function world(t: ExecutionContext) {
  const { dir, registry } = await serve('flat')
  const broker = await EmbeddedBroker.start()
  t.teardown(() => broker.close())
  const messages = capturedMessages(dir, USERS)
  const append = (
    topic: string,
    change: (message: (typeof messages)[number]) => object = () => ({}),
    partition = 0,
  ) => {
    const records = messages.map((message) => {
      const { key, value } = message
      return { key, value, timestamp: Date.now(), ...change(message) }
    })
    broker.append(topic, partition, records)
  }
  const make = (topic: string, numPartitions = 1, config: Record<string, string> = {}) => {
    broker.createTopic(topic, numPartitions, config)
    append(topic)
  }
  const lake = join(folder, String(numLakes++))
  mkdirSync(lake)
  const options = (tables: StreamOptions['tables'], more: Partial<StreamOptions> = {}): StreamOptions => ({
    queryName: 'checked',
    kafka: { brokers: broker.brokers, retry: { initialRetryTime: 50, maxRetryTime: 500, retries: 2 } },
    schemaRegistry: { url: registry.url },
    tables,
    ...more,
  })
  const look = (tables: StreamOptions['tables'], more: Partial<StreamOptions> = {}, how: CheckOptions = {}) =>
    check(resolveOptions(options(tables, more)), how)
  return { broker, registry, lake, make, append, options, look }
}

const tableOf = (report: CheckReport, topic: string) => {
  const found = report.tables.find((table) => table.topic === topic)
  if (!found) throw new Error(`no table of ${topic}: ${report.tables.map((table) => table.topic).join(', ')}`)
  return found
}
const codes = (report: CheckReport, topic: string) => tableOf(report, topic).findings.map(({ code }) => code)
const messageOf = (report: CheckReport, code: string) =>
  allFindings(report).find((found) => found.code === code)?.message ?? `no ${code}`

// biome-ignore lint/suspicious/noControlCharactersInRegex: colours
const plain = (lines: string[]) => lines.map((line) => line.replace(/\u001b\[\d+m/g, ''))

test('what works: systems, patterns, columns, and what would be added to a table', async (t) => {
  const { lake, make, append, options, look } = await world(t)
  for (const topic of ['shop.users', 'shop.orders', 'shop.tmp']) make(topic)
  make('shop.debezium_signal')
  const tables = {
    '/shop\\.(.*)/': {
      path: join(lake, '$1'),
      exclude: 'shop.tmp',
      additionalCols: ['UPPER(name) AS shout'],
      indexDir: join(lake, 'index'),
    },
  }
  const query = await streamToDelta({ ...options(tables), trigger: { availableNow: true } })
  await query.awaitTermination()
  const before = filesIn(lake)
  t.true(before.some((file) => file.startsWith('index/')))

  const report = await look(tables)
  t.deepEqual(
    report.systems.map(({ kind, ok }) => [kind, ok]),
    [
      ['broker', true],
      ['registry', true],
      ['store', true],
    ],
  )
  t.deepEqual(report.entries, [
    { entry: '/shop\\.(.*)/', path: join(lake, '$1'), topics: ['shop.orders', 'shop.users'], excluded: ['shop.tmp'] },
  ])
  t.deepEqual(report.passedOver, [{ topic: 'shop.debezium_signal', why: 'holds signals to a connector' }])
  const users = tableOf(report, 'shop.users')
  t.like(users, { form: 'flattened', primaryKey: ['id'], delta: { version: 0, rows: 16 } })
  t.like(
    users.columns.find(({ name }) => name === 'id'),
    { deltaType: 'integer', isKey: true, change: 'none' },
  )
  t.like(
    users.columns.find(({ name }) => name === 'shout'),
    { deltaType: 'string', source: null, change: 'none' },
  )
  t.deepEqual(
    users.findings.filter(({ severity }) => severity === 'error'),
    [],
  )
  t.is(users.partitions[0]?.applied, String(BigInt(users.partitions[0]?.end ?? 0) - 1n))

  // A column that the options begin to make, and more messages.
  append('shop.users')
  const more = await look({ 'shop.users': { path: join(lake, 'users'), additionalCols: ['LENGTH(name) AS size'] } })
  t.like(
    tableOf(more, 'shop.users').columns.find(({ name }) => name === 'size'),
    { deltaType: 'integer', change: 'new' },
  )
  const one = await look(tables, {}, { isWanted: ({ topic }) => topic === 'shop.orders' })
  t.deepEqual(
    one.tables.map(({ topic }) => topic),
    ['shop.orders'],
  )
  const unread = await look(tables, {}, { sample: false })
  t.is(tableOf(unread, 'shop.orders').sample, null)
  for (const line of plain(checkLines(report, true))) t.log(line)
  t.deepEqual(filesIn(lake), before)
})

test('mistakes of many kinds, each told with what to do', async (t) => {
  const { broker, registry, lake, make, append, look } = await world(t)
  make('good')
  broker.createTopic('unkeyed')
  append('unkeyed', () => ({ key: null }))
  broker.createTopic('json')
  append('json', () => ({ key: Buffer.from('{"id":1}'), value: Buffer.from('{"id":1,"name":"a"}') }))
  broker.createTopic('empty')
  make('short', 2, { 'cleanup.policy': 'compact,delete', 'retention.ms': '3600000' })
  make('history', 1, { 'cleanup.policy': 'compact' })
  make('wide', 1, { 'max.message.bytes': '200000000' })
  for (const topic of ['wrong-columns', 'wrong-key', 'wrong-expression', 'inner', 'damaged']) make(topic)
  registry.setSchema(9_001, { type: 'record', name: 'Plain', fields: [{ name: 'id', type: 'int' }] })
  broker.createTopic('plain')
  const bare = Buffer.from([0, 0, 0, 0x23, 0x29, 2])
  broker.append('plain', 0, [{ key: bare, value: bare, timestamp: Date.now() }])
  broker.createTopic('unknown-id')
  const lost = Buffer.from([0, 0, 0x7f, 0, 0, 2])
  broker.append('unknown-id', 0, [{ key: bare, value: lost, timestamp: Date.now() }])
  mkdirSync(join(lake, 'damaged', '_delta_log'), { recursive: true })
  writeFileSync(join(lake, 'damaged', '_delta_log', '00000000000000000000.json'), 'no JSON\n')

  const path = (name: string) => join(lake, name)
  const report = await look(
    {
      good: { path: path('good') },
      unkeyed: { path: path('unkeyed') },
      json: { path: path('json') },
      empty: { path: path('empty') },
      short: { path: path('short') },
      history: { path: path('history'), writeMode: 'append' },
      wide: { path: path('wide') },
      'wrong-columns': {
        path: path('wrong-columns'),
        excludeColumns: ['passwd'],
        partitionCols: ['yaer'],
        clusterBy: ['nobody'],
      },
      'wrong-key': { path: path('wrong-key'), primaryKey: 'uid' },
      'wrong-expression': { path: path('wrong-expression'), additionalCols: ['YAER(created_at) AS year'] },
      inner: { path: path('good/inner') },
      damaged: { path: path('damaged') },
      plain: { path: path('plain'), unavailableValuePlaceholder: 'nothing' },
      'unknown-id': { path: path('unknown-id') },
      missing: { path: path('missing') },
      gold: { path: path('gold') },
      '/shop\\.(.*)/': { path: path('shop/$1') },
    },
    {
      onBadRecord: 'fail',
    },
  )
  for (const line of plain(checkLines(report, false))) t.log(line)
  const has = (topic: string, code: string) => t.true(codes(report, topic).includes(code as never), `${topic}: ${code}`)
  has('unkeyed', 'NO_KEY')
  t.false(codes(report, 'unkeyed').includes('BAD_RECORD'))
  has('json', 'NOT_AVRO')
  t.regex(messageOf(report, 'NOT_AVRO'), /JSON, not Avro: set (key|value)\.converter=/)
  has('empty', 'TOPIC_EMPTY')
  has('short', 'ROWS_EXPIRE')
  has('history', 'COMPACTED_HISTORY')
  has('wide', 'MESSAGE_TOO_LARGE')
  has('wrong-columns', 'UNKNOWN_COLUMN')
  has('wrong-columns', 'COLUMN_MISSING')
  has('wrong-key', 'KEY_COLUMN_MISSING')
  has('wrong-expression', 'EXPRESSION_INVALID')
  has('damaged', 'TABLE_CORRUPT')
  has('plain', 'VALUE_NOT_DEBEZIUM')
  has('unknown-id', 'BAD_RECORD')
  has('missing', 'TOPIC_NOT_FOUND')
  t.regex(tableOf(report, 'gold').findings[0]?.message ?? '', /did you mean good\?$/)
  const global = report.findings.map(({ code }) => code)
  t.true(global.includes('PATHS_NESTED'))
  t.true(global.includes('PATTERN_TAKES_NOTHING'))
  t.deepEqual(
    tableOf(report, 'good').findings.filter(({ severity }) => severity !== 'note'),
    [],
  )
  t.true(allFindings(report).every(({ message, remedy }) => message.length > 10 && remedy.length > 5))
  // It looked at all of these tables, and made none.
  t.deepEqual(readdirSync(lake), ['damaged'])
})

test('systems that do not answer: the reason, how to mend it, and no endless wait', async (t) => {
  const { broker, lake, make, look } = await world(t)
  make('users')
  await t.notThrowsAsync(async () => {
    const begun = Date.now()
    const report = await look(
      { users: { path: join(lake, 'users') } },
      {
        schemaRegistry: { url: 'http://127.0.0.1:9' },
        kafka: { brokers: [...broker.brokers, 'no-such-host.invalid:9092'] },
      },
    )
    for (const line of plain(checkLines(report, false))) t.log(line)
    t.true(Date.now() - begun < 20_000)
    const [first, second, registry] = report.systems
    t.true(first?.ok)
    t.like(second, { ok: false, finding: { code: 'KAFKA_UNREACHABLE', severity: 'warning' } })
    t.like(registry, { ok: false, finding: { code: 'REGISTRY_UNREACHABLE', severity: 'error' } })
    t.regex(registry?.finding?.remedy ?? '', /nothing listens there/)
    t.deepEqual(codes(report, 'users'), [])
    t.true(checkLines(report, false).some((line) => line.includes('as far as they could be looked at')))
  })
  await broker.close()
  const away = await look({ users: { path: join(lake, 'users') } })
  t.like(away.systems[0], { ok: false, finding: { severity: 'error' } })
  t.deepEqual(away.findings, [])
})

test('a registry that wants a password', async (t) => {
  const { lake, make, look } = await world(t)
  make('users')
  const registry = await EmbeddedRegistry.start({ credentials: { user: 'a', password: 'secret' } })
  t.teardown(() => registry.close())
  const report = await look({ users: { path: join(lake, 'users') } }, { schemaRegistry: { url: registry.url } })
  t.like(report.systems[1], { ok: false, finding: { code: 'REGISTRY_AUTH' } })
})

test('the command: exit codes, JSON, and no colours into a pipe', async (t) => {
  const { broker, registry, lake, make } = await world(t)
  make('shop.users')
  const config = (name: string, tables: string) => {
    const file = join(lake, `${name}.yaml`)
    const kafka = `kafka: { brokers: ['${broker.brokers[0]}'] }`
    writeFileSync(file, `queryName: shop\n${kafka}\nschemaRegistry: { url: '${registry.url}' }\ntables:\n${tables}`)
    return file
  }
  const good = config('good', `  shop.users: { path: ./users }\n`)
  const bad = config('bad', `  shop.users: { path: ./users }\n  shop.missing: { path: ./missing }\n`)
  const text = await command('-c', good)
  t.is(text.code, 0, text.stderr)
  t.regex(text.stdout, /query shop: 1 table, 3 notes\n$/)
  // biome-ignore lint/suspicious/noControlCharactersInRegex: colours
  t.notRegex(text.stdout, /\u001b/)
  const wrong = await command('-c', bad, '--json')
  t.is(wrong.code, 1)
  const report = JSON.parse(wrong.stdout) as CheckReport & { ok: boolean }
  t.false(report.ok)
  t.deepEqual(codes(report, 'shop.missing'), ['TOPIC_NOT_FOUND'])
  t.is((await command('-c', bad, '--table', 'shop.users')).code, 0)
  t.is((await command('-c', bad, '--table', 'nonsense')).code, 2)
})

/** Runs `kafka2delta check`, as on a user's machine: on CI a pipe has colours. */
async function command(...args: string[]): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const { FORCE_COLOR: _, CI: __, ...env } = process.env
  const child = spawn(process.execPath, ['--import=tsx', 'src/cli/main.ts', 'check', ...args], { cwd: ROOT, env })
  const texts = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].on('data', (data) => {
      texts[name] += data
    })
  }
  const [code] = (await once(child, 'close')) as [number | null]
  return { code, ...texts }
}

/** Every file below a folder, with its size and when it was written. */
function filesIn(root: string): string[] {
  return readdirSync(root, { recursive: true, encoding: 'utf8' })
    .map((name) => ({ name, stat: statSync(join(root, name)) }))
    .filter(({ stat }) => stat.isFile())
    .map(({ name, stat }) => `${name} ${stat.size} ${stat.mtimeMs}`)
    .sort()
}
