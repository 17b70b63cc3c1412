/** A stream whose table goes by credentials that Unity Catalog gives, and that end while it runs. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { installedCatalogs } from '../../scripts/lib/python.mjs'
import { EmbeddedBroker } from '../../src/demo/broker/index.js'
import { EmbeddedRegistry } from '../../src/demo/registry.js'
import { streamToDelta } from '../../src/index.js'
import { encode } from '../debezium/support.js'
import { readRows } from '../helpers/read.js'
import { JsonChild } from './support/json-child.js'

const SCRIPT = fileURLToPath(new URL('../catalog/unity_server.py', import.meta.url))
const TOPIC = 'db.orders'
const KEY = { type: 'record', name: 'Key', fields: [{ name: 'id', type: 'int' }] }
const VALUE = { ...KEY, name: 'Value' }
const python = installedCatalogs()
const run = python === null ? test.skip : test
const reason = python === null ? ': needs Python: run it with `npm test`' : ''

run(
  `credentials of two seconds: the table is opened anew while the stream runs, and no row is lost${reason}`,
  async (t) => {
    t.timeout(120_000)
    const folder = mkdtempSync(join(tmpdir(), 'kafka2delta-vended-'))
    const unity = new JsonChild(python as string, [SCRIPT])
    const [broker, registry] = [await EmbeddedBroker.start(), await EmbeddedRegistry.start()]
    t.teardown(async () => {
      await Promise.all([unity.end(), broker.close(), registry.close()])
      rmSync(folder, { recursive: true, force: true })
    })
    const { port } = await unity.line<{ port: number }>()
    const asked = async <T>(what: object): Promise<T> => (await unity.ask<{ ok: T }>(what)).ok
    await asked({ do: 'lives', seconds: 2 })
    registry.setSchema(1, KEY)
    registry.setSchema(2, VALUE)
    broker.createTopic(TOPIC)
    const append = (id: number) =>
      broker.append(TOPIC, 0, [{ key: encode(1, KEY, { id }), value: encode(2, VALUE, { id }) }])

    const path = join(folder, 'orders')
    const given = () => asked<[kind: string, what: string, operation: string][]>({ do: 'given' })
    append(1)
    const query = await streamToDelta({
      queryName: 'vended',
      kafka: { brokers: broker.brokers },
      schemaRegistry: { url: registry.url },
      trigger: { processingTime: 50 },
      catalog: {
        type: 'unity',
        url: `http://127.0.0.1:${port}`,
        catalog: 'main',
        auth: { token: 'a-token' },
        vendedCredentials: true,
      },
      tables: { [TOPIC]: { path, schema: 'shop', tableName: 'orders' } },
    })
    t.teardown(() => query.stop())
    let last = 1
    while ((await given()).filter(([kind]) => kind === 'table').length < 3) {
      append(++last)
      await sleep(100)
    }
    await query.processAllAvailable()
    await query.stop()
    const rows = await readRows(path, { columns: ['id'], orderBy: ['id'] })
    t.deepEqual(
      rows.map(({ id }) => Number(id)),
      Array.from({ length: last }, (_, i) => i + 1),
    )
    const [first, ...later] = await given()
    t.deepEqual(first, ['path', `file://${path}`, 'PATH_CREATE_TABLE'])
    t.deepEqual(later.at(-1), ['table', 'id-of-main.shop.orders', 'READ_WRITE'])
    t.deepEqual(await asked({ do: 'problems' }), [])
  },
)
