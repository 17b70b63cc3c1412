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
