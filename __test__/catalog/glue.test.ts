import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { json } from 'node:stream/consumers'
import test from 'ava'
import type { CatalogTable } from '../../src/catalog/catalog.js'
import { openGlue } from '../../src/catalog/glue.js'
import type { DeltaType } from '../../src/delta/schema-json.js'

/** What the client asks of Glue, by the last part of `X-Amz-Target`. */
const asked: Record<string, unknown> = {}
const server = createServer(async (request, response) => {
  asked[String(request.headers['x-amz-target']).replace(/^.*\./, '')] = await json(request)
  response.setHeader('content-type', 'application/x-amz-json-1.1').end('{}')
})
test.before(async () => {
  Object.assign(process.env, { AWS_ACCESS_KEY_ID: 'key', AWS_SECRET_ACCESS_KEY: 'secret' })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
})
test.after.always(() => server.close())

const tableOf = (types: Record<string, DeltaType>): CatalogTable => ({
  schema: 'shop',
  name: 'orders',
  location: 's3://lake/orders',
  columns: Object.entries(types).map(([name, type]) => ({ name, type, nullable: true })),
  partitionColumns: [],
  properties: {},
})

test('columns of an entry have types that Spark 3.5 can parse; the schema keeps the names as they are', async (t) => {
  const { port } = server.address() as AddressInfo
  const glue = await openGlue({ type: 'glue', region: 'eu-central-1', endpoint: `http://127.0.0.1:${port}` })
  const struct = (name: string): DeltaType => ({ type: 'struct', fields: [{ name, type: 'long' }] })
  const table = tableOf({
    plain: struct('size'),
    odd: { type: 'array', elementType: struct('größe') },
    other: 'variant',
  })
  await glue.create(table, AbortSignal.timeout(30_000))
  await glue.close()
  const { TableInput: entry } = asked.CreateTable as {
    TableInput: { StorageDescriptor: { Columns: object[] }; Parameters: Record<string, string> }
  }
  t.deepEqual(entry.StorageDescriptor.Columns, [
    { Name: 'plain', Type: 'struct<size:bigint>' },
    { Name: 'odd', Type: 'string' },
    { Name: 'other', Type: 'string' },
  ])
  t.regex(entry.Parameters['spark.sql.sources.schema'] ?? '', /größe/)
})
