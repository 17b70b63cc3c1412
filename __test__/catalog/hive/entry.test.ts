import test from 'ava'
import type { CatalogTable } from '../../../src/catalog/catalog.js'
import { foundTable, isUpToDate, newEntry, updatedEntry } from '../../../src/catalog/hive/entry.js'
import { i32, text, textMap, textMapOf } from '../../../src/catalog/hive/values.js'
import type { ErrorCode } from '../../../src/errors.js'

const PARAMETERS = 9

const orders = (changed: Partial<CatalogTable> = {}): CatalogTable => ({
  schema: 'shop',
  name: 'orders',
  location: 's3a://lake/orders',
  columns: [
    { name: 'Id', type: 'long', nullable: false, comment: 'the key' },
    { name: 'day', type: 'date', nullable: true },
  ],
  partitionColumns: ['day'],
  properties: { 'delta.appendOnly': 'false' },
  ...changed,
})

const columnsOf = (length: number) =>
  Array.from({ length }, (_, i) => ({ name: `c${i}`, type: 'long', nullable: true }))

test('a new entry is that of an external Delta table', (t) => {
  const { location, columns, properties, entry } = foundTable(newEntry(orders({ comment: 'Orders' }), 'ann'))
  t.is(location, 's3a://lake/orders')
  t.deepEqual(columns, [
    { name: 'id', type: 'bigint', comment: 'the key' },
    { name: 'day', type: 'date', comment: null },
  ])
  const { 'spark.sql.sources.schema': schema = '', ...others } = properties
  t.deepEqual(
    JSON.parse(schema).fields.map(({ name }: { name: string }) => name),
    ['Id', 'day'],
  )
  t.deepEqual(others, {
    EXTERNAL: 'TRUE',
    'spark.sql.sources.provider': 'delta',
    'delta.appendOnly': 'false',
    comment: 'Orders',
  })
  t.deepEqual(
    [entry.get(1), entry.get(2), entry.get(3), entry.get(12)],
    [text('orders'), text('shop'), text('ann'), text('EXTERNAL_TABLE')],
  )
})

test('an entry says what the table says, or does not', (t) => {
  const table = orders({ comment: 'Orders' })
  const found = foundTable(newEntry(table, 'ann'))
  t.true(isUpToDate(table, found))
  const [id, day] = table.columns as [CatalogTable['columns'][0], CatalogTable['columns'][0]]
  const others: Partial<CatalogTable>[] = [
    { columns: [id, day, { name: 'new', type: 'string', nullable: true }] },
    { columns: [id] },
    { columns: [day, id] },
    { columns: [{ ...id, type: 'string' }, day] },
    { columns: [{ ...id, comment: 'other' }, day] },
    { columns: [id, { ...day, comment: 'other' }] },
    { comment: 'other' },
    { properties: { 'delta.appendOnly': 'true' } },
  ]
  for (const other of others) t.false(isUpToDate({ ...table, ...other }, found), JSON.stringify(other))
  t.false(isUpToDate(orders(), found), 'the comment is gone')
})

test('an update leaves what others have put into the entry', (t) => {
  const entry = newEntry(orders({ comment: 'Orders' }), 'ann')
  entry.set(PARAMETERS, textMap({ ...textMapOf(entry, PARAMETERS), owner_team: 'sales', EXTERNAL: 'TRUE' }))
  entry.set(4, i32(1_700_000_000)).set(77, text('of a later version'))
  const table = orders({ columns: [{ name: 'id', type: 'decimal(20,0)', nullable: false }], properties: { a: 'b' } })
  const updated = updatedEntry(table, entry)
  const found = foundTable(updated)
  t.true(isUpToDate(table, found))
  t.deepEqual(found.columns, [{ name: 'id', type: 'decimal(20,0)', comment: null }])
  t.is(found.properties.owner_team, 'sales')
  t.is(found.properties.comment, undefined)
  t.is(found.location, 's3a://lake/orders')
  for (const id of [1, 2, 3, 4, 12, 77]) t.deepEqual(updated.get(id), entry.get(id))
})

test('what the metastore has no room for is left out or shortened, and counts as said', (t) => {
  const table = orders({
    comment: 'c'.repeat(5000),
    columns: [{ name: 'id', type: 'long', nullable: false, comment: 'ä'.repeat(300) }],
    properties: { long: 'x'.repeat(4001), fits: 'x'.repeat(4000), ['k'.repeat(257)]: '1' },
  })
  const found = foundTable(newEntry(table, 'ann'))
  t.true(isUpToDate(table, found))
  const names = Object.keys(found.properties).filter((name) => !name.startsWith('spark.sql.'))
  t.deepEqual(names.sort(), ['EXTERNAL', 'comment', 'fits'])
  t.is(found.properties.comment?.length, 4000)
  t.is(found.columns[0]?.comment?.length, 256)
})

test("a table's own properties do not stand in for those that make it a Delta table", (t) => {
  const properties = { EXTERNAL: 'FALSE', 'spark.sql.sources.provider': 'parquet', comment: 'x' }
  const found = foundTable(newEntry(orders({ properties }), 'ann'))
  t.deepEqual(found.properties, foundTable(newEntry(orders({ properties: {} }), 'ann')).properties)
})

test('an entry that Spark made is brought up to date, and one of a managed table stays that', (t) => {
  const entry = newEntry(orders(), 'ann').set(12, text('MANAGED_TABLE'))
  const managed = { 'spark.sql.sources.provider': 'DELTA', 'spark.sql.sources.schema': '{"type":"struct","fields":[]}' }
  const table = orders({ properties: {}, columns: columnsOf(200) })
  const updated = foundTable(updatedEntry(table, entry.set(PARAMETERS, textMap(managed))))
  t.true(isUpToDate(table, updated))
  t.is(updated.properties['spark.sql.sources.provider'], 'DELTA')
  t.false('EXTERNAL' in updated.properties || 'spark.sql.sources.schema' in updated.properties)
  t.true('spark.sql.sources.schema.part.1' in updated.properties)
  const shorter = foundTable(updatedEntry(orders(), updated.entry))
  t.true(isUpToDate(orders(), shorter))
  t.false('spark.sql.sources.schema.part.1' in shorter.properties)
})

test('an entry of something else is a conflict', (t) => {
  const entry = newEntry(orders(), 'ann')
  entry.set(PARAMETERS, textMap({ EXTERNAL: 'TRUE' })).set(12, text('VIRTUAL_VIEW'))
  const conflict = { code: 'CATALOG_CONFLICT' as ErrorCode, message: /shop\.orders is no Delta table .* VIRTUAL_VIEW/ }
  t.throws(() => foundTable(entry), conflict)
  // Trino writes it in capitals.
  t.notThrows(() => foundTable(entry.set(PARAMETERS, textMap({ 'spark.sql.sources.provider': 'DELTA' }))))
})
