/** Stored values in one form of text, in which both sides are compared, by the Delta column's type. */

import { decimalText } from '../arrow/raw-values.js'
import type { DeltaType } from '../delta/schema-json.js'

/** How values of a type are written in a comparison; null where the type is not compared. */
export interface Comparable {
  /** A value of the Delta table as {@link rawValues} gives it: dates as days, timestamps as microseconds. */
  stored(value: unknown): string
  /** What {@link stored} gives, as a literal of Spark SQL: for keys. */
  literal(text: string): string
}

/** A name in Spark's SQL, as in MySQL's. */
export const quote = (name: string) => `\`${name.replaceAll('`', '``')}\``
const sqlText = (value: string) => `'${value.replaceAll(/['\\]/g, '\\$&')}'`
const cast = (type: string) => (value: string) => `CAST(${sqlText(value)} AS ${type})`

/** Without what does not change the number: `1.50` is `1.5`, and `-0` is `0`. */
export function decimal(value: string): string | undefined {
  const parts = /^(-?)(\d*)(?:\.(\d*))?$/.exec(value)
  if (!parts) return undefined
  const [, sign, before = '', after = ''] = parts
  const number = before.replace(/^0+(?=.)/, '') || '0'
  const fraction = after.replace(/0+$/, '')
  const zero = number === '0' && fraction === ''
  return `${sign && !zero ? '-' : ''}${number}${fraction ? `.${fraction}` : ''}`
}

/** A number of floating point: the fewest digits that give it again. */
export const real = (value: number) => (Object.is(value, -0) ? '-0' : String(value))

/** Digits of the fraction that a decimal type of the Delta schema has. */
export const scaleOf = (type: string): number => Number(/,\s*(\d+)\)/.exec(type)?.[1] ?? 0)

const SECOND = 1_000_000n

/** `yyyy-MM-dd` of days since 1970, in the years 1 to 9999. */
const dayText = (days: number) => new Date(days * 86_400_000).toISOString().slice(0, 10)

/** `yyyy-MM-dd HH:mm:ss.ffffff` of microseconds since 1970. */
function momentText(micros: bigint): string {
  const rest = ((micros % SECOND) + SECOND) % SECOND
  const second = new Date(Number((micros - rest) / 1000n)).toISOString().slice(0, 19).replace('T', ' ')
  return `${second}.${rest.toString().padStart(6, '0')}`
}

/** A compared value in the text in which databases and people write it. */
export function readable(type: DeltaType, value: string): string {
  if (type === 'date') return dayText(Number(value))
  return type === 'timestamp' || type === 'timestamp_ntz' ? momentText(BigInt(value)) : value
}

const ITEMS = ['byte', 'short', 'integer', 'long', 'float', 'double', 'boolean', 'string']

/** How values of a type are compared, or null for types whose values have no text of their own. */
export function comparable(type: DeltaType): Comparable | null {
  if (typeof type !== 'string') {
    if (type.type !== 'array' || typeof type.elementType !== 'string' || !ITEMS.includes(type.elementType)) return null
    const item = comparable(type.elementType) as Comparable
    const stored = (value: unknown) =>
      JSON.stringify(Array.from(value as Iterable<unknown>, (one) => (one === null ? null : item.stored(one))))
    return { stored, literal: sqlText }
  }
  if (type.startsWith('decimal')) {
    const scale = scaleOf(type)
    const stored = (value: unknown) => {
      const digits = decimalText(value as Uint32Array, scale)
      return decimal(digits) ?? digits
    }
    return { stored, literal: cast(type) }
  }
  switch (type) {
    case 'byte':
    case 'short':
    case 'integer':
    case 'long':
    case 'boolean':
      return { stored: String, literal: (value) => value }
    case 'float':
    case 'double':
      return { stored: (value) => real(value as number), literal: cast(type.toUpperCase()) }
    case 'string':
      return { stored: String, literal: sqlText }
    case 'date':
      return { stored: String, literal: (value) => `DATE ${sqlText(dayText(Number(value)))}` }
    case 'timestamp':
    case 'timestamp_ntz':
      return { stored: String, literal: (value) => `${type.toUpperCase()} ${sqlText(momentText(BigInt(value)))}` }
    case 'binary':
      return {
        stored: (value) => `\\x${Buffer.from(value as Uint8Array).toString('hex')}`,
        literal: (value) => `X'${value.slice(2)}'`,
      }
    default:
      return null
  }
}
