/** Metadata columns, soft deletes, and the connector's own topics. */

import test from 'ava'
import { isDelete, Op } from '../../src/debezium/change-batch.js'
import { TableDecoder } from '../../src/debezium/decoder.js'
import type { DecodeOptions } from '../../src/debezium/options.js'
import { KafkaToDeltaError } from '../../src/errors.js'
import type { TestMessage } from './support.js'
import { batchOf, decodeAll, decodeWith, encode, fixtureMessages, fixtureSchemas, schemaSource } from './support.js'

type Row = Record<string, unknown>
type Field = [string, unknown]

const record = (name: string, fields: Field[], extra: object = {}) => ({
  type: 'record',
  name,
  fields: fields.map(([field, type]) => ({ name: field, type })),
  ...extra,
})
const optional = (type: unknown) => ['null', type]
const KEY = record('Key', [['id', 'int']])
const VALUE = record('Value', [
  ['id', 'int'],
  ['__v', optional('string')],
  ['v', optional('string')],
  ['__deleted', optional('string')],
  ['__op', optional('string')],
  ['__source_lsn', optional('long')],
])
const SCHEMAS = { 1: KEY, 2: VALUE }
const ALL = ['kafka.topic', 'kafka.partition', 'kafka.offset', 'kafka.timestamp', 'operation']

const key = (id: number) => encode(1, KEY, { id })
const value = (id: number, v: string | null, deleted = 'false', op: string | null = 'u') =>
  encode(2, VALUE, { id, __v: v, v, __deleted: deleted, __op: op, __source_lsn: BigInt(id) })
const at = (offset: number, partition = 0): TestMessage => ({
  offset: String(2n ** 53n + BigInt(offset)),
  timestamp: String(1_700_000_000_000 + offset),
  partition,
})

const decode = (messages: TestMessage[], options: Partial<DecodeOptions>, schemas: Record<number, unknown> = SCHEMAS) =>
  decodeAll({ topic: 't', ...options }, schemas, messages)

/** Names of the columns that a row leaves as they are stored. */
const leftOut = (row: Row | undefined) =>
  Object.entries((row?._left_out ?? {}) as Record<string, boolean>)
    .filter(([, left]) => left)
    .map(([name]) => name)

async function rejected(promise: Promise<unknown>): Promise<KafkaToDeltaError> {
  const error = await promise.then(
    () => null,
    (thrown: unknown) => thrown,
  )
  if (error instanceof KafkaToDeltaError) return error
  throw error ?? new Error('it was not rejected')
}

test('where a message lay, and what it did', async (t) => {
  const { rows, decoder } = await decode(
    [
      { ...at(1), key: key(1), value: value(1, 'a', 'false', 'r') },
      { ...at(2), key: key(2), value: value(2, 'b', 'false', null), timestamp: '-1' },
      { ...at(3), key: key(1), value: value(1, 'a', 'true', 'd') },
      { ...at(4), key: key(1), value: null },
      { ...at(0, 7), key: key(3), value: value(3, 'c', 'false', 'x') },
    ],
    { metadataColumns: ALL },
  )
  const metadata = rows.map((row) =>
    Object.fromEntries(Object.entries(row).filter(([name]) => /__kafka|operation/.test(name))),
  )
  const micros = (offset: number) => (1_700_000_000_000n + BigInt(offset)) * 1000n
  const none = {
    __kafka_topic: null,
    __kafka_partition: null,
    __kafka_offset: null,
    __kafka_timestamp: null,
    __operation: null,
  }
  const of = (partition: number, offset: number) => ({
    __kafka_topic: 't',
    __kafka_partition: partition,
    __kafka_offset: 2n ** 53n + BigInt(offset),
    __kafka_timestamp: micros(offset),
  })
  // The other partition's message is older.
  t.deepEqual(metadata, [
    { ...of(7, 0), __operation: null },
    { ...of(0, 1), __operation: 'r' },
    { ...of(0, 2), __kafka_timestamp: null, __operation: null },
    none,
    none,
  ])
  const types = Object.fromEntries(decoder.describe()?.columns.map((c) => [c.name, c.deltaType]) ?? [])
  t.like(types, {
    __kafka_topic: 'string',
    __kafka_partition: 'integer',
    __kafka_offset: 'long',
    __kafka_timestamp: 'timestamp',
    __operation: 'string',
  })
})

test('other names, by the entry or by renameColumns', async (t) => {
  const { rows } = await decode([{ ...at(1), key: key(1), value: value(1, 'a') }], {
    metadataColumns: ['kafka.offset:position', 'kafka.topic'],
    renameColumns: { __kafka_topic: 'topic' },
    includeColumns: ['v'],
  })
  t.deepEqual(rows, [{ id: 1, v: 'a', __position: 2n ** 53n + 1n, topic: 't', _op: Op.upsert }])
})

