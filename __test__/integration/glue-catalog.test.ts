/** Tables in AWS Glue's data catalog, as moto serves it. */

import { fileURLToPath } from 'node:url'
import test, { type TestFn } from 'ava'
import { installedCatalogs } from '../../scripts/lib/python.mjs'
import { type CatalogServer, catalogCases } from './support/catalog-cases.js'
import { JsonChild } from './support/json-child.js'

const SCRIPT = fileURLToPath(new URL('../catalog/glue_server.py', import.meta.url))
const python = installedCatalogs()

interface GlueTable {
  Description?: string
  TableType: string
  Parameters: Record<string, string>
  StorageDescriptor: {
    Location: string
    Columns: { Name: string; Type: string }[]
    SerdeInfo: { Parameters: Record<string, string> }
  }
}

/** Sets variables of the environment, and gives what sets them back. */
function environment(values: Record<string, string>): () => void {
  const before = Object.keys(values).map((name) => [name, process.env[name]] as const)
  Object.assign(process.env, values)
  return () => {
    for (const [name, value] of before) {
      if (value === undefined) delete process.env[name]
      else process.env[name] = value
    }
  }
}

async function startMoto(): Promise<CatalogServer> {
  const moto = new JsonChild(python as string, [SCRIPT])
  const { port, accessKeyId, secretAccessKey } = await moto.line<{
    port: number
    accessKeyId: string
    secretAccessKey: string
  }>()
  const restore = environment({ AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey })
  const call = async <T>(name: string, given: object): Promise<T> => {
    const { ok, error } = await moto.ask<{ ok: T; error?: string }>({ do: name, with: given })
    if (error) throw new Error(error)
    return ok
  }
  const optionsAt = (at: number) =>
    ({ type: 'glue', region: 'eu-central-1', endpoint: `http://127.0.0.1:${at}` }) as const
  return {
    port,
    optionsAt,
    types: { integer: 'int', long: 'bigint', string: 'string' },
    wrongly: (at) => ({ options: optionsAt(at), restore: environment({ AWS_SECRET_ACCESS_KEY: 'wrong' }) }),
    async entry(schema, name) {
      const found = await call<{ Table: GlueTable } | null>('get_table', { DatabaseName: schema, Name: name })
      if (found === null) return null
      const { Description, TableType, Parameters, StorageDescriptor } = found.Table
      if (TableType !== 'EXTERNAL_TABLE') throw new Error(`${TableType} ${JSON.stringify(Parameters)}`)
      const { Location, Columns, SerdeInfo } = StorageDescriptor
      // What Spark and Trino, and Athena, look at.
      if (Parameters['spark.sql.sources.provider'] !== 'delta' || Parameters.table_type !== 'DELTA') {
        throw new Error(`no table of Delta: ${JSON.stringify(Parameters)}`)
      }
      if (SerdeInfo.Parameters.path !== Location) throw new Error('two locations')
      return {
        location: Location,
        columns: Columns.map(({ Name, Type }) => [Name.toLowerCase(), Type]),
        ...(Description ? { comment: Description } : {}),
      }
    },
    drop: (schema, name) => call('delete_table', { DatabaseName: schema, Name: name }),
    async take(schema, name, location) {
      await call('create_table', {
        DatabaseName: schema,
        TableInput: {
          Name: name,
          TableType: 'EXTERNAL_TABLE',
          Parameters: { 'spark.sql.sources.provider': 'delta', table_type: 'DELTA' },
          StorageDescriptor: { Location: location, Columns: [], SerdeInfo: { Parameters: { path: location } } },
        },
      })
    },
    async close() {
      restore()
      await moto.end()
    },
  }
}

if (python === null) test.skip('AWS Glue: needs Python: run it with `npm test`', (t) => t.pass())
else catalogCases(test as TestFn, 'glue', startMoto)
