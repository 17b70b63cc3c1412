// biome-ignore-all lint/suspicious/noExplicitAny: options and sources are made wrong on purpose
import { readFileSync } from 'node:fs'
import { totalmem } from 'node:os'
import { resolve } from 'node:path'
import test from 'ava'
import { Kafka } from 'kafkajs'
import { KafkaToDeltaError } from '../../src/errors.js'
import { OptionsError } from '../../src/options/errors.js'
import { configJsonSchema, configJsonSchemaText } from '../../src/options/json-schema.js'
import { resolveOptions } from '../../src/options/resolve.js'
import { tableUri } from '../../src/options/table-uri.js'
import type { StreamOptions, TableOptions } from '../../src/options/types.js'

const minimal = (): StreamOptions => ({
  queryName: 'shop',
  kafka: { brokers: ['localhost:9092'] },
  schemaRegistry: { url: 'http://localhost:8081' },
  tables: { 'postgres.public.orders': { path: '/lake/orders' } },
})

function refusal(change: (options: Record<string, any>) => void): string {
  const options = structuredClone(minimal()) as Record<string, any>
  change(options)
  try {
    resolveOptions(options)
  } catch (error) {
    if (error instanceof KafkaToDeltaError && error.code === 'CONFIG_INVALID') return error.message
    throw error
  }
  throw new Error('was not refused')
}

test('the smallest options get every default', (t) => {
  const options = resolveOptions(minimal())
  t.deepEqual(options.trigger, { processingTime: 'adaptive', maxDelay: 0 })
  t.is(options.startingOffsets, 'earliest')
  t.true(options.failOnDataLoss)
  const { maxMemory, ...limits } = options.limits
  t.deepEqual(limits, { maxBatchMessages: 100_000, maxBatchBytes: 64 * 2 ** 20, maxQueueBytes: 192 * 2 ** 20 })
  t.true(maxMemory > 0 && maxMemory <= totalmem() / 2)
  t.is(resolveOptions({ ...minimal(), limits: { maxMemory: '1 GB' } }).limits.maxMemory, 2 ** 30)
  const [table] = options.tables
  t.like(table, {
    topic: 'postgres.public.orders',
    uri: resolve('/lake/orders'),
    name: null,
    primaryKey: null,
    deletedColName: '__deleted',
    lsnColName: null,
    mergeMode: 'auto',
    schemaEvolution: 'add',
    orderGuard: 'auto',
    onMissingValue: 'null',
    onBadRecord: 'fail',
    compression: 'snappy',
    targetFileSize: 128 * 2 ** 20,
    maxRewriteBytes: 10 * 2 ** 30,
    rememberedKeys: 1_000_000,
  })
})

test('a table overrides the query, and adds to its properties', (t) => {
  const options = resolveOptions({
    ...minimal(),
    onBadRecord: 'skip',
    targetFileSize: '64 MB',
    storageOptions: { region: 'eu', endpoint: 'a' },
    tables: {
      a: { path: '/a', schema: 'shop', tableName: 'a', onBadRecord: 'fail', storageOptions: { endpoint: 'b' } },
      b: {
        path: 's3://lake/b/',
        tableName: 'b',
        primaryKey: 'x, y',
        columns: { n: { decimal: 'decimal(18, 4)' as const } },
      },
    },
  })
  const [a, b] = options.tables
  t.like(a, { name: 'shop.a', onBadRecord: 'fail', targetFileSize: 64 * 2 ** 20 })
  t.deepEqual(a?.storageOptions, { region: 'eu', endpoint: 'b' })
  t.like(b, { name: 'b', uri: 's3://lake/b', onBadRecord: 'skip' })
  t.deepEqual(b?.primaryKey, ['x', 'y'])
  t.deepEqual(b?.columns, { n: { decimal: { precision: 18, scale: 4 } } })
})

test('a column may be stored as text, but not all of them, and not in two ways', (t) => {
  const columns = (options: object) => ({ ...minimal(), tables: { a: { path: '/a', columns: { price: options } } } })
  const [table] = resolveOptions(columns({ type: 'string', outOfRange: 'null' })).tables
  t.deepEqual(table?.columns, { price: { type: 'string', outOfRange: 'null' } })
  t.throws(() => resolveOptions(columns({ type: 'text' })), { code: 'CONFIG_INVALID', message: /expected "string"/ })
  t.throws(() => resolveOptions(columns({ type: 'string', decimal: 'double' })), {
    code: 'CONFIG_INVALID',
    message: /price.*type "string" decides already/s,
  })
  t.throws(() => resolveOptions({ ...minimal(), columnDefaults: { type: 'string' } }), { code: 'CONFIG_INVALID' })
})

