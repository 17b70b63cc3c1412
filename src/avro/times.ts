/** Dates and timestamps: range checks, and ISO 8601 text. */

import type { FixedBuilder } from '../arrow/builders.js'
import { infiniteDay, infiniteNanos } from './infinity.js'
import type { OutOfRange, TimeUnit } from './semantic-types.js'
import { longOf } from './text-values.js'
import { fault } from './wire.js'

// What Spark and Delta define: 0001-01-01 to 9999-12-31.
const MIN_DAY = -719162
const MAX_DAY = 2932896
const MIN_MILLIS = MIN_DAY * 86_400_000
const MAX_MILLIS = (MAX_DAY + 1) * 86_400_000 - 1
const MIN_SECOND = MIN_DAY * 86_400
const MAX_SECOND = (MAX_DAY + 1) * 86_400 - 1

const MIN_MICROS = BigInt(MIN_SECOND) * 1_000_000n
const MAX_MICROS = BigInt(MAX_SECOND) * 1_000_000n + 999_999n
const MIN_HIGH = Number(MIN_MICROS >> 32n)
const MIN_LOW = Number(MIN_MICROS & 0xffffffffn)
const MAX_HIGH = Number(MAX_MICROS >> 32n)
const MAX_LOW = Number(MAX_MICROS & 0xffffffffn)
const WORD = 4294967296

/** Stores a date, days since 1970. */
export function putDate(to: FixedBuilder, row: number, days: number, outOfRange: OutOfRange): void {
  if (days < MIN_DAY || days > MAX_DAY) {
    if (outOfRange === 'null') return
    const infinite = infiniteDay(days)
    if (outOfRange === 'fail') {
      fault(`the date ${infinite ?? `${days} (days since 1970-01-01)`} lies outside the years 1 to 9999`, to.path)
    }
    days = (infinite === undefined ? days > 0 : infinite === 'infinity') ? MAX_DAY : MIN_DAY
  }
  to.i32[row] = days
  to.valid[row] = 1
}

/** Stores a 64-bit number of `unit` since 1970 as microseconds; nanoseconds are rounded down. */
export function putTimestamp(
  to: FixedBuilder,
  row: number,
  low: number,
  high: number,
  unit: TimeUnit,
  outOfRange: OutOfRange,
): void {
  if (unit === 'us') {
    const unsigned = low >>> 0
    if (
      high < MIN_HIGH ||
      high > MAX_HIGH ||
      (high === MIN_HIGH && unsigned < MIN_LOW) ||
      (high === MAX_HIGH && unsigned > MAX_LOW)
    ) {
      putBeyond(to, row, high < 0, outOfRange, () => `${longOf(low, high)} microseconds since 1970`)
      return
    }
  } else if (unit === 'ms') {
    const millis = high * WORD + (low >>> 0)
    if (millis < MIN_MILLIS || millis > MAX_MILLIS) {
      putBeyond(to, row, high < 0, outOfRange, () => `${longOf(low, high)} milliseconds since 1970`)
      return
    }
    const product = (low >>> 0) * 1000
    const carry = Math.floor(product / WORD)
    high = high * 1000 + carry
    low = product - carry * WORD
  } else {
    // Every other 64-bit number of nanoseconds lies between 1677 and 2262.
    const infinite = infiniteNanos(low, high)
    if (infinite !== undefined) {
      putBeyond(to, row, infinite === '-infinity', outOfRange, () => `${infinite} (${longOf(low, high)} nanoseconds)`)
      return
    }
    const quotient = Math.floor(high / 1000)
    low = Math.floor(((high - quotient * 1000) * WORD + (low >>> 0)) / 1000)
    high = quotient
  }
  to.i32[2 * row] = low
  to.i32[2 * row + 1] = high
  to.valid[row] = 1
}

