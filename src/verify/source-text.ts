/** Texts that databases write for their values, in the form of the comparison ({@link Comparable.stored}). */

import { decimal, real } from './comparable.js'

/** A database's text as a compared value. Undefined where the text does not tell which value the stream has stored. */
export type Parse = (text: string) => string | null | undefined

export const same: Parse = (text) => text

export const whole: Parse = (text) => (/^-?\d+$/.test(text) ? BigInt(text).toString() : undefined)

/** A decimal's digits as they are. What no decimal can hold (NaN) arrives in more than one way. */
export const decimalDigits: Parse = (text) => (decimal(text) === undefined ? undefined : text)

/** The double that is next to a decimal. */
export const decimalAsReal: Parse = (text) => (decimal(text) === undefined ? undefined : real(Number(text)))

/** @param scale digits of the fraction that are stored; a number with more of them is another one in the table */
export const decimalWithin =
  (scale: number): Parse =>
  (text) => {
    const number = decimal(text)
    return number !== undefined && (number.split('.')[1] ?? '').length <= scale ? number : undefined
  }

const NUMBER = /^(?:[-+]?(?:[\d.]+(?:e[-+]?\d+)?|Infinity)|NaN)$/i

/** @param round to the type's numbers */
export const realOf =
  (round: (value: number) => number = (value) => value): Parse =>
  (text) =>
    NUMBER.test(text) ? real(round(Number(text))) : undefined

const TRUE = /^(t|true|1)$/
const FALSE = /^(f|false|0)$/

export const truth: Parse = (text) => (TRUE.test(text) ? 'true' : FALSE.test(text) ? 'false' : undefined)

/** Bytes in hexadecimal digits after a prefix. */
export const bytesAfter =
  (prefix: string): Parse =>
  (text) =>
    text.startsWith(prefix) ? `\\x${text.slice(prefix.length).toLowerCase()}` : undefined

/** Digits 0 and 1 as the bytes of `io.debezium.data.Bits`: the last digit is the lowest bit of the first byte. */
export const bits: Parse = (text) => {
  if (!/^[01]*$/.test(text)) return undefined
  const bytes = Array.from({ length: Math.ceil(text.length / 8) }, (_, i) =>
    Number.parseInt(text.slice(Math.max(0, text.length - 8 * (i + 1)), text.length - 8 * i), 2),
  )
  return `\\x${Buffer.from(bytes).toString('hex')}`
}

/** The same without the bytes above the highest bit. */
export const shortestBits: Parse = (text) => bits(text)?.replace(/(00)+$/, '')

const TIME = /^(-?)(\d+):(\d\d):(\d\d)(?:\.(\d{1,6}))?$/
const MOMENT = /^(\d{4})-(\d\d)-(\d\d)(?:[ T](\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?(?:([+-])(\d\d)(?::?(\d\d))?)?)?$/

const micros = (h: string, m: string, s: string, fraction = '') =>
  BigInt(Number(h) * 3600 + Number(m) * 60 + Number(s)) * 1_000_000n + BigInt(fraction.padEnd(6, '0'))

/** A time of day as a number of the unit that is stored, cut to it; null for units that are not known. */
export function timeIn(unit: string): Parse | null {
  if (!['milliseconds', 'microseconds', 'nanoseconds'].includes(unit)) return null
  return (text) => {
    const time = TIME.exec(text)
    if (!time) return undefined
    const [, sign, h, m, s, fraction] = time as unknown as [string, string, string, string, string, string?]
    const all = micros(h, m, s, fraction)
    const number = unit === 'nanoseconds' ? all * 1000n : unit === 'microseconds' ? all : all / 1000n
    return (sign ? -number : number).toString()
  }
}

/** Microseconds since 1970, of the years 1 to 9999 and days that the calendar has. */
function momentOf(text: string): bigint | undefined {
  const parts = MOMENT.exec(text)
  if (!parts) return undefined
  const [, year, month, day, h = '0', m = '0', s = '0', fraction, sign, oh = '0', om = '0'] =
    parts as unknown as string[]
  const date = new Date(0)
  // Not Date.UTC: it takes years below 100 for those of the twentieth century.
  date.setUTCFullYear(Number(year), Number(month) - 1, Number(day))
  if (Number(year) === 0 || date.getUTCMonth() !== Number(month) - 1 || date.getUTCDate() !== Number(day))
    return undefined
  const offset = BigInt(Number(oh) * 60 + Number(om)) * 60_000_000n
  return BigInt(date.getTime()) * 1000n + micros(h, m, s, fraction) - (sign === '-' ? -offset : sign ? offset : 0n)
}

const DAY = 86_400_000_000n
const FIRST = -719_162n
const LAST = 2_932_896n

/** What a table holds of dates and timestamps outside the years 1 to 9999: the option `outOfRange`. */
export type OutOfRange = 'fail' | 'null' | 'clamp'

/** PostgreSQL's dates beyond those of Delta. */
const BEYOND = /^-?infinity$| BC$|^\d{5,}-/

function beyond(text: string, outOfRange: OutOfRange, first: bigint, last: bigint): string | null | undefined {
  if (!BEYOND.test(text) || outOfRange === 'fail') return undefined
  if (outOfRange === 'null') return null
  return String(text.startsWith('-') || text.endsWith('BC') ? first : last)
}

export const dateOr =
  (outOfRange: OutOfRange): Parse =>
  (text) => {
    const found = momentOf(text)
    return found === undefined ? beyond(text, outOfRange, FIRST, LAST) : (found / DAY).toString()
  }

export const momentOr =
  (outOfRange: OutOfRange): Parse =>
  (text) =>
    momentOf(text)?.toString() ?? beyond(text, outOfRange, FIRST * DAY, (LAST + 1n) * DAY - 1n)

/** A text of a date or a moment, as it is; undefined outside the years 1 to 9999. */
export const momentText: Parse = (text) => (momentOf(text) === undefined ? undefined : text)

/** The items of a one-dimensional array literal of PostgreSQL: `{a,NULL,"c d"}`. */
function items(text: string): (string | null)[] | undefined {
  if (!/^\{.*\}$/s.test(text) || text.startsWith('{{')) return undefined
  const found: (string | null)[] = []
  for (const [, quoted, plain] of text.slice(1, -1).matchAll(/"((?:[^"\\]|\\.)*)"|([^,]+)/gs)) {
    found.push(plain === 'NULL' ? null : (quoted?.replaceAll(/\\(.)/gs, '$1') ?? plain ?? ''))
  }
  return found
}

export const listOf =
  (item: Parse): Parse =>
  (text) => {
    const converted = items(text)?.map((one) => (one === null ? null : item(one)))
    return converted === undefined || converted.includes(undefined) ? undefined : JSON.stringify(converted)
  }

/** Milliseconds of a timestamp that has more digits than those, in microseconds: what `time.precision.mode=connect` keeps. */
export const isCut = (stored: string, source: string): boolean =>
  BigInt(stored) === BigInt(source) - (((BigInt(source) % 1000n) + 1000n) % 1000n)
