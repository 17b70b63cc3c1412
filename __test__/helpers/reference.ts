/**
 * What the decoder must give, written a second time: from a schema and a value that avsc decoded, with whole numbers of
 * any size and nothing of the program's own code.
 */

/** A value that the column's type cannot hold, where the options say to fail. */
export class Outside extends Error {}

/** Bytes that no encoder writes for this type: a malformed text, an empty decimal. */
export class Malformed extends Error {}

export interface ReferenceOptions {
  timestampNtz?: boolean
  time?: 'number' | 'string'
  smallIntegers?: boolean
  decimal?: 'string' | 'double' | { precision: number; scale: number }
  outOfRange?: 'fail' | 'null' | 'clamp'
  type?: 'string'
}

export interface Reference {
  /** In Delta's words. */
  type: string
  /** The value in the form of `plainAt`; maps as Map. @throws Outside, Malformed */
  convert(value: unknown): unknown
}

type Json = string | Json[] | { [key: string]: unknown }
type Shape = { [key: string]: unknown; type?: unknown }

const MIN_DAY = -719_162n
const MAX_DAY = 2_932_896n
const DAY = 86_400_000_000n
const MIN_MICROS = MIN_DAY * DAY
const MAX_MICROS = (MAX_DAY + 1n) * DAY - 1n

const floorDiv = (a: bigint, b: bigint) => {
  const remainder = ((a % b) + b) % b
  return (a - remainder) / b
}

/** The value, or what the options make of one outside. */
function within(value: bigint, low: bigint, high: bigint, options: ReferenceOptions): bigint | null {
  if (value >= low && value <= high) return value
  if (options.outOfRange === 'null') return null
  if (options.outOfRange === 'clamp') return value < low ? low : high
  throw new Outside(String(value))
}

/** What Debezium writes for PostgreSQL's `infinity` and `-infinity`: numbers that are dates, but not the ones meant. */
const INFINITE_DAYS: Record<string, string> = {
  '-2147472692': 'infinity',
  '-2147472691': '-infinity',
  '-622191234': 'infinity',
  '-622191233': 'infinity',
  '-625821272': '-infinity',
  '-625821271': '-infinity',
  // Of snapshots, as ISO texts: +292269055-12-02 and -03.
  '106748361128': '-infinity',
  '106748361129': '-infinity',
}
const INFINITE_NANOS: Record<string, string> = {
  '9223372036854775807': 'infinity',
  '-29575808000': 'infinity',
  '-9223372036854775807': '-infinity',
  '-9223372036854775808': '-infinity',
  '22375808000': '-infinity',
}

/** A number beyond every range, in the direction of the infinity. */
const farAway = (infinity: string) => (infinity === 'infinity' ? 1n : -1n) * 10n ** 30n

/** Days since 1970, by JavaScript's calendar; 400 years are 146,097 days. */
export function civilDays(year: number, month: number, day: number): bigint {
  const cycles = Math.floor(year / 400)
  const date = new Date(0)
  date.setUTCFullYear(2000 + year - cycles * 400, month - 1, day)
  if (date.getUTCMonth() !== month - 1 || date.getUTCDate() !== day) throw new Malformed('no such day')
  return BigInt(date.getTime() / 86_400_000) + BigInt(cycles - 5) * 146_097n
}

export function dayText(days: bigint): string {
  const cycles = floorDiv(days, 146_097n)
  const date = new Date(Number(days - cycles * 146_097n) * 86_400_000)
  const year = BigInt(date.getUTCFullYear()) + cycles * 400n
  const digits = String(year < 0n ? -year : year).padStart(4, '0')
  return `${year < 0n ? '-' : year > 9999n ? '+' : ''}${digits}${date.toISOString().slice(4, 10)}`
}

const ISO =
  /^([+-]?)(\d{4,10})-(\d\d)-(\d\d)(?:[Tt ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d+))?)?)?(Z|z|[+-]\d\d(?::?\d\d(?::?\d\d)?)?)?$/

