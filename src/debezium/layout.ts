/** The columns of one table: the union over all schemas seen, in the order of their first definition. */

import type { ColumnBuilder } from '../arrow/builders.js'
import { builderFor, StructBuilder } from '../arrow/nested-builders.js'
import { type ColumnType, deltaTypeName, sameType, widen } from '../arrow/types.js'
import { type AvroNode, describeAvro } from '../avro/schema.js'
import { columnTypeOf } from '../avro/semantic-types.js'
import { schemaName, schemaPosition } from '../avro/wire.js'
import { KafkaToDeltaError } from '../errors.js'
import type { ResolvedColumn } from '../options/types.js'
import { CONTROL_COLUMNS } from './change-batch.js'
import { type Forms, formsOf, otherForm } from './forms.js'
import { columnOptions, type DecoderSettings, keyColumnOptions } from './options.js'

const CONTROL_NAMES = new Set<string>(CONTROL_COLUMNS)

const FORM_REMEDY =
  'set the connector (time.precision.mode) or the option back, or write to a new table; times of day as texts ' +
  "(columns: {name: {time: 'string'}}) have no unit"

function origin(schemaId: number): string {
  return schemaId >= 0 ? `schema ${schemaName(schemaId)}` : 'of the options'
}

/** Which option lets the stream go on with the same table. */
function remedyFor(known: ColumnType, type: ColumnType, field: string, name: string): string {
  const quoted = JSON.stringify(field)
  const otherColumn =
    `renameColumns: { ${quoted}: <other than ${name}> } stores the values in a column of their own, and excludeColumns ` +
    'leaves them out'
  const option = columnOptionFor(known, type)
  if (option === null) return otherColumn
  return `if the source’s values are still of that kind, columns: { ${quoted}: { ${option} } } stores them as before; otherwise ${otherColumn}`
}

/** The option of a column that gives values of `type` the type that is known, which the table has most likely. */
function columnOptionFor(known: ColumnType, type: ColumnType): string | null {
  // A numeric without precision and scale is a text, exact as it is.
  if (known.kind === 'decimal' && type.kind === 'string') return `decimal: "${deltaTypeName(known)}"`
  if (known.kind === 'double' && (type.kind === 'string' || type.kind === 'decimal')) return 'decimal: "double"'
  if (known.kind === 'timestamp' && type.kind === 'timestamp') return `timestampNtz: ${!known.utc}`
  const isSingle = !['binary', 'array', 'map', 'struct'].includes(type.kind)
  return known.kind === 'string' && isSingle ? 'type: "string"' : null
}

export class LayoutColumn {
  builder: ColumnBuilder
  /** 1 where a row leaves the column as it is stored; made when first needed in a batch. */
  leftOut: Uint8Array | null = null
  #capacity = 0
  readonly name: string
  type: ColumnType
  /** The source's type, for people. */
  readonly source: string
  /** The schema that first had this type. */
  schemaId: number
  readonly forms: Forms

  constructor(name: string, type: ColumnType, source: string, schemaId: number, forms: Forms) {
    this.name = name
    this.type = type
    this.source = source
    this.schemaId = schemaId
    this.forms = forms
    this.builder = builderFor(type, name)
  }

  get heldBytes(): number {
    return this.builder.heldBytes + (this.leftOut?.byteLength ?? 0)
  }

  reset(rows: number): void {
    this.builder.reset(rows)
    this.#capacity = rows
    this.leftOut = null
  }

  release(): void {
    this.builder.release()
    this.leftOut = null
  }

  /** Generated code calls it where it meets the placeholder. */
  readonly leave = (row: number): void => {
    this.leftOut ??= new Uint8Array(this.#capacity)
    this.leftOut[row] = 1
  }

  clear(row: number): void {
    this.builder.clear(row)
    if (this.leftOut !== null) this.leftOut[row] = 0
  }
}

export class TableLayout {
  readonly columns: LayoutColumn[] = []
  /** Names of all fields of rows and keys seen, also of those that are not stored. */
  readonly fields = new Set<string>()
  primaryKey: string[] | null = null
  /** The keys before primary-key updates; its rows are the batch's. */
  oldKey: StructBuilder | null = null
  /** Grows when a column is added or changes its type: what was compiled before must be compiled again. */
  version = 0
  /** Columns that tell of the change in some schema, and those of rows. */
  readonly #ofTheChange = new Set<string>()
  readonly #ofRows = new Set<string>()
  readonly #byName = new Map<string, LayoutColumn>()
  readonly #byLowerName = new Map<string, LayoutColumn>()
  #keySchemaId = -1
  readonly #options: DecoderSettings

  constructor(options: DecoderSettings) {
    this.#options = options
  }

