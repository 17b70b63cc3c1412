/** The columns that a table has, and what becomes of them. */

import { deltaTypeName } from '../arrow/types.js'
import type { TableDescription } from '../debezium/decoder.js'
import { type DeltaType, fieldsOf } from '../delta/schema-json.js'
import { columnType } from '../verify/columns.js'
import type { ColumnReport } from './report.js'

function typeName(type: DeltaType): string {
  const known = columnType(type)
  return known === null ? JSON.stringify(type) : deltaTypeName(known)
}

/**
 * @param before the table's schema as it is; null where there is no table
 * @param after the schema that the messages lead to; null where that was not tried
 */
export function columnsOf(
  description: TableDescription | null,
  before: string | null,
  after: string | null,
): ColumnReport[] {
  const described = new Map((description?.columns ?? []).map((column) => [column.name, column]))
  const was = new Map(fieldsOf(before).map((field) => [field.name, field]))
  const is = fieldsOf(after ?? before)
  const reports = is.map(({ name, type, nullable }): ColumnReport => {
    const [known, deltaType] = [was.get(name), typeName(type)]
    const same = known === undefined || typeName(known.type) === deltaType
    return {
      ...{ name, deltaType, nullable },
      source: described.get(name)?.source ?? null,
      isKey: description?.primaryKey.includes(name) ?? false,
      change: known === undefined ? 'new' : same ? 'none' : 'widened',
      before: same ? null : typeName(known.type),
    }
  })
  if (after !== null) return reports
  const names = new Set(is.map(({ name }) => name))
  for (const { name, deltaType, source } of described.values()) {
    if (names.has(name)) continue
    const isKey = description?.primaryKey.includes(name) ?? false
    reports.push({ name, source, deltaType, isKey, nullable: true, change: 'new', before: null })
  }
  return reports
}
