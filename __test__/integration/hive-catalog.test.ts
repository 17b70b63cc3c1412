/** Streams whose tables stand in a metastore of Hive 4, behind a login by password. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type TestFn } from 'ava'
import thrift from 'thrift'
import { openClient } from '../../src/catalog/hive/client.js'
import { foundTable, newEntry } from '../../src/catalog/hive/entry.js'
import { bool, type Struct, struct, structOf, text } from '../../src/catalog/hive/values.js'
import { type CatalogServer, catalogCases } from './support/catalog-cases.js'
import { hiveJars, NO_HIVE, RealHive } from './support/real-hive.js'

const jars = hiveJars(4)
const AUTH = { username: 'ann', password: 'secret' }
const PROPERTIES = {
  'metastore.authentication': 'CONFIG',
  'metastore.authentication.config.username': AUTH.username,
  'metastore.authentication.config.password': AUTH.password,
  // It refuses to start with both.
  'metastore.execute.setugi': 'false',
}

async function startHive(): Promise<CatalogServer> {
  const folder = mkdtempSync(join(tmpdir(), 'kafka2delta-hive-'))
  const hive = await RealHive.start(jars as string, folder, { properties: PROPERTIES })
  const optionsAt = (port: number) => ({ type: 'hive', uri: `thrift://127.0.0.1:${port}`, auth: AUTH }) as const
  const client = openClient(thrift, optionsAt(hive.port), { connectMs: 60_000, callMs: 60_000 })
  const { signal } = new AbortController()
  const named = (schema: string, name: string): Struct =>
    new Map([
      [1, text(schema)],
      [2, text(name)],
    ])
  const must = (answer: Struct) => {
    for (const id of answer.keys()) if (id > 0) throw new Error(`${[...structOf(answer, id).values()]}`)
  }
  return {
    port: hive.port,
    optionsAt,
    types: { integer: 'int', long: 'bigint', string: 'string' },
    wrongly: (port) => ({ options: { ...optionsAt(port), auth: { ...AUTH, password: 'wrong' } }, restore: () => {} }),
    async entry(schema, name) {
      const answer = await client.call('get_table_req', new Map([[1, struct(named(schema, name))]]), signal)
      if (!answer.has(0)) return null
      const { location, columns, properties } = foundTable(structOf(structOf(answer, 0), 1))
      return {
        location,
        columns: columns.map((column) => [column.name, column.type]),
        ...(properties.comment ? { comment: properties.comment } : {}),
      }
    },
    async drop(schema, name) {
      must(await client.call('drop_table', named(schema, name).set(3, bool(false)), signal))
    },
    async take(schema, name, location) {
      const table = { schema, name, location, columns: [], partitionColumns: [], properties: {} }
      must(await client.call('create_table', new Map([[1, struct(newEntry(table, 'bob'))]]), signal))
    },
    async close() {
      client.close()
      await hive.stop()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

if (jars) catalogCases(test as TestFn, 'hive', startHive)
else test.skip(`tables in a Hive metastore (${NO_HIVE})`, () => {})