  /** The column's name for a source field. */
  nameOf(field: string): string {
    const renamed = this.#options.renameColumns
    return Object.hasOwn(renamed, field) ? (renamed[field] as string) : field
  }

  /** Whether the options keep a field that is no key. */
  keeps(field: string): boolean {
    const { includeColumns, excludeColumns } = this.#options
    return !excludeColumns.includes(field) && (includeColumns === undefined || includeColumns.includes(field))
  }

  find(name: string): LayoutColumn {
    const column = this.#byName.get(name)
    if (column === undefined) throw new KafkaToDeltaError('INTERNAL', `the column ${name} is not in the layout`)
    return column
  }

  has(name: string): boolean {
    return this.#byName.has(name)
  }

  /**
   * Adds the column of a source field, or widens it.
   * @throws SCHEMA_INCOMPATIBLE where no type holds both
   * @throws SCHEMA_UNSUPPORTED for names that collide and types that Delta lacks
   */
  add(field: string, node: AvroNode, schemaId: number, name: string = this.nameOf(field)): LayoutColumn {
    const { topic } = this.#options
    const options = this.optionsOf(field, name)
    const type = columnTypeOf(node, options, field)
    const forms = formsOf(node, options)
    const known = this.#byName.get(name)
    if (known === undefined) {
      const source = field === name ? describeAvro(node) : `${field}: ${describeAvro(node)}`
      return this.#append(name, type, source, schemaId, forms)
    }
    this.#checkForms(known, forms, schemaId)
    if (sameType(known.type, type)) return known
    const wider = widen(known.type, type)
    if (wider === null) {
      throw new KafkaToDeltaError(
        'SCHEMA_INCOMPATIBLE',
        `${topic}: the column ${name} is ${deltaTypeName(known.type)} in schema ${schemaName(known.schemaId)} and ` +
          `${deltaTypeName(type)} in schema ${schemaName(schemaId)}, and no type holds both: ` +
          remedyFor(known.type, type, field, name),
        { topic, column: name, ...schemaPosition(schemaId) },
      )
    }
    if (!sameType(known.type, wider)) {
      known.type = wider
      known.schemaId = schemaId
      known.builder = builderFor(wider, name)
      this.#changed()
    }
    return known
  }

  /** Values of one column must mean the same: numbers have one unit, and members of a union keep their places. */
  #checkForms(known: LayoutColumn, forms: Forms, schemaId: number): void {
    const { topic } = this.#options
    const other = otherForm(known.forms, forms)
    if (other !== null) {
      throw new KafkaToDeltaError(
        'SCHEMA_INCOMPATIBLE',
        `${topic}: the column ${known.name}${other.path} holds ${other.before} in schema ${known.schemaId} and ` +
          `${other.now} in schema ${schemaId}, which one column cannot tell apart: ${FORM_REMEDY}`,
        { topic, column: known.name, schemaId },
      )
    }
    for (const [path, form] of forms) known.forms.set(path, form)
  }

  /** By column and path: the forms that a table must remember. */
  forms(): Record<string, string> {
    return Object.fromEntries(
      this.columns.flatMap(({ name, forms }) => [...forms].map(([path, form]) => [`${name}${path}`, form] as const)),
    )
  }

  /** Tells the columns of a schema's rows from those that tell of the change. */
  tellApart(ofTheChange: Iterable<string>, ofRows: Iterable<string>): void {
    for (const name of ofTheChange) this.#ofTheChange.add(name)
    for (const name of ofRows) this.#ofRows.add(name)
  }