test('compaction has defaults, is set for the query and for a table, and can be left out', (t) => {
  const maintenanceOf = (query: object, table: object) =>
    resolveOptions({ ...minimal(), ...query, tables: { t: { path: '/t', ...table } } } as any).tables[0]?.maintenance
  const defaults = { minFiles: 8, maxBytes: 2 ** 30, deletedShare: 0.3, maxLag: 1_000_000 }
  t.deepEqual(maintenanceOf({}, {}), defaults)
  t.deepEqual(maintenanceOf({ maintenance: { minFiles: 4, maxBytes: '2 GB' } }, { maintenance: { minFiles: 5 } }), {
    ...defaults,
    minFiles: 5,
    maxBytes: 2 * 2 ** 30,
  })
  t.is(maintenanceOf({ maintenance: false }, {}), null)
  t.is(maintenanceOf({}, { maintenance: 'false' }), null)
  t.deepEqual(maintenanceOf({ maintenance: false }, { maintenance: true }), defaults)
  for (const maintenance of [{ minFiles: 1 }, { deletedShare: 0 }, { deletedShare: 1.1 }, { maxBytes: 'much' }]) {
    t.throws(() => maintenanceOf({}, { maintenance }), { instanceOf: OptionsError })
  }
})

test('numbers and truth values may come as text, as from the environment', (t) => {
  const options = resolveOptions({
    ...minimal(),
    failOnDataLoss: 'false',
    limits: { maxBatchMessages: '1000', maxBatchBytes: '1 MiB' },
    kafka: { brokers: 'a:1, b:2' },
    trigger: { availableNow: 'true' },
  })
  t.false(options.failOnDataLoss)
  t.is(options.limits.maxBatchMessages, 1000)
  t.is(options.limits.maxBatchBytes, 2 ** 20)
  t.deepEqual(options.kafka, { brokers: ['a:1', 'b:2'] } as never)
  t.deepEqual(options.trigger, { availableNow: true })
})

test('a Kafka instance is taken as it is', (t) => {
  const kafka = new Kafka({ brokers: ['localhost:9092'] })
  t.is(resolveOptions({ ...minimal(), kafka }).kafka, kafka)
})

test('starting offsets in all their forms', (t) => {
  const read = (startingOffsets: StreamOptions['startingOffsets']) =>
    resolveOptions({ ...minimal(), startingOffsets }).startingOffsets
  t.is(read('latest'), 'latest')
  t.deepEqual(read(1_700_000_000_000), { timestamp: 1_700_000_000_000 })
  t.deepEqual(read('2026-01-01T00:00:00Z'), { timestamp: Date.UTC(2026, 0, 1) })
  t.deepEqual(read(new Date(5)), { timestamp: 5 })
  t.deepEqual(read({ 'postgres.public.orders': { 0: -2, 1: '9007199254740993' } }), {
    offsets: new Map([
      [
        'postgres.public.orders',
        new Map([
          [0, -2n],
          [1, 9007199254740993n],
        ]),
      ],
    ]),
  })
  t.regex(
    refusal((o) => (o.startingOffsets = 'soon')),
    /startingOffsets: expected "earliest".*got "soon"/,
  )
  t.regex(
    refusal((o) => (o.startingOffsets = { t: { x: 1 } })),
    /startingOffsets: expected/,
  )
})

