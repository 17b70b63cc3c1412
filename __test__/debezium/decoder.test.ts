import test from 'ava'
import { Op } from '../../src/debezium/change-batch.js'
import { TableDecoder } from '../../src/debezium/decoder.js'
import type { DecodeOptions } from '../../src/debezium/options.js'
import { KafkaToDeltaError } from '../../src/errors.js'
import { batchOf, confluent, decodeAll, decodeWith, encode, schemaSource, type TestMessage } from './support.js'

type Field = [string, unknown]

const record = (name: string, fields: Field[]) => ({
  type: 'record',
  name,
  fields: fields.map(([field, type]) => ({ name: field, type })),
})
const optional = (type: unknown) => ['null', type]

const KEY = record('Key', [['id', 'int']])
const VALUE = record('Value', [
  ['id', 'int'],
  ['v', optional('string')],
  ['__deleted', optional('string')],
])
const SCHEMAS = { 1: KEY, 2: VALUE }

const key = (id: number) => encode(1, KEY, { id })
const value = (id: number, v: string | null, deleted = 'false') => encode(2, VALUE, { id, v, __deleted: deleted })
const upsert = (id: number, v: string | null): TestMessage => ({ key: key(id), value: value(id, v) })

function decode(
  messages: TestMessage[],
  options: Partial<DecodeOptions> = {},
  schemas: Record<number, unknown> = SCHEMAS,
) {
  return decodeAll({ topic: 't', ...options }, schemas, messages)
}

async function rejected(promise: Promise<unknown>): Promise<KafkaToDeltaError> {
  try {
    await promise
  } catch (error) {
    if (error instanceof KafkaToDeltaError) return error
    throw error
  }
  throw new Error('it was not rejected')
}

test('columns with names of Debezium’s are columns of the table where others stand between them and the flag of deletes', async (t) => {
  const names = ['__op', '__source_snapshot', '__source_sequence', '__source_connector']
  const own: Field[] = names.map((name) => [name, 'string'])
  const flag: Field = ['__deleted', optional('string')]
  const name: Field = ['name', optional('string')]
  const given = {
    __op: 'd',
    __source_snapshot: 'false',
    __source_sequence: '["5","6"]',
    __source_connector: 'postgresql',
  }
  for (const [fields, op, hasSequence] of [
    [[...own, name, flag], Op.upsert, false],
    [[flag, name, ...own], Op.upsert, false],
    // As Debezium writes them since version 2, and as it did before; transforms may add further fields.
    [[name, flag, ...own], Op.delete, true],
    [[...own, flag, name], Op.delete, true],
  ] as const) {
    const schemas = { 1: KEY, 2: record('Value', [['id', 'int'], ...fields]) }
    const row = { key: key(1), value: encode(2, schemas[2], { id: 1, name: null, ...given, __deleted: 'false' }) }
    const { rows } = await decodeAll({ topic: 't' }, schemas, [row], 2)
    t.is(rows[0]?._op, op)
    t.is(rows[0]?._seq != null, hasSequence)
    t.is(rows[0]?.__op, op === Op.upsert ? 'd' : null)
  }
})

test('upserts, deletes and tombstones', async (t) => {
  const { rows, batch, decoder } = await decode([
    upsert(1, 'one'),
    { key: key(2), value: value(2, 'made up', 'true') },
    { key: key(2), value: null },
    { key: null, value: null },
  ])
  t.deepEqual(rows, [
    { id: 1, v: 'one', _op: Op.upsert },
    { id: 2, v: null, _op: Op.delete },
    { id: 2, v: null, _op: Op.delete },
  ])
  t.is(batch.numIgnored, 1)
  t.deepEqual(decoder.describe(), {
    primaryKey: ['id'],
    columns: [
      { name: 'id', deltaType: 'integer', source: 'int' },
      { name: 'v', deltaType: 'string', source: 'null or string' },
    ],
  })
})

test('a bad record stops the batch with its position', async (t) => {
  const error = await rejected(
    decode([upsert(1, 'a'), { key: key(2), value: Buffer.from('{"id":2}'), offset: '17', partition: 0 }]),
  )
  t.is(error.code, 'BAD_RECORD')
  t.deepEqual(error.position, { topic: 't', partition: 0, offset: '17' })
  t.regex(error.message, /JSON.*value\.converter/)
})

