/** What all tables of the process hold, by the addon. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { tableFromArrays } from 'apache-arrow'
import test from 'ava'
import { engineMemory, limitEngineMemory } from '../../src/delta/memory.js'
import { DeltaTable } from '../../src/delta/table.js'
import { MB } from '../helpers/memory.js'

const folder = mkdtempSync(join(tmpdir(), 'kafka2delta-memory-'))
test.after.always(() => rmSync(folder, { recursive: true, force: true }))

const rows = (from: number, count: number) =>
  tableFromArrays({ id: BigInt64Array.from({ length: count }, (_, i) => BigInt(from + i)) })

const open = (name: string) => DeltaTable.open({ path: join(folder, name), primaryKey: ['id'] })

test.serial(
  'an idle table gives the memory of its index to others when they ask for it, and knows its rows',
  async (t) => {
    t.timeout(60_000)
    limitEngineMemory({ indexes: 4 * MB, compaction: Number.POSITIVE_INFINITY })
    const [idle, busy] = await Promise.all([open('idle'), open('busy')])
    await idle.merge(rows(0, 60_000))
    const { indexBytes } = await idle.info()
    t.true(indexBytes > MB)
    for (let n = 0; n < 20; n++) await busy.merge(rows(n, 1))
    t.is((await idle.info()).indexBytes, indexBytes, 'there is room')
    const { indexBytes: busyBytes } = await busy.merge(rows(0, 140_000))
    t.true(busyBytes > 2 * MB)
    // It is asked, and does it beside the calls.
    while ((await idle.info()).indexBytes > MB / 4) await sleep(10)
    t.true(engineMemory().indexes <= 4 * MB)
    t.like(await idle.merge(rows(30_000, 60_000)), { numRowsUpdated: 30_000, numRowsInserted: 30_000 })
    await Promise.all([idle.close(), busy.close()])
    t.deepEqual(engineMemory(), { indexes: 0, compaction: 0 })
  },
)

test.serial('a step of compaction goes however little memory there is', async (t) => {
  limitEngineMemory({ indexes: Number.POSITIVE_INFINITY, compaction: 1 })
  const tables = await Promise.all(['a', 'b', 'c'].map(open))
  for (const table of tables) for (let n = 0; n < 3; n++) await table.merge(rows(n * 10, 10))
  const steps = await Promise.all(tables.map((table) => table.compact({ full: true })))
  t.deepEqual(
    steps.map((step) => step?.filesRemoved),
    [3, 3, 3],
  )
  t.is(engineMemory().compaction, 0)
  const aborted = new AbortController()
  aborted.abort(new Error('enough'))
  await t.throwsAsync(tables[0]?.compact({ full: true, signal: aborted.signal }) ?? Promise.resolve(), {
    message: 'enough',
  })
  await Promise.all(tables.map((table) => table.close()))
})
