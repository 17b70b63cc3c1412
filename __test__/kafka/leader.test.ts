/** A partition that loses its leader while it is read. */

import test from 'ava'
import { drain, eventually, FakeTable, makeSource, produce, startBroker, TOPIC } from './support.js'

test('a partition without a leader while running is waited for, and told', async (t) => {
  const broker = await startBroker(t)
  produce(broker, 3)
  const table = new FakeTable()
  const source = makeSource(t, broker, { consumer: { metadataMaxAge: 300 } }, table.stored)
  await source.start()
  await drain(source, table, () => table.values.length === 3)
  broker.setLeaderless(TOPIC, true)
  broker.dropConnections()
  await eventually(() => source.waitingFor !== null, 30_000)
  t.like(source.waitingFor, { code: 'KAFKA_CONSUMER_CRASHED' })
  broker.setLeaderless(TOPIC, false)
  produce(broker, 3, 'w')
  await drain(source, table, () => table.values.length === 6)
  t.is(source.waitingFor, null)
})
