/** The memory that the batches of all topics share. */

import test from 'ava'
import { MemoryBudget, type TopicMemory } from '../../src/kafka/memory-budget.js'
import { Messages } from '../../src/kafka/messages.js'
import type { MicroBatch } from '../../src/kafka/micro-batch.js'
import { TopicQueue } from '../../src/kafka/topic-queue.js'
import { generator, type Random, ROUNDS, SEED } from '../helpers/random.js'

const MB = 2 ** 20
/** The memory, what batches may hold of it, and what of that all have in common. */
const MEMORY = 1024 * MB
const BATCHES = MEMORY * 0.375
const COMMON = BATCHES * 0.75

const held = ({ use }: MemoryBudget): number => use.decoding + use.merging

/** A topic whose batches decode to what was expected. */
class Table {
  readonly memory: TopicMemory
  isWaiting = false
  /** Topics that waited when this one came to wait, and batches that others have taken since. */
  ahead = 0
  overtaken = 0
  taken = 0
  #wanted = 0
  readonly #merging: number[] = []

  constructor(budget: MemoryBudget, onTaken: (table: Table) => void) {
    this.memory = budget.topic(() => this.#try(onTaken))
  }

  want(weight: number, ahead: number): void {
    this.#wanted = weight
    this.ahead = ahead
    this.overtaken = 0
    this.isWaiting = true
    this.memory.wake()
  }

  #try(onTaken: (table: Table) => void): void {
    this.isWaiting = !this.memory.take(this.#wanted)
    if (this.isWaiting) return
    this.taken++
    onTaken(this)
  }

  get hasBatch(): boolean {
    return this.#merging.length > 0
  }

  /** Decodes the batch that was taken, to no more than was reserved for it. */
  decode(random: Random): void {
    const reserved = this.memory.decodingBytes
    const bytes = Math.floor(reserved * random.next() * 0.4)
    this.memory.noteColumns(Math.floor(reserved * random.next() * 0.4))
    this.memory.decoded(this.#wanted, bytes)
    this.#merging.push(bytes)
    if (random.below(3) === 0) this.memory.noteColumns(0)
  }

  commit(): void {
    this.memory.committed(this.#merging.shift() ?? 0)
  }
}

for (let round = 0; round < 10 * ROUNDS; round++) {
  const seed = SEED + round
  test(`random batches of many topics: the sum stays within its bound, and none starves (SEED=${seed})`, (t) => {
    const random = generator(seed)
    const budget = new MemoryBudget(MEMORY, () => 0)
    const decoding: Table[] = []
    let isAlone = false
    const onTaken = (table: Table) => {
      decoding.push(table)
      for (const other of tables) if (other.isWaiting && other !== table) other.overtaken++
      t.true(table.overtaken <= table.ahead, `${table.overtaken} came before, of ${table.ahead}`)
      isAlone = held(budget) === table.memory.decodingBytes
      t.true(isAlone || held(budget) <= COMMON, `${held(budget)} bytes`)
    }
    const tables = Array.from({ length: 2 + random.below(40) }, () => new Table(budget, onTaken))
    const waiting = () => tables.filter((table) => table.isWaiting)
    for (let step = 0; step < 3_000; step++) {
      const table = random.pick(tables)
      // Some weigh more than all may hold.
      if (!table.isWaiting && !decoding.includes(table)) table.want(random.below(5) ** 3 * MB, waiting().length)
      if (decoding.length > 0 && random.below(2) === 0)
        decoding.splice(random.below(decoding.length), 1)[0]?.decode(random)
      const merging = random.pick(tables)
      if (merging.hasBatch && random.below(2) === 0) merging.commit()
      t.true(isAlone || held(budget) <= COMMON, `${held(budget)} bytes at step ${step}`)
    }
    // What is under way ends: so all that wait have their turn, and nothing is left.
    do {
      decoding.shift()?.decode(random)
      for (const table of tables) {
        table.memory.noteColumns(0)
        while (table.hasBatch) table.commit()
      }
    } while (decoding.length > 0)
    t.is(waiting().length, 0)
    t.deepEqual(budget.use, { limit: MEMORY, queued: 0, decoding: 0, merging: 0 })
    t.true(tables.every(({ taken }) => taken > 0))
  })
}

test('a batch that is larger than all memory goes alone', (t) => {
  const budget = new MemoryBudget(MEMORY)
  let isWoken = false
  const [small, large] = [budget.topic(() => {}), budget.topic(() => (isWoken = large?.take(MEMORY) ?? false))]
  const other = budget.topic(() => {})
  t.true(small?.take(MB))
  t.false(large?.take(MEMORY))
  small?.noteColumns(2 * MB)
  small?.decoded(MB, MB)
  small?.committed(MB)
  t.false(isWoken, 'columns are held')
  small?.noteColumns(0)
  t.true(isWoken)
  // Nobody knows what it comes to: no more is counted than what all batches may have.
  t.is(held(budget), COMMON)
  t.false(other.take(0))
  large?.noteColumns(MEMORY)
  t.is(held(budget), MEMORY)
})

test('who waits for what another one waited for goes on when that one leaves', (t) => {
  const budget = new MemoryBudget(MEMORY)
  const [first, large] = [budget.topic(() => {}), budget.topic(() => {})]
  const small = budget.topic(() => t.true(small.take(0)))
  t.true(first.take(MB))
  t.false(large.take(MEMORY))
  t.false(small.take(0))
  t.true(small.mustWait)
  t.plan(6)
  large.close()
  t.false(small.mustWait)
})

test('tables that keep what they hold leave each of the others a part of its own', (t) => {
  let now = 0
  const budget = new MemoryBudget(MEMORY, () => now)
  const stuck = Array.from({ length: 4 }, () => budget.topic(() => {}))
  const others = Array.from({ length: 4 }, () => budget.topic(() => {}))
  for (const topic of stuck) t.true(topic.take(COMMON / 16 / 4 - 64 * 1024))
  t.is(held(budget), COMMON)
  const weightOf = (topic: TopicMemory) => topic.maxWeight - 64 * 1024
  for (const topic of others) t.false(topic.take(weightOf(topic)))
  now = 999
  for (const topic of others) t.false(topic.take(weightOf(topic)))
  now = 1_000
  for (const topic of others) t.true(topic.take(weightOf(topic)))
  // Each of the eight has a part.
  t.is(held(budget), COMMON + (BATCHES - COMMON) / 2)
  for (const topic of others) t.false(topic.take(2 * MB), 'it has its part')
})

test('queues whose batches have no room are called in turn', (t) => {
  const budget = new MemoryBudget(16 * MB)
  const called: string[] = []
  const queues = ['a', 'b', 'c'].map((name) => {
    const limits = { maxBatchMessages: 1, maxBatchBytes: 1e9, maxQueueBytes: 1e9 }
    const topic = budget.topic(() => {
      called.push(name)
      taken.set(name, queue.cut())
    }, MB)
    const queue = new TopicQueue(name, limits, () => null, topic)
    // Sixteen times its size fills what all have in common.
    const messages = [{ offset: '0', timestamp: '0', key: null, value: Buffer.alloc(300_000) }]
    queue.push({ partition: 0, firstOffset: 0n, lastOffset: 0n, messages: Messages.of(messages) })
    return queue
  })
  const taken = new Map(queues.map((queue) => [queue.topic, queue.cut()]))
  t.deepEqual(
    [...taken].map(([name, batch]) => [name, batch?.numMessages ?? null]),
    [
      ['a', 1],
      ['b', null],
      ['c', null],
    ],
  )
  for (const queue of queues) {
    const batch = taken.get(queue.topic)
    t.is(batch?.numMessages, 1)
    queue.decoded(batch as never, 100)
    queue.committed(batch as never)
  }
  t.deepEqual(called, ['b', 'c'])
})

test('what a table’s batch came to bounds the next one', (t) => {
  const budget = new MemoryBudget(MEMORY)
  const queue = new TopicQueue(
    't',
    { maxBatchMessages: 1e6, maxBatchBytes: 1e9, maxQueueBytes: 1e9 },
    () => null,
    budget.topic(() => {}, 8 * MB),
  )
  const messages = Array.from({ length: 4_000 }, (_, i) => ({
    offset: String(i),
    timestamp: '0',
    key: null,
    value: Buffer.alloc(7_792),
  }))
  queue.push({ partition: 0, firstOffset: 0n, lastOffset: 3_999n, messages: Messages.of(messages) })
  // Twice the size of a batch, by sixteen: nothing is known of the table.
  const first = queue.cut()
  t.is(first?.numMessages, 128)
  // 8 KB become 16 KB in columns and stream; a quarter more is held to be possible.
  queue.decoded(first as never, 2 * (128 * 8_192 + 64 * 1024))
  queue.committed(first as never)
  t.is(queue.cut()?.numMessages, Math.floor((16 * MB) / 2.5 / 8_192))
})

test('what the engine holds of a table’s batch counts until the commit, and bounds the next one', (t) => {
  const budget = new MemoryBudget(MEMORY)
  const queue = new TopicQueue(
    't',
    { maxBatchMessages: 1e6, maxBatchBytes: 1e9, maxQueueBytes: 1e9 },
    () => null,
    budget.topic(() => {}),
  )
  const messages = Array.from({ length: 60_000 }, (_, i) => ({
    offset: String(i),
    timestamp: '0',
    key: null,
    value: Buffer.alloc(7_792),
  }))
  queue.push({ partition: 0, firstOffset: 0n, lastOffset: 59_999n, messages: Messages.of(messages) })
  const weightOf = (count: number) => 64 * 1024 + count * 8_192
  /** Each byte decodes to one, and of a byte of these the engine makes `engine`. */
  const apply = (engine: number): number => {
    const batch = queue.cut() as MicroBatch
    const bytes = weightOf(batch.numMessages)
    queue.decoded(batch, bytes)
    merging.push(Math.round((10 * budget.use.merging) / bytes) / 10)
    queue.merged(batch, engine * (64 * 1024 + bytes))
    queue.committed(batch)
    t.is(budget.use.merging, 0)
    return batch.numMessages
  }
  const merging: number[] = []
  const most = COMMON / 4
  t.is(apply(4), Math.floor(most / 16 / 8_192))
  t.is(apply(4), Math.floor(most / (4 * 1.25) / 8_192))
  t.is(apply(2), Math.floor(most / (4 * 1.25) / 8_192))
  t.is(apply(0.1), Math.floor(most / (2 * 1.25) / 8_192))
  t.is(apply(1), Math.floor(most / 1.25 / 8_192), 'it holds the batch at least')
  t.deepEqual(merging, [1, 4, 4, 2, 1])
})
