/** What queued messages hold of what was fetched with them, and what is counted of it. */

import test from 'ava'
import { Messages } from '../../src/kafka/messages.js'
import type { RawMessage } from '../../src/kafka/micro-batch.js'
import { FETCHED_OVERHEAD, MESSAGE_OVERHEAD } from '../../src/kafka/options.js'
import { readRecordBatches } from '../../src/kafka/record-batches.js'
import { together } from '../../src/kafka/records.js'
import { TopicQueue } from '../../src/kafka/topic-queue.js'
import { bufferBytes, MB } from '../helpers/memory.js'
import { recordBatch } from './record-sets.js'

const LIMITS = { maxBatchMessages: 100_000, maxBatchBytes: 64 * MB, maxQueueBytes: 192 * MB }

const message = (offset: number, parts: Partial<RawMessage>): RawMessage => ({
  offset: String(offset),
  timestamp: '0',
  key: null,
  value: null,
  ...parts,
})

const push = (queue: TopicQueue, messages: Messages) =>
  queue.push({
    partition: 0,
    firstOffset: messages.offsetAt(0),
    lastOffset: messages.offsetAt(messages.length - 1),
    messages,
  })

/** What a fetch brought of a quiet topic, among much of others. */
async function fetched(offset: number, responseBytes: number): Promise<Messages> {
  const batch = recordBatch({ first: offset, records: [{ value: Buffer.alloc(100, offset) }] })
  const response = Buffer.alloc(responseBytes)
  batch.copy(response, 500)
  const { records } = await readRecordBatches(response.subarray(500, 500 + batch.length), () => Buffer.alloc(0))
  return new Messages([{ records, from: 0, to: records.length }])
}

test('600 small messages of a quiet topic do not keep 600 responses', async (t) => {
  const queue = new TopicQueue('quiet', LIMITS)
  const before = await bufferBytes()
  const size = recordBatch({ first: 0, records: [{ value: Buffer.alloc(100) }] }).length
  for (let offset = 0; offset < 600; offset++) push(queue, await fetched(offset, MB))
  t.true((await bufferBytes()) - before < 5 * MB)
  t.is(queue.heldBytes, 600 * (size + MESSAGE_OVERHEAD + FETCHED_OVERHEAD))
  const [range] = queue.cut()?.ranges ?? []
  t.deepEqual(
    [...(range?.messages ?? [])].map(({ value }) => value?.[99]),
    Array.from({ length: 600 }, (_, i) => i & 255),
  )
})

test('a buffer that is well used stays as it is, and counts as a whole', (t) => {
  const response = Buffer.alloc(1000)
  t.is(together([response.subarray(100, 600)]).buffer, response.buffer)
  const copied = together([response.subarray(100, 599)])
  t.is(copied.buffer.byteLength, 499)
  const parts = [Buffer.alloc(100, 1), Buffer.alloc(50, 2)]
  t.deepEqual(together(parts), Buffer.concat(parts))
  t.is(together(parts).buffer.byteLength, 150)
  t.is(together([]).length, 0)
})

test('a queue of messages with large headers is full by them', (t) => {
  const queue = new TopicQueue('t', { ...LIMITS, maxQueueBytes: 50_000 })
  push(queue, Messages.of([message(0, { value: Buffer.alloc(10), headers: { trace: Buffer.alloc(60_000) } })]))
  t.true(queue.isFull)
})

test('a buffer is held until the last of its messages is done with', (t) => {
  const queue = new TopicQueue('t', { ...LIMITS, maxBatchMessages: 1 })
  push(queue, Messages.of([message(0, { value: Buffer.alloc(500) }), message(1, { value: Buffer.alloc(500) })]))
  const first = queue.cut()
  t.is(queue.heldBytes, FETCHED_OVERHEAD + 1000 + 2 * MESSAGE_OVERHEAD)
  if (first) queue.committed(first)
  t.is(queue.heldBytes, FETCHED_OVERHEAD + 1000 + MESSAGE_OVERHEAD)
  const second = queue.cut()
  if (second) queue.committed(second)
  t.is(queue.heldBytes, 0)
})

test('dropping gives back what was held', (t) => {
  const queue = new TopicQueue('t', LIMITS)
  push(queue, Messages.of([message(0, { value: Buffer.alloc(100) })]))
  queue.dropPartition(0)
  t.is(queue.heldBytes, 0)
  push(queue, Messages.of([message(1, { value: Buffer.alloc(100) })]))
  queue.dropMessages()
  t.is(queue.heldBytes, 0)
})