interface Iso {
  days: bigint
  /** Microseconds since 1970, or null for a date alone. */
  micros: bigint | null
}

function parseIso(text: string): Iso | 'before' | 'after' {
  // Without regard to what follows: the program looks at the first word alone.
  if (/^[+]?infinity$/i.test(text)) return 'after'
  if (/^-infinity$/i.test(text)) return 'before'
  const match = ISO.exec(text)
  if (match === null) throw new Malformed(text)
  const [, sign, year, month, day, hours, minutes, seconds, fraction, zone] = match
  if (Number(month) < 1 || Number(month) > 12 || Number(day) < 1) throw new Malformed(text)
  const days = civilDays(Number(year) * (sign === '-' ? -1 : 1), Number(month), Number(day))
  let offset = 0n
  if (zone !== undefined && !/z/i.test(zone)) {
    const parts = zone.slice(1).replaceAll(':', '').match(/\d\d/g) as string[]
    if (parts.some((part) => Number(part) > 59)) throw new Malformed(text)
    const [h = '0', m = '0', s = '0'] = parts
    offset = (BigInt(h) * 3600n + BigInt(m) * 60n + BigInt(s)) * (zone[0] === '-' ? -1n : 1n)
  }
  if (hours === undefined) return { days, micros: null }
  const micros = BigInt((fraction ?? '').padEnd(6, '0').slice(0, 6))
  const [h, m, s] = [Number(hours), Number(minutes), Number(seconds ?? 0)]
  if (h > 24 || m > 59 || s > 59 || (h === 24 && (m > 0 || s > 0 || micros > 0n))) throw new Malformed(text)
  const total = days * 86_400n + BigInt(h * 3600 + m * 60 + s) - offset
  return { days, micros: total * 1_000_000n + micros }
}

const scaled = (unscaled: bigint, scale: number) => ({ unscaled, scale })

/** All digits, no exponent. */
export function digitsOf({ unscaled, scale }: { unscaled: bigint; scale: number }): string {
  const sign = unscaled < 0n ? '-' : ''
  const digits = String(unscaled < 0n ? -unscaled : unscaled)
  if (scale <= 0) return unscaled === 0n ? '0' : `${sign}${digits}${'0'.repeat(-scale)}`
  const long = '0'.repeat(Math.max(0, scale + 1 - digits.length)) + digits
  return `${sign}${long.slice(0, long.length - scale)}.${long.slice(long.length - scale)}`
}

function twosComplement(bytes: Uint8Array): bigint {
  if (bytes.length === 0) throw new Malformed('a decimal without bytes')
  let value = 0n
  for (const byte of bytes) value = value * 256n + BigInt(byte)
  return (bytes[0] as number) > 127 ? value - 256n ** BigInt(bytes.length) : value
}

function fitDecimal(
  value: { unscaled: bigint; scale: number },
  precision: number,
  scale: number,
  options: ReferenceOptions,
): string | null {
  const up = 10n ** BigInt(Math.max(0, scale - value.scale))
  const down = 10n ** BigInt(Math.max(0, value.scale - scale))
  const limit = 10n ** BigInt(precision)
  const exact = (value.unscaled * up) % down === 0n
  let unscaled = (value.unscaled * up) / down
  if (!exact || unscaled >= limit || unscaled <= -limit) {
    if (options.outOfRange === 'null') return null
    if (options.outOfRange !== 'clamp') throw new Outside(`decimal(${precision},${scale})`)
    if (unscaled >= limit) unscaled = limit - 1n
    if (unscaled <= -limit) unscaled = 1n - limit
  }
  const text = digitsOf({ unscaled, scale })
  return scale > 0 ? text.replace(/\.?0+$/, '') : text
}

function unbounded(options: ReferenceOptions): (value: { unscaled: bigint; scale: number }) => unknown {
  const { decimal = 'string' } = options
  if (decimal === 'string') return digitsOf
  if (decimal !== 'double') return (value) => fitDecimal(value, decimal.precision, decimal.scale, options)
  return (value) => {
    const number = Number(digitsOf(value))
    if (Number.isFinite(number)) return number
    if (options.outOfRange === 'null') return null
    if (options.outOfRange === 'clamp') return number < 0 ? -Number.MAX_VALUE : Number.MAX_VALUE
    throw new Outside('double')
  }
}

