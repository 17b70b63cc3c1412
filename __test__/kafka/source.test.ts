import test from 'ava'
import kafkajs from 'kafkajs'
import { KafkaToDeltaError } from '../../src/errors.js'
import type { MicroBatch } from '../../src/kafka/micro-batch.js'
import type { StartingOffsets } from '../../src/kafka/options.js'
import {
  drain,
  eventually,
  FakeTable,
  LIMITS,
  makeSource,
  numbers,
  produce,
  sleep,
  startBroker,
  TOPIC,
} from './support.js'

const NOW = { availableNow: true } as const

test('reads a topic once, whatever the number of starts', async (t) => {
  const broker = await startBroker(t)
  const table = new FakeTable()
  for (let round = 0; round < 3; round++) {
    produce(broker, 25, `r${round}-`)
    const source = makeSource(t, broker, { trigger: NOW }, table.stored)
    await source.start()
    await drain(source, table)
    await source.stop()
  }
  t.deepEqual(table.values, [...numbers('r0-', 0, 25), ...numbers('r1-', 0, 25), ...numbers('r2-', 0, 25)])
  t.is(table.offsets.get(0), 74n)
})

const start = async (t: Parameters<typeof startBroker>[0], startingOffsets: StartingOffsets) => {
  const broker = await startBroker(t)
  broker.append(
    TOPIC,
    0,
    [0, 1, 2, 3].map((i) => ({ key: null, value: Buffer.from(`v${i}`), timestamp: 1000 * (i + 1) })),
  )
  const table = new FakeTable()
  const source = makeSource(t, broker, { startingOffsets }, table.stored)
  await source.start()
  broker.append(TOPIC, 0, [{ key: null, value: Buffer.from('v4'), timestamp: 5000 }])
  await drain(source, table, () => table.values.at(-1) === 'v4')
  return table.values
}

test('starts at the earliest', async (t) => {
  t.deepEqual(await start(t, 'earliest'), numbers('v', 0, 5))
})

test('starts at the latest', async (t) => {
  t.deepEqual(await start(t, 'latest'), ['v4'])
})

type Starts = ReadonlyMap<number, bigint>

test('the latest is kept before a message is handed on, and a later start begins there', async (t) => {
  const broker = await startBroker(t, 2)
  produce(broker, 3)
  let kept: Starts = new Map()
  const stored = async () => ({ exists: false, last: new Map(), starts: kept })
  const failing = makeSource(
    t,
    broker,
    { startingOffsets: 'latest', keepStarts: () => Promise.reject(new KafkaToDeltaError('STORAGE_DENIED', 'no')) },
    stored,
  )
  await t.throwsAsync(failing.start(), { code: 'STORAGE_DENIED' })
  const known: Starts[] = []
  const keepStarts = async (_: string, starts: Starts, before: Starts) => {
    known.push(before)
    kept = starts
    return kept
  }
  const first = makeSource(t, broker, { startingOffsets: 'latest', keepStarts }, stored)
  await first.start()
  await first.stop()
  t.deepEqual([kept.get(0), kept.get(1)], [3n, 0n])
  produce(broker, 2, 'new')
  const table = new FakeTable()
  const again = makeSource(t, broker, { startingOffsets: 'latest', trigger: NOW, keepStarts }, stored)
  await again.start()
  await drain(again, table)
  t.deepEqual(table.values, ['new0', 'new1'])
  t.deepEqual(known, [new Map()])
})

test('where another worker kept a start first, that one counts', async (t) => {
  const broker = await startBroker(t)
  produce(broker, 3)
  const table = new FakeTable()
  const stored = async () => ({ ...(await table.stored()), starts: new Map() })
  const keepStarts = async () => new Map([[0, 1n]])
  const source = makeSource(t, broker, { startingOffsets: 'latest', trigger: NOW, keepStarts }, stored)
  await source.start()
  await drain(source, table)
  t.deepEqual(table.values, ['v1', 'v2'])
})

test('starts at a timestamp', async (t) => {
  t.deepEqual(await start(t, { timestamp: 2500 }), ['v2', 'v3', 'v4'])
  t.deepEqual(await start(t, { timestamp: '1970-01-01T00:00:03.500Z' }), ['v3', 'v4'])
})

test('a timestamp after the last message starts at the end', async (t) => {
  t.deepEqual(await start(t, { timestamp: Date.now() }), ['v4'])
})

