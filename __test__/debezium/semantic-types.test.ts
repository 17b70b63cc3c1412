/** Every semantic type of Debezium 2.7 to 3.7: what becomes of it, in every time.precision.mode. */

import test from 'ava'
import { deltaTypeName } from '../../src/arrow/types.js'
import { parseAvroSchema } from '../../src/avro/schema.js'
import { columnTypeOf } from '../../src/avro/semantic-types.js'
import type { ResolvedColumn } from '../../src/options/types.js'
import { decodeAll, encode } from './support.js'

const TIME = 'io.debezium.time.'
const DATA = 'io.debezium.data.'
const KEY = { type: 'record', name: 'Key', fields: [{ name: 'id', type: 'int' }] }
const named = (type: unknown, name: string) => ({
  ...(typeof type === 'string' ? { type } : (type as object)),
  'connect.name': name,
})
const optional = (name: string, type: unknown) => ({ name, type: ['null', type], default: null })
const int8 = { type: 'int', 'connect.type': 'int8' }

/** The fields of a structured date or time, each of which may be null. */
const FIELDS: Record<string, unknown> = {
  year: 'int',
  month: int8,
  day: int8,
  hour: int8,
  minute: int8,
  second: int8,
  nanos: 'int',
  offsetSeconds: 'int',
  zoneId: 'string',
  specialValue: 'string',
  precision: 'int',
}
const DAY = ['year', 'month', 'day']
const CLOCK = ['hour', 'minute', 'second', 'nanos']
const structured = (name: string, fields: string[]) => ({
  type: 'record',
  name,
  'connect.name': `${TIME}${name}`,
  fields: fields.map((field) => optional(field, FIELDS[field])),
})
const STRUCTURED_DATE = structured('StructuredDate', [...DAY, 'specialValue'])
const STRUCTURED_TIME = structured('StructuredTime', [...CLOCK, 'precision'])
const STRUCTURED_TIMESTAMP = structured('StructuredTimestamp', [...DAY, ...CLOCK, 'specialValue', 'precision'])
const STRUCTURED_ZONED_TIME = structured('StructuredZonedTime', [...CLOCK, 'offsetSeconds', 'precision'])
const STRUCTURED_ZONED_TIMESTAMP = structured('StructuredZonedTimestamp', [
  ...[...DAY, ...CLOCK, 'offsetSeconds', 'zoneId'],
  ...['specialValue', 'precision'],
])

const record = (name: string, fields: Record<string, unknown>) => ({
  type: 'record',
  name,
  'connect.name': `${DATA}${name}`,
  fields: Object.entries(fields).map(([field, type]) => ({ name: field, type })),
})
const STRUCTURED_DURATION = {
  ...record('StructuredDuration', { years: ['null', 'int'], seconds: ['null', 'long'], nanos: ['null', 'int'] }),
  'connect.name': `${TIME}StructuredDuration`,
}
const WKB = { wkb: ['null', 'bytes'], srid: ['null', 'int'] }
const EXTENSIONS = { extensions: ['null', { type: 'map', values: 'string' }] }
const VECTOR_ITEM = {
  type: 'record',
  name: 'ConnectDefault',
  namespace: 'io.confluent.connect.avro',
  fields: [
    { name: 'key', type: { type: 'int', 'connect.type': 'int16' } },
    { name: 'value', type: 'double' },
  ],
}

const typeOf = (schema: unknown, options: ResolvedColumn = {}) =>
  deltaTypeName(columnTypeOf(parseAvroSchema(schema as never), options, 'c'))

