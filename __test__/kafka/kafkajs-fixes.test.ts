import { once } from 'node:events'
import { createRequire } from 'node:module'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import test, { type ExecutionContext } from 'ava'
import { FetchWait } from '../../src/kafka/fetch-wait.js'
import { fixKafkajs, hideAborted, withoutEmpty } from '../../src/kafka/kafkajs-fixes.js'

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

test('partitions that bring nothing are left out of an answer, unless they name another broker to read from', (t) => {
  const empty = { messages: [], preferredReadReplica: -1 }
  const full = { messages: [data(1, 'a')], preferredReadReplica: -1 }
  const elsewhere = { messages: [], preferredReadReplica: 2 }
  const responses = [{ partitions: [empty, full] }, { partitions: [empty] }, { partitions: [elsewhere] }, {}]
  const answer = { throttleTime: 0, responses }
  t.deepEqual(withoutEmpty(answer), {
    throttleTime: 0,
    responses: [{ partitions: [full] }, { partitions: [elsewhere] }],
  })
})

test('partitions of a topic are found by its name, also after other metadata has come', async (t) => {
  fixKafkajs()
  const load = createRequire(import.meta.url)
  const Cluster = load('kafkajs/src/cluster')
  const BrokerPool = load('kafkajs/src/cluster/brokerPool')
  const topicMetadata = (...topics: string[]) => topics.map((topic) => ({ topic, partitionMetadata: [{ of: topic }] }))
  const brokerPool = Object.create(BrokerPool.prototype)
  Object.assign(brokerPool, { metadata: null, metadataExpireAt: null, asked: 0 })
  brokerPool.refreshMetadata = async () => {
    brokerPool.asked++
  }
  const find = (topic: string) => Cluster.prototype.findTopicPartitionMetadata.call({ brokerPool }, topic)
  t.throws(() => find('a'), { message: /metadata not loaded/ })
  brokerPool.metadata = { topicMetadata: topicMetadata('a', 'b') }
  t.deepEqual(find('b'), [{ of: 'b' }])
  t.deepEqual(find('c'), [])
  brokerPool.metadata = { topicMetadata: topicMetadata('c') }
  t.deepEqual(find('c'), [{ of: 'c' }])
  t.deepEqual(find('b'), [])
  // Asked for where it is old, and where a topic is not in it.
  await brokerPool.refreshMetadataIfNecessary(['c'])
  t.is(brokerPool.asked, 1)
  brokerPool.metadataExpireAt = Date.now() + 60_000
  await brokerPool.refreshMetadataIfNecessary(['c'])
  t.is(brokerPool.asked, 1)
  await brokerPool.refreshMetadataIfNecessary(['c', 'd'])
  t.is(brokerPool.asked, 2)
})

test('a fetch of a group waits as long as it says, and ends when its consumer is closed', async (t) => {
  fixKafkajs()
  const ConsumerGroup = createRequire(import.meta.url)('kafkajs/src/consumer/consumerGroup')
  const waited: number[] = []
  const group = {
    groupId: 'g',
    maxWaitTime: 250,
    cluster: {
      refreshMetadataIfNecessary: async () => {
        waited.push(group.maxWaitTime)
        await new Promise(() => {})
      },
    },
  }
  const fetch = () => ConsumerGroup.prototype.fetch.call(group, 1)
  let ms = 700
  const wait = new FetchWait('g', () => ms)
  const first = fetch()
  ms = 20
  const second = fetch()
  wait.close()
  t.deepEqual(await Promise.all([first, second]), [[], []])
  t.deepEqual(waited, [700, 20])
})

test('what one consumer of a client is assigned leaves alone the offsets of another one of its group', async (t) => {
  fixKafkajs()
  const require = createRequire(import.meta.url)
  const ConsumerGroup = require('kafkajs/src/consumer/consumerGroup')
  const OffsetManager = require('kafkajs/src/consumer/offsetManager')
  const Cluster = require('kafkajs/src/cluster')
  const ofClient = new Map()
  const consumer = async (groupId: string) => {
    const cluster = Object.create(Cluster.prototype)
    const quiet = { connect: async () => {}, refreshMetadataIfNecessary: async () => {} }
    Object.assign(cluster, quiet, { committedOffsetsByGroup: ofClient })
    await ConsumerGroup.prototype.connect.call({ groupId, cluster, instrumentationEmitter: { emit() {} } })
    const assigned = (topic: string) => new OffsetManager({ cluster, groupId, memberAssignment: { [topic]: [0] } })
    return { assigned }
  }
  const wait = new FetchWait('shared', () => 1)
  t.teardown(() => wait.close())
  const manager = (await consumer('shared')).assigned('a')
  manager.committedOffsets().a[0] = '7'
  ;(await consumer('shared')).assigned('b')
  await manager.resolveOffsets()
  t.is(String(manager.nextOffset('a', 0)), '7')
  // A group that is not ours is left as it is.
  const other = (await consumer('other')).assigned('a')
  ;(await consumer('other')).assigned('b')
  await t.throwsAsync(other.resolveOffsets(), { instanceOf: TypeError })
})