test('starts at offsets per partition, as numbers, text and bigint', async (t) => {
  t.deepEqual(await start(t, { [TOPIC]: { 0: 3 } }), ['v3', 'v4'])
  t.deepEqual(await start(t, { [TOPIC]: { 0: '2' } }), ['v2', 'v3', 'v4'])
  t.deepEqual(await start(t, { [TOPIC]: { 0: 1n } }), ['v1', 'v2', 'v3', 'v4'])
  t.deepEqual(await start(t, { [TOPIC]: { 0: -1 } }), ['v4'])
  t.deepEqual(await start(t, { [TOPIC]: { 0: -2 } }), numbers('v', 0, 5))
})

test('a starting offset beyond the log is an error', async (t) => {
  const error = await t.throwsAsync(start(t, { [TOPIC]: { 0: 99 } }))
  t.like(error, { code: 'DATA_LOSS', position: { topic: TOPIC, partition: 0, offset: '99' } })
})

test('a partition without a starting offset is an error', async (t) => {
  t.like(await t.throwsAsync(start(t, { [TOPIC]: { 1: 0 } })), { code: 'CONFIG_INVALID' })
})

test('reads several partitions, each contiguous, and records where the quiet ones start', async (t) => {
  const broker = await startBroker(t, 4)
  produce(broker, 30, 'a', 0)
  produce(broker, 30, 'c', 2)
  const table = new FakeTable()
  const source = makeSource(t, broker, { trigger: NOW }, table.stored)
  await source.start()
  const [first] = await drain(source, table)
  t.is(table.values.length, 60)
  t.deepEqual(
    [...table.offsets].sort(([a], [b]) => a - b),
    [
      [0, 29n],
      [1, -1n],
      [2, 29n],
      [3, -1n],
    ],
  )
  t.is(first?.ranges.length, 4)
  await source.stop()

  produce(broker, 5, 'd', 3)
  const again = makeSource(t, broker, { trigger: NOW, startingOffsets: 'latest' }, table.stored)
  await again.start()
  await drain(again, table)
  t.is(table.values.length, 65)
})

test('a partition whose offset is missing is an error, a new one starts at the earliest', async (t) => {
  const broker = await startBroker(t, 2)
  produce(broker, 10, 'a', 0)
  produce(broker, 10, 'b', 1)
  const table = new FakeTable()
  table.commits = 1
  table.offsets.set(1, 4n)
  const source = makeSource(t, broker, { trigger: NOW }, table.stored)
  t.like(await t.throwsAsync(source.start()), { code: 'OFFSET_MISSING', position: { topic: TOPIC, partition: 0 } })

  table.offsets.clear()
  table.offsets.set(0, 4n)
  const again = makeSource(t, broker, { trigger: NOW, startingOffsets: 'latest' }, table.stored)
  await again.start()
  await drain(again, table)
  t.deepEqual(table.values.sort(), [...numbers('a', 5, 10), ...numbers('b', 0, 10)])
})

test('a partition that is added while running starts at the earliest', async (t) => {
  const broker = await startBroker(t)
  produce(broker, 3)
  const table = new FakeTable()
  const source = makeSource(t, broker, { startingOffsets: 'latest', consumer: { metadataMaxAge: 300 } }, table.stored)
  await source.start()
  broker.addPartitions(TOPIC, 2)
  produce(broker, 10, 'new', 1)
  await drain(source, table, () => table.values.length >= 10)
  t.deepEqual(table.values, numbers('new', 0, 10))
  t.is(table.offsets.get(0), 2n)
})

test('gaps between offsets are legal', async (t) => {
  const broker = await startBroker(t)
  for (const offset of [0, 7, 20, 21, 400]) {
    broker.append(TOPIC, 0, [{ key: null, value: Buffer.from(`v${offset}`), offset }])
  }
  const table = new FakeTable()
  const source = makeSource(t, broker, { trigger: NOW }, table.stored)
  await source.start()
  await drain(source, table)
  t.deepEqual(table.values, ['v0', 'v7', 'v20', 'v21', 'v400'])

  await source.stop()
  table.values = []
  table.offsets.set(0, 9n)
  const again = makeSource(t, broker, { trigger: NOW }, table.stored)
  await again.start()
  await drain(again, table)
  t.deepEqual(table.values, ['v20', 'v21', 'v400'])
})

