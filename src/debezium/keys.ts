/** Keys: which columns a key message gives, and keys in headers. */
import type { ColumnBuilder } from '../arrow/builders.js'
import type { ReaderCompiler } from '../avro/compile.js'
import type { AvroNode, AvroRecord } from '../avro/schema.js'
import { withoutNull } from '../avro/schema.js'
import type { StructuredParts } from '../avro/structured.js'
import { DecodeFault, fault } from '../avro/wire.js'
import type { TableLayout } from './layout.js'
import type { ResolvedOptions } from './options.js'
import { meaningOf } from './types.js'

/** A field of a key and the column that it fills. */
export interface KeyField {
  field: string
  column: string
  type: AvroNode
}

/** A key's schema, as the table reads it. */
export interface KeyShape {
  schemaId: number
  node: AvroNode
  fields: KeyField[]
}

/**
 * What a key of this schema gives. A key that is one value, not a record, needs the option `primaryKey` to name it; where
 * that names several columns, the key gives none. Text where it cannot be used: the reason.
 */
export function keyShapeOf(
  node: AvroNode,
  schemaId: number,
  layout: TableLayout,
  options: ResolvedOptions,
): KeyShape | string {
  const record = withoutNull(node)
  if (record?.kind === 'record') {
    if (record.fields.length === 0 && options.primaryKey === undefined) return 'the key is a record without fields'
    const fields = record.fields.map(({ name, type }) => ({ field: name, column: layout.nameOf(name), type }))
    return { schemaId, node, fields }
  }
  const [only, ...more] = options.primaryKey ?? []
  if (only === undefined) {
    return `the key is a single ${node.kind}, not a record: name its column with the option primaryKey`
  }
  if (more.length > 0) return { schemaId, node, fields: [] }
  return { schemaId, node, fields: [{ field: only, column: layout.nameOf(only), type: node }] }
}

const BEYOND_MICROS =
  'a key with a fraction of a microsecond, which the column cannot hold: another key could become the same'

function checkNanos(low: number, high: number, path: string): void {
  if (((BigInt(high) << 32n) | BigInt(low >>> 0)) % 1000n !== 0n) fault(BEYOND_MICROS, path)
}

function checkFraction(bytes: Buffer, at: number, length: number, path: string): void {
  if (/\.\d{6}0*[1-9]/.test(bytes.toString('latin1', at, at + length))) fault(BEYOND_MICROS, path)
}

function checkParts(parts: StructuredParts, path: string): void {
  if (parts.special === 0 && parts.get('nanos', path) % 1000 !== 0) fault(BEYOND_MICROS, path)
}

/** Emits a check, where keys that differ could be stored as the same: times are stored in microseconds. */
export function emitExactness(compiler: ReaderCompiler, type: AvroNode, builder: ColumnBuilder): void {
  const meaning = withoutNull(type) === null ? null : meaningOf(withoutNull(type) as AvroNode)
  // A time is a number or a text then, both exact.
  if (builder.type.kind !== 'timestamp') return
  const nanos = meaning !== null && 'unit' in meaning && meaning.unit === 'ns'
  const text = meaning?.is === 'isoTimestamp' || meaning?.is === 'zonedTimestamp'
  const structured = meaning?.is === 'structured'
  if (!nanos && !text && !structured) return
  const path = JSON.stringify(builder.path)
  const check = (node: AvroNode) => {
    if (nanos) {
      compiler.long()
      compiler.emit(`${compiler.constant(checkNanos)}(lo, hi, ${path})`)
    } else if (structured) {
      const parts = compiler.structuredParts(node as AvroRecord)
      compiler.emit(`${compiler.constant(checkParts)}(${parts}, ${path})`)
    } else {
      compiler.length()
      compiler.emit(`${compiler.constant(checkFraction)}(buf, pos, n, ${path}); pos += n`)
    }
    return node
  }
  const start = compiler.fresh('p')
  compiler.emit(`const ${start} = pos`)
  if (type.kind === 'union') compiler.union(type.branches, check, '')
  else check(type)
  compiler.emit(`pos = ${start}`)
}

type Json = null | boolean | string | JsonNumber | Json[] | Map<string, Json>

/** A number keeps its text: 64-bit ones would lose digits. */
class JsonNumber {
  constructor(readonly text: string) {}
}

