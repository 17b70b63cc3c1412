/** Random schemas that hold every semantic type, and random values of them at their edges, as avsc writes them. */

import type { Random } from '../helpers/random.js'
import type { ReferenceOptions } from '../helpers/reference.js'

/** What values may be: `outside` ones do not fit their column, which makes a row a bad record. */
export interface Values {
  random: Random
  /** How many of 100 values lie outside the type's range. */
  outside: number
}

export interface Kind {
  schema: unknown
  value: (values: Values) => unknown
}

const INTS = [0, 1, -1, 63, 64, -64, -65, 8191, 8192, 1048575, 1048576, 134217727, 134217728, 2147483647, -2147483648]
const LONGS = [0n, 1n, -1n, 2n ** 31n, -(2n ** 31n), 2n ** 32n, 2n ** 53n + 1n, -(2n ** 53n) - 1n]
const LIMITS = [2n ** 63n - 1n, -(2n ** 63n)]
const DOUBLES = [0, -0, 1, -1.5, 1e-3, 9999999, 1e7, 1e300, 5e-324, Number.MAX_VALUE, NaN, Infinity, -Infinity, 0.1]
const FLOATS = [0, -0, 1.5, -3.25, 1e30, 1.17549435e-38, 1e-45, 3.4028235e38, NaN, Infinity, -Infinity, 0.1, 16777216]
const TEXTS = [
  '',
  'a',
  'é',
  '日本語',
  '🎉🎉',
  'x'.repeat(47),
  'y'.repeat(48),
  'long '.repeat(300),
  '\u0000',
  'false',
  '�',
]

const int = (r: Random) => (r.below(2) ? r.pick(INTS) : Number(r.signed(32)))
const long = (r: Random) => (r.below(2) ? r.pick([...LONGS, ...LIMITS]) : r.signed(64))
const text = (r: Random) => (r.below(200) === 0 ? r.pick(['z', 'ü']).repeat(70_000) : r.pick(TEXTS))

const MIN_DAY = -719162
const MAX_DAY = 2932896
const DAYS = [MIN_DAY, MIN_DAY + 1, MAX_DAY, MAX_DAY - 1, 0, -1, 1, 11016, -141428, -25567, 59, 60]
const DAYS_OUTSIDE = [
  MIN_DAY - 1,
  MAX_DAY + 1,
  -2147472692,
  -2147472691,
  -622191234,
  -625821272,
  2147483647,
  -2147483648,
  5_000_000,
]
const day = ({ random: r, outside }: Values) =>
  r.below(100) < outside ? r.pick(DAYS_OUTSIDE) : r.below(2) ? r.pick(DAYS) : MIN_DAY + r.below(MAX_DAY - MIN_DAY + 1)

const PER_SECOND = { ms: 1000n, us: 1_000_000n, ns: 1_000_000_000n }

function moment(unit: 'ms' | 'us' | 'ns') {
  const per = PER_SECOND[unit]
  const low = BigInt(MIN_DAY) * 86_400n * per
  const high = (BigInt(MAX_DAY) + 1n) * 86_400n * per - 1n
  return ({ random: r, outside }: Values) => {
    if (unit === 'ns') return r.below(100) < outside ? r.pick([-29575808000n, 22375808000n, ...LIMITS]) : long(r)
    if (r.below(100) < outside) return r.pick([low - 1n, high + 1n, 9223372036825200000n, ...LIMITS])
    const value = r.below(2) ? r.pick([low, high, 0n, -1n, 1n, 999n, -999n, -1000n, ...LONGS]) : r.signed(58)
    return value < low || value > high ? value % per : value
  }
}

const two = (n: number) => String(n).padStart(2, '0')