test('transaction markers at the end count as read, aborted rows stay out', async (t) => {
  const broker = await startBroker(t)
  const record = (value: string) => ({ key: null, value: Buffer.from(value) })
  broker.appendTransaction(TOPIC, 0, [record('a'), record('b')], 'commit')
  broker.appendTransaction(TOPIC, 0, [record('x'), record('y')], 'abort')
  broker.appendTransaction(TOPIC, 0, [record('z')], 'abort')
  const table = new FakeTable()
  const source = makeSource(t, broker, { trigger: NOW }, table.stored)
  await source.start()
  await drain(source, table)
  t.deepEqual(table.values, ['a', 'b'])
  t.is(table.offsets.get(0), 7n)
  t.is(source.lag(TOPIC).get(0)?.lag, 0n)
})

test('offsets without messages alone are handed over at the end', async (t) => {
  const broker = await startBroker(t)
  produce(broker, 2)
  broker.appendTransaction(TOPIC, 0, [{ key: null, value: Buffer.from('x') }], 'abort')
  const table = new FakeTable()
  table.commits = 1
  table.offsets.set(0, 1n)
  const source = makeSource(t, broker, { trigger: NOW }, table.stored)
  await source.start()
  const batches = await drain(source, table)
  t.deepEqual(
    batches.map(({ numMessages }) => numMessages),
    [0],
  )
  t.is(table.offsets.get(0), 3n)
})

test('an empty record batch is stepped over', async (t) => {
  const broker = await startBroker(t)
  produce(broker, 10, 'a')
  broker.appendEmptyBatch(TOPIC, 0, 10)
  produce(broker, 10, 'b')
  const table = new FakeTable()
  const source = makeSource(t, broker, {}, table.stored)
  await source.start()
  await drain(source, table, () => table.values.length >= 20)
  t.deepEqual(table.values, [...numbers('a', 0, 10), ...numbers('b', 0, 10)])
  broker.appendEmptyBatch(TOPIC, 0, 3)
  produce(broker, 1, 'c')
  await drain(source, table, () => table.values.length >= 21)
  t.is(table.offsets.get(0), 33n)
})

test('an empty record batch that fills a fetch by itself is stepped over', async (t) => {
  const broker = await startBroker(t)
  produce(broker, 10, 'a')
  broker.appendEmptyBatch(TOPIC, 0, 10)
  produce(broker, 10, 'b')
  broker.appendEmptyBatch(TOPIC, 0, 10)
  const table = new FakeTable()
  // The smallest fetch: one record batch at a time.
  const consumer = { maxBytesPerPartition: 1, maxBytes: 1 }
  const source = makeSource(t, broker, { trigger: NOW, consumer }, table.stored)
  await source.start()
  await drain(source, table)
  t.deepEqual(table.values, [...numbers('a', 0, 10), ...numbers('b', 0, 10)])
  t.is(table.offsets.get(0), 39n)
})

test('availableNow ends although an empty record batch is last', async (t) => {
  const broker = await startBroker(t)
  produce(broker, 10, 'a')
  broker.appendEmptyBatch(TOPIC, 0, 50)
  const table = new FakeTable()
  const source = makeSource(t, broker, { trigger: NOW }, table.stored)
  await source.start()
  await drain(source, table)
  t.is(table.offsets.get(0), 59n)
})

test('availableNow ends at the ends captured at its start', async (t) => {
  const broker = await startBroker(t, 2)
  produce(broker, 15, 'a')
  const table = new FakeTable()
  const source = makeSource(t, broker, { trigger: NOW }, table.stored)
  await source.start()
  produce(broker, 5, 'late')
  produce(broker, 5, 'late', 1)
  await drain(source, table)
  t.deepEqual(table.values, numbers('a', 0, 15))
  t.is(await source.next(TOPIC), null)
})

test('availableNow of an empty topic ends at once', async (t) => {
  const broker = await startBroker(t, 3)
  const source = makeSource(t, broker, { trigger: NOW })
  await source.start()
  t.is(await source.next(TOPIC), null)
})

test('batches keep to maxBatchMessages and join fetches of a partition', async (t) => {
  const broker = await startBroker(t)
  produce(broker, 95)
  const table = new FakeTable()
  const limits = { ...LIMITS, maxBatchMessages: 30 }
  const source = makeSource(t, broker, { trigger: NOW, limits }, table.stored)
  await source.start()
  const batches = await drain(source, table)
  t.deepEqual(
    batches.map(({ numMessages }) => numMessages),
    [30, 30, 30, 5],
  )
  t.deepEqual(table.values, numbers('v', 0, 95))
})

