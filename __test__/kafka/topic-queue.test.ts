import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'
import { Messages } from '../../src/kafka/messages.js'
import type { MicroBatch, RawMessage } from '../../src/kafka/micro-batch.js'
import { FETCHED_OVERHEAD, MESSAGE_OVERHEAD } from '../../src/kafka/options.js'
import type { ReadProgress } from '../../src/kafka/paired-messages.js'
import { TopicQueue } from '../../src/kafka/topic-queue.js'
import { generator, SEED } from '../helpers/random.js'

const LIMITS = { maxBatchMessages: 5, maxBatchBytes: 1000, maxQueueBytes: 100_000 }

const message = (offset: number, bytes = 10): RawMessage => ({
  offset: String(offset),
  timestamp: '0',
  key: null,
  value: Buffer.alloc(bytes),
})

const range = (partition: number, first: number, last: number, offsets: number[], bytes?: number) => ({
  partition,
  firstOffset: BigInt(first),
  lastOffset: BigInt(last),
  messages: Messages.of(offsets.map((offset) => message(offset, bytes))),
})

const shape = (batch: MicroBatch | null) =>
  batch?.ranges.map(({ partition, firstOffset, lastOffset, messages }) => [
    partition,
    Number(firstOffset),
    Number(lastOffset),
    [...messages].map(({ offset }) => Number(offset)),
  ])

test('joins fetches of a partition to one range, in order of arrival', (t) => {
  const queue = new TopicQueue('t', LIMITS)
  queue.push(range(0, 0, 2, [0, 2]))
  queue.push(range(1, 7, 8, [8]))
  queue.push(range(0, 3, 6, [4]))
  t.deepEqual(shape(queue.cut()), [
    [0, 0, 6, [0, 2, 4]],
    [1, 7, 8, [8]],
  ])
  t.true(queue.isEmpty)
  t.is(queue.cut(), null)
})

test('a half from an hour ago waits for a second where all was read, one of now longer', async (t) => {
  const half = () => ({ side: 'after' as const, isTombstone: false, pair: () => 'a>b' })
  const reach = new Map<number, ReadProgress>([
    [0, 'end'],
    [1, 'end'],
  ])
  const queueWith = (time: number) => {
    const queue = new TopicQueue('t', LIMITS, half)
    const messages = Messages.of([{ ...message(0), timestamp: String(time) }])
    queue.push({ partition: 0, firstOffset: 0n, lastOffset: 0n, messages })
    t.is(queue.cut(reach), null)
    return queue
  }
  const [old, young] = [queueWith(Date.now() - 3_600_000), queueWith(Date.now())]
  await sleep(1_100)
  t.is(young.cut(reach), null)
  t.is(old.cut(reach)?.numMessages, 1)
})

test('what little was fetched, and halves, are counted with what they take', (t) => {
  const queue = new TopicQueue('t', LIMITS, () => ({ side: 'after', isTombstone: false, pair: () => 'a>b' }))
  queue.push(range(0, 0, 0, [0]))
  t.true(queue.heldBytes > 3_400)
})

test('splits a fetch at the limit; the rest follows on', (t) => {
  const queue = new TopicQueue('t', LIMITS)
  queue.push(range(0, 0, 9, [1, 2, 4, 5, 6, 8]))
  t.deepEqual(shape(queue.cut()), [[0, 0, 6, [1, 2, 4, 5, 6]]])
  t.deepEqual(shape(queue.cut()), [[0, 7, 9, [8]]])
})

test('skipped offsets after the last message belong to its range', (t) => {
  const queue = new TopicQueue('t', LIMITS)
  queue.push(range(0, 0, 9, [0, 1, 2, 3, 4]))
  t.deepEqual(shape(queue.cut()), [[0, 0, 9, [0, 1, 2, 3, 4]]])
})

test('a message larger than the limit is a batch of its own', (t) => {
  const queue = new TopicQueue('t', LIMITS)
  queue.push(range(0, 0, 0, [0]))
  queue.push(range(0, 1, 1, [1], 5000))
  queue.push(range(0, 2, 2, [2]))
  t.deepEqual(shape(queue.cut()), [[0, 0, 0, [0]]])
  t.deepEqual(shape(queue.cut()), [[0, 1, 1, [1]]])
  t.deepEqual(shape(queue.cut()), [[0, 2, 2, [2]]])
})

test('skipped offsets take one place per partition, however many come', (t) => {
  const queue = new TopicQueue('t', LIMITS)
  for (let i = 0; i < 1000; i++) {
    queue.push(range(0, i, i, []))
    queue.push(range(1, i, i, []))
  }
  t.deepEqual(shape(queue.cut()), [
    [0, 0, 999, []],
    [1, 0, 999, []],
  ])
})