/** ISO 8601, in every way of writing it. */
function iso(zone: boolean, date: boolean) {
  return ({ random: r, outside }: Values) => {
    const far = r.below(100) < outside
    if (far && r.below(3) === 0) return r.pick(['infinity', '-infinity', 'Infinity', '+infinity'])
    const year = far
      ? r.pick(['-0043', '0000', '+20000', '10000', '-4712', '+294276'])
      : r.pick(['0002', '0999', '1582', '1969', '1970', '2000', '2024', '9998', String(1900 + r.below(200))])
    const days = `${year}-${two(1 + r.below(12))}-${two(1 + r.below(28))}`
    if (date) return `${days}${r.pick(['', 'Z', '+02:00'])}`
    const fraction = r.pick(['', '.0', '.5', '.123', '.123456', '.123456789', '.999999999999'])
    const seconds = r.below(5) === 0 ? '' : `:${two(r.below(60))}${fraction}`
    const offset = r.pick(['Z', 'Z', '+00:00', '-00:00', '+05:30', '-11:45', '+14', '+0130', '-08:00:30'])
    return `${days}${r.pick(['T', 'T', ' '])}${two(r.below(24))}:${two(r.below(60))}${seconds}${zone ? offset : r.pick(['', 'Z'])}`
  }
}

/** Two's complement, big endian; with too many bytes now and then. */
export function unscaledBytes(value: bigint, padding = 0): Buffer {
  let length = 1
  while (BigInt.asIntN(length * 8, value) !== value) length++
  const hex = BigInt.asUintN(length * 8, value)
    .toString(16)
    .padStart(length * 2, '0')
  return Buffer.concat([Buffer.alloc(padding, value < 0n ? 0xff : 0), Buffer.from(hex, 'hex')])
}

function unscaled({ random: r, outside }: Values, precision: number): bigint {
  const limit = 10n ** BigInt(precision)
  if (r.below(100) < outside) return r.pick([limit, -limit, limit * 7n + 3n, -(limit ** 2n)])
  if (r.below(2) === 0) return r.pick([0n, 1n, -1n, limit - 1n, 1n - limit, limit / 10n, -limit / 2n, 127n % limit])
  return r.signed(Math.ceil(precision * 3.33)) % limit
}

const padding = (r: Random) => (r.below(6) === 0 ? r.pick([1, 2, 16, 40]) : 0)

const CONNECT = 'org.apache.kafka.connect.data.'
const TIME = 'io.debezium.time.'

type Maker = (random: Random, name: () => string) => Kind

const plain = (schema: unknown, value: (r: Random) => unknown): Maker => {
  return () => ({ schema, value: ({ random }) => value(random) })
}
const of = (schema: unknown, value: Kind['value']): Maker => {
  return () => ({ schema, value })
}
const numbered = (type: 'int' | 'long', name: string) => {
  return plain({ type, 'connect.name': name }, type === 'int' ? int : long)
}

function connectDecimal(r: Random): Kind {
  const precision = 1 + r.below(r.below(3) === 0 ? 60 : 38)
  const scale = r.below(4) === 0 ? r.below(46) : r.below(precision + 1)
  const schema = {
    type: 'bytes',
    scale,
    precision,
    'connect.version': 1,
    'connect.parameters': { scale: String(scale), 'connect.decimal.precision': String(precision) },
    'connect.name': `${CONNECT}Decimal`,
    logicalType: 'decimal',
  }
  return { schema, value: (v) => unscaledBytes(unscaled(v, precision), padding(v.random)) }
}

/** Postgres' numeric(3,-2), whose scale is read as 11 bits, and Oracle's NUMBER(5,-2), whose is not. */
function negativeScale(r: Random): Kind {
  const precision = 1 + r.below(8)
  const scale = -1 - r.below(r.below(3) === 0 ? 40 : 6)
  const bits = r.below(2) === 0
  const shown = bits ? 2048 + scale : scale
  const parameters = { scale: String(shown), 'connect.decimal.precision': String(precision) }
  const schema = {
    type: 'bytes',
    scale: shown,
    precision,
    'connect.parameters': parameters,
    'connect.name': `${CONNECT}Decimal`,
  }
  const value = (v: Values) => {
    const number = unscaled({ ...v, outside: 0 }, precision)
    return unscaledBytes(bits ? number * 10n ** BigInt(2048) : number)
  }
  return { schema, value }
}