test('processingTime spaces the batches', async (t) => {
  const broker = await startBroker(t)
  produce(broker, 1)
  const table = new FakeTable()
  const source = makeSource(t, broker, { trigger: { processingTime: 600, maxDelay: 0 } }, table.stored)
  await source.start()
  const times: number[] = []
  const timer = setInterval(() => produce(broker, 1), 50)
  for (let i = 0; i < 3; i++) {
    const batch = (await source.next(TOPIC)) as MicroBatch
    times.push(Date.now())
    table.commit(batch)
    source.committed(batch)
  }
  clearInterval(timer)
  const gaps = times.slice(1).map((time, i) => time - (times[i] as number))
  for (const gap of gaps) t.true(gap >= 580, `${gap} ms`)
})

test('a full queue pauses the topic, and goes on when it is drained', async (t) => {
  const broker = await startBroker(t, 2)
  const value = Buffer.alloc(10_000, 'x')
  for (let i = 0; i < 400; i++) broker.append(TOPIC, i % 2, [{ key: null, value }])
  const table = new FakeTable()
  const limits = { maxBatchMessages: 1000, maxBatchBytes: 100_000, maxQueueBytes: 300_000 }
  const consumer = { maxBytesPerPartition: 50_000, maxBytes: 50_000 }
  const source = makeSource(t, broker, { limits, consumer }, table.stored)
  await source.start()
  const numRead = () => [...source.lag(TOPIC).values()].reduce((sum, { position }) => sum + Number(position ?? 0n), 0)
  await eventually(() => numRead() >= 28)
  // Long enough for more to come, were the topic not paused.
  await sleep(1000)
  t.true(numRead() <= 60, `${numRead()} messages were read ahead`)
  await drain(source, table, () => table.values.length >= 400)
  t.is(table.values.length, 400)
})

test('rewind drops what is queued and reads from the stored offsets', async (t) => {
  const broker = await startBroker(t)
  produce(broker, 50)
  const table = new FakeTable()
  const limits = { ...LIMITS, maxBatchMessages: 20 }
  const source = makeSource(t, broker, { limits }, table.stored)
  await source.start()
  await drain(source, table, () => table.values.length >= 20)
  await source.next(TOPIC)
  // Another worker committed more than we know of.
  table.offsets.set(0, 29n)
  await source.rewind(TOPIC)
  await drain(source, table, () => table.values.at(-1) === 'v49')
  t.deepEqual(table.values, [...numbers('v', 0, 20), ...numbers('v', 30, 50)])
})

test('rewind ends a waiting call, though nothing comes any more, and what was dropped is read again', async (t) => {
  const broker = await startBroker(t)
  produce(broker, 10)
  const table = new FakeTable()
  const source = makeSource(t, broker, {}, table.stored)
  await source.start()
  t.is((await source.next(TOPIC))?.numMessages, 10)
  const waiting = source.next(TOPIC)
  table.commits = 1
  table.offsets.set(0, 3n)
  await source.rewind(TOPIC)
  t.is(await waiting, null)
  await drain(source, table, () => table.values.length === 6)
  t.deepEqual(table.values, numbers('v', 4, 10))
})

test('rewind before the first commit goes back to where reading began', async (t) => {
  const broker = await startBroker(t)
  produce(broker, 10)
  const source = makeSource(t, broker, { startingOffsets: 'latest' })
  await source.start()
  produce(broker, 5, 'new')
  t.is((await source.next(TOPIC))?.numMessages, 5)
  await source.rewind(TOPIC)
  t.is((await source.next(TOPIC))?.ranges[0]?.firstOffset, 10n)
})

test('a closed topic ends, the others go on', async (t) => {
  const broker = await startBroker(t, 1, [TOPIC, 'users'])
  const source = makeSource(t, broker, { topics: [TOPIC, 'users'] })
  await source.start()
  const waiting = source.next(TOPIC)
  source.close(TOPIC)
  t.is(await waiting, null)
  produce(broker, 3)
  produce(broker, 3, 'u', 0, 'users')
  t.is((await source.next('users'))?.numMessages, 3)
  t.is(await source.next(TOPIC), null)
})

test('the group is told of committed offsets when the source stops', async (t) => {
  const broker = await startBroker(t)
  produce(broker, 12)
  const table = new FakeTable()
  const source = makeSource(t, broker, { trigger: NOW, consumer: { groupId: 'mine' } }, table.stored)
  let groupId = ''
  const client = new kafkajs.Kafka({ brokers: broker.brokers, logLevel: kafkajs.logLevel.NOTHING }).admin()
  await client.connect()
  t.teardown(() => client.disconnect())
  await source.start()
  groupId = (await client.listGroups()).groups.find((g) => g.groupId.startsWith('mine-'))?.groupId ?? ''
  await drain(source, table)
  await source.stop()
  t.regex(groupId, /^mine-[0-9a-f-]{36}$/)
  t.like(broker.committed(groupId)[0], { topic: TOPIC, partition: 0 })
  t.is(Number(broker.committed(groupId)[0]?.offset), 12)
  t.deepEqual(broker.members(groupId), [])
})

