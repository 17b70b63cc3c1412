// biome-ignore-all lint/suspicious/noExplicitAny: options are made wrong on purpose
import { resolve } from 'node:path'
import test from 'ava'
import { OptionsError } from '../../src/options/errors.js'
import { configJsonSchema } from '../../src/options/json-schema.js'
import { resolveOptions } from '../../src/options/resolve.js'
import type { StreamOptions } from '../../src/options/types.js'

const base = (change: object = {}): StreamOptions => ({
  queryName: 'shop',
  kafka: { brokers: ['localhost:9092'] },
  schemaRegistry: { url: 'http://localhost:8081' },
  tables: { a: { path: '/lake/a' }, b: { path: '/lake/b' } },
  ...change,
})

const problems = (change: object): string => {
  try {
    resolveOptions(base(change))
  } catch (error) {
    if (error instanceof OptionsError) return error.message
    throw error
  }
  throw new Error('was not refused')
}

const places = (change: object) => resolveOptions(base(change), '/etc/k2d').tables.map(({ deadLetter }) => deadLetter)

const toDeadLetters = { onBadRecord: 'dead-letter' }

test('a topic, or a path with its storage options, of the query or of a table', (t) => {
  t.deepEqual(places({}), [null, null])
  const topic = { kind: 'kafka', topic: 'dead' } as const
  t.deepEqual(places({ ...toDeadLetters, deadLetter: { topic: 'dead' } }), [topic, topic])
  const storageOptions = { region: 'eu', key: 'q' }
  const tables = {
    a: { path: '/lake/a', storageOptions: { key: 'a' }, deadLetter: { path: 's3://own/dead/' } },
    b: { path: '/lake/b', storageOptions: { key: 'b' } },
  }
  const deadLetter = { path: 'dead', storageOptions: { key: 'd', port: 1 } }
  t.deepEqual(places({ ...toDeadLetters, deadLetter, storageOptions, tables }), [
    { kind: 'delta', uri: 's3://own/dead', storageOptions: { region: 'eu', key: 'a' } },
    { kind: 'delta', uri: resolve('/etc/k2d/dead'), storageOptions: { region: 'eu', key: 'd', port: '1' } },
  ])
})

test('a table may do without, or be the only one', (t) => {
  const deadLetter = { topic: 'dead' }
  const skipping = { a: { path: '/lake/a', onBadRecord: 'skip' }, b: { path: '/lake/b' } }
  t.deepEqual(places({ ...toDeadLetters, deadLetter, tables: skipping }), [null, { kind: 'kafka', topic: 'dead' }])
  const only = { a: { path: '/lake/a', ...toDeadLetters, deadLetter }, b: { path: '/lake/b' } }
  t.deepEqual(places({ tables: only }), [{ kind: 'kafka', topic: 'dead' }, null])
})

test('dead letters need a place, and a place needs them', (t) => {
  t.regex(problems(toDeadLetters), /^onBadRecord: "dead-letter" needs deadLetter: \{path: …\}.*\{topic: …\}/)
  t.regex(
    problems({ tables: { a: { path: '/lake/a', ...toDeadLetters } } }),
    /^tables\.a\.onBadRecord: "dead-letter" needs deadLetter/,
  )
  t.regex(problems({ deadLetter: { topic: 'dead' } }), /^deadLetter: has no effect unless onBadRecord/)
  t.regex(
    problems({ tables: { a: { path: '/lake/a', deadLetter: { topic: 'dead' } } } }),
    /^tables\.a\.deadLetter: has no effect/,
  )
})

test('exactly one place, of its own', (t) => {
  t.regex(problems({ ...toDeadLetters, deadLetter: {} }), /deadLetter: give either path or topic/)
  t.regex(problems({ ...toDeadLetters, deadLetter: { path: '/d', topic: 'd' } }), /give either path or topic/)
  t.regex(
    problems({ ...toDeadLetters, deadLetter: { topic: 'd', storageOptions: { a: 'b' } } }),
    /storageOptions are of a path/,
  )
  t.regex(problems({ ...toDeadLetters, deadLetter: { topic: 'no topic' } }), /deadLetter\.topic: is no topic name/)
  t.regex(problems({ ...toDeadLetters, deadLetter: { topik: 'd' } }), /deadLetter\.topik: .*did you mean "topic"/)
  t.regex(problems({ ...toDeadLetters, deadLetter: { topic: 'b' } }), /^deadLetter\.topic: .*this query reads/)
  t.regex(problems({ ...toDeadLetters, deadLetter: { path: '/lake/b' } }), /^deadLetter\.path: .*path of a table/)
})

test('the time for which an unknown schema id is asked for', (t) => {
  const read = (unknownSchemaTimeout: unknown) =>
    resolveOptions(base({ schemaRegistry: { url: 'http://localhost:8081', unknownSchemaTimeout } })).schemaRegistry
      .unknownSchemaTimeout
  t.is(read('2 seconds'), 2000)
  t.is(read(0), 0)
  t.is(read(undefined), undefined)
  t.regex(
    problems({ schemaRegistry: { url: 'http://localhost:8081', unknownSchemaTimeout: 'soon' } }),
    /schemaRegistry\.unknownSchemaTimeout: expected a duration/,
  )
})

test('the JSON Schema has them for the query and for a table', (t) => {
  const schema = configJsonSchema() as any
  const table = schema.properties.tables.additionalProperties
  for (const { properties } of [schema, table]) {
    t.deepEqual(Object.keys(properties.deadLetter.properties).sort(), ['path', 'storageOptions', 'topic'])
    t.deepEqual(properties.onBadRecord.enum, ['fail', 'skip', 'dead-letter'])
  }
  t.truthy(schema.properties.schemaRegistry.properties.unknownSchemaTimeout)
})
