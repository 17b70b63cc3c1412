/**
 * Values of Thrift, each with its type, on the protocol of the package `thrift`. A struct is read whole, with the fields that
 * this program does not know: an entry that is changed goes back to the metastore with all that a newer one keeps in it.
 */

import type thrift from 'thrift'

export const TYPE = {
  stop: 0,
  bool: 2,
  byte: 3,
  double: 4,
  i16: 6,
  i32: 8,
  i64: 10,
  string: 11,
  struct: 12,
  map: 13,
  set: 14,
  list: 15,
} as const

/** The fields of a struct, by their ids. */
export type Struct = Map<number, Field>

export interface Field {
  type: number
  value: Value
}

/** A list or a set. */
export interface List {
  of: number
  items: Value[]
}

export interface Dictionary {
  keys: number
  values: number
  entries: [Value, Value][]
}

/** A string is a Buffer where its bytes are not UTF-8. */
export type Value = boolean | number | thrift.Int64 | string | Buffer | Struct | List | Dictionary

export const text = (value: string): Field => ({ type: TYPE.string, value })
export const bool = (value: boolean): Field => ({ type: TYPE.bool, value })
export const i32 = (value: number): Field => ({ type: TYPE.i32, value })
export const struct = (value: Struct): Field => ({ type: TYPE.struct, value })
export const structs = (items: Struct[]): Field => ({ type: TYPE.list, value: { of: TYPE.struct, items } })
export const texts = (items: string[]): Field => ({ type: TYPE.list, value: { of: TYPE.string, items } })

export function textMap(value: Readonly<Record<string, string>>): Field {
  return { type: TYPE.map, value: { keys: TYPE.string, values: TYPE.string, entries: Object.entries(value) } }
}

/** The text of a field; null where it is missing, or no text. */
export function textOf(from: Struct, id: number): string | null {
  const value = from.get(id)?.value
  return typeof value === 'string' ? value : null
}

/** The struct of a field; an empty one where it is missing. */
export function structOf(from: Struct, id: number): Struct {
  const field = from.get(id)
  return field?.type === TYPE.struct ? (field.value as Struct) : new Map()
}

/** The structs of a list; none where it is missing. */
export function structsOf(from: Struct, id: number): Struct[] {
  const field = from.get(id)
  return field?.type === TYPE.list ? ((field.value as List).items as Struct[]) : []
}

/** The texts of a map of texts; none where it is missing. */
export function textMapOf(from: Struct, id: number): Record<string, string> {
  const field = from.get(id)
  return field?.type === TYPE.map ? Object.fromEntries((field.value as Dictionary).entries) : {}
}

export function writeStruct(to: thrift.Protocol, from: Struct): void {
  for (const [id, { type, value }] of from) {
    to.writeFieldBegin('', type, id)
    write(to, type, value)
  }
  to.writeFieldStop()
}

export function readStruct(from: thrift.Protocol): Struct {
  const fields: Struct = new Map()
  for (;;) {
    const { ftype, fid } = from.readFieldBegin()
    if (ftype === TYPE.stop) return fields
    fields.set(fid, { type: ftype, value: read(from, ftype) })
  }
}

type Write = (to: thrift.Protocol, value: Value) => void

const WRITE: Readonly<Record<number, Write>> = {
  [TYPE.bool]: (to, value) => to.writeBool(value as boolean),
  [TYPE.byte]: (to, value) => to.writeByte(value as number),
  [TYPE.i16]: (to, value) => to.writeI16(value as number),
  [TYPE.i32]: (to, value) => to.writeI32(value as number),
  [TYPE.i64]: (to, value) => to.writeI64(value as thrift.Int64),
  [TYPE.double]: (to, value) => to.writeDouble(value as number),
  [TYPE.string]: (to, value) => to.writeString(value as string | Buffer),
  [TYPE.struct]: (to, value) => writeStruct(to, value as Struct),
  [TYPE.map]: (to, value) => writeMap(to, value as Dictionary),
  // A set is a list on the wire.
  [TYPE.set]: (to, value) => writeList(to, value as List),
  [TYPE.list]: (to, value) => writeList(to, value as List),
}

function write(to: thrift.Protocol, type: number, value: Value): void {
  const writeValue = WRITE[type]
  if (!writeValue) throw new Error(`Thrift has no type ${type}`)
  writeValue(to, value)
}

function writeMap(to: thrift.Protocol, { keys, values, entries }: Dictionary): void {
  to.writeMapBegin(keys, values, entries.length)
  for (const [key, value] of entries) {
    write(to, keys, key)
    write(to, values, value)
  }
}

function writeList(to: thrift.Protocol, { of, items }: List): void {
  to.writeListBegin(of, items.length)
  for (const item of items) write(to, of, item)
}

const READ: Readonly<Record<number, (from: thrift.Protocol) => Value>> = {
  [TYPE.bool]: (from) => from.readBool(),
  [TYPE.byte]: (from) => from.readByte(),
  [TYPE.i16]: (from) => from.readI16(),
  [TYPE.i32]: (from) => from.readI32(),
  [TYPE.i64]: (from) => from.readI64(),
  [TYPE.double]: (from) => from.readDouble(),
  [TYPE.string]: (from) => asText(from.readBinary()),
  [TYPE.struct]: readStruct,
  [TYPE.map]: readMap,
  [TYPE.set]: readList,
  [TYPE.list]: readList,
}

function read(from: thrift.Protocol, type: number): Value {
  const readValue = READ[type]
  if (!readValue) throw new Error(`Thrift has no type ${type}`)
  return readValue(from)
}

function readMap(from: thrift.Protocol): Dictionary {
  const { ktype, vtype, size } = from.readMapBegin()
  const entries: [Value, Value][] = []
  for (let i = 0; i < size; i++) entries.push([read(from, ktype), read(from, vtype)])
  return { keys: ktype, values: vtype, entries }
}

function readList(from: thrift.Protocol): List {
  const { etype, size } = from.readListBegin()
  const items: Value[] = []
  for (let i = 0; i < size; i++) items.push(read(from, etype))
  return { of: etype, items }
}

function asText(bytes: Buffer): string | Buffer {
  const asString = bytes.toString('utf8')
  return Buffer.from(asString, 'utf8').equals(bytes) ? asString : bytes
}
