/**
 * How values of MySQL's and MariaDB's types are read. Each pair of a type here and a type of the table is one of which it
 * is known what Debezium sends and what the table stores of it; all others are not compared.
 */

import { scaleOf } from '../comparable.js'
import {
  bytesAfter as bytesText,
  date,
  decimalOf,
  digits,
  momentOf,
  mysqlDouble,
  plain,
  strings,
  type Text,
  timeOf,
} from '../database-text.js'
import {
  bits,
  bytesAfter,
  dateOr,
  decimalAsReal,
  decimalWithin,
  isCut,
  momentOr,
  momentText,
  type Parse,
  realOf,
  same,
  timeIn,
  truth,
  whole,
} from '../source-text.js'
import { instant, isExponent, keyOf } from './readings.js'
import type { KeySide, Reading, Target } from './source.js'

const WHOLE = /^(tinyint|smallint|mediumint|int|bigint)\b/
const TEXT = /^(char|varchar|tinytext|text|mediumtext|longtext|enum|set)\b/
const BYTES = /^(binary|varbinary|tinyblob|blob|mediumblob|longblob)\b/

const side = (sql: string, type: string, from: KeySide['from'] = (value) => value): KeySide => ({
  sql,
  parameter: (placeholder) => `CAST(${placeholder} AS ${type})`,
  from,
})

/** A text without ends in it. */
const short = (sql: string, value: Parse, text: Text, more: Partial<Reading> = {}): Reading => ({
  sql: `CAST(${sql} AS CHAR)`,
  value,
  hash: { cells: plain(text), sized: false },
  ...more,
})
const long = (sql: string, more: Partial<Reading> = {}): Reading => ({
  sql,
  value: same,
  hash: { cells: strings, sized: true },
  ...more,
})

function ofText(column: string): Reading {
  const sql = `CONVERT(${column} USING utf8mb4)`
  const find = { sql: column, parameter: (placeholder: string) => placeholder, from: (value: string) => value }
  return long(sql, { key: keyOf(side(`CAST(${sql} AS BINARY)`, 'BINARY'), find) })
}

/** Beyond 63 bits an unsigned number arrives as a negative one. */
function ofWhole(column: string, source: string, { type, form }: Target): Reading | null {
  if (form !== '') return null
  const signed = `CAST(${column} AS SIGNED)`
  if (type === 'string') return { sql: `CAST(${column} AS CHAR)`, value: whole }
  if (type === 'boolean')
    return /^tinyint\(1\)$/.test(source) ? short(column, truth, (value) => (value ? '1' : '0')) : null
  if (type === 'byte' || type === 'short' || type === 'integer' || type === 'long') {
    const find = source.includes('unsigned')
      ? side(column, 'UNSIGNED', (value) => BigInt.asUintN(64, BigInt(value)).toString())
      : side(column, 'SIGNED')
    return short(signed, whole, digits, { key: keyOf(side(signed, 'SIGNED'), find) })
  }
  if (typeof type !== 'string' || !type.startsWith('decimal')) return null
  return short(column, decimalWithin(scaleOf(type)), decimalOf(0, scaleOf(type)), {
    key: keyOf(side(column, 'DECIMAL(65)')),
  })
}

/** As a product of doubles: the text of a FLOAT has six digits alone, and that of a fixed scale no others. */
function ofReal(column: string, source: string, { type }: Target): Reading | null {
  const isFloat = source.startsWith('float')
  const sql = `${column} * 1e0`
  const number = { sql, parameter: (placeholder: string) => `${placeholder} * 1e0`, from: finite }
  const key = keyOf(number)
  if (type === 'float' && isFloat) return short(sql, realOf(Math.fround), mysqlDouble, { key, mayLack: hasSixDigits })
  return type === 'double' && !isFloat ? short(sql, realOf(), mysqlDouble, { key }) : null
}

/** A snapshot's FLOAT is the text that the server writes for it. */
const hasSixDigits = (stored: string, source: string) =>
  Number(stored) === Math.fround(Number(Number(source).toPrecision(6)))

const finite = (value: string) => (/Infinity|NaN/.test(value) ? null : value)

