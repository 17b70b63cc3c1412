import test from 'ava'
import { consumerConfig, fetchWaits, offsetOf, type SourceOptions, timestampOf } from '../../src/kafka/options.js'
import { KafkaSource } from '../../src/kafka/source.js'
import { LIMITS } from './support.js'

const GOOD: SourceOptions = {
  queryName: 'q',
  kafka: { brokers: ['localhost:1'] },
  consumer: {},
  workers: 'single',
  topics: ['a', 'b'],
  startingOffsets: 'earliest',
  failOnDataLoss: true,
  trigger: { processingTime: 0, maxDelay: 0 },
  limits: LIMITS,
}

const refused = (options: object) => () => {
  new KafkaSource({ ...GOOD, ...options } as SourceOptions, async () => ({ exists: false, last: new Map() }))
}

const BAD: Record<string, object> = {
  'a consumer that commits by itself': { consumer: { autoCommit: true } },
  'auto resolve': { consumer: { eachBatchAutoResolve: true } },
  'rows of open transactions': { consumer: { readUncommitted: true } },
  'topics made by a typing error': { consumer: { allowAutoTopicCreation: true } },
  'another assigner': { consumer: { partitionAssigners: [] } },
  'an unknown consumer option': { consumer: { fetchSize: 1 } },
  'a heartbeat after the session': { consumer: { sessionTimeout: 1000 } },
  'a fetch longer than the session': { consumer: { maxWaitTimeInMs: 60_000 } },
  'an unknown way to share work': { workers: 'several' },
  'many workers that nobody tells whose the tables are': { workers: 'many' },
  'no topics': { topics: [] },
  'a topic twice': { topics: ['a', 'a'] },
  'no name': { queryName: '' },
  'an unknown start': { startingOffsets: 'newest' },
  'a bad time': { startingOffsets: { timestamp: 'yesterday' } },
  'offsets of an unknown topic': { startingOffsets: { a: { 0: 1 }, b: { 0: 1 }, c: { 0: 1 } } },
  'offsets of some topics only': { startingOffsets: { a: { 0: 1 } } },
  'an offset that is none': { startingOffsets: { a: { 0: 1.5 }, b: { 0: 1 } } },
  'an offset below -2': { startingOffsets: { a: { 0: -3 }, b: { 0: 1 } } },
  'a negative interval': { trigger: { processingTime: -1, maxDelay: 0 } },
  'a delay that is no number': { trigger: { processingTime: 0, maxDelay: Number.NaN } },
  'no trigger': { trigger: {} },
  'no messages in a batch': { limits: { ...LIMITS, maxBatchMessages: 0 } },
  'not a number of bytes': { limits: { ...LIMITS, maxQueueBytes: Number.NaN } },
}

for (const [name, options] of Object.entries(BAD)) {
  test(`${name}: CONFIG_INVALID`, (t) => {
    t.like(t.throws(refused(options)), { code: 'CONFIG_INVALID' })
  })
}

test('what does not conflict is taken', (t) => {
  t.notThrows(refused({ consumer: { autoCommit: false, maxBytes: 1000, groupId: 'g' } }))
  t.notThrows(refused({ topics: ['timestamp'], startingOffsets: { timestamp: { 0: 5 } } }))
  const config = consumerConfig({ ...GOOD, consumer: { maxBytes: 7, maxWaitTimeInMs: 90 } }, 'group')
  t.like(config, { groupId: 'group', maxBytes: 7, maxWaitTimeInMs: 90, readUncommitted: false })
})

test('offsets are exact beyond 2^53', (t) => {
  t.is(offsetOf('a', 0, '9007199254740993'), 9007199254740993n)
  t.is(offsetOf('a', 0, 9007199254740993n), 9007199254740993n)
  t.throws(() => offsetOf('a', 0, 2 ** 60))
})

test('timestamps are milliseconds or ISO 8601', (t) => {
  t.is(timestampOf(5), 5)
  t.is(timestampOf('5'), 5)
  t.is(timestampOf('2024-01-01T00:00:00Z'), 1704067200000)
})

test('a fetch waits for long where nothing else is to be fetched, and as long as the user says', (t) => {
  const waits = (consumer: SourceOptions['consumer']) => fetchWaits({ ...GOOD, consumer })
  t.deepEqual(waits({}), { busyMs: 250, idleMs: 1000 })
  t.deepEqual(waits({ maxWaitTimeInMs: 90 }), { busyMs: 90, idleMs: 90 })
  // Fewer bytes wait for as long.
  t.deepEqual(waits({ minBytes: 1000 }), { busyMs: 250, idleMs: 250 })
  // No heartbeat is sent meanwhile.
  t.deepEqual(waits({ heartbeatInterval: 400, sessionTimeout: 2000 }), { busyMs: 250, idleMs: 400 })
  t.deepEqual(waits({ heartbeatInterval: 100, sessionTimeout: 2000 }), { busyMs: 250, idleMs: 250 })
})
