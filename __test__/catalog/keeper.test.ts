import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'
import { CatalogKeeper, type KeeperPace, type RegisteredTable } from '../../src/catalog/keeper.js'
import { KafkaToDeltaError } from '../../src/errors.js'
import { silentLogger } from '../../src/log.js'
import type { ResolvedCatalogOptions } from '../../src/options/types.js'
import { type FakeCatalog, fakeCatalog } from './fake-catalog.js'

const HIVE: ResolvedCatalogOptions = { type: 'hive', uri: 'thrift://metastore:9083' }
const FAST: KeeperPace = { firstDelay: 1, maxDelay: 2, refusedDelay: 2, timeout: 5_000, grace: 5_000 }

const table = (name: string, uri = `s3://lake/${name}`): RegisteredTable => ({
  topic: `db.${name}`,
  uri,
  description: null,
  storageOptions: {},
  catalog: { options: HIVE, schema: 'shop', tableName: name },
})

const described = (...columns: string[]) => ({
  schemaJson: JSON.stringify({
    type: 'struct',
    fields: columns.map((name) => ({ name, type: 'long', nullable: true, metadata: {} })),
  }),
  partitionColumns: [],
  properties: {},
})

function keeperOf(catalog: FakeCatalog, pace: Partial<KeeperPace> = {}) {
  const opened: ResolvedCatalogOptions[] = []
  const open = async (options: ResolvedCatalogOptions) => {
    opened.push(options)
    return catalog
  }
  return { keeper: new CatalogKeeper({ logger: silentLogger, open, pace: { ...FAST, ...pace } }), opened }
}

async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await sleep(1)
}

test('tables are entered in the background, and followed as they change', async (t) => {
  const catalog = fakeCatalog()
  const { keeper, opened } = keeperOf(catalog)
  const orders = table('orders')
  t.deepEqual(keeper.statusOf(orders), { name: 'shop.orders', state: 'pending', error: null })
  keeper.note(orders, described('id'))
  t.is(catalog.calls.length, 0)
  await until(() => keeper.statusOf(orders)?.state === 'registered')
  t.is(catalog.tables.get('shop.orders')?.location, 's3a://lake/orders')
  // What is known to be right is not asked for again.
  const { length } = catalog.calls
  keeper.note(orders, described('id'))
  keeper.note(orders, described('id', 'note'))
  t.is(keeper.statusOf(orders)?.state, 'pending')
  await until(() => keeper.statusOf(orders)?.state === 'registered')
  t.deepEqual(catalog.calls.slice(length), ['find shop.orders', 'update shop.orders'])
  t.is(opened.length, 1)
  await keeper.close()
  t.true(catalog.isClosed)
})

test('many tables are entered, and what changes meanwhile is not forgotten', async (t) => {
  const catalog = fakeCatalog()
  const { keeper } = keeperOf(catalog)
  const tables = Array.from({ length: 20 }, (_, i) => table(`t${i}`))
  for (const one of tables) keeper.note(one, described('id'))
  const { find } = catalog
  catalog.find = async (...of) => {
    const found = await find(...of)
    // Between the look and what is done about it.
    if (of[1] === 't3' && found === null) keeper.note(table('t3'), described('id', 'late'))
    return found
  }
  await until(() => tables.every((one) => keeper.statusOf(one)?.state === 'registered'))
  t.is(catalog.tables.size, 20)
  t.is(catalog.tables.get('shop.t3')?.columns.length, 2)
  await keeper.close()
})

test('a catalog that is down is told, and asked until it answers', async (t) => {
  const catalog = fakeCatalog()
  catalog.failure = new KafkaToDeltaError('CATALOG_UNAVAILABLE', 'connection refused')
  const { keeper } = keeperOf(catalog)
  const orders = table('orders')
  keeper.note(orders, described('id'))
  await until(() => (keeper.statusOf(orders)?.error?.attempts ?? 0) > 3)
  const { state, error } = keeper.statusOf(orders) ?? {}
  t.is(state, 'failing')
  t.like(error, { code: 'CATALOG_UNAVAILABLE', message: 'connection refused' })
  catalog.failure = null
  await until(() => keeper.statusOf(orders)?.state === 'registered')
  t.is(keeper.statusOf(orders)?.error, null)
  await keeper.close()
})

