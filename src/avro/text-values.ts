/** Values as their exact text, for columns that are stored as strings (`type: 'string'`). As Spark's cast in UTC. */

import type { BytesBuilder } from '../arrow/builders.js'
import { infiniteDay, infiniteNanos } from './infinity.js'
import type { TimeUnit } from './semantic-types.js'

/** Stores a text that we made. */
export function putText(to: BytesBuilder, row: number, text: string): void {
  const length = Buffer.byteLength(text)
  const start = to.length
  const end = start + length
  if (end > to.data.length) to.growData(end)
  Buffer.from(to.data.buffer).write(text, to.data.byteOffset + start, 'utf8')
  to.start = start
  to.startRow = row
  to.length = end
  to.offsets[row + 1] = end
  to.valid[row] = 1
}

/** The 64-bit number of two halves. */
export function longOf(low: number, high: number): bigint {
  return (BigInt(high) << 32n) | BigInt(low >>> 0)
}

export function putIntText(to: BytesBuilder, row: number, value: number): void {
  putText(to, row, String(value))
}

export function putLongText(to: BytesBuilder, row: number, low: number, high: number): void {
  putText(to, row, String(longOf(low, high)))
}

export function putBooleanText(to: BytesBuilder, row: number, value: number): void {
  putText(to, row, value === 1 ? 'true' : 'false')
}

const float = new DataView(new ArrayBuffer(8))

export function putFloatText(to: BytesBuilder, row: number, bytes: Uint8Array, pos: number): void {
  for (let i = 0; i < 4; i++) float.setUint8(i, bytes[pos + i] as number)
  const value = float.getFloat32(0, true)
  if (value === 0 || !Number.isFinite(value)) {
    putText(to, row, floatText(value))
    return
  }
  let digits = 1
  while (digits < 9 && Math.fround(Number(value.toPrecision(digits))) !== value) digits++
  putText(to, row, floatText(Number(value.toPrecision(digits))))
}

export function putDoubleText(to: BytesBuilder, row: number, bytes: Uint8Array, pos: number): void {
  for (let i = 0; i < 8; i++) float.setUint8(i, bytes[pos + i] as number)
  putText(to, row, floatText(float.getFloat64(0, true)))
}

/** The fewest digits that give the same number again, written as Java and Spark do: `1.0`, `1.5E10`, `NaN`. */
function floatText(value: number): string {
  if (!Number.isFinite(value)) return String(value)
  const size = Math.abs(value)
  if (size === 0) return Object.is(value, -0) ? '-0.0' : '0.0'
  if (size >= 1e-3 && size < 1e7) {
    const text = String(value)
    return text.includes('.') ? text : `${text}.0`
  }
  const [digits, exponent] = value.toExponential().split('e') as [string, string]
  return `${digits.includes('.') ? digits : `${digits}.0`}E${Number(exponent)}`
}

/** `-0043-03-15`, `2024-01-31`, `+20000-01-01`: a day of the Gregorian calendar, days since 1970. */
function dayText(days: number): string {
  // From Howard Hinnant's civil_from_days: years begin in March.
  const shifted = days + 719468
  const era = Math.floor(shifted / 146097)
  const ofEra = shifted - era * 146097
  const yearOfEra = Math.floor(
    (ofEra - Math.floor(ofEra / 1460) + Math.floor(ofEra / 36524) - Math.floor(ofEra / 146096)) / 365,
  )
  const ofYear = ofEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100))
  const march = Math.floor((5 * ofYear + 2) / 153)
  const day = ofYear - Math.floor((153 * march + 2) / 5) + 1
  const month = march < 10 ? march + 3 : march - 9
  const year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
  return `${signedYear(year)}-${two(month)}-${two(day)}`
}

/** A year as ISO 8601 has it: `-0043`, `2024`, `+20000`. */
export function signedYear(year: number): string {
  const sign = year < 0 ? '-' : year > 9999 ? '+' : ''
  return sign + String(Math.abs(year)).padStart(4, '0')
}

/** A number of two digits. */
export function two(value: number): string {
  return String(value).padStart(2, '0')
}

export function putDateText(to: BytesBuilder, row: number, days: number): void {
  putText(to, row, infiniteDay(days) ?? dayText(days))
}

const PER_SECOND = { ms: 1_000n, us: 1_000_000n, ns: 1_000_000_000n }
const DIGITS = { ms: 3, us: 6, ns: 9 }

/** `2024-01-31 12:30:00.5`: UTC, as many digits of the second as are not zero, years as {@link putDateText}'s. */
export function putTimestampText(to: BytesBuilder, row: number, low: number, high: number, unit: TimeUnit): void {
  const infinite = unit === 'ns' ? infiniteNanos(low, high) : undefined
  if (infinite !== undefined) {
    putText(to, row, infinite)
    return
  }
  const value = longOf(low, high)
  const per = PER_SECOND[unit]
  const part = ((value % per) + per) % per
  // Seconds may exceed 2^53.
  const total = (value - part) / per
  const ofDay = ((total % 86_400n) + 86_400n) % 86_400n
  const days = Number((total - ofDay) / 86_400n)
  const seconds = Number(ofDay)
  const fraction = String(part).padStart(DIGITS[unit], '0').replace(/0+$/, '')
  putText(to, row, `${dayText(days)} ${clock(seconds)}${fraction === '' ? '' : `.${fraction}`}`)
}

function clock(seconds: number): string {
  return `${two(Math.floor(seconds / 3600))}:${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`
}

/**
 * Stores a time of day as text `HH:MM:SS.ffffff`, with nine digits where it has nanoseconds that six would lose.
 * MySQL's may be negative or beyond a day.
 */
export function putTimeText(to: BytesBuilder, row: number, low: number, high: number, unit: TimeUnit): void {
  const value = longOf(low, high)
  const size = value < 0n ? -value : value
  const nanos = size * (1_000_000_000n / PER_SECOND[unit])
  const fraction = String(nanos % 1_000_000_000n).padStart(9, '0')
  const seconds = nanos / 1_000_000_000n
  const text = `${two(Number(seconds / 3600n))}:${clock(Number(seconds % 3600n)).slice(3)}`
  putText(to, row, `${value < 0n ? '-' : ''}${text}.${fraction.endsWith('000') ? fraction.slice(0, 6) : fraction}`)
}
