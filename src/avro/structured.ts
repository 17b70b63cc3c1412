/** Debezium's structured dates and times (`time.precision.mode=structured`): records of year, month, day, hour and so on. */

import { BytesBuilder, type ColumnBuilder, type FixedBuilder } from '../arrow/builders.js'
import type { OutOfRange, StructuredKind } from './semantic-types.js'
import { putText, putTimeText, signedYear, two } from './text-values.js'
import { isDay, putIsoDate, putIsoTimestamp } from './times.js'
import { fault } from './wire.js'

/** Fields that generated code reads; others say nothing of the value. */
export const NUMBER_FIELDS = ['year', 'month', 'day', 'hour', 'minute', 'second', 'nanos', 'offsetSeconds'] as const
const ABSENT = Number.NaN

/** The fields of one record: one object for all, so that no row makes one. */
export class StructuredParts {
  readonly numbers = new Float64Array(NUMBER_FIELDS.length)
  /** The first character of `specialValue`, which is POSITIVE_INFINITY or NEGATIVE_INFINITY; 0 for none. */
  special = 0

  reset(): void {
    this.numbers.fill(ABSENT)
    this.special = 0
  }

  get(name: (typeof NUMBER_FIELDS)[number], column: string): number {
    const value = this.numbers[NUMBER_FIELDS.indexOf(name)] as number
    return Number.isNaN(value) ? fault(`a structured date or time without ${name}`, column) : value
  }
}

const PER_SECOND = 1_000_000_000

function fractionText(nanos: number): string {
  const digits = String(nanos).padStart(9, '0').replace(/0+$/, '')
  return digits === '' ? '' : `.${digits}`
}

function offsetText(seconds: number): string {
  if (seconds === 0) return 'Z'
  const size = Math.abs(seconds)
  const rest = size % 60
  const text = `${two(Math.floor(size / 3600))}:${two(Math.floor(size / 60) % 60)}${rest === 0 ? '' : `:${two(rest)}`}`
  return `${seconds < 0 ? '-' : '+'}${text}`
}

function clockText(parts: StructuredParts, column: string): string {
  const [hour, minute, second] = [parts.get('hour', column), parts.get('minute', column), parts.get('second', column)]
  return `${two(hour)}:${two(minute)}:${two(second)}${fractionText(parts.get('nanos', column))}`
}

/** Stores the value that `parts` holds. */
export function putStructured(
  to: ColumnBuilder,
  row: number,
  parts: StructuredParts,
  kind: StructuredKind,
  outOfRange: OutOfRange,
): void {
  if (kind === 'time') putStructuredTime(to, row, parts)
  else if (kind === 'zonedTime') {
    putText(to as BytesBuilder, row, clockText(parts, to.path) + offsetText(parts.get('offsetSeconds', to.path)))
  } else putStructuredDay(to, row, parts, kind, outOfRange)
}

function putStructuredTime(to: ColumnBuilder, row: number, parts: StructuredParts): void {
  const [hour, minute, second] = [
    parts.get('hour', to.path),
    parts.get('minute', to.path),
    parts.get('second', to.path),
  ]
  // Below 2^53: hours have one byte.
  const nanos = ((hour * 60 + minute) * 60 + second) * PER_SECOND + parts.get('nanos', to.path)
  const high = Math.floor(nanos / 2 ** 32)
  const low = (nanos - high * 2 ** 32) | 0
  if (to instanceof BytesBuilder) {
    putTimeText(to, row, low, high, 'ns')
    return
  }
  const { i32 } = to as FixedBuilder
  i32[2 * row] = low
  i32[2 * row + 1] = high
  to.valid[row] = 1
}

function putStructuredDay(
  to: ColumnBuilder,
  row: number,
  parts: StructuredParts,
  kind: StructuredKind,
  outOfRange: OutOfRange,
): void {
  let text = parts.special === 0 ? '' : parts.special === 0x4e ? '-infinity' : 'infinity'
  if (text === '') {
    const [year, month, day] = [parts.get('year', to.path), parts.get('month', to.path), parts.get('day', to.path)]
    text = `${signedYear(year)}-${two(month)}-${two(day)}`
    if (!isDay(year, month, day) && !(to instanceof BytesBuilder)) {
      // MySQL's zero dates, for one: no date is the nearest to them.
      if (outOfRange === 'fail') fault(`the calendar has no date ${text}`, to.path)
      return
    }
    if (kind === 'timestamp') text += ` ${clockText(parts, to.path)}`
    if (kind === 'zonedTimestamp') {
      text += `T${clockText(parts, to.path)}${offsetText(parts.get('offsetSeconds', to.path))}`
    }
  }
  if (to instanceof BytesBuilder) {
    putText(to, row, text)
    return
  }
  const bytes = Buffer.from(text)
  const put = kind === 'date' ? putIsoDate : putIsoTimestamp
  put(to as FixedBuilder, row, bytes, 0, bytes.length, outOfRange)
}