test('a connection that only waits for messages is closed at once', async (t) => {
  fixKafkajs()
  const RequestQueue = createRequire(import.meta.url)('kafkajs/src/network/requestQueue')
  const queue = new RequestQueue({ requestTimeout: 1000, logger: { debug() {}, warn() {} } })
  const pushed = (apiName: string, correlationId: number) =>
    new Promise((resolve, reject) => {
      const entry = { apiName, correlationId, resolve, reject }
      queue.push({ entry, expectResponse: true, sendRequest: () => {} })
    })
  const refused = t.throwsAsync(pushed('Fetch', 1), { message: 'the connection was closed' })
  let isOver = false
  const over = queue.waitForPendingRequests().then(() => {
    isOver = true
  })
  await new Promise((resolve) => setTimeout(resolve, 20))
  t.true(isOver)
  await Promise.all([refused, over])
  // With another question it is waited for.
  const both = Promise.all([
    t.throwsAsync(pushed('Fetch', 2), { message: 'the connection was closed' }),
    t.throwsAsync(pushed('OffsetCommit', 3), { message: 'the connection was closed' }),
  ])
  isOver = false
  const later = queue.waitForPendingRequests().then(() => {
    isOver = true
  })
  await new Promise((resolve) => setTimeout(resolve, 20))
  t.false(isOver)
  await Promise.all([later, both])
})

test('a session is renewed ten seconds before its end, and a short one when half of it is over', (t) => {
  fixKafkajs()
  const require = createRequire(import.meta.url)
  const Long = require('kafkajs/src/utils/long')
  const Connection = require('kafkajs/src/network/connection') as {
    prototype: { isAuthenticated(this: object): boolean }
  }
  const after = (seconds: number, lifetime: number) => {
    const [now, nanos] = process.hrtime()
    const connection = Object.assign(Object.create(Connection.prototype), {
      reauthenticationThreshold: 10_000,
      authenticatedAt: [now - seconds, nanos],
      sessionLifetime: Long.fromValue(lifetime * 1000),
    })
    return connection.isAuthenticated()
  }
  t.deepEqual([after(48, 60), after(51, 60)], [true, false])
  t.deepEqual([after(0, 8), after(3, 8), after(5, 8)], [true, true, false])
  t.true(after(1_000, 0))
})

/** A connection of kafkajs's to a server that says nothing by itself, and the server's ends of it. */
async function connectionOf(t: ExecutionContext) {
  fixKafkajs()
  const Connection = createRequire(import.meta.url)('kafkajs/src/network/connection')
  const logger = { debug() {}, warn() {}, error() {}, info() {} }
  const sockets: Socket[] = []
  const server = createServer((socket) => sockets.push(socket.on('error', () => {}))).listen(0, '127.0.0.1')
  t.teardown(() => server.close())
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const connection = new Connection({
    ...{ host: '127.0.0.1', port, requestTimeout: 10_000, connectionTimeout: 10_000 },
    logger: { namespace: () => logger },
    socketFactory: ({ onConnect }: { onConnect: () => void }) => connect({ host: '127.0.0.1', port }, onConnect),
  })
  return { connection, sockets }
}

const until = async (isDone: () => boolean) => {
  while (!isDone()) await new Promise((resolve) => setTimeout(resolve, 5))
}

test('requests that find no connection at the same time share one, also when it is made anew', async (t) => {
  const { connection, sockets } = await connectionOf(t)
  await Promise.all([connection.connect(), connection.connect(), connection.connect()])
  await until(() => sockets.length > 0)
  sockets[0]?.destroy()
  await until(() => !connection.isConnected())
  await Promise.all([connection.connect(), connection.connect()])
  await connection.connect()
  await until(() => sockets.length > 1)
  t.is(sockets.length, 2)
  await connection.disconnect()
})

test('a connection that broke within an answer begins anew, and one that cannot be read breaks', async (t) => {
  const { connection, sockets } = await connectionOf(t)
  const found: number[] = []
  connection.requestQueue.fulfillRequest = ({ correlationId }: { correlationId: number }) => found.push(correlationId)
  const answer = (correlationId: number) => {
    const bytes = Buffer.alloc(12)
    bytes.writeInt32BE(8, 0)
    bytes.writeInt32BE(correlationId, 4)
    return bytes
  }
  await connection.connect()
  await until(() => sockets.length === 1)
  sockets[0]?.write(answer(1).subarray(0, 7))
  await until(() => connection.bytesBuffered === 7)
  sockets[0]?.destroy()
  await until(() => !connection.isConnected())
  await connection.connect()
  await until(() => sockets.length === 2)
  sockets[1]?.write(answer(2))
  await until(() => found.length === 1)
  t.deepEqual(found, [2])
  // A length below nothing: kafkajs would read beyond the bytes that it has.
  sockets[1]?.write(Buffer.from([0, 0, 0, 1, 9, 0, 0, 0, 1, 9]))
  await until(() => !connection.isConnected())
  t.pass()
})