test('names that collide are refused with a remedy', async (t) => {
  const messages = [{ ...at(1), key: key(1), value: value(1, 'a') }]
  const field = await rejected(decode(messages, { metadataColumns: ['kafka.offset:op'] }))
  t.is(field.code, 'SCHEMA_UNSUPPORTED')
  t.regex(field.message, /__op.*the field __op.*kafka\.offset.*path:name/)
  const excluded = await decode(messages, { metadataColumns: ['kafka.offset:op'], excludeColumns: ['__op'] })
  t.is(excluded.rows[0]?.__op, 2n ** 53n + 1n)
  const twice = await rejected(decode(messages, { metadataColumns: ['kafka.offset:x', 'kafka.topic:X'] }))
  t.is(twice.code, 'CONFIG_INVALID')
  const unknown = await rejected(decode(messages, { metadataColumns: ['kafka.ofset'] }))
  t.regex(unknown.message, /kafka\.ofset.*kafka\.offset/)
  const flag = await rejected(decode(messages, { deletes: 'soft', softDeleteColName: 'v' }))
  t.regex(flag.message, /the column v would hold both the field v/)
  const renamed = await rejected(decode(messages, { renameColumns: { v: 'w', __v: 'w' } }))
  t.regex(renamed.message, /the column w would hold both the field __v and the field v/)
  const byCase = await rejected(decode(messages, { metadataColumns: ['kafka.offset:OP'] }))
  t.regex(byCase.message, /__op \(schema 2\) and __OP \(of the options\) differ only in case/)
})

test('a collision is found too where tombstones came first', async (t) => {
  const decoder = new TableDecoder({ topic: 't', deletes: 'soft', softDeleteColName: 'v' }, schemaSource(SCHEMAS))
  const { rows } = await decodeWith(decoder, batchOf('t', [{ key: key(1), value: null }]))
  t.deepEqual(rows, [{ id: 1, v: true, _op: Op.softDelete }])
  const error = await rejected(decoder.decode(batchOf('t', [{ key: key(1), value: value(1, 'a') }])))
  t.regex(error.message, /the column v would hold both/)
})

test('a flattened delete keeps the row: what it knows is stored, all else is left out', async (t) => {
  const newKey = { '__debezium.newkey': Buffer.from('{"id":9}') }
  const { rows } = await decode(
    [
      { ...at(1), key: key(1), value: value(1, 'a', 'false', 'c') },
      { ...at(2), key: key(1), value: value(1, 'made up', 'true', 'd') },
      { ...at(3), key: key(1), value: null },
      { ...at(4), key: key(2), value: value(2, 'made up', 'true', 'd'), headers: newKey },
      { ...at(5), key: key(2), value: null, headers: newKey },
    ],
    { deletes: 'soft', metadataColumns: ['kafka.offset', 'operation'] },
  )
  const offset = (n: number) => 2n ** 53n + BigInt(n)
  const known = (id: number, deleted: boolean, op: string | null, n: number) => ({
    id,
    __op: op,
    __source_lsn: op === null ? null : BigInt(id),
    __deleted: deleted,
    __kafka_offset: offset(n),
    __operation: deleted ? 'd' : op,
  })
  t.deepEqual(
    rows.map(({ _left_out, _old_key, ...row }) => row),
    [
      { ...known(1, false, 'c', 1), __v: 'a', v: 'a', _op: Op.upsert },
      { ...known(1, true, 'd', 2), __v: null, v: null, _op: Op.softDelete },
      { ...known(1, true, null, 3), __v: null, v: null, _op: Op.softDelete },
      { ...known(2, true, 'd', 4), __v: null, v: null, _op: Op.softMoved },
      { ...known(2, true, null, 5), __v: null, v: null, _op: Op.softMoved },
    ],
  )
  t.deepEqual(
    rows.map((row) => row._old_key),
    // A tombstone behind its delete is no update of its own.
    [null, null, null, { id: 9 }, null],
  )
  t.deepEqual(rows.map(leftOut), [
    [],
    ['__v', 'v'],
    ['__v', 'v', '__op', '__source_lsn'],
    ['__v', 'v'],
    ['__v', 'v', '__op', '__source_lsn'],
  ])
})

test('a soft delete whose made-up values cannot be stored, and columns of other schemas', async (t) => {
  const wider = record('Value', [
    ['id', 'int'],
    ['d', { type: 'int', 'connect.name': 'io.debezium.time.Date' }],
    ['__deleted', 'boolean'],
    ['__op', 'string'],
  ])
  const schemas = { ...SCHEMAS, 3: wider }
  const gone = { key: key(2), value: encode(3, wider, { id: 2, d: -2147472692, __deleted: true, __op: 'd' }) }
  const { rows } = await decode([{ key: key(1), value: value(1, 'a') }, gone], { deletes: 'soft' }, schemas)
  t.like(rows[1], { id: 2, d: null, v: null, __op: 'd', __source_lsn: null, __deleted: true, _op: Op.softDelete })
  t.deepEqual(leftOut(rows[1]).sort(), ['__source_lsn', '__v', 'd', 'v'])
  t.deepEqual(leftOut(rows[0]), [])
})

