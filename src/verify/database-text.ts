/**
 * Values of the Delta table in the texts that a database writes for them, so that both sides can be hashed. Each is the
 * inverse of a {@link Reading}: from a database's text that equals it, a comparison reads the stored value.
 */

import { DataType, type Vector } from 'apache-arrow'
import { decimalText } from '../arrow/raw-values.js'
import { decimal } from './comparable.js'

/** A value of the comparison's query as text, one character a byte. */
export type Text = (value: unknown) => string

/** A cell of a column in the text of its row. */
export type Cell = (row: number) => string

/** Of a column of a batch. What a value's text may hold decides how its end is told. */
export type Cells = (vector: Vector) => Cell

/** Ends each cell. */
export const END = '|'

/** Texts that are never empty and hold no {@link END}: null is the empty one. */
export const plain =
  (text: Text): Cells =>
  (vector) =>
  (row) => {
    const value: unknown = vector.get(row)
    return value === null ? END : text(value) + END
  }

/** Any texts, after their number of bytes; null has none. */
export const sized =
  (text: Text): Cells =>
  (vector) =>
  (row) => {
    const value: unknown = vector.get(row)
    if (value === null) return `:${END}`
    const bytes = text(value)
    return `${bytes.length}:${bytes}${END}`
  }

/** A text's UTF-8 bytes. */
export const utf8 = (value: string): string => Buffer.from(value).toString('latin1')

const sizedStrings = sized((value) => utf8(value as string))

/** Numbers that are stored as texts, without zeros at their end. */
export const numberTexts = sized((value) => utf8(decimal(value as string) ?? (value as string)))

/** Strings as they are: the bytes of Arrow's buffer need no decoding. */
export const strings: Cells = (vector) => {
  const [data] = vector.data
  if (vector.data.length !== 1 || !data || !DataType.isUtf8(vector.type)) return sizedStrings(vector)
  const { buffer, byteOffset, byteLength } = data.values as Uint8Array
  const bytes = Buffer.from(buffer, byteOffset, byteLength)
  const offsets = data.valueOffsets as Int32Array
  return (row) => {
    if (!data.getValid(row)) return `:${END}`
    const from = offsets[row] as number
    const to = offsets[row + 1] as number
    return `${to - from}:${bytes.toString('latin1', from, to)}${END}`
  }
}

export const digits: Text = (value) => String(value)

/**
 * A decimal with as many digits of the fraction as the source's type has, or more where the value does.
 * @param stored digits of the fraction that the table's type has
 */
export const decimalOf =
  (scale: number, storedScale: number): Text =>
  (value) => {
    const stored = decimalText(value as Uint32Array, storedScale)
    const dot = stored.indexOf('.')
    const least = Math.max(scale, 0)
    if (least === (dot < 0 ? 0 : stored.length - dot - 1)) return stored
    const [whole, fraction = ''] = (decimal(stored) ?? stored).split('.')
    const all = fraction.padEnd(least, '0')
    return all === '' ? (whole as string) : `${whole}.${all}`
  }

export const bytesAfter =
  (prefix: string): Text =>
  (value) => {
    const { buffer, byteOffset, byteLength } = value as Uint8Array
    return prefix + Buffer.from(buffer, byteOffset, byteLength).toString('hex')
  }

const DAY = 86_400_000_000n
const two = (value: number) => (value < 10 ? `0${value}` : String(value))

/** `.5` of 500,000 microseconds: at least as many digits as said, and no zeros after those. */
function fraction(micros: number, least: number): string {
  if (micros === 0 && least === 0) return ''
  let all = String(1_000_000 + micros).slice(1)
  while (all.length > least && all.endsWith('0')) all = all.slice(0, -1)
  return `.${all}`
}

/** `HH:MM:SS.ffffff` */
function clock(micros: number, least: number): string {
  const seconds = Math.floor(micros / 1_000_000)
  const minutes = Math.floor(seconds / 60)
  return `${two(Math.floor(minutes / 60))}:${two(minutes % 60)}:${two(seconds % 60)}${fraction(micros % 1_000_000, least)}`
}

const dates = new Map<number, string>()

/** `yyyy-MM-dd` of days since 1970, in the years 1 to 9999. */
function dateOf(day: number): string {
  let date = dates.get(day)
  if (date === undefined) {
    date = new Date(day * 86_400_000).toISOString().slice(0, -14)
    if (dates.size >= 10_000) dates.clear()
    dates.set(day, date)
  }
  return date
}

export const date: Text = (value) => dateOf(Number(value))

/** Microseconds since 1970 as `yyyy-MM-dd HH:MM:SS.ffffff`. */
export const momentOf =
  (least: number, zone = ''): Text =>
  (value) => {
    const micros = value as bigint
    const day = (micros < 0n ? micros - (DAY - 1n) : micros) / DAY
    return `${dateOf(Number(day))} ${clock(Number(micros - day * DAY), least)}${zone}`
  }

/** Microseconds as a time of day, or as MySQL's time, which may be negative. */
export const timeOf =
  (least: number): Text =>
  (value) => {
    const micros = Number(value)
    return micros < 0 ? `-${clock(-micros, least)}` : clock(micros, least)
  }

/** Significant digits, and the power of ten of the first of them. */
function scientific(value: number): { sign: string; digits: string; exponent: number } {
  const [mantissa = '', exponent] = value.toExponential().split('e')
  const sign = mantissa.startsWith('-') ? '-' : ''
  return { sign, digits: mantissa.replace('-', '').replace('.', ''), exponent: Number(exponent) }
}

/** A double as PostgreSQL 12 and newer write it: the fewest digits that give it again, as JavaScript does. */
export const postgresDouble: Text = (value) => {
  const number = value as number
  const size = Math.abs(number)
  if ((size >= 1e-4 && size < 1e15) || !Number.isFinite(number)) return String(number)
  if (size === 0) return Object.is(number, -0) ? '-0' : '0'
  const { sign, digits, exponent } = scientific(number)
  const point = digits.length > 1 ? `${digits[0]}.${digits.slice(1)}` : digits
  return `${sign}${point}e${exponent < 0 ? '-' : '+'}${two(Math.abs(exponent))}`
}

/** A double as MySQL and MariaDB write it. Those that they write otherwise cost a reading of the rows. */
export const mysqlDouble: Text = (value) => {
  const number = value as number
  const size = Math.abs(number)
  if ((size >= 1e-6 && size < 1e15) || !Number.isFinite(number)) return String(number)
  if (size === 0) return Object.is(number, -0) ? '-0' : '0'
  const { sign, digits, exponent } = scientific(number)
  if (exponent < 0 && exponent >= -15) return `${sign}0.${'0'.repeat(-exponent - 1)}${digits}`
  const point = digits.length > 1 ? `${digits[0]}.${digits.slice(1)}` : digits
  return `${sign}${point}e${exponent}`
}

/** An item of PostgreSQL's array literals, in quotes where its bytes ask for them. */
function item(text: string): string {
  if (text !== '' && !/["\\{}, \t\n\v\f\r]/.test(text) && text.toUpperCase() !== 'NULL') return text
  return `"${text.replaceAll(/["\\]/g, '\\$&')}"`
}

/** A one-dimensional array literal of PostgreSQL. `each` gives the text of an item. */
export const arrayOf =
  (each: Text): Text =>
  (value) =>
    `{${Array.from(value as Iterable<unknown>, (one) => (one === null ? 'NULL' : item(each(one)))).join(',')}}`
