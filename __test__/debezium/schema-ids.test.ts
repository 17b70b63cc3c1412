import test from 'ava'
import { collectDeadLetters } from '../../src/dead-letter/dead-letter.js'
import { TableDecoder } from '../../src/debezium/decoder.js'
import { KeyUpdates } from '../../src/debezium/key-updates.js'
import { EmbeddedRegistry } from '../../src/demo/registry.js'
import { inColumns, type RawMessage } from '../../src/kafka/micro-batch.js'
import { RegistrySchemaSource } from '../../src/registry/registry.js'
import { avscType, batchOf, confluent, decodeWith, messageOf } from './support.js'

const KEY = { type: 'record', name: 'Key', fields: [{ name: 'id', type: 'int' }] }
const VALUE = {
  type: 'record',
  name: 'Value',
  fields: [
    { name: 'id', type: 'int' },
    { name: 'name', type: ['null', 'string'] },
  ],
}

/** As Confluent's `SchemaId`: a byte 1 and the GUID. */
function guidBytes(schema: object): Buffer {
  const guid = EmbeddedRegistry.guidOf(JSON.stringify(schema))
  return Buffer.concat([Buffer.from([1]), Buffer.from(guid.replaceAll('-', ''), 'hex')])
}

const key = (id: number) => avscType(KEY).toBuffer({ id })
const value = (id: number, name: string) => avscType(VALUE).toBuffer({ id, name })
const HEADERS = { __key_schema_id: guidBytes(KEY), __value_schema_id: guidBytes(VALUE) }

async function setUp(t: { teardown(fn: () => unknown): void }) {
  const registry = await EmbeddedRegistry.start()
  registry.setSchema(0, KEY)
  registry.setSchema(7, VALUE)
  const source = new RegistrySchemaSource({ url: registry.url, unknownSchemaTimeout: 0, firstDelay: 1 })
  t.teardown(async () => {
    source.close()
    await registry.close()
  })
  return { registry, source }
}

test('schemas may be named by GUIDs in headers, by GUIDs before the payload, and by the id 0', async (t) => {
  const { registry, source } = await setUp(t)
  registry.failWith(503, 'busy', 1)
  const decoder = new TableDecoder({ topic: 't' }, source)
  const id = (number: number) => Buffer.concat([Buffer.from([0]), Buffer.from([0, 0, 0, number])])
  const messages = [
    { key: key(1), value: value(1, 'headers'), headers: HEADERS },
    {
      key: Buffer.concat([guidBytes(KEY), key(2)]),
      value: Buffer.concat([guidBytes(VALUE), value(2, 'prefix')]),
    },
    { key: confluent(0, key(3)), value: confluent(7, value(3, 'id 0')) },
    {
      key: key(4),
      value: value(4, 'ids in headers'),
      headers: { __key_schema_id: id(0), __value_schema_id: id(7) },
    },
    { key: key(5), value: null, headers: { __key_schema_id: guidBytes(KEY) } },
  ]
  const { rows } = await decodeWith(decoder, batchOf('t', messages))
  t.deepEqual(
    rows.map(({ id, name }) => [id, name]),
    [
      [1, 'headers'],
      [2, 'prefix'],
      [3, 'id 0'],
      [4, 'ids in headers'],
      [5, null],
    ],
  )
  // Each GUID and id is asked for once, and once more after the failure.
  t.is(registry.requests, 5)
  await decodeWith(decoder, batchOf('t', messages))
  t.is(registry.requests, 5)
})

test('unknown GUIDs, broken headers and Apicurio’s headers are bad records that say what to do', async (t) => {
  const { source } = await setUp(t)
  const decoder = new TableDecoder({ topic: 't', onBadRecord: 'collect' }, source)
  const other = guidBytes({ type: 'string', doc: 'not registered' })
  const batch = batchOf('t', [
    { key: key(1), value: value(1, 'a'), headers: { ...HEADERS, __value_schema_id: other } },
    { key: key(1), value: value(1, 'a'), headers: { ...HEADERS, __value_schema_id: Buffer.from([1, 2]) } },
    { key: confluent(0, key(1)), value: value(1, 'a'), headers: { 'apicurio.value.globalId': Buffer.alloc(8) } },
    { key: confluent(0, key(1)), value: confluent(9, value(1, 'a')) },
    { key: key(2), value: value(2, 'good'), headers: HEADERS },
  ])
  const { batch: result, rows } = await decodeWith(decoder, batch)
  t.is(rows.length, 1)
  const reasons = result.badRecords.map(({ reason }) => reason)
  t.regex(reasons[0] as string, /unknown schema id [0-9a-f]{8}-[0-9a-f]{4}-/)
  t.regex(reasons[1] as string, /header __value_schema_id holds no schema id/)
  t.regex(reasons[2] as string, /apicurio\.registry\.headers\.enabled=false/)
  t.regex(reasons[3] as string, /unknown schema id 9/)
  const letters = collectDeadLetters(inColumns(batch), result.badRecords, 'q')
  t.deepEqual(
    letters.map(({ keySchemaId, valueSchemaId }) => [keySchemaId, valueSchemaId]),
    [
      [null, null],
      [null, null],
      [0, null],
      [0, 9],
    ],
  )
  t.deepEqual(letters[0]?.headers.find(({ name }) => name === '__value_schema_id')?.value, other)
})

test('a registry without GUIDs is named as such', async (t) => {
  const { registry, source } = await setUp(t)
  registry.failWith(404, { error_code: 404, message: 'HTTP 404 Not Found' })
  const decoder = new TableDecoder({ topic: 't' }, source)
  await t.throwsAsync(decoder.decode(batchOf('t', [{ key: key(1), value: value(1, 'a'), headers: HEADERS }])), {
    message: /does not look up schemas by GUID/,
  })
})

test('both halves of a key update are a pair where the key’s schema is named in a header', async (t) => {
  const { source } = await setUp(t)
  const { pairMemberOf } = new KeyUpdates(source)
  const half = (parts: Pick<RawMessage, 'key' | 'headers'>) =>
    pairMemberOf(messageOf({ offset: '0', timestamp: '0', value: null, ...parts }))
  const own = { __key_schema_id: guidBytes(KEY) }
  const before = { key: key(1), headers: { ...own, '__debezium.newkey': Buffer.from('{"id":2}') } }
  const after = { key: key(2), headers: { ...own, '__debezium.oldkey': Buffer.from('{"id":1}') } }
  half(before)
  await source.get((await import('../../src/avro/wire.js')).schemaIdOf(guidBytes(KEY)))
  await new Promise((resolve) => setImmediate(resolve))
  const pair = half(before)?.pair()
  t.truthy(pair)
  t.is(half(after)?.pair(), pair)
})
