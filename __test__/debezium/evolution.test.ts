/** Many schema ids in one batch, in every order: each row has its own schema's values, and null for other columns. */

import test from 'ava'
import { Placeholder } from '../../src/avro/placeholder.js'
import { Op } from '../../src/debezium/change-batch.js'
import { TableDecoder } from '../../src/debezium/decoder.js'
import { KafkaToDeltaError } from '../../src/errors.js'
import { batchOf, decodeAll, decodeWith, encode, schemaSource, type TestMessage } from './support.js'

const SEED = Number(process.env.SEED ?? Date.now() % 1_000_000)

/** mulberry32 */
function randomFrom(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) % below
  }
}

const record = (fields: [string, unknown, unknown?][]) => ({
  type: 'record',
  name: 'Value',
  fields: fields.map(([name, type, initial]) => ({
    name,
    type,
    ...(initial === undefined ? {} : { default: initial }),
  })),
})
const KEY = { type: 'record', name: 'Key', fields: [{ name: 'id', type: 'int' }] }

/** Of one table: add, drop (back to the first id), rename, not null to nullable, reorder, defaults, wider types. */
const SCHEMAS: Record<number, ReturnType<typeof record>> = {
  2: record([
    ['id', 'int'],
    ['name', 'string'],
    ['n', ['null', 'int']],
    ['tags', { type: 'array', items: 'string' }],
  ]),
  3: record([
    ['id', 'int'],
    ['name', ['null', 'string']],
    ['n', ['null', 'int']],
    ['added', ['null', 'double']],
  ]),
  4: record([
    ['n', 'long'],
    ['id', 'int'],
    ['full_name', 'string'],
  ]),
  5: record([
    ['id', 'int'],
    ['name', [{ type: 'string' }, 'null'], 'nobody'],
    ['n', 'int', 7],
    ['added', 'float'],
  ]),
  6: record([
    ['id', 'int'],
    ['tags', ['null', { type: 'array', items: ['null', 'string'] }]],
    ['raw', 'bytes'],
  ]),
}

test(`interleaved schemas, random (SEED=${SEED})`, async (t) => {
  const random = randomFrom(SEED)
  const value = (field: string, nullable: boolean): unknown => {
    if (nullable && random(3) === 0) return null
    const text = 'ö'.repeat(random(4))
    if (field === 'n') return random(1000)
    if (field === 'added') return random(100) / 4
    if (field === 'tags') return Array.from({ length: random(3) }, () => text)
    return field === 'raw' ? Buffer.from(text) : text
  }
  const plain = (field: string, of: unknown) =>
    of === null || of === undefined
      ? null
      : field === 'n'
        ? BigInt(of as number)
        : field === 'raw'
          ? (of as Buffer).toString('hex')
          : of
  const columns = ['id', 'name', 'n', 'tags', 'added', 'full_name', 'raw']
  for (let round = 0; round < 30; round++) {
    const decoder = new TableDecoder({ topic: 't' }, schemaSource({ 1: KEY, ...SCHEMAS }))
    for (let batch = 0; batch < 4; batch++) {
      const wanted: Record<string, unknown>[] = []
      const messages = Array.from({ length: 1 + random(12) }, (_, id): TestMessage => {
        const schemaId = 2 + random(5)
        const schema = SCHEMAS[schemaId] as ReturnType<typeof record>
        const own = Object.fromEntries(
          schema.fields.map(({ name, type }) => [name, name === 'id' ? id : value(name, Array.isArray(type))]),
        )
        wanted.push(own)
        const encoded = { ...own, ...(schemaId === 4 ? { n: BigInt(own.n as number) } : {}) }
        return { key: encode(1, KEY, { id }), value: encode(schemaId, schema, encoded) }
      })
      const { rows } = await decodeWith(decoder, batchOf('t', messages))
      t.is(rows.length, messages.length)
      for (const [i, row] of rows.entries()) {
        t.false('_left_out' in row)
        for (const column of columns) {
          const of = wanted[i]?.[column]
          // Until a wider type was seen, ints are ints.
          const stored = column === 'n' && typeof row.n === 'number' ? BigInt(row.n) : row[column]
          t.deepEqual(stored ?? null, column === 'id' ? i : plain(column, of), `${column} of row ${i}, round ${round}`)
        }
      }
    }
  }
})

