import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { EmbeddedBroker } from '../../src/demo/broker/index.js'
import type { SourceOptions } from '../../src/kafka/options.js'
import type { DataLoss } from '../../src/kafka/positions.js'
import { KafkaSource } from '../../src/kafka/source.js'
import {
  drain,
  eventually,
  FakeTable,
  makeSource,
  numbers,
  optionsFor,
  produce,
  sleep,
  startBroker,
  startSilentServer,
  TOPIC,
} from './support.js'

const NOW = { availableNow: true } as const
const NOTHING_STORED = { exists: false, last: new Map<number, bigint>() }

test('lost offsets are an error that names them', async (t) => {
  const broker = await startBroker(t)
  produce(broker, 20)
  const table = new FakeTable()
  table.commits = 1
  table.offsets.set(0, 2n)
  broker.setLogStart(TOPIC, 0, 6)
  const source = makeSource(t, broker, {}, table.stored)
  const error = await t.throwsAsync(source.start())
  t.like(error, { code: 'DATA_LOSS', position: { topic: TOPIC, partition: 0, offset: '3' } })
  t.regex(error?.message ?? '', /offsets 3 to 5 \(3\) are gone/)
})

test('lost offsets are told, and reading goes on at the earliest, without failOnDataLoss', async (t) => {
  const broker = await startBroker(t)
  produce(broker, 20)
  const table = new FakeTable()
  table.commits = 1
  table.offsets.set(0, 2n)
  broker.setLogStart(TOPIC, 0, 6)
  const source = makeSource(t, broker, { trigger: NOW, failOnDataLoss: false }, table.stored)
  const losses: DataLoss[] = []
  source.on('dataLoss', (loss) => losses.push(loss))
  await source.start()
  // The range joins what the table holds, so that its fence holds.
  await drain(source, table)
  t.deepEqual(table.values, numbers('v', 6, 20))
  t.deepEqual(losses, [{ topic: TOPIC, partition: 0, expected: 3n, low: 6n, high: 20n, lost: 3n }])
})

test('stored offsets beyond the end are data loss', async (t) => {
  const broker = await startBroker(t)
  produce(broker, 5)
  const table = new FakeTable()
  table.commits = 1
  table.offsets.set(0, 99n)
  const error = await t.throwsAsync(makeSource(t, broker, {}, table.stored).start())
  t.like(error, { code: 'DATA_LOSS', position: { topic: TOPIC, partition: 0, offset: '100' } })

  const source = makeSource(t, broker, { trigger: NOW, failOnDataLoss: false }, table.stored)
  const losses: DataLoss[] = []
  source.on('dataLoss', (loss) => losses.push(loss))
  await source.start()
  const batch = await source.next(TOPIC)
  t.is(losses[0]?.lost, null)
  t.is(batch?.ranges[0]?.firstOffset, 0n)
})

test('a topic that was made anew is told by the record at the stored offset', async (t) => {
  const broker = await startBroker(t)
  const records = (from: number) =>
    Array.from({ length: 10 }, (_, i) => ({ key: null, value: Buffer.from('v'), timestamp: from + i }))
  broker.append(TOPIC, 0, records(1000))
  const stored = { exists: true, last: new Map([[0, 5n]]), records: new Map([[0, { offset: 5n, timestamp: '1005' }]]) }
  const source = makeSource(t, broker, { trigger: NOW }, async () => stored)
  await source.start()
  t.is((await source.next(TOPIC))?.numMessages, 4)
  await source.stop()

  broker.deleteTopic(TOPIC)
  broker.createTopic(TOPIC)
  broker.append(TOPIC, 0, records(777_000))
  const error = await t.throwsAsync(makeSource(t, broker, { trigger: NOW }, async () => stored).start())
  t.like(error, { code: 'DATA_LOSS', position: { offset: '5' } })

  const lenient = makeSource(t, broker, { trigger: NOW, failOnDataLoss: false }, async () => stored)
  const losses: DataLoss[] = []
  lenient.on('dataLoss', (loss) => losses.push(loss))
  await lenient.start()
  t.is(losses[0]?.lost, null)
  const batch = await lenient.next(TOPIC)
  t.is(batch?.numMessages, 10)
  t.like(batch?.ranges[0], { firstOffset: 0n, resumedAt: 0n })
})

