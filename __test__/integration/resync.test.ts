/** `kafka2delta resync` on captured topics: keys that the last snapshot did not show, and no later change brought. */

import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Int32, Table, vectorFromArray } from 'apache-arrow'
import test from 'ava'
import { type ResyncFlags, resync } from '../../src/cli/commands/resync.js'
import { configuredTable } from '../../src/cli/configured-table.js'
import { type FixtureMessage, readFixtureTopic } from '../../src/demo/fixtures.js'
import { DeltaTable, streamToDelta, type TableOptions } from '../../src/index.js'
import { TopicSource } from '../../src/resync/topic-source.js'
import type { Output } from '../../src/terminal/output.js'
import type { SourceRow } from '../../src/verify/sources/source.js'
import { readTable } from '../helpers/read.js'
import { closeAll, serve } from './support/captured-sets.js'

const folder = mkdtempSync(join(tmpdir(), 'kafka2delta-resync-test-'))

test.after.always(async () => {
  await closeAll()
  rmSync(folder, { recursive: true, force: true })
})

async function prepared(set: string, topic: string, table: Partial<TableOptions> = {}) {
  const { broker, registry } = await serve(set)
  const path = join(folder, topic)
  const options = {
    queryName: 'shop',
    kafka: { brokers: broker.brokers },
    schemaRegistry: { url: registry.url },
    tables: { [topic]: { path, ...table } },
  }
  const query = await streamToDelta({ ...options, trigger: { availableNow: true } })
  await query.awaitTermination()
  const config = join(folder, `${topic}.json`)
  writeFileSync(config, JSON.stringify(options))
  const rows = async () => (await readTable(path)).toArray().map(String).sort()
  const run = async (flags: Partial<ResyncFlags> = {}) => {
    let printed = ''
    const stdout = {
      write: (text: string) => {
        printed += text
      },
    }
    const code = await resync(topic, { config, json: true, ...flags }, { stdout } as unknown as Output)
    return { code, ...JSON.parse(printed) }
  }
  return { path, rows, run, broker, config }
}

/** Rows behind the stream's back: as those of a snapshot that the source has lost since. */
async function addRows(path: string, key: string, ids: number[], additionalCols: string[] = []): Promise<void> {
  const table = await DeltaTable.open({ path, additionalCols })
  const columns = { [key]: vectorFromArray(ids, new Int32()) }
  await table.merge(new Table(columns), { primaryKey: [key] })
  await table.close()
}

for (const [set, topic] of [
  ['hard-env', 'henv.public.openx'],
  ['hard-seq', 'hseq.public.openx'],
] as const) {
  test.serial(`${topic}: by the snapshot's markers`, async (t) => {
    t.timeout(60_000)
    const { path, rows, run } = await prepared(set, topic)
    const before = await rows()
    t.like(await run(), { code: 0, extra: [], deleted: 0, version: null })
    await addRows(path, 'id', [77, 900])
    t.is((await rows()).length, before.length + 2)
    const dry = await run({ dryRun: true })
    t.deepEqual(dry.extra, [['77'], ['900']])
    t.is((await rows()).length, before.length + 2)
    t.like(await run(), { code: 0, deleted: 2, upserted: 0 })
    t.deepEqual(await rows(), before)
    t.like(await run(), { extra: [], deleted: 0 })
  })
}

test.serial('a topic that does not tell its snapshot needs --since', async (t) => {
  t.timeout(60_000)
  const { path, rows, run } = await prepared('flat', 'postgres.public.users')
  const before = await rows()
  await addRows(path, 'id', [77_000])
  await t.throwsAsync(run(), { code: 'CONFIG_INVALID', message: /--since/ })
  await t.throwsAsync(run({ since: 'yesterday' }), { code: 'CONFIG_INVALID' })
  t.like(await run({ since: '1970-01-01T00:00:00Z' }), { deleted: 1 })
  t.deepEqual(await rows(), before)
  // Everything that the topic has is from before.
  const later = await run({ since: '2100-01-01T00:00:00Z', dryRun: true })
  t.is(later.extra.length, before.length)
})