function unboundedName(options: ReferenceOptions): string {
  const { decimal = 'string' } = options
  return typeof decimal === 'string' ? decimal : `decimal(${decimal.precision},${decimal.scale})`
}

function decimalOf(shape: Shape, options: ReferenceOptions): Reference {
  const parameters = (shape['connect.parameters'] ?? {}) as Record<string, string>
  const connect = shape['connect.name'] !== undefined
  const scale = (shape.scale as number | undefined) ?? Number(parameters.scale ?? 0)
  const declared = parameters['connect.decimal.precision']
  const precision = (shape.precision as number | undefined) ?? Number(declared ?? 64)
  const real = scale > 1023 && scale < 2048 ? scale - 2048 : scale
  const read = (value: unknown) => scaled(twosComplement(value as Buffer), scale)
  // The source's negative scale, read as 11 bits: the digits are those of the 11 bits.
  const digits = (value: { unscaled: bigint; scale: number }) => {
    if (real === scale) return digitsOf(value)
    const power = 10n ** BigInt(scale)
    if (value.unscaled % power !== 0n) throw new Malformed('a fraction with a negative scale')
    return String(value.unscaled / power)
  }
  if (options.type === 'string') return { type: 'string', convert: (value) => digits(read(value)) }
  let type: { precision: number; scale: number } | null
  if (real < 0) type = { precision: precision - real, scale: 0 }
  else if (connect && declared === undefined && precision === 64 && scale <= 4) type = { precision: 38, scale }
  else type = { precision: Math.max(precision, scale), scale }
  if (type.precision > 38) {
    const store = (options.decimal ?? 'string') === 'string' ? digits : unbounded(options)
    return { type: unboundedName(options), convert: (value) => store(read(value)) }
  }
  const { precision: p, scale: s } = type
  return { type: `decimal(${p},${s})`, convert: (value) => fitDecimal(read(value), p, s, options) }
}

const PER_MICRO: Record<string, [bigint, bigint]> = { ms: [1000n, 1n], us: [1n, 1n], ns: [1n, 1000n] }
const PER_SECOND: Record<string, bigint> = { ms: 1000n, us: 1_000_000n, ns: 1_000_000_000n }

function timestampText(value: bigint, unit: string): string {
  const per = PER_SECOND[unit] as bigint
  const seconds = floorDiv(value, per)
  const days = floorDiv(seconds, 86_400n)
  const ofDay = new Date(Number(seconds - days * 86_400n) * 1000).toISOString().slice(11, 19)
  const part = value - seconds * per
  const fraction = part === 0n ? '' : `.${String(per + part).slice(1)}`.replace(/0+$/, '')
  return `${dayText(days)} ${ofDay}${fraction}`
}

function timeText(value: bigint, unit: string): string {
  const size = value < 0n ? -value : value
  const per = PER_SECOND[unit] as bigint
  const seconds = size / per
  const two = (n: bigint) => String(n).padStart(2, '0')
  const fraction = String(per + (size % per))
    .slice(1)
    .padEnd(6, '0')
    .replace(/^(\d{6})000$/, '$1')
  const clock = `${two(seconds / 3600n)}:${two((seconds / 60n) % 60n)}:${two(seconds % 60n)}`
  return `${value < 0n ? '-' : ''}${clock}.${fraction}`
}

/** A check of a text that may be written in several ways. */
export type Check = (actual: unknown) => boolean

const floatText =
  (value: number, round: (n: number) => number): Check =>
  (actual) =>
    typeof actual === 'string' &&
    /^(NaN|-?Infinity|-?\d+\.\d+|-?\d\.\d+E-?\d+)$/.test(actual) &&
    Object.is(round(Number(actual)), value)

