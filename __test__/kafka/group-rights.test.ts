/** Kafka's ACLs may take the right on the consumer group, as they may take that on a topic. */

import test from 'ava'
import { eventually, makeSource, produce, startBroker, TOPIC } from './support.js'

test('a group that the user may not use is an error at the start', async (t) => {
  const broker = await startBroker(t)
  broker.denyGroups(true)
  const error = await t.throwsAsync(makeSource(t, broker).start())
  t.like(error, { code: 'KAFKA_AUTH' })
  t.regex(error?.message ?? '', /group/i)
})

test('a group that the user may not use any more is waited for, and told', async (t) => {
  const broker = await startBroker(t)
  const source = makeSource(t, broker)
  await source.start()
  broker.denyGroups(true)
  await eventually(() => source.waitingFor !== null, 30_000)
  t.like(source.waitingFor, { code: 'KAFKA_AUTH' })
  broker.denyGroups(false)
  produce(broker, 3)
  t.is((await source.next(TOPIC))?.numMessages, 3)
  t.is(source.waitingFor, null)
})
