/** Compares a table with what the generator knows to be true, row by row and column by column. */

import { DataType, type Decimal, type Field, type RecordBatch } from 'apache-arrow'
import { decimalText, rawValues } from '../arrow/raw-values.js'
import { scanTable } from '../delta/scan.js'
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

/** A column's value as the truth has it. */
function plain(value: unknown, { type }: Field, shopType: ShopColumn['type']): unknown {
  if (value === null || value === undefined) return null
  if (value instanceof Uint32Array) return decimalText(value, (type as Decimal).scale)
  // Microseconds in the table, milliseconds in the truth.
  if (shopType === 'timestamp') return Number((value as bigint) / 1000n)
  if (shopType === 'long') return BigInt(value as bigint | number)
  return shopType === 'int' || shopType === 'date' ? Number(value) : value
}

/** Compares all rows. */
export async function compareTable(
  path: string,
  table: ShopTable,
  truth: ReadonlyMap<string, Readonly<Record<string, unknown>>>,
): Promise<Comparison> {
  const result: Comparison = {
    rows: 0,
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
  const seen = new Set<string>()
  for await (const batch of scanTable(path)) compareBatch(rawValues(batch), table, truth, { result, seen, note })
  for (const key of truth.keys()) {
    if (seen.has(key)) continue
    result.missing++
    note(`row ${key} is missing`)
  }
  return result
}

/** What was found so far. */
interface Findings {
  result: Comparison
  seen: Set<string>
  note(text: string): void
}

function compareBatch(
  batch: RecordBatch,
  table: ShopTable,
  truth: ReadonlyMap<string, Readonly<Record<string, unknown>>>,
  { result, seen, note }: Findings,
): void {
  const column = (name: string) => batch.getChild(name)
  // A column that no row was written with yet is null in the truth, and may not be there.
  const columns = table.columns.flatMap(({ name, type }) => {
    const field = batch.schema.fields.find((field) => field.name === name)
    return field ? [{ name, type, field, values: column(name) }] : []
  })
  const absent = table.columns.filter(({ name }) => column(name) === null)
  const keys = column(table.key[0] as string)
  const isPartitioned = table.partitionCols.length > 0
  const [createdAt, year, month] = ['created_at', 'year', 'month'].map(column)
  result.rows += batch.numRows
  for (let row = 0; row < batch.numRows; row++) {
    const key = String(keys?.get(row))
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
    const wrong = columns.flatMap(({ name, type, field, values }) => {
      const value = plain(values?.get(row), field, type)
      const should = expected[name] ?? null
      return value === should ? [] : [`${name} is ${String(value)}, should be ${String(should)}`]
    })
    for (const { name } of absent) if ((expected[name] ?? null) !== null) wrong.push(`${name} is not a column`)
    if (wrong.length > 0) {
      result.different++
      note(`row ${key}: ${wrong.join(', ')}`)
    }
    if (isPartitioned && year && month) {
      const date = new Date(Number(createdAt?.get(row)) * 86_400_000)
      if (Number(year.get(row)) !== date.getUTCFullYear() || Number(month.get(row)) !== date.getUTCMonth() + 1) {
        result.misplaced++
        note(`row ${key} of ${date.toISOString().slice(0, 10)} is in ${year.get(row)}-${month.get(row)}`)
      }
    }
  }
}

/** A value as text: short, in JSON's form where it has parts. */
function asText(value: unknown, { type }: Field): string {
  if (value === null || value === undefined) return 'null'
  if (DataType.isDecimal(type)) return decimalText(value as Uint32Array, type.scale)
  if (DataType.isDate(type)) return new Date(Number(value)).toISOString().slice(0, 10)
  if (DataType.isTimestamp(type)) return new Date(Number(value)).toISOString()
  if (value instanceof Uint8Array) return `0x${Buffer.from(value).toString('hex')}`
  if (typeof value !== 'object') return String(value)
  return JSON.stringify(value, (_name, part: unknown) => (typeof part === 'bigint' ? String(part) : part))
}

/** The first rows of a table as text, the header first. */
export async function firstRows(path: string, count: number, orderBy: string | null): Promise<string[][]> {
  let first: { key: unknown; texts: string[] }[] = []
  let header: string[] = []
  for await (const batch of scanTable(path)) {
    const { fields } = batch.schema
    header = fields.map(({ name }) => name)
    const keys = orderBy === null ? null : batch.getChild(orderBy)
    const vectors = fields.map((_, i) => batch.getChildAt(i))
    const rows = Array.from({ length: batch.numRows }, (_, row) => ({ key: keys?.get(row) as unknown, row }))
    const texts = (row: number) => vectors.map((vector, i) => asText(vector?.get(row), fields[i] as Field))
    const added = rows.sort(byKey).slice(0, count)
    first = [...first, ...added.map(({ key, row }) => ({ key, texts: texts(row) }))].sort(byKey).slice(0, count)
  }
  return [header, ...first.map(({ texts }) => texts)]
}

function byKey({ key: a }: { key: unknown }, { key: b }: { key: unknown }): number {
  if (a === b) return 0
  return (a as number) < (b as number) ? -1 : 1
}