const TIME_UNITS: Record<string, string> = {
  'org.apache.kafka.connect.data.Time': 'ms',
  'io.debezium.time.Time': 'ms',
  'time-millis': 'ms',
  'io.debezium.time.MicroTime': 'us',
  'time-micros': 'us',
  'io.debezium.time.NanoTime': 'ns',
}

const TIMESTAMP_UNITS: Record<string, string> = {
  'org.apache.kafka.connect.data.Timestamp': 'ms',
  'io.debezium.time.Timestamp': 'ms',
  'timestamp-millis': 'ms',
  'local-timestamp-millis': 'ms',
  'io.debezium.time.MicroTimestamp': 'us',
  'timestamp-micros': 'us',
  'local-timestamp-micros': 'us',
  'io.debezium.time.NanoTimestamp': 'ns',
  'timestamp-nanos': 'ns',
  'local-timestamp-nanos': 'ns',
}

const DATES = ['org.apache.kafka.connect.data.Date', 'io.debezium.time.Date', 'date']

function scalar(shape: Shape, options: ReferenceOptions): Reference {
  const name = (shape['connect.name'] ?? shape.logicalType ?? '') as string
  const text = options.type === 'string'
  switch (shape.type) {
    case 'boolean':
      return { type: text ? 'string' : 'boolean', convert: (v) => (text ? String(v) : v) }
    case 'int':
    case 'long': {
      const unit = TIME_UNITS[name] ?? ''
      if (shape.type === 'int' && DATES.includes(name)) {
        const infinity = (v: unknown) => INFINITE_DAYS[String(v)]
        if (text) return { type: 'string', convert: (v) => infinity(v) ?? dayText(BigInt(v as number)) }
        const convert = (v: unknown) => {
          const infinite = infinity(v)
          const day = within(
            infinite === undefined ? BigInt(v as number) : farAway(infinite),
            MIN_DAY,
            MAX_DAY,
            options,
          )
          return day === null ? null : Number(day)
        }
        return { type: 'date', convert }
      }
      const moment = shape.type === 'long' ? TIMESTAMP_UNITS[name] : undefined
      if (moment !== undefined) {
        const infinity = (v: unknown) => (moment === 'ns' ? INFINITE_NANOS[String(v)] : undefined)
        if (text) return { type: 'string', convert: (v) => infinity(v) ?? timestampText(v as bigint, moment) }
        const [times, per] = PER_MICRO[moment] as [bigint, bigint]
        const convert = (v: unknown) => {
          const infinite = infinity(v)
          const micros = infinite === undefined ? floorDiv((v as bigint) * times, per) : farAway(infinite)
          return within(micros, MIN_MICROS, MAX_MICROS, options)
        }
        return { type: options.timestampNtz ? 'timestamp_ntz' : 'timestamp', convert }
      }
      if (unit !== '' && (text || options.time === 'string')) {
        return { type: 'string', convert: (v) => timeText(BigInt(v as number | bigint), unit) }
      }
      if (text) return { type: 'string', convert: (v) => String(v) }
      if (shape.type === 'long') return { type: 'long', convert: (v) => v }
      const small = options.smallIntegers ? shape['connect.type'] : undefined
      const bits = small === 'int8' ? 8 : small === 'int16' ? 16 : 32
      const convert = (v: unknown) => {
        if (BigInt.asIntN(bits, BigInt(v as number)) !== BigInt(v as number)) throw new Malformed('too large')
        return v
      }
      return { type: { 8: 'byte', 16: 'short', 32: 'integer' }[bits] as string, convert }
    }
    case 'float':
      if (text) return { type: 'string', convert: (v) => floatText(v as number, Math.fround) }
      return { type: 'float', convert: (v) => v }
    case 'double':
      if (text) return { type: 'string', convert: (v) => floatText(v as number, (n) => n) }
      return { type: 'double', convert: (v) => v }
    case 'string': {
      const iso = /^io\.debezium\.time\.(IsoDate|IsoTimestamp|ZonedTimestamp)$/.exec(name)?.[1]
      if (iso === undefined || text) return { type: 'string', convert: (v) => v }
      const date = iso === 'IsoDate'
      const convert = (v: unknown) => {
        const found = parseIso(v as string)
        const far = found === 'before' ? MIN_MICROS - 1n : MAX_MICROS + 1n
        if (!date) {
          if (typeof found === 'object' && found.micros === null) throw new Malformed('a date')
          return within(typeof found === 'string' ? far : (found.micros as bigint), MIN_MICROS, MAX_MICROS, options)
        }
        if (typeof found === 'object' && found.micros !== null) throw new Malformed('a timestamp')
        const infinite = typeof found === 'string' ? undefined : INFINITE_DAYS[String(found.days)]
        const days = typeof found === 'string' ? floorDiv(far, DAY) : found.days
        const day = within(infinite === undefined ? days : farAway(infinite), MIN_DAY, MAX_DAY, options)
        return day === null ? null : Number(day)
      }
      const utc = iso === 'ZonedTimestamp' || !options.timestampNtz
      return { type: date ? 'date' : utc ? 'timestamp' : 'timestamp_ntz', convert }
    }
    case 'enum':
      return { type: 'string', convert: (v) => v }
    default: {
      // bytes and fixed
      if (shape['connect.name'] === 'org.apache.kafka.connect.data.Decimal') return decimalOf(shape, options)
      const decimal = shape.logicalType === 'decimal' && typeof shape.precision === 'number'
      if (decimal && shape['connect.name'] === undefined) return decimalOf(shape, options)
      return { type: 'binary', convert: (v) => Buffer.from(v as Uint8Array).toString('hex') }
    }
  }
}

