/** Values of both sides in one form of text, by the Delta column's type. */

import { decimalText } from '../arrow/raw-values.js'

/** A type of the Delta schema's JSON. */
export type DeltaType =
  | string
  | {
      type: string
      elementType?: DeltaType
      keyType?: DeltaType
      valueType?: DeltaType
      fields?: readonly { name: string; type: DeltaType }[]
    }

/** What a column's values are compared by; null where the type is not compared. */
export interface Comparable {
  /** A value of the Delta table as {@link rawValues} gives it: dates as days, timestamps as microseconds. */
  stored(value: unknown): string
  /** The source's text. Undefined where it has no such value, an interval in a number for example. */
  source(text: string): string | undefined
  /** A source's text as a literal of Spark SQL, for the bounds of a key. */
  literal(text: string): string
}

/** A name in Spark's SQL, as in MySQL's. */
export const quote = (name: string) => `\`${name.replaceAll('`', '``')}\``
const text = (value: unknown) => String(value)
const sqlText = (value: string) => `'${value.replaceAll(/['\\]/g, '\\$&')}'`

const TIME = /^(-?)(\d+):(\d\d):(\d\d)(?:\.(\d{1,6}))?$/
const MOMENT = /^(\d{4})-(\d\d)-(\d\d)(?:[ T](\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?(?:([+-])(\d\d)(?::?(\d\d))?)?)?$/

const micros = (h: string, m: string, s: string, fraction = '') =>
  BigInt(Number(h) * 3600 + Number(m) * 60 + Number(s)) * 1_000_000n + BigInt(fraction.padEnd(6, '0'))

/** A whole number, or a time of day in microseconds. */
function whole(value: string): string | undefined {
  if (/^-?\d+$/.test(value)) return BigInt(value).toString()
  const time = TIME.exec(value)
  if (!time) return value === 'true' || value === 't' ? '1' : value === 'false' || value === 'f' ? '0' : undefined
  const [, sign, h, m, s, fraction] = time as unknown as [string, string, string, string, string, string?]
  const all = micros(h, m, s, fraction)
  return (sign ? -all : all).toString()
}

/** Microseconds since 1970. */
function moment(value: string): bigint | undefined {
  const parts = MOMENT.exec(value)
  if (!parts) return undefined
  const [, year, month, day, h = '0', m = '0', s = '0', fraction, sign, oh = '0', om = '0'] =
    parts as unknown as string[]
  const date = new Date(0)
  // Not Date.UTC: it takes years below 100 for those of the twentieth century.
  date.setUTCFullYear(Number(year), Number(month) - 1, Number(day))
  const offset = BigInt(Number(oh) * 60 + Number(om)) * 60_000_000n
  return BigInt(date.getTime()) * 1000n + micros(h, m, s, fraction) - (sign === '-' ? -offset : sign ? offset : 0n)
}

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

const float = (value: number) => (Object.is(value, -0) ? '-0' : String(value))
const number = (value: string) =>
  /^(?:[-+]?(?:[\d.]+(?:e[-+]?\d+)?|Infinity)|NaN)$/i.test(value) ? Number(value) : undefined

function real(round: (value: number) => number): Comparable {
  return {
    stored: (value) => float(value as number),
    source: (value) => {
      const found = number(value)
      return found === undefined ? undefined : float(round(found))
    },
    literal: (value) => value,
  }
}

/** The items of a one-dimensional array literal of PostgreSQL: `{a,NULL,"c d"}`. */
function items(value: string): (string | null)[] | undefined {
  if (!/^\{.*\}$/s.test(value) || value.startsWith('{{')) return undefined
  const found: (string | null)[] = []
  for (const [, quoted, plain] of value.slice(1, -1).matchAll(/"((?:[^"\\]|\\.)*)"|([^,]+)/gs)) {
    found.push(plain === 'NULL' ? null : (quoted?.replaceAll(/\\(.)/gs, '$1') ?? plain ?? ''))
  }
  return found
}

