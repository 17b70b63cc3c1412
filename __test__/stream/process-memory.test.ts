/** The memory that the queries of a process share. */

import test from 'ava'
import type { EngineMemory } from '../../src/delta/memory.js'
import { ProcessMemory } from '../../src/stream/process-memory.js'

const MB = 2 ** 20

test('queries share one budget, of the largest limit of those that run; so does the engine', (t) => {
  const limits: EngineMemory[] = []
  const memory = new ProcessMemory((limit) => limits.push(limit))
  const first = memory.join(80 * MB)
  t.is(first.budget.use.limit, 80 * MB)
  const second = memory.join(160 * MB)
  t.is(second.budget, first.budget)
  t.is(first.budget.use.limit, 160 * MB)
  const third = memory.join(8 * MB)
  t.is(third.budget.use.limit, 160 * MB)
  second.leave()
  second.leave()
  t.is(first.budget.use.limit, 80 * MB)
  first.leave()
  third.leave()
  t.is(first.budget.use.limit, 8 * MB, 'the last one still tells it')
  t.deepEqual(
    limits.map(({ indexes, compaction }) => [indexes / MB, compaction / MB]),
    [
      [20, 10],
      [40, 20],
      [40, 20],
      [20, 10],
      [2, 1],
      [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY],
    ],
  )
})

test('what batches of two queries hold together is bounded, and the one waits for the other', (t) => {
  const memory = new ProcessMemory(() => {})
  const [first, second] = [memory.join(16 * MB), memory.join(16 * MB)]
  const busy = first.budget.topic(() => {})
  let isWoken = false
  const waiting = second.budget.topic(() => {
    isWoken = waiting.take(MB)
  })
  t.true(busy.take(MB))
  t.false(waiting.take(MB))
  t.false(isWoken)
  busy.close()
  t.true(isWoken)
  waiting.close()
  t.like(first.budget.use, { decoding: 0, merging: 0 })
})

test('what queues of two queries hold together is bounded: each is told when it changes', (t) => {
  const memory = new ProcessMemory(() => {})
  const { queues } = memory.join(16 * MB).budget
  const told: [boolean, boolean][] = []
  const stop = queues.onChange(() => told.push([queues.isTight, queues.isFull]))
  const topic = memory.join(8 * MB).budget.topic(() => {})
  topic.noteQueued(1.9 * MB)
  topic.noteQueued(2 * MB)
  topic.noteQueued(4 * MB)
  topic.noteQueued(3.5 * MB)
  topic.noteQueued(2.9 * MB)
  topic.close()
  topic.noteQueued(9 * MB)
  stop()
  memory
    .join(MB)
    .budget.topic(() => {})
    .noteQueued(4 * MB)
  t.deepEqual(told, [
    [true, false],
    [true, true],
    [true, false],
    [false, false],
  ])
})
