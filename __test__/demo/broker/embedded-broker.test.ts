import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync, statSync, truncateSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import kafkajs from 'kafkajs'
import { EmbeddedBroker } from '../../../src/demo/broker/index.js'
import { admin, client, consume, producer, registerCodecs, startBroker as start, unique, until } from '../support.js'

const { AssignerProtocol, CompressionTypes, ConfigResourceTypes } = kafkajs
registerCodecs()

test('topics are created, listed, grown and deleted', async (t) => {
  const broker = await start(t)
  const kafka = await admin(t, broker)
  t.true(await kafka.createTopics({ topics: [{ topic: 'a', numPartitions: 3 }, { topic: 'b' }] }))
  t.false(await kafka.createTopics({ topics: [{ topic: 'a' }] }))
  t.deepEqual((await kafka.listTopics()).sort(), ['a', 'b'])
  await kafka.createPartitions({ topicPartitions: [{ topic: 'b', count: 4 }] })
  const { topics } = await kafka.fetchTopicMetadata({ topics: ['a', 'b'] })
  t.deepEqual(topics.map(({ name, partitions }) => [name, partitions.map((p) => p.partitionId).sort()]).sort(), [
    ['a', [0, 1, 2]],
    ['b', [0, 1, 2, 3]],
  ])
  await t.throwsAsync(kafka.createPartitions({ topicPartitions: [{ topic: 'a', count: 2 }] }), {
    message: /partitions/i,
  })
  await kafka.deleteTopics({ topics: ['a'] })
  t.deepEqual(await kafka.listTopics(), ['b'])
  await t.throwsAsync(kafka.fetchTopicMetadata({ topics: ['a'] }), { message: /does not host this topic/ })
  await t.throwsAsync(kafka.createTopics({ topics: [{ topic: 'no good' }] }))
})

test('unknown topics are created where the option says so', async (t) => {
  const silent = await start(t)
  const quick = { retry: { retries: 0 } }
  const refused = client(silent, quick).producer()
  await refused.connect()
  t.teardown(() => refused.disconnect())
  await t.throwsAsync(refused.send({ topic: 'x', messages: [{ value: '1' }] }))
  t.deepEqual(silent.topics, [])

  const broker = await start(t, { autoCreateTopics: true, defaultPartitions: 2 })
  const kafka = await producer(t, broker)
  await kafka.send({ topic: 'x', messages: [{ value: '1' }] })
  t.deepEqual(broker.topics, [{ name: 'x', partitions: 2 }])
})

test('messages come back with key, value, headers and timestamp', async (t) => {
  const broker = await start(t)
  broker.createTopic('t', 3)
  const kafka = await producer(t, broker)
  const messages = Array.from({ length: 500 }, (_, i) => ({
    key: i % 7 === 0 ? null : `k${i}`,
    value: i % 11 === 0 ? null : `v${i}`,
    partition: i % 3,
    timestamp: String(1_700_000_000_000 + i),
    headers: i % 5 === 0 ? { h: `h${i}`, list: ['a', 'b'] } : {},
  }))
  await kafka.send({ topic: 't', messages })
  const received = await consume(client(broker), ['t'], messages.length)
  t.is(received.length, messages.length)
  for (const { partition, message } of received) {
    const sent = messages[Number(message.timestamp) - 1_700_000_000_000]
    if (!sent) return t.fail(`timestamp ${message.timestamp}`)
    t.is(partition, sent.partition)
    t.is(message.key?.toString() ?? null, sent.key)
    t.is(message.value?.toString() ?? null, sent.value)
    t.is(message.headers?.h?.toString(), sent.headers.h)
    t.is(message.headers?.list?.length, sent.headers.list?.length)
  }
  t.deepEqual(broker.offsets('t', 0), { low: 0, high: 167 })
  return undefined
})

for (const [name, compression] of Object.entries(CompressionTypes).filter(([, type]) => typeof type === 'number')) {
  test(`batches compressed with ${name} come back`, async (t) => {
    const broker = await start(t)
    broker.createTopic('t')
    const kafka = await producer(t, broker)
    const values = Array.from({ length: 300 }, (_, i) => `value ${i} ${'x'.repeat(i)}`)
    for (let i = 0; i < values.length; i += 100) {
      await kafka.send({
        topic: 't',
        compression: compression as kafkajs.CompressionTypes,
        messages: values.slice(i, i + 100).map((value) => ({ value })),
      })
    }
    const received = await consume(client(broker), ['t'], values.length)
    t.deepEqual(
      received.map(({ message }) => message.value?.toString()),
      values,
    )
    t.deepEqual(
      received.map(({ message }) => message.offset),
      values.map((_, i) => String(i)),
    )
  })
}

