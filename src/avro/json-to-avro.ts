/**
 * Writes values that Kafka Connect's converters gave as texts as Avro of a schema: the forms of `JsonConverter`, of
 * `SimpleHeaderConverter` (`{"id":1.50,"day":2024-01-01}`), and of a struct's `toString`.
 */

import { type Loose, Word } from './loose-json.js'
import { type AvroNode, type AvroRecord, describeAvro } from './schema.js'
import { meaningOf } from './semantic-types.js'
import { DecodeFault, fault } from './wire.js'

const DAY = 86_400_000

function mismatch(node: AvroNode): never {
  return fault(`a value is not of its type in the schema (${describeAvro(node)})`)
}

function writeLong(value: bigint): number[] {
  let rest = BigInt.asUintN(64, (value << 1n) ^ (value >> 63n))
  const bytes: number[] = []
  for (; rest > 127n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128)
  bytes.push(Number(rest))
  return bytes
}

function sized(bytes: Uint8Array): number[] {
  return [...writeLong(BigInt(bytes.length)), ...bytes]
}

/** @throws DecodeFault where the value does not fit the type exactly */
export function toAvro(node: AvroNode, json: Loose): number[] {
  switch (node.kind) {
    case 'null':
      return json === null ? [] : mismatch(node)
    case 'boolean':
      return typeof json === 'boolean' ? [json ? 1 : 0] : mismatch(node)
    case 'int':
    case 'long': {
      const value = json instanceof Word ? wholeOf(node, json.text) : mismatch(node)
      return BigInt.asIntN(node.kind === 'int' ? 32 : 64, value) === value ? writeLong(value) : mismatch(node)
    }
    case 'float':
    case 'double':
      return floating(node, json)
    case 'string':
      return typeof json === 'string' ? sized(Buffer.from(json)) : mismatch(node)
    case 'bytes':
    case 'fixed': {
      const bytes = meaningOf(node).is === 'decimal' ? decimal(node, json) : base64(node, json)
      if (node.kind !== 'fixed') return sized(bytes)
      return bytes.length === node.size ? [...bytes] : mismatch(node)
    }
    case 'enum': {
      const at = typeof json === 'string' ? node.symbols.indexOf(json) : -1
      return at >= 0 ? writeLong(BigInt(at)) : mismatch(node)
    }
    case 'union':
      return union(node, node.branches, json)
    case 'record':
      return record(node, json)
    case 'array': {
      if (!Array.isArray(json)) return mismatch(node)
      const items = json.flatMap((item) => toAvro(node.items, item))
      return json.length === 0 ? [0] : [...writeLong(BigInt(json.length)), ...items, 0]
    }
    case 'map': {
      if (!(json instanceof Map)) return mismatch(node)
      const entries = [...json].flatMap(([key, item]) => [...sized(Buffer.from(key)), ...toAvro(node.values, item)])
      return json.size === 0 ? [0] : [...writeLong(BigInt(json.size)), ...entries, 0]
    }
  }
}

/** A value is of one branch, or it is not clear which. */
function union(node: AvroNode, branches: AvroNode[], json: Loose): number[] {
  const found: number[][] = []
  for (const [at, branch] of branches.entries()) {
    try {
      found.push([...writeLong(BigInt(at)), ...toAvro(branch, json)])
    } catch (error) {
      if (!(error instanceof DecodeFault)) throw error
      // The reason of the only branch beside null says more.
      if (branches.length <= 2 && branch.kind !== 'null' && json !== null) throw error
    }
  }
  const [only] = found
  return only !== undefined && found.length === 1 ? only : mismatch(node)
}

function record(node: AvroRecord, json: Loose): number[] {
  if (!(json instanceof Map)) return mismatch(node)
  const unknown = [...json.keys()].find((name) => !node.fields.some((field) => field.name === name))
  if (unknown !== undefined) fault(`the schema has no field ${unknown}`)
  return node.fields.flatMap(({ name, type }) => {
    const value = json.get(name)
    return toAvro(type, value === undefined ? fault(`the field ${name} is missing`) : value)
  })
}

