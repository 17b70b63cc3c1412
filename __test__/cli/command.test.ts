/** The command as a process, with the real addon. */

import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { tableFromArrays } from 'apache-arrow'
import test from 'ava'
import { DeltaTable } from '../../src/delta/table.js'
import { EmbeddedBroker } from '../../src/demo/broker/index.js'
import { loadFixtureSet } from '../../src/demo/fixtures.js'
import { EmbeddedRegistry } from '../../src/demo/registry.js'
import { readRows } from '../helpers/read.js'
import { startSilentServer } from '../kafka/support.js'

const root = fileURLToPath(new URL('../..', import.meta.url))
const hasAddon = existsSync(join(root, 'src', 'native.cjs'))
const withAddon = hasAddon ? test.serial : test.serial.skip

const dir = mkdtempSync(join(tmpdir(), 'kafka2delta-command-'))
test.after.always(() => rmSync(dir, { recursive: true, force: true }))

interface Ended {
  code: number | null
  stdout: string
  stderr: string
}

function start(args: string[], env: Record<string, string> = {}): { child: ChildProcess; ended: Promise<Ended> } {
  const child = spawn(process.execPath, ['--import=tsx', 'src/cli/main.ts', ...args], {
    cwd: root,
    env: { ...process.env, NO_COLOR: '1', ...env },
  })
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', (data) => {
    stdout += data
  })
  child.stderr.on('data', (data) => {
    stderr += data
  })
  const ended = new Promise<Ended>((resolve) => child.on('close', (code) => resolve({ code, stdout, stderr })))
  return { child, ended }
}

const run = (args: string[], env?: Record<string, string>) => start(args, env).ended

test('version, help and wrong use', async (t) => {
  const version = await run(['--version'])
  t.is(version.code, 0)
  t.regex(version.stdout, /^\d+\.\d+\.\d+/)
  t.is((await run(['--help'])).code, 0)
  const wrong = await run(['run', '--nonsense'])
  t.is(wrong.code, 2)
  t.regex(wrong.stderr, /unknown option '--nonsense'/)
  const missing = await run(['run', '-c', join(dir, 'no.yaml')])
  t.is(missing.code, 2)
  t.regex(missing.stderr, /error CONFIG_UNREADABLE/)
})

test('a reader that has gone ends it without a word, as `| head` does', async (t) => {
  const { child, ended } = start(['--help'])
  child.stdout?.destroy()
  const { code, stderr } = await ended
  t.is(code, 141)
  t.is(stderr, '')
})

withAddon('run --available-now: JSON lines, exit code 0, and nothing to do the second time', async (t) => {
  const broker = await EmbeddedBroker.start()
  const registry = await EmbeddedRegistry.start()
  t.teardown(() => Promise.all([broker.close(), registry.close()]).then(() => {}))
  await loadFixtureSet(join(root, 'resources/fixtures/shop'), broker, registry)
  const config = join(dir, 'shop.yaml')
  writeFileSync(
    config,
    `queryName: shop
schemaRegistry: { url: "${registry.url}" }
tables:
  postgres.public.orders: { path: ./orders, partitionCols: [year], additionalCols: ["YEAR(created_at) AS year"] }
  postgres.public.users: { path: "\${USERS}", schema: shop, tableName: users }
`,
  )
  const env = { KAFKA2DELTA_BROKERS: broker.brokers.join(','), USERS: join(dir, 'users') }
  const first = await run(['run', '-c', config, '--available-now', '--log-level', 'warn'], env)
  t.is(first.code, 0, first.stderr)
  const lines = first.stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  t.deepEqual(
    lines
      .filter(({ event }) => event === 'progress')
      .map(({ table }) => table)
      .sort(),
    [join(dir, 'orders'), 'shop.users'],
  )
  t.deepEqual(lines.at(-1), { event: 'terminated', name: 'shop', error: null })
  const second = await run(['run', '-c', config, '--available-now', '--log-level', 'warn'], env)
  t.is(second.code, 0, second.stderr)
  t.deepEqual(
    second.stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line).event),
    ['terminated'],
  )
})

withAddon('a system that cannot be reached: exit code 3; a signal: 143 after a clean stop', async (t) => {
  const broker = await EmbeddedBroker.start()
  t.teardown(() => broker.close())
  broker.createTopic('a')
  // The start waits for it.
  const registry = await startSilentServer(t)
  const config = join(dir, 'signal.yaml')
  writeFileSync(
    config,
    `queryName: q
kafka: { brokers: "${broker.brokers[0]}" }
schemaRegistry: { url: "http://127.0.0.1:${registry.port}" }
tables: { a: { path: ./a } }
`,
  )
  const unreachable = await run(['run', '-c', config, '--brokers', '127.0.0.1:1', '--log-level', 'silent'])
  t.is(unreachable.code, 3)
  t.regex(unreachable.stderr, /^error KAFKA_UNREACHABLE/)
  const { child, ended } = start(['run', '-c', config])
  while (registry.connections() === 0) await sleep(20)
  child.kill('SIGTERM')
  const stopped = await ended
  t.is(stopped.code, 143, stopped.stderr)
  t.regex(stopped.stderr, /SIGTERM: finishing/)
})

