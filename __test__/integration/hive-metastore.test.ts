/** Entries in a real Hive metastore: what it takes, what it keeps, and what is left of its failures. */

import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import anyTest, { type TestFn } from 'ava'
import thrift from 'thrift'
import type { Catalog, CatalogColumn, CatalogTable, FoundTable } from '../../src/catalog/catalog.js'
import { neededOf, syncEntry } from '../../src/catalog/entry.js'
import { openClient } from '../../src/catalog/hive/client.js'
import type { HiveTable } from '../../src/catalog/hive/entry.js'
import { openHive } from '../../src/catalog/hive/hive.js'
import { bool, type Struct, struct, structOf, text, textMap, textMapOf } from '../../src/catalog/hive/values.js'
import type { DeltaType } from '../../src/delta/schema-json.js'
import type { ErrorCode } from '../../src/errors.js'
import type { HiveCatalogOptions, WithTls } from '../../src/options/types.js'
import { freePort } from '../helpers/free-port.js'
import { STORE_PASSWORD, selfSigned } from '../helpers/self-signed.js'
import { hiveJars, NO_HIVE, RealHive } from './support/real-hive.js'

// What Spark 3.5 can speak to.
const jars = hiveJars(3)
// What knows logins by password.
const jars4 = hiveJars(4)
const run = (jars && jars4 ? anyTest.serial : anyTest.serial.skip) as TestFn
const reason = jars && jars4 ? '' : ` (${NO_HIVE})`

const folder = mkdtempSync(join(tmpdir(), 'kafka2delta-hive-'))
const { signal } = new AbortController()
const PATIENCE = { connectMs: 60_000, callMs: 60_000 }
const unavailable = { code: 'CATALOG_UNAVAILABLE' as ErrorCode }

let hive: RealHive
let catalog: Catalog

anyTest.before(async () => {
  if (!jars || !jars4) return
  hive = await RealHive.start(jars, join(folder, 'hive'), { major: 3 })
  catalog = await openHive({ type: 'hive', uri: hive.uri }, PATIENCE)
})

anyTest.after.always(async () => {
  await catalog?.close()
  await hive?.stop()
  rmSync(folder, { recursive: true, force: true })
})

const column = (name: string, type: DeltaType, comment?: string): CatalogColumn => ({
  ...{ name, type, nullable: true },
  ...(comment ? { comment } : {}),
})

const tableOf = (name: string, columns: CatalogColumn[], changed: Partial<CatalogTable> = {}): CatalogTable => ({
  ...{ schema: 'shop', name, location: `file://${join(folder, 'lake', name)}`, columns },
  ...{ partitionColumns: [], properties: {} },
  ...changed,
})

async function found(name: string, from = catalog): Promise<HiveTable> {
  return (await from.find('shop', name, signal)) as HiveTable
}

/** A call that the program does not make. */
async function call(method: string, args: Struct): Promise<Struct> {
  const client = openClient(thrift, { type: 'hive', uri: hive.uri }, PATIENCE)
  try {
    return await client.call(method, args, signal)
  } finally {
    client.close()
  }
}

run(`a table is entered, in a schema that was not there, as an external Delta table${reason}`, async (t) => {
  const columns = [
    column('Id', 'long', 'the key'),
    column('größe', 'decimal(10,2)', 'in “cm”'),
    column('at', 'timestamp_ntz'),
    column('lines', { type: 'array', elementType: { type: 'struct', fields: [{ name: 'n', type: 'integer' }] } }),
    column('day', 'date'),
  ]
  const properties = { 'delta.enableDeletionVectors': 'true' }
  const orders = tableOf('orders', columns, { partitionColumns: ['day'], properties, comment: 'Orders – all of them' })
  t.is(await syncEntry(catalog, orders, signal), 'create')
  t.is(await syncEntry(catalog, orders, signal), 'none')
  const { location, columns: entered, properties: parameters, entry } = await found('orders')
  t.is(location, orders.location)
  t.deepEqual(entered, [
    { name: 'id', type: 'bigint', comment: 'the key' },
    { name: 'größe', type: 'decimal(10,2)', comment: 'in “cm”' },
    { name: 'at', type: 'timestamp', comment: null },
    { name: 'lines', type: 'array<struct<n:int>>', comment: null },
    { name: 'day', type: 'date', comment: null },
  ])
  t.is(parameters.EXTERNAL, 'TRUE')
  t.is(parameters['spark.sql.sources.provider'], 'delta')
  t.is(parameters.comment, 'Orders – all of them')
  t.is(parameters['delta.enableDeletionVectors'], 'true')
  // Its files were not counted.
  t.false('numFiles' in parameters)
  t.deepEqual(entry.get(12), text('EXTERNAL_TABLE'))
  t.is(textMapOf(structOf(structOf(entry, 7), 7), 3).path, orders.location)
})