test.serial('a topic that has lost what followed the snapshot is refused', async (t) => {
  t.timeout(60_000)
  const { path, run, broker } = await prepared('hard-seq', 'hseq.public.pkt')
  await addRows(path, 'id', [77])
  broker.setLogStart('hseq.public.pkt', 0, 1)
  // The first marker is gone with the first message.
  await t.throwsAsync(run(), { code: 'CONFIG_INVALID', message: /beginning of the last snapshot/ })
  await t.throwsAsync(run({ since: '1970-01-01T00:00:00Z' }), { code: 'DATA_LOSS' })
})

const bytes = (text: string | null) => (text === null ? null : Buffer.from(text, 'base64'))

/** A topic of one partition with some messages of a captured one, at other times (milliseconds after its first). */
async function retold(topic: string, told: readonly [message: number, at: number][]): Promise<void> {
  const { broker, dir } = await serve('hard-env')
  const messages = readFixtureTopic(dir, 'henv.public.openx')
  const start = messages[0]?.timestamp as number
  broker.createTopic(topic, 1)
  for (const [message, at] of told) {
    const { key_b64, value_b64 } = messages[message] as FixtureMessage
    broker.append(topic, 0, [{ key: bytes(key_b64), value: bytes(value_b64), timestamp: start + at }])
  }
}

/** Messages of `henv.public.openx`, by their places. */
const [FIRST, THREE, THREE_DELETED, TWO] = [0, 2, 3, 6]

test.serial('within a partition the order of the offsets counts, whatever the timestamps say', async (t) => {
  t.timeout(60_000)
  // Deleted, and there again in the next message, whose timestamp is older.
  await retold('skewed', [
    [FIRST, 0],
    [THREE_DELETED, 10_500],
    [THREE, 10_100],
  ])
  const { path, rows, run } = await prepared('hard-env', 'skewed')
  const before = await rows()
  t.is(before.length, 2)
  const since = '1970-01-01T00:00:00Z'
  t.like(await run({ since }), { extra: [], deleted: 0, rows: 2 })
  await addRows(path, 'id', [77])
  t.like(await run({ since }), { extra: [['77']], deleted: 1 })
  t.deepEqual(await rows(), before)
})

test.serial(
  'messages that follow the snapshot’s first one are since then, whatever their timestamps say',
  async (t) => {
    t.timeout(60_000)
    await retold('early', [
      [FIRST, 0],
      [TWO, -5000],
      [THREE, 1],
    ])
    const { rows, run } = await prepared('hard-env', 'early')
    const before = await rows()
    t.is(before.length, 3)
    t.like(await run(), { extra: [], deleted: 0, rows: 3 })
    t.deepEqual(await rows(), before)
  },
)

test.serial('the keys of the topic are read once for all pages of a look', async (t) => {
  t.timeout(60_000)
  const temporary = join(folder, 'temporary')
  mkdirSync(temporary)
  const { config } = await prepared('hard-env', 'henv.public.pkt')
  const { options, table } = configuredTable('henv.public.pkt', config)
  const before = process.env.TMPDIR
  process.env.TMPDIR = temporary
  const source = await TopicSource.open({ options, table, key: [{ name: 'id', type: 'integer' }], since: 0 })
  process.env.TMPDIR = before ?? ''
  if (before === undefined) delete process.env.TMPDIR
  try {
    const selection = { columns: [{ field: 'id', reading: source.reading() }], key: [0] }
    const all: SourceRow[] = []
    for await (const rows of source.rows(selection, 1000)) all.push(...rows)
    t.true(all.length > 0)
    const [own = ''] = readdirSync(temporary)
    rmSync(join(temporary, own, 'keys'), { recursive: true })
    for (const [key] of all) t.deepEqual(await source.rowsOf(selection, [[key as string]]), [[key as string]])
    t.deepEqual(await source.rowsOf(selection, [['-1']]), [])
  } finally {
    await source.close()
  }
})

test.serial('a table with computed columns, which it is partitioned by', async (t) => {
  t.timeout(60_000)
  const additionalCols = ['YEAR(created_at) AS `the_year`']
  const table = { additionalCols, partitionCols: ['the_year'] }
  const { path, rows, run } = await prepared('flat', 'postgres.public.orders', table)
  const before = await rows()
  await addRows(path, 'id', [77_000], additionalCols)
  t.like(await run({ since: '1970-01-01T00:00:00Z' }), { deleted: 1 })
  t.deepEqual(await rows(), before)
})
