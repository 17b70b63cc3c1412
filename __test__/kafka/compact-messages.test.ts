/** What queued messages hold of what was fetched with them, and what is counted of it. */

import test from 'ava'
import { compactMessages } from '../../src/kafka/compact-messages.js'
import type { RawMessage } from '../../src/kafka/micro-batch.js'
import { HEADER_OVERHEAD, MESSAGE_OVERHEAD } from '../../src/kafka/options.js'
import { TopicQueue } from '../../src/kafka/topic-queue.js'
import { bufferBytes, MB } from '../helpers/memory.js'

const LIMITS = { maxBatchMessages: 100_000, maxBatchBytes: 64 * MB, maxQueueBytes: 192 * MB }

const message = (offset: number, parts: Partial<RawMessage>): RawMessage => ({
  offset: String(offset),
  timestamp: '0',
  key: null,
  value: null,
  ...parts,
})

/** A response with a small message among large ones of other topics. */
function smallSlice(offset: number, responseBytes: number): RawMessage {
  const response = Buffer.alloc(responseBytes, offset)
  return message(offset, { key: response.subarray(0, 10), value: response.subarray(500, 600) })
}

const push = (queue: TopicQueue, messages: RawMessage[]) => {
  const [first, last] = [messages[0], messages.at(-1)].map((one) => BigInt(one?.offset ?? 0))
  queue.push({ partition: 0, firstOffset: first as bigint, lastOffset: last as bigint, messages })
}

test('600 small messages of a quiet topic do not keep 600 responses', async (t) => {
  const queue = new TopicQueue('quiet', LIMITS)
  const before = await bufferBytes()
  for (let offset = 0; offset < 600; offset++) push(queue, [smallSlice(offset, MB)])
  t.true((await bufferBytes()) - before < 5 * MB)
  t.is(queue.heldBytes, 600 * (110 + MESSAGE_OVERHEAD))
  const [range] = queue.cut()?.ranges ?? []
  t.deepEqual(
    range?.messages.map(({ value }) => value?.[99]),
    Array.from({ length: 600 }, (_, i) => i & 255),
  )
})

test('a buffer that is well used stays as it is, and counts as a whole', (t) => {
  const response = Buffer.alloc(1000)
  const messages = [
    message(0, { value: response.subarray(0, 300) }),
    message(1, { value: response.subarray(300, 501) }),
  ]
  t.is(compactMessages(messages), 1000)
  t.is(messages[0]?.value?.buffer, response.buffer)
})

test('of several buffers, those that are sparsely used go into one', (t) => {
  const [full, one, other] = [Buffer.alloc(100, 1), Buffer.alloc(1000, 2), Buffer.alloc(1000, 3)]
  const messages = [
    message(0, { key: one.subarray(0, 10), value: full.subarray(10) }),
    message(1, { key: other.subarray(5, 25), value: one.subarray(10, 40) }),
  ]
  t.is(compactMessages(messages), 100 + 60)
  const [first, second] = messages as [RawMessage, RawMessage]
  t.is(first.value?.buffer, full.buffer)
  t.is(first.key?.buffer, second.value?.buffer)
  t.is(second.key?.buffer.byteLength, 60)
  t.deepEqual([first.key, second.key, second.value], [Buffer.alloc(10, 2), Buffer.alloc(20, 3), Buffer.alloc(30, 2)])
})

test('headers count, and are copied with their message', (t) => {
  const response = Buffer.alloc(10_000, 7)
  const headers = {
    one: response.subarray(0, 40),
    several: [response.subarray(40, 60), 'text', response.subarray(60, 70)],
    none: undefined,
  }
  const messages = [message(0, { value: response.subarray(100, 110), headers })]
  t.is(compactMessages(messages), 80 + 5 * HEADER_OVERHEAD)
  const copied = messages[0]?.headers
  t.deepEqual(copied?.one, Buffer.alloc(40, 7))
  t.deepEqual(copied?.several, [Buffer.alloc(20, 7), 'text', Buffer.alloc(10, 7)])
  t.is((copied?.one as Buffer | undefined)?.buffer.byteLength, 80)
})

test('a queue of messages with large headers is full by them', (t) => {
  const queue = new TopicQueue('t', { ...LIMITS, maxQueueBytes: 50_000 })
  push(queue, [message(0, { value: Buffer.alloc(10), headers: { trace: Buffer.alloc(60_000) } })])
  t.true(queue.isFull)
})

test('a buffer is held until the last of its messages is done with', (t) => {
  const queue = new TopicQueue('t', { ...LIMITS, maxBatchMessages: 1 })
  const response = Buffer.alloc(1000)
  push(queue, [message(0, { value: response.subarray(0, 500) }), message(1, { value: response.subarray(500) })])
  const first = queue.cut()
  t.is(queue.heldBytes, 1000 + 2 * MESSAGE_OVERHEAD)
  if (first) queue.committed(first)
  t.is(queue.heldBytes, 1000 + MESSAGE_OVERHEAD)
  const second = queue.cut()
  if (second) queue.committed(second)
  t.is(queue.heldBytes, 0)
})

test('dropping gives back what was held', (t) => {
  const queue = new TopicQueue('t', LIMITS)
  push(queue, [smallSlice(0, 1000)])
  queue.dropPartition(0)
  t.is(queue.heldBytes, 0)
  push(queue, [smallSlice(1, 1000)])
  queue.dropMessages()
  t.is(queue.heldBytes, 0)
})