function putBeyond(to: FixedBuilder, row: number, early: boolean, outOfRange: OutOfRange, what: () => string): void {
  if (outOfRange === 'null') return
  if (outOfRange === 'fail') fault(`the timestamp ${what()} lies outside the years 1 to 9999`, to.path)
  to.i32[2 * row] = early ? MIN_LOW : MAX_LOW
  to.i32[2 * row + 1] = early ? MIN_HIGH : MAX_HIGH
  to.valid[row] = 1
}

/** What the parser found: a malformed text, a moment in time, or one before or after the range. */
enum Found {
  malformed,
  moment,
  before,
  after,
}

// The parser's state and result: one object for all, so that no row makes one.
const parsed = { days: 0, seconds: 0, micros: 0, at: 0 }

function digits(bytes: Uint8Array, at: number, count: number): number {
  let value = 0
  for (let i = 0; i < count; i++) {
    const digit = (bytes[at + i] as number) - 48
    if (!(digit >= 0 && digit <= 9)) return -1
    value = value * 10 + digit
  }
  return value
}

function isLeap(year: number): boolean {
  return year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0)
}

const MONTH_DAYS = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]

/** Whether the calendar has this day. */
export function isDay(year: number, month: number, day: number): boolean {
  if (month < 1 || month > 12 || day < 1) return false
  return day <= (month === 2 && isLeap(year) ? 29 : (MONTH_DAYS[month - 1] as number))
}

/** Days since 1970 of a day in the Gregorian calendar, also before it began. */
function daysOf(year: number, month: number, day: number): number {
  const y = month <= 2 ? year - 1 : year
  const era = Math.floor(y / 400)
  const yearOfEra = y - era * 400
  const dayOfYear = Math.floor((153 * (month + (month > 2 ? -3 : 9)) + 2) / 5) + day - 1
  return era * 146097 + yearOfEra * 365 + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100) + dayOfYear - 719468
}

const INFINITY = Buffer.from('infinity')

function isInfinity(bytes: Uint8Array, pos: number, end: number): boolean {
  if (end - pos !== INFINITY.length) return false
  for (let i = 0; i < INFINITY.length; i++) if (((bytes[pos + i] as number) | 0x20) !== INFINITY[i]) return false
  return true
}

/** Parses `[+-]Y…Y-MM-DD`; leaves the position after it in `parsed.at`. */
function parseDay(bytes: Uint8Array, pos: number, end: number): Found {
  const sign = bytes[pos] as number
  const signed = sign === 0x2b || sign === 0x2d
  const negative = sign === 0x2d
  if (signed) pos++
  if (isInfinity(bytes, pos, end)) return negative ? Found.before : Found.after
  let at = pos
  while (at < end && (bytes[at] as number) >= 48 && (bytes[at] as number) <= 57) at++
  const yearDigits = at - pos
  if (yearDigits < 4 || yearDigits > 10 || end - at < 6) return Found.malformed
  const year = digits(bytes, pos, yearDigits) * (negative ? -1 : 1)
  const month = digits(bytes, at + 1, 2)
  const day = digits(bytes, at + 4, 2)
  if (bytes[at] !== 0x2d || bytes[at + 3] !== 0x2d || !isDay(year, month, day)) return Found.malformed
  parsed.days = daysOf(year, month, day)
  parsed.at = at + 6
  return Found.moment
}

/** Parses `±HH[:MM[:SS]]`, `Z` or nothing at `at` to the end; NaN where it is none of these. */
function parseOffset(bytes: Uint8Array, at: number, end: number): number {
  if (at === end) return 0
  const first = bytes[at] as number
  if (first === 0x5a || first === 0x7a) return at + 1 === end ? 0 : Number.NaN
  if (first !== 0x2b && first !== 0x2d) return Number.NaN
  let seconds = 0
  let factor = 3600
  for (at += 1; factor >= 1; factor /= 60) {
    if (end - at < 2) return Number.NaN
    const value = digits(bytes, at, 2)
    if (value < 0 || value > 59) return Number.NaN
    seconds += value * factor
    at += 2
    if (at === end) return first === 0x2d ? -seconds : seconds
    if (bytes[at] === 0x3a) at++
  }
  return Number.NaN
}