  /** Names of the columns that tell of the change. One that is the row's in another schema is not among them. */
  columnsOfTheChange(): string[] {
    return [...this.#ofTheChange].filter((name) => this.has(name) && !this.#ofRows.has(name))
  }

  /** Adds a column that no schema defines; again: does nothing. */
  addOwn(name: string, type: ColumnType, source: string): void {
    const known = this.#byName.get(name)
    if (known === undefined) this.#append(name, type, source, -1)
    else if (!sameType(known.type, type)) throw this.takenName(name, `a field (${known.source})`, source)
  }

  /** For a name that two columns of one schema would have. */
  takenName(name: string, one: string, other: string): KafkaToDeltaError {
    const { topic } = this.#options
    return new KafkaToDeltaError(
      'SCHEMA_UNSUPPORTED',
      `${topic}: the column ${name} would hold both ${one} and ${other}: rename a field with renameColumns or leave it ` +
        'out with excludeColumns, or name the own column otherwise (metadataColumns "path:name", softDeleteColName)',
      { topic, column: name },
    )
  }

  /** How values of a field are stored; those of keys exactly. */
  optionsOf(field: string, name: string = this.nameOf(field)): ResolvedColumn {
    return this.isKey(name) ? keyColumnOptions(this.#options, field) : columnOptions(this.#options, field)
  }

  #append(name: string, type: ColumnType, source: string, schemaId: number, forms: Forms = new Map()): LayoutColumn {
    const { topic } = this.#options
    const remedy = `rename it with renameColumns or leave it out with excludeColumns`
    if (CONTROL_NAMES.has(name.toLowerCase())) {
      throw new KafkaToDeltaError(
        'SCHEMA_UNSUPPORTED',
        `${topic}: the column ${name} has a name that kafka2delta uses itself: ${remedy}`,
        { topic, column: name, ...schemaPosition(schemaId) },
      )
    }
    const other = this.#byLowerName.get(name.toLowerCase())
    if (other !== undefined) {
      throw new KafkaToDeltaError(
        'SCHEMA_UNSUPPORTED',
        `${topic}: the columns ${other.name} (${origin(other.schemaId)}) and ${name} (${origin(schemaId)}) differ only ` +
          `in case, which Delta tables cannot hold: for one of them, ${remedy}`,
        { topic, column: name, ...schemaPosition(schemaId) },
      )
    }
    const column = new LayoutColumn(name, type, source, schemaId, forms)
    this.columns.push(column)
    this.#byName.set(name, column)
    this.#byLowerName.set(name.toLowerCase(), column)
    this.#changed()
    return column
  }

  #changed(): void {
    this.version++
    this.oldKey = null
  }

  /**
   * Fixes the key columns.
   * @throws SCHEMA_INCOMPATIBLE where they are others than before
   */
  setPrimaryKey(names: string[], schemaId: number): void {
    if (this.primaryKey === null) {
      this.primaryKey = names
      this.#keySchemaId = schemaId
      this.version++
      return
    }
    const known = this.primaryKey
    if (names.length === known.length && names.every((name) => known.includes(name))) return
    const { topic } = this.#options
    throw new KafkaToDeltaError(
      'SCHEMA_INCOMPATIBLE',
      `${topic}: the primary key is (${known.join(', ')}) in schema ${schemaName(this.#keySchemaId)} and (${names.join(', ')}) in ` +
        `schema ${schemaName(schemaId)}: a table's key cannot change; where a key column was renamed, keep its name with ` +
        'renameColumns (new name: old name), otherwise write to a new table, or name the key with primaryKey',
      { topic, ...schemaPosition(schemaId) },
    )
  }

  isKey(name: string): boolean {
    return this.primaryKey?.includes(name) ?? false
  }

  /** Whether the row leaves any column as it is stored. */
  leavesOut(row: number): boolean {
    return this.columns.some(({ leftOut }) => leftOut !== null && leftOut[row] === 1)
  }

  /** The builder of `_old_key`, made when first needed. */
  oldKeyBuilder(): StructBuilder {
    if (this.oldKey !== null) return this.oldKey
    const fields = (this.primaryKey ?? []).map((name) => ({ name, type: this.find(name).type }))
    this.oldKey = new StructBuilder(
      { kind: 'struct', fields },
      '_old_key',
      fields.map((field) => field.name),
      fields.map((field) => builderFor(field.type, `_old_key.${field.name}`)),
    )
    return this.oldKey
  }

  /** Bytes of memory. */
  get heldBytes(): number {
    return this.columns.reduce((sum, column) => sum + column.heldBytes, this.oldKey?.heldBytes ?? 0)
  }

  reset(rows: number): void {
    for (const column of this.columns) column.reset(rows)
    this.oldKey?.reset(rows)
  }

  /** Gives up what a batch was decoded into. */
  release(): void {
    for (const column of this.columns) column.release()
    this.oldKey?.release()
  }

  clear(row: number): void {
    for (const column of this.columns) column.clear(row)
    this.oldKey?.clear(row)
  }

  mark(): void {
    for (const column of this.columns) column.builder.mark()
    this.oldKey?.mark()
  }

  /** The column with a text that is not UTF-8 in the rows `from` to `to`, all appended since the mark; null for none. */
  brokenTextSinceMark(from: number, to: number): string | null {
    const builders = this.columns.map((column) => column.builder)
    if (this.oldKey !== null) builders.push(this.oldKey)
    return builders.find((builder) => !builder.utf8SinceMark(from, to))?.path ?? null
  }

  /** Takes back the last rows. */
  truncate(from: number, to: number): void {
    for (let row = to - 1; row >= from; row--) this.clear(row)
    // What rows before the last one appended is still there.
    for (const column of this.columns) column.builder.truncate(from, to)
    this.oldKey?.truncate(from, to)
  }
}
