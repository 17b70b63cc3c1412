/** Stores values of generated code that need more than one assignment. */

import type { BytesBuilder, FixedBuilder } from '../arrow/builders.js'

/** Below this a loop is faster than a view and a native copy. */
const LOOP_BYTES = 48

/** Stores the `length` bytes at `pos`; the caller has checked that they are there. */
export function putBytes(to: BytesBuilder, row: number, bytes: Uint8Array, pos: number, length: number): void {
  const start = to.length
  const end = start + length
  if (end > to.data.length) to.growData(end)
  const data = to.data
  if (length < LOOP_BYTES) for (let i = 0; i < length; i++) data[start + i] = bytes[pos + i] as number
  else data.set(bytes.subarray(pos, pos + length), start)
  to.start = start
  to.startRow = row
  to.length = end
  to.offsets[row + 1] = end
  to.valid[row] = 1
}

/** Copies the 4 bytes of a float: Avro's order is Arrow's. */
export function putFloat(to: FixedBuilder, row: number, bytes: Uint8Array, pos: number): void {
  const out = to.u8
  const at = row * 4
  out[at] = bytes[pos] as number
  out[at + 1] = bytes[pos + 1] as number
  out[at + 2] = bytes[pos + 2] as number
  out[at + 3] = bytes[pos + 3] as number
  to.valid[row] = 1
}

/** Copies the 8 bytes of a double. */
export function putDouble(to: FixedBuilder, row: number, bytes: Uint8Array, pos: number): void {
  const out = to.u8
  const at = row * 8
  out[at] = bytes[pos] as number
  out[at + 1] = bytes[pos + 1] as number
  out[at + 2] = bytes[pos + 2] as number
  out[at + 3] = bytes[pos + 3] as number
  out[at + 4] = bytes[pos + 4] as number
  out[at + 5] = bytes[pos + 5] as number
  out[at + 6] = bytes[pos + 6] as number
  out[at + 7] = bytes[pos + 7] as number
  to.valid[row] = 1
}

const float = new Float32Array(1)
const floatBytes = new Uint8Array(float.buffer)
const double = new Float64Array(1)
const doubleBytes = new Uint8Array(double.buffer)

/** Stores a float in a column of doubles. */
export function putFloatAsDouble(to: FixedBuilder, row: number, bytes: Uint8Array, pos: number): void {
  for (let i = 0; i < 4; i++) floatBytes[i] = bytes[pos + i] as number
  double[0] = float[0] as number
  to.u8.set(doubleBytes, row * 8)
  to.valid[row] = 1
}

/** Stores a whole number of 32 bits in a column of doubles. */
export function putIntAsDouble(to: FixedBuilder, row: number, value: number): void {
  double[0] = value
  to.u8.set(doubleBytes, row * 8)
  to.valid[row] = 1
}

/** Stores a whole number of 16 bits in a column of floats. */
export function putIntAsFloat(to: FixedBuilder, row: number, value: number): void {
  float[0] = value
  to.u8.set(floatBytes, row * 4)
  to.valid[row] = 1
}
