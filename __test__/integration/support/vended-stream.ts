/** A stream whose table goes by credentials of Unity Catalog that end while it runs. */

import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { ExecutionContext } from 'ava'
import { EmbeddedBroker } from '../../../src/demo/broker/index.js'
import { EmbeddedRegistry } from '../../../src/demo/registry.js'
import { streamToDelta } from '../../../src/index.js'
import { encode } from '../../debezium/support.js'
import { JsonChild } from './json-child.js'

const SCRIPT = fileURLToPath(new URL('../../catalog/unity_server.py', import.meta.url))
const TOPIC = 'db.orders'
const KEY = { type: 'record', name: 'Key', fields: [{ name: 'id', type: 'int' }] }
const VALUE = { ...KEY, name: 'Value' }

/** What was asked for: of a place or of a table, which one, and for which operation. */
export type Given = [kind: 'path' | 'table', what: string, operation: string]

export interface VendedStream {
  path: string
  storageOptions?: Record<string, string>
  /** How many seconds the credentials live. */
  seconds: number
  /** How often those of the table, which has its entry then, are given before the stream ends. */
  times: number
  /** A gateway of S3 that has the credentials as users, each until its end: its program's arguments for administration. */
  gateway?: readonly string[]
}

/** Runs the stream while rows come. Gives how many, with the ids 1, 2, 3 …, and which credentials were asked for. */
export async function runVendedStream(
  t: ExecutionContext,
  python: string,
  { path, storageOptions = {}, seconds, times, gateway }: VendedStream,
): Promise<{ rows: number; given: Given[] }> {
  const unity = new JsonChild(python, [SCRIPT])
  const [broker, registry] = [await EmbeddedBroker.start(), await EmbeddedRegistry.start()]
  t.teardown(() => Promise.all([unity.end(), broker.close(), registry.close()]))
  const { port } = await unity.line<{ port: number }>()
  const asked = async <T>(what: object): Promise<T> => (await unity.ask<{ ok: T }>(what)).ok
  await asked({ do: 'lives', seconds })
  if (gateway) await asked({ do: 'gateway', command: gateway })
  registry.setSchema(1, KEY)
  registry.setSchema(2, VALUE)
  broker.createTopic(TOPIC)
  let rows = 0
  const append = () => {
    rows++
    broker.append(TOPIC, 0, [{ key: encode(1, KEY, { id: rows }), value: encode(2, VALUE, { id: rows }) }])
  }
  append()
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
    tables: { [TOPIC]: { path, storageOptions, schema: 'shop', tableName: 'orders' } },
  })
  t.teardown(() => query.stop())
  const given = () => asked<Given[]>({ do: 'given' })
  while ((await given()).filter(([kind]) => kind === 'table').length < times) {
    append()
    await sleep(100)
  }
  await query.processAllAvailable()
  await query.stop()
  t.deepEqual(await asked({ do: 'problems' }), [])
  return { rows, given: await given() }
}
