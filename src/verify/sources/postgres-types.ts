/**
 * How values of PostgreSQL's types are read. Each pair of a type here and a type of the table is one of which it is known
 * what Debezium sends and what the table stores of it; all others are not compared.
 */

import { decimal, scaleOf } from '../comparable.js'
import {
  arrayOf,
  bytesAfter as bytesText,
  date,
  decimalOf,
  digits,
  momentOf,
  numberTexts,
  plain,
  postgresDouble,
  sized,
  strings,
  type Text,
  timeOf,
  utf8,
} from '../database-text.js'
import {
  bytesAfter,
  dateOr,
  decimalAsReal,
  decimalDigits,
  decimalWithin,
  isCut,
  listOf,
  momentOr,
  momentText,
  type Parse,
  realOf,
  same,
  shortestBits,
  timeIn,
  truth,
  whole,
} from '../source-text.js'
import { instant, isExponent, keyOf } from './readings.js'
import type { KeySide, Reading, Target } from './source.js'

/** A column's type without domains, as `format_type` tells it. */
export interface PostgresType {
  name: string
  isEnum: boolean
}

const WHOLE = /^(smallint|integer|bigint|oid)$/
const TEXT = /^(text|character varying(\(\d+\))?)$/
const TEXTS =
  /^(character(\(\d+\))?|"?\w*"?\.?(citext|ltree)|json|jsonb|xml|inet|cidr|macaddr8?|int4range|int8range|numrange|daterange)$/
const REALS = /^(real|double precision)$/
const TIME = /^time(\(\d\))? without time zone$/
const TIMESTAMP = /^timestamp(?:\((\d)\))? without time zone$/
const TIMESTAMPTZ = /^timestamp(?:\((\d)\))? with time zone$/
const UUID = /^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/

type How = Omit<Reading, 'sql'> & { sql?: string }

const typed = (sql: string, type: string, from: KeySide['from'] = (value) => value): KeySide => ({
  sql,
  parameter: (placeholder) => `${placeholder}::${type}`,
  from,
})
/** For types that order their values as the table orders what it stores of them. */
const native = (column: string, type: string, from?: KeySide['from']) => keyOf(typed(column, type, from))
/** PostgreSQL's texts have no character 0. */
const known = (text: string) => (text.includes('\0') ? null : text)
const inBytes = (sql: string) => typed(`${sql} COLLATE "C"`, 'text', known)

/** A whole number, a truth value or a date: texts without ends in them. */
const short = (value: Parse, text: Text, more: Partial<How> = {}): How => ({
  value,
  hash: { cells: plain(text), sized: false },
  ...more,
})
const text = (more: Partial<How> = {}): How => ({ value: same, hash: { cells: strings, sized: true }, ...more })

/** Without zeros at its end: what the connector sends of a number with a scale of its own. */
const shortest = (sql: string) =>
  `CASE WHEN strpos(${sql}::text, '.') > 0 THEN rtrim(rtrim(${sql}::text, '0'), '.') ELSE ${sql}::text END`

/** The first numbers that are too large. */
const LIMITS: Readonly<Record<string, bigint>> = { smallint: 2n ** 15n, integer: 2n ** 31n, oid: 2n ** 32n }

const within = (limit: bigint) => (value: string) => {
  if (!/^-?\d+$/.test(value)) return null
  const number = BigInt(value)
  return number < limit && number >= -limit ? value : null
}

function ofWhole(column: string, source: string, { type, form }: Target): How | null {
  if (form !== '') return null
  const key = native(column, source === 'oid' ? 'bigint' : source, within(LIMITS[source] ?? 2n ** 63n))
  if (type === 'string')
    return text({ key: keyOf(inBytes(`${column}::text`), typed(column, 'bigint', within(2n ** 63n))) })
  if (type === 'byte' || type === 'short' || type === 'integer' || type === 'long') return short(whole, digits, { key })
  if (typeof type === 'string' && type.startsWith('decimal')) {
    return short(decimalWithin(scaleOf(type)), decimalOf(0, scaleOf(type)), { key })
  }
  return null
}

/** As a double, a real has the digits that tell all of it. */
function ofReal(column: string, source: string, { type }: Target): How | null {
  const isReal = source === 'real'
  const sql = isReal ? `${column}::double precision` : column
  const key = native(column, source)
  if (type === 'float' && isReal) return short(realOf(Math.fround), postgresDouble, { sql, key })
  return type === 'double' ? short(realOf(), postgresDouble, { sql, key }) : null
}

function ofNumeric(column: string, scale: number | null, { type }: Target): How | null {
  if (type === 'string') {
    const find = typed(column, 'numeric', (value) => (decimal(value) === undefined ? null : value))
    if (scale === null) {
      const sql = shortest(column)
      return {
        sql,
        value: decimalDigits,
        isSame: (stored, source) => decimal(stored) === source,
        hash: { cells: numberTexts, sized: true },
        key: keyOf(inBytes(sql), find),
      }
    }
    return text({ value: decimalDigits, mayBe: isExponent, key: keyOf(inBytes(`${column}::text`), find) })
  }
  if (type === 'double') return { value: decimalAsReal }
  if (typeof type !== 'string' || !type.startsWith('decimal')) return null
  const sql = scale === null ? shortest(column) : column
  return short(decimalWithin(scaleOf(type)), decimalOf(scale ?? 0, scaleOf(type)), {
    sql,
    key: native(column, 'numeric'),
  })
}

/** Two digits of the fraction, as the connector takes by default. */
function ofMoney(column: string, { type }: Target): How | null {
  if (typeof type !== 'string' || !type.startsWith('decimal')) return null
  const value = decimalWithin(scaleOf(type))
  return { sql: `${column}::numeric`, value: (text) => (/\.\d\d$/.test(text) ? value(text) : undefined) }
}