run(`columns are added, widened, dropped from the middle, put elsewhere and commented${reason}`, async (t) => {
  const steps: CatalogColumn[][] = [
    [column('id', 'integer'), column('name', 'string'), column('at', 'timestamp')],
    [column('id', 'integer'), column('name', 'string'), column('at', 'timestamp'), column('new', 'double')],
    [column('id', 'long'), column('name', 'string'), column('at', 'timestamp'), column('new', 'double')],
    [column('id', 'long'), column('at', 'timestamp'), column('new', 'double')],
    [column('new', { type: 'map', keyType: 'string', valueType: 'long' }), column('id', 'date', 'not a number')],
    [column('new', 'string'), column('id', 'date', 'not a number any more')],
  ]
  const needs: string[] = []
  for (const columns of steps) needs.push(await syncEntry(catalog, tableOf('evolving', columns), signal))
  t.deepEqual(needs, ['create', ...Array(5).fill('update')])
  t.is(await syncEntry(catalog, tableOf('evolving', steps[5] ?? []), signal), 'none')
  t.deepEqual((await found('evolving')).columns, [
    { name: 'new', type: 'string', comment: null },
    { name: 'id', type: 'date', comment: 'not a number any more' },
  ])
})

run(`what others put into an entry stays in it${reason}`, async (t) => {
  const table = tableOf('shared', [column('id', 'long')])
  await syncEntry(catalog, table, signal)
  const { entry } = await found('shared')
  const owned = new Map(entry).set(3, text('sales')).set(9, textMap({ ...textMapOf(entry, 9), team: 'sales' }))
  await call('alter_table_with_environment_context', altered('shared', owned))
  t.is(await syncEntry(catalog, table, signal), 'none')
  t.is(await syncEntry(catalog, { ...table, columns: [column('id', 'string')] }, signal), 'update')
  const after = await found('shared')
  t.is(after.properties.team, 'sales')
  t.deepEqual(after.entry.get(3), text('sales'))
  // When it was made, and by what of the metastore's own it is known.
  for (const id of [4, 17, 18, 26]) t.deepEqual(after.entry.get(id), entry.get(id))
})

const altered = (name: string, entry: Struct): Struct =>
  new Map([
    [1, text('shop')],
    [2, text(name)],
    [3, struct(entry)],
    [4, struct(new Map([[1, textMap({})]]))],
  ])

/** Drops an entry, and no file. */
const drop = (name: string) =>
  call(
    'drop_table',
    new Map([
      [1, text('shop')],
      [2, text(name)],
      [3, bool(false)],
    ]),
  )

run(`an entry that was dropped by hand is made anew${reason}`, async (t) => {
  const table = tableOf('dropped', [column('id', 'long')])
  await syncEntry(catalog, table, signal)
  await drop('dropped')
  t.is(await catalog.find('shop', 'dropped', signal), null)
  t.is(await syncEntry(catalog, table, signal), 'create')
  // Dropped between the look and the update.
  const stale = (await catalog.find('shop', 'dropped', signal)) as FoundTable
  await drop('dropped')
  await t.throwsAsync(catalog.update(table, stale, signal), unavailable)
  t.is(await syncEntry(catalog, table, signal), 'create')
})

run(`a name with another location, or of something else, is left alone${reason}`, async (t) => {
  await syncEntry(catalog, tableOf('taken', [column('id', 'long')]), signal)
  const elsewhere = tableOf('taken', [column('id', 'string')], { location: 's3a://lake/taken' })
  const conflict = { code: 'CATALOG_CONFLICT' as ErrorCode }
  const error = await t.throwsAsync(neededOf(catalog, elsewhere, signal), conflict)
  t.true(error.message.includes('s3a://lake/taken') && error.message.includes(join(folder, 'lake', 'taken')))
  t.is((await found('taken')).columns[0]?.type, 'bigint')

  const { entry } = await found('taken')
  const parquet = new Map(entry).set(9, textMap({ EXTERNAL: 'TRUE' }))
  await call('alter_table_with_environment_context', altered('taken', parquet))
  const other = { ...conflict, message: /shop\.taken is no Delta table/ }
  await t.throwsAsync(catalog.find('shop', 'taken', signal), other)
})

run(`two that enter the same table at the same time are both done${reason}`, async (t) => {
  const second = await openHive({ type: 'hive', uri: hive.uri }, PATIENCE)
  const table = tableOf('raced', [column('id', 'long')], { schema: 'raced' })
  const syncs = [catalog, second].map((one) => syncEntry(one, table, signal))
  t.true((await Promise.all(syncs)).every((need) => need === 'create' || need === 'none'))
  t.is(await syncEntry(second, table, signal), 'none')
  await second.close()
})