test('bad records are skipped or collected, and their neighbours are whole', async (t) => {
  const cut = value(2, 'second').subarray(0, 9)
  const messages: TestMessage[] = [
    upsert(1, 'first'),
    { key: key(2), value: cut },
    { key: key(3), value: Buffer.concat([value(3, 'x'), Buffer.from([1])]) },
    { key: key(4), value: confluent(99, Buffer.from([2])) },
    { key: key(5), value: Buffer.from([0, 0, 0, 0, 0, 0, 0, 0, 2, 2]) },
    { key: key(6), value: Buffer.from([1, 2, 3]) },
    { key: Buffer.from('text'), value: value(7, 'x') },
    { key: null, value: value(8, 'x') },
    upsert(9, 'last'),
  ]
  const collected = await decode(messages, { onBadRecord: 'collect' })
  t.deepEqual(
    collected.rows.map((row) => [row.id, row.v]),
    [
      [1, 'first'],
      [9, 'last'],
    ],
  )
  const reasons = collected.batch.badRecords.map((bad) => bad.reason)
  t.regex(reasons[0] as string, /ends before/)
  t.regex(reasons[1] as string, /1 bytes are left over/)
  t.regex(reasons[2] as string, /unknown schema id 99/)
  t.regex(reasons[3] as string, /8-byte schema id.*as-confluent/)
  t.regex(reasons[4] as string, /first byte 0x01/)
  t.regex(reasons[5] as string, /key\.converter/)
  t.regex(reasons[6] as string, /no key.*primaryKey/)
  t.deepEqual(collected.batch.badRecords[0]?.value, cut)
  const skipped = await decode(messages, { onBadRecord: 'skip' })
  t.is(skipped.batch.badRecords.length, 7)
  t.is(skipped.batch.badRecords[0]?.value, null)
})

test('a text that is not UTF-8 is a bad record, also where the whole column would be', async (t) => {
  const broken = (id: number, bytes: number[]): TestMessage => ({
    key: key(id),
    value: confluent(2, Buffer.from([id * 2, 2, bytes.length * 2, ...bytes, 0])),
  })
  const { rows, batch } = await decode([upsert(1, 'é'), broken(2, [0xc3]), broken(3, [0xa9]), upsert(4, 'x')], {
    onBadRecord: 'collect',
  })
  t.deepEqual(
    rows.map((row) => row.v),
    ['é', 'x'],
  )
  t.deepEqual(
    batch.badRecords.map((bad) => bad.reason),
    ['column v: a text is not valid UTF-8', 'column v: a text is not valid UTF-8'],
  )
  const list = record('Value', [
    ['id', 'int'],
    ['tags', { type: 'array', items: 'string' }],
  ])
  const split = confluent(2, Buffer.from([2, 4, 2, 0xc3, 2, 0xa9, 0]))
  const inList = await decode([{ key: key(1), value: split }], { onBadRecord: 'skip' }, { 1: KEY, 2: list })
  t.is(inList.batch.ipc, null)
  t.is(inList.batch.badRecords.length, 1)
})

test('of a deleted row, values out of range do not matter', async (t) => {
  const schema = record('Value', [
    ['id', 'int'],
    ['d', { type: 'int', 'connect.name': 'io.debezium.time.Date' }],
    ['__deleted', optional('string')],
  ])
  const row = (deleted: string) => ({
    key: key(1),
    value: encode(2, schema, { id: 1, d: -2147472692, __deleted: deleted }),
  })
  const { rows } = await decode([row('true')], {}, { 1: KEY, 2: schema })
  t.deepEqual(rows, [{ id: 1, d: null, _op: Op.delete }])
  const error = await rejected(decode([row('false')], {}, { 1: KEY, 2: schema }))
  t.is(error.position.column, 'd')
  const clamped = await decode([row('false')], { columns: { d: { outOfRange: 'clamp' } } }, { 1: KEY, 2: schema })
  t.is(clamped.rows[0]?.d, 2932896, 'what Debezium makes of the date infinity')
})