function ofTime(column: string, { type, form }: Target): How | null {
  if (type === 'string') {
    if (form !== 'HH:MM:SS.ffffff') return null
    return text({ sql: `to_char(${column}, 'HH24:MI:SS.US')`, mayBe: (stored, source) => stored === cutText(source) })
  }
  const value = timeIn(form)
  if (value === null || (type !== 'integer' && type !== 'long')) return null
  return form === 'microseconds' ? short(value, timeOf(0), { key: native(column, 'time', timeOf(0)) }) : { value }
}

/** A time of day in six digits, without what is finer than milliseconds. */
const cutText = (time: string) => `${time.slice(0, -3)}000`

/** Debezium sends it in UTC, without zeros at the end. A time of 24 hours becomes another one there. */
function ofTimetz(column: string, { type, form }: Target): How | null {
  if (type !== 'string' || form !== '') return null
  const utc = `replace((${column} AT TIME ZONE 'UTC')::text, '+00', 'Z')`
  const sql = `CASE WHEN ${column}::time = '24:00' THEN '24' ELSE ${utc} END`
  return { sql, value: (time) => (time === '24' ? undefined : time), hash: { cells: strings, sized: true } }
}

function ofTimestamp(column: string, decimals: number, source: string, zone: string, target: Target): How | null {
  const { type, form, options } = target
  if (type === 'string') return form === 'yyyy-MM-dd HH:mm:ss' && zone === '' ? { ...text(), value: momentText } : null
  if (type !== 'timestamp' && (type !== 'timestamp_ntz' || zone !== '')) return null
  return short(momentOr(options.outOfRange ?? 'fail'), momentOf(0, zone), {
    ...(zone === '' && decimals > 3 ? { mayBe: isCut } : {}),
    key: native(column, source, instant(zone)),
  })
}

function ofBits(source: string, { type }: Target): How | null {
  if (source === 'bit(1)' && type === 'boolean') return short(truth, (value) => (value ? '1' : '0'))
  return type === 'binary' && source !== 'bit(1)' ? { value: shortestBits } : null
}

const ITEMS: readonly [RegExp, string, Parse, Text][] = [
  [/^(smallint|integer)$/, 'integer', whole, digits],
  [/^smallint$/, 'short', whole, digits],
  [/^(smallint|integer|bigint)$/, 'long', whole, digits],
  [/^real$/, 'float', realOf(Math.fround), postgresDouble],
  [/^double precision$/, 'double', realOf(), postgresDouble],
  [/^boolean$/, 'boolean', truth, (value) => (value ? 't' : 'f')],
  [TEXT, 'string', same, (value) => utf8(value as string)],
]

function ofArray(column: string, source: string, { type }: Target): How | null {
  if (typeof type === 'string' || type.type !== 'array') return null
  const found = ITEMS.find(([from, to]) => to === type.elementType && from.test(source))
  if (!found) return null
  const [, , value, itemText] = found
  const sql = source === 'real' ? `${column}::double precision[]` : column
  return { sql, value: listOf(value), hash: { cells: sized(arrayOf(itemText)), sized: true } }
}

function howOf(column: string, { name, isEnum }: PostgresType, target: Target): How | null {
  const { type, form, options } = target
  if (name.endsWith('[]')) return ofArray(column, name.slice(0, -2), target)
  if (WHOLE.test(name)) return ofWhole(column, name, target)
  if (REALS.test(name)) return ofReal(column, name, target)
  if (TIME.test(name)) return ofTime(column, target)
  if (name.startsWith('time') && name.endsWith('with time zone') && !TIMESTAMPTZ.test(name))
    return ofTimetz(column, target)
  const numeric = /^numeric(?:\(\d+,(-?\d+)\))?$/.exec(name)
  if (numeric) return ofNumeric(column, numeric[1] === undefined ? null : Number(numeric[1]), target)
  const timestamp = TIMESTAMP.exec(name)
  if (timestamp) return ofTimestamp(column, Number(timestamp[1] ?? 6), name, '', target)
  if (TIMESTAMPTZ.test(name)) return ofTimestamp(column, 6, name, '+00', target)
  if (name.startsWith('bit')) return ofBits(name, target)
  if (type === 'string' && form === '') {
    if (TEXT.test(name)) return text({ key: keyOf(inBytes(column), typed(column, 'text', known)) })
    if (name.startsWith('character'))
      return text({ key: keyOf(inBytes(`concat(${column})`), typed(column, 'bpchar', known)) })
    if (name === 'uuid') return text({ key: native(column, 'uuid', (value) => (UUID.test(value) ? value : null)) })
    if (isEnum || TEXTS.test(name)) return text({ key: keyOf(inBytes(`${column}::text`)) })
    if (name === 'boolean') return { value: truth }
  }
  if (name === 'money') return ofMoney(column, target)
  if (name === 'boolean' && type === 'boolean') {
    return short(truth, (value) => (value ? 't' : 'f'), { key: native(column, 'boolean') })
  }
  if (name === 'bytea' && type === 'binary') {
    return short(bytesAfter('\\x'), bytesText('\\x'), { key: native(column, 'bytea') })
  }
  if (name !== 'date') return null
  if (type === 'string') return form === 'yyyy-MM-dd' ? { ...text(), value: momentText } : null
  if (type !== 'date') return null
  return short(dateOr(options.outOfRange ?? 'fail'), date, { key: native(column, 'date', (value) => date(value)) })
}

/** @param column quoted */
export function postgresReading(column: string, source: PostgresType, target: Target): Reading | null {
  const how = howOf(column, source, target)
  return how && { sql: column, ...how }
}
