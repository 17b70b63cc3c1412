/** Tables in Unity Catalog, by a server that holds every request and answer against its published description. */

import { fileURLToPath } from 'node:url'
import test, { type TestFn } from 'ava'
import { installedCatalogs } from '../../scripts/lib/python.mjs'
import type { Catalog } from '../../src/catalog/catalog.js'
import { openUnity } from '../../src/catalog/unity.js'
import type { UnityCatalogOptions, WithTls } from '../../src/options/types.js'
import { type CatalogServer, catalogCases } from './support/catalog-cases.js'
import { JsonChild } from './support/json-child.js'

const SCRIPT = fileURLToPath(new URL('../catalog/unity_server.py', import.meta.url))
const python = installedCatalogs()

interface UnityTable {
  storage_location: string
  columns: { name: string; type_text: string; position: number }[]
  comment?: string
}

let unity: JsonChild
let options: WithTls<UnityCatalogOptions>

const call = async <T>(what: object): Promise<T> => (await unity.ask<{ ok: T }>(what)).ok

const optionsAt = (port: number): WithTls<UnityCatalogOptions> => ({
  type: 'unity',
  url: `http://127.0.0.1:${port}`,
  catalog: 'main',
  auth: { clientId: 'client', clientSecret: 'client-secret' },
})

async function startUnity(): Promise<CatalogServer> {
  unity = new JsonChild(python as string, [SCRIPT])
  const { port } = await unity.line<{ port: number }>()
  options = optionsAt(port)
  return {
    port,
    optionsAt,
    types: { integer: 'int', long: 'bigint', string: 'string' },
    wrongly: (at) => ({ options: { ...optionsAt(at), auth: { token: 'another' } }, restore: () => {} }),
    async entry(schema, name) {
      const found = await call<UnityTable | null>({ do: 'get', name: `main.${schema}.${name}` })
      if (found === null) return null
      const columns = [...found.columns].sort((a, b) => a.position - b.position)
      return {
        location: found.storage_location,
        columns: columns.map(({ name: of, type_text }) => [of.toLowerCase(), type_text]),
        ...(found.comment ? { comment: found.comment } : {}),
      }
    },
    drop: (schema, name) => call({ do: 'drop', name: `main.${schema}.${name}` }),
    take: (schema, name, location) =>
      call({
        do: 'create',
        with: {
          ...{ name, catalog_name: 'main', schema_name: schema, table_type: 'EXTERNAL', data_source_format: 'DELTA' },
          columns: [],
          storage_location: location,
        },
      }),
    close: () => unity.end(),
  }
}

if (python === null) test.skip('Unity Catalog: needs Python: run it with `npm test`', (t) => t.pass())
else {
  catalogCases(test as TestFn, 'unity', startUnity)

  test.serial('unity: a token that was taken back makes way for another one', async (t) => {
    const catalog = await openUnity(options)
    t.teardown(() => catalog.close())
    const look = () => catalog.find('nowhere', 'nothing', AbortSignal.timeout(10_000))
    t.is(await look(), null)
    await call({ do: 'forget tokens' })
    t.is(await look(), null)
  })

  test.serial('unity: credentials for a place, and for the table that was made there', async (t) => {
    const opened = (await openUnity(options)) as Required<Catalog>
    t.teardown(() => opened.close())
    const signal = AbortSignal.timeout(60_000)
    const place = { schema: 'vended', name: 'orders', location: 's3://lake/vended' }
    const first = await opened.credentials(place, signal)
    await opened.ensureSchema(place.schema, signal)
    await opened.create({ ...place, columns: [], partitionColumns: [], properties: {} }, signal)
    const second = await opened.credentials(place, signal)
    t.not(first.options.AWS_SESSION_TOKEN, second.options.AWS_SESSION_TOKEN)
    for (const { expires } of [first, second]) t.true((expires as Date).getTime() > Date.now())
  })

  test.serial('unity: nothing was asked for that the published description does not have', async (t) => {
    t.deepEqual(await call({ do: 'problems' }), [])
  })
}