function money(r: Random): Kind {
  const scale = r.below(5)
  const schema = {
    type: 'bytes',
    scale,
    precision: 64,
    'connect.parameters': { scale: String(scale) },
    'connect.name': `${CONNECT}Decimal`,
    logicalType: 'decimal',
  }
  return { schema, value: (v) => unscaledBytes(unscaled(v, 38), padding(v.random)) }
}

function avroDecimal(r: Random, name: () => string): Kind {
  const precision = 1 + r.below(38)
  const scale = r.below(precision + 1)
  const fixed = r.below(2) === 0
  const size = 1 + r.below(20)
  const digits = Math.min(precision, Math.floor((size * 8 - 1) * 0.30103))
  const type = fixed ? { type: 'fixed', name: name(), size } : { type: 'bytes' }
  const value = (v: Values) => {
    if (!fixed) return unscaledBytes(unscaled(v, precision), padding(v.random))
    const number = unscaled({ ...v, outside: 0 }, digits)
    return unscaledBytes(number, size - unscaledBytes(number).length)
  }
  return { schema: { ...type, logicalType: 'decimal', precision, scale }, value }
}

function variableDecimal(_: Random, name: () => string): Kind {
  const schema = {
    type: 'record',
    name: name(),
    'connect.name': 'io.debezium.data.VariableScaleDecimal',
    fields: [
      { name: 'scale', type: 'int' },
      { name: 'value', type: 'bytes' },
    ],
  }
  const value = (v: Values) => {
    const r = v.random
    if (r.below(100) < v.outside) return { scale: r.pick([-400, -5000]), value: unscaledBytes(r.signed(40) * 10n + 1n) }
    const scale = r.pick([0, 1, 2, 10, 20, -1, -3, -20, 700, 1024, 1500, 2046])
    return { scale, value: unscaledBytes(r.signed(r.pick([8, 40, 120])), padding(r)) }
  }
  return { schema, value }
}