test('a column that is left out in one schema and missing in another', async (t) => {
  const placeholder = '__debezium_unavailable_value'
  const schemas = {
    1: KEY,
    2: record([
      ['id', 'int'],
      ['big', 'string'],
    ]),
    3: record([['id', 'int']]),
  }
  const key = encode(1, KEY, { id: 1 })
  const left = { key, value: encode(2, schemas[2], { id: 1, big: placeholder }) }
  const without = { key, value: encode(3, schemas[3], { id: 1 }) }
  for (const messages of [
    [left, without],
    [without, left],
    [without, left, without],
  ]) {
    const { rows } = await decodeAll({ topic: 't' }, schemas, messages)
    t.deepEqual(
      rows.map((row) => [row.big, (row._left_out as Record<string, boolean>).big]),
      messages.map((message) => [null, message === left]),
    )
  }
})

test('a type that nothing holds names both, and nothing of the batch is handed on', async (t) => {
  const schemas = {
    1: KEY,
    2: record([
      ['id', 'int'],
      ['v', 'int'],
    ]),
    3: record([
      ['id', 'int'],
      ['v', 'string'],
    ]),
  }
  const decoder = new TableDecoder({ topic: 't', onBadRecord: 'skip' }, schemaSource(schemas))
  const key = encode(1, KEY, { id: 1 })
  await decoder.decode(batchOf('t', [{ key, value: encode(2, schemas[2], { id: 1, v: 1 }) }]))
  const messages = [
    { key, value: encode(2, schemas[2], { id: 1, v: 1 }) },
    { key, value: encode(3, schemas[3], { id: 1, v: 'a' }) },
  ]
  const error = await t.throwsAsync(decoder.decode(batchOf('t', messages)), { instanceOf: KafkaToDeltaError })
  t.is(error?.code, 'SCHEMA_INCOMPATIBLE')
  t.regex(error?.message ?? '', /v is integer in schema 2 and string in schema 3/)
})

const decimalOf = (precision: number, scale: number) => ({
  type: 'bytes',
  logicalType: 'decimal',
  precision,
  scale,
  'connect.name': 'org.apache.kafka.connect.data.Decimal',
  'connect.parameters': { scale: String(scale), 'connect.decimal.precision': String(precision) },
})