test('small fetch limits still bring everything', async (t) => {
  const broker = await start(t)
  broker.createTopic('t', 4)
  for (let i = 0; i < 200; i++) broker.append('t', i % 4, [{ key: null, value: randomBytes(3000) }])
  const consumer = client(broker).consumer({
    groupId: 'g',
    maxBytes: 5000,
    maxBytesPerPartition: 1000,
    maxWaitTimeInMs: 100,
  })
  await consumer.connect()
  t.teardown(() => consumer.disconnect())
  await consumer.subscribe({ topics: ['t'], fromBeginning: true })
  const perPartition = new Map<number, number>()
  await consumer.run({
    eachMessage: async ({ partition }) => {
      perPartition.set(partition, (perPartition.get(partition) ?? 0) + 1)
    },
  })
  await until(() => [...perPartition.values()].reduce((sum, n) => sum + n, 0) === 200)
  t.deepEqual([...perPartition.values()], [50, 50, 50, 50])
})

test('a fetch waits for messages and is answered at once when they come', async (t) => {
  const broker = await start(t)
  broker.createTopic('t')
  const consumer = client(broker).consumer({ groupId: 'g', maxWaitTimeInMs: 4000 })
  await consumer.connect()
  t.teardown(() => consumer.disconnect())
  await consumer.subscribe({ topics: ['t'], fromBeginning: true })
  let got = 0
  let fetches = 0
  consumer.on(consumer.events.FETCH_START, () => fetches++)
  await consumer.run({ eachMessage: async () => void got++ })
  await until(() => fetches === 1)
  await new Promise((resolve) => setTimeout(resolve, 300))
  const before = Date.now()
  broker.append('t', 0, [{ key: null, value: Buffer.from('x') }])
  await until(() => got === 1)
  t.true(Date.now() - before < 2000, `${Date.now() - before} ms`)
})

test('offsets are listed by position and by timestamp', async (t) => {
  const broker = await start(t)
  broker.createTopic('t', 2)
  const kafka = await producer(t, broker)
  for (const compression of [CompressionTypes.None, CompressionTypes.GZIP]) {
    const first = compression === CompressionTypes.None ? 0 : 5
    await kafka.send({
      topic: 't',
      compression,
      messages: [0, 1, 2, 3, 4].map((i) => ({
        value: 'x',
        partition: 0,
        timestamp: String(1_700_000_000_000 + (first + i) * 1000),
      })),
    })
  }
  const a = await admin(t, broker)
  const byPartition = (list: { partition: number; offset: string }[]) =>
    list.sort((x, y) => x.partition - y.partition).map(({ offset }) => offset)
  t.deepEqual(byPartition(await a.fetchTopicOffsets('t')), ['10', '0'])
  const at = async (ms: number) => byPartition(await a.fetchTopicOffsetsByTimestamp('t', ms))
  t.deepEqual(await at(1_700_000_000_000), ['0', '0'])
  t.deepEqual(await at(1_700_000_002_500), ['3', '0'])
  t.deepEqual(await at(1_700_000_007_000), ['7', '0'])
  t.deepEqual(await at(1_800_000_000_000), ['10', '0'])
})

test('deleted records move the low offset and can no longer be fetched', async (t) => {
  const broker = await start(t)
  broker.createTopic('t')
  for (let i = 0; i < 10; i++) broker.append('t', 0, [{ key: null, value: Buffer.from(`v${i}`) }])
  const a = await admin(t, broker)
  // kafkajs deletes in topics only that it has looked at before.
  await a.fetchTopicOffsets('t')
  await a.deleteTopicRecords({ topic: 't', partitions: [{ partition: 0, offset: '6' }] })
  t.deepEqual(
    (await a.fetchTopicOffsets('t')).map(({ low, high }) => [low, high]),
    [['6', '10']],
  )
  const received = await consume(client(broker), ['t'], 4)
  t.is(received[0]?.message.offset, '6')
  await t.throwsAsync(a.deleteTopicRecords({ topic: 't', partitions: [{ partition: 0, offset: '11' }] }))
  await a.deleteTopicRecords({ topic: 't', partitions: [{ partition: 0, offset: '-1' }] })
  t.deepEqual(broker.offsets('t', 0), { low: 10, high: 10 })
})