/** Every type that a connector may write, one value each. */
export const SCALARS: Maker[] = [
  plain('boolean', (r) => r.below(2) === 1),
  plain('int', int),
  plain('long', long),
  plain('float', (r) => Math.fround(r.below(2) ? r.pick(FLOATS) : (r.next() - 0.5) * 10 ** r.below(30))),
  plain('double', (r) => (r.below(2) ? r.pick(DOUBLES) : (r.next() - 0.5) * 10 ** (r.below(600) - 300))),
  plain('string', text),
  plain('bytes', (r) => r.bytes(r.below(300) === 0 ? 66_000 : r.below(70))),
  plain({ type: 'int', 'connect.type': 'int8' }, (r) => r.pick([-128, 127, 0, r.below(256) - 128])),
  plain({ type: 'int', 'connect.type': 'int16' }, (r) => r.pick([-32768, 32767, 0, r.below(65536) - 32768])),
  of({ type: 'int', 'connect.name': `${CONNECT}Date`, logicalType: 'date' }, day),
  of({ type: 'int', 'connect.name': `${TIME}Date` }, day),
  of({ type: 'int', logicalType: 'date' }, day),
  of({ type: 'string', 'connect.name': `${TIME}IsoDate` }, iso(false, true)),
  of({ type: 'string', 'connect.name': `${TIME}IsoTimestamp` }, iso(false, false)),
  of({ type: 'string', 'connect.name': `${TIME}ZonedTimestamp` }, iso(true, false)),
  of({ type: 'long', 'connect.name': `${CONNECT}Timestamp`, logicalType: 'timestamp-millis' }, moment('ms')),
  of({ type: 'long', 'connect.name': `${TIME}Timestamp` }, moment('ms')),
  of({ type: 'long', 'connect.name': `${TIME}MicroTimestamp` }, moment('us')),
  of({ type: 'long', 'connect.name': `${TIME}NanoTimestamp` }, moment('ns')),
  of({ type: 'long', logicalType: 'timestamp-millis' }, moment('ms')),
  of({ type: 'long', logicalType: 'timestamp-micros' }, moment('us')),
  of({ type: 'long', logicalType: 'timestamp-nanos' }, moment('ns')),
  of({ type: 'long', logicalType: 'local-timestamp-millis' }, moment('ms')),
  of({ type: 'long', logicalType: 'local-timestamp-micros' }, moment('us')),
  numbered('int', `${CONNECT}Time`),
  numbered('int', `${TIME}Time`),
  numbered('long', `${TIME}MicroTime`),
  numbered('long', `${TIME}NanoTime`),
  plain({ type: 'int', logicalType: 'time-millis' }, int),
  plain({ type: 'long', logicalType: 'time-micros' }, long),
  numbered('int', `${TIME}Year`),
  numbered('long', `${TIME}MicroDuration`),
  plain({ type: 'string', 'connect.name': `${TIME}Interval` }, (r) => r.pick(['P1Y2M3DT4H5M6.78S', 'P0Y'])),
  plain({ type: 'string', 'connect.name': `${TIME}ZonedTime` }, (r) => r.pick(['12:30:00Z', '24:00:00+02:00'])),
  plain({ type: 'string', 'connect.name': 'io.debezium.data.Json' }, (r) => r.pick(['{"a": 1}', 'null', '[]'])),
  plain({ type: 'string', 'connect.name': 'io.debezium.data.Uuid' }, () => '6f1c5c52-3b0f-4c3c-8f0d-4b6f8f1d2a10'),
  plain({ type: 'string', 'connect.name': 'io.debezium.data.Enum', 'connect.parameters': { allowed: 'a,b' } }, (r) =>
    r.pick(['a', 'b']),
  ),
  plain({ type: 'bytes', 'connect.name': 'io.debezium.data.Bits', 'connect.parameters': { length: '20' } }, (r) =>
    r.bytes(3),
  ),
  connectDecimal,
  connectDecimal,
  negativeScale,
  money,
  avroDecimal,
  variableDecimal,
  (_, name) => ({
    schema: { type: 'enum', name: name(), symbols: ['A', 'B', 'LONGER'] },
    value: ({ random }) => random.pick(['A', 'B', 'LONGER']),
  }),
  (r, name) => {
    const size = 1 + r.below(40)
    return { schema: { type: 'fixed', name: name(), size }, value: ({ random }) => random.bytes(size) }
  },
  (_, name) => ({
    schema: {
      type: 'record',
      name: name(),
      'connect.name': 'io.debezium.data.geometry.Point',
      fields: [
        { name: 'x', type: 'double' },
        { name: 'wkb', type: ['null', 'bytes'] },
        { name: 'srid', type: ['null', 'int'] },
      ],
    },
    value: ({ random: r }) => ({
      x: r.next(),
      wkb: r.below(2) ? null : { bytes: r.bytes(21) },
      srid: r.below(2) ? null : { int: 4326 },
    }),
  }),
]

/** The name that avsc gives a branch of a union. */
function branchName(schema: unknown): string {
  if (typeof schema === 'string') return schema
  const { type, name } = schema as { type: string; name?: string }
  return name ?? type
}

const COUNTS = [0, 1, 2, 5, 30]

function randomUnion(random: Random, depth: number, name: () => string): Kind {
  const members = new Map<string, Kind>()
  const wanted = random.below(3) === 0 ? 2 + random.below(3) : 1
  for (let tries = 0; members.size < wanted && tries < 20; tries++) {
    const kind = randomKind(random, depth - 1, name)
    if (!Array.isArray(kind.schema)) members.set(branchName(kind.schema), kind)
  }
  const branches = [...members]
  const at = random.below(branches.length + 1)
  const schemas: unknown[] = branches.map(([, kind]) => kind.schema)
  const nullable = branches.length < 2 || random.below(4) > 0
  if (nullable) schemas.splice(random.below(2) === 0 ? 0 : at, 0, 'null')
  return {
    schema: schemas,
    value: (values) => {
      if (nullable && values.random.below(3) === 0) return null
      const [branch, kind] = values.random.pick(branches)
      return { [branch]: kind.value(values) }
    },
  }
}