/** Reads the first messages, then lets offsets vanish that are not read yet, since the partition is full. */
async function loseWhileRunning(t: ExecutionContext, failOnDataLoss: boolean, logStart: number) {
  const broker = await startBroker(t)
  const value = Buffer.alloc(1000, 'x')
  for (let i = 0; i < 100; i++) broker.append(TOPIC, 0, [{ key: null, value }])
  const table = new FakeTable()
  const limits = { maxBatchMessages: 5, maxBatchBytes: 1 << 20, maxQueueBytes: 10_000 }
  const consumer = { maxBytesPerPartition: 5000, maxBytes: 5000 }
  const source = makeSource(t, broker, { failOnDataLoss, limits, consumer }, table.stored)
  const losses: DataLoss[] = []
  source.on('dataLoss', (loss) => losses.push(loss))
  await source.start()
  await drain(source, table, () => table.values.length >= 5)
  await sleep(400)
  broker.setLogStart(TOPIC, 0, logStart)
  return { broker, table, source, losses }
}

test('offsets lost while running fail the source', async (t) => {
  const { table, source } = await loseWhileRunning(t, true, 80)
  const error = await t.throwsAsync(drain(source, table))
  t.like(error, { code: 'DATA_LOSS' })
  t.regex(error?.message ?? '', /to 79 \(\d+\) are gone/)
  t.like(await t.throwsAsync(source.next(TOPIC)), { code: 'DATA_LOSS' })
})

test('offsets lost while running are told without failOnDataLoss', async (t) => {
  const { table, source, losses } = await loseWhileRunning(t, false, 80)
  await drain(source, table, () => table.offsets.get(0) === 99n)
  t.is(losses.length, 1)
  t.is(losses[0]?.low, 80n)
  t.is(table.values.length, 100 - Number(losses[0]?.lost))
})

test('offsets lost up to the end are noticed, although nothing comes any more', async (t) => {
  const { table, source } = await loseWhileRunning(t, true, 100)
  t.like(await t.throwsAsync(drain(source, table)), { code: 'DATA_LOSS' })
})

test('a broker that is never there is an error within ten seconds, with the reason', async (t) => {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  await new Promise((resolve) => server.close(resolve))
  const source = new KafkaSource(
    { ...optionsFor(await startBroker(t)), kafka: { brokers: [`127.0.0.1:${port}`] } },
    async () => ({ exists: false, last: new Map() }),
  )
  const began = Date.now()
  const error = await t.throwsAsync(source.start())
  t.like(error, { code: 'KAFKA_UNREACHABLE' })
  t.regex(error?.message ?? '', /ECONNREFUSED/)
  t.true(Date.now() - began < 5000)
})

test('a server that never answers is an error within ten seconds, and nothing stays open', async (t) => {
  const silent = await startSilentServer(t)
  const kafka = { brokers: [`127.0.0.1:${silent.port}`] }
  const source = new KafkaSource({ ...optionsFor(await startBroker(t)), kafka }, async () => NOTHING_STORED)
  const began = Date.now()
  t.like(await t.throwsAsync(source.start()), { code: 'KAFKA_UNREACHABLE' })
  t.true(Date.now() - began < 10_000)
  await eventually(() => silent.connections() === 0)
})

test('wrong credentials are an error that holds no secret', async (t) => {
  const broker = await EmbeddedBroker.start({ users: { anna: 'right' } })
  t.teardown(() => broker.close())
  broker.createTopic(TOPIC)
  const kafka = {
    brokers: broker.brokers,
    sasl: { mechanism: 'plain' as const, username: 'anna', password: 's3cret-pw' },
  }
  const error = await t.throwsAsync(makeSource(t, broker, { kafka }).start())
  t.like(error, { code: 'KAFKA_AUTH' })
  t.false(JSON.stringify([error?.message, String(error?.cause), error]).includes('s3cret-pw'))
  const right = { ...kafka, sasl: { ...kafka.sasl, password: 'right' } }
  const source = makeSource(t, broker, { kafka: right, trigger: NOW })
  await source.start()
  t.is(await source.next(TOPIC), null)
})