/** @param names named types defined so far; one object for a whole schema */
export function reference(
  json: unknown,
  options: ReferenceOptions = {},
  names: Map<string, Shape> = new Map(),
): Reference {
  if (typeof json === 'string') {
    const named = names.get(json)
    return named === undefined ? scalar({ type: json }, options) : reference(named, options, names)
  }
  if (Array.isArray(json)) return unionOf(json as Json[], options, names)
  let shape = json as Shape
  while (typeof shape.type === 'object' && shape.type !== null && !Array.isArray(shape.type)) {
    const { type, ...outer } = shape
    shape = { ...(type as Shape), ...outer }
  }
  if (Array.isArray(shape.type)) return unionOf(shape.type as Json[], options, names)
  if (typeof shape.name === 'string') {
    names.set(shape.name, shape)
    names.set(`${shape.namespace}.${shape.name}`, shape)
  }
  if (names.has(shape.type as string)) {
    const { type, ...outer } = shape
    return reference({ ...(names.get(type as string) as Shape), ...outer }, options, names)
  }
  if (shape.type === 'array') {
    const items = reference(shape.items, options, names)
    return { type: `array<${items.type}>`, convert: (v) => (v as unknown[]).map((item) => items.convert(item)) }
  }
  if (shape.type === 'map') {
    const values = reference(shape.values, options, names)
    const convert = (v: unknown) => new Map(Object.entries(v as object).map(([k, item]) => [k, values.convert(item)]))
    return { type: `map<string,${values.type}>`, convert }
  }
  if (shape.type !== 'record') return scalar(shape, options)
  const fields = (shape.fields as { name: string; type: unknown }[]).map(({ name, type }) => ({
    name,
    of: reference(type, options, names),
  }))
  if (shape['connect.name'] === 'io.debezium.data.VariableScaleDecimal') {
    const store = options.type === 'string' ? digitsOf : unbounded(options)
    const convert = (v: unknown) => {
      const { scale, value } = v as { scale: number; value: Buffer }
      const unscaled = twosComplement(value)
      if (Math.abs(scale) > 160_000) throw new Outside('a scale beyond any source')
      return store(scaled(unscaled, scale))
    }
    return { type: options.type ?? unboundedName(options), convert }
  }
  const convert = (v: unknown) =>
    Object.fromEntries(fields.map(({ name, of }) => [name, of.convert((v as Record<string, unknown>)[name])]))
  return { type: `struct<${fields.map(({ name, of }) => `${name}:${of.type}`).join(',')}>`, convert }
}

