/** Flattened values (ExtractNewRecordState): the row, and beside it what `add.fields` gave. */
import { type Reader, ReaderCompiler } from '../avro/compile.js'
import type { AvroField, AvroRecord } from '../avro/schema.js'
import type { TableLayout } from './layout.js'
import { columnOptions, type ResolvedOptions } from './options.js'
import { EPOCH_FIELDS, fieldsOf, SequenceReader, sequenceKindOf } from './order.js'
import type { Placeholder } from './placeholder.js'
import {
  type Capture,
  canCapture,
  emitCapture,
  NUMBERS,
  type NumberName,
  type RowState,
  type TextName,
} from './row-state.js'

/** What a value's schema offers to the order guard and to deletes. */
export interface Guard {
  /** By field name of the record that holds them. */
  captures: Map<string, Capture>
  sequence: SequenceReader | null
  hasOp: boolean
  hasSnapshot: boolean
}

export interface FlattenedShape {
  record: AvroRecord
  guard: Guard
}

export function captureOf(name: TextName | NumberName): Capture {
  return (NUMBERS as readonly string[]).includes(name) ? { number: name as NumberName } : { text: name as TextName }
}

/** Names that a field of the source may have in flattened rows, by the ways of writing `add.fields`. */
function candidates(name: string, options: ResolvedOptions): string[] {
  if (name === 'lsn') {
    if (options.lsnColName !== undefined) return [options.lsnColName]
    return ['__source_lsn', '__lsn', '__log_sequence_number']
  }
  return [`__source_${name}`, `__${name}`]
}

export function flattenedShape(record: AvroRecord, options: ResolvedOptions): FlattenedShape {
  const captures = new Map<string, Capture>()
  const fieldFor = (capture: Capture, names: string[]): AvroField | undefined => {
    for (const name of names) {
      const field = record.fields.find((candidate) => candidate.name === name)
      if (field !== undefined && canCapture(field.type, capture)) return field
    }
    return undefined
  }
  const take = (capture: Capture, names: string[]): boolean => {
    const field = fieldFor(capture, names)
    if (field !== undefined) captures.set(field.name, capture)
    return field !== undefined
  }
  take({ flag: 'deleted' }, [options.deletedColName])
  const hasOp = take({ flag: 'op' }, ['__op'])
  let sequence: SequenceReader | null = null
  let hasSnapshot = false
  if (options.orderGuard === 'lsn') {
    if (take({ number: 'lsn' }, candidates('lsn', options))) sequence = new SequenceReader('lsn')
  } else if (options.orderGuard === 'auto') {
    hasSnapshot = take({ text: 'snapshot' }, candidates('snapshot', options))
    const kind = sequenceKindOf((name) => fieldFor(captureOf(name), candidates(name, options)) !== undefined)
    if (kind !== null && (hasOp || hasSnapshot)) {
      sequence = new SequenceReader(kind)
      for (const name of [...fieldsOf(kind), ...EPOCH_FIELDS]) take(captureOf(name), candidates(name, options))
    }
  }
  return { record, guard: { captures, sequence, hasOp, hasSnapshot } }
}

/** Adds the row's columns to the layout; those that the key gives have the key's type. */
export function registerRow(
  record: AvroRecord,
  fromKey: Map<string, unknown>,
  layout: TableLayout,
  options: ResolvedOptions,
  schemaId: number,
  addKey: (column: string) => void,
): void {
  for (const field of record.fields) {
    const column = layout.nameOf(field.name)
    if (fromKey.has(column)) addKey(column)
    else if (field.name === options.deletedColName) continue
    else if (layout.isKey(column) || layout.keeps(field.name)) layout.add(field.name, field.type, schemaId)
  }
}

/** Emits code that reads the fields of a row; `skipped` are the columns that come from the key. */
export function emitRow(
  compiler: ReaderCompiler,
  record: AvroRecord,
  skipped: Map<string, unknown>,
  layout: TableLayout,
  options: ResolvedOptions,
  placeholder: Placeholder,
  /** Reads only these columns, where given. */
  only?: Set<string>,
  guard?: { captures: Map<string, Capture>; state: RowState },
): void {
  for (const field of record.fields) {
    const column = layout.nameOf(field.name)
    const stored =
      !skipped.has(column) &&
      (only === undefined || only.has(column)) &&
      (field.name !== options.deletedColName || layout.isKey(column)) &&
      layout.has(column) &&
      (layout.isKey(column) || layout.keeps(field.name))
    const capture = guard?.captures.get(field.name)
    compiler.emit('{')
    if (stored) {
      const start = compiler.fresh('p')
      if (capture !== undefined) compiler.emit(`const ${start} = pos`)
      const target = layout.find(column)
      compiler.read(field.type, target.builder, 'row', {
        outOfRange: columnOptions(options, field.name).outOfRange ?? 'fail',
        ...(layout.isKey(column) ? {} : { leftOut: { placeholder, onLeftOut: target.leave } }),
      })
      if (capture !== undefined) compiler.emit(`pos = ${start}`)
    }
    if (capture !== undefined && guard !== undefined) emitCapture(compiler, field.type, capture, guard.state)
    else if (!stored) compiler.skip(field.type)
    compiler.emit('}')
    compiler.endStep()
  }
}

/** Reads a flattened value: columns and state. */
export function compileFlattened(
  shape: FlattenedShape,
  fromKey: Map<string, unknown>,
  layout: TableLayout,
  options: ResolvedOptions,
  placeholder: Placeholder,
  state: RowState,
): Reader {
  const compiler = new ReaderCompiler()
  emitRow(compiler, shape.record, fromKey, layout, options, placeholder, undefined, {
    captures: shape.guard.captures,
    state,
  })
  return compiler.build()
}

/** Reads the state alone: for rows whose values cannot be stored, which matters only if they are not deleted. */
export function compileStateOnly(shape: FlattenedShape, state: RowState): Reader {
  const compiler = new ReaderCompiler()
  for (const field of shape.record.fields) {
    const capture = shape.guard.captures.get(field.name)
    compiler.emit('{')
    if (capture === undefined) compiler.skip(field.type)
    else emitCapture(compiler, field.type, capture, state)
    compiler.emit('}')
    compiler.endStep()
  }
  return compiler.build()
}
