import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import test, { type ExecutionContext } from 'ava'
import { EmbeddedBroker } from '../../src/demo/broker/index.js'
import { fixtureTopics, loadFixtureSet, readFixtureSchemas, readFixtureTopic } from '../../src/demo/fixtures.js'
import { EmbeddedRegistry } from '../../src/demo/registry.js'
import { AvroReader, client, consume } from './support.js'

const FIXTURES = fileURLToPath(new URL('../fixtures/', import.meta.url))
const sets = readdirSync(FIXTURES, { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map((entry) => entry.name)
  .filter((name) => fixtureTopics(join(FIXTURES, name)).length > 0)

async function start(t: ExecutionContext) {
  const broker = await EmbeddedBroker.start()
  const registry = await EmbeddedRegistry.start()
  t.teardown(() => Promise.all([broker.close(), registry.close()]))
  return { broker, registry }
}

const base64 = (value: Buffer | string | null | undefined) =>
  value == null ? null : Buffer.from(value).toString('base64')

test('there are fixtures', (t) => {
  t.true(sets.length >= 9, sets.join(', '))
})

for (const set of sets) {
  test(`${set}: every message is where it was captured`, async (t) => {
    const dir = join(FIXTURES, set)
    const { broker, registry } = await start(t)
    const { topics } = await loadFixtureSet(dir, broker, registry)
    t.deepEqual(
      topics.map(({ name }) => name),
      fixtureTopics(dir),
    )
    const total = topics.reduce((sum, { messages }) => sum + messages, 0)
    const received = await consume(
      client(broker),
      topics.map(({ name }) => name),
      total,
    )
    t.is(received.length, total)
    const found = new Map(
      received.map((item) => [`${item.topic}/${item.partition}/${item.message.offset}`, item.message]),
    )
    for (const { name } of topics) {
      for (const line of readFixtureTopic(dir, name)) {
        const message = found.get(`${name}/${line.partition}/${line.offset}`)
        const headers = Object.entries(message?.headers ?? {}).map(([key, value]) => [key, base64(value as Buffer)])
        t.deepEqual(
          {
            timestamp: message?.timestamp,
            key: base64(message?.key),
            value: base64(message?.value),
            headers: Object.fromEntries(headers),
          },
          {
            timestamp: String(line.timestamp),
            key: line.key_b64,
            value: line.value_b64,
            headers: line.headers as Record<string, string>,
          },
        )
      }
    }
    // Every schema id of the capture is in the registry, and decodes the messages that carry it.
    const schemas = readFixtureSchemas(dir)
    t.deepEqual(
      registry.ids,
      [...schemas.keys()].sort((a, b) => a - b),
    )
    const reader = new AvroReader(registry.url)
    for (const { message } of received) {
      if (message.value !== null) t.truthy((await reader.decode(message.value)).value)
    }
  })
}

test('only the topics that were asked for are loaded', async (t) => {
  const { broker, registry } = await start(t)
  const { topics } = await loadFixtureSet(join(FIXTURES, 'flat'), broker, registry, {
    topics: ['postgres.public.users'],
  })
  t.deepEqual(
    topics.map(({ name }) => name),
    ['postgres.public.users'],
  )
  t.deepEqual(broker.topics, [{ name: 'postgres.public.users', partitions: 1 }])
  const answer = await fetch(`${registry.url}/subjects/postgres.public.users-value/versions`)
  t.deepEqual(await answer.json(), [1, 2, 3, 4])
})
