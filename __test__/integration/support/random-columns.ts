/** Columns as Debezium writes them, with random values, and what is written where a value is left out or made up. */

import { createHash } from 'node:crypto'
import type { Random } from '../../helpers/random.js'
import { nested } from './random-nested.js'
import type { Flavour } from './random-source.js'

export const PLACEHOLDER = '__debezium_unavailable_value'
export const RAW = Buffer.from(PLACEHOLDER)

/** A type of columns. Values are kept in a form that a wider type understands, too. */
export interface ColumnType {
  kind: string
  /** The Avro type, without null. Records are whole; see {@link namedOnce}. */
  schema: unknown
  make(random: Random): unknown
  /** The value as avsc wants it. */
  avro(value: unknown): unknown
  /** Whether a value of a wider type can be written. */
  fits(value: unknown): boolean
  /** What a delete may hold instead of the value. */
  madeUp: unknown
  /** What is written where a change leaves the value as it was; undefined: it never does. */
  leftOut?: unknown
  /** What Avro's JSON has for a default; undefined: none. */
  default?: unknown
  wider?: () => ColumnType
  /** The column that `YEAR(…)` can be taken of. */
  isDate?: boolean
  /** The same column with other fields within it, or wider ones. */
  grow?: (random: Random) => ColumnType
}

export const same = (value: unknown) => value
const always = () => true
export const plain = (
  kind: string,
  schema: unknown,
  make: (random: Random) => unknown,
  madeUp: unknown,
): ColumnType => ({
  kind,
  schema,
  make,
  avro: same,
  fits: always,
  madeUp,
})

export const named = (type: string, name: string, more: object = {}) => ({
  type,
  'connect.version': 1,
  'connect.name': name,
  ...more,
})
export const TIME = 'io.debezium.time.'
export const CONNECT = 'org.apache.kafka.connect.data.'

const WORDS = [
  '',
  'a',
  'ß€😀',
  ' x ',
  "it's",
  '"q"',
  'a/b=c%20',
  'null',
  'NULL',
  '\\N',
  '{',
  `${PLACEHOLDER}!`,
  'é',
  'z\ny',
]
export const text = (random: Random): string =>
  random.next() < 0.5 ? random.pick(WORDS) : `t${random.below(1e6)}${'y'.repeat(random.below(60))}`