test('a broker that refuses our credentials while running is waited for, and told', async (t) => {
  const broker = await EmbeddedBroker.start({ users: { anna: 'right' } })
  t.teardown(() => broker.close())
  broker.createTopic(TOPIC)
  const sasl = { mechanism: 'plain' as const, username: 'anna', password: 'right' }
  const retry = { initialRetryTime: 50, maxRetryTime: 500, retries: 3 }
  const source = makeSource(t, broker, { kafka: { brokers: broker.brokers, sasl, retry } })
  await source.start()
  const crashes: boolean[] = []
  source.on('crash', ({ restart }) => crashes.push(restart))
  broker.setUsers({ anna: 'expired' })
  await eventually(() => crashes.length >= 3, 30_000)
  t.false(crashes.includes(false))
  t.like(source.waitingFor, { code: 'KAFKA_AUTH' })
  broker.setUsers({ anna: 'right' })
  produce(broker, 1)
  t.is((await source.next(TOPIC))?.numMessages, 1)
  t.is(source.waitingFor, null)
})

test('a password in a file is read anew at the next login', async (t) => {
  const broker = await EmbeddedBroker.start({ users: { anna: 'first' } })
  t.teardown(() => broker.close())
  broker.createTopic(TOPIC)
  const file = join(mkdtempSync(join(tmpdir(), 'kafka2delta-login-')), 'password')
  t.teardown(() => rmSync(dirname(file), { recursive: true }))
  writeFileSync(file, 'first\n')
  const sasl = { mechanism: 'plain' as const, username: 'anna', password: { file } }
  const retry = { initialRetryTime: 50, maxRetryTime: 500, retries: 3 }
  const source = makeSource(t, broker, { kafka: { brokers: broker.brokers, sasl, retry } })
  await source.start()
  const crashes: string[] = []
  source.on('crash', ({ error }) => crashes.push(error.message))
  broker.setUsers({ anna: 'second-secret' })
  rmSync(file)
  await eventually(() => crashes.some((message) => message.includes(`${file} cannot be read`)), 30_000)
  writeFileSync(file, 'second-secret')
  produce(broker, 1)
  t.is((await source.next(TOPIC))?.numMessages, 1)
  t.false(crashes.some((message) => message.includes('secret')))
})

test('a topic that does not exist is named', async (t) => {
  const broker = await startBroker(t)
  const error = await t.throwsAsync(makeSource(t, broker, { topics: [TOPIC, 'ordres'] }).start())
  t.like(error, { code: 'TOPIC_NOT_FOUND', position: { topic: 'ordres' } })
  t.deepEqual(
    broker.topics.map(({ name }) => name),
    [TOPIC],
  )
})

test('an error of the table fails the start', async (t) => {
  const broker = await startBroker(t)
  const source = makeSource(t, broker, {}, async () => {
    throw new Error('no such bucket')
  })
  t.like(await t.throwsAsync(source.start()), { code: 'INTERNAL', message: 'no such bucket' })
  await eventually(() => broker.connections === 0)
})

test('dropped connections lose and repeat nothing', async (t) => {
  const broker = await startBroker(t, 2)
  const table = new FakeTable()
  const source = makeSource(t, broker, {}, table.stored)
  await source.start()
  let sent = 0
  const timer = setInterval(() => {
    produce(broker, 10, `${sent}-`, sent % 2)
    sent++
    if (sent % 10 === 0) broker.dropConnections()
    if (sent === 60) clearInterval(timer)
  }, 30)
  t.teardown(() => clearInterval(timer))
  await drain(source, table, () => table.values.length >= 600)
  t.is(new Set(table.values).size, 600)
  t.deepEqual([...table.offsets.values()], [299n, 299n])
})

test('a broker that is away for some seconds is survived', async (t) => {
  const broker = await startBroker(t)
  produce(broker, 10, 'a')
  const table = new FakeTable()
  const source = makeSource(t, broker, {}, table.stored)
  const crashes: boolean[] = []
  source.on('crash', ({ restart }) => crashes.push(restart))
  await source.start()
  await drain(source, table, () => table.values.length >= 10)
  await broker.refuse(6000)
  produce(broker, 10, 'b')
  await drain(source, table, () => table.values.length >= 20)
  t.deepEqual(table.values, [...numbers('a', 0, 10), ...numbers('b', 0, 10)])
  t.false(crashes.includes(false))
})

