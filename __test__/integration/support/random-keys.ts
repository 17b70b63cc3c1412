/** Key columns of every type, and the headers of key updates as Connect's header converters write them. */

import type { Random } from '../../helpers/random.js'
import {
  bigBytes,
  CONNECT,
  type ColumnType,
  DAY,
  date,
  decimal,
  int,
  long,
  millis,
  named,
  PLACEHOLDER,
  plain,
  short,
  stamp,
  TIME,
  text,
  unscaledAt,
  uuid,
  zoned,
} from './random-columns.js'

/** How the headers of key updates are written. */
export type HeaderForm = 'simple' | 'json' | 'json with schema' | 'avro'
export const HEADER_FORMS: readonly HeaderForm[] = ['simple', 'json', 'json with schema', 'avro']

export interface KeyType extends ColumnType {
  /** The value as Connect's JsonConverter writes it. */
  json(value: unknown): string
  /** The value as Connect's SimpleHeaderConverter writes it: `Values.append` of KIP-145. */
  simple(value: unknown): string
  wider?: () => KeyType
}

export interface KeyColumn {
  name: string
  type: KeyType
  null: 'never'
}

type Forms = Pick<KeyType, 'json' | 'simple'>

function asKey({ wider: _, ...type }: ColumnType, forms: Forms, wider?: () => KeyType): KeyType {
  return { ...type, ...forms, ...(wider ? { wider } : {}) }
}

/** Backslashes and quotes alone are escaped. */
const simpleText = (value: unknown) => `"${String(value).replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`
const base64 = (bytes: unknown) => `"${(bytes as Buffer).toString('base64')}"`
const NUMBER: Forms = { json: String, simple: String }
const QUOTED: Forms = { json: (value) => JSON.stringify(value), simple: simpleText }
const BASE64: Forms = { json: base64, simple: base64 }

const longKey = () => asKey(long(), NUMBER)

const ODD = [
  '',
  ' ',
  'a\nb',
  'a\tb\u0001',
  '\\',
  '"',
  '{"id":1}',
  "it's",
  '😀',
  'null',
  'a/b=c%20',
  '__HIVE_DEFAULT_PARTITION__',
]
function oddText(random: Random): string {
  if (random.next() < 0.35) return random.pick(ODD)
  return random.next() < 0.05 ? `${PLACEHOLDER}!` : `${text(random)}${random.below(50)}`
}
const textKey = () => asKey(plain('text', 'string', oddText, ''), QUOTED)

/** As Java's BigDecimal is written. */
function bigDecimal(unscaled: bigint, scale: number): string {
  const digits = String(unscaled < 0n ? -unscaled : unscaled)
  const sign = unscaled < 0n ? '-' : ''
  const exponent = digits.length - 1 - scale
  if (exponent < -6) {
    const mantissa = digits.length === 1 ? digits : `${digits[0]}.${digits.slice(1)}`
    return `${sign}${mantissa}E${exponent}`
  }
  if (scale === 0) return sign + digits
  const padded = digits.padStart(scale + 1, '0')
  return `${sign}${padded.slice(0, -scale)}.${padded.slice(-scale)}`
}

function decimalKey(precision: number, scale: number): KeyType {
  const at = (value: unknown) => unscaledAt(value, scale) as bigint
  const forms: Forms = {
    json: (value) => base64(bigBytes(at(value))),
    simple: (value) => bigDecimal(at(value), scale),
  }
  // With more digits than Delta has, the column would have to become a text, which is refused.
  return asKey(decimal(precision, scale), forms, () => decimalKey(Math.min(38, precision + 4), scale))
}

/** Java's dates: what is of the first day of 1970, or before, is written as a time of day alone. */
function javaDate(ms: number): string {
  const iso = new Date(ms).toISOString()
  if (ms < DAY) return iso.slice(11)
  return ms % DAY === 0 ? iso.slice(0, 10) : iso
}

