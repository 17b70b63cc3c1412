/** Flattened values (ExtractNewRecordState): the row, and beside it what `add.fields` gave. */

import type { Placeholder } from '../avro/placeholder.js'
import { type Reader, ReaderCompiler } from '../avro/reader-compiler.js'
import type { AvroField, AvroRecord } from '../avro/schema.js'
import { emitExactness, refuseLeftOut } from './keys.js'
import type { TableLayout } from './layout.js'
import { type DecoderSettings, orderedTopic } from './options.js'
import { fieldsOf, SequenceReader, sequenceKindOf } from './order.js'
import {
  type Capture,
  canCapture,
  emitCapture,
  NUMBERS,
  type NumberName,
  type RowState,
  TEXTS,
  type TextName,
} from './row-state.js'

/** What a value's schema tells of a change's order, and of deletes. */
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
  /** Fields that tell of the change, not of the row: true of deletes too. */
  companions: Set<string>
  /** All fields that the transform has most likely added to the row. */
  added: Set<string>
}

export function captureOf(name: TextName | NumberName): Capture {
  return (NUMBERS as readonly string[]).includes(name) ? { number: name as NumberName } : { text: name as TextName }
}

/** Names that a field of the source may have in flattened rows, by the ways of writing `add.fields`. */
function candidates(name: string): string[] {
  if (name === 'ts_ms') return ['__source_ts_ms', '__ts_ms', '__timestamp']
  return [`__source_${name}`, `__${name}`]
}