test('soft deletes of envelopes: metadata columns are known, the row before is not used', async (t) => {
  const schemas = fixtureSchemas('hard-env')
  const messages = fixtureMessages('hard-env', 'henv.public.pkt')
  const { rows } = await decodeAll(
    {
      topic: 't',
      deletes: 'soft',
      softDeleteColName: 'gone',
      metadataColumns: ['op', 'source.lsn', 'kafka.partition'],
    },
    schemas,
    messages,
  )
  t.true(rows.some((row) => row._op === Op.softMoved))
  t.true(rows.some((row) => row._op === Op.softDelete))
  for (const row of rows) {
    const deleted = isDelete(row._op as number)
    if (row._op === Op.truncate) {
      t.deepEqual([row.gone, row.__op, row.__kafka_partition, leftOut(row)], [null, null, null, []])
      continue
    }
    t.is(row.gone, deleted)
    t.is(typeof row.__kafka_partition, 'number')
    if (!deleted) continue
    const tombstone = row.__op === null
    t.is(row.__op, tombstone ? null : 'd')
    t.deepEqual(leftOut(row), tombstone ? ['big', 'n', '__op', '__source_lsn'] : ['big', 'n'])
  }
})

test('ignored deletes: truncates too', async (t) => {
  const schemas = fixtureSchemas('hard-env')
  const messages = fixtureMessages('hard-env', 'henv.public.openx')
  const { rows, batch } = await decodeAll({ topic: 't', deletes: 'ignore' }, schemas, messages)
  t.deepEqual([...new Set(rows.map((row) => row._op))], [Op.upsert])
  t.is(batch.numIgnored + rows.length, messages.length)
})

test('a truncate of a table that topics share is a bad record', async (t) => {
  const schemas = fixtureSchemas('hard-env')
  const messages = fixtureMessages('hard-env', 'henv.public.openx')
  const { rows, batch } = await decodeAll({ topic: 't', shared: true, onBadRecord: 'skip' }, schemas, messages)
  t.is(batch.badRecords.length, 1)
  t.regex(batch.badRecords[0]?.reason ?? '', /truncate.*shared: true/)
  t.false(rows.some((row) => row._op === Op.truncate))
})

test('the DDL topic is ignored, with one note', async (t) => {
  const decoder = new TableDecoder({ topic: 'myenv' }, schemaSource(fixtureSchemas('mariadb-envelope')))
  const messages = fixtureMessages('mariadb-envelope', 'myenv')
  const first = await decoder.decode(batchOf('myenv', messages))
  t.is(first.ipc, null)
  t.is(first.numIgnored, messages.length)
  t.deepEqual(first.notes, ['myenv holds changes of the schema (DDL), which change no row: they are ignored'])
  t.deepEqual((await decoder.decode(batchOf('myenv', messages))).notes, [])
})

test('heartbeats, transaction markers, logical messages, notifications, beside rows', async (t) => {
  const own = (namespace: string, name: string, fields: Field[]) => record(`${namespace}.${name}`, fields)
  const common = 'io.debezium.connector.common'
  const pairs = [
    [own(common, 'ServerNameKey', [['serverName', 'string']]), own(common, 'Heartbeat', [['ts_ms', 'long']])],
    [
      own(common, 'TransactionMetadataKey', [['id', 'string']]),
      own(common, 'TransactionMetadataValue', [['id', 'string']]),
    ],
    [own('io.debezium.connector.postgresql', 'MessageKey', [['prefix', 'string']]), null],
    [null, own('io.debezium.connector.oracle', 'SchemaChangeValue', [['ddl', 'string']])],
    [null, own(common, 'NotificationValue', [['id', 'string']])],
  ] as const
  const schemas: Record<number, unknown> = { ...SCHEMAS }
  const fill = (schema: { fields: { name: string; type: unknown }[] }) =>
    Object.fromEntries(schema.fields.map(({ name, type }) => [name, type === 'long' ? 1n : 'x']))
  const messages = pairs.map(([k, v], i): TestMessage => {
    const part = (schema: typeof k | typeof v, id: number) => {
      if (schema === null) return null
      schemas[id] = schema
      return encode(id, schema, fill(schema))
    }
    return { key: part(k, 10 + 2 * i), value: part(v, 11 + 2 * i) }
  })
  const { rows, batch } = await decode([...messages, { key: key(1), value: value(1, 'a') }], {}, schemas)
  t.is(rows.length, 1)
  t.is(batch.numIgnored, pairs.length)
  t.is(batch.notes?.length, pairs.length)
})

test('names in the options that no field has are said once', async (t) => {
  const { batch } = await decode([{ key: key(1), value: value(1, 'a') }], {
    excludeColumns: ['secert'],
    metadataColumns: ['source.ts_ms'],
  })
  t.deepEqual(batch.notes, [
    "t: metadataColumns names source.ts_ms, but the values are flattened: name them in the connector's add.fields",
    't: excludeColumns names "secert", which no field of its messages has so far',
  ])
})
