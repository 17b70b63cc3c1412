import { once } from 'node:events'
import { connect } from 'node:net'
import test from 'ava'
import { EmbeddedBroker } from '../../../src/demo/broker/index.js'
import { client, consume, producer, startBroker as start, until } from '../support.js'

test('gaps between offsets stay gaps', async (t) => {
  const broker = await start(t)
  broker.createTopic('t')
  const value = Buffer.from('x')
  broker.append(
    't',
    0,
    [5, 6, 9, 100].map((offset) => ({ key: null, value, offset })),
  )
  broker.append('t', 0, [{ key: null, value, offset: 2 ** 40 }])
  t.throws(() => broker.append('t', 0, [{ key: null, value, offset: 7 }]), { message: /offset 7 is taken/ })
  const received = await consume(client(broker), ['t'], 5)
  t.deepEqual(
    received.map(({ message }) => message.offset),
    ['5', '6', '9', '100', String(2 ** 40)],
  )
})

test('transactions take an offset for their end, and aborted ones are left out', async (t) => {
  const broker = await start(t)
  broker.createTopic('t')
  const records = (text: string) => [
    { key: null, value: Buffer.from(`${text}0`) },
    { key: null, value: Buffer.from(`${text}1`) },
  ]
  t.deepEqual(broker.appendTransaction('t', 0, records('a'), 'commit'), { first: 0, last: 2 })
  t.deepEqual(broker.appendTransaction('t', 0, records('b'), 'abort'), { first: 3, last: 5 })
  t.deepEqual(broker.appendTransaction('t', 0, records('c'), 'commit'), { first: 6, last: 8 })
  const received = await consume(client(broker), ['t'], 4)
  t.deepEqual(
    received.map(({ message }) => [message.offset, message.value?.toString()]),
    [
      ['0', 'a0'],
      ['1', 'a1'],
      ['6', 'c0'],
      ['7', 'c1'],
    ],
  )
  t.is(broker.offsets('t', 0).high, 9)
})

test('an empty batch covers its offsets; kafkajs stays before it, a seek gets past', async (t) => {
  const broker = await start(t)
  broker.createTopic('t')
  const value = Buffer.from('x')
  broker.append('t', 0, [{ key: null, value }])
  t.deepEqual(broker.appendEmptyBatch('t', 0, 10), { first: 1, last: 10 })
  broker.append('t', 0, [{ key: null, value }])
  const consumer = client(broker).consumer({ groupId: 'g', maxWaitTimeInMs: 50, maxBytesPerPartition: 100 })
  await consumer.connect()
  t.teardown(() => consumer.disconnect())
  await consumer.subscribe({ topics: ['t'], fromBeginning: true })
  const offsets: string[] = []
  await consumer.run({ eachMessage: async ({ message }) => void offsets.push(message.offset) })
  await until(() => offsets.length === 1)
  await new Promise((resolve) => setTimeout(resolve, 500))
  t.deepEqual(offsets, ['0'])
  consumer.seek({ topic: 't', partition: 0, offset: '11' })
  await until(() => offsets.length === 2)
  t.is(offsets[1], '11')
})

test('clients come back after dropped and refused connections', async (t) => {
  const broker = await start(t)
  broker.createTopic('t')
  const kafka = await producer(t, broker)
  const consumer = client(broker).consumer({ groupId: 'g', maxWaitTimeInMs: 100, heartbeatInterval: 200 })
  await consumer.connect()
  t.teardown(() => consumer.disconnect())
  await consumer.subscribe({ topics: ['t'], fromBeginning: true })
  const values = new Set<string>()
  await consumer.run({ eachMessage: async ({ message }) => void values.add(String(message.value)) })
  await kafka.send({ topic: 't', messages: [{ value: 'before' }] })
  await until(() => values.has('before'))
  broker.dropConnections()
  await kafka.send({ topic: 't', messages: [{ value: 'after a drop' }] })
  await until(() => values.has('after a drop'))
  const port = broker.port
  const refused = broker.refuse(700)
  const sent = kafka.send({ topic: 't', messages: [{ value: 'after a refusal' }] })
  await refused
  t.is(broker.port, port)
  await sent
  await until(() => values.has('after a refusal'), 30_000)
  t.pass()
})

test('a broker that is closed while it refuses stays closed', async (t) => {
  const broker = await EmbeddedBroker.start()
  const refused = broker.refuse(60_000)
  await new Promise((resolve) => setTimeout(resolve, 50))
  await broker.close()
  await refused
  const socket = connect(broker.port, '127.0.0.1')
  const [error] = await once(socket, 'error')
  t.is((error as NodeJS.ErrnoException).code, 'ECONNREFUSED')
})

test('bytes that are no requests end their connection and nothing else', async (t) => {
  const warnings: string[] = []
  const broker = await start(t, {
    logger: { debug: () => {}, warn: (_details, message) => void warnings.push(message) },
  })
  broker.createTopic('t')
  const attacks = [
    Buffer.from('GET / HTTP/1.1\r\n\r\n'),
    Buffer.from([0x7f, 0xff, 0xff, 0xff]),
    Buffer.from([0, 0, 0, 10, 0, 3, 0, 6, 0, 0, 0, 1, 0x7f, 0xff]),
    Buffer.from([0, 0, 0, 10, 0x70, 3, 0, 6, 0, 0, 0, 1, 0, 0]),
    Buffer.from([0xff, 0xff, 0xff, 0xff]),
  ]
  for (const bytes of attacks) {
    const socket = connect(broker.port, '127.0.0.1')
    socket.on('error', () => {})
    socket.write(bytes)
    await once(socket, 'close')
  }
  t.is(warnings.length, attacks.length)
  broker.append('t', 0, [{ key: null, value: Buffer.from('x') }])
  t.is((await consume(client(broker), ['t'], 1)).length, 1)
})