test('schema ids that alternate are one batch with the union of the columns', async (t) => {
  const wider = record('Value', [
    ['id', 'long'],
    ['extra', optional('double')],
    ['v', optional('string')],
  ])
  const schemas = { ...SCHEMAS, 3: wider, 4: record('Key', [['id', 'long']]) }
  const decoder = new TableDecoder({ topic: 't' }, schemaSource(schemas))
  const later = {
    key: encode(4, schemas[4], { id: 2n ** 60n }),
    value: encode(3, wider, { id: 2n ** 60n, extra: 1.5, v: 'b' }),
  }
  const first = await decodeWith(decoder, batchOf('t', [upsert(1, 'a'), later, upsert(3, 'c')]))
  t.deepEqual(first.rows, [
    { id: 1n, v: 'a', extra: null, _op: 0 },
    { id: 2n ** 60n, v: 'b', extra: 1.5, _op: 0 },
    { id: 3n, v: 'c', extra: null, _op: 0 },
  ])
  const second = await decodeWith(decoder, batchOf('t', [upsert(4, 'd')]))
  t.deepEqual(second.rows, [{ id: 4n, v: 'd', extra: null, _op: 0 }])
})

test('types that no type holds stop the batch, and name everything', async (t) => {
  const other = record('Value', [
    ['id', 'int'],
    ['v', 'int'],
  ])
  const messages = [upsert(1, 'a'), { key: key(2), value: encode(3, other, { id: 2, v: 5 }) }]
  const error = await rejected(decode(messages, {}, { ...SCHEMAS, 3: other }))
  t.is(error.code, 'SCHEMA_INCOMPATIBLE')
  for (const word of ['t:', 'v', 'string', 'integer', 'schema 2', 'schema 3'])
    t.true(error.message.includes(word), word)
})

test('names that collide are refused with a remedy, and the remedy works', async (t) => {
  const names = record('Value', [
    ['id', 'int'],
    ['Name', 'int'],
    ['name', 'int'],
    ['_op', 'int'],
  ])
  const messages = [{ key: key(1), value: encode(2, names, { id: 1, Name: 2, name: 3, _op: 4 }) }]
  const schemas = { 1: KEY, 2: names }
  const byCase = await rejected(decode(messages, {}, schemas))
  t.is(byCase.code, 'SCHEMA_UNSUPPORTED')
  t.regex(byCase.message, /differ only in case.*renameColumns/)
  const control = await rejected(decode(messages, { excludeColumns: ['name'] }, schemas))
  t.regex(control.message, /_op.*renameColumns/)
  const { rows } = await decode(messages, { renameColumns: { name: 'name2', _op: 'op' } }, schemas)
  t.deepEqual(rows, [{ id: 1, Name: 2, name2: 3, op: 4, _op: 0 }])
  const some = await decode(messages, { includeColumns: ['Name'] }, schemas)
  t.deepEqual(some.rows, [{ id: 1, Name: 2, _op: 0 }])
  const excluded = await rejected(decode(messages, { excludeColumns: ['id'] }, schemas))
  t.is(excluded.code, 'CONFIG_INVALID')
})

test('keys: a field that the value lacks, a single value, and keys that the option names', async (t) => {
  const router = record('Key', [
    ['id', 'int'],
    ['shard', 'string'],
  ])
  const { rows, batch } = await decode(
    [{ key: encode(1, router, { id: 1, shard: 'a' }), value: value(1, 'x') }],
    {},
    { 1: router, 2: VALUE },
  )
  t.deepEqual(rows, [{ id: 1, v: 'x', shard: 'a', _op: 0 }])
  t.deepEqual(batch.primaryKey, ['id', 'shard'])

  const single = { key: encode(5, 'long', 7n), value: value(7, 'x') }
  const schemas = { 2: VALUE, 5: 'long' }
  t.regex((await rejected(decode([single], {}, schemas))).message, /single long.*primaryKey/)
  const named = await decode([single, { key: single.key, value: null }], { primaryKey: ['id'] }, schemas)
  t.deepEqual(named.rows, [
    { id: 7n, v: 'x', _op: 0 },
    { id: 7n, v: null, _op: 1 },
  ])

  const noKey = await decode(
    [
      { key: null, value: value(3, 'x') },
      { key: Buffer.from('no avro'), value: value(3, 'x', 'true') },
    ],
    {
      primaryKey: ['id', 'v'],
    },
  )
  t.deepEqual(noKey.rows, [
    { id: 3, v: 'x', _op: 0 },
    { id: 3, v: 'x', _op: 1 },
  ])
  const missing = await rejected(decode([{ key: null, value: value(3, 'x') }], { primaryKey: ['nope'] }))
  t.regex(missing.message, /nope/)
})