test('a consumer commits, stops and goes on', async (t) => {
  const broker = await start(t)
  broker.createTopic('t')
  const read = async (count: number) => {
    const consumer = client(broker).consumer({ groupId: 'g', maxWaitTimeInMs: 100 })
    const offsets: string[] = []
    await consumer.connect()
    await consumer.subscribe({ topics: ['t'], fromBeginning: true })
    await consumer.run({ eachMessage: async ({ message }) => void offsets.push(message.offset) })
    await until(() => offsets.length >= count)
    await consumer.disconnect()
    return offsets
  }
  for (let i = 0; i < 3; i++) broker.append('t', 0, [{ key: null, value: Buffer.from('a') }])
  t.deepEqual(await read(3), ['0', '1', '2'])
  t.deepEqual(
    broker.committed('g').map(({ topic, partition, offset }) => [topic, partition, offset]),
    [['t', 0, 3]],
  )
  for (let i = 0; i < 2; i++) broker.append('t', 0, [{ key: null, value: Buffer.from('b') }])
  t.deepEqual(await read(2), ['3', '4'])

  const a = await admin(t, broker)
  t.deepEqual(await a.fetchOffsets({ groupId: 'g', topics: ['t'] }), [
    { topic: 't', partitions: [{ partition: 0, offset: '5', metadata: null }] },
  ])
  t.deepEqual((await a.listGroups()).groups, [{ groupId: 'g', protocolType: 'consumer' }])
  t.is((await a.describeGroups(['g'])).groups[0]?.state, 'Empty')
  await a.setOffsets({ groupId: 'g', topic: 't', partitions: [{ partition: 0, offset: '1' }] })
  t.deepEqual(await read(4), ['1', '2', '3', '4'])
  await a.deleteGroups(['g'])
  t.deepEqual(broker.committed('g'), [])
  await t.throwsAsync(a.deleteGroups(['g']))
})

test('two members share the partitions, and one takes over what the other leaves', async (t) => {
  const broker = await start(t)
  broker.createTopic('t', 4)
  const assigned = new Map<string, number[]>()
  const seen: string[] = []
  const join = async (name: string) => {
    const consumer = client(broker, { clientId: name }).consumer({
      groupId: 'g',
      heartbeatInterval: 100,
      maxWaitTimeInMs: 100,
    })
    consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
      assigned.set(name, payload.memberAssignment.t ?? [])
    })
    await consumer.connect()
    await consumer.subscribe({ topics: ['t'], fromBeginning: true })
    await consumer.run({
      eachMessage: async ({ partition, message }) => void seen.push(`${partition}/${message.offset}`),
    })
    return consumer
  }
  const all = () => [...assigned.values()].flat().sort()
  const one = await join('one')
  await until(() => all().length === 4)
  const two = await join('two')
  await until(() => assigned.get('one')?.length === 2 && assigned.get('two')?.length === 2)
  t.deepEqual(all(), [0, 1, 2, 3])
  t.is(broker.members('g').length, 2)
  for (let i = 0; i < 40; i++) broker.append('t', i % 4, [{ key: null, value: Buffer.from('x') }])
  await until(() => new Set(seen).size === 40)

  const described = await client(broker).admin()
  await described.connect()
  const group = (await described.describeGroups(['g'])).groups[0]
  await described.disconnect()
  t.is(group?.state, 'Stable')
  const partitions = group?.members.flatMap(
    ({ memberAssignment }) => AssignerProtocol.MemberAssignment.decode(memberAssignment)?.assignment.t ?? [],
  )
  t.deepEqual(partitions?.sort(), [0, 1, 2, 3])

  await one.disconnect()
  assigned.delete('one')
  await until(() => assigned.get('two')?.length === 4)
  await two.disconnect()
  t.deepEqual(broker.members('g'), [])
})

test('seek reads from any offset', async (t) => {
  const broker = await start(t)
  broker.createTopic('t')
  // One batch of ten: the seek lands inside of it.
  broker.append(
    't',
    0,
    Array.from({ length: 10 }, (_, i) => ({ key: null, value: Buffer.from(`v${i}`) })),
  )
  const consumer = client(broker).consumer({ groupId: 'g', maxWaitTimeInMs: 100 })
  await consumer.connect()
  t.teardown(() => consumer.disconnect())
  await consumer.subscribe({ topics: ['t'], fromBeginning: true })
  const offsets: string[] = []
  await consumer.run({ eachMessage: async ({ message }) => void offsets.push(message.offset) })
  consumer.seek({ topic: 't', partition: 0, offset: '7' })
  await until(() => offsets.length >= 3)
  t.deepEqual(offsets, ['7', '8', '9'])
  consumer.seek({ topic: 't', partition: 0, offset: '2' })
  await until(() => offsets.length >= 11)
  t.is(offsets[3], '2')
})

