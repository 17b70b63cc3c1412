/** Source type to Delta type, and the ways of storing that options choose. Values: see `__test__/avro/random.test.ts`. */

import { readFileSync } from 'node:fs'
import test from 'ava'
import { typesDocument } from '../../scripts/docs-types.js'
import { deltaTypeName } from '../../src/arrow/types.js'
import { parseAvroSchema } from '../../src/avro/schema.js'
import { columnTypeOf } from '../../src/avro/semantic-types.js'
import { KafkaToDeltaError } from '../../src/errors.js'
import type { ResolvedColumn } from '../../src/options/types.js'
import { decodeAll, encode } from './support.js'

const typeOf = (schema: unknown, options: ResolvedColumn = {}) =>
  deltaTypeName(columnTypeOf(parseAvroSchema(schema as never), options, 'c'))

const decimal = (precision: number | null, scale: number) => ({
  type: 'bytes',
  scale,
  precision: precision ?? 64,
  'connect.parameters': {
    scale: String(scale),
    ...(precision === null ? {} : { 'connect.decimal.precision': String(precision) }),
  },
  'connect.name': 'org.apache.kafka.connect.data.Decimal',
  logicalType: 'decimal',
})
const VARIABLE = {
  type: 'record',
  name: 'VariableScaleDecimal',
  namespace: 'io.debezium.data',
  'connect.name': 'io.debezium.data.VariableScaleDecimal',
  fields: [
    { name: 'scale', type: 'int' },
    { name: 'value', type: 'bytes' },
  ],
}

test('decimals: what fits is exact, what does not is text or what the option says', (t) => {
  t.is(typeOf(decimal(10, 2)), 'decimal(10,2)')
  t.is(typeOf(decimal(38, 38)), 'decimal(38,38)')
  t.is(typeOf(decimal(2, 5)), 'decimal(5,5)', 'numeric(2,5)')
  t.is(typeOf(decimal(3, 2046)), 'decimal(5,0)', 'numeric(3,-2) of Postgres')
  t.is(typeOf(decimal(5, -2)), 'decimal(7,0)', 'NUMBER(5,-2) of Oracle')
  t.is(typeOf(decimal(30, 2028)), 'string', 'numeric(30,-20) has 50 digits')
  t.is(typeOf(decimal(null, 2)), 'decimal(38,2)', 'money')
  t.is(typeOf(decimal(50, 40)), 'string')
  t.is(typeOf(decimal(50, 2), { decimal: { precision: 38, scale: 2 } }), 'decimal(38,2)')
  t.is(typeOf(decimal(50, 2), { decimal: 'double' }), 'double')
  t.is(typeOf(decimal(10, 2), { decimal: 'double' }), 'decimal(10,2)', 'the option is for those that do not fit')
  t.is(typeOf(VARIABLE), 'string')
  t.is(typeOf(VARIABLE, { decimal: { precision: 20, scale: 6 } }), 'decimal(20,6)')
  t.is(typeOf({ type: 'bytes', logicalType: 'decimal', precision: 4, scale: -1 }), 'binary', 'Avro has no such decimal')
})

test('unions: null on either side, numbers of two widths, and members', (t) => {
  t.is(typeOf(['null', 'int']), 'integer')
  t.is(typeOf(['int', 'null']), 'integer')
  t.is(typeOf(['null', 'int', 'long']), 'long')
  t.is(typeOf(['double', 'float']), 'double')
  t.is(typeOf(['null', 'int', 'string']), 'struct<member0:integer,member1:string>')
  t.is(
    typeOf(['string', 'null', { type: 'array', items: ['null', 'long'] }]),
    'struct<member0:string,member1:array<long>>',
  )
})

test("type 'string' is for every single value, and for nothing else", (t) => {
  const text = { type: 'string' } as const
  const scalars = [
    'boolean',
    'int',
    'long',
    'float',
    'double',
    'string',
    ['null', 'long'],
    ['int', 'long'],
    { type: 'int', 'connect.name': 'io.debezium.time.Date' },
    { type: 'long', 'connect.name': 'io.debezium.time.MicroTimestamp' },
    { type: 'long', 'connect.name': 'io.debezium.time.MicroTime' },
    { type: 'string', 'connect.name': 'io.debezium.time.ZonedTimestamp' },
    { type: 'enum', name: 'E', symbols: ['A'] },
    decimal(10, 2),
    decimal(50, 2),
    VARIABLE,
  ]
  for (const schema of scalars) t.is(typeOf(schema, text), 'string', JSON.stringify(schema))
  const others = [
    'bytes',
    { type: 'fixed', name: 'F', size: 4 },
    { type: 'array', items: 'int' },
    { type: 'map', values: 'int' },
    { type: 'record', name: 'R', fields: [{ name: 'a', type: 'int' }] },
    ['int', 'string'],
  ]
  for (const schema of others) {
    const error = t.throws<KafkaToDeltaError>(() => typeOf(schema, text), { instanceOf: KafkaToDeltaError })
    t.is(error?.code, 'CONFIG_INVALID')
    t.regex(error?.message ?? '', /columns\.c says type "string".*(binary|array|map|struct)/)
  }
})

const KEY = { type: 'record', name: 'Key', fields: [{ name: 'id', type: 'int' }] }