test('a key that changes its fields stops the table', async (t) => {
  const other = record('Key', [['other', 'int']])
  const error = await rejected(
    decode(
      [upsert(1, 'a'), { key: encode(3, other, { other: 1 }), value: value(1, 'b') }],
      {},
      { ...SCHEMAS, 3: other },
    ),
  )
  t.is(error.code, 'SCHEMA_INCOMPATIBLE')
  t.regex(error.message, /\(id\) in schema 1 and \(other\) in schema 3/)
})

test('the old key of a primary-key update: JSON, JSON with schema, Avro, exact beyond 2^53', async (t) => {
  const wide = record('Key', [['id', 'long']])
  const schema = record('Value', [
    ['id', 'long'],
    ['v', optional('string')],
  ])
  const message = (header: Buffer | string): TestMessage => ({
    key: encode(1, wide, { id: 5n }),
    value: encode(2, schema, { id: 5n, v: '__debezium_unavailable_value' }),
    headers: { '__debezium.oldkey': header },
  })
  const { rows } = await decode(
    [
      message('{"id": 9007199254740993}'),
      message(Buffer.from('{"schema":{"type":"struct"},"payload":{"id":-9223372036854775808}}')),
      message(encode(1, wide, { id: 77n })),
      { key: encode(1, wide, { id: 6n }), value: encode(2, schema, { id: 6n, v: 'x' }) },
    ],
    {},
    { 1: wide, 2: schema },
  )
  t.deepEqual(
    rows.map((row) => row._old_key),
    [{ id: 9007199254740993n }, { id: -9223372036854775808n }, { id: 77n }, null],
  )
  t.deepEqual(
    rows.map((row) => (row._left_out as Record<string, boolean>).v),
    [true, true, true, false],
  )
  t.regex(
    (await rejected(decode([message('{"id":')], {}, { 1: wide, 2: schema }))).message,
    /not JSON.*header\.converter/,
  )
})

test('the placeholder follows the configuration, in all forms', async (t) => {
  const array = (items: unknown) => ({ type: 'array', items })
  const schema = record('Value', [
    ['id', 'int'],
    ['text', 'string'],
    ['bytes', 'bytes'],
    ['map', { type: 'map', values: 'string' }],
    ['json', { type: 'string', 'connect.name': 'io.debezium.data.Json' }],
    ['ints', array('int')],
    ['longs', array('long')],
    ['dates', array({ type: 'int', 'connect.name': 'io.debezium.time.Date' })],
    ['texts', array('string')],
  ])
  const text = 'gö'
  const codes = [...Buffer.from(text)].map((byte) => (byte << 24) >> 24)
  const row = (of: string, numbers: number[]) => ({
    id: 1,
    text: of,
    bytes: Buffer.from(of),
    map: { [of]: of },
    json: JSON.stringify({ [of]: of }),
    ints: numbers,
    longs: numbers.map(BigInt),
    dates: numbers,
    texts: [of],
  })
  const messages = [row(text, codes), row('no', [1, 2, 3])].map((v) => ({ key: key(1), value: encode(2, schema, v) }))
  for (const configured of [text, `hex:${Buffer.from(text).toString('hex')}`]) {
    const { rows } = await decode(messages, { unavailableValuePlaceholder: configured }, { 1: KEY, 2: schema })
    const [left, kept] = rows.map((r) => r._left_out as Record<string, boolean>)
    for (const [name] of Object.entries(rows[0] as object).filter(([n]) => !n.startsWith('_') && n !== 'id')) {
      t.true(left?.[name], name)
      t.is(rows[0]?.[name], null)
      t.false(kept?.[name])
      t.not(rows[1]?.[name], null)
    }
  }
})

