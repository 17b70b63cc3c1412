/** `kafka2delta resync` on captured topics: keys that the last snapshot did not show, and no later change brought. */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Int32, Table, vectorFromArray } from 'apache-arrow'
import test from 'ava'
import { type ResyncFlags, resync } from '../../src/cli/commands/resync.js'
import { DeltaTable, streamToDelta, type TableOptions } from '../../src/index.js'
import type { Output } from '../../src/terminal/output.js'
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
  return { path, rows, run, broker }
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