const SEMANTIC: [unknown, string][] = [
  [named('int', `${TIME}Date`), 'date'],
  [named('int', 'org.apache.kafka.connect.data.Date'), 'date'],
  [named('string', `${TIME}IsoDate`), 'date'],
  [STRUCTURED_DATE, 'date'],
  [named('int', `${TIME}Time`), 'integer'],
  [named('int', 'org.apache.kafka.connect.data.Time'), 'integer'],
  [named('long', `${TIME}MicroTime`), 'long'],
  [named('long', `${TIME}NanoTime`), 'long'],
  [named('string', `${TIME}IsoTime`), 'string'],
  [STRUCTURED_TIME, 'long'],
  [named('string', `${TIME}ZonedTime`), 'string'],
  [STRUCTURED_ZONED_TIME, 'string'],
  [named('long', `${TIME}Timestamp`), 'timestamp'],
  [named('long', 'org.apache.kafka.connect.data.Timestamp'), 'timestamp'],
  [named('long', `${TIME}MicroTimestamp`), 'timestamp'],
  [named('long', `${TIME}NanoTimestamp`), 'timestamp'],
  [named('string', `${TIME}IsoTimestamp`), 'timestamp'],
  [STRUCTURED_TIMESTAMP, 'timestamp'],
  [named('string', `${TIME}ZonedTimestamp`), 'timestamp'],
  [STRUCTURED_ZONED_TIMESTAMP, 'timestamp'],
  [named('int', `${TIME}Year`), 'integer'],
  [named('string', `${TIME}Interval`), 'string'],
  [named('long', `${TIME}MicroDuration`), 'long'],
  [named('long', `${TIME}NanoDuration`), 'long'],
  [STRUCTURED_DURATION, 'struct<years:integer,seconds:long,nanos:integer>'],
  ...['Json', 'Xml', 'Uuid', 'Enum', 'EnumSet', 'Ltree', 'Tsvector'].map((name): [unknown, string] => [
    named('string', `${DATA}${name}`),
    'string',
  ]),
  [named('bytes', `${DATA}Bits`), 'binary'],
  [record('VariableScaleDecimal', { scale: 'int', value: 'bytes' }), 'string'],
  [record('geometry.Point', { x: 'double', y: 'double', ...WKB }), 'struct<x:double,y:double,wkb:binary,srid:integer>'],
  [record('geometry.Geometry', WKB), 'struct<wkb:binary,srid:integer>'],
  [
    record('geometry.Geometry', { ...WKB, ...EXTENSIONS }),
    'struct<wkb:binary,srid:integer,extensions:map<string,string>>',
  ],
  [record('geometry.Geography', WKB), 'struct<wkb:binary,srid:integer>'],
  [record('geometry.Circle', { x: 'double', y: 'double', r: 'double' }), 'struct<x:double,y:double,r:double>'],
  [record('geometry.Line', { a: 'double', b: 'double', c: 'double' }), 'struct<a:double,b:double,c:double>'],
  [named({ type: 'array', items: 'double' }, `${DATA}DoubleVector`), 'array<double>'],
  [named({ type: 'array', items: 'float' }, `${DATA}FloatVector`), 'array<float>'],
  [
    record('SparseDoubleVector', {
      dimensions: { type: 'int', 'connect.type': 'int16' },
      vector: { type: 'array', items: VECTOR_ITEM },
    }),
    'struct<dimensions:integer,vector:array<struct<key:integer,value:double>>>',
  ],
]

test('every semantic type becomes what an analyst expects', (t) => {
  for (const [schema, type] of SEMANTIC) {
    t.is(typeOf(schema), type)
    t.is(typeOf(['null', schema]), type)
    t.is(typeOf({ type: 'array', items: ['null', schema] }), `array<${type}>`)
  }
  t.is(typeOf(STRUCTURED_TIMESTAMP, { timestampNtz: true }), 'timestamp_ntz')
  t.is(typeOf(STRUCTURED_ZONED_TIMESTAMP, { timestampNtz: true }), 'timestamp', 'it is an instant')
  t.is(typeOf(STRUCTURED_TIME, { time: 'string' }), 'string')
})

async function stored(schema: unknown, value: unknown, options: ResolvedColumn = {}): Promise<unknown> {
  const type = {
    type: 'record',
    name: 'Value',
    fields: [
      { name: 'id', type: 'int' },
      { name: 'c', type: ['null', schema] },
    ],
  }
  const { rows } = await decodeAll({ topic: 't', columns: { c: options } }, { 1: KEY, 2: type }, [
    { key: encode(1, KEY, { id: 1 }), value: encode(2, type, { id: 1, c: value }) },
  ])
  return rows[0]?.c
}