test('a broker that stays away ends the source after maxUnavailableMs, with the cause', async (t) => {
  const broker = await startBroker(t)
  const source = makeSource(t, broker, { maxUnavailableMs: 2000 })
  const crashes: boolean[] = []
  source.on('crash', ({ restart }) => crashes.push(restart))
  await source.start()
  const waiting = source.next(TOPIC)
  await broker.stopListening()
  const error = await t.throwsAsync(waiting)
  t.like(error, { code: 'KAFKA_CONSUMER_CRASHED' })
  t.truthy(error?.cause)
  t.is(crashes.at(-1), false)
  const began = Date.now()
  await source.stop()
  t.true(Date.now() - began < 7000)
})

/** Three topics of which something happens to the second one; what the tables hold of them, by topic. */
async function threeTopics(
  t: ExecutionContext,
  tables: Record<string, FakeTable>,
  options: Partial<SourceOptions> = {},
) {
  const topics = ['a', 'b', 'c']
  const broker = await startBroker(t, 1, topics)
  for (const topic of topics) produce(broker, 10, topic, 0, topic)
  const stored = async (topic: string) => (tables[topic] ? tables[topic].stored() : NOTHING_STORED)
  const source = makeSource(t, broker, { topics, consumer: { metadataMaxAge: 300 }, ...options }, stored)
  const failed: string[] = []
  source.on('failed', ({ message }) => failed.push(message))
  /** The first and the last topic deliver what comes. */
  const othersGoOn = async () => {
    for (const topic of ['a', 'c']) {
      const table = new FakeTable()
      produce(broker, 5, `more-${topic}`, 0, topic)
      await drain(source, table, () => table.values.at(-1) === `more-${topic}4`, topic)
      t.is(new Set(table.values).size, 15)
    }
    t.deepEqual(failed, [])
  }
  return { broker, source, othersGoOn }
}

/** The same while running, with all of the second one read. */
async function waitingForB(t: ExecutionContext) {
  const { broker, source, othersGoOn } = await threeTopics(t, {})
  await source.start()
  const table = new FakeTable()
  await drain(source, table, () => table.values.length === 10, 'b')
  return { broker, othersGoOn, waiting: source.next('b') }
}

test('a topic that is deleted while running ends alone, named; the others go on', async (t) => {
  const { broker, waiting, othersGoOn } = await waitingForB(t)
  broker.deleteTopic('b')
  t.like(await t.throwsAsync(waiting), { code: 'TOPIC_NOT_FOUND', position: { topic: 'b' } })
  await othersGoOn()
})

test('a topic that is made anew while running ends alone, named; the others go on', async (t) => {
  const { broker, waiting, othersGoOn } = await waitingForB(t)
  broker.deleteTopic('b')
  broker.createTopic('b')
  t.like(await t.throwsAsync(waiting), { code: 'DATA_LOSS', position: { topic: 'b' } })
  await othersGoOn()
})

test('lost offsets of one topic at the start end it alone', async (t) => {
  const table = new FakeTable()
  table.commits = 1
  table.offsets.set(0, 2n)
  const { broker, source, othersGoOn } = await threeTopics(t, { b: table })
  broker.setLogStart('b', 0, 6)
  await source.start()
  t.like(await t.throwsAsync(source.next('b')), { code: 'DATA_LOSS', position: { topic: 'b' } })
  await othersGoOn()
})

test('a topic that was deleted before the start ends alone where its table has commits, as a wrong name it is refused', async (t) => {
  const table = new FakeTable()
  table.commits = 1
  table.offsets.set(0, 2n)
  const { broker, source, othersGoOn } = await threeTopics(t, { b: table }, { failOnDataLoss: false })
  broker.deleteTopic('b')
  await source.start()
  t.like(await t.throwsAsync(source.next('b')), { code: 'TOPIC_NOT_FOUND', position: { topic: 'b' } })
  await othersGoOn()
  const refused = makeSource(t, broker, { topics: ['a', 'b', 'c'] })
  t.like(await t.throwsAsync(refused.start()), { code: 'TOPIC_NOT_FOUND', position: { topic: 'b' } })
})