run(`thousands of columns, long types, long comments and long properties${reason}`, async (t) => {
  const fields = Array.from({ length: 600 }, (_, i) => ({ name: `field_${i}`, type: 'long' }))
  const columns = [
    ...Array.from({ length: 2000 }, (_, i) => column(`column_${i}`, 'long', 'ä'.repeat(i % 400))),
    column('wide', { type: 'struct', fields }),
    column('odd', { type: 'struct', fields: [{ name: 'a b,c:d', type: 'long' }] }),
    column('with, comma', 'string'),
    column('with `quotes`; “and” 😀', 'string'),
  ]
  const properties = { long: 'x'.repeat(5000), fits: 'x'.repeat(4000) }
  const table = tableOf('wide', columns, { comment: 'c'.repeat(10_000), properties })
  t.is(await syncEntry(catalog, table, signal), 'create')
  t.is(await syncEntry(catalog, table, signal), 'none')
  const entry = await found('wide')
  t.is(entry.columns.length, 2004)
  t.is(entry.properties.fits, properties.fits)
  t.is(entry.properties.long, undefined)
})

run(`a metastore that is down is told, and the same catalog goes on when it is back${reason}`, async (t) => {
  const [port, home] = [await freePort(), join(folder, 'down')]
  const later = await openHive({ type: 'hive', uri: `thrift://127.0.0.1:${port}` }, PATIENCE)
  const table = tableOf('orders', [column('id', 'long')])
  const down = { ...unavailable, message: new RegExp(`127.0.0.1:${port}: .*ECONNREFUSED`) }
  await t.throwsAsync(syncEntry(later, table, signal), down)
  let started = await RealHive.start(jars as string, home, { major: 3, port })
  try {
    t.is(await syncEntry(later, table, signal), 'create')
    await started.stop()
    await t.throwsAsync(syncEntry(later, table, signal), unavailable)
    started = await RealHive.start(jars as string, home, { major: 3, port })
    t.is(await syncEntry(later, table, signal), 'none')
    t.is(await syncEntry(later, { ...table, columns: [column('id', 'string')] }, signal), 'update')
  } finally {
    await later.close()
    await started.stop()
  }
})

run(`a wrong host, and a metastore that accepts and never answers${reason}`, async (t) => {
  const silent = createServer(() => {})
  silent.listen(0, '127.0.0.1')
  await once(silent, 'listening')
  const { port } = silent.address() as { port: number }
  const uris = `thrift://127.0.0.1:${port},thrift://metastore.invalid:9083`
  const none = await openHive({ type: 'hive', uri: uris }, { connectMs: 500, callMs: 500 })
  const error = await t.throwsAsync(none.find('shop', 'orders', signal), unavailable)
  t.regex(error.message, /does not answer for 500 ms; metastore\.invalid:9083: /)
  await none.close()
  // The next address is asked.
  const both = await openHive(
    { type: 'hive', uri: `thrift://127.0.0.1:${port},${hive.uri}` },
    { ...PATIENCE, connectMs: 2_000 },
  )
  t.is((await found('orders', both)).location, (await found('orders')).location)
  await both.close()
  silent.close()
})

run(`TLS, and a login by password: the right one, a wrong one, and none${reason}`, async (t) => {
  const store = join(folder, 'hive.p12')
  const tls = { ca: selfSigned(store) }
  const properties = {
    'metastore.authentication': 'CONFIG',
    'metastore.authentication.config.username': 'ann',
    'metastore.authentication.config.password': 'secret',
    // It refuses to start with both.
    'metastore.execute.setugi': 'false',
    'metastore.use.SSL': 'true',
    'metastore.keystore.path': store,
    'metastore.keystore.password': STORE_PASSWORD,
    'metastore.keystore.type': 'PKCS12',
  }
  const guarded = await RealHive.start(jars4 as string, join(folder, 'guarded'), { properties })
  const sync = async (options: Pick<WithTls<HiveCatalogOptions>, 'auth' | 'tls'>) => {
    const opened = await openHive({ type: 'hive', uri: guarded.uri, ...options }, PATIENCE)
    try {
      return await syncEntry(opened, tableOf('orders', [column('id', 'long')]), signal)
    } finally {
      await opened.close()
    }
  }
  const ann = { username: 'ann', password: 'secret' }
  try {
    t.is(await sync({ tls, auth: ann }), 'create')
    t.is(await sync({ tls, auth: ann }), 'none')
    const denied = { code: 'CATALOG_DENIED' as ErrorCode, message: /refuses the login of ann/ }
    await t.throwsAsync(sync({ tls, auth: { ...ann, password: 'wrong' } }), denied)
    await t.throwsAsync(sync({ tls, auth: { username: 'ann' } }), { ...unavailable, message: /closed the connection/ })
    await t.throwsAsync(sync({ tls: {}, auth: ann }), { ...unavailable, message: /self-signed certificate/ })
    await t.throwsAsync(sync({ auth: ann }), { ...unavailable, message: /no word of SASL: does it speak TLS/ })
  } finally {
    await guarded.stop()
  }
})