const day = (year: number, month: number, dayOfMonth: number) => ({ year, month, day: dayOfMonth })
const clock = (hour: number, minute: number, second: number, nanos: number) => ({ hour, minute, second, nanos })
const TEXT = { type: 'string' } as const

test('structured dates and times are the values that the other modes give', async (t) => {
  const date = day(2024, 1, 31)
  const noon = clock(12, 30, 0, 500_000_000)
  const micros = 1_706_704_200_500_000n
  t.is(await stored(STRUCTURED_DATE, date), 19753)
  t.is(await stored(STRUCTURED_DATE, null), null)
  t.is(await stored(STRUCTURED_TIMESTAMP, { ...date, ...noon, precision: 6 }), micros)
  t.is(await stored(STRUCTURED_TIMESTAMP, { ...date, ...noon, nanos: 500_000_999 }), micros, 'rounded down')
  const zoned = { ...date, ...noon, offsetSeconds: 19_800, zoneId: 'Asia/Kolkata' }
  t.is(await stored(STRUCTURED_ZONED_TIMESTAMP, zoned), micros - 19_800_000_000n)
  t.is(await stored(STRUCTURED_ZONED_TIMESTAMP, { ...zoned, offsetSeconds: -3600 }), micros + 3_600_000_000n)
  t.is(await stored(STRUCTURED_TIME, clock(1, 2, 3, 4_000_001)), 3_723_004_000_001n)
  t.is(await stored(STRUCTURED_TIME, clock(1, 2, 3, 4_000_000), { time: 'string' }), '01:02:03.004000')
  const timetz = { ...clock(24, 0, 0, 0), offsetSeconds: -5400 }
  t.is(await stored(STRUCTURED_ZONED_TIME, timetz), '24:00:00-01:30')
  t.is(await stored(STRUCTURED_ZONED_TIME, { ...clock(11, 14, 15, 123_456_000), offsetSeconds: 0 }), '11:14:15.123456Z')
  t.deepEqual(await stored({ type: 'array', items: ['null', STRUCTURED_DATE] }, [date, null]), [19753, null])
})

test('structured dates and times as texts', async (t) => {
  const noon = clock(12, 30, 0, 500_000_000)
  t.is(await stored(STRUCTURED_DATE, day(-43, 3, 15), TEXT), '-0043-03-15')
  t.is(await stored(STRUCTURED_DATE, day(0, 0, 0), TEXT), '0000-00-00')
  t.is(await stored(STRUCTURED_TIMESTAMP, { ...day(20000, 7, 5), ...noon }, TEXT), '+20000-07-05 12:30:00.5')
  const zoned = { ...day(2024, 1, 31), ...noon, offsetSeconds: 19_800, zoneId: null }
  t.is(await stored(STRUCTURED_ZONED_TIMESTAMP, zoned, TEXT), '2024-01-31T12:30:00.5+05:30')
  t.is(await stored(STRUCTURED_TIME, clock(1, 2, 3, 4_000_001), TEXT), '01:02:03.004000001')
  t.is(await stored(STRUCTURED_DATE, { specialValue: 'NEGATIVE_INFINITY' }, TEXT), '-infinity')
})

test('structured values that no date holds', async (t) => {
  for (const [schema, least, most] of [
    [STRUCTURED_DATE, -719_162, 2_932_896],
    [STRUCTURED_TIMESTAMP, -62_135_596_800_000_000n, 253_402_300_799_999_999n],
    [STRUCTURED_ZONED_TIMESTAMP, -62_135_596_800_000_000n, 253_402_300_799_999_999n],
  ] as const) {
    const [high, low] = ['POSITIVE_INFINITY', 'NEGATIVE_INFINITY'].map((specialValue) => ({ specialValue }))
    await t.throwsAsync(stored(schema, high), { code: 'BAD_RECORD', message: /infinity/ })
    t.is(await stored(schema, low, { outOfRange: 'null' }), null)
    t.is(await stored(schema, low, { outOfRange: 'clamp' }), least)
    t.is(await stored(schema, high, { outOfRange: 'clamp' }), most)
  }
  const zero = day(0, 0, 0)
  await t.throwsAsync(stored(STRUCTURED_DATE, zero), { code: 'BAD_RECORD', message: /no date 0000-00-00/ })
  t.is(await stored(STRUCTURED_DATE, zero, { outOfRange: 'null' }), null)
  t.is(await stored(STRUCTURED_DATE, day(2023, 2, 29), { outOfRange: 'clamp' }), null, 'no date is the nearest')
  await t.throwsAsync(stored(STRUCTURED_DATE, { year: 2024 }), { code: 'BAD_RECORD', message: /without month/ })
})

