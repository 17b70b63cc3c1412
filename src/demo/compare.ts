/** Compares a table with what the generator knows to be true, row by row and column by column. */

import { DataType, tableFromIPC } from 'apache-arrow'
import { readTable } from '../delta/table.js'
import type { ShopColumn, ShopTable } from './shop.js'

export interface Comparison {
  /** Rows of the table. */
  rows: number
  /** Rows that the generator knows. */
  expected: number
  missing: number
  unexpected: number
  /** Rows whose key the table has more than once. */
  doubled: number
  different: number
  /** Rows that lie in another partition than their values say. */
  misplaced: number
  /** What is wrong, the first few rows. */
  examples: string[]
}

export const isEqual = (comparison: Comparison): boolean =>
  comparison.missing + comparison.unexpected + comparison.doubled + comparison.different + comparison.misplaced === 0

const EXAMPLES = 5

const quote = (name: string) => `\`${name.replaceAll('`', '``')}\``

/** A column in the form that the truth has. */
function selectColumn({ name, type }: ShopColumn): string {
  const column = quote(name)
  switch (type) {
    case 'int':
      return column
    case 'long':
      return `CAST(${column} AS BIGINT)`
    case 'date':
      return `CAST(${column} AS INT)`
    case 'timestamp':
      return `CAST(arrow_cast(${column}, 'Timestamp(Millisecond, Some("UTC"))') AS BIGINT)`
    default:
      return `arrow_cast(CAST(${column} AS VARCHAR), 'Utf8')`
  }
}

/** Values of a row, as the truth has them. */
function plain(value: unknown, type: ShopColumn['type']): unknown {
  if (value === null || value === undefined) return null
  return type === 'timestamp' || type === 'int' || type === 'date' ? Number(value) : value
}

export type Reader = (path: string, options: { sql?: string }) => Promise<Uint8Array>

/** The names of a table's columns. */
export async function columnNames(path: string, read: Reader = readTable): Promise<string[]> {
  return tableFromIPC(await read(path, { sql: 'SELECT * FROM t LIMIT 0' })).schema.names.map(String)
}

/** Compares all rows. */
export async function compareTable(
  path: string,
  table: ShopTable,
  truth: ReadonlyMap<string, Readonly<Record<string, unknown>>>,
  read: Reader = readTable,
): Promise<Comparison> {
  const names = new Set(await columnNames(path, read))
  // A column that no row was written with yet is null in the truth, and may not be there.
  const columns = table.columns.filter(({ name }) => names.has(name))
  const absent = table.columns.filter(({ name }) => !names.has(name))
  const place = table.partitionCols.length > 0 ? ', year AS k2d_year, month AS k2d_month' : ''
  const list = columns.map((column, i) => `${selectColumn(column)} AS k2d_${i}`).join(', ')
  const arrow = tableFromIPC(await read(path, { sql: `SELECT ${list}${place} FROM t` }))
  const result: Comparison = {
    rows: arrow.numRows,
    expected: truth.size,
    missing: 0,
    unexpected: 0,
    doubled: 0,
    different: 0,
    misplaced: 0,
    examples: [],
  }
  const note = (text: string) => {
    if (result.examples.length < EXAMPLES) result.examples.push(text)
  }
  const vectors = columns.map((_, i) => arrow.getChild(`k2d_${i}`))
  const keyAt = columns.findIndex(({ name }) => name === table.key[0])
  const createdAt = columns.findIndex(({ name }) => name === 'created_at')
  const [year, month] = [arrow.getChild('k2d_year'), arrow.getChild('k2d_month')]
  const seen = new Set<string>()
  for (let row = 0; row < arrow.numRows; row++) {
    const key = String(vectors[keyAt]?.get(row))
    if (seen.has(key)) {
      result.doubled++
      note(`row ${key} is there twice`)
      continue
    }
    seen.add(key)
    const expected = truth.get(key)
    if (!expected) {
      result.unexpected++
      note(`row ${key} should not be there`)
      continue
    }
    const wrong = columns.flatMap(({ name, type }, i) => {
      const value = plain(vectors[i]?.get(row), type)
      const should = expected[name] ?? null
      return value === should ? [] : [`${name} is ${String(value)}, should be ${String(should)}`]
    })
    for (const { name } of absent) if ((expected[name] ?? null) !== null) wrong.push(`${name} is not a column`)
    if (wrong.length > 0) {
      result.different++
      note(`row ${key}: ${wrong.join(', ')}`)
    }
    if (year && month) {
      const date = new Date(Number(vectors[createdAt]?.get(row)) * 86_400_000)
      if (Number(year.get(row)) !== date.getUTCFullYear() || Number(month.get(row)) !== date.getUTCMonth() + 1) {
        result.misplaced++
        note(`row ${key} of ${date.toISOString().slice(0, 10)} is in ${year.get(row)}-${month.get(row)}`)
      }
    }
  }
  for (const key of truth.keys()) {
    if (seen.has(key)) continue
    result.missing++
    note(`row ${key} is missing`)
  }
  return result
}

/** A value that SQL cannot turn into text: short, in JSON's form. */
function asText(value: unknown): string {
  if (value === null || value === undefined) return 'null'
  if (value instanceof Uint8Array) return `0x${Buffer.from(value).toString('hex')}`
  if (typeof value !== 'object') return String(value)
  return JSON.stringify(value, (_name, part: unknown) => (typeof part === 'bigint' ? String(part) : part))
}

/** The first rows of a table as text, the header first. */
export async function firstRows(
  path: string,
  count: number,
  orderBy: string | null,
  read: Reader = readTable,
): Promise<string[][]> {
  const { fields } = tableFromIPC(await read(path, { sql: 'SELECT * FROM t LIMIT 0' })).schema
  const list = fields.map(({ name, type }, i) => {
    // As SQL writes them: in JavaScript they would be bare numbers.
    const isText = DataType.isDecimal(type) || DataType.isDate(type) || DataType.isTimestamp(type)
    return `${isText ? `arrow_cast(CAST(${quote(name)} AS VARCHAR), 'Utf8')` : quote(name)} AS k2d_${i}`
  })
  const order = fields.some(({ name }) => name === orderBy) ? ` ORDER BY ${quote(orderBy as string)}` : ''
  const arrow = tableFromIPC(await read(path, { sql: `SELECT ${list.join(', ')} FROM t${order} LIMIT ${count}` }))
  const vectors = fields.map((_, i) => arrow.getChild(`k2d_${i}`))
  return [
    fields.map(({ name }) => name),
    ...Array.from({ length: arrow.numRows }, (_, row) => vectors.map((vector) => asText(vector?.get(row)))),
  ]
}