test('a catalog that refuses us, and one that hangs, is looked at again', async (t) => {
  const catalog = fakeCatalog()
  const { keeper } = keeperOf(catalog, { timeout: 20 })
  const [orders, customers] = [table('orders'), table('customers')]
  catalog.failure = new KafkaToDeltaError('CATALOG_DENIED', 'no right')
  keeper.note(orders, described('id'))
  await until(() => keeper.statusOf(orders)?.error?.code === 'CATALOG_DENIED')
  catalog.failure = null
  await until(() => keeper.statusOf(orders)?.state === 'registered')
  const { find } = catalog
  catalog.find = () => new Promise(() => {})
  keeper.note(customers, described('id'))
  await until(() => keeper.statusOf(customers)?.error?.code === 'CATALOG_UNAVAILABLE')
  t.regex(keeper.statusOf(customers)?.error?.message ?? '', /has not answered/)
  catalog.find = find
  await until(() => keeper.statusOf(customers)?.state === 'registered')
  await keeper.close()
})

test('one table’s trouble is that table’s: a name that is taken, a name that is none', async (t) => {
  const catalog = fakeCatalog()
  const { keeper } = keeperOf(catalog)
  const [taken, odd, orders] = [table('taken'), table('my-orders'), table('orders')]
  keeper.note(table('taken', 's3://old/taken'), described('id'))
  await until(() => catalog.tables.has('shop.taken'))
  keeper.note(taken, described('id'))
  keeper.note(odd, described('id'))
  keeper.note(orders, described('id'))
  await until(() => keeper.statusOf(orders)?.state === 'registered')
  await until(() => keeper.statusOf(odd)?.state === 'failing' && keeper.statusOf(taken)?.state === 'failing')
  t.like(keeper.statusOf(odd)?.error, { code: 'CONFIG_INVALID' })
  t.like(keeper.statusOf(taken)?.error, { code: 'CATALOG_CONFLICT' })
  t.regex(keeper.statusOf(taken)?.error?.message ?? '', /s3a:\/\/old\/taken.*s3a:\/\/lake\/taken/)
  // Somebody drops the old entry.
  catalog.tables.delete('shop.taken')
  await until(() => keeper.statusOf(taken)?.state === 'registered')
  await keeper.close()
})

test('the end waits for what is under way, and for no catalog that is down', async (t) => {
  const catalog = fakeCatalog()
  const { keeper } = keeperOf(catalog)
  keeper.note(table('orders'), described('id'))
  await keeper.close()
  t.true(catalog.tables.has('shop.orders'))
  const down = fakeCatalog()
  const { keeper: other } = keeperOf(down, { firstDelay: 60_000, maxDelay: 60_000, grace: 20 })
  down.failure = new KafkaToDeltaError('CATALOG_UNAVAILABLE', 'down')
  other.note(table('orders'), described('id'))
  await until(() => other.statusOf(table('orders'))?.state === 'failing')
  down.find = () => new Promise(() => {})
  other.note(table('customers'), described('id'))
  await other.close()
  t.true(down.isClosed)
  t.is(down.tables.size, 0)
})

test('a table that stands in no catalog, or is not there yet, is left alone', async (t) => {
  const catalog = fakeCatalog()
  const { keeper, opened } = keeperOf(catalog)
  keeper.note({ ...table('orders'), catalog: null }, described('id'))
  keeper.note(table('orders'), { ...described('id'), schemaJson: null })
  await keeper.close()
  t.is(keeper.statusOf({ catalog: null }), null)
  t.deepEqual(opened, [])
})