const afterFirstDay = (random: Random) => 1 + random.below(30_000)

const connectDate = (): KeyType => {
  const type = date(named('int', `${CONNECT}Date`, { logicalType: 'date' }))
  const simple = (days: unknown) => javaDate(Number(days) * DAY)
  return asKey({ ...type, make: afterFirstDay }, { json: String, simple })
}

const connectTimestamp = (): KeyType => {
  const make = (random: Random) =>
    BigInt(afterFirstDay(random)) * BigInt(DAY) + BigInt(random.pick([0, random.below(DAY)]))
  const schema = named('long', `${CONNECT}Timestamp`, { logicalType: 'timestamp-millis' })
  return asKey(stamp('connect timestamp', schema, make), { json: String, simple: (ms) => javaDate(Number(ms)) })
}

const connectTime = (): KeyType => {
  const schema = named('int', `${CONNECT}Time`, { logicalType: 'time-millis' })
  const type = plain('connect time', schema, (random) => random.below(DAY), 0)
  return asKey(type, { json: String, simple: (ms) => javaDate(Number(ms)) })
}

const micros = (random: Random) => millis(random) * 1000n + BigInt(random.below(1000))
const timeOfDay = (random: Random) => BigInt(random.below(DAY)) * 1000n

const KEYS: (() => KeyType)[] = [
  ...Array.from({ length: 4 }, () => () => asKey(int(), NUMBER, longKey)),
  longKey,
  longKey,
  () => asKey(short(), NUMBER, longKey),
  ...Array.from({ length: 4 }, () => textKey),
  () => asKey(plain('uuid', named('string', 'io.debezium.data.Uuid'), uuid, ''), QUOTED),
  () => asKey(date(named('int', `${TIME}Date`)), NUMBER),
  connectDate,
  connectTimestamp,
  connectTime,
  () => decimalKey(12, 3),
  () => decimalKey(20, 0),
  () => decimalKey(30, 10),
  () => asKey(stamp('micro', named('long', `${TIME}MicroTimestamp`), micros), NUMBER),
  () => asKey(plain('microtime', named('long', `${TIME}MicroTime`), timeOfDay, 0n), NUMBER),
  () => asKey(zoned(), QUOTED),
  () =>
    asKey(
      plain('boolean', 'boolean', (random) => random.next() < 0.5, false),
      NUMBER,
    ),
  () =>
    asKey(
      plain('bytes', 'bytes', (random) => random.bytes(1 + random.below(20)), Buffer.alloc(0)),
      BASE64,
    ),
]

export const randomKeyType = (random: Random): KeyType => random.pick(KEYS)()

const CONNECT_TYPES: Readonly<Record<string, string>> = { int: 'int32', long: 'int64', double: 'double' }

/** A key as Connect's header converters write it; Avro ones write it as a key's converter does. */
export function keyHeader(
  form: Exclude<HeaderForm, 'avro'>,
  keys: readonly KeyColumn[],
  row: Record<string, unknown>,
): string {
  const isSimple = form === 'simple'
  const field = ({ name, type }: KeyColumn) => `"${name}":${isSimple ? type.simple(row[name]) : type.json(row[name])}`
  const payload = `{${keys.map(field).join(',')}}`
  if (form !== 'json with schema') return payload
  const fields = keys.map(({ name, type: { schema } }) => {
    const { type, 'connect.name': semantic } = schema as { type?: string; 'connect.name'?: string }
    const avro = type ?? (schema as string)
    return {
      type: CONNECT_TYPES[avro] ?? avro,
      optional: false,
      ...(semantic ? { name: semantic, version: 1 } : {}),
      field: name,
    }
  })
  return JSON.stringify({
    schema: { type: 'struct', fields, optional: false, name: 'srv.db.t.Key' },
    payload: 0,
  }).replace('"payload":0', () => `"payload":${payload}`)
}