function list(element: Comparable): Comparable {
  return {
    stored: (value) =>
      JSON.stringify(Array.from(value as Iterable<unknown>, (item) => (item === null ? null : element.stored(item)))),
    source: (value) => {
      const converted = items(value)?.map((item) => (item === null ? null : element.source(item)))
      return converted === undefined || converted.includes(undefined) ? undefined : JSON.stringify(converted)
    },
    literal: sqlText,
  }
}

const WHOLE: Comparable = { stored: text, source: whole, literal: (value) => whole(value) ?? value }

/** A number that is stored as its text: zeros at its end are no difference, and the connector may leave them out. */
export const NUMBER_TEXT: Comparable = {
  stored: (value) => decimal(text(value)) ?? text(value),
  source: (value) => decimal(value) ?? value,
  literal: sqlText,
}

/** Digits of the fraction that a decimal type of the Delta schema has. */
export const scaleOf = (type: string): number => Number(/,\s*(\d+)\)/.exec(type)?.[1] ?? 0)

/** How values of a type are compared, or null for types of which the source's text tells too little. */
export function comparable(type: DeltaType): Comparable | null {
  if (typeof type !== 'string') {
    const plain = ['byte', 'short', 'integer', 'long', 'float', 'double', 'boolean', 'string']
    if (type.type !== 'array' || typeof type.elementType !== 'string' || !plain.includes(type.elementType)) return null
    const element = comparable(type.elementType)
    return element && list(element)
  }
  if (type.startsWith('decimal')) {
    const scale = scaleOf(type)
    return {
      stored: (value) => {
        const digits = decimalText(value as Uint32Array, scale)
        return decimal(digits) ?? digits
      },
      source: decimal,
      literal: (value) => `CAST(${sqlText(value)} AS ${type})`,
    }
  }
  switch (type) {
    case 'byte':
    case 'short':
    case 'integer':
    case 'long':
      return WHOLE
    case 'float':
      return real(Math.fround)
    case 'double':
      return real((value) => value)
    case 'string':
      return { stored: text, source: (value) => value, literal: sqlText }
    case 'boolean':
      return {
        stored: text,
        source: (value) => (/^(t|true|1)$/.test(value) ? 'true' : /^(f|false|0)$/.test(value) ? 'false' : undefined),
        literal: (value) => (/^(t|true|1)$/.test(value) ? 'true' : 'false'),
      }
    case 'date':
      return {
        stored: text,
        source: (value) => {
          const found = moment(value)
          return found === undefined ? undefined : (found / 86_400_000_000n).toString()
        },
        literal: (value) => `DATE ${sqlText(value)}`,
      }
    case 'timestamp':
    case 'timestamp_ntz':
      return {
        stored: text,
        source: (value) => moment(value)?.toString(),
        literal: (value) => `${type.toUpperCase()} ${sqlText(value)}`,
      }
    case 'binary':
      return {
        stored: (value) => `\\x${Buffer.from(value as Uint8Array).toString('hex')}`,
        source: (value) => (value.startsWith('\\x') ? value : undefined),
        literal: (value) => `X'${value.slice(2)}'`,
      }
    default:
      return null
  }
}

/** A value as a comparison holds it ({@link Comparable.stored}), in the text in which a source writes it. */
export function sourceText(type: DeltaType, value: string): string {
  if (type === 'date') return new Date(Number(value) * 86_400_000).toISOString().slice(0, 10)
  if (type !== 'timestamp' && type !== 'timestamp_ntz') return value
  const micros = BigInt(value)
  const rest = ((micros % 1_000_000n) + 1_000_000n) % 1_000_000n
  const second = new Date(Number((micros - rest) / 1000n)).toISOString().slice(0, 19).replace('T', ' ')
  return `${second}.${rest.toString().padStart(6, '0')}`
}
