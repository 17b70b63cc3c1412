/** Values in the text of a comparison as Arrow columns of the Delta table's types. */

import { Binary, Bool, type Data, makeData, Utf8, type Vector, vectorFromArray } from 'apache-arrow'
import { packValidity } from '../arrow/builders.js'
import { arrowType, type ColumnType } from '../arrow/types.js'
import type { DeltaType } from '../delta/schema-json.js'

/** A type of the Delta schema's JSON as a column type; null for what no column of ours has. */
export function columnType(type: DeltaType): ColumnType | null {
  if (typeof type === 'string') {
    const decimal = /^decimal\((\d+),\s*(\d+)\)$/.exec(type)
    if (decimal) return { kind: 'decimal', precision: Number(decimal[1]), scale: Number(decimal[2]) }
    if (type === 'timestamp' || type === 'timestamp_ntz') return { kind: 'timestamp', utc: type === 'timestamp' }
    const plain = ['boolean', 'byte', 'short', 'integer', 'long', 'float', 'double', 'string', 'binary', 'date']
    return plain.includes(type) ? ({ kind: type } as ColumnType) : null
  }
  if (type.type === 'array') {
    const items = type.elementType === undefined ? null : columnType(type.elementType)
    return items && { kind: 'array', items }
  }
  if (type.type === 'map') {
    const values = type.valueType === undefined ? null : columnType(type.valueType)
    return values && type.keyType === 'string' ? { kind: 'map', values } : null
  }
  if (type.type !== 'struct') return null
  const fields = (type.fields ?? []).map((field) => ({ name: field.name, type: columnType(field.type) }))
  if (fields.some((field) => field.type === null)) return null
  return { kind: 'struct', fields: fields as { name: string; type: ColumnType }[] }
}

const only = (vector: Vector): Data => vector.data[0] as Data

/** The unscaled number of a decimal text, of which `scale` says how many digits are fraction. */
function unscaled(text: string, scale: number): bigint {
  const [whole = '', fraction = ''] = text.split('.')
  return BigInt(whole.replace('-', '') + fraction.padEnd(scale, '0')) * (text.startsWith('-') ? -1n : 1n)
}

/** Values by a typed array's setter, of fixed width. */
function fixed(type: ColumnType, values: readonly (string | null)[], data: ArrayBufferView): Data {
  const valid = Uint8Array.from(values, (value) => (value === null ? 0 : 1))
  return makeData({
    type: arrowType(type),
    length: values.length,
    ...packValidity(valid, values.length),
    data,
  } as never) as Data
}

/** A column of values as `Comparable.source` writes them: numbers, days and microseconds in digits, bytes as `\x…`. */
export function columnOf(type: ColumnType, values: readonly (string | null)[]): Data {
  const each = <T>(convert: (text: string) => T) => values.map((text) => (text === null ? null : convert(text)))
  switch (type.kind) {
    case 'boolean':
      return only(
        vectorFromArray(
          each((text) => text === 'true'),
          new Bool(),
        ),
      )
    case 'string':
      return only(vectorFromArray(values, new Utf8()))
    case 'binary':
      return only(
        vectorFromArray(
          each((text) => new Uint8Array(Buffer.from(text.slice(2), 'hex'))),
          new Binary(),
        ),
      )
    case 'byte':
      return fixed(type, values, Int8Array.from(values, Number))
    case 'short':
      return fixed(type, values, Int16Array.from(values, Number))
    case 'integer':
    case 'date':
      return fixed(type, values, Int32Array.from(values, Number))
    case 'long':
    case 'timestamp':
      return fixed(
        type,
        values,
        BigInt64Array.from(values, (text) => BigInt(text ?? 0)),
      )
    case 'float':
      return fixed(type, values, Float32Array.from(values, Number))
    case 'double':
      return fixed(type, values, Float64Array.from(values, Number))
    case 'decimal': {
      const words = new BigInt64Array(values.length * 2)
      values.forEach((text, i) => {
        const number = text === null ? 0n : unscaled(text, type.scale)
        words[2 * i] = BigInt.asIntN(64, number)
        words[2 * i + 1] = number >> 64n
      })
      return fixed(type, values, new Uint32Array(words.buffer))
    }
    case 'array': {
      const lists = each((text) => JSON.parse(text) as (string | null)[])
      const valueOffsets = new Int32Array(values.length + 1)
      lists.forEach((list, i) => {
        valueOffsets[i + 1] = (valueOffsets[i] as number) + (list?.length ?? 0)
      })
      const valid = Uint8Array.from(values, (value) => (value === null ? 0 : 1))
      return makeData({
        type: arrowType(type),
        length: values.length,
        ...packValidity(valid, values.length),
        valueOffsets,
        child: columnOf(
          type.items,
          lists.flatMap((list) => list ?? []),
        ),
      } as never) as Data
    }
    default:
      // Not compared, and so never other than null here.
      return only(vectorFromArray(values, arrowType(type)))
  }
}
