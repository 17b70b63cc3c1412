/** Consumes what is in a topic with kafkajs's own reader, and drops it: `drop.mjs '{"brokers", "topic"}'`. */

import kafkajs from 'kafkajs'
import { registerCodecs } from '../../dist/kafka/codecs.js'
import { tellUse } from './use.mjs'

const { brokers, topic } = JSON.parse(process.argv[2])
registerCodecs()
const kafka = new kafkajs.Kafka({ brokers, logLevel: kafkajs.logLevel.NOTHING })
const admin = kafka.admin()
await admin.connect()
const ends = new Map((await admin.fetchTopicOffsets(topic)).map(({ partition, high }) => [partition, BigInt(high)]))
await admin.disconnect()
const consumer = kafka.consumer({ groupId: `drop-${process.pid}` })
await consumer.connect()
await consumer.subscribe({ topic, fromBeginning: true })
let events = 0
await new Promise((resolve) => {
  void consumer.run({
    autoCommit: false,
    eachBatch: async ({ batch }) => {
      events += batch.messages.length
      if (BigInt(batch.lastOffset()) + 1n >= (ends.get(batch.partition) ?? 0n)) ends.delete(batch.partition)
      if (ends.size === 0) resolve(null)
    },
  })
})
tellUse({ events, commits: 0 })
process.exit(0)
