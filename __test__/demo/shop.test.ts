import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import test, { type ExecutionContext } from 'ava'
import { EmbeddedBroker } from '../../src/demo/broker/index.js'
import { readFixtureSchemas } from '../../src/demo/fixtures.js'
import { EmbeddedRegistry } from '../../src/demo/registry.js'
import { SHOP_STAGES, ShopLife, type ShopOptions, type ShopProgress, type ShopTable } from '../../src/demo/shop.js'
import { unscaledBytes } from '../../src/demo/shop-encoder.js'
import { keySchema, SHOP_TABLES, valueSchema } from '../../src/demo/shop-schemas.js'
import { AvroReader, client, consume, type Received } from './support.js'

const FLAT = join(fileURLToPath(new URL('../fixtures/', import.meta.url)), 'flat')
const seed = Number(process.env.SEED ?? Date.now() % 2 ** 31)

async function start(t: ExecutionContext) {
  const broker = await EmbeddedBroker.start()
  const registry = await EmbeddedRegistry.start()
  t.teardown(() => Promise.all([broker.close(), registry.close()]))
  return { broker, registry }
}

async function live(t: ExecutionContext, options: Partial<ShopOptions>) {
  t.log(`SEED=${seed}`)
  const { broker, registry } = await start(t)
  const life = new ShopLife({ seed, ...options })
  const progress: ShopProgress[] = []
  await life.produce(client(broker), registry.url, (step) => void progress.push(step))
  return { broker, registry, life, progress }
}

function highs(broker: EmbeddedBroker, { topic }: ShopTable): number {
  const partitions = broker.topics.find(({ name }) => name === topic)?.partitions ?? 0
  let sum = 0
  for (let i = 0; i < partitions; i++) sum += broker.offsets(topic, i).high
  return sum
}

/** The messages of a table, each partition in its order. */
async function messagesOf(broker: EmbeddedBroker, table: ShopTable): Promise<Received[]> {
  return consume(client(broker), [table.topic], highs(broker, table), 60_000)
}

/** Replays a topic into a map by the plain rules, on its own: nothing of the generator is used but the column types. */
async function replay(received: Received[], table: ShopTable, reader: AvroReader) {
  const rows = new Map<string, Record<string, unknown>>()
  const seen = new Set<string>()
  for (const { message } of received) {
    const key = (await reader.decode(message.key as Buffer)).value
    const id = String(key.id)
    if (message.value === null) {
      rows.delete(id)
      continue
    }
    const { __deleted, ...columns } = (await reader.decode(message.value)).value
    for (const name of Object.keys(columns)) seen.add(name)
    if (__deleted === 'true') rows.delete(id)
    else rows.set(id, columns)
  }
  for (const [id, row] of rows) {
    const record: Record<string, unknown> = {}
    for (const { name, type } of table.columns) {
      if (!seen.has(name)) continue
      const value = row[name] ?? null
      if (value instanceof Uint8Array) {
        const cents = BigInt.asIntN(value.length * 8, BigInt(`0x${Buffer.from(value).toString('hex')}`))
        const digits = String(cents < 0n ? -cents : cents).padStart(3, '0')
        record[name] = `${cents < 0n ? '-' : ''}${digits.slice(0, -2)}.${digits.slice(-2)}`
      } else record[name] = type === 'timestamp' && value !== null ? Number(value) : value
    }
    rows.set(id, record)
  }
  return rows
}

test('the schemas are those that were captured', (t) => {
  const captured = readFixtureSchemas(FLAT)
  const pairs: [number, object][] = [
    [1, keySchema('products')],
    [2, valueSchema('products')],
    [3, keySchema('orders')],
    [4, valueSchema('orders')],
    [6, keySchema('users')],
    [8, valueSchema('users')],
    [49, valueSchema('users', 'phone_number')],
    [55, valueSchema('users', 'points')],
  ]
  // As text: with the same ids in a registry that holds the captured ones.
  for (const [id, schema] of pairs) t.is(JSON.stringify(schema), JSON.stringify(captured.get(id)), `schema ${id}`)
})

test('unscaled decimals are the shortest two’s complement', (t) => {
  const hex = (value: number) => unscaledBytes(value).toString('hex')
  t.deepEqual([0, 1, -1, 127, 128, -128, -129, 1234, 9_999_999_999].map(hex), [
    '00',
    '01',
    'ff',
    '7f',
    '0080',
    '80',
    'ff7f',
    '04d2',
    '02540be3ff',
  ])
})

for (const compression of ['none', 'gzip'] as const) {
  test(`the truth is what the topics say (${compression})`, async (t) => {
    const { broker, registry, life, progress } = await live(t, { orders: 4000, changes: 6000, compression })
    const reader = new AvroReader(registry.url)
    let total = 0
    for (const table of life.tables) {
      const received = await messagesOf(broker, table)
      total += received.length
      const truth = life.truth(table.name)
      const rows = await replay(received, table, reader)
      t.true(rows.size > 0)
      t.deepEqual([...truth.keys()].sort(), [...rows.keys()].sort())
      for (const [id, row] of rows) t.deepEqual(truth.get(id), row, `${table.name} ${id}`)
    }
    t.is(life.counts.messages, total)
    t.deepEqual([...new Set(progress.map(({ stage }) => stage))], [...SHOP_STAGES])
    t.deepEqual(progress.at(-1)?.done, progress.at(-1)?.total)
  })
}

