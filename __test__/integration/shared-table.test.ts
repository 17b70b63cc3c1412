/** Two topics of one partitioned table at the source, written to one Delta table. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { DeltaTable } from '../../src/delta/table.js'
import { streamToDelta } from '../../src/index.js'
import type { StreamOptions, TableOptions } from '../../src/options/types.js'
import { readRows } from '../helpers/read.js'
import { closeAll, serve } from './support/captured-sets.js'

const folder = mkdtempSync(join(tmpdir(), 'kafka2delta-shared-'))
test.after.always(async () => {
  await closeAll()
  rmSync(folder, { recursive: true, force: true })
})

const TOPICS = ['hseq.public.part_eu', 'hseq.public.part_us']

async function run(tables: Record<string, TableOptions>, more: Partial<StreamOptions> = {}) {
  const { broker, registry } = await serve('hard-seq')
  const query = await streamToDelta({
    queryName: 'shared',
    kafka: { brokers: broker.brokers },
    schemaRegistry: { url: registry.url },
    tables,
    trigger: { availableNow: true },
    ...more,
  })
  await query.awaitTermination()
}

const rowsOf = async (path: string) =>
  (await readRows(path, { columns: ['id', 'region', 'v', '__op'], orderBy: ['region', 'id'] })).map((row) =>
    JSON.stringify(row, (_, value) => (typeof value === 'bigint' ? String(value) : value)),
  )

for (const mergeMode of ['merge-on-read', 'copy-on-write'] as const) {
  for (const maxBatchMessages of [1, 1000]) {
    test.serial(`${mergeMode}, ${maxBatchMessages} messages a commit: the rows of both topics`, async (t) => {
      const path = join(folder, `both-${mergeMode}-${maxBatchMessages}`)
      const alone = TOPICS.map((topic) => join(folder, `${topic}-${mergeMode}-${maxBatchMessages}`))
      const limits = { maxBatchMessages }
      const both = Object.fromEntries(TOPICS.map((topic) => [topic, { path, shared: true, mergeMode }]))
      await run(both, { limits })
      await run(Object.fromEntries(TOPICS.map((topic, i) => [topic, { path: alone[i] as string, mergeMode }])), {
        limits,
      })
      const wanted = await Promise.all(alone.map(rowsOf))
      t.true(wanted.flat().length > 0)
      t.deepEqual(await rowsOf(path), wanted.flat())

      // A second start finds nothing to do, by the offsets of both.
      const table = await DeltaTable.open({ path })
      const before = await table.info()
      t.deepEqual(new Set(before.offsets.map(({ appId }) => appId.split(':')[1])), new Set(TOPICS))
      await run(both, { limits })
      t.is((await table.refresh()).version, before.version)
      await table.close()
    })
  }
}