test('an idempotent producer works', async (t) => {
  const broker = await start(t)
  broker.createTopic('t')
  const kafka = await producer(t, broker, { idempotent: true, maxInFlightRequests: 1 })
  for (let i = 0; i < 10; i++) await kafka.send({ topic: 't', messages: [{ value: `v${i}` }, { value: `w${i}` }] })
  t.is(broker.offsets('t', 0).high, 20)
})

test('topics, offsets, log starts and commits survive on disk, a torn end is cut off', async (t) => {
  const dataDir = mkdtempSync(join(tmpdir(), 'kafka2delta-broker-'))
  t.teardown(() => rmSync(dataDir, { recursive: true, force: true }))
  const first = await EmbeddedBroker.start({ dataDir })
  first.createTopic('t', 2, { 'cleanup.policy': 'compact' })
  first.createTopic('gone')
  first.deleteTopic('gone')
  const kafka = client(first).producer()
  await kafka.connect()
  for (let i = 0; i < 5; i++) await kafka.send({ topic: 't', messages: [{ value: `v${i}`, partition: 0 }] })
  await kafka.disconnect()
  first.appendEmptyBatch('t', 1, 7)
  first.setLogStart('t', 0, 2)
  const consumer = client(first).consumer({ groupId: 'g', maxWaitTimeInMs: 100 })
  await consumer.connect()
  await consumer.subscribe({ topics: ['t'], fromBeginning: true })
  let count = 0
  await consumer.run({ eachMessage: async () => void count++ })
  await until(() => count === 3)
  await consumer.disconnect()
  const port = first.port
  // Not closed in order: as after a kill, with the last batch half written.
  await first.stopListening()
  const log = join(dataDir, 'topics', 't', '0.log')
  truncateSync(log, statSync(log).size - 3)

  const second = await EmbeddedBroker.start({ dataDir, port })
  t.teardown(() => second.close())
  await first.close()
  t.deepEqual(second.topics, [{ name: 't', partitions: 2 }])
  t.deepEqual(second.offsets('t', 0), { low: 2, high: 4 })
  t.deepEqual(second.offsets('t', 1), { low: 0, high: 7 })
  t.is(second.committed('g').find(({ partition }) => partition === 0)?.offset, 5)
  second.append('t', 0, [{ key: null, value: Buffer.from('new') }])
  const received = await consume(client(second), ['t'], 3)
  t.deepEqual(
    received.map(({ message }) => [message.offset, String(message.value)]),
    [
      ['2', 'v2'],
      ['3', 'v3'],
      ['4', 'new'],
    ],
  )
  const a = await admin(t, second)
  const { resources } = await a.describeConfigs({
    includeSynonyms: false,
    resources: [{ type: ConfigResourceTypes.TOPIC, name: 't', configNames: ['cleanup.policy'] }],
  })
  t.is(resources[0]?.configEntries[0]?.configValue, 'compact')
})

test('SASL PLAIN lets the right password in and no other', async (t) => {
  const broker = await start(t, { users: { alice: 'secret' } })
  broker.createTopic('t')
  const connectAs = async (sasl: object | undefined) => {
    const kafka = client(broker, { ...(sasl ? { sasl } : {}), retry: { retries: 0 } }).admin()
    try {
      await kafka.connect()
      return await kafka.listTopics()
    } finally {
      await kafka.disconnect()
    }
  }
  t.deepEqual(await connectAs({ mechanism: 'plain', username: 'alice', password: 'secret' }), ['t'])
  await t.throwsAsync(connectAs({ mechanism: 'plain', username: 'alice', password: 'wrong' }), {
    message: /Authentication failed/,
  })
  await t.throwsAsync(connectAs(undefined))
})

test('many messages go through quickly', async (t) => {
  const broker = await start(t)
  const topic = unique('many')
  broker.createTopic(topic, 3)
  const kafka = await producer(t, broker)
  const total = 60_000
  for (let i = 0; i < total; i += 5000) {
    await kafka.send({
      topic,
      messages: Array.from({ length: 5000 }, (_, j) => ({ key: String(i + j), value: 'x'.repeat(60) })),
    })
  }
  const received = await consume(client(broker), [topic], total)
  t.is(new Set(received.map(({ message }) => String(message.key))).size, total)
})