/** A whole number, or a Connect date or time as its text. */
function wholeOf(node: AvroNode, text: string): bigint {
  if (/^-?\d{1,19}$/.test(text)) return BigInt(text)
  const meaning = meaningOf(node)
  // Debezium's own types are numbers to Connect.
  if (node.connectName?.startsWith('io.debezium.')) return mismatch(node)
  if (meaning.is === 'time' && meaning.unit === 'ms' && /^\d\d:/.test(text)) {
    return BigInt(millisOf(node, `1970-01-01T${text}`))
  }
  // `SimpleHeaderConverter` writes days before 1970-01-02 as their time of day alone, and midnights as days.
  const isDay = /^\d{4}-\d\d-\d\d$/.test(text)
  if (meaning.is === 'date' && isDay) return BigInt(laterMillis(node, `${text}T00:00:00.000Z`) / DAY)
  if (meaning.is !== 'timestamp' || meaning.unit !== 'ms') return mismatch(node)
  const millis = laterMillis(node, isDay ? `${text}T00:00:00.000Z` : text)
  return (millis % DAY === 0) === isDay ? BigInt(millis) : mismatch(node)
}

function laterMillis(node: AvroNode, text: string): number {
  const millis = millisOf(node, text)
  return millis >= DAY ? millis : mismatch(node)
}

function millisOf(node: AvroNode, text: string): number {
  const millis = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/.test(text) ? Date.parse(text) : Number.NaN
  return !Number.isNaN(millis) && new Date(millis).toISOString() === text ? millis : mismatch(node)
}

const NUMBER = /^(-?)(\d{1,400})(?:\.(\d{1,400}))?(?:[eE]([+-]?\d{1,4}))?$/
const SPECIAL = new Set(['NaN', 'Infinity', '-Infinity'])

function floating(node: AvroNode, json: Loose): number[] {
  const text = json instanceof Word ? json.text : typeof json === 'string' && SPECIAL.has(json) ? json : mismatch(node)
  const isSpecial = SPECIAL.has(text)
  if (!isSpecial && !NUMBER.test(text)) return mismatch(node)
  const value = node.kind === 'float' ? Math.fround(Number(text)) : Number(text)
  if (!isSpecial && !Number.isFinite(value)) return mismatch(node)
  const bytes = Buffer.alloc(node.kind === 'float' ? 4 : 8)
  if (node.kind === 'float') bytes.writeFloatLE(value)
  else bytes.writeDoubleLE(value)
  return [...bytes]
}

function base64(node: AvroNode, json: Loose): Buffer {
  const bytes = typeof json === 'string' ? Buffer.from(json, 'base64') : mismatch(node)
  return bytes.toString('base64') === json ? bytes : fault('a text that should be Base64 is none')
}

/** A number becomes the unscaled one; in quotes it is that already, as Base64. */
function decimal(node: AvroNode, json: Loose): Buffer {
  if (typeof json === 'string') {
    const bytes = base64(node, json)
    return bytes.length > 0 ? bytes : mismatch(node)
  }
  const meaning = meaningOf(node)
  const parts = json instanceof Word ? NUMBER.exec(json.text) : null
  if (parts === null || meaning.is !== 'decimal') return mismatch(node)
  const [, sign, whole, fraction = '', exponent = '0'] = parts
  const digits = BigInt(`${whole}${fraction}`)
  const shift = meaning.scale - fraction.length + Number(exponent)
  const factor = 10n ** BigInt(Math.abs(shift))
  if (shift < 0 && digits % factor !== 0n) fault(`a number has more than ${meaning.scale} digits after the point`)
  const unscaled = shift < 0 ? digits / factor : digits * factor
  return signedBytes(sign === '-' ? -unscaled : unscaled, node.kind === 'fixed' ? node.size : 1)
}

/** As Java's BigInteger has it, the sign repeated up to a size. */
function signedBytes(value: bigint, size: number): Buffer {
  let length = size
  while (BigInt.asIntN(length * 8, value) !== value) length++
  const hex = BigInt.asUintN(length * 8, value).toString(16)
  return Buffer.from(hex.padStart(length * 2, '0'), 'hex')
}