test('triggers', (t) => {
  const read = (trigger: StreamOptions['trigger']) => resolveOptions({ ...minimal(), trigger }).trigger
  t.deepEqual(read({ processingTime: '2 minutes' }), { processingTime: 120_000, maxDelay: 0 })
  t.deepEqual(read({ processingTime: 0 }), { processingTime: 0, maxDelay: 0 })
  t.deepEqual(read({ processingTime: 'adaptive' }), { processingTime: 'adaptive', maxDelay: 0 })
  t.deepEqual(read({ maxDelay: '1 minute' }), { processingTime: 'adaptive', maxDelay: 60_000 })
  t.deepEqual(read({ availableNow: true }), { availableNow: true })
  t.regex(
    refusal((o) => (o.trigger = { processingTime: 'often' })),
    /^trigger\.processingTime: expected a duration .*, got "often"$/,
  )
  t.regex(
    refusal((o) => (o.trigger = { processingTime: '1 s', availableNow: true })),
    /^trigger: expected/,
  )
  t.regex(
    refusal((o) => (o.trigger = {})),
    /^trigger: expected/,
  )
})

test('a table has its own pace, and takes what it does not say from the query', (t) => {
  const of = (trigger: StreamOptions['trigger'], own: TableOptions['trigger']) => {
    const options = minimal()
    const [[topic, table]] = Object.entries(options.tables) as [[string, TableOptions]]
    return resolveOptions({ ...options, trigger, tables: { [topic]: { ...table, trigger: own } } }).tables[0]?.trigger
  }
  t.deepEqual(of({ processingTime: '5 s', maxDelay: '1 min' }, undefined), { processingTime: 5000, maxDelay: 60_000 })
  t.deepEqual(of({ processingTime: '5 s' }, { maxDelay: '1 min' }), { processingTime: 5000, maxDelay: 60_000 })
  t.deepEqual(of({ maxDelay: '1 min' }, { maxDelay: 0 }), { processingTime: 'adaptive', maxDelay: 0 })
  t.deepEqual(of({ availableNow: true }, { maxDelay: '1 min' }), { availableNow: true })
  t.throws(() => of(undefined, { availableNow: true } as never), { message: /trigger\.availableNow: unknown option/ })
  t.throws(() => of(undefined, {}), { message: /trigger: expected/ })
})

test('unknown options are refused with what was meant', (t) => {
  t.is(
    refusal((o) => (o.tabels = {})),
    'tabels: unknown option, did you mean "tables"?',
  )
  t.is(
    refusal((o) => (o.kafka.broker = [])),
    'kafka.broker: unknown option, did you mean "brokers"?',
  )
  t.is(
    refusal((o) => (o.tables['postgres.public.orders'].partition_cols = [])),
    'tables["postgres.public.orders"].partition_cols: unknown option, did you mean "partitionCols"?',
  )
  t.regex(
    refusal((o) => (o.limits = { zzz: 1 })),
    /limits\.zzz: unknown option; known are maxBatchMessages, /,
  )
})

test('what many workers cannot do together', (t) => {
  const many = (given: object) => refusal((o) => Object.assign(o, { workers: 'many' }, given))
  t.regex(many({ trigger: { availableNow: true } }), /^trigger: \{availableNow: true\} has an end/)
  t.regex(many({ startingOffsets: 'latest' }), /^startingOffsets: "latest" is another offset for each worker/)
  t.is(resolveOptions({ ...minimal(), workers: 'many' }).workers, 'many')
  t.is(resolveOptions(minimal()).workers, 'single')
})

test("a Spark job's checkpoint", (t) => {
  const read = (sparkCheckpoint: unknown) =>
    resolveOptions(
      { ...minimal(), storageOptions: { region: 'eu' }, startingOffsets: { sparkCheckpoint } as never },
      '/base',
    ).startingOffsets
  const storageOptions = { region: 'eu' }
  t.deepEqual(read('s3a://lake/checkpoints/shop/'), { sparkCheckpoint: 's3://lake/checkpoints/shop', storageOptions })
  t.deepEqual(read('checkpoint'), { sparkCheckpoint: '/base/checkpoint', storageOptions })
  t.throws(() => read(''), { code: 'CONFIG_INVALID' })
  t.throws(() => read(1), { code: 'CONFIG_INVALID' })
})