export function randomKind(random: Random, depth: number, name: () => string): Kind {
  const shape = depth > 0 ? random.below(12) : 0
  if (shape < 6) return random.pick(SCALARS)(random, name)
  if (shape < 9) return randomUnion(random, depth, name)
  if (shape === 9) {
    const { schema, value } = randomKind(random, depth - 1, name)
    const items = (v: Values) => Array.from({ length: v.random.pick(COUNTS) }, () => value(v))
    return { schema: { type: 'array', items: schema }, value: items }
  }
  if (shape === 10) {
    const { schema, value } = randomKind(random, depth - 1, name)
    const entries = (v: Values) =>
      Object.fromEntries(Array.from({ length: v.random.pick([0, 1, 3, 15]) }, (_, i) => [`k${i}é`, value(v)]))
    return { schema: { type: 'map', values: schema }, value: entries }
  }
  const fields = Array.from({ length: 1 + random.below(4) }, (_, i) => ({
    name: `f${i}`,
    kind: randomKind(random, depth - 1, name),
  }))
  return {
    schema: { type: 'record', name: name(), fields: fields.map((f) => ({ name: f.name, type: f.kind.schema })) },
    value: (v) => Object.fromEntries(fields.map((f) => [f.name, f.kind.value(v)])),
  }
}

export function randomOptions(random: Random, schema: unknown): ReferenceOptions {
  const options: ReferenceOptions = {}
  if (random.below(3) > 0) options.outOfRange = random.pick(['null', 'clamp', 'fail'])
  if (!isNested(schema) && random.below(4) === 0) return { ...options, type: 'string' }
  if (random.below(3) === 0) options.timestampNtz = true
  if (random.below(3) === 0) options.time = 'string'
  if (random.below(3) === 0) options.smallIntegers = true
  const scale = random.below(39)
  if (random.below(3) === 0) options.decimal = random.pick(['string', 'double', { precision: 38, scale }])
  return options
}

/** Whether it has no text of its own. */
function isNested(schema: unknown): boolean {
  if (Array.isArray(schema)) {
    const others = schema.filter((branch) => branch !== 'null')
    return others.length > 1 || others.some(isNested)
  }
  const shape = schema as { type?: string; logicalType?: string; 'connect.name'?: string }
  const type = typeof schema === 'string' ? schema : (shape.type as string)
  const name = shape['connect.name'] ?? ''
  if (/(VariableScaleDecimal|data\.Decimal)$/.test(name) || shape.logicalType === 'decimal') return false
  return ['bytes', 'fixed', 'array', 'map', 'record'].includes(type)
}

export interface RandomTable {
  schema: unknown
  columns: { name: string; kind: Kind; options: ReferenceOptions }[]
  /** A row with this id, as avsc writes it. */
  row(id: number, values: Values): Record<string, unknown>
}

export function randomTable(random: Random, count: number, depth = 3): RandomTable {
  let names = 0
  const columns = Array.from({ length: count }, (_, i) => {
    const kind = randomKind(random, depth, () => `N${names++}`)
    return { name: `c${i}`, kind, options: randomOptions(random, kind.schema) }
  })
  return {
    columns,
    schema: {
      type: 'record',
      name: 'Value',
      fields: [{ name: 'id', type: 'long' }, ...columns.map((c) => ({ name: c.name, type: c.kind.schema }))],
    },
    row: (id, values) => ({
      id: BigInt(id),
      ...Object.fromEntries(columns.map((c) => [c.name, c.kind.value(values)])),
    }),
  }
}