test('whole numbers stay exact in columns of doubles, floats and decimals, whichever came first', async (t) => {
  const least = -(2n ** 63n)
  const small = { type: 'int', 'connect.type': 'int16' }
  const bytes = Buffer.from([125])
  const cases: [type: unknown, value: unknown, stored: unknown, whole: unknown, values: (number | bigint)[]][] = [
    ['double', 1.5, 1.5, 'int', [2, -2147483648, 2147483647, 0]],
    ['float', 1.5, 1.5, small, [2, -32768, 32767]],
    ['double', 1.5, 1.5, small, [-32768]],
    [decimalOf(12, 2), bytes, '1.25', 'int', [2, -2147483648, 2147483647, 0]],
    [decimalOf(5, 0), bytes, '125', small, [-32768, 32767]],
    [decimalOf(21, 2), bytes, '1.25', 'long', [least, -least - 1n, -1n, 0n]],
    [decimalOf(38, 19), bytes, '0.0000000000000000125', 'long', [least, -least - 1n]],
  ]
  const list = (items: unknown) => ({ type: 'array', items: ['null', items] })
  for (const [type, value, stored, whole, values] of cases) {
    const row = (of: unknown) =>
      record([
        ['id', 'int'],
        ['v', ['null', of]],
        ['list', list(of)],
      ])
    const schemas = { 1: KEY, 2: row(type), 3: row(whole) }
    const message = (schema: 2 | 3, v: unknown) => ({
      key: encode(1, KEY, { id: 1 }),
      value: encode(schema, schemas[schema], { id: 1, v, list: [v, null, v] }),
    })
    const wholes = values.map((v) => message(3, v))
    const as = typeof stored === 'string' ? String : Number
    const expected = [stored, ...values.map((v) => as(v))]
    const options = { topic: 't', defaults: { smallIntegers: true } }
    const note = JSON.stringify([type, whole])
    const after = await decodeAll(options, schemas, [message(2, value), ...wholes])
    const before = await decodeAll(options, schemas, [...wholes, message(2, value)])
    for (const rows of [after.rows, [before.rows.at(-1), ...before.rows.slice(0, -1)]]) {
      t.deepEqual(
        rows.map((one) => one?.v),
        expected,
        note,
      )
      t.deepEqual(
        rows.map((one) => one?.list),
        expected.map((one) => [one, null, one]),
        note,
      )
    }
    // Also in a batch without the wider type.
    const { rows } = await decodeWith(after.decoder, batchOf('t', wholes))
    t.deepEqual(
      rows.map((one) => one.v),
      expected.slice(1),
      note,
    )
  }
})

test('whole numbers without room in the other type are refused', async (t) => {
  for (const [type, value, whole, number] of [
    ['float', 1.5, 'int', 1],
    ['double', 1.5, 'long', 1n],
    [decimalOf(11, 2), Buffer.from([1]), 'int', 1],
    [decimalOf(20, 2), Buffer.from([1]), 'long', 1n],
    // Another meaning, not another size.
    ['double', 1.5, { type: 'int', 'connect.name': 'io.debezium.time.Time' }, 1],
  ] as const) {
    const row = (of: unknown) =>
      record([
        ['id', 'int'],
        ['v', of],
      ])
    const schemas = { 1: KEY, 2: row(type), 3: row(whole) }
    const messages = [
      { key: encode(1, KEY, { id: 1 }), value: encode(2, schemas[2], { id: 1, v: value }) },
      { key: encode(1, KEY, { id: 1 }), value: encode(3, schemas[3], { id: 1, v: number }) },
    ]
    for (const order of [messages, messages.toReversed()]) {
      await t.throwsAsync(
        decodeAll({ topic: 't' }, schemas, order),
        { code: 'SCHEMA_INCOMPATIBLE' },
        JSON.stringify(whole),
      )
    }
  }
})

test('placeholders that cannot be are refused', (t) => {
  for (const configured of ['', 'hex:', 'hex:abc', 'hex:zz']) {
    t.throws(() => new Placeholder(configured), {
      instanceOf: KafkaToDeltaError,
      message: /unavailableValuePlaceholder/,
    })
  }
  t.is(new Placeholder('hex:5F5f').bytes.toString(), '__')
})

test('tombstones before, between and after, of keys without a delete', async (t) => {
  const schemas = {
    1: KEY,
    2: record([
      ['id', 'int'],
      ['v', 'string'],
    ]),
  }
  const key = (id: number) => encode(1, KEY, { id })
  const { rows } = await decodeAll({ topic: 't' }, schemas, [
    { key: key(1), value: null },
    { key: key(1), value: encode(2, schemas[2], { id: 1, v: 'a' }) },
    { key: key(1), value: null },
    { key: key(1), value: null },
    { key: key(1), value: encode(2, schemas[2], { id: 1, v: 'b' }) },
  ])
  t.deepEqual(
    rows.map((row) => [row.v, row._op]),
    [
      [null, 1],
      ['a', 0],
      [null, 1],
      [null, 1],
      ['b', 0],
    ],
  )
  t.is(Op.delete, 1)
})
