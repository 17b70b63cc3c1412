import test from 'ava'
import { KafkaToDeltaError } from '../../src/errors.js'
import type { RawMessage } from '../../src/kafka/micro-batch.js'
import { createLogger } from '../../src/log.js'
import { TopicFinder } from '../../src/stream/topic-finder.js'

const message = (id: number): RawMessage => {
  const value = Buffer.alloc(6)
  value.writeInt32BE(id, 1)
  return { offset: '0', timestamp: '0', key: null, value }
}

/** Schemas by id, and topics with their first messages. */
function world(schemas: Record<number, object>, topics: Record<string, RawMessage | null | 'unseen'>) {
  const reads: string[] = []
  const told: string[] = []
  const levels: unknown[] = []
  const catalog = {
    list: async () => Object.keys(topics),
    firstMessages: async (names: readonly string[]) => {
      reads.push(...names)
      return new Map(names.map((name) => [name, topics[name] ?? null]))
    },
  }
  const registry = {
    get: async (id: number) => {
      if (schemas[id] === undefined) throw new KafkaToDeltaError('BAD_RECORD', 'no such schema')
      return schemas[id] as never
    },
  }
  const logger = createLogger('info', {
    write: (text: string) => {
      const { level, topic, msg } = JSON.parse(text)
      levels.push(level)
      told.push(`${topic}: ${msg}`)
    },
  })
  const finder = new TopicFinder(catalog, registry, logger)
  return { finder, registry, topics, reads, told, levels }
}

const OWN = { name: 'TransactionMetadataValue', namespace: 'io.debezium.connector.common' }
const ROW = { name: 'Envelope', namespace: 'shop.transaction', fields: [] }

test("what a topic holds decides where its name may be Debezium's own", async (t) => {
  const { finder, reads, told } = world(
    { 1: OWN, 2: ROW, 3: { name: 'io.debezium.connector.mysql.SchemaChangeValue' } },
    {
      'shop.transaction': message(1),
      'shop.public.transaction': message(2),
      shop: message(3),
      'shop.public.users': message(1),
      plain: { ...message(0), value: Buffer.from('{}') },
      unknown: message(9),
      constructor: message(2),
    },
  )
  // A message that cannot be read is for its table to tell of.
  t.deepEqual(await finder.find(() => true), ['shop.public.transaction', 'shop.public.users', 'plain', 'unknown'])
  t.deepEqual(reads, ['shop.transaction', 'shop.public.transaction', 'shop', 'plain', 'unknown'])
  t.is(told.length, 3)
  t.regex(told[0] ?? '', /^constructor: passed over.*KafkaJS cannot read it/)
  // Said, and looked at, once.
  await finder.find(() => true)
  t.is(reads.length, 5)
  t.is(told.length, 3)
})

test('a registry that is down tells nothing of a topic: it is asked again', async (t) => {
  const { finder, registry } = world({ 1: OWN }, { 'shop.transaction': message(1) })
  const { get } = registry
  registry.get = async () => {
    throw new KafkaToDeltaError('REGISTRY_UNREACHABLE', 'down')
  }
  await t.throwsAsync(
    finder.find(() => true),
    { code: 'REGISTRY_UNREACHABLE' },
  )
  registry.get = get
  t.deepEqual(await finder.find(() => true), [])
})

test('a look that is told to end waits for no registry', async (t) => {
  const { finder, registry } = world({ 1: OWN }, { a: message(1), b: message(1) })
  const { get } = registry
  registry.get = () => new Promise(() => {})
  const ending = new AbortController()
  const looking = finder.find(() => true, ending.signal)
  ending.abort(new Error('told to end'))
  await t.throwsAsync(looking, { message: 'told to end' })
  registry.get = get
  t.deepEqual(await finder.find(() => true), [])
})

test('a topic that may be anything waits for its first message', async (t) => {
  const { finder, topics, told } = world({ 1: OWN, 2: ROW }, { orders: null, 'shop.transaction': null })
  t.deepEqual(await finder.find(() => true), [])
  t.true(told.every((text) => text.endsWith('for it holds nothing yet: name it in tables to take it')))
  topics.orders = message(2)
  topics['shop.transaction'] = message(1)
  t.deepEqual(await finder.find(() => true), ['orders'])
})

test('a topic whose messages are not to be found is warned of', async (t) => {
  const { finder, topics, told, levels } = world({ 2: ROW }, { orders: 'unseen', users: null })
  t.deepEqual(await finder.find(() => true), [])
  t.regex(told[0] ?? '', /^orders: passed over by patterns.*though its log is not empty: name it/)
  t.not(levels[0], levels[1])
  topics.orders = message(2)
  t.deepEqual(await finder.find(() => true), ['orders'])
})

test('signals are passed over by name', async (t) => {
  const { finder, reads } = world({}, { 'shop.public.debezium_signal': message(1), debezium_signals: message(1) })
  t.deepEqual(await finder.find(() => true), [])
  t.deepEqual(reads, [])
})

test('only what is wanted is looked at', async (t) => {
  const { finder, reads } = world({ 2: ROW }, { orders: message(2), users: message(2) })
  t.deepEqual(await finder.find((topic) => topic === 'users'), ['users'])
  t.deepEqual(reads, ['users'])
})