test('a structured key is never stored with loss', async (t) => {
  const key = { type: 'record', name: 'Key', fields: [{ name: 'at', type: STRUCTURED_TIMESTAMP }] }
  const value = { ...key, name: 'Value' }
  const decodeKey = (nanos: number) => {
    const row = { at: { ...day(2024, 1, 31), ...clock(12, 30, 0, nanos) } }
    return decodeAll({ topic: 't' }, { 1: key, 2: value }, [{ key: encode(1, key, row), value: encode(2, value, row) }])
  }
  t.is((await decodeKey(500_000_000)).rows[0]?.at, 1_706_704_200_500_000n)
  await t.throwsAsync(decodeKey(500_000_001), { code: 'BAD_RECORD', message: /fraction of a microsecond/ })
})

test('infinity is told by the number that each version of Debezium makes of it', async (t) => {
  const nanos = named('long', `${TIME}NanoTimestamp`)
  const date = named('int', `${TIME}Date`)
  const isoDate = named('string', `${TIME}IsoDate`)
  const least = -62_135_596_800_000_000n
  const most = 253_402_300_799_999_999n
  const cases: [unknown, unknown, unknown, string][] = [
    [nanos, 2n ** 63n - 1n, most, 'infinity'],
    [nanos, -(2n ** 63n), least, '-infinity'],
    [nanos, 1n - 2n ** 63n, least, '-infinity'],
    [nanos, BigInt.asIntN(64, 9_223_372_036_825_200_000n * 1000n), most, 'infinity'],
    [nanos, BigInt.asIntN(64, -9_223_372_036_832_400_000n * 1000n), least, '-infinity'],
    [date, -2_147_472_692, 2_932_896, 'infinity'],
    [date, -2_147_472_691, -719_162, '-infinity'],
    [date, -622_191_234, 2_932_896, 'infinity'],
    [date, -625_821_272, -719_162, '-infinity'],
    [isoDate, '+292278994-08-16Z', 2_932_896, '+292278994-08-16Z'],
    [isoDate, '+292269055-12-02Z', -719_162, '+292269055-12-02Z'],
    [isoDate, '-5877611-06-21Z', 2_932_896, '-5877611-06-21Z'],
    [isoDate, '-5877611-06-22Z', -719_162, '-5877611-06-22Z'],
    [named('long', `${TIME}MicroTimestamp`), 9_223_372_036_825_200_000n, most, '+294247-01-10 04:00:25.2'],
    [named('long', `${TIME}Timestamp`), -9_223_372_036_832_400n, least, '-290308-12-21 19:59:27.6'],
    [named('string', `${TIME}IsoTimestamp`), '+294247-01-10T04:00:25.2Z', most, '+294247-01-10T04:00:25.2Z'],
    [named('string', `${TIME}ZonedTimestamp`), '-infinity', least, '-infinity'],
  ]
  for (const [schema, value, clamped, text] of cases) {
    const note = `${JSON.stringify(schema)} ${value}`
    await t.throwsAsync(stored(schema, value), { code: 'BAD_RECORD' }, note)
    t.is(await stored(schema, value, { outOfRange: 'null' }), null, note)
    t.is(await stored(schema, value, { outOfRange: 'clamp' }), clamped, note)
    t.is(await stored(schema, value, TEXT), text, note)
  }
  t.is(await stored(nanos, 2n ** 63n - 2n), (2n ** 63n - 2n) / 1000n, 'the last moment that nanoseconds hold')
})
