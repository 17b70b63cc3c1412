import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { json } from 'node:stream/consumers'
import test, { type ExecutionContext } from 'ava'
import type { Catalog } from '../../src/catalog/catalog.js'
import { openUnity } from '../../src/catalog/unity.js'

const { signal } = new AbortController()
const PLACE = { schema: 'shop', name: 'orders', location: 's3://lake/orders' }

/** A server that has the entry, and gives the credentials, that it is told to have and give. */
async function unity(t: ExecutionContext, entry: object | null, credentials: object) {
  const asked: unknown[] = []
  const server = createServer(async (request, response) => {
    if (request.method === 'GET') {
      response.statusCode = entry ? 200 : 404
      response.end(JSON.stringify(entry ?? { error_code: 'TABLE_NOT_FOUND' }))
      return
    }
    asked.push([request.url?.replace(/^.*\//, ''), await json(request)])
    response.end(JSON.stringify(credentials))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const catalog = await openUnity({ type: 'unity', url: `http://127.0.0.1:${port}`, catalog: 'main' })
  t.teardown(async () => {
    await catalog.close()
    server.close()
  })
  return { asked, catalog: catalog as Required<Catalog> }
}

const AWS = { aws_temp_credentials: { access_key_id: 'id', secret_access_key: 'key', session_token: 'session' } }

test('credentials of a table that has its entry are those of the table, with their end', async (t) => {
  const entry = { table_id: 'an-id', storage_location: 's3://lake/orders/' }
  const { asked, catalog } = await unity(t, entry, { ...AWS, expiration_time: 1_700_000_000_000 })
  t.deepEqual(await catalog.credentials(PLACE, signal), {
    options: { AWS_ACCESS_KEY_ID: 'id', AWS_SECRET_ACCESS_KEY: 'key', AWS_SESSION_TOKEN: 'session' },
    expires: new Date(1_700_000_000_000),
  })
  t.deepEqual(asked, [['temporary-table-credentials', { table_id: 'an-id', operation: 'READ_WRITE' }]])
})

test('before there is an entry they are those of the place where the table is made', async (t) => {
  const { asked, catalog } = await unity(t, null, { azure_user_delegation_sas: { sas_token: 'sig=a' } })
  const { options, expires } = await catalog.credentials(PLACE, signal)
  t.deepEqual(options, { AZURE_STORAGE_SAS_TOKEN: 'sig=a' })
  t.is(expires, null)
  t.deepEqual(asked, [['temporary-path-credentials', { url: 's3://lake/orders', operation: 'PATH_CREATE_TABLE' }]])
})

test('those of another location, and those that the store cannot take, are refused', async (t) => {
  const elsewhere = await unity(t, { table_id: 'an-id', storage_location: 's3://other/orders' }, AWS)
  await t.throwsAsync(elsewhere.catalog.credentials(PLACE, signal), { code: 'CATALOG_CONFLICT' })
  t.deepEqual(elsewhere.asked, [])
  const google = await unity(t, null, { gcp_oauth_token: { oauth_token: 'a' } })
  const denied = { code: 'CATALOG_DENIED', message: /shop\.orders no credentials of use: a token of Google Cloud/ }
  await t.throwsAsync(google.catalog.credentials(PLACE, signal), denied as never)
  const none = await unity(t, null, {})
  await t.throwsAsync(none.catalog.credentials(PLACE, signal), { code: 'CATALOG_DENIED', message: /none for S3/ })
})
