/** Values as they are stored: JavaScript's dates and numbers would lose digits of theirs. */

import { type Data, DataType, Field, Int32, Int64, makeData, RecordBatch, Schema, Struct } from 'apache-arrow'

/** The number that a date or a timestamp is stored as; null for other types. */
function storedType(type: DataType): Int32 | Int64 | null {
  if (DataType.isDate(type)) return new Int32()
  return DataType.isTimestamp(type) ? new Int64() : null
}

function raw(data: Data): Data {
  const type = storedType(data.type)
  if (type === null) return data
  const { length, offset, nullCount, nullBitmap, values } = data
  return makeData({ type, length, offset, nullCount, nullBitmap, data: values } as never) as Data
}

/**
 * The batch with its dates as days and its timestamps as microseconds (a bigint), both since 1970. Nothing is copied;
 * values within lists, maps and structs stay as they are.
 */
export function rawValues(batch: RecordBatch): RecordBatch {
  const children = batch.data.children.map(raw)
  const fields = batch.schema.fields.map(
    (field, i) => new Field(field.name, (children[i] as Data).type, field.nullable, field.metadata),
  )
  const data = makeData({ type: new Struct(fields), length: batch.numRows, nullCount: 0, children } as never)
  return new RecordBatch(new Schema(fields), data as never)
}

/** Digits of a decimal as Arrow's reader gives it: the unscaled number in 32-bit words, the lowest first. */
export function decimalText(words: Uint32Array, scale: number): string {
  let value = 0n
  for (let i = words.length - 1; i >= 0; i--) value = (value << 32n) | BigInt(words[i] as number)
  const unscaled = BigInt.asIntN(32 * words.length, value)
  const sign = unscaled < 0n ? '-' : ''
  const digits = String(unscaled < 0n ? -unscaled : unscaled).padStart(scale + 1, '0')
  return scale === 0 ? sign + digits : `${sign}${digits.slice(0, -scale)}.${digits.slice(-scale)}`
}