test('missing and wrong values are named with their place', (t) => {
  t.regex(
    refusal((o) => delete o.queryName),
    /^queryName: must be given/,
  )
  t.regex(
    refusal((o) => (o.queryName = 'a:b')),
    /^queryName: .*no colon/,
  )
  t.regex(
    refusal((o) => delete o.kafka),
    /^kafka: must be given/,
  )
  t.regex(
    refusal((o) => delete o.kafka.brokers),
    /^kafka\.brokers: must be given: expected a list of host:port/,
  )
  t.regex(
    refusal((o) => (o.kafka.brokers = ['localhost'])),
    /^kafka\.brokers: expected a list of host:port/,
  )
  t.regex(
    refusal((o) => (o.tables = {})),
    /^tables: name at least one topic/,
  )
  t.regex(
    refusal((o) => (o.tables = { 'a b': { path: '/x' } })),
    /^tables\["a b"\]: is no topic name/,
  )
  t.regex(
    refusal((o) => (o.tables.x = {})),
    /^tables\.x\.path: must be given/,
  )
  t.regex(
    refusal((o) => (o.mergeMode = 'fast')),
    /^mergeMode: expected "auto" or "merge-on-read" or "copy-on-write", got "fast"/,
  )
  t.regex(
    refusal((o) => (o.tables.x = { path: '/x', additionalCols: ['YEAR(a)'] })),
    /additionalCols\[0\]: expected "expression AS name"/,
  )
  t.regex(
    refusal((o) => (o.schemaRegistry = {})),
    /^schemaRegistry: give either url or urls/,
  )
  t.regex(
    refusal((o) => (o.schemaRegistry.url = 'localhost:8081')),
    /^schemaRegistry\.url: expected an http or https URL/,
  )
  t.regex(
    refusal((o) => (o.schemaRegistry.auth = { username: 'x' })),
    /^schemaRegistry\.auth\.password: must be given with this login/,
  )
  t.regex(
    refusal((o) => (o.targetFileSize = 'big')),
    /^targetFileSize: expected a size/,
  )
})

test('several problems are told at once', (t) => {
  const message = refusal((o) => {
    o.mergeMode = 'fast'
    o.nonsense = 1
  })
  t.regex(message, /mergeMode/)
  t.regex(message, /nonsense/)
})

test('secrets of a wrong configuration do not appear', (t) => {
  const message = refusal((o) => {
    o.schemaRegistry.auth = { username: 'u', password: 12345678 }
    o.kafka.sasl = 'hunter2hunter2'
  })
  t.notRegex(message, /12345678|hunter2/)
})

test('two topics with one path are refused', (t) => {
  const message = refusal((o) => (o.tables = { a: { path: 'x/y' }, b: { path: './x/../x/y/' } }))
  t.regex(message, /^tables\.b\.path: topic "a" is written to .* too/)
})

test('topics that share a path say so, and agree on what the table has once', (t) => {
  const shared = (more: object = {}) => ({ path: 'x', shared: true, ...more })
  const { tables } = resolveOptions({ ...minimal(), tables: { a: shared(), b: shared() } })
  t.deepEqual(
    tables.map((table) => table.shared),
    [true, true],
  )
  t.regex(
    refusal((o) => (o.tables = { a: shared(), b: { path: 'x' } })),
    /^tables\.b\.path: .*shared: true/,
  )
  for (const more of [{ partitionCols: 'p' }, { deletes: 'soft' }]) {
    const message = refusal((o) => (o.tables = { a: shared(), b: shared(more) }))
    t.true(message.startsWith(`tables.b.${Object.keys(more)[0]}: is not what topic "a" has`), message)
  }
})

test('paths become absolute, URLs stay', (t) => {
  t.is(tableUri('lake/a', '/base'), resolve('/base/lake/a'))
  t.is(tableUri('s3://b/k/'), 's3://b/k')
  t.is(tableUri('file:///tmp/a%20b'), '/tmp/a b')
})

test('resources/kafka2delta.schema.json is up to date (npx tsx scripts/json-schema.ts)', (t) => {
  const file = new URL('../../resources/kafka2delta.schema.json', import.meta.url)
  t.is(readFileSync(file, 'utf8'), configJsonSchemaText())
})

test('the JSON Schema knows what must be given, and nothing that only the API can give', (t) => {
  const schema = configJsonSchema() as any
  t.deepEqual(schema.required.sort(), ['kafka', 'queryName', 'schemaRegistry', 'tables'])
  t.deepEqual(schema.properties.kafka.required, ['brokers'])
  t.deepEqual(schema.properties.tables.additionalProperties.required, ['path'])
  t.false('socketFactory' in schema.properties.kafka.properties)
  t.false(schema.additionalProperties)
})