/** The member's value of a union as avsc wraps it (`wrapUnions: 'always'`). */
const unwrap = (value: unknown) => Object.entries(value as object)[0] as [string, unknown]

const kindOf = (json: Json): string => {
  if (typeof json === 'string') return json
  const shape = json as Shape
  if (typeof shape.name === 'string') return shape.name
  return typeof shape.type === 'string' ? shape.type : kindOf(shape.type as Json)
}

/** Whether it is a number and nothing else: no date, no time. */
function isNumber(json: Json): boolean {
  if (typeof json === 'string') return true
  const { logicalType, 'connect.name': connectName } = json as Record<string, string>
  const name = connectName ?? logicalType ?? ''
  return !(name in TIME_UNITS || name in TIMESTAMP_UNITS || DATES.includes(name))
}

function unionOf(branches: Json[], options: ReferenceOptions, names: Map<string, Shape>): Reference {
  const others = branches.filter((branch) => branch !== 'null')
  const members = others.map((branch) => ({ kind: kindOf(branch), of: reference(branch, options, names) }))
  const [first] = members
  if (first === undefined) throw new Error('a union of null')
  if (members.length === 1) {
    const convert = (v: unknown) => (v === null ? null : first.of.convert(unwrap(v)[1]))
    return { type: first.of.type, convert }
  }
  const kinds = members.map(({ kind }) => kind).sort()
  if (others.every(isNumber) && (kinds.join() === 'int,long' || kinds.join() === 'double,float')) {
    const type = kinds.includes('long') ? 'long' : 'double'
    const convert = (v: unknown) => {
      if (v === null) return null
      const value = unwrap(v)[1]
      return type === 'long' ? BigInt(value as number) : value
    }
    return { type, convert }
  }
  const convert = (v: unknown) => {
    if (v === null) return null
    const [kind, value] = unwrap(v)
    return Object.fromEntries(
      members.map((member, i) => [`member${i}`, member.kind === kind ? member.of.convert(value) : null]),
    )
  }
  return { type: `struct<${members.map(({ of }, i) => `member${i}:${of.type}`).join(',')}>`, convert }
}

/** Where two values differ, or null. Maps are compared without order. */
export function difference(expected: unknown, actual: unknown, path = ''): string | null {
  if (typeof expected === 'function') return (expected as Check)(actual) ? null : `${path}: ${show(actual)}`
  if (expected instanceof Map) {
    if (!Array.isArray(actual) || actual.length !== expected.size) return `${path}: ${show(expected)} ≠ ${show(actual)}`
    for (const { key, value } of actual as { key: string; value: unknown }[]) {
      if (!expected.has(key)) return `${path}.${key} is too much`
      const found = difference(expected.get(key), value, `${path}.${key}`)
      if (found !== null) return found
    }
    return null
  }
  if (Array.isArray(expected)) {
    if (!Array.isArray(actual) || actual.length !== expected.length)
      return `${path}: ${show(expected)} ≠ ${show(actual)}`
    for (const [i, item] of expected.entries()) {
      const found = difference(item, actual[i], `${path}[${i}]`)
      if (found !== null) return found
    }
    return null
  }
  if (typeof expected === 'object' && expected !== null) {
    if (typeof actual !== 'object' || actual === null) return `${path}: ${show(expected)} ≠ ${show(actual)}`
    for (const [name, value] of Object.entries(expected)) {
      const found = difference(value, (actual as Record<string, unknown>)[name], `${path}.${name}`)
      if (found !== null) return found
    }
    return null
  }
  return Object.is(expected, actual) ? null : `${path}: ${show(expected)} ≠ ${show(actual)}`
}

function show(value: unknown): string {
  const text = JSON.stringify(value, (_, v) => (typeof v === 'bigint' ? `${v}n` : v instanceof Map ? [...v] : v))
  return (text ?? String(value)).slice(0, 300)
}
