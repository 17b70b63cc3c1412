import { createRequire } from 'node:module'
import test from 'ava'
import { fixKafkajs, hideAborted } from '../../src/kafka/kafkajs-fixes.js'

const data = (offset: number, producerId: string) => ({
  offset: String(offset),
  key: null,
  isControlRecord: false,
  batchContext: { producerId, inTransaction: true },
})
const marker = (offset: number, producerId: string, type: 'abort' | 'commit') => ({
  offset: String(offset),
  key: Buffer.from([0, 0, 0, type === 'abort' ? 0 : 1]),
  isControlRecord: true,
  batchContext: { producerId, inTransaction: true },
})

const visible = (partition: Parameters<typeof hideAborted>[0]) => {
  hideAborted(partition)
  return partition.messages.filter(({ isControlRecord }) => !isControlRecord).map(({ offset }) => Number(offset))
}

test('transactions that overlap and abort are hidden, though the broker lists them by their end', (t) => {
  const messages = [
    data(0, 'a'),
    data(1, 'b'),
    data(2, 'a'),
    marker(3, 'b', 'abort'),
    data(4, 'a'),
    marker(5, 'a', 'abort'),
    data(6, 'a'),
  ]
  const abortedTransactions = [
    { producerId: 'b', firstOffset: '1' },
    { producerId: 'a', firstOffset: '0' },
  ]
  t.deepEqual(visible({ abortedTransactions, messages }), [6])
})

test('a fetch that begins within two aborted transactions hides both from its first message', (t) => {
  const messages = [data(10, 'b'), data(11, 'a'), marker(12, 'a', 'abort'), marker(13, 'b', 'abort'), data(14, 'b')]
  const abortedTransactions = [
    { producerId: 'a', firstOffset: '3' },
    { producerId: 'b', firstOffset: '5' },
  ]
  t.deepEqual(visible({ abortedTransactions, messages }), [14])
})

test('other producers, committed transactions and plain messages stay', (t) => {
  const plain = { ...data(1, 'a'), batchContext: { producerId: 'a', inTransaction: false } }
  const messages = [data(0, 'a'), plain, data(2, 'c'), marker(3, 'c', 'commit'), marker(4, 'a', 'abort')]
  t.deepEqual(visible({ abortedTransactions: [{ producerId: 'a', firstOffset: '0' }], messages }), [1, 2])
  t.deepEqual(visible({ abortedTransactions: [], messages: [data(0, 'a')] }), [0])
  t.deepEqual(visible({ messages: [data(0, 'a')] }), [0])
})

test('a connection that is closed does not wait for answers for ever', async (t) => {
  fixKafkajs()
  const RequestQueue = createRequire(import.meta.url)('kafkajs/src/network/requestQueue')
  const queue = new RequestQueue({ requestTimeout: 1000, logger: { debug() {}, warn() {} } })
  const answer = new Promise((resolve, reject) => {
    const entry = { apiName: 'Metadata', correlationId: 1, resolve, reject }
    queue.push({ entry, expectResponse: true, sendRequest: () => {} })
  })
  const refused = t.throwsAsync(answer, { message: 'the connection was closed' })
  await queue.waitForPendingRequests()
  await refused
})

test('an idle request queue arms no timer', (t) => {
  fixKafkajs()
  const RequestQueue = createRequire(import.meta.url)('kafkajs/src/network/requestQueue')
  const logger = { debug() {}, warn() {} }
  const queue = new RequestQueue({ requestTimeout: 1000, clientId: 'c', broker: 'b', logger })
  queue.checkPendingRequests()
  t.is(queue.throttleCheckTimeoutId ?? null, null)
  queue.maybeThrottle(5)
  queue.scheduleCheckPendingRequests()
  t.truthy(queue.throttleCheckTimeoutId)
  queue.destroy()
})
