/** The first message of a topic, by which patterns tell what it holds. */

import test from 'ava'
import kafkajs from 'kafkajs'
import { TopicLookup } from '../../src/kafka/lookup.js'
import { produce, startBroker, TOPIC } from './support.js'

async function lookupOf(t: Parameters<typeof startBroker>[0]) {
  const broker = await startBroker(t)
  const kafka = new kafkajs.Kafka({ brokers: broker.brokers, logLevel: kafkajs.logLevel.NOTHING })
  const lookup = new TopicLookup(kafka)
  await lookup.connect()
  t.teardown(() => lookup.close())
  const first = async () => {
    const found = await lookup.firstMessage(TOPIC)
    return found === null || found === 'unseen' ? found : found.value?.toString()
  }
  return { broker, first }
}

const record = (value: string) => ({ key: null, value: Buffer.from(value) })

test('a topic without a message, and with one', async (t) => {
  const { broker, first } = await lookupOf(t)
  t.is(await first(), null)
  produce(broker, 2, 'a')
  t.is(await first(), 'a0')
})

test('record batches that compaction has emptied are stepped over', async (t) => {
  const { broker, first } = await lookupOf(t)
  broker.appendEmptyBatch(TOPIC, 0, 5)
  t.is(await first(), 'unseen')
  broker.appendEmptyBatch(TOPIC, 0, 3)
  produce(broker, 1, 'a')
  t.is(await first(), 'a0')
})

test('neither an aborted message nor a mark of a transaction is the first one', async (t) => {
  const { broker, first } = await lookupOf(t)
  broker.appendTransaction(TOPIC, 0, [record('aborted'), record('as well')], 'abort')
  broker.appendTransaction(TOPIC, 0, [record('too')], 'abort')
  t.is(await first(), 'unseen')
  broker.appendEmptyBatch(TOPIC, 0, 2)
  broker.appendTransaction(TOPIC, 0, [record('committed')], 'commit')
  t.is(await first(), 'committed')
})
