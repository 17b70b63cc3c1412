/** What the source hands over where fetches are read as columns, and where a `Kafka` of the user's own reads them. */

import test, { type ExecutionContext } from 'ava'
import kafkajs, { type Kafka } from 'kafkajs'
import { TopicLookup } from '../../src/kafka/lookup.js'
import { drain, FakeTable, makeSource, numbers, produce, startBroker, TOPIC } from './support.js'

/** Committed and aborted transactions, plain messages and what compaction leaves. */
async function brokerWithAll(t: ExecutionContext) {
  const broker = await startBroker(t)
  const records = (prefix: string, count: number) =>
    Array.from({ length: count }, (_, i) => ({
      key: i % 3 === 0 ? null : Buffer.from(`k${i}`),
      value: i % 4 === 3 ? null : Buffer.from(`${prefix}${i}`),
    }))
  produce(broker, 25)
  broker.appendEmptyBatch(TOPIC, 0, 10)
  broker.appendTransaction(TOPIC, 0, records('c', 7), 'commit')
  broker.appendTransaction(TOPIC, 0, records('a', 9), 'abort')
  broker.appendEmptyBatch(TOPIC, 0, 3)
  produce(broker, 15, 'w')
  broker.appendTransaction(TOPIC, 0, records('b', 2), 'abort')
  // Nothing comes with it that kafkajs could go on from.
  broker.appendEmptyBatch(TOPIC, 0, 5)
  return broker
}

async function handedOver(t: ExecutionContext, kafka?: Kafka) {
  const broker = await brokerWithAll(t)
  const table = new FakeTable()
  const trigger = { availableNow: true } as const
  const source = makeSource(
    t,
    broker,
    kafka ? { trigger, kafka: withBrokers(broker.brokers) } : { trigger },
    table.stored,
  )
  await source.start()
  const batches = await drain(source, table)
  const messages = batches.flatMap(({ ranges }) => ranges.flatMap(({ messages }) => [...messages]))
  return {
    values: table.values,
    last: table.offsets.get(0),
    messages: messages.map(({ offset, timestamp, key, value }) => ({
      offset,
      isTimed: timestamp !== '-1',
      key,
      value,
    })),
  }
}

const withBrokers = (brokers: string[]) => new kafkajs.Kafka({ brokers, logLevel: kafkajs.logLevel.NOTHING })

test.serial('batches without records are stepped over by the consumer itself', async (t) => {
  const original = TopicLookup.prototype.skipEmpty
  let asked = 0
  TopicLookup.prototype.skipEmpty = function (...args) {
    asked++
    return original.apply(this, args)
  }
  t.teardown(() => {
    TopicLookup.prototype.skipEmpty = original
  })
  const { values, last } = await handedOver(t)
  const committed = ['c0', 'c1', 'c2', 'null', 'c4', 'c5', 'c6']
  t.deepEqual(values, [...numbers('v', 0, 25), ...committed, ...numbers('w', 0, 15)])
  t.is(last, BigInt(25 + 10 + 8 + 10 + 3 + 15 + 3 + 5 - 1))
  t.is(asked, 0)
})

test.serial('a Kafka of the user’s own hands over the same', async (t) => {
  t.timeout(60_000)
  t.deepEqual(await handedOver(t, withBrokers([])), await handedOver(t))
})
