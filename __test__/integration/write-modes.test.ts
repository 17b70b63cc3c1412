/** Captured topics as changelogs and histories, beside the table that is kept equal. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { scanTable } from '../../src/delta/scan.js'
import { DeltaTable, type DeltaTableOptions } from '../../src/delta/table.js'
import { fixtureRecord, readFixtureTopic } from '../../src/demo/fixtures.js'
import { readRows } from '../helpers/read.js'
import { FIXTURES } from './support/captured-sets.js'
import { decodeAndMerge } from './support/decode-and-merge.js'

const folder = mkdtempSync(join(tmpdir(), 'kafka2delta-write-modes-'))
test.after.always(() => rmSync(folder, { recursive: true, force: true }))

const text = (rows: Record<string, unknown>[]) =>
  rows.map((row) => JSON.stringify(row, (_key, value) => (typeof value === 'bigint' ? String(value) : value))).sort()

const CASES = [
  { set: 'flat', topic: 'postgres.public.orders', key: ['id'] },
  { set: 'envelope', topic: 'env.public.orders', key: ['id'] },
  { set: 'mariadb-envelope', topic: 'myenv.shop.orders', key: ['id'] },
]

for (const { set, topic, key } of CASES) {
  const dir = join(FIXTURES, set)
  for (const mergeMode of ['merge-on-read', 'copy-on-write'] as const) {
    test.serial(`${topic} as a history, ${mergeMode}: what is current is the table`, async (t) => {
      const messages = readFixtureTopic(dir, topic)
      t.true(messages.length > 0)
      const path = (name: string) => join(folder, `${topic}-${mergeMode}-${name}`)
      const apply = (name: string, table: Partial<DeltaTableOptions>, batchSize: number) =>
        decodeAndMerge({
          dir,
          topic,
          messages,
          batchSize,
          queryName: 'q',
          table: { path: path(name), ...table },
          decode: table.writeMode ? { writeMode: table.writeMode } : {},
        })
      await apply('equal', { mergeMode }, 50)
      await apply('history', { mergeMode, writeMode: 'scd2' }, 7)
      const { fields } = await scanTable(path('equal')).schema()
      const columns = fields.map(({ name }) => name).filter((name) => !name.startsWith('__'))
      const equal = text(await readRows(path('equal'), { columns }))
      const current = text(await readRows(path('history'), { columns, where: '__is_current' }))
      t.deepEqual(current, equal)
      // Each key's versions follow each other without a gap, but for deletes, and do not overlap.
      const orderBy = [...key, '__valid_from', '__valid_to']
      const versions = await readRows(path('history'), { columns: orderBy, orderBy })
      t.true(versions.length >= equal.length)
      versions.forEach((version, i) => {
        const next = versions[i + 1]
        const { __valid_from: from, __valid_to: to } = version
        if (to !== null) t.true((to as number) >= (from as number))
        if (!next || key.some((name) => next[name] !== version[name])) return
        t.true(to !== null && (next.__valid_from as number) >= (to as number))
      })
      // What comes again as a whole makes no version where the order is proven, and nothing is doubled otherwise.
      const history = await DeltaTable.open({ path: path('history'), writeMode: 'scd2' })
      const { numRows } = await history.info()
      t.is(numRows, versions.length)
      while ((await history.compact({ full: true })) !== null) if ((await history.info()).numFiles <= 1) break
      await history.close()
      t.deepEqual(text(await readRows(path('history'), { columns, where: '__is_current' })), equal)
      t.log(`${messages.length} messages, ${equal.length} rows, ${versions.length} versions`)
    })
  }

  test.serial(`${topic} as a changelog: a row for each change`, async (t) => {
    const messages = readFixtureTopic(dir, topic)
    const path = join(folder, `${topic}-log`)
    await decodeAndMerge({
      dir,
      topic,
      messages,
      batchSize: 11,
      queryName: 'q',
      table: { path, writeMode: 'append', tableProperties: { 'delta.appendOnly': 'true' } },
      decode: { writeMode: 'append', metadataColumns: ['operation', 'kafka.partition', 'kafka.offset'] },
    })
    const rows = await readRows(path, { columns: ['__operation', '__kafka_partition', '__kafka_offset'] })
    const changes = messages.filter((message) => fixtureRecord(message).value !== null)
    t.deepEqual(
      rows.map((row) => `${row.__kafka_partition}:${row.__kafka_offset}`).sort(),
      changes.map(({ partition, offset }) => `${partition}:${offset}`).sort(),
    )
    // Debezium sends a tombstone after each delete, unless it is told not to.
    const deletes = rows.filter(({ __operation }) => __operation === 'd').length
    t.true(deletes >= messages.length - changes.length)
    if (set !== 'mariadb-envelope') t.true(deletes > 0)
  })
}
