import test from 'ava'
import type { VendedCredentials } from '../../src/catalog/catalog.js'
import { OpenCatalogs } from '../../src/catalog/open-catalogs.js'
import { HeldCredentials, heldCredentialsOf, withCredentials, withVended } from '../../src/catalog/vended.js'
import { KafkaToDeltaError } from '../../src/errors.js'
import type { ResolvedCatalogOptions } from '../../src/options/types.js'
import { fakeCatalog } from './fake-catalog.js'

const HOUR = 3_600_000
const NEVER = undefined
const UNTOUCHED = {}

/** Credentials of an hour, on a clock that stands where it is put. */
function vended(lifeMs: number | null = HOUR) {
  const state = { now: 1_700_000_000_000, asked: 0, failure: null as Error | null }
  const ask = async (): Promise<VendedCredentials> => {
    state.asked += 1
    if (state.failure) throw state.failure
    return { options: { key: String(state.asked) }, expires: lifeMs === null ? null : new Date(state.now + lifeMs) }
  }
  return { state, options: new HeldCredentials(ask, () => state.now) }
}

test('credentials are renewed when it suits from half of their life on, and at once near its end', async (t) => {
  const { state, options } = vended()
  t.is(options.need, 'now')
  t.deepEqual(await options.renew(NEVER), { key: '1' })
  t.is(options.need, 'none')
  state.now += HOUR / 2 - 1
  t.is(options.need, 'none')
  state.now += 1
  t.is(options.need, 'soon')
  state.now += HOUR / 2 - 60_001
  t.is(options.need, 'soon')
  state.now += 1
  t.is(options.need, 'now')
  t.deepEqual(await options.renew(NEVER), { key: '2' })
  t.is(options.need, 'none')
})

test('of a short life a tenth is kept back; credentials that do not end are not renewed', async (t) => {
  const short = vended(20_000)
  await short.options.renew(NEVER)
  short.state.now += 17_999
  t.is(short.options.need, 'soon')
  short.state.now += 1
  t.is(short.options.need, 'now')
  for (const life of [null, Number.MAX_SAFE_INTEGER]) {
    const endless = vended(life)
    await endless.options.renew(NEVER)
    endless.state.now += 1000 * HOUR
    t.is(endless.options.need, 'none')
  }
})

test('a catalog that fails is asked every ten seconds, and its credentials used until their end', async (t) => {
  const { state, options } = vended()
  await options.renew(NEVER)
  state.failure = new KafkaToDeltaError('CATALOG_UNAVAILABLE', 'it is down')
  state.now += HOUR / 2
  t.is(await options.renew(NEVER), null)
  t.is(options.failure?.message, "there are no credentials for the table's files: it is down")
  t.is(options.need, 'none')
  state.now += 10_000
  t.is(options.need, 'soon')
  // They are about to end, and a store refused them: still, nothing stops before they end.
  state.now += HOUR / 2 - 40_000
  options.refused()
  t.is(options.need, 'now')
  t.is(await options.renew(NEVER), null)
  t.is(options.need, 'none')
  state.now += 30_000
  t.is(options.need, 'now')
  const down = await t.throwsAsync(options.renew(NEVER), { code: 'STORAGE' })
  t.is(down?.message, "there are no credentials for the table's files: it is down")
  state.failure = new KafkaToDeltaError('CATALOG_DENIED', 'not you')
  await t.throwsAsync(options.renew(NEVER), { code: 'STORAGE_DENIED', message: /not you$/ })
  state.failure = null
  t.truthy(await options.renew(NEVER))
  t.is(options.failure, null)
})

test.serial(
  'a key of Azure in the environment, which would count before the catalog’s credentials, is refused',
  async (t) => {
    const sas = { AZURE_STORAGE_SAS_TOKEN: 'a' }
    const credentials = new HeldCredentials(async () => ({ options: sas, expires: null }))
    process.env.AZURE_STORAGE_ACCESS_KEY = 'b'
    t.teardown(() => delete process.env.AZURE_STORAGE_ACCESS_KEY)
    const message = /AZURE_STORAGE_ACCESS_KEY is set/
    await t.throwsAsync(credentials.renew(NEVER), { code: 'STORAGE_DENIED', message })
    delete process.env.AZURE_STORAGE_ACCESS_KEY
    t.is(await credentials.renew(NEVER), sas)
  },
)

test('what a store refuses is renewed, unless it is new', async (t) => {
  const { state, options } = vended()
  await options.renew(NEVER)
  options.refused()
  t.is(options.need, 'none')
  state.now += 30_000
  options.refused()
  t.is(options.need, 'now')
  await options.renew(NEVER)
  t.is(options.need, 'none')
})

test('a signal ends the asking, and is no failure of the catalog', async (t) => {
  const reason = new Error('stopped')
  const options = new HeldCredentials(() => new Promise(() => {}))
  t.is(await t.throwsAsync(options.renew(AbortSignal.abort(reason))), reason)
  const stop = new AbortController()
  const asked = options.renew(stop.signal)
  stop.abort(reason)
  t.is(await t.throwsAsync(asked), reason)
})

test('own credentials of a store do not stand beside those of the catalog, however they are spelled', (t) => {
  const own = {
    AWS_REGION: 'eu-central-1',
    aws_endpoint_url: 'http://store',
    aws_access_key_id: 'own',
    Secret_Access_Key: 'own',
    AWS_SESSION_TOKEN: 'own',
    azure_storage_sas_key: 'own',
    AZURE_STORAGE_ACCOUNT_NAME: 'lake',
  }
  t.deepEqual(withCredentials(own, { AWS_ACCESS_KEY_ID: 'a' }), {
    AWS_REGION: 'eu-central-1',
    aws_endpoint_url: 'http://store',
    AZURE_STORAGE_ACCOUNT_NAME: 'lake',
    AWS_ACCESS_KEY_ID: 'a',
  })
})

test('only a catalog that is to give credentials is asked, by name and location', async (t) => {
  const unity: ResolvedCatalogOptions = { type: 'unity', url: 'http://h', catalog: 'main' }
  const asked: unknown[] = []
  const catalogs = new OpenCatalogs(async () => ({
    ...fakeCatalog(),
    credentials: async (place) => {
      asked.push(place)
      return { options: { key: 'a' }, expires: null }
    },
  }))
  const table = (options: ResolvedCatalogOptions, tableName = 'orders') => ({
    uri: 's3a://lake/orders',
    storageOptions: UNTOUCHED,
    catalog: { options, schema: 'shop', tableName },
  })
  t.is(heldCredentialsOf({ ...table(unity), catalog: null }, catalogs), null)
  t.is(heldCredentialsOf(table(unity), catalogs), null)
  const vending = { ...unity, vendedCredentials: true }
  t.deepEqual(await heldCredentialsOf(table(vending), catalogs)?.renew(NEVER), { key: 'a' })
  t.deepEqual(asked, [{ schema: 'shop', name: 'orders', location: 's3://lake/orders' }])
  const configured = { ...table(vending), storageOptions: { AWS_REGION: 'eu-central-1', AWS_SECRET_ACCESS_KEY: 'own' } }
  const { storageOptions } = await withVended(configured, catalogs)
  t.deepEqual(storageOptions, { AWS_REGION: 'eu-central-1', key: 'a' })
  t.is((await withVended(table(unity), catalogs)).storageOptions, UNTOUCHED)
  const unnamed = heldCredentialsOf(table(vending, 'a.b'), catalogs)
  await t.throwsAsync(async () => unnamed?.renew(NEVER), { code: 'STORAGE_DENIED', message: /tableName is no name/ })
})
