/** Column types: what Arrow and Delta have in common. */

import {
  Binary,
  Bool,
  type DataType,
  DateDay,
  Decimal,
  Field,
  Float32,
  Float64,
  Int8,
  Int16,
  Int32,
  Int64,
  List,
  Map_,
  Struct,
  TimestampMicrosecond,
  Utf8,
} from 'apache-arrow'

export interface StructField {
  name: string
  type: ColumnType
}

export type ColumnType =
  | { kind: 'boolean' | 'byte' | 'short' | 'integer' | 'long' | 'float' | 'double' | 'string' | 'binary' | 'date' }
  /** Microseconds since 1970; with `utc`, an instant. */
  | { kind: 'timestamp'; utc: boolean }
  | { kind: 'decimal'; precision: number; scale: number }
  | { kind: 'array'; items: ColumnType }
  | { kind: 'map'; values: ColumnType }
  | { kind: 'struct'; fields: StructField[] }

/** The type's name in Delta and Spark SQL: `decimal(10,2)`, `array<long>`. */
export function deltaTypeName(type: ColumnType): string {
  switch (type.kind) {
    case 'timestamp':
      return type.utc ? 'timestamp' : 'timestamp_ntz'
    case 'decimal':
      return `decimal(${type.precision},${type.scale})`
    case 'array':
      return `array<${deltaTypeName(type.items)}>`
    case 'map':
      return `map<string,${deltaTypeName(type.values)}>`
    case 'struct':
      return `struct<${type.fields.map((f) => `${f.name}:${deltaTypeName(f.type)}`).join(',')}>`
    default:
      return type.kind
  }
}

/** The Arrow type of a column of this type. */
export function arrowType(type: ColumnType): DataType {
  switch (type.kind) {
    case 'boolean':
      return new Bool()
    case 'byte':
      return new Int8()
    case 'short':
      return new Int16()
    case 'integer':
      return new Int32()
    case 'long':
      return new Int64()
    case 'float':
      return new Float32()
    case 'double':
      return new Float64()
    case 'string':
      return new Utf8()
    case 'binary':
      return new Binary()
    case 'date':
      return new DateDay()
    case 'timestamp':
      return new TimestampMicrosecond(type.utc ? 'UTC' : null)
    case 'decimal':
      return new Decimal(type.scale, type.precision, 128)
    case 'array':
      return new List(new Field('element', arrowType(type.items), true))
    case 'map':
      return new Map_(
        new Field(
          'entries',
          new Struct([new Field('key', new Utf8(), false), new Field('value', arrowType(type.values), true)]),
          false,
        ) as never,
      )
    case 'struct':
      return new Struct(type.fields.map((f) => new Field(f.name, arrowType(f.type), true)))
  }
}

const INTEGERS = ['byte', 'short', 'integer', 'long']

/** The digits that the largest of them have. */
const DIGITS = [3, 5, 10, 19]

/** Whether a float, a double or a decimal holds every whole number of a type exactly. The engine has the same rule. */
function holdsWhole(type: ColumnType, whole: ColumnType): boolean {
  const digits = DIGITS[INTEGERS.indexOf(whole.kind)]
  if (digits === undefined) return false
  if (type.kind === 'decimal') return type.precision - type.scale >= digits
  return (type.kind === 'float' && digits <= 5) || (type.kind === 'double' && digits <= 10)
}

/** The type of the two that holds every value of both exactly, or a wider decimal; null where there is none. */
export function widen(a: ColumnType, b: ColumnType): ColumnType | null {
  const ia = INTEGERS.indexOf(a.kind)
  const ib = INTEGERS.indexOf(b.kind)
  if (ia >= 0 && ib >= 0) return ia >= ib ? a : b
  if (a.kind === 'float' && b.kind === 'double') return b
  if (a.kind === 'double' && b.kind === 'float') return a
  if (a.kind === 'decimal' && b.kind === 'decimal') {
    const scale = Math.max(a.scale, b.scale)
    const precision = scale + Math.max(a.precision - a.scale, b.precision - b.scale)
    return precision > 38 ? null : { kind: 'decimal', precision, scale }
  }
  if (holdsWhole(a, b)) return a
  if (holdsWhole(b, a)) return b
  if (a.kind !== b.kind) return null
  if (a.kind === 'timestamp' && b.kind === 'timestamp') return a.utc === b.utc ? a : null
  if (a.kind === 'array' && b.kind === 'array') {
    const items = widen(a.items, b.items)
    return items && { kind: 'array', items }
  }
  if (a.kind === 'map' && b.kind === 'map') {
    const values = widen(a.values, b.values)
    return values && { kind: 'map', values }
  }
  if (a.kind === 'struct' && b.kind === 'struct') {
    const fields = [...a.fields]
    // A struct that shares no field with the other is another one, as the engine has it.
    let shared = 0
    for (const field of b.fields) {
      const at = fields.findIndex((f) => f.name.toLowerCase() === field.name.toLowerCase())
      const known = fields[at]
      if (known === undefined) {
        fields.push(field)
        continue
      }
      // Delta does not tell names apart that differ only in case.
      if (known.name !== field.name) return null
      shared++
      const type = widen(known.type, field.type)
      if (type === null) return null
      fields[at] = { name: field.name, type }
    }
    if (shared === 0) return null
    return { kind: 'struct', fields }
  }
  return a
}

export function sameType(a: ColumnType, b: ColumnType): boolean {
  return deltaTypeName(a) === deltaTypeName(b)
}
