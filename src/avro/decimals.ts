/** Decimals: two's complement, big endian, to Arrow's 128-bit little-endian words, to text or to double. */

import type { BytesBuilder, FixedBuilder } from '../arrow/builders.js'
import type { OutOfRange } from './semantic-types.js'
import { putText } from './text-values.js'
import { fault } from './wire.js'

/** Postgres' largest numeric has 131,072 digits before the point and 16,383 after it. */
const MAX_DECIMAL_BYTES = 65536
const MAX_SCALE = 160_000

/** How the decimals of a column are stored; made once per column. */
export interface DecimalTarget {
  precision: number
  scale: number
  outOfRange: OutOfRange
  /** 10^precision, as a number and exactly. */
  limit: number
  exactLimit: bigint
}

export function decimalTarget(precision: number, scale: number, outOfRange: OutOfRange): DecimalTarget {
  const exactLimit = 10n ** BigInt(precision)
  return { precision, scale, outOfRange, limit: Number(exactLimit), exactLimit }
}

/** Reads `length` bytes at `pos` as an unscaled value; the caller has checked that they are there. */
export function readUnscaled(bytes: Buffer, pos: number, length: number, column: string): bigint {
  if (length === 0) fault('a decimal without bytes', column)
  if (length > MAX_DECIMAL_BYTES) fault(`a decimal of ${length} bytes`, column)
  return BigInt.asIntN(length * 8, BigInt(`0x${bytes.toString('hex', pos, pos + length)}`))
}

/** Stores a decimal of scale `scale` at `row`. */
export function putDecimal(
  to: FixedBuilder,
  row: number,
  bytes: Buffer,
  pos: number,
  length: number,
  scale: number,
  target: DecimalTarget,
): void {
  if (length > 16 || length === 0 || scale !== target.scale) {
    putExact(to, row, readUnscaled(bytes, pos, length, to.path), scale, target)
    return
  }
  let value = ((bytes[pos] as number) << 24) >> 24
  for (let i = 1; i < length; i++) value = value * 256 + (bytes[pos + i] as number)
  const words = to.i32
  const at = row * 4
  if (length <= 6) {
    // Exact: below 2^47.
    if (value >= target.limit || value <= -target.limit) {
      putExact(to, row, BigInt(value), scale, target)
      return
    }
    const sign = value < 0 ? -1 : 0
    words[at] = value | 0
    words[at + 1] = Math.floor(value / 4294967296)
    words[at + 2] = sign
    words[at + 3] = sign
    to.valid[row] = 1
    return
  }
  // The sum is rounded; near the limit only the exact value decides.
  if (Math.abs(value) > target.limit * (1 - 1e-12)) {
    putExact(to, row, readUnscaled(bytes, pos, length, to.path), scale, target)
    return
  }
  const sign = value < 0 ? 0xff : 0
  const out = to.u8
  const first = row * 16
  for (let i = 0; i < length; i++) out[first + i] = bytes[pos + length - 1 - i] as number
  for (let i = length; i < 16; i++) out[first + i] = sign
  to.valid[row] = 1
}

/** Stores a whole number of 64 bits, given in two halves, in a column of decimals. */
export function putIntAsDecimal(to: FixedBuilder, row: number, low: number, high: number, target: DecimalTarget): void {
  putExact(to, row, (BigInt(high) << 32n) | BigInt(low >>> 0), 0, target)
}

function putExact(to: FixedBuilder, row: number, unscaled: bigint, scale: number, target: DecimalTarget): void {
  let value = rescale(unscaled, scale, target.scale, to.path)
  if (value === null || value >= target.exactLimit || value <= -target.exactLimit) {
    if (target.outOfRange === 'null') return
    if (target.outOfRange === 'fail') {
      fault(
        `${shorten(decimalText(unscaled, scale, to.path))} does not fit decimal(${target.precision},${target.scale})`,
        to.path,
      )
    }
    value = clamp(unscaled, scale, target, to.path)
  }
  const words = to.i32
  for (let i = 0; i < 4; i++) words[row * 4 + i] = Number(BigInt.asIntN(32, value >> BigInt(32 * i)))
  to.valid[row] = 1
}

/** The nearest value that the type holds, toward zero. */
function clamp(unscaled: bigint, scale: number, target: DecimalTarget, column: string): bigint {
  const steps = target.scale - scale
  checkScale(steps, column)
  const power = 10n ** BigInt(Math.abs(steps))
  const value = steps >= 0 ? unscaled * power : unscaled / power
  const most = target.exactLimit - 1n
  return value > most ? most : value < -most ? -most : value
}

/** The same value with another scale; null where it would lose digits. */
function rescale(unscaled: bigint, from: number, to: number, column: string): bigint | null {
  if (from === to || unscaled === 0n) return unscaled
  checkScale(to - from, column)
  if (to > from) return unscaled * 10n ** BigInt(to - from)
  const divisor = 10n ** BigInt(from - to)
  return unscaled % divisor === 0n ? unscaled / divisor : null
}

function checkScale(scale: number, column: string): void {
  if (Math.abs(scale) > MAX_SCALE) fault(`a decimal of scale ${scale}`, column)
}

/** All digits, without exponent. */
export function decimalText(unscaled: bigint, scale: number, column: string): string {
  checkScale(scale, column)
  const negative = unscaled < 0n
  const digits = (negative ? -unscaled : unscaled).toString()
  const sign = negative ? '-' : ''
  if (scale <= 0) return unscaled === 0n ? '0' : sign + digits + '0'.repeat(-scale)
  const padded = digits.padStart(scale + 1, '0')
  return `${sign}${padded.slice(0, -scale)}.${padded.slice(-scale)}`
}

function shorten(text: string): string {
  return text.length <= 60 ? text : `${text.slice(0, 50)}… (${text.length} characters)`
}

/** Stores all digits. */
export function putDecimalText(
  to: BytesBuilder,
  row: number,
  bytes: Buffer,
  pos: number,
  length: number,
  scale: number,
): void {
  putText(to, row, decimalText(readUnscaled(bytes, pos, length, to.path), scale, to.path))
}

/** Stores the digits of a decimal whose column has a negative scale, given in 11 bits: a whole number. */
export function putWholeText(
  to: BytesBuilder,
  row: number,
  bytes: Buffer,
  pos: number,
  length: number,
  scale: number,
): void {
  const unscaled = rescale(readUnscaled(bytes, pos, length, to.path), scale, 0, to.path)
  putText(to, row, String(unscaled ?? fault('a decimal with a fraction and a negative scale', to.path)))
}

/** Stores the nearest double. */
export function putDecimalDouble(
  to: FixedBuilder,
  row: number,
  bytes: Buffer,
  pos: number,
  length: number,
  scale: number,
  outOfRange: OutOfRange,
): void {
  const text = decimalText(readUnscaled(bytes, pos, length, to.path), scale, to.path)
  let value = Number(text)
  if (!Number.isFinite(value)) {
    if (outOfRange === 'null') return
    if (outOfRange === 'fail') fault(`${shorten(text)} does not fit a double`, to.path)
    value = value < 0 ? -Number.MAX_VALUE : Number.MAX_VALUE
  }
  new DataView(to.u8.buffer, to.u8.byteOffset).setFloat64(row * 8, value, true)
  to.valid[row] = 1
}