test('ways of storing: times as text, timestamps without zone, small integers, decimals', async (t) => {
  const named = (type: string, name: string) => ({ type, 'connect.name': name })
  const variable = {
    ...record('VariableScaleDecimal', [
      ['scale', 'int'],
      ['value', 'bytes'],
    ]),
    'connect.name': 'io.debezium.data.VariableScaleDecimal',
  }
  const schema = record('Value', [
    ['id', 'int'],
    ['time', named('long', 'io.debezium.time.MicroTime')],
    ['local', named('long', 'io.debezium.time.NanoTimestamp')],
    ['zoned', named('string', 'io.debezium.time.ZonedTimestamp')],
    ['day', named('string', 'io.debezium.time.IsoDate')],
    ['tiny', { type: 'int', 'connect.type': 'int8' }],
    ['number', variable],
    ['member', ['null', 'int', 'string']],
    ['sum', ['int', 'long']],
  ])
  const row = {
    id: 1,
    time: -3020398999999n,
    local: -1n,
    zoned: '2024-02-29T13:14:15.1234567+02:30',
    day: '2024-02-29Z',
    tiny: -128,
    number: { scale: 3, value: Buffer.from([0x01, 0xe2, 0x40]) },
    member: null,
    sum: 5,
  }
  const messages = [{ key: key(1), value: encode(2, schema, row) }]
  const schemas = { 1: KEY, 2: schema }
  const plain = await decode(messages, {}, schemas)
  t.deepEqual(plain.rows[0], {
    id: 1,
    time: -3020398999999n,
    local: -1n,
    zoned: BigInt(Date.UTC(2024, 1, 29, 10, 44, 15)) * 1000n + 123456n,
    day: Date.UTC(2024, 1, 29) / 86_400_000,
    tiny: -128,
    number: '123.456',
    member: null,
    sum: 5n,
    _op: 0,
  })
  const defaults = {
    time: 'string',
    timestampNtz: true,
    smallIntegers: true,
    decimal: { precision: 10, scale: 5 },
  } as const
  const other = await decode(messages, { defaults }, schemas)
  t.is(other.rows[0]?.time, '-838:59:58.999999')
  t.is(other.rows[0]?.number, '123.456')
  t.deepEqual(
    other.decoder.describe()?.columns.map((column) => column.deltaType),
    [
      'integer',
      'string',
      'timestamp_ntz',
      'timestamp',
      'date',
      'byte',
      'decimal(10,5)',
      'struct<member0:integer,member1:string>',
      'long',
    ],
  )
  const tight = await rejected(
    decode(messages, { columns: { number: { decimal: { precision: 4, scale: 2 } } } }, schemas),
  )
  t.regex(tight.message, /123\.456 does not fit decimal\(4,2\)/)
  const double = await decode(messages, { columns: { number: { decimal: 'double' } } }, schemas)
  t.is(double.rows[0]?.number, 123.456)
})

test('a schema that contains itself is refused, and can be excluded', async (t) => {
  const schema = record('Value', [
    ['id', 'int'],
    ['tree', { type: 'record', name: 'Node', fields: [{ name: 'next', type: ['null', 'Node'] }] }],
  ])
  const messages = [{ key: key(1), value: encode(2, schema, { id: 1, tree: { next: { next: null } } }) }]
  const error = await rejected(decode(messages, {}, { 1: KEY, 2: schema }))
  t.is(error.code, 'SCHEMA_UNSUPPORTED')
  t.regex(error.message, /tree.*excludeColumns/)
  const { rows } = await decode(messages, { excludeColumns: ['tree'] }, { 1: KEY, 2: schema })
  t.deepEqual(rows, [{ id: 1, _op: 0 }])
  const deep = Buffer.concat([Buffer.from([2]), Buffer.alloc(3_000_000, 2), Buffer.from([0])])
  const bad = await decode(
    [{ key: key(1), value: confluent(2, deep) }],
    { excludeColumns: ['tree'], onBadRecord: 'skip' },
    { 1: KEY, 2: schema },
  )
  t.regex(bad.batch.badRecords[0]?.reason ?? '', /nested too deeply/)
})

test('a registry that fails is no bad record', async (t) => {
  const decoder = new TableDecoder(
    { topic: 't', onBadRecord: 'skip' },
    {
      get: async () => {
        throw new KafkaToDeltaError('REGISTRY_UNREACHABLE', 'down')
      },
    },
  )
  t.is((await rejected(decoder.decode(batchOf('t', [upsert(1, 'a')])))).code, 'REGISTRY_UNREACHABLE')
})

test('deletes can be ignored', async (t) => {
  const { rows, batch } = await decode(
    [upsert(1, 'a'), { key: key(1), value: value(1, null, 'true') }, { key: key(1), value: null }],
    { deletes: 'ignore' },
  )
  t.is(rows.length, 1)
  t.is(batch.numIgnored, 2)
})
