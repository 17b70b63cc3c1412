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

/** Avro's int, zigzag. */
function avroInt(value: number): number[] {
  const bytes: number[] = []
  for (let rest = value >= 0 ? value * 2 : -value * 2 - 1; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) return [...bytes, rest]
    bytes.push((rest % 128) + 128)
  }
}

const avroText = (text: string | null) => (text === null ? [0] : [2, ...avroInt(text.length), ...Buffer.from(text)])

/** Messages of a snapshot have a marker; null is a change, and `delete` one. Times are milliseconds after its beginning. */
type Told = readonly [partition: number, id: number, marker: string | null, at: number]

const HOUR = 3_600_000
const BEGAN = Date.parse('2026-03-01T00:00:00Z')

/** A topic of flattened values, whose messages have no time but Kafka's. */
async function tell(topic: string, partitions: number, told: readonly Told[]): Promise<void> {
  const { broker } = await serve('hard-seq')
  broker.createTopic(topic, partitions)
  for (const one of told) await tellOne(topic, one)
}

async function tellOne(topic: string, [partition, id, marker, at]: Told): Promise<void> {
  const { broker } = await serve('hard-seq')
  // Schemas 3 and 5: the key, and v, __deleted, __op, __timestamp, __log_sequence_number, __source_snapshot, __source_sequence.
  const key = Buffer.from([0, 0, 0, 0, 3, ...avroInt(id)])
  const isDelete = marker === 'delete'
  const op = isDelete ? 'd' : marker === null ? 'c' : 'r'
  const snapshot = isDelete ? null : marker
  const fields = [0, ...avroText(String(isDelete)), ...avroText(op), 0, 0, ...avroText(snapshot), 0]
  const value = Buffer.from([0, 0, 0, 0, 5, ...avroInt(id), ...fields])
  broker.append(topic, partition, [{ key, value, timestamp: BEGAN + at }])
}

for (const [how, skew] of [
  ['behind', -50],
  ['ahead', 5000],
] as const) {
  test.serial(`several partitions, of which one has a clock that is ${how}`, async (t) => {
    t.timeout(60_000)
    const topic = `clock-${how}`
    await tell(topic, 3, [
      // Keys that are gone, and of which the topic does not tell it.
      [0, 4, null, -2 * HOUR],
      [1, 5, null, -2 * HOUR],
      [2, 6, null, -2 * HOUR],
      // Gone, too, and changed in the moment before: the snapshot's rows follow, or nothing that tells it.
      [0, 7, null, -2000],
      [1, 8, null, -2000],
      [2, 9, null, -2000],
      [0, 1, 'first_in_data_collection', 0],
      [1, 2, 'true', skew],
      [0, 3, 'last_in_data_collection', 20],
    ])
    const { rows, run } = await prepared('hard-seq', topic)
    t.is((await rows()).length, 9)
    // Of what may follow the snapshot the log does not tell that it does not: a change before it counts.
    const gone = how === 'behind' ? [['4'], ['5'], ['6'], ['7'], ['8']] : [['4'], ['5'], ['6'], ['7']]
    const { extra, uncertain, deleted } = await run()
    t.deepEqual(extra.sort(), gone)
    t.is(deleted, gone.length)
    t.is(uncertain, 2)
    t.is((await rows()).length, 9 - gone.length)
    t.like(await run(), { extra: [] })
  })
}

test.serial('--since allows for clocks that differ, too', async (t) => {
  t.timeout(60_000)
  await tell('since', 2, [
    [1, 4, null, -2 * HOUR],
    [0, 1, null, 0],
    [1, 2, null, -50],
  ])
  const { rows, run } = await prepared('hard-seq', 'since')
  t.like(await run({ since: new Date(BEGAN).toISOString() }), { extra: [['4']], deleted: 1, uncertain: 1 })
  t.is((await rows()).length, 2)
})

test.serial('changes between a whole snapshot and one that is not through are kept', async (t) => {
  t.timeout(60_000)
  await tell('interrupted', 2, [
    [1, 4, null, -2 * HOUR],
    [0, 1, 'first', 0],
    [0, 2, 'last', 10],
    [1, 5, null, 1000],
    [0, 1, 'first', 2000],
    [1, 6, 'true', 2001],
  ])
  const { run } = await prepared('hard-seq', 'interrupted')
  t.like(await run(), { extra: [['4']], deleted: 1 })
})

test.serial('a message without a time may be of the snapshot', async (t) => {
  t.timeout(60_000)
  await tell('timeless', 2, [
    [1, 4, null, -2 * HOUR],
    [0, 1, 'first', 0],
    [1, 2, 'true', -BEGAN - 1],
    [0, 3, 'last', 10],
  ])
  const { run } = await prepared('hard-seq', 'timeless')
  t.like(await run(), { extra: [['4']], deleted: 1 })
})

