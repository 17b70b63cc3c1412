/** `verify --repair` beside a stream that commits meanwhile, and what it refuses. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { DeltaTable } from '../../src/index.js'
import { NO_RULES } from '../../src/verify/compared-columns.js'
import { repair } from '../../src/verify/repair.js'
import { Verification } from '../../src/verify/verify.js'
import { readRows } from '../helpers/read.js'
import { fieldsOf, MemorySource, tableAt, write } from './support.js'

const COLUMNS = ['id', 'v']
const SHAPE = { fields: fieldsOf(COLUMNS), primaryKey: ['id'] }
const APP_ID = 'q:t:0'

const folder = mkdtempSync(join(tmpdir(), 'kafka2delta-repair-'))
test.after.always(() => rmSync(folder, { recursive: true, force: true }))

/** How a repair opens the table of a test, which the test closes itself. */
function again(table: DeltaTable, opened: boolean[] = []) {
  return async (indexed: boolean): Promise<DeltaTable> => {
    opened.push(indexed)
    const methods = { merge: table.merge.bind(table), offsets: () => table.offsets(), close: async () => {} }
    return methods as unknown as DeltaTable
  }
}

const stored = (path: string) => readRows(path, { orderBy: ['id'] })

/** A table whose row 1 is old and whose row 3 is too many; the stream is at offset 0. */
async function busyTable(path: string) {
  const offsets = [{ appId: APP_ID, expected: null, last: 0n }]
  const rows = [
    ['1', 'old'],
    ['2', 'same'],
    ['3', 'extra'],
  ]
  const table = await tableAt(path, COLUMNS, rows, { offsets })
  const stream = await DeltaTable.open({ path })
  let last = 0n
  const commit = async () => {
    await stream.merge(null, { offsets: [{ appId: APP_ID, expected: last, last: last + 1n }] })
    last++
  }
  const source = new MemorySource(COLUMNS, [
    ['1', 'new'],
    ['2', 'same'],
  ])
  const verification = new Verification(source, { path, ...SHAPE, chunkRows: 100, settle: 0 })
  return { table, stream, source, verification, commit }
}

test('a stream that commits between a look and its commit: it is looked and tried again', async (t) => {
  const path = join(folder, 'busy')
  const { table, stream, source, verification, commit } = await busyTable(path)
  const { differences } = await verification.run()
  t.deepEqual(differences.map(({ kind, key }) => `${kind} ${key}`).sort(), ['different 1', 'extra 3'])
  let commits = 0
  source.whenAsked = async () => {
    if (commits++ < 3) await commit()
  }
  const opened: boolean[] = []
  t.like(await repair(again(table, opened), verification, SHAPE), { upserted: 1, deleted: 1 })
  t.deepEqual(opened, [false, true])
  t.is((await table.offsets()).get(APP_ID), 3n)
  t.deepEqual(await stored(path), [
    { id: '1', v: 'new' },
    { id: '2', v: 'same' },
  ])
  await Promise.all([table.close(), stream.close()])
})

test('a partition that commits for the first time between a look and its commit: it is looked again', async (t) => {
  const path = join(folder, 'new-partition')
  const { table, stream, source, verification } = await busyTable(path)
  await verification.run()
  // Row 1 changes while the source is read, and the stream applies that through a partition that the table does not know.
  source.whenAsked = async () => {
    source.whenAsked = async () => {
      source.table = [['1', 'newest'], ...source.table.slice(1)]
    }
    await write(stream, COLUMNS, [['1', 'newest']], { offsets: [{ appId: 'q:t:1', expected: null, last: 0n }] })
  }
  t.like(await repair(again(table), verification, SHAPE), { upserted: 0, deleted: 1 })
  t.deepEqual([...(await table.offsets())].sort(), [
    [APP_ID, 0n],
    ['q:t:1', 0n],
  ])
  t.deepEqual(await stored(path), [
    { id: '1', v: 'newest' },
    { id: '2', v: 'same' },
  ])
  await Promise.all([table.close(), stream.close()])
})

test('a stream that is faster than all rows together: fewer are repaired at once', async (t) => {
  t.timeout(60_000)
  const path = join(folder, 'fast')
  const ids = Array.from({ length: 64 }, (_, i) => String(100 + i))
  const offsets = [{ appId: APP_ID, expected: null, last: 0n }]
  const table = await tableAt(path, COLUMNS, [['1', 'x'], ...ids.map((id) => [id, 'old'])], { offsets })
  const stream = await DeltaTable.open({ path })
  const source = new MemorySource(COLUMNS, [['1', 'x'], ...ids.map((id) => [id, 'new'])])
  const verification = new Verification(source, { path, ...SHAPE, chunkRows: 100, settle: 0 })
  t.is((await verification.run()).differences.length, 64)
  // The source needs a moment for each row, and the stream commits in each second.
  let last = 0n
  let before = 0
  source.asked = 0
  source.whenAsked = async () => {
    const rows = source.asked - before
    before = source.asked
    if (rows <= 8) return
    await stream.merge(null, { offsets: [{ appId: APP_ID, expected: last, last: last + 1n }] })
    last++
  }
  t.like(await repair(again(table), verification, SHAPE), { upserted: 64, deleted: 0 })
  t.is(last, 3n)
  t.true((await stored(path)).every(({ id, v }) => v === (id === '1' ? 'x' : 'new')))
  await Promise.all([table.close(), stream.close()])
})

