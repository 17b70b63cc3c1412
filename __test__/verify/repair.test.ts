/** `verify --repair` beside a stream that commits meanwhile. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Table, Uint8, Utf8, vectorFromArray } from 'apache-arrow'
import test from 'ava'
import { DeltaTable } from '../../src/index.js'
import { repair } from '../../src/verify/repair.js'
import type { SourceRow, SourceTable } from '../../src/verify/sources/source.js'
import { Verification } from '../../src/verify/verify.js'
import { readRows } from '../helpers/read.js'

const FIELDS = [
  { name: 'id', type: 'string' },
  { name: 'v', type: 'string' },
] as const
const PRIMARY_KEY = ['id']
const APP_ID = 'q:t:0'

const folder = mkdtempSync(join(tmpdir(), 'kafka2delta-repair-'))
test.after.always(() => rmSync(folder, { recursive: true, force: true }))

/** A table whose row 1 is old and whose row 3 is too many; the stream is at offset 0. */
async function tableAt(path: string): Promise<DeltaTable> {
  const table = await DeltaTable.open({ path })
  const ids = ['1', '2', '3']
  const rows = new Table({
    id: vectorFromArray(ids, new Utf8()),
    v: vectorFromArray(['old', 'same', 'extra'], new Utf8()),
    _op: vectorFromArray([0, 0, 0], new Uint8()),
  })
  await table.merge(rows, { primaryKey: PRIMARY_KEY, offsets: [{ appId: APP_ID, expected: null, last: 0n }] })
  return table
}

const ROWS: SourceRow[] = [
  { id: '1', v: 'new' },
  { id: '2', v: 'same' },
]

function sourceOf(refresh: () => Promise<void>): SourceTable {
  return {
    columns: ['id', 'v'],
    async *rows() {
      yield ROWS
    },
    rowsOf: async (_, values) => ROWS.filter(({ id }) => values.some(([key]) => key === id)),
    refresh,
    close: async () => {},
  }
}

test('a stream that commits each time before the table is read is not in the way', async (t) => {
  const path = join(folder, 'busy')
  const table = await tableAt(path)
  const stream = await DeltaTable.open({ path })
  let last = 0n
  const source = sourceOf(async () => {
    await stream.merge(null, { offsets: [{ appId: APP_ID, expected: last, last: last + 1n }] })
    last++
  })
  const options = { path, fields: FIELDS, primaryKey: PRIMARY_KEY, chunkRows: 100, settle: 0 }
  const verification = new Verification(source, options)
  const { differences } = await verification.run()
  t.deepEqual(differences.map(({ kind, key }) => `${kind} ${key}`).sort(), ['different 1', 'extra 3'])
  const notCompared: string[] = []
  const result = await repair(table, verification, { ...options, computed: new Set(), notCompared })
  t.like(result, { upserted: 1, deleted: 1 })
  t.is(last, 1n)
  t.is((await table.offsets()).get(APP_ID), 1n)
  t.deepEqual(await readRows(path, { columns: ['id', 'v'], orderBy: ['id'] }), [
    { id: '1', v: 'new' },
    { id: '2', v: 'same' },
  ])
  await Promise.all([table.close(), stream.close()])
})