test('fetchEnds tells the end of each partition', async (t) => {
  const broker = await startBroker(t, 2)
  produce(broker, 7, 'v', 1)
  const source = makeSource(t, broker)
  await source.start()
  t.deepEqual(
    await source.fetchEnds(TOPIC),
    new Map([
      [0, 0n],
      [1, 7n],
    ]),
  )
})

test('stop ends the waiting calls and is quick', async (t) => {
  const broker = await startBroker(t)
  const source = makeSource(t, broker)
  await source.start()
  const waiting = source.next(TOPIC)
  await sleep(100)
  const began = Date.now()
  await source.stop()
  t.true(Date.now() - began < 2000)
  t.is(await waiting, null)
  t.is(await source.next(TOPIC), null)
  await eventually(() => broker.connections === 0)
})

test('stop while messages stream in drops what is queued', async (t) => {
  const broker = await startBroker(t)
  produce(broker, 2000)
  const table = new FakeTable()
  const source = makeSource(t, broker, { limits: { ...LIMITS, maxBatchMessages: 100 } }, table.stored)
  await source.start()
  await drain(source, table, () => table.values.length >= 300)
  const timer = setInterval(() => produce(broker, 100, 'more'), 5)
  await source.stop()
  clearInterval(timer)
  t.is(await source.next(TOPIC), null)
  t.is(table.values.length, 300)

  const again = makeSource(t, broker, { trigger: NOW }, table.stored)
  await again.start()
  await drain(again, table)
  t.deepEqual(table.values.slice(0, 2000), numbers('v', 0, 2000))
})

test('a topic is read while the table of another one is not open yet; what becomes of that, it tells later', async (t) => {
  const topics = ['ready', 'late', 'refused']
  const broker = await startBroker(t, 1, topics)
  for (const topic of topics) produce(broker, topic === 'late' ? 7 : 3, 'v', 0, topic)
  const tables = new Map(topics.map((topic) => [topic, new FakeTable()]))
  const waiting = new Map<string, (error?: Error) => void>()
  const stored = async (topic: string) => {
    if (topic !== 'ready') {
      await new Promise<void>((resolve, reject) => {
        waiting.set(topic, (error) => (error ? reject(error) : resolve()))
      })
    }
    return (tables.get(topic) as FakeTable).stored()
  }
  const source = makeSource(t, broker, { topics }, stored)
  let hasStarted = false
  const started = source.start().then(() => {
    hasStarted = true
  })
  t.deepEqual([...(await source.backlog())].toSorted(), [
    ['late', 7n],
    ['ready', 3n],
    ['refused', 3n],
  ])
  t.true(await source.located('ready'))
  const ready = tables.get('ready') as FakeTable
  await drain(source, ready, () => ready.values.length === 3, 'ready')
  // It goes on, though nothing but its messages is there to wake it.
  produce(broker, 2, 'more', 0, 'ready')
  await drain(source, ready, () => ready.values.length === 5, 'ready')
  await eventually(() => waiting.size === 2)
  t.false(hasStarted)
  source.close('refused')
  waiting.get('refused')?.(new Error('it cannot be opened'))
  t.false(await source.located('refused'))
  t.is(await source.next('refused'), null)
  waiting.get('late')?.()
  await started
  t.true(await source.located('late'))
  const late = tables.get('late') as FakeTable
  await drain(source, late, () => late.values.length === 7, 'late')
  t.is(ready.values.length, 5)
})

test('a partition that is added while another table is not open yet starts at the earliest', async (t) => {
  const topics = [TOPIC, 'late']
  const broker = await startBroker(t, 1, topics)
  const table = new FakeTable()
  const stored = (topic: string) => (topic === 'late' ? new Promise<never>(() => {}) : table.stored())
  const source = makeSource(t, broker, { topics, startingOffsets: 'latest', consumer: { metadataMaxAge: 100 } }, stored)
  source.start().catch(() => {})
  t.true(await source.located(TOPIC))
  broker.addPartitions(TOPIC, 2)
  produce(broker, 3, 'new', 1)
  await drain(source, table, () => table.values.length === 3)
  t.deepEqual(table.values, numbers('new', 0, 3))
})