test('is full from maxQueueBytes on, until it is drained below half', (t) => {
  const queue = new TopicQueue('t', {
    ...LIMITS,
    maxBatchMessages: 1,
    maxQueueBytes: 2 * FETCHED_OVERHEAD + 4 * (MESSAGE_OVERHEAD + 10),
  })
  queue.push(range(0, 0, 2, [0, 1, 2]))
  t.false(queue.isFull)
  queue.push(range(0, 3, 3, [3]))
  t.true(queue.isFull)
  const batches = [queue.cut(), queue.cut(), queue.cut()] as MicroBatch[]
  t.true(queue.isFull, 'what is handed over still counts')
  queue.committed(batches[0] as MicroBatch)
  queue.committed(batches[1] as MicroBatch)
  t.true(queue.isFull, 'half is not below half')
  t.true(queue.committed(batches[2] as MicroBatch))
  t.false(queue.isFull)
  t.false(queue.committed(batches[2] as MicroBatch))
})

test('a full queue fills a batch only if nothing is under way', (t) => {
  const queue = new TopicQueue('t', {
    maxBatchMessages: 1000,
    maxBatchBytes: 1 << 20,
    maxQueueBytes: 7_000,
  })
  queue.push(range(0, 0, 4, [0, 1, 2, 3, 4], 1_000))
  t.true(queue.fillsBatch)
  const batch = queue.cut() as MicroBatch
  queue.push(range(0, 5, 5, [5]))
  t.false(queue.fillsBatch)
  queue.committed(batch)
  t.false(queue.fillsBatch)
})

test('dropMessages leaves what was skipped before them', (t) => {
  const queue = new TopicQueue('t', LIMITS)
  queue.push(range(0, 0, 3, []))
  queue.push(range(1, 0, 3, [3]))
  queue.push(range(0, 4, 4, [4]))
  queue.push(range(0, 5, 9, []))
  queue.push(range(1, 4, 9, []))
  queue.dropMessages()
  t.deepEqual(shape(queue.cut()), [[0, 0, 3, []]])
  t.is(queue.numMessages, 0)
  t.is(queue.numBytes, 0)
})

test('dropPartition and clear give the memory back', (t) => {
  const queue = new TopicQueue('t', LIMITS)
  queue.push(range(0, 0, 6, [0, 1, 2, 3, 4, 5, 6]))
  queue.push(range(1, 0, 0, [0]))
  queue.cut()
  queue.dropPartition(0)
  t.is(queue.numMessages, 1)
  t.is(queue.numBytes, 10)
  queue.clear()
  t.is(queue.heldBytes, 0)
})

/** The oracle of cutting: ranges of a partition join without a gap, and every message comes once, in order. */
test(`random pushes and cuts lose and repeat nothing (SEED=${SEED})`, (t) => {
  const random = generator(SEED).below
  for (let round = 0; round < 50; round++) {
    const limits = { maxBatchMessages: 1 + random(8), maxBatchBytes: 1 + random(120), maxQueueBytes: 1000 }
    const queue = new TopicQueue('t', limits)
    const position = [0, 0, 0]
    const pushed: number[][] = [[], [], []]
    const seen: number[][] = [[], [], []]
    const next = [0n, 0n, 0n]
    const take = () => {
      const batch = queue.cut()
      if (!batch) return false
      t.true(batch.numMessages <= limits.maxBatchMessages)
      t.true(batch.numMessages <= 1 || batch.numBytes <= limits.maxBatchBytes)
      t.is(new Set(batch.ranges.map(({ partition }) => partition)).size, batch.ranges.length)
      for (const { partition, firstOffset, lastOffset, messages } of batch.ranges) {
        t.is(firstOffset, next[partition] as bigint)
        next[partition] = lastOffset + 1n
        seen[partition]?.push(...[...messages].map(({ offset }) => Number(offset)))
        t.true([...messages].every(({ offset }) => BigInt(offset) >= firstOffset && BigInt(offset) <= lastOffset))
      }
      return true
    }
    for (let step = 0; step < 40; step++) {
      if (random(3) === 0) take()
      const partition = random(3)
      const first = position[partition] as number
      const last = first + random(6)
      const offsets = Array.from({ length: last - first + 1 }, (_, i) => first + i).filter(() => random(3) > 0)
      queue.push(range(partition, first, last, offsets, random(40)))
      pushed[partition]?.push(...offsets)
      position[partition] = last + 1
    }
    while (take());
    t.deepEqual(seen, pushed)
    t.deepEqual(next, position.map(BigInt))
  }
})
