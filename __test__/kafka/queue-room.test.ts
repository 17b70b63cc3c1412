/** The memory that the queues of all topics share. */

import test from 'ava'
import { MemoryBudget } from '../../src/kafka/memory-budget.js'
import { Messages } from '../../src/kafka/messages.js'
import { FETCHED_OVERHEAD, MESSAGE_OVERHEAD } from '../../src/kafka/options.js'
import { QueueRoom } from '../../src/kafka/queue-room.js'
import { TopicQueue } from '../../src/kafka/topic-queue.js'
import { generator, SEED } from '../helpers/random.js'
import { makeSource, startBroker, TOPIC } from './support.js'

/** What one message takes beside its value. */
const OVERHEAD = FETCHED_OVERHEAD + MESSAGE_OVERHEAD

const LIMITS = { maxBatchMessages: 1_000, maxBatchBytes: 1e9, maxQueueBytes: 1e9 }

const queueIn = (room: QueueRoom) => {
  const budget = Object.assign(new MemoryBudget(), { queues: room })
  const queue = new TopicQueue(
    't',
    LIMITS,
    () => null,
    budget.topic(() => {}),
  )
  let next = 0n
  const push = (bytes: number) => {
    const value = Buffer.alloc(bytes - OVERHEAD)
    const messages = Messages.of([{ offset: String(next), timestamp: '0', key: null, value }])
    queue.push({ partition: 0, firstOffset: next, lastOffset: next, messages })
    next++
  }
  return { queue, push }
}

const drain = (queue: TopicQueue) => {
  const batch = queue.cut()
  if (batch) queue.committed(batch)
}

test('the largest wait where memory is tight; the others go on', (t) => {
  const room = new QueueRoom(800_000)
  const [large, small] = [queueIn(room), queueIn(room)]
  small.push(30_000)
  large.push(60_000)
  t.false(large.queue.isFull, 'it is not tight below half of the share')
  large.push(10_000)
  t.true(room.isTight)
  t.true(large.queue.isFull)
  t.true(large.queue.fillsBatch)
  t.false(small.queue.isFull)
  drain(large.queue)
  t.false(room.isTight)
  t.false(large.queue.isFull)
  t.is(room.heldBytes, 30_000)
})

test('a topic whose table stands still stops no other', (t) => {
  const room = new QueueRoom(800_000)
  const [stuck, other] = [queueIn(room), queueIn(room)]
  stuck.push(120_000)
  for (let round = 0; round < 20; round++) {
    other.push(10_000)
    t.false(other.queue.isFull)
    drain(other.queue)
  }
  t.true(stuck.queue.isFull)
})

test('all that is held is given back: committed, dropped, cleared', (t) => {
  const room = new QueueRoom(800_000)
  const queues = Array.from({ length: 4 }, () => queueIn(room))
  for (const { push } of queues) push(30_000)
  drain(queues[0]?.queue as TopicQueue)
  queues[1]?.queue.dropPartition(0)
  queues[2]?.queue.dropMessages()
  queues[3]?.queue.clear()
  t.is(room.heldBytes, 0)
  t.is(room.fairBytes, 100_000)
})

test(`random traffic: the sum stays within the share, nobody starves (SEED=${SEED})`, (t) => {
  const random = generator(SEED).below
  const room = new QueueRoom(20_000_000)
  const topics = Array.from({ length: 50 }, () => ({ ...queueIn(room), pushed: 0 }))
  for (let step = 0; step < 20_000; step++) {
    // The first topics are the busiest, and the first one of all is never drained.
    const at = random(1 + random(topics.length))
    const { queue, push } = topics[at] as (typeof topics)[number]
    if (!queue.isFull) {
      push(OVERHEAD + 1 + random(30_000))
      ;(topics[at] as (typeof topics)[number]).pushed++
    }
    if (queue.isFull && queue.heldBytes < room.fairBytes / 2) t.fail(`a small topic waits at step ${step}`)
    const drained = 1 + random(topics.length - 1)
    if (random(3) === 0) drain(topics[drained]?.queue as TopicQueue)
    // A queue that is not full yet may be exceeded by what it takes.
    if (room.heldBytes > 5_000_000 + 50 * (OVERHEAD + 30_001)) t.fail(`${room.heldBytes} bytes at step ${step}`)
  }
  t.true(topics.every(({ pushed }) => pushed > 0))
  t.true(room.isTight)
})

test('many topics under a small memory: all messages arrive, and the sum stays bounded', async (t) => {
  const topics = Array.from({ length: 50 }, (_, i) => `${TOPIC}-${i}`)
  const broker = await startBroker(t, 1, topics)
  const count = (i: number) => (i === 0 ? 20 : 4)
  for (const [i, topic] of topics.entries()) {
    for (let n = 0; n < count(i); n++) {
      broker.append(topic, 0, [
        { key: Buffer.from(`k${n}`), value: Buffer.alloc(i === 0 ? 1_500_000 : 200_000, n + 1) },
      ])
    }
  }
  const limits = { ...LIMITS, maxMemory: 16 << 20 }
  const source = makeSource(t, broker, { topics, limits, trigger: { availableNow: true } })
  await source.start()
  let most = 0
  const received = await Promise.all(
    topics.map(async (topic) => {
      const values: number[] = []
      for (let batch = await source.next(topic); batch; batch = await source.next(topic)) {
        most = Math.max(most, source.memory.queued)
        for (const { messages } of batch.ranges) for (const { value } of messages) values.push(value?.[0] ?? 0)
        await new Promise((resolve) => setTimeout(resolve, 20))
        source.committed(batch)
      }
      return values
    }),
  )
  for (const [i, values] of received.entries())
    t.deepEqual(
      values,
      Array.from({ length: count(i) }, (_, n) => n + 1),
    )
  // The share of 4 MB, and what kafkajs fetches meanwhile (10 MB each); all messages are 69 MB.
  t.true(most > 0 && most < 24 << 20, `${most} bytes`)
  t.is(source.memory.queued, 0)
})