export function uuid(random: Random): string {
  const hex = random.bytes(16).toString('hex')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`
}

function nameUuid(): string {
  const hash = createHash('md5').update(RAW).digest()
  hash[6] = ((hash[6] as number) & 0x0f) | 0x30
  hash[8] = ((hash[8] as number) & 0x3f) | 0x80
  const hex = hash.toString('hex')
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-')
}

export function long(): ColumnType {
  const make = (random: Random) => random.signed(random.pick([10, 32, 54, 64]))
  return { ...plain('long', 'long', make, 0n), default: 0 }
}

export function int(): ColumnType {
  const fits = (v: unknown) => BigInt.asIntN(32, v as bigint) === v
  const make = (random: Random) => random.signed(random.pick([8, 32]))
  return { ...plain('int', 'int', make, 0n), avro: Number, fits, default: 0, wider: long }
}

export function short(): ColumnType {
  const schema = { type: 'int', 'connect.type': 'int16' }
  return {
    ...int(),
    kind: 'short',
    schema,
    make: (r) => r.signed(16),
    fits: (v) => BigInt.asIntN(16, v as bigint) === v,
  }
}

const DOUBLES = [0, -0, 1 / 3, Number.NaN, Number.POSITIVE_INFINITY, -1e300, 5e-324, 2 ** 53 + 2]
export const double = (): ColumnType => ({
  ...plain('double', 'double', (r) => (r.next() < 0.4 ? r.pick(DOUBLES) : r.next() * 1e6), 0),
  default: 0,
})
export const float = (): ColumnType => ({
  ...plain('float', 'float', (r) => Math.fround(r.pick([0, -0, 1.5, 0.1, Number.NaN, -3e38, r.next() * 100])), 0),
  fits: (v) => Object.is(Math.fround(v as number), v),
  wider: double,
})

export interface Scaled {
  unscaled: bigint
  scale: number
}

/** Two's complement, big endian, as few bytes as needed. */
export function bigBytes(value: bigint): Buffer {
  let bits = 8
  while (BigInt.asIntN(bits, value) !== value) bits += 8
  return Buffer.from(
    BigInt.asUintN(bits, value)
      .toString(16)
      .padStart(bits / 4, '0'),
    'hex',
  )
}

/** The number's digits at a scale; null where some would be lost. */
export function unscaledAt(value: unknown, scale: number): bigint | null {
  const { unscaled, scale: own } = value as Scaled
  if (own <= scale) return unscaled * 10n ** BigInt(scale - own)
  const unit = 10n ** BigInt(own - scale)
  return unscaled % unit === 0n ? unscaled / unit : null
}

export function decimal(precision: number, scale: number): ColumnType {
  const schema = {
    type: 'bytes',
    scale,
    precision,
    'connect.version': 1,
    'connect.parameters': { scale: String(scale), 'connect.decimal.precision': String(precision) },
    'connect.name': `${CONNECT}Decimal`,
    logicalType: 'decimal',
  }
  const make = (random: Random): Scaled => {
    const digits = 1 + random.below(precision)
    let unscaled = 0n
    for (let i = 0; i < digits; i++) unscaled = unscaled * 10n + BigInt(random.below(10))
    return { unscaled: random.next() < 0.5 ? -unscaled : unscaled, scale }
  }
  const fits = (value: unknown) => {
    const own = unscaledAt(value, scale)
    return own !== null && (own < 0n ? -own : own) < 10n ** BigInt(precision)
  }
  const avro = (value: unknown) => bigBytes(unscaledAt(value, scale) as bigint)
  const wider = () => (precision < 30 ? decimal(precision + 4, scale + (scale % 2)) : decimal(precision, scale))
  return { ...plain(`decimal(${precision},${scale})`, schema, make, { unscaled: 0n, scale }), avro, fits, wider }
}

const VARIABLE = {
  type: 'record',
  name: 'VariableScaleDecimal',
  namespace: 'io.debezium.data',
  fields: [
    { name: 'scale', type: 'int' },
    { name: 'value', type: 'bytes' },
  ],
  'connect.version': 1,
  'connect.name': 'io.debezium.data.VariableScaleDecimal',
}

const POINT = {
  type: 'record',
  name: 'Point',
  namespace: 'io.debezium.data.geometry',
  fields: [
    { name: 'x', type: 'double' },
    { name: 'y', type: 'double' },
    { name: 'wkb', type: ['null', 'bytes'], default: null },
    { name: 'srid', type: ['null', 'int'], default: null },
  ],
  'connect.version': 1,
  'connect.name': 'io.debezium.data.geometry.Point',
}

const MIN_DAY = -719162
const MAX_DAY = 2932896
export const DAY = 86_400_000
export const days = (random: Random) =>
  random.next() < 0.1 ? random.pick([MIN_DAY, MAX_DAY, -1, 0, -25567, 11016]) : random.below(40_000) - 5_000
export const date = (schema: unknown): ColumnType => ({
  ...plain('date', schema, days, 0),
  isDate: true,
})
export const millis = (random: Random) => BigInt(days(random)) * BigInt(DAY) + BigInt(random.below(DAY))
export const stamp = (kind: string, schema: unknown, make: (random: Random) => bigint): ColumnType => ({
  ...plain(kind, schema, make, 0n),
  isDate: true,
})
export const zoned = (): ColumnType => {
  const make = (random: Random) => {
    const iso = new Date(random.below(4e9) * 1000 - 1e12).toISOString().slice(0, 19)
    const fraction = random.pick(['', '.5', '.123456', '.000001', '.25'])
    return `${iso}${fraction}Z`
  }
  return {
    ...plain('zoned', named('string', `${TIME}ZonedTimestamp`), make, '1970-01-01T00:00:00Z'),
    isDate: true,
  }
}

const string = (): ColumnType => ({
  ...plain('string', 'string', text, ''),
  leftOut: PLACEHOLDER,
  default: 'd',
})
const bytes = (): ColumnType => ({
  ...plain('bytes', 'bytes', (r) => r.bytes(r.below(40)), Buffer.alloc(0)),
  leftOut: RAW,
})
const json = (): ColumnType => ({
  ...plain(
    'json',
    named('string', 'io.debezium.data.Json'),
    (r) => JSON.stringify({ a: r.below(100), b: text(r) }),
    '{}',
  ),
  // Of hstore as JSON text, and of json and jsonb.
  leftOut: JSON.stringify({ [PLACEHOLDER]: PLACEHOLDER }),
})
export const array = (
  kind: string,
  items: unknown,
  make: (random: Random) => unknown,
  leftOut: unknown,
): ColumnType => ({
  ...plain(`array(${kind})`, { type: 'array', items }, (r) => Array.from({ length: r.below(5) }, () => make(r)), []),
  leftOut,
})
export const maybe = (make: (random: Random) => unknown) => (random: Random) =>
  random.next() < 0.2 ? null : make(random)

/** Bytes as `binary.handling.mode` writes them. */
const encoded = (encoding: 'base64' | 'base64url' | 'hex') => (): ColumnType => ({
  ...plain(`bytes as ${encoding}`, 'string', (r) => r.bytes(r.below(20)).toString(encoding), ''),
  leftOut: RAW.toString(encoding),
})

/** Types of all databases. */
const COMMON: (() => ColumnType)[] = [
  () => ({ ...plain('boolean', 'boolean', (r) => r.next() < 0.5, false), default: false }),
  short,
  int,
  int,
  long,
  float,
  double,
  string,
  string,
  bytes,
  encoded('base64'),
  encoded('hex'),
  json,
  () => decimal(10, 2),
  () => decimal(4, 0),
  () => decimal(18, 5),
  () => decimal(38, 10),
  zoned,
  () => date(named('int', `${TIME}Date`)),
  () => date(named('int', `${CONNECT}Date`, { logicalType: 'date' })),
  () => stamp('timestamp', named('long', `${TIME}Timestamp`), millis),
  () => stamp('connect timestamp', named('long', `${CONNECT}Timestamp`, { logicalType: 'timestamp-millis' }), millis),
  () => stamp('micro', named('long', `${TIME}MicroTimestamp`), (r) => millis(r) * 1000n + BigInt(r.below(1000))),
  () => plain('microtime', named('long', `${TIME}MicroTime`), (r) => BigInt(r.below(DAY)) * 1000n, 0n),
  () => plain('time', named('int', `${TIME}Time`), (r) => r.below(DAY), 0),
  () =>
    plain(
      'enum',
      named('string', 'io.debezium.data.Enum', { 'connect.parameters': { allowed: 'a,b' } }),
      (r) => r.pick(['a', 'b']),
      'a',
    ),
  () =>
    plain(
      'point',
      POINT,
      (r) => ({ x: r.next(), y: -r.next(), wkb: maybe((q) => q.bytes(5))(r), srid: maybe(() => 4326)(r) }),
      {
        x: 0,
        y: 0,
        wkb: null,
        srid: null,
      },
    ),
]

const POSTGRES: (() => ColumnType)[] = [
  () => ({
    ...plain('uuid', named('string', 'io.debezium.data.Uuid'), uuid, '00000000-0000-0000-0000-000000000000'),
  }),
  () => ({
    ...plain('variable', VARIABLE, (r) => ({ scale: r.below(30), value: bigBytes(r.signed(120)) }), {
      scale: 0,
      value: Buffer.from([0]),
    }),
  }),
  () => stamp('nano', named('long', `${TIME}NanoTimestamp`), (r) => BigInt(r.below(4_000_000)) * 1_000_003_517_123n),
  () => plain('duration', named('long', `${TIME}MicroDuration`), (r) => r.signed(50), 0n),
  () =>
    plain(
      'bits',
      named('bytes', 'io.debezium.data.Bits', { 'connect.parameters': { length: '9' } }),
      (r) => r.bytes(2),
      Buffer.from([0]),
    ),
  () => array('string', ['null', 'string'], maybe(text), [PLACEHOLDER]),
  () =>
    array(
      'bytes',
      ['null', 'bytes'],
      maybe((r) => r.bytes(3)),
      [RAW],
    ),
  () =>
    array(
      'int',
      ['null', 'int'],
      maybe((r) => Number(r.signed(32))),
      [...RAW],
    ),
  () =>
    array(
      'long',
      ['null', 'long'],
      maybe((r) => r.signed(64)),
      [...RAW].map(BigInt),
    ),
  () => array('double', ['null', 'double'], maybe(double().make), [...RAW]),
  () => array('float', ['null', 'float'], maybe(float().make), [...RAW]),
  () => array('micro', ['null', named('long', `${TIME}MicroTimestamp`)], maybe(millis), [...RAW].map(BigInt)),
  () => {
    const item = decimal(10, 2)
    const make = maybe((r) => item.avro(item.make(r)))
    const leftOut = [...RAW].map((byte) => Buffer.from([byte]))
    return array('decimal', ['null', item.schema], make, leftOut)
  },
  () => array('uuid', ['null', named('string', 'io.debezium.data.Uuid')], maybe(uuid), [nameUuid()]),
  () => array('date', ['null', named('int', `${TIME}Date`)], maybe(days), [...RAW]),
  () => ({
    ...plain(
      'hstore',
      { type: 'map', values: ['null', 'string'] },
      (r) => Object.fromEntries(Array.from({ length: r.below(4) }, (_, i) => [`k${i}`, maybe(text)(r)])),
      {},
    ),
    leftOut: { [PLACEHOLDER]: PLACEHOLDER },
  }),
]

const MYSQL: (() => ColumnType)[] = [
  () => plain('year', named('int', `${TIME}Year`), (r) => 1901 + r.below(200), 1970),
  () =>
    plain(
      'set',
      named('string', 'io.debezium.data.EnumSet', { 'connect.parameters': { allowed: 'x,y' } }),
      (r) => r.pick(['', 'x', 'x,y']),
      '',
    ),
  () => ({ ...plain('binary', 'bytes', (r) => r.bytes(16), Buffer.alloc(16)) }),
]

export const randomType = (random: Random, flavour: Flavour): ColumnType => {
  if (random.next() < 0.1) return nested(random)
  return random.pick([...COMMON, ...(flavour === 'postgres' ? POSTGRES : flavour === 'mysql' ? MYSQL : [])])()
}

/** A column of one version of a table. */
export interface Column {
  name: string
  type: ColumnType
  null: 'never' | 'first' | 'last'
}

export function fieldOf({ name, type, null: nulls }: Column, once: (schema: unknown) => unknown): object {
  const schema = once(type.schema)
  if (nulls === 'first') return { name, type: ['null', schema], default: null }
  const given = type.default === undefined ? {} : { default: type.default }
  return { name, type: nulls === 'last' ? [schema, 'null'] : schema, ...given }
}

/** Writes a named record in full only where it occurs first. */
export function namedOnce(): (schema: unknown) => unknown {
  const seen = new Set<string>()
  return (schema) => {
    const { type, name, namespace } = schema as { type?: string; name?: string; namespace?: string }
    if (type !== 'record') return schema
    const full = `${namespace}.${name}`
    if (seen.has(full)) return full
    seen.add(full)
    return schema
  }
}

/** Text that differs where keys do, whatever types they are written with. */
export function identity(key: unknown[]): string {
  const one = (_: string, value: unknown): unknown => {
    if (typeof value === 'bigint') return String(value)
    const { unscaled, scale } = (value ?? {}) as { unscaled?: bigint; scale?: number }
    return unscaled === undefined ? value : String(unscaled * 10n ** BigInt(40 - (scale as number)))
  }
  return JSON.stringify(key, one)
}