function ofDecimal(column: string, source: string, { type }: Target): Reading | null {
  const scale = Number(/^decimal\(\d+,(\d+)\)/.exec(source)?.[1] ?? 0)
  const text = `CAST(${column} AS CHAR)`
  if (source.includes('zerofill')) return null
  if (type === 'string') return long(text, { mayBe: isExponent })
  if (type === 'double') return { sql: text, value: decimalAsReal }
  if (typeof type !== 'string' || !type.startsWith('decimal')) return null
  return short(column, decimalWithin(scaleOf(type)), decimalOf(scale, scaleOf(type)), {
    key: keyOf(side(column, `DECIMAL(65,${scaleOf(type)})`)),
  })
}

/** The connector takes years of two digits for those of this century. */
const after100 =
  (value: Parse): Parse =>
  (text) =>
    text.startsWith('00') ? undefined : value(text)

const shortestMoment = (column: string) =>
  `TRIM(TRAILING '.' FROM TRIM(TRAILING '0' FROM CAST(CAST(${column} AS DATETIME(6)) AS CHAR)))`

function ofMoment(column: string, decimals: number, { type, form }: Target, isZoned: boolean): Reading | null {
  if (type === 'string') {
    if (form !== 'yyyy-MM-dd HH:mm:ss' || isZoned) return null
    return { ...long(shortestMoment(column)), value: after100(momentText) }
  }
  if (type !== 'timestamp' && (type !== 'timestamp_ntz' || isZoned)) return null
  return short(column, after100(momentOr('fail')), momentOf(decimals), {
    ...(isZoned || decimals <= 3 ? {} : { mayBe: isCut }),
    key: keyOf(side(column, 'DATETIME(6)', instant())),
  })
}

function ofTime(column: string, decimals: number, { type, form }: Target): Reading | null {
  if (type === 'string') {
    return form === 'HH:MM:SS.ffffff' ? long(`CAST(CAST(${column} AS TIME(6)) AS CHAR)`) : null
  }
  const value = timeIn(form)
  if (value === null || (type !== 'integer' && type !== 'long')) return null
  if (form !== 'microseconds') return { sql: `CAST(${column} AS CHAR)`, value }
  return short(column, value, timeOf(decimals), { key: keyOf(side(column, 'TIME(6)', timeOf(0))) })
}

function ofDate(column: string, { type, form }: Target): Reading | null {
  const sql = `CAST(${column} AS CHAR)`
  if (type === 'string') return form === 'yyyy-MM-dd' ? { ...long(sql), value: after100(momentText) } : null
  if (type !== 'date') return null
  return short(column, after100(dateOr('fail')), date, { key: keyOf(side(column, 'DATE', (value) => date(value))) })
}

function ofBits(column: string, source: string, { type }: Target): Reading | null {
  const length = Number(/^bit\((\d+)\)/.exec(source)?.[1])
  if (length === 1 && type === 'boolean') return short(`${column} + 0`, truth, (value) => (value ? '1' : '0'))
  return type === 'binary' && length > 1 ? { sql: `LPAD(BIN(${column} + 0), ${length}, '0')`, value: bits } : null
}

function ofYear(column: string, { type }: Target): Reading | null {
  if (type !== 'integer') return null
  return short(column, after100(whole), digits, { key: keyOf(side(column, 'UNSIGNED')) })
}

/** JSON that MySQL keeps in a form of its own comes in other texts than it is read in: it is not compared. */
export function mysqlReading(column: string, source: string, target: Target): Reading | null {
  if (WHOLE.test(source)) return ofWhole(column, source, target)
  if (TEXT.test(source)) return target.type === 'string' && target.form === '' ? ofText(column) : null
  if (/^(float|double)\b/.test(source)) return ofReal(column, source, target)
  if (source.startsWith('decimal')) return ofDecimal(column, source, target)
  if (BYTES.test(source)) {
    if (target.type !== 'binary') return null
    const find = {
      sql: column,
      parameter: (placeholder: string) => `UNHEX(${placeholder})`,
      from: (value: string) => value.slice(2),
    }
    return short(`CONCAT('x', LOWER(HEX(${column})))`, bytesAfter('x'), bytesText('x'), { key: keyOf(find) })
  }
  const [, moment, decimals = '0'] = /^(datetime|timestamp|time)(?:\((\d)\))?$/.exec(source) ?? []
  if (moment === 'time') return ofTime(column, Number(decimals), target)
  if (moment !== undefined) return ofMoment(column, Number(decimals), target, moment === 'timestamp')
  if (source === 'date') return ofDate(column, target)
  if (source.startsWith('bit')) return ofBits(column, source, target)
  return source.startsWith('year') ? ofYear(column, target) : null
}
