/** Options and results as they cross the border to the engine, by the addon itself. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { tableFromArrays } from 'apache-arrow'
import test from 'ava'
import { MERGE_FIGURES } from '../../src/delta/results.js'
import { scanTable } from '../../src/delta/scan.js'
import { DeltaTable, type DeltaTableOptions, tableHistory } from '../../src/delta/table.js'

const folder = mkdtempSync(join(tmpdir(), 'kafka2delta-border-'))
test.after.always(() => rmSync(folder, { recursive: true, force: true }))

const path = join(folder, 'table')
const rows = () => tableFromArrays({ id: BigInt64Array.of(1n, 2n) })

for (const [wrong, message] of [
  [{ compression: 'gzip' }, /^compression: unknown variant `gzip`, expected `snappy` or `zstd`$/],
  [{ writeMode: 'upsart' }, /^writeMode: unknown variant `upsart`/],
  [{ targetFileSize: 0 }, /^targetFileSize: must be above 0$/],
  [{ maxRewriteBytes: -1 }, /^maxRewriteBytes: invalid value: integer `-1`/],
  [{ rememberedKeys: '5' }, /^rememberedKeys: invalid type: string "5"/],
  [{ clusterBy: ['id', 5] }, /^clusterBy: invalid type: integer `5`/],
  [{ storageOptions: { region: 5 } }, /^region: invalid type: integer `5`/],
  [{ primaryKeys: ['id'] }, /^unknown field `primaryKeys`, expected one of `uri`/],
  [{ writeMode: 'scd2', scd2Columns: { validTill: 'x' } }, /^unknown field `validTill`/],
] as const) {
  test(`an error names the option: ${JSON.stringify(wrong)}`, async (t) => {
    const opened = DeltaTable.open({ path, ...wrong } as unknown as DeltaTableOptions)
    t.like(await t.throwsAsync(opened, { message }), { code: 'CONFIG_INVALID' })
  })
}

test('what a merge gives has the figures that are named, and the least options are taken', async (t) => {
  const table = await DeltaTable.open({ path, primaryKey: ['id'], rememberedKeys: 0, maxRewriteBytes: 0 })
  const result = await table.merge(rows())
  const others = ['version', 'addedColumns', 'widenedColumns', 'notes', 'timings', 'indexBytes', 'peakBytes']
  t.deepEqual(Object.keys(result).sort(), [...Object.keys(MERGE_FIGURES), ...others].sort())
  t.true(result.peakBytes > 500, 'the stream and a file')
  t.like(result, { version: 0, numRowsInserted: 2, numRowsUpserted: 2, numFilesAdded: 1 })
  const tooMuch = table.compact({ deletedShare: 2 })
  t.like(await t.throwsAsync(tooMuch, { message: /^deletedShare: is 2/ }), { code: 'CONFIG_INVALID' })
  t.is(await table.compact(), null)
  t.like(await table.checkpoint(), { version: 0 })
  t.deepEqual(await table.vacuum({ dryRun: true }), { files: [], numFiles: 0, bytes: 0 })
  t.like(await table.info(), { exists: true, version: 0, numRows: 2, mergeMode: 'merge-on-read', offsets: [] })
  await table.close()
})

test('a refresh that is stopped is done by the next call', async (t) => {
  const at = join(folder, 'refreshed')
  const [table, other] = await Promise.all([1, 2].map(() => DeltaTable.open({ path: at, primaryKey: ['id'] })))
  for (let version = 0; version < 20; version++) {
    await other?.merge(rows())
    const stop = new AbortController()
    const refreshed = table?.refresh({ signal: stop.signal }).catch((error) => error)
    setTimeout(() => stop.abort(new Error('stopped')), Math.random() * 3)
    const seen = await refreshed
    t.true(seen.message === 'stopped' || seen.version === version)
    t.is((await table?.refresh())?.version, version)
  }
  await Promise.all([table?.close(), other?.close()])
})

test('a moment that is none is no moment to read the table of', async (t) => {
  const table = await DeltaTable.open({ path: join(folder, 'timed'), primaryKey: ['id'] })
  await table.merge(rows())
  const scan = scanTable(table.uri, { timestamp: new Date('no date') })
  t.like(await t.throwsAsync(scan.toTable(), { message: /^timestamp: / }), { code: 'CONFIG_INVALID' })
  t.is((await scanTable(table.uri, { timestamp: new Date(Date.now() + 1000) }).toTable()).numRows, 2)
  t.like(await t.throwsAsync(tableHistory(table.uri, { limit: -1 })), { code: 'CONFIG_INVALID' })
  t.is((await tableHistory(table.uri)).length, 1)
  await table.close()
})