/** Parses JSON without rounding numbers. */
function parseJson(text: string): Json {
  // Valid JSON is certain after this, so that the walk below need not check.
  JSON.parse(text)
  let at = 0
  const blank = () => {
    while (at < text.length && ' \t\r\n'.includes(text[at] as string)) at++
  }
  const string = (): string => {
    const start = at++
    while (text[at] !== '"') at += text[at] === '\\' ? 2 : 1
    at++
    return JSON.parse(text.slice(start, at)) as string
  }
  const value = (): Json => {
    blank()
    const first = text[at] as string
    let result: Json
    if (first === '{') {
      result = new Map()
      for (at++, blank(); text[at] !== '}'; blank()) {
        if (text[at] === ',') {
          at++
          blank()
        }
        const name = string()
        blank()
        at++
        result.set(name, value())
        blank()
      }
      at++
    } else if (first === '[') {
      result = []
      for (at++, blank(); text[at] !== ']'; blank()) {
        if (text[at] === ',') at++
        result.push(value())
      }
      at++
    } else if (first === '"') result = string()
    else {
      const word = /^[^\s,\]}]+/.exec(text.slice(at, at + 400))?.[0] ?? ''
      at += word.length
      result = word === 'null' ? null : word === 'true' ? true : word === 'false' ? false : new JsonNumber(word)
    }
    return result
  }
  return value()
}

function longBytes(value: bigint): number[] {
  let rest = BigInt.asUintN(64, (value << 1n) ^ (value >> 63n))
  const bytes: number[] = []
  for (; rest > 127n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128)
  bytes.push(Number(rest))
  return bytes
}

function sized(bytes: Uint8Array): number[] {
  return [...longBytes(BigInt(bytes.length)), ...bytes]
}

/** Writes a JSON value as Avro of the given type, as Connect's JSON converter has it: bytes as Base64. */
function toAvro(node: AvroNode, json: Json): number[] {
  const mismatch = (): never => fault('the old key in the header does not have the key schema’s type')
  switch (node.kind) {
    case 'null':
      return json === null ? [] : mismatch()
    case 'boolean':
      return typeof json === 'boolean' ? [json ? 1 : 0] : mismatch()
    case 'int':
    case 'long': {
      if (!(json instanceof JsonNumber) || !/^-?\d{1,19}$/.test(json.text)) return mismatch()
      const value = BigInt(json.text)
      const bits = node.kind === 'int' ? 32 : 64
      return BigInt.asIntN(bits, value) === value ? longBytes(value) : mismatch()
    }
    case 'float':
    case 'double': {
      const text = json instanceof JsonNumber ? json.text : typeof json === 'string' ? json : mismatch()
      const bytes = Buffer.alloc(node.kind === 'float' ? 4 : 8)
      if (node.kind === 'float') bytes.writeFloatLE(Number(text))
      else bytes.writeDoubleLE(Number(text))
      return [...bytes]
    }
    case 'string':
      return typeof json === 'string' ? sized(Buffer.from(json)) : mismatch()
    case 'bytes':
      return typeof json === 'string' ? sized(Buffer.from(json, 'base64')) : mismatch()
    case 'fixed': {
      const bytes = typeof json === 'string' ? Buffer.from(json, 'base64') : mismatch()
      return bytes.length === node.size ? [...bytes] : mismatch()
    }
    case 'enum': {
      const at = typeof json === 'string' ? node.symbols.indexOf(json) : -1
      return at >= 0 ? longBytes(BigInt(at)) : mismatch()
    }
    case 'union': {
      const wanted = node.branches.findIndex((branch) => (branch.kind === 'null') === (json === null))
      const branch = node.branches[wanted] ?? mismatch()
      return [...longBytes(BigInt(wanted)), ...toAvro(branch, json)]
    }
    case 'record': {
      if (!(json instanceof Map)) return mismatch()
      return node.fields.flatMap((field) => toAvro(field.type, json.get(field.name) ?? null))
    }
    case 'array':
      if (!Array.isArray(json)) return mismatch()
      if (json.length === 0) return [0]
      return [...longBytes(BigInt(json.length)), ...json.flatMap((item) => toAvro(node.items, item)), 0]
    case 'map': {
      if (!(json instanceof Map)) return mismatch()
      if (json.size === 0) return [0]
      const entries = [...json].flatMap(([key, item]) => [...sized(Buffer.from(key)), ...toAvro(node.values, item)])
      return [...longBytes(BigInt(json.size)), ...entries, 0]
    }
  }
}

/**
 * A key in a header as JSON, written as Avro of the key's schema. With `schemas.enable`, the key is the `payload`.
 * @throws DecodeFault where it is not such JSON
 */
export function jsonKeyToAvro(node: AvroNode, text: string): Buffer {
  let json: Json
  try {
    json = parseJson(text)
  } catch (error) {
    throw new DecodeFault(`the old key in the header is not JSON: ${(error as Error).message}`)
  }
  if (json instanceof Map && json.size === 2 && json.has('schema') && json.has('payload')) {
    const schema = json.get('schema')
    if (schema === null || schema instanceof Map) json = json.get('payload') ?? null
  }
  return Buffer.from(toAvro(node, json))
}

/** Header of the delete of an updated key: the key that the row goes on under. */
export const NEW_KEY_HEADER = '__debezium.newkey'

/** Header of the row that a primary-key update inserts: the key that it had before. */
export const OLD_KEY_HEADER = '__debezium.oldkey'