test.serial('a partition that has lost all of its messages', async (t) => {
  t.timeout(60_000)
  for (const [topic, at] of [
    ['emptied-long-ago', -2 * HOUR],
    ['emptied', 5],
  ] as const) {
    await tell(topic, 2, [
      [0, 1, 'first', 0],
      [1, 3, at < 0 ? null : 'true', at],
      [0, 2, 'last', 10],
    ])
    const { run, broker } = await prepared('hard-seq', topic)
    broker.setLogStart(topic, 1, 1)
    if (at < 0) t.like(await run({ dryRun: true }), { extra: [['3']] })
    else await t.throwsAsync(run({ dryRun: true }), { code: 'DATA_LOSS' })
    const since = new Date(BEGAN).toISOString()
    if (at < 0) t.like(await run({ since, dryRun: true }), { extra: [['3']] })
    else await t.throwsAsync(run({ since, dryRun: true }), { code: 'DATA_LOSS' })
  }
})

for (const [how, skew] of [
  ['behind', -2 * HOUR],
  ['ahead', 2 * HOUR],
] as const) {
  test.serial(`a broker whose clock is hours ${how}: envelopes have the connector's`, async (t) => {
    t.timeout(60_000)
    const topic = `hours-${how}`
    const { broker, dir } = await serve('hard-env')
    const messages = readFixtureTopic(dir, 'henv.public.openx')
    const start = messages[0]?.timestamp as number
    broker.createTopic(topic, 2)
    const put = (partition: number, at: number, skewed: number) => {
      const { key_b64, value_b64 } = messages[at] as FixtureMessage
      broker.append(topic, partition, [{ key: bytes(key_b64), value: bytes(value_b64), timestamp: start + skewed }])
    }
    put(0, FIRST, 0)
    put(1, TWO, skew)
    put(0, THREE, 2)
    const { path, rows, run } = await prepared('hard-env', topic)
    const before = await rows()
    t.is(before.length, 3)
    await addRows(path, 'id', [77])
    t.like(await run(), { extra: [['77']], uncertain: 0 })
    t.deepEqual(await rows(), before)
  })
}

test.serial('a topic with the snapshots of several tables needs --since', async (t) => {
  t.timeout(60_000)
  const { broker, dir } = await serve('hard-env')
  broker.createTopic('routed', 1)
  for (const table of ['part_eu', 'part_us']) {
    for (const { key_b64, value_b64, timestamp } of readFixtureTopic(dir, `henv.public.${table}`)) {
      broker.append('routed', 0, [{ key: bytes(key_b64), value: bytes(value_b64), timestamp }])
    }
  }
  const { run } = await prepared('hard-env', 'routed')
  await t.throwsAsync(run({ dryRun: true }), { code: 'CONFIG_INVALID', message: /several tables.*--since/ })
})

test.serial('a look reads what is new since the one before, and no key again', async (t) => {
  t.timeout(60_000)
  const temporary = join(folder, 'temporary')
  mkdirSync(temporary)
  await tell('looks', 1, [
    [0, 1, 'first', 0],
    [0, 2, 'true', 1],
    [0, 3, 'last', 2],
  ])
  const { config } = await prepared('hard-seq', 'looks')
  const { options, table } = await configuredTable('looks', config)
  const before = process.env.TMPDIR
  process.env.TMPDIR = temporary
  const source = await TopicSource.open({ options, table, key: [{ name: 'id', type: 'integer' }], since: null })
  process.env.TMPDIR = before ?? ''
  if (before === undefined) delete process.env.TMPDIR
  const selection = { columns: [{ field: 'id', reading: source.reading() }], key: [0] }
  const all = async () => {
    const found: SourceRow[] = []
    for await (const rows of source.rows(selection, 2)) found.push(...rows)
    return found.flat()
  }
  const keys = join(temporary, readdirSync(temporary)[0] as string, 'keys')
  const forgetFiles = () => {
    for (const file of readdirSync(keys)) if (file.endsWith('.parquet')) rmSync(join(keys, file))
  }
  try {
    t.deepEqual(await all(), ['1', '2', '3'])
    forgetFiles()
    await tellOne('looks', [0, 10, null, 3])
    await tellOne('looks', [0, 4, null, 4])
    await source.refresh()
    t.deepEqual(await all(), ['1', '2', '3', '4', '10'])
    forgetFiles()
    for (const key of await all()) t.deepEqual(await source.rowsOf(selection, [[key as string]]), [[key as string]])
    t.deepEqual(await source.rowsOf(selection, [['-1']]), [])
    await source.refresh()
    await tellOne('looks', [0, 5, null, 5])
    await tellOne('looks', [0, 5, 'delete', 6])
    await tellOne('looks', [0, 6, null, 7])
    await source.refresh()
    t.deepEqual(await all(), ['1', '2', '3', '4', '6', '10'])
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