for (const [how, trigger] of [
  ['a run over what is there now', NOW],
  ['a run that goes on', { processingTime: 0, maxDelay: 0 }],
] as const) {
  test(`a topic of which a partition has no leader fails alone at the start of ${how}`, async (t) => {
    const { broker, source, othersGoOn } = await threeTopics(t, {}, { trigger })
    broker.setLeaderless('b', true)
    await source.start()
    t.like(await t.throwsAsync(source.next('b')), { code: 'KAFKA_UNREACHABLE', position: { topic: 'b' } })
    if (trigger !== NOW) await othersGoOn()
    else {
      for (const topic of ['a', 'c']) {
        const table = new FakeTable()
        await drain(source, table, undefined, topic)
        t.is(table.values.length, 10)
      }
    }
    const alone = makeSource(t, broker, { topics: ['b'], trigger })
    t.like(await t.throwsAsync(alone.start()), { code: 'KAFKA_UNREACHABLE', position: { topic: 'b' } })
  })
}

test('a start waits for a leader that is being elected', async (t) => {
  const { broker, source } = await threeTopics(t, {})
  broker.setLeaderless('b', true)
  const elected = sleep(1_500).then(() => broker.setLeaderless('b', false))
  await source.start()
  await elected
  produce(broker, 1, 'v', 0, 'b')
  t.true(((await source.next('b'))?.numMessages ?? 0) > 0)
})

test('an outage is told while it lasts, and not any more when it is over', async (t) => {
  const broker = await startBroker(t)
  const source = makeSource(t, broker)
  await source.start()
  t.is(source.waitingFor, null)
  const refused = broker.refuse(6_000)
  await eventually(() => source.waitingFor !== null)
  t.is(source.waitingFor?.code, 'KAFKA_UNREACHABLE')
  await refused
  await eventually(() => source.waitingFor === null, 20_000)
  produce(broker, 3)
  t.is((await source.next(TOPIC))?.numMessages, 3)
})

test('a broker that falls silent is told, and read from again when it answers', async (t) => {
  const broker = await startBroker(t)
  const source = makeSource(t, broker)
  await source.start()
  const waiting = source.next(TOPIC)
  broker.freeze()
  await eventually(() => source.waitingFor !== null, 20_000)
  t.like(source.waitingFor, { code: 'KAFKA_UNREACHABLE', attempts: 0 })
  broker.thaw()
  await eventually(() => source.waitingFor === null, 20_000)
  produce(broker, 3)
  t.is((await waiting)?.numMessages, 3)
})

test('stop ends a start that is under way', async (t) => {
  const broker = await startBroker(t)
  const source = makeSource(t, broker, {}, () => new Promise(() => {}))
  const starting = source.start()
  await sleep(500)
  await source.stop()
  t.like(await t.throwsAsync(starting), { code: 'CANCELLED' })
  await eventually(() => broker.connections === 0)
})

test.serial('stop ends a start at whatever moment, and leaves no connection and no timer', async (t) => {
  const broker = await EmbeddedBroker.start({ initialRebalanceDelayMs: 3_000 })
  t.teardown(() => broker.close())
  broker.createTopic(TOPIC)
  const timers = async () => {
    // Within a timer's callback, the timer itself counts.
    await new Promise(setImmediate)
    return process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length
  }
  // The first ones while it connects, the last ones while it joins the group.
  const moments = [...Array.from({ length: 30 }, (_, i) => 3 * i), 120, 200, 400, 800, 1_600, 2_400]
  for (const ms of moments) {
    const before = await timers()
    const source = makeSource(t, broker)
    const starting = t.throwsAsync(source.start())
    await sleep(ms)
    const began = Date.now()
    await source.stop()
    t.like(await starting, { code: 'CANCELLED' }, `after ${ms} ms`)
    t.true(Date.now() - began < 2_500, `${Date.now() - began} ms, after ${ms} ms`)
    await eventually(() => broker.connections === 0)
    const deadline = Date.now() + 10_000
    while ((await timers()) > before && Date.now() < deadline) await sleep(20)
    t.true((await timers()) <= before, `a timer is left, after ${ms} ms`)
  }
})

test('stop with the broker gone is bounded', async (t) => {
  const broker = await startBroker(t)
  const source = makeSource(t, broker)
  await source.start()
  await broker.stopListening()
  const began = Date.now()
  await source.stop()
  t.true(Date.now() - began < 9000)
  t.is(await source.next(TOPIC), null)
})