/** Parses an ISO 8601 date and time, any fraction, any offset; without one it is UTC. */
function parseMoment(bytes: Uint8Array, pos: number, end: number): Found {
  const day = parseDay(bytes, pos, end)
  if (day !== Found.moment) return day
  let at = parsed.at
  const separator = bytes[at] as number
  if (separator !== 0x54 && separator !== 0x20 && separator !== 0x74) return Found.malformed
  if (end - at < 6 || bytes[at + 3] !== 0x3a) return Found.malformed
  const hours = digits(bytes, at + 1, 2)
  const minutes = digits(bytes, at + 4, 2)
  at += 6
  let seconds = 0
  let micros = 0
  if (at < end && bytes[at] === 0x3a) {
    seconds = end - at < 3 ? -1 : digits(bytes, at + 1, 2)
    at += 3
    if (at < end && bytes[at] === 0x2e) {
      let unit = 100_000
      const first = ++at
      for (; at < end; at++) {
        const digit = (bytes[at] as number) - 48
        if (!(digit >= 0 && digit <= 9)) break
        micros += digit * unit
        unit = unit > 1 ? unit / 10 : 0
      }
      if (at === first) return Found.malformed
    }
  }
  if (hours < 0 || hours > 24 || minutes < 0 || minutes > 59 || seconds < 0 || seconds > 59) return Found.malformed
  if (hours === 24 && (minutes !== 0 || seconds !== 0 || micros !== 0)) return Found.malformed
  const offset = parseOffset(bytes, at, end)
  if (Number.isNaN(offset)) return Found.malformed
  parsed.seconds = parsed.days * 86_400 + hours * 3600 + minutes * 60 + seconds - offset
  parsed.micros = micros
  if (parsed.seconds < MIN_SECOND) return Found.before
  return parsed.seconds > MAX_SECOND ? Found.after : Found.moment
}

function textAt(bytes: Buffer, pos: number, length: number): string {
  return JSON.stringify(bytes.toString('utf8', pos, pos + Math.min(length, 60)))
}

/** Stores an ISO 8601 text as a timestamp. */
export function putIsoTimestamp(
  to: FixedBuilder,
  row: number,
  bytes: Buffer,
  pos: number,
  length: number,
  outOfRange: OutOfRange,
): void {
  const found = parseMoment(bytes, pos, pos + length)
  if (found === Found.malformed) fault(`${textAt(bytes, pos, length)} is not an ISO 8601 timestamp`, to.path)
  if (found !== Found.moment) {
    putBeyond(to, row, found === Found.before, outOfRange, () => textAt(bytes, pos, length))
    return
  }
  // seconds * 10^6 + micros in two words, each step below 2^53.
  const upper = Math.floor(parsed.seconds / 65536)
  const lower = (parsed.seconds - upper * 65536) * 1_000_000 + parsed.micros
  const scaled = upper * 1_000_000
  const scaledHigh = Math.floor(scaled / 65536)
  const total = (scaled - scaledHigh * 65536) * 65536 + lower
  const carry = Math.floor(total / WORD)
  to.i32[2 * row] = total - carry * WORD
  to.i32[2 * row + 1] = scaledHigh + carry
  to.valid[row] = 1
}

/** Stores an ISO 8601 text as a date; an offset after it says nothing about the day. */
export function putIsoDate(
  to: FixedBuilder,
  row: number,
  bytes: Buffer,
  pos: number,
  length: number,
  outOfRange: OutOfRange,
): void {
  const end = pos + length
  let found = parseDay(bytes, pos, end)
  if (found === Found.moment && Number.isNaN(parseOffset(bytes, parsed.at, end))) found = Found.malformed
  if (found === Found.malformed) fault(`${textAt(bytes, pos, length)} is not an ISO 8601 date`, to.path)
  const days =
    found === Found.before ? Number.NEGATIVE_INFINITY : found === Found.after ? Number.POSITIVE_INFINITY : parsed.days
  putDate(to, row, days, outOfRange)
}
