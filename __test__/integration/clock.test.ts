/** The machine's clock is set while a query runs: an hour back, and two hours forward. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { EmbeddedBroker } from '../../src/demo/broker/index.js'
import { streamToDelta } from '../../src/index.js'
import { readRows } from '../helpers/read.js'
import { SlowServer } from './support/slow-server.js'

const TOPIC = 'rows'
const HOUR_MS = 3_600_000
/** Confluent's format: the schema 7, `{id}`. */
const record = (id: number) => Buffer.from([0, 0, 0, 0, 7, id * 2])
const SCHEMA = { type: 'record', name: 'r', fields: [{ name: 'id', type: 'int' }] }

test('a clock that jumps back or forward holds up no message', async (t) => {
  t.timeout(90_000)
  const folder = mkdtempSync(join(tmpdir(), 'kafka2delta-clock-'))
  const broker = await EmbeddedBroker.start()
  broker.createTopic(TOPIC, 2)
  const registry = await SlowServer.start(() => ({ json: { schema: JSON.stringify(SCHEMA) } }))
  const { now } = Date
  t.teardown(async () => {
    Date.now = now
    await broker.close()
    registry.close()
    rmSync(folder, { recursive: true, force: true })
  })
  const path = join(folder, 'rows')
  const query = await streamToDelta({
    queryName: 'clock',
    kafka: { brokers: broker.brokers },
    consumer: { sessionTimeout: 6_000, heartbeatInterval: 500 },
    schemaRegistry: { url: registry.url },
    tables: { [TOPIC]: { path } },
    // The second batch is not due at once.
    trigger: { processingTime: 300 },
  })
  t.teardown(() => query.stop())
  let sent = 0
  const apply = async () => {
    for (let i = 0; i < 3; i++) {
      sent++
      broker.append(TOPIC, sent % 2, [{ key: record(sent), value: record(sent) }])
      await query.processAllAvailable()
    }
  }
  await apply()
  for (const by of [-HOUR_MS, 2 * HOUR_MS, -24 * HOUR_MS]) {
    Date.now = () => now() + by
    await apply()
  }
  t.deepEqual(
    (await readRows(path, { orderBy: ['id'] })).map(({ id }) => id),
    Array.from({ length: sent }, (_, i) => i + 1),
  )
  t.is(query.exception, null)
})