export function flattenedShape(record: AvroRecord, options: DecoderSettings): FlattenedShape {
  const captures = new Map<string, Capture>()
  const added = fieldsOfTransform(record, options)
  const fieldFor = (capture: Capture, names: string[]): AvroField | undefined => {
    for (const name of names) {
      const field = added.find((candidate) => candidate.name === name)
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
  if (options.orderGuard === 'auto') {
    hasSnapshot = take({ text: 'snapshot' }, candidates('snapshot'))
    const kind = sequenceKindOf((name) => fieldFor(captureOf(name), candidates(name)) !== undefined)
    if (kind !== null && (hasOp || hasSnapshot)) {
      sequence = new SequenceReader(kind, orderedTopic(options))
      for (const name of fieldsOf(kind)) take(captureOf(name), candidates(name))
    }
  }
  if (options.mode.needsTime) take({ number: 'ts_ms' }, candidates('ts_ms'))
  const guard = { captures, sequence, hasOp, hasSnapshot }
  const companions = companionsOf(record, guard, options)
  return { record, guard, companions, added: new Set([...companions, ...addedFields(record, options)]) }
}

/**
 * The fields that the transform may have added: those around `__deleted` whose names begin with `__`, up to the first one that
 * does not. It appends `__deleted` together with what `add.fields` names, before it until Debezium 1, and after it since
 * Debezium 2. A column of the table may have such a name too, but others lie between. All fields where there is no `__deleted`.
 */
function fieldsOfTransform({ fields }: AvroRecord, { deletedColName }: DecoderSettings): readonly AvroField[] {
  const at = fields.findIndex(({ name }) => name === deletedColName)
  if (at < 0) return fields
  const isOther = ({ name }: AvroField) => name !== deletedColName && !name.startsWith('__')
  const end = fields.findIndex((field, i) => i > at && isOther(field))
  return fields.slice(fields.slice(0, at).findLastIndex(isOther) + 1, end < 0 ? undefined : end)
}

function companionsOf(record: AvroRecord, guard: Guard, options: DecoderSettings): Set<string> {
  const names = record.fields.map((field) => field.name)
  const at = names.indexOf(options.deletedColName)
  const after = at < 0 ? [] : names.slice(at + 1).filter((name) => name.startsWith('__'))
  const known = [...guard.captures.keys(), options.lsnColName ?? ''].filter((name) => names.includes(name))
  return new Set([...after, ...known].filter((name) => name !== options.deletedColName))
}

/** Fields of the source and of the event that `add.fields` may name, as far as nothing here reads them. */
const OTHERS = ['lsn', 'ts_us', 'ts_ns', 'version', 'schema', 'table', 'txId', 'xmin', 'thread', 'query', 'op']

/** Names of fields that the transform gives, whatever the table is. */
const ADDED = new Set([...TEXTS, ...NUMBERS, ...OTHERS, 'timestamp', 'log_sequence_number'].map((name) => `__${name}`))

const isOfDebezium = (name: string) => ADDED.has(name) || /^__(source|transaction)_/.test(name)

/**
 * What the transform has added: behind `__deleted` all fields, and before it those whose names are Debezium's. Where there is no
 * `__deleted`, the fields at the record's end that begin with `__`, from the first one on whose name is Debezium's.
 */
function addedFields(record: AvroRecord, options: DecoderSettings): string[] {
  const names = record.fields.map((field) => field.name)
  if (names.includes(options.deletedColName)) {
    const added = fieldsOfTransform(record, options).map(({ name }) => name)
    const at = added.indexOf(options.deletedColName)
    return added.filter((name, i) => i > at || (i < at && isOfDebezium(name)))
  }
  const end = names.findLastIndex((name) => !name.startsWith('__')) + 1
  const first = names.findIndex((name, i) => i >= end && isOfDebezium(name))
  return first < 0 ? [] : names.slice(first)
}

/**
 * Whether a field of a row becomes a column. The flag of deletes does not, which the transform adds to flattened rows; what
 * has its name in another row is a column of the table.
 * @param captures what is read of the row beside its columns; none for the rows in an envelope
 */
export function isStored(field: string, layout: TableLayout, captures?: ReadonlyMap<string, Capture>): boolean {
  if (layout.isKey(layout.nameOf(field))) return true
  const capture = captures?.get(field)
  const isFlag = capture !== undefined && 'flag' in capture && capture.flag === 'deleted'
  return !isFlag && layout.keeps(field)
}

/** Where the fields of rows go. */
export interface RowTarget {
  readonly layout: TableLayout
  readonly options: DecoderSettings
  readonly placeholder: Placeholder
  /** The columns that the message's key gives. */
  readonly fromKey: ReadonlyMap<string, unknown>
}

/** Emits code that reads the fields of a row. */
export function emitRow(
  compiler: ReaderCompiler,
  record: AvroRecord,
  { layout, placeholder, fromKey }: RowTarget,
  /** Reads only these columns, where given. */
  only?: Set<string>,
  guard?: { captures: Map<string, Capture>; state: RowState },
): void {
  for (const field of record.fields) {
    const column = layout.nameOf(field.name)
    const stored =
      !fromKey.has(column) &&
      (only === undefined || only.has(column)) &&
      layout.has(column) &&
      isStored(field.name, layout, guard?.captures)
    const capture = guard?.captures.get(field.name)
    compiler.emit('{')
    if (stored) {
      const start = compiler.fresh('p')
      if (capture !== undefined) compiler.emit(`const ${start} = pos`)
      const target = layout.find(column)
      const isKey = layout.isKey(column)
      if (isKey) emitExactness(compiler, field.type, target.builder)
      compiler.read(field.type, target.builder, 'row', {
        outOfRange: layout.optionsOf(field.name, column).outOfRange ?? 'fail',
        ...(isKey ? refuseLeftOut(placeholder, column) : { leftOut: { placeholder, onLeftOut: target.leave } }),
      })
      if (capture !== undefined) compiler.emit(`pos = ${start}`)
    }
    if (capture !== undefined && guard !== undefined) emitCapture(compiler, field.type, capture, guard.state)
    else if (!stored) compiler.skip(field.type)
    compiler.emit('}')
    compiler.endStep()
  }
}

/**
 * Reads a flattened value: columns and state. `only` some columns are read of rows whose other values cannot be stored, which
 * does not matter to a delete.
 */
export function compileFlattened(shape: FlattenedShape, to: RowTarget, state: RowState, only?: Set<string>): Reader {
  const compiler = new ReaderCompiler()
  emitRow(compiler, shape.record, to, only, { captures: shape.guard.captures, state })
  return compiler.build()
}
