import test from 'ava'
import { entryOf, syncEntry } from '../../src/catalog/entry.js'
import { isSamePlace } from '../../src/catalog/location.js'
import { KafkaToDeltaError } from '../../src/errors.js'
import { fakeCatalog } from './fake-catalog.js'

const { signal } = new AbortController()
const field = (name: string, type: unknown, metadata = {}) => ({ name, type, nullable: true, metadata })

function orders(fields: unknown[] = [field('id', 'long')], location = 's3://lake/orders') {
  const schemaJson = JSON.stringify({ type: 'struct', fields })
  return entryOf(
    { schema: 'shop', tableName: 'orders' },
    { location, description: null, schemaJson, partitionColumns: [], properties: {} },
  )
}

test('an entry says what the table is', (t) => {
  const schemaJson = JSON.stringify({
    type: 'struct',
    fields: [field('id', 'long', { comment: 'the key' }), field('tags', { type: 'array', elementType: 'string' })],
  })
  const properties = { 'delta.enableDeletionVectors': 'true', owner: 'shop' }
  const described = {
    location: 's3://lake/orders',
    description: 'Orders',
    schemaJson,
    partitionColumns: ['id'],
    properties,
  }
  t.deepEqual(entryOf({ schema: 'shop', tableName: 'orders' }, described), {
    schema: 'shop',
    name: 'orders',
    location: 's3://lake/orders',
    columns: [
      { name: 'id', type: 'long', nullable: true, comment: 'the key' },
      { name: 'tags', type: { type: 'array', elementType: 'string' }, nullable: true },
    ],
    partitionColumns: ['id'],
    properties,
    comment: 'Orders',
  })
})

test('an entry is made with its schema, left alone where it is right, and brought up to date where it is not', async (t) => {
  const catalog = fakeCatalog()
  t.is(await syncEntry(catalog, orders(), signal), 'create')
  t.is(await syncEntry(catalog, orders(), signal), 'none')
  t.is(await syncEntry(catalog, orders([field('id', 'long'), field('note', 'string')]), signal), 'update')
  t.deepEqual(catalog.calls, [
    ...['find shop.orders', 'ensureSchema shop', 'create shop.orders'],
    'find shop.orders',
    ...['find shop.orders', 'update shop.orders'],
  ])
  t.deepEqual(
    catalog.tables.get('shop.orders')?.columns.map(({ name }) => name),
    ['id', 'note'],
  )
})

test('an entry with another location is left alone, and named with both locations', async (t) => {
  const catalog = fakeCatalog()
  await syncEntry(catalog, orders(undefined, 's3://old/orders'), signal)
  const error = await t.throwsAsync(syncEntry(catalog, orders(), signal), { instanceOf: KafkaToDeltaError })
  t.is(error?.code, 'CATALOG_CONFLICT')
  t.regex(error?.message ?? '', /shop\.orders at s3:\/\/old\/orders, and this table lies at s3:\/\/lake\/orders/)
  t.is(catalog.tables.get('shop.orders')?.location, 's3://old/orders')
})

test('a catalog that fails or refuses us is told by its own error', async (t) => {
  for (const code of ['CATALOG_UNAVAILABLE', 'CATALOG_DENIED'] as const) {
    const catalog = fakeCatalog()
    catalog.failure = new KafkaToDeltaError(code, 'no')
    await t.throwsAsync(syncEntry(catalog, orders(), signal), { is: catalog.failure })
  }
})

test('places that are written in several ways are the same', (t) => {
  const same: [string, string][] = [
    ['/lake/orders', 'file:///lake/orders/'],
    ['file:/lake/orders', 'file:///lake/orders'],
    ['s3a://lake/orders', 's3://lake/orders/'],
    ['s3n://lake/orders', 's3a://lake/orders'],
  ]
  for (const [one, other] of same) t.true(isSamePlace(one, other), `${one} ${other}`)
  for (const [one, other] of [
    ['s3://lake/orders', 's3://lake/Orders'],
    ['s3://lake/orders', 's3://other/orders'],
    ['/lake/orders', 's3://lake/orders'],
    ['', '/lake/orders'],
  ] as const) {
    t.false(isSamePlace(one, other), `${one} ${other}`)
  }
})
