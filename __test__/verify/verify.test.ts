/** A comparison beside changes that are on their way, and by the options of a table. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Bool, Table, Utf8, vectorFromArray } from 'apache-arrow'
import test from 'ava'
import { DeltaTable } from '../../src/index.js'
import { comparedColumns, NO_RULES } from '../../src/verify/compared-columns.js'
import { Verification, type VerifyOptions } from '../../src/verify/verify.js'
import { fieldsOf, MemorySource, tableAt, write } from './support.js'

const COLUMNS = ['id', 'v']
const SHAPE = { fields: fieldsOf(COLUMNS), primaryKey: ['id'] }

const folder = mkdtempSync(join(tmpdir(), 'kafka2delta-verify-'))
test.after.always(() => rmSync(folder, { recursive: true, force: true }))

const rowsWith = (value: string, from: number, to: number) =>
  Array.from({ length: to - from }, (_, i) => [String(10_000 + from + i), value])

const MANY = 300
const FEW: Partial<VerifyOptions> = { maxDifferences: 50, chunkRows: 100 }

test('changes on their way are given their time before they count', async (t) => {
  t.timeout(60_000)
  const path = join(folder, 'on-the-way')
  const table = await tableAt(path, COLUMNS, rowsWith('old', 0, MANY))
  const source = new MemorySource(COLUMNS, rowsWith('new', 0, MANY))
  // The stream applies a hundred changes at each look; those of the last chunk before it is read.
  let applied = 0
  source.whenAsked = async () => {
    if (applied >= MANY) return
    await write(table, COLUMNS, rowsWith('new', applied, applied + 100))
    applied += 100
  }
  const verification = new Verification(source, { path, ...SHAPE, settle: 5000, ...FEW } as VerifyOptions)
  t.like(await verification.run(), { differences: [], settled: 200, rows: MANY })
  await table.close()
})

test('tables that have diverged are told apart from them', async (t) => {
  t.timeout(60_000)
  const path = join(folder, 'diverged')
  const table = await tableAt(path, COLUMNS, rowsWith('old', 0, MANY))
  const source = new MemorySource(COLUMNS, rowsWith('new', 0, MANY))
  const verification = new Verification(source, { path, ...SHAPE, settle: 1000, ...FEW } as VerifyOptions)
  await t.throwsAsync(verification.run(), { code: 'SOURCE_DIFFERS' } as never)
  const some = new MemorySource(COLUMNS, [...rowsWith('new', 0, 50), ...rowsWith('old', 50, MANY)])
  const few = new Verification(some, { path, ...SHAPE, settle: 0, ...FEW } as VerifyOptions)
  t.is((await few.run()).differences.length, 50)
  await table.close()
})

test('a row of another key is nobody’s, where the database takes both keys for the same', async (t) => {
  const path = join(folder, 'same-key')
  const table = await tableAt(path, COLUMNS, [
    ['A', 'x'],
    ['a', 'x'],
  ])
  const source = new MemorySource(COLUMNS, [['A', 'x']])
  const rowsOf = source.rowsOf.bind(source)
  source.rowsOf = (selection, keys) => rowsOf(selection, [...keys, ['A']])
  const verification = new Verification(source, { path, ...SHAPE, settle: 1, ...FEW } as VerifyOptions)
  t.deepEqual((await verification.run()).differences, [{ key: ['a'], kind: 'extra' }])
  await table.close()
})

test('rows that are marked as deleted are none', async (t) => {
  const path = join(folder, 'soft')
  const table = await DeltaTable.open({ path })
  const text = (values: string[]) => vectorFromArray(values, new Utf8())
  const flag = vectorFromArray([false, true, null], new Bool())
  const rows = new Table({ id: text(['1', '2', '3']), v: text(['a', 'b', 'c']), gone: flag })
  await table.merge(rows, { primaryKey: ['id'] })
  const source = new MemorySource(COLUMNS, [
    ['1', 'a'],
    ['3', 'c'],
  ])
  const options = { path, ...SHAPE, settle: 0, chunkRows: 100 }
  const soft = new Verification(source, { ...options, deletedColumn: 'gone' })
  t.deepEqual((await soft.run()).differences, [])
  t.is((await new Verification(source, options).run()).differences.length, 1)
  await table.close()
})

const compared = (fields: string[], source: MemorySource, rules: Partial<typeof NO_RULES>, more = {}) => {
  const shape = { fields: fieldsOf(fields), primaryKey: ['key'], rules: { ...NO_RULES, ...rules }, ...more }
  const { columns, notCompared, withoutSource } = comparedColumns(source, shape)
  return { pairs: columns.map(({ name, field }) => `${name} of ${field}`), notCompared, withoutSource }
}

test('columns of the source by the names and rules of the table', (t) => {
  const source = new MemorySource(['id', 'name', 'full_name', 'email', 'new'], [])
  const rules = {
    renameColumns: { id: 'key', full_name: 'name' },
    excludeColumns: ['name', 'email'],
    additionalCols: ['sha2(email, 256) AS email', 'upper(name) AS `Loud`'],
  }
  t.deepEqual(compared(['key', 'name', 'email', 'Loud', 'dropped', '__op'], source, rules), {
    pairs: ['key of id', 'name of full_name'],
    notCompared: ['new'],
    withoutSource: ['dropped'],
  })
  // Of those that are kept, the key is always one.
  const some = { renameColumns: { id: 'key' }, includeColumns: ['name'] }
  t.deepEqual(compared(['key', 'name', 'email'], source, some).pairs, ['key of id', 'name of name'])
  t.deepEqual(compared(['key', 'name', 'email'], source, some).withoutSource, ['email'])
  const moved = { renameColumns: { id: 'key', __lsn: 'lsn' }, lsnColName: 'position' }
  t.deepEqual(compared(['key', 'lsn', 'position'], source, moved).withoutSource, [])
})

test('forms and options of a column reach the database, those of a key without loss', (t) => {
  const source = new MemorySource(['key', 'v', 'w'], [])
  const told: Record<string, unknown> = {}
  const reading = source.reading.bind(source)
  source.reading = ((column: string, target: unknown) => {
    told[column] = target
    return reading(column)
  }) as typeof source.reading
  const rules = { columnDefaults: { outOfRange: 'null' as const }, columns: { v: { type: 'string' as const } } }
  compared(['key', 'v', 'w'], source, rules, { forms: { v: 'yyyy-MM-dd' } })
  t.deepEqual(told, {
    key: { type: 'string', form: '', options: { outOfRange: 'fail' } },
    v: { type: 'string', form: 'yyyy-MM-dd', options: { outOfRange: 'null', type: 'string' } },
    w: { type: 'string', form: '', options: { outOfRange: 'null' } },
  })
})

test('columns that are left out of the comparison, and keys that cannot be compared', (t) => {
  const source = new MemorySource(['key', 'v'], [])
  t.deepEqual(compared(['key', 'v'], source, {}, { except: ['v'] }), {
    pairs: ['key of key'],
    notCompared: ['v'],
    withoutSource: [],
  })
  source.readings.key = null
  t.throws(() => compared(['key', 'v'], source, {}), { code: 'CONFIG_INVALID' } as never)
})
