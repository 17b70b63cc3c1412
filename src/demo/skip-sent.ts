/** Lets a deterministic producer run again over topics that hold the beginning of what it sends. */

import kafkajs, { type Admin, type Kafka, type Message, type Producer, type ProducerBatch } from 'kafkajs'

/** How many messages a partition holds. */
export type PartitionSize = (topic: string, partition: number) => number

/**
 * A Kafka client whose producers leave out the messages that each partition already holds: they send the same ones,
 * in the same order, as a run before that was cut off at any place. To its admin, the topics look empty.
 *
 * @param partitions of each topic
 */
export function resumingKafka(kafka: Kafka, partitions: (topic: string) => number, held: PartitionSize): Kafka {
  // The run before had these; what this one sends comes on top.
  const left = new Map<string, number>()
  const resuming = {
    admin: () => emptyLooking(kafka.admin()),
    producer: () =>
      skipping(
        kafka.producer({ createPartitioner: kafkajs.Partitioners.DefaultPartitioner }),
        partitions,
        (name, topic, partition) => {
          const count = left.get(name) ?? held(topic, partition)
          left.set(name, Math.max(0, count - 1))
          return count > 0
        },
      ),
  }
  return resuming as unknown as Kafka
}

function emptyLooking(admin: Admin): Admin {
  return new Proxy(admin, {
    get(target, property) {
      if (property === 'fetchTopicOffsets') {
        return async (topic: string) =>
          (await target.fetchTopicOffsets(topic)).map((offsets) => ({ ...offsets, low: '0', high: '0', offset: '0' }))
      }
      const value = Reflect.get(target, property) as unknown
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
}

function skipping(
  producer: Producer,
  partitions: (topic: string) => number,
  isHeld: (name: string, topic: string, partition: number) => boolean,
): Producer {
  const partitioner = kafkajs.Partitioners.DefaultPartitioner()
  const place = (topic: string, message: Message): number => {
    const partitionMetadata = Array.from({ length: partitions(topic) }, (_, partitionId) => ({
      partitionErrorCode: 0,
      partitionId,
      leader: 1,
      replicas: [1],
      isr: [1],
      offlineReplicas: [],
    }))
    return partitioner({ topic, partitionMetadata, message })
  }
  const sendBatch = async (batch: ProducerBatch) => {
    const topicMessages = (batch.topicMessages ?? []).flatMap(({ topic, messages }) => {
      const rest = messages.flatMap((message) => {
        // The place is fixed here, so that what is counted is what is sent.
        const partition = message.partition ?? place(topic, message)
        return isHeld(`${topic}/${partition}`, topic, partition) ? [] : [{ ...message, partition }]
      })
      return rest.length > 0 ? [{ topic, messages: rest }] : []
    })
    return topicMessages.length > 0 ? producer.sendBatch({ ...batch, topicMessages }) : []
  }
  return new Proxy(producer, {
    get(target, property) {
      if (property === 'sendBatch') return sendBatch
      const value = Reflect.get(target, property) as unknown
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
}
