/** The Delta side alone, as a caller with Arrow tables uses it. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { tableFromArrays } from 'apache-arrow'
import test from 'ava'
import { DeltaTable } from '../../src/delta/table.js'
import { readRows } from '../helpers/read.js'

const folder = mkdtempSync(join(tmpdir(), 'kafka2delta-table-'))
test.after.always(() => rmSync(folder, { recursive: true, force: true }))

test('texts that Arrow has put into dictionaries, merge after merge', async (t) => {
  const path = join(folder, 'names')
  const table = await DeltaTable.open({ path, primaryKey: ['id'] })
  await table.merge(tableFromArrays({ id: Int32Array.of(1, 2), name: ['a', 'b'] }))
  await table.merge(tableFromArrays({ id: Int32Array.of(2, 3), name: ['c', 'c'] }))
  await table.close()
  const again = await DeltaTable.open({ path, primaryKey: ['id'] })
  await again.merge(tableFromArrays({ id: Int32Array.of(3), name: ['d'] }))
  await again.close()
  t.deepEqual(await readRows(path, { columns: ['id', 'name'], orderBy: ['id'] }), [
    { id: 1, name: 'a' },
    { id: 2, name: 'c' },
    { id: 3, name: 'd' },
  ])
})

test('calls are done in their order, whatever waits for whom', async (t) => {
  const path = join(folder, 'order')
  const table = await DeltaTable.open({ path, primaryKey: ['id'] })
  let last = -1n
  for (let round = 0; round < 40; round++) {
    const merges = [1, 2, 3, 4].map((n) => {
      const expected = last === -1n ? null : last
      const offsets = [{ appId: 'q:t:0', expected, last: ++last }]
      return table.merge(tableFromArrays({ id: Int32Array.of(1), n: Int32Array.of(4 * round + n) }), { offsets })
    })
    // Out of order, they would be fenced.
    await Promise.all(merges)
  }
  const offsets = [{ appId: 'q:t:0', expected: last, last: last + 1n }]
  const merged = table.merge(tableFromArrays({ id: Int32Array.of(1), n: Int32Array.of(1000) }), { offsets })
  const compacted = table.compact({ full: true })
  const info = table.info()
  await table.close()
  t.is((await merged).numRowsUpdated, 1)
  await t.notThrowsAsync(compacted)
  t.is((await info).offsets[0]?.version, last + 1n)
  t.deepEqual(await readRows(path), [{ id: 1, n: 1000 }])
})

test('a merge that names no key takes the one of the table, also where it is closed at once', async (t) => {
  const path = join(folder, 'own-key')
  const table = await DeltaTable.open({ path })
  await t.throwsAsync(table.merge(tableFromArrays({ id: Int32Array.of(1) })), { code: 'BATCH_INVALID' })
  await table.merge(tableFromArrays({ id: Int32Array.of(1), n: Int32Array.of(1) }), { primaryKey: ['id'] })
  const merged = table.merge(tableFromArrays({ id: Int32Array.of(1), n: Int32Array.of(2) }))
  await table.close()
  t.is((await merged).numRowsUpdated, 1)
})