test('the life holds what it promises', async (t) => {
  const { broker, registry, life } = await live(t, { orders: 2000, changes: 5000, partitions: 2 })
  const reader = new AvroReader(registry.url)
  for (const [name, count] of Object.entries(life.counts)) t.true(count > 0, `no ${name}`)
  const users = life.tables.find(({ name }) => name === 'users') as ShopTable
  const received = await messagesOf(broker, users)
  t.deepEqual([...new Set(received.map(({ partition }) => partition))].sort(), [0, 1])
  for (const partition of [0, 1]) {
    const ids: number[] = []
    for (const { message } of received.filter((item) => item.partition === partition)) {
      if (message.value !== null) ids.push((await reader.decode(message.value)).id)
    }
    // One schema, then one with a column more, the older one again, and a new one.
    const runs = ids.filter((id, i) => id !== ids[i - 1])
    t.is(runs.length, 4, `schema ids ${runs}`)
    t.is(runs[0], runs[2])
    t.is(new Set(runs).size, 3)
  }
  const rows = [...life.truth('users').values()]
  t.true(rows.some((row) => row.phone_number !== null))
  t.true(rows.some((row) => row.points !== null))
  t.true(rows.some((row) => row.phone_number === null && row.points === null))
  // A deleted row's values are made up, its tombstone follows.
  const deleted = received.find(({ message }) => message.value?.includes('true'))
  const after = received.find(
    ({ partition, message }) =>
      partition === deleted?.partition && Number(message.offset) === Number(deleted?.message.offset) + 1,
  )
  const value = (await reader.decode(deleted?.message.value as Buffer)).value
  t.like(value, { name: '', email: '', created_at: 0, __deleted: 'true' })
  t.is(after?.message.value, null)
  t.deepEqual(after?.message.key, deleted?.message.key)
  const moved = received.filter(({ message }) => message.headers?.['__debezium.oldkey'] !== undefined)
  t.true(moved.length > 0)
  for (const partition of [0, 1]) {
    const highWater = broker.offsets(users.topic, partition).high
    t.true(highWater > 0)
  }
})

test('the same seed gives the same bytes', async (t) => {
  const bytes = async () => {
    const { broker, life } = await live(t, { orders: 300, changes: 500, clock: () => 1_795_424_571_260 })
    const all: string[] = []
    for (const table of life.tables) {
      for (const { partition, message } of await messagesOf(broker, table)) {
        const { offset, key, value } = message
        all.push(`${table.name} ${partition} ${offset} ${key?.toString('hex')} ${value?.toString('hex')}`)
      }
    }
    return all.sort()
  }
  t.deepEqual(await bytes(), await bytes())
})

test('a rate holds back the changes, and an abort ends the life between two batches', async (t) => {
  const { broker, registry } = await start(t)
  const life = new ShopLife({ seed, orders: 100, changes: 100_000, rate: 500 })
  const stop = new AbortController()
  let fastest = 0
  await life.produce(
    client(broker),
    registry.url,
    ({ stage, messagesPerSecond, done }) => {
      if (stage !== 'changes') return
      // The first batches say little.
      if (done > 200) fastest = Math.max(fastest, messagesPerSecond)
      if (done > 400) stop.abort()
    },
    { signal: stop.signal },
  )
  t.true(fastest > 0 && fastest < 800, `${fastest} messages/s`)
  t.is(
    life.tables.reduce((sum, table) => sum + highs(broker, table), 0),
    life.counts.messages,
  )
  const reader = new AvroReader(registry.url)
  for (const table of life.tables) {
    const rows = await replay(await messagesOf(broker, table), table, reader)
    t.deepEqual(new Map([...rows].sort()), new Map([...life.truth(table.name)].sort()))
  }
})

test('topics that hold messages are refused', async (t) => {
  const { broker, registry } = await start(t)
  broker.createTopic('postgres.public.users')
  broker.append('postgres.public.users', 0, [{ key: null, value: Buffer.from('x') }])
  const life = new ShopLife({ seed, orders: 10, changes: 10 })
  await t.throwsAsync(life.produce(client(broker), registry.url), { message: /postgres\.public\.users holds messages/ })
})

test('the tables are described', (t) => {
  t.deepEqual(
    SHOP_TABLES.map(({ topic, key }) => [topic, key]),
    [
      ['postgres.public.users', ['id']],
      ['postgres.public.products', ['id']],
      ['postgres.public.orders', ['id']],
    ],
  )
  t.deepEqual(SHOP_TABLES[2]?.partitionCols, ['year', 'month'])
})

test('a large shop is produced whole, and tells how far it is', async (t) => {
  const { life, progress } = await live(t, { orders: 100_000, changes: 50_000 })
  t.true(life.truth('orders').size > 90_000)
  t.true(progress.every(({ done, total }) => done <= total))
  const last = progress.at(-1)
  t.is(last?.done, last?.total)
})