async function stored(schema: unknown, value: unknown, options: ResolvedColumn): Promise<unknown> {
  const type = {
    type: 'record',
    name: 'Value',
    fields: [
      { name: 'id', type: 'int' },
      { name: 'c', type: schema },
    ],
  }
  const { rows } = await decodeAll({ topic: 't', columns: { c: options } }, { 1: KEY, 2: type }, [
    { key: encode(1, KEY, { id: 1 }), value: encode(2, type, { id: 1, c: value }) },
  ])
  return rows[0]?.c
}

test('texts are exact, and as Spark casts in UTC', async (t) => {
  const text = { type: 'string' } as const
  const named = (type: string, name: string) => ({ type, 'connect.name': name })
  const cases: [unknown, unknown, string][] = [
    ['boolean', true, 'true'],
    ['long', -(2n ** 63n), '-9223372036854775808'],
    ['double', 1, '1.0'],
    ['double', 1e7, '1.0E7'],
    ['double', 1.5e-4, '1.5E-4'],
    ['double', NaN, 'NaN'],
    ['double', -Infinity, '-Infinity'],
    ['float', Math.fround(0.1), '0.1'],
    ['float', -0, '-0.0'],
    [decimal(10, 2), Buffer.from([0xff]), '-0.01'],
    [decimal(10, 2), Buffer.from([100]), '1.00'],
    [named('int', 'io.debezium.time.Date'), 19753, '2024-01-31'],
    [named('int', 'io.debezium.time.Date'), -735160, '-0043-03-15'],
    [named('int', 'io.debezium.time.Date'), 6585508, '+20000-07-05'],
    [named('long', 'io.debezium.time.Timestamp'), 0n, '1970-01-01 00:00:00'],
    [named('long', 'io.debezium.time.Timestamp'), -1n, '1969-12-31 23:59:59.999'],
    [named('long', 'io.debezium.time.MicroTimestamp'), 1_500_000n, '1970-01-01 00:00:01.5'],
    [named('long', 'io.debezium.time.NanoTimestamp'), 1n, '1970-01-01 00:00:00.000000001'],
    [named('long', 'io.debezium.time.MicroTime'), 86_400_000_000n, '24:00:00.000000'],
    [named('long', 'io.debezium.time.MicroTime'), -3_020_399_000_001n, '-838:59:59.000001'],
    [named('long', 'io.debezium.time.NanoTime'), 1_000_000_001n, '00:00:01.000000001'],
    [named('string', 'io.debezium.time.ZonedTimestamp'), '2024-01-31T12:00:00.123456789+02:00', ''],
    [named('string', 'io.debezium.time.ZonedTimestamp'), 'infinity', ''],
  ]
  for (const [schema, value, wanted] of cases) {
    t.is(await stored(schema, value, text), wanted === '' ? value : wanted, JSON.stringify(schema))
  }
})

test('a key may be text; options that could make two keys one do not count or are refused', async (t) => {
  const key = {
    type: 'record',
    name: 'Key',
    fields: [{ name: 'at', type: { type: 'long', 'connect.name': 'io.debezium.time.NanoTimestamp' } }],
  }
  const value = { ...key, name: 'Value' }
  const messages = [1_000_000_001n, 1_000_000_002n].map((at) => ({
    key: encode(1, key, { at }),
    value: encode(2, value, { at }),
  }))
  const { rows } = await decodeAll({ topic: 't', columns: { at: { type: 'string' } } }, { 1: key, 2: value }, messages)
  t.deepEqual(
    rows.map((row) => row.at),
    ['1970-01-01 00:00:01.000000001', '1970-01-01 00:00:01.000000002'],
  )
  await t.throwsAsync(decodeAll({ topic: 't' }, { 1: key, 2: value }, messages), { code: 'BAD_RECORD' })
  const lossy = decodeAll({ topic: 't', columns: { at: { outOfRange: 'clamp' } } }, { 1: key, 2: value }, messages)
  await t.throwsAsync(lossy, { code: 'CONFIG_INVALID' })
})

test('outOfRange holds within arrays, maps and structs', async (t) => {
  const date = { type: 'int', 'connect.name': 'io.debezium.time.Date' }
  const record = { type: 'record', name: 'R', fields: [{ name: 'd', type: date }] }
  const far = 2147483647
  t.deepEqual(await stored({ type: 'array', items: date }, [1, far, 2], { outOfRange: 'null' }), [1, null, 2])
  t.deepEqual(await stored({ type: 'array', items: date }, [far, -far], { outOfRange: 'clamp' }), [2932896, -719162])
  t.deepEqual(await stored(record, { d: far }, { outOfRange: 'null' }), { d: null })
  t.deepEqual(await stored({ type: 'map', values: date }, { a: far }, { outOfRange: 'clamp' }), [
    { key: 'a', value: 2932896 },
  ])
  await t.throwsAsync(stored({ type: 'array', items: record }, [{ d: 1 }, { d: far }], {}), {
    code: 'BAD_RECORD',
    message: /partition 0, offset 0: column c\[\]\.d: the date 2147483647/,
  })
})

test('docs/types.md is what the code gives: npm run docs writes it', async (t) => {
  t.is(readFileSync(new URL('../../docs/types.md', import.meta.url), 'utf8'), await typesDocument())
})