withAddon('a demo that is killed goes on: nothing lost, nothing doubled', async (t) => {
  const args = ['demo', '--orders', '600', '--changes', '1200', '--seed', '7', '--dir', join(dir, 'demo')]
  const { child, ended } = start([...args, '--rate', '600'])
  // A busy machine takes its time to start; at this rate the changes alone take two seconds from then on.
  await new Promise<void>((resolve) => {
    child.stdout?.on('data', (data) => {
      if (String(data).includes('everything lies in')) resolve()
    })
    child.on('close', () => resolve())
  })
  await sleep(1000)
  child.kill('SIGKILL')
  await ended
  const again = await run(args)
  t.is(again.code, 0, again.stderr)
  t.is(again.stdout.match(/equal to the source: all/g)?.length, 3)
  t.regex(again.stdout, /It was ended once before and went on: nothing lost, nothing doubled/)
  const other = await run(['demo', '--seed', '8', '--dir', join(dir, 'demo')])
  t.is(other.code, 2)
  t.regex(other.stderr, /holds a demo with seed 7, not 8/)
})

withAddon('commands on a table: describe, history, compact, checkpoint, vacuum', async (t) => {
  const path = join(dir, 'kept')
  const table = await DeltaTable.open({ path, primaryKey: ['id'], name: 'kept' })
  for (let i = 0; i < 10; i++) {
    const offsets = [{ appId: 'q:a:0', ...(i > 0 ? { expected: BigInt(i - 1) } : { expected: null }), last: BigInt(i) }]
    await table.merge(tableFromArrays({ id: BigInt64Array.of(BigInt(i), 100n), at: Int32Array.of(i, i) }), { offsets })
  }
  await table.close()

  const described = await run(['describe', path])
  t.is(described.code, 0, described.stderr)
  t.regex(described.stdout, /rows +11\n/)
  t.regex(described.stdout, /files +10, /)
  t.regex(described.stdout, /q:a:0 +9\n/)
  const info = JSON.parse((await run(['describe', path, '--json'])).stdout)
  t.like(info, { exists: true, name: 'kept', version: 9, numRows: 11, offsets: [{ appId: 'q:a:0', version: '9' }] })

  const history = await run(['history', path, '--limit', '3'])
  t.is(history.code, 0, history.stderr)
  t.is(history.stdout.trim().split('\n').length, 4)
  t.regex(history.stdout, /^ *9 +\d{4}-.*MERGE/m)

  const compacted = await run(['compact', path])
  t.is(compacted.code, 0, compacted.stderr)
  t.regex(compacted.stdout, /^version 10: 10 files \(.*\) became 1 \(/)
  t.regex((await run(['compact', path])).stdout, /^nothing is due/)
  const full = await run(['compact', path, '--full', '--json'])
  t.is(full.code, 0, full.stderr)
  t.is(JSON.parse(full.stdout).steps, 0)

  const checkpoint = await run(['checkpoint', path, '--json'])
  t.is(checkpoint.code, 0, checkpoint.stderr)
  t.is(JSON.parse(checkpoint.stdout).version, 10)
  t.true(existsSync(join(path, '_delta_log', '00000000000000000010.checkpoint.parquet')))

  t.is((await run(['vacuum', path, '--retention', '1 hour'])).code, 2)
  const kept = await run(['vacuum', path])
  t.regex(kept.stdout, /^0 files, /)
  const dry = await run(['vacuum', path, '--retention', '0 seconds', '--dry-run', '--json'])
  t.is(dry.code, 0, dry.stderr)
  const { numFiles } = JSON.parse(dry.stdout)
  t.true(numFiles >= 10)
  const forced = await run(['vacuum', path, '--retention', '0 seconds', '--force', '--json'])
  t.is(JSON.parse(forced.stdout).numFiles, numFiles)
  t.is((await DeltaTable.open({ path }).then((opened) => opened.info())).numRows, 11)
  const rows = await readRows(path, { columns: ['id', 'at'], orderBy: ['id'] })
  t.deepEqual(
    rows.map(({ id, at }) => [Number(id), at]),
    [...Array.from({ length: 10 }, (_, i) => [i, i]), [100, 9]],
  )
})

withAddon('commands on a table: what is wrong is said', async (t) => {
  const none = await run(['describe', join(dir, 'nowhere')])
  t.is(none.code, 3, none.stderr)
  t.regex(none.stderr, /there is no Delta table at /)
  const option = await run(['compact', join(dir, 'nowhere'), '--deleted-share', '2'])
  t.is(option.code, 2)
  const config = join(dir, 'few.yaml')
  writeFileSync(
    config,
    `queryName: q
kafka: { brokers: ["localhost:1"] }
schemaRegistry: { url: "http://localhost:1" }
tables:
  a.b.c: { path: ./somewhere }
`,
  )
  const unknown = await run(['vacuum', 'a.b.d', '-c', config])
  t.is(unknown.code, 2)
  t.regex(unknown.stderr, /has no table "a\.b\.d"; name one by its topic: a\.b\.c/)
  const known = await run(['history', 'a.b.c', '-c', config])
  t.not(known.code, 0)
  t.regex(known.stderr, /somewhere/)
})
