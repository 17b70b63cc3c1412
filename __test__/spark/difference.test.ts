import test from 'ava'
import { differences, type Plain, readersDiffer, shown, type TableRead } from '../../benchmark/spark/difference.js'

const table = (types: Record<string, string>, ...rows: Plain[][]): TableRead => ({
  columns: Object.entries(types).map(([name, type]) => ({ name, type, nullable: true })),
  rows,
})
const ran = (read: TableRead) => ({ stops: [], stopped: null, without: [], table: read })

test('equal tables have no difference, whatever the order of their rows', (t) => {
  const types = { id: 'int', v: 'string' }
  const [spark, ours] = [table(types, ['1', 'a'], ['2', null]), table(types, ['2', null], ['1', 'a'])]
  t.deepEqual(differences('t', ['id'], ran(spark), ours), [])
})

test('a value: the first key and the number of rows', (t) => {
  const types = { id: 'int', v: 'string' }
  const spark = table(types, ['10', 'x'], ['9', 'x'], ['1', 'same'])
  const ours = table(types, ['1', 'same'], ['9', null], ['10', 'y'])
  t.deepEqual(differences('t', ['id'], ran(spark), ours), [
    { topic: 't', what: 'v', spark: '2 rows, id 9: x', ours: '2 rows, id 9: null' },
  ])
})

test('a type: an example whose number differs before one that is only written otherwise', (t) => {
  const spark = table({ id: 'int', n: 'decimal(4,2)' }, ['1', '2.00'], ['2', '3.14'])
  const ours = table({ id: 'int', n: 'decimal(6,4)' }, ['1', '2.0000'], ['2', '3.1415'])
  t.deepEqual(differences('t', ['id'], ran(spark), ours), [
    { topic: 't', what: 'n', spark: 'decimal(4,2), id 2: 3.14', ours: 'decimal(6,4), id 2: 3.1415' },
  ])
})

test('rows: doubled ones, and those of one side', (t) => {
  const types = { id: 'int', v: 'string' }
  const spark = table(types, ['1', 'a'], ['1', 'b'], ['2', 'c'])
  const ours = table(types, ['1', 'b'], ['3', 'd'])
  t.deepEqual(differences('t', ['id'], ran(spark), ours), [
    { topic: 't', what: '(rows)', spark: '3 rows, also id 2, twice: id 1', ours: '2 rows, also id 3' },
  ])
})

test('columns of one side, and another order', (t) => {
  const spark = table({ id: 'int', a: 'int', b: 'int', old: 'int' }, ['1', '1', '2', '7'])
  const ours = table({ b: 'int', a: 'int', id: 'int', new: 'date' }, ['2', '1', '1', '19723'])
  t.deepEqual(differences('t', ['id'], ran(spark), ours), [
    { topic: 't', what: 'new', spark: 'no such column', ours: 'date, 2024-01-01' },
    { topic: 't', what: 'old', spark: 'int, 7', ours: 'no such column' },
    { topic: 't', what: '(order of columns)', spark: 'id, a, b, old', ours: 'b, a, id, new' },
  ])
})

test('a job that stops: at a column, which is compared where it could go on, or altogether', (t) => {
  const ours = table({ id: 'int', d: 'date', m: 'decimal(38,2)' }, ['1', '-719162', '1.00'], ['2', '0', null])
  const reason = 'INCONSISTENT_BEHAVIOR_CROSS_VERSION.READ_ANCIENT_DATETIME'
  const stops = [
    { column: 'd', reason, offset: 3 },
    { column: 'm', reason: 'TOO_WIDE', offset: 0 },
  ]
  const without = table({ id: 'int', d: 'date' }, ['1', '-719162'], ['2', '1'])
  t.deepEqual(differences('t', ['id'], { stops, stopped: null, without: ['m'], table: without }, ours), [
    {
      topic: 't',
      what: 'd',
      spark: 'stops at offset 3: READ_ANCIENT_DATETIME; id 2: 1970-01-02',
      ours: 'date, 0001-01-01; id 2: 1970-01-01',
    },
    { topic: 't', what: 'm', spark: 'stops at offset 0: TOO_WIDE', ours: 'decimal(38,2), 1.00' },
  ])
  t.deepEqual(differences('t', ['id'], { stops: [], stopped: 'NoSchema: none', without: [] }, ours), [
    { topic: 't', what: '(table)', spark: 'stops: NoSchema: none', ours: '2 rows' },
  ])
})

test('two readers of one table: rows in any order, values exactly', (t) => {
  const read = table({ id: 'int', v: 'double' }, ['1', '0x1.8p+0'], ['2', null])
  t.is(readersDiffer(read, { columns: read.columns, rows: [...read.rows].reverse() }), null)
  t.is(readersDiffer(read, table({ id: 'int', v: 'double' }, ['1', '0x1.8p+0'])), '2 and 1 rows')
  t.is(readersDiffer(read, table({ id: 'int' }, ['1'], ['2'])), 'columns id, v and id')
  t.is(
    readersDiffer(read, table({ id: 'int', v: 'double' }, ['1', '0x1.8p+1'], ['2', null])),
    'column v: "0x1.8p+0" and "0x1.8p+1"',
  )
})

test('values as a person reads them', (t) => {
  t.is(shown('-719528', 'date'), '0000-01-01')
  t.is(shown('-2147472692', 'date'), '-2147472692')
  t.is(shown('-1', 'timestamp'), '1969-12-31T23:59:59.999999Z')
  t.is(shown('1709205255123456', 'timestamp'), '2024-02-29T11:14:15.123456Z')
  t.is(shown('-0x1.8000000000000p+1', 'double'), '-3')
  t.is(shown('nan', 'double'), 'NaN')
  t.is(shown('-inf', 'float'), '-Infinity')
  t.is(shown(['1', null, '3', '4'], 'array<int>'), '[1, null, 3, … 4 in all]')
  t.is(shown({ scale: '3', value: '0x01' }, 'struct'), '{scale: 3, value: 0x01}')
  t.is(shown('x'.repeat(100), 'string'), `${'x'.repeat(32)}… (100 long)`)
})