test('the source is asked after the offsets were read: what the stream has applied by then, it tells', async (t) => {
  const path = join(folder, 'late')
  const { table, stream, source, verification, commit } = await busyTable(path)
  await verification.run()
  // Row 3 comes back at the source, and the stream applies it, after the table was read and before the offsets were.
  const offsets = table.offsets.bind(table)
  table.offsets = async () => {
    table.offsets = offsets
    await commit()
    source.table = [...source.table, ['3', 'extra']]
    return offsets()
  }
  t.like(await repair(again(table), verification, SHAPE), { upserted: 1, deleted: 0 })
  t.is((await stored(path)).length, 3)
  await Promise.all([table.close(), stream.close()])
})

const NEW_ROW = [
  ['1', 'a'],
  ['2', 'b'],
]

async function withNewRow(name: string, columns: readonly string[], rules = NO_RULES) {
  const path = join(folder, name)
  const table = await tableAt(path, columns, [columns.map((_, i) => (i === 0 ? '1' : 'a'))])
  const source = new MemorySource(['id', 'full_name'], NEW_ROW)
  const shape = { fields: fieldsOf(columns), primaryKey: ['id'], rules }
  const verification = () => new Verification(source, { path, ...shape, chunkRows: 100, settle: 0 })
  return { path, table, source, shape, verification }
}

test('names by the options of the table', async (t) => {
  const rules = { ...NO_RULES, renameColumns: { full_name: 'name' } }
  const { path, table, shape, verification } = await withNewRow('renamed', ['id', 'name'], rules)
  const one = verification()
  const { differences } = await one.run()
  t.deepEqual(
    differences.map(({ kind, key }) => `${kind} ${key}`),
    ['missing 2'],
  )
  await repair(again(table), one, shape)
  t.deepEqual(await stored(path), [
    { id: '1', name: 'a' },
    { id: '2', name: 'b' },
  ])
  await table.close()
})

test('a new row with a column of which the source knows nothing is refused', async (t) => {
  const { path, table, shape, verification } = await withNewRow('refused', ['id', 'name'])
  const one = verification()
  await one.run()
  await t.throwsAsync(repair(again(table), one, shape), {
    code: 'CONFIG_INVALID',
    message: /no column for name/,
  } as never)
  t.is((await stored(path)).length, 1)
  await table.close()
})

test('columns that tell of a change have no source, and are no reason to refuse', async (t) => {
  const { path, table, shape, verification } = await withNewRow('metadata', ['id', 'full_name', '__op'])
  const one = verification()
  await one.run()
  t.like(await repair(again(table), one, shape), { upserted: 1 })
  t.deepEqual(await stored(path), [
    { id: '1', full_name: 'a', __op: 'a' },
    { id: '2', full_name: 'b', __op: null },
  ])
  await table.close()
})

test('a new row with a value that cannot be told is refused, a changed one keeps what is stored', async (t) => {
  const columns = ['id', 'full_name', 'u']
  const path = join(folder, 'unknown')
  const table = await tableAt(path, columns, [['1', 'old', 'kept']])
  const source = new MemorySource(columns, [['1', 'new', 'infinity']])
  source.readings.u = { value: (text) => (text === 'infinity' ? undefined : text) }
  const shape = { fields: fieldsOf(columns), primaryKey: ['id'] }
  const verified = () => new Verification(source, { path, ...shape, chunkRows: 100, settle: 0 })
  const one = verified()
  t.like(await one.run(), { notCompared: ['u'] })
  t.like(await repair(again(table), one, shape), { upserted: 1 })
  t.deepEqual(await stored(path), [{ id: '1', full_name: 'new', u: 'kept' }])
  source.table.push(['2', 'b', 'told'], ['3', 'c', 'infinity'])
  const two = verified()
  await two.run()
  await t.throwsAsync(repair(again(table), two, shape), { code: 'CONFIG_INVALID', message: /store in u:/ } as never)
  source.table.pop()
  const three = verified()
  await three.run()
  t.like(await repair(again(table), three, shape), { upserted: 1 })
  await table.close()
})

test('a value that the stream may have made otherwise is not compared, and never written', async (t) => {
  const path = join(folder, 'may-be')
  const table = await tableAt(path, COLUMNS, [
    ['1', 'cut'],
    ['2', 'old'],
  ])
  const source = new MemorySource(COLUMNS, [
    ['1', 'cut off'],
    ['2', 'old'],
    ['3', 'new'],
  ])
  source.readings.v = { mayBe: (one, other) => other.startsWith(one) }
  const one = new Verification(source, { path, ...SHAPE, chunkRows: 100, settle: 0 })
  const { differences, notCompared } = await one.run()
  t.deepEqual([differences.map(({ key }) => key), notCompared], [[['3']], ['v']])
  await t.throwsAsync(repair(again(table), one, SHAPE), { code: 'CONFIG_INVALID' } as never)
  t.is((await stored(path)).length, 2)
  await table.close()
})
