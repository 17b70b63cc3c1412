/** Which columns of a table are which of its source, by the table's options, and how they are compared. */

import type { DeltaType } from '../delta/schema-json.js'
import { KafkaToDeltaError } from '../errors.js'
import { computedName } from '../options/schema.js'
import type { ResolvedTable } from '../options/types.js'
import { comparable } from './comparable.js'
import type { SourceTable, Target } from './sources/source.js'
import type { Column } from './stored-table.js'

/** The options of a table that say what its columns hold. */
export type ColumnRules = Pick<
  ResolvedTable,
  | 'renameColumns'
  | 'excludeColumns'
  | 'includeColumns'
  | 'columns'
  | 'columnDefaults'
  | 'additionalCols'
  | 'metadataColumns'
  | 'lsnColName'
>

export const NO_RULES: ColumnRules = {
  renameColumns: {},
  excludeColumns: [],
  includeColumns: null,
  columns: {},
  columnDefaults: {},
  additionalCols: [],
  metadataColumns: [],
  lsnColName: null,
}

/** What is known of a Delta table. */
export interface TableShape {
  fields: readonly { name: string; type: DeltaType }[]
  primaryKey: readonly string[]
  /** By column: what the types do not tell ({@link storedForms}). */
  forms?: Readonly<Record<string, string>>
  /** Columns that are not compared. */
  except?: readonly string[]
  /** Default: the table's columns are called as the source's, and stored as they are by default. */
  rules?: ColumnRules | null
}

export interface ComparedColumns {
  columns: Column[]
  key: Column[]
  /** Columns that both sides have, and that cannot be compared. */
  notCompared: string[]
  /** Columns of the table that are neither the source's nor computed nor told by the change itself. */
  withoutSource: string[]
}

/** The columns that the engine computes. */
export function computedColumns({ additionalCols }: Pick<ColumnRules, 'additionalCols'>): Set<string> {
  return new Set(additionalCols.flatMap((expression) => computedName(expression) ?? []))
}

const own = <T>(of: Readonly<Record<string, T>>, name: string): T | undefined =>
  Object.hasOwn(of, name) ? of[name] : undefined

/** The source's columns that are stored, by the names of the table. */
function fieldsByName(fields: readonly string[], rules: ColumnRules, key: readonly string[]): Map<string, string> {
  const { renameColumns, excludeColumns, includeColumns } = rules
  const found = new Map<string, string>()
  for (const field of fields) {
    const name = own(renameColumns, field) ?? field
    const isKept = !excludeColumns.includes(field) && (includeColumns === null || includeColumns.includes(field))
    if (isKept || key.includes(name)) found.set(name, field)
  }
  return found
}

/** Whether a field tells of the change, not of the row: Debezium's and our own are called so. */
function isMetadata(name: string, { renameColumns, lsnColName }: ColumnRules): boolean {
  const field = Object.keys(renameColumns).find((from) => renameColumns[from] === name) ?? name
  return field.startsWith('__') || field === lsnColName
}

function optionsOf(field: string, isKey: boolean, { columns, columnDefaults }: ColumnRules): Target['options'] {
  return { ...columnDefaults, ...(isKey ? { outOfRange: 'fail' as const } : {}), ...own(columns, field) }
}

/** @throws CONFIG_INVALID where a column of the key cannot be compared */
export function comparedColumns(source: SourceTable, shape: TableShape): ComparedColumns {
  const { fields, primaryKey, forms = {}, except = [] } = shape
  const rules = shape.rules ?? NO_RULES
  const computed = computedColumns(rules)
  const sources = fieldsByName(source.columns, rules, primaryKey)
  const columns: Column[] = []
  const notCompared: string[] = []
  const withoutSource: string[] = []
  for (const { name, type } of fields) {
    const field = sources.get(name)
    sources.delete(name)
    if (computed.has(name)) continue
    if (field === undefined) {
      if (!isMetadata(name, rules)) withoutSource.push(name)
      continue
    }
    const how = comparable(type)
    const options = optionsOf(field, primaryKey.includes(name), rules)
    const reading =
      how && !except.includes(name) && source.reading(field, { type, form: own(forms, name) ?? '', options })
    if (how && reading) columns.push({ name, field, type, how, reading })
    else notCompared.push(name)
  }
  const key = primaryKey.map((name) => {
    const found = columns.find((column) => column.name === name)
    if (found?.reading.key) return found
    throw new KafkaToDeltaError('CONFIG_INVALID', `the key column ${name} cannot be compared with the source`, {
      column: name,
    })
  })
  // What is left the table lacks, though no option leaves it out.
  return { columns, key, notCompared: [...notCompared, ...sources.keys()], withoutSource }
}
