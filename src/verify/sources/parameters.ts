/** Conditions on keys as prepared statements: values never stand in the text of a statement. */

import { joined, type Ordered, type Range, rangeSql } from '../ranges.js'
import type { KeySide, Selection } from './source.js'

export interface Condition {
  sql: string
  parameters: string[]
}

/** @param placeholder of the parameter with this number, from 1 */
type Placeholder = (number: number) => string

const sides = ({ columns, key }: Selection, side: 'order' | 'find'): KeySide[] =>
  key.map((at) => columns[at]?.reading.key?.[side] as KeySide)

/** What rows are ordered by, as the table orders them. */
export const orderOf = (selection: Selection): string =>
  sides(selection, 'order')
    .map(({ sql }) => sql)
    .join(', ')

/** The rows of some chunks. */
export function withinChunks(
  selection: Selection,
  chunks: readonly Range[],
  placeholder: Placeholder,
  within: (range: Range, key: readonly Ordered[]) => string = rangeSql,
): Condition {
  const parameters: string[] = []
  const key = sides(selection, 'order').map((side) => ({
    sql: side.sql,
    literal: (value: string) => {
      parameters.push(side.from(value) ?? value)
      return side.parameter(placeholder(parameters.length))
    },
  }))
  const ranges = joined(chunks).map((range) => `(${within(range, key) || '1 = 1'})`)
  return { sql: ranges.join(' OR '), parameters }
}

/** The rows with some keys; null where none can have them. */
export function withKeys(
  selection: Selection,
  keys: readonly (readonly string[])[],
  placeholder: Placeholder,
): Condition | null {
  const find = sides(selection, 'find')
  const possible = keys.flatMap((key) => {
    const values = key.map((value, i) => find[i]?.from(value) ?? null)
    return values.includes(null) ? [] : [values as string[]]
  })
  if (possible.length === 0) return null
  const tuple = (row: number) =>
    find.map((side, i) => side.parameter(placeholder(row * find.length + i + 1))).join(', ')
  const names = find.map(({ sql }) => sql).join(', ')
  return {
    sql: `(${names}) IN (${possible.map((_, row) => `(${tuple(row)})`).join(', ')})`,
    parameters: possible.flat(),
  }
}

/** What is hashed of a selection: how its key is read, the key's texts and their order, and all columns. */
export function hashedColumns({ columns, key }: Selection) {
  const readings = key.map((at) => columns[at]?.reading)
  return {
    readings,
    key: readings.map((one) => ({ text: one?.sql as string, order: one?.key?.order.sql as string })),
    columns: columns.map(({ reading }) => reading),
  }
}
