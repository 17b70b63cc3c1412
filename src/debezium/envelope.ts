/** Debezium's envelopes: `before`, `after`, `op`, `source`, and metadata columns taken from them. */

import type { ColumnBuilder } from '../arrow/builders.js'
import { type Reader, ReaderCompiler } from '../avro/reader-compiler.js'
import { type AvroNode, type AvroRecord, withoutNull } from '../avro/schema.js'
import { KafkaToDeltaError } from '../errors.js'
import { captureOf, emitRow, type Guard, type RowTarget } from './flattened.js'
import { emitExactness, refuseLeftOut } from './keys.js'
import type { TableLayout } from './layout.js'
import { isMessagePath, type MetadataSpec } from './metadata.js'
import { columnOptions, type DecoderSettings, orderedTopic } from './options.js'
import { fieldsOf, SequenceReader, sequenceKindOf } from './order.js'
import { type Capture, canCapture, emitCapture, type RowState, recordOf } from './row-state.js'

/** A field of the event that becomes a column. */
export interface MetadataColumn {
  /** `source.ts_ms`, `op`. */
  path: string
  column: string
  type: AvroNode
}

export interface EnvelopeShape {
  record: AvroRecord
  before: AvroRecord
  after: AvroRecord
  /** Of the record `source`, but for `op`. */
  guard: Guard
  metadata: MetadataColumn[]
}

function fieldType(record: AvroRecord, name: string): AvroNode | undefined {
  return record.fields.find((field) => field.name === name)?.type
}

function hasField(record: AvroRecord, name: string): boolean {
  return fieldType(record, name) !== undefined
}

/** For a record that an envelope leaves out. */
const NO_FIELDS: AvroRecord = { kind: 'record', name: '', fields: [] }

/** Debezium's name of an envelope's record. */
function isNamedEnvelope({ name, connectName }: AvroRecord): boolean {
  return [name, connectName ?? ''].some((given) => /(^|\.)Envelope$/.test(given))
}

/** Whether a record is Debezium's `source`, which keeps its name where a transform gives the event another one. */
function isNamedSource(record: AvroRecord | null): boolean {
  return [record?.name ?? '', record?.connectName ?? ''].some((given) =>
    /^io\.debezium\.connector\..*\bSource$/.test(given),
  )
}

/** Why an envelope cannot be read, and what to do. */
function unusableEnvelope(record: AvroRecord): string {
  const has = (name: string) => hasField(record, name)
  if (has('specversion')) {
    return 'the value is a CloudEvent: set value.converter=io.confluent.connect.avro.AvroConverter in the connector'
  }
  const after = fieldType(record, 'after')
  if (has('updateDescription') || (after !== undefined && withoutNull(after)?.kind === 'string')) {
    return (
      "the value is MongoDB's envelope, whose row is a JSON text: flatten it in the connector with the transform " +
      'io.debezium.connector.mongodb.transforms.ExtractNewDocumentState'
    )
  }
  const lacks = ['op', 'after'].filter((name) => !has(name)).join(' and ')
  return (
    `the value is the envelope ${record.name}, ` +
    `${lacks === '' ? 'but its op, its after or its source is of another type than Debezium’s' : `which lacks ${lacks}`}: ` +
    'leave envelopes as Debezium makes them, or flatten them with the transform ' +
    'io.debezium.transforms.ExtractNewRecordState'
  )
}

/** The envelope's parts; null where the value is no envelope, and the reason where it is one that cannot be read. */
export function envelopeShape(
  record: AvroRecord,
  specs: MetadataSpec[],
  options: DecoderSettings,
): EnvelopeShape | string | null {
  const after = recordOf(fieldType(record, 'after'))
  const given = { before: recordOf(fieldType(record, 'before')), source: recordOf(fieldType(record, 'source')) }
  const op = fieldType(record, 'op')
  const hasOp = op !== undefined && withoutNull(op)?.kind === 'string'
  if (after === null || !hasOp || (given.before === null && given.source === null)) {
    const isEnvelope =
      ['before', 'after', 'op', 'source'].some((name) => hasField(record, name)) && isNamedEnvelope(record)
    const isRenamed = ['op', 'after'].every((name) => hasField(record, name)) && isNamedSource(given.source)
    return isEnvelope || isRenamed ? unusableEnvelope(record) : null
  }
  const { before, source } = { before: given.before ?? NO_FIELDS, source: given.source ?? NO_FIELDS }
  if (/cassandra|scylla/i.test(`${source.name} ${source.connectName ?? ''}`)) {
    return 'the value is an event of Cassandra or ScyllaDB, which has only the columns that a statement set, not the row'
  }
  const captures = new Map<string, Capture>()
  const has = (name: string, capture: Capture): boolean => {
    const type = fieldType(source, name)
    return type !== undefined && canCapture(type, capture)
  }
  const take = (name: string, capture: Capture): boolean => {
    if (has(name, capture)) captures.set(name, capture)
    return captures.has(name)
  }
  let sequence: SequenceReader | null = null
  const hasSnapshot = take('snapshot', { text: 'snapshot' })
  if (options.orderGuard === 'auto') {
    const kind = sequenceKindOf((name) => has(name, captureOf(name)))
    if (kind !== null) {
      sequence = new SequenceReader(kind, orderedTopic(options))
      for (const name of fieldsOf(kind)) take(name, captureOf(name))
    }
  }
  if (options.mode.needsTime) take('ts_ms', { number: 'ts_ms' })
  const metadata = specs
    .filter(({ path }) => !isMessagePath(path))
    .map(({ path, column }) => ({ column, ...metadataField(path, record, source) }))
  return { record, before, after, guard: { captures, sequence, hasOp: true, hasSnapshot }, metadata }
}

/** As Debezium's `add.fields`: `field` or `record.field`; a bare name is of the event or of `source`. */
function metadataField(path: string, record: AvroRecord, source: AvroRecord): { path: string; type: AvroNode } {
  const dot = path.indexOf('.')
  if (dot < 0) {
    const own = fieldType(record, path)
    if (own !== undefined && recordOf(own) === null) return { path, type: own }
    const type = fieldType(source, path)
    if (type !== undefined) return { path: `source.${path}`, type }
  } else {
    const type = fieldType(recordOf(fieldType(record, path.slice(0, dot))) ?? source, path.slice(dot + 1))
    if (type !== undefined && recordOf(fieldType(record, path.slice(0, dot))) !== null) return { path, type }
  }
  throw new KafkaToDeltaError(
    'CONFIG_INVALID',
    `metadataColumns names ${JSON.stringify(path)}, which the event ${record.name} lacks`,
  )
}

/** Reads all columns out of a row, `before` or `after`. */
export function compileRow(record: AvroRecord, to: RowTarget): Reader {
  const compiler = new ReaderCompiler()
  emitRow(compiler, record, to)
  return compiler.build()
}

/** Reads an envelope: columns of `after`, metadata columns, and the state. */
export function compileEnvelope(shape: EnvelopeShape, to: RowTarget, state: RowState): Reader {
  const { layout, options } = to
  const readRow = compileRow(shape.after, to)
  const compiler = new ReaderCompiler()
  const x = compiler.constant(state)
  const emitValue = (type: AvroNode, path: string, capture: Capture | undefined) => {
    const columns = shape.metadata.filter((column) => column.path === path)
    const start = compiler.fresh('p')
    const passes = columns.length + (capture === undefined ? 0 : 1)
    if (passes > 1) compiler.emit(`const ${start} = pos`)
    columns.forEach((column, i) => {
      if (i > 0) compiler.emit(`pos = ${start}`)
      const target = layout.find(column.column)
      const outOfRange = columnOptions(options, column.column).outOfRange ?? 'fail'
      compiler.read(type, target.builder, 'row', { outOfRange })
    })
    if (columns.length > 0 && capture !== undefined) compiler.emit(`pos = ${start}`)
    if (capture !== undefined) emitCapture(compiler, type, capture, state)
    else if (columns.length === 0) compiler.skip(type)
  }
  const emitRecord = (record: AvroRecord, name: string) => {
    for (const field of record.fields) {
      compiler.emit('{')
      const capture = name === 'source' ? shape.guard.captures.get(field.name) : undefined
      emitValue(field.type, `${name}.${field.name}`, capture)
      compiler.emit('}')
    }
  }
  for (const { name, type } of shape.record.fields) {
    compiler.emit('{')
    const inner = recordOf(type)
    const within = (read: (record: AvroRecord) => void) => {
      if (type.kind === 'union') compiler.union(type.branches, () => read(inner as AvroRecord), '')
      else read(inner as AvroRecord)
    }
    if (name === 'before' && inner !== null) {
      within((record) => {
        compiler.emit(`${x}.beforeAt = pos`)
        compiler.skip(record)
      })
    } else if (name === 'after') {
      within(() => compiler.emit(`${x}.afterAt = pos; pos = ${compiler.constant(readRow)}(buf, pos, end, row)`))
    } else if (name === 'op') emitValue(type, 'op', { flag: 'op' })
    else if (inner !== null && (name === 'source' || shape.metadata.some((c) => c.path.startsWith(`${name}.`)))) {
      within((record) => emitRecord(record, name))
    } else emitValue(type, name, undefined)
    compiler.emit('}')
    compiler.endStep()
  }
  return compiler.build()
}

/** Reads the key columns that the message's key does not give out of a row, `before` or `after`. */
export function compileRowKey(
  record: AvroRecord,
  { fromKey, layout, placeholder }: RowTarget,
  builderOf: (column: string) => ColumnBuilder,
): Reader {
  const compiler = new ReaderCompiler()
  for (const { name, type } of record.fields) {
    const column = layout.nameOf(name)
    compiler.emit('{')
    if (layout.isKey(column) && !fromKey.has(column)) {
      const builder = builderOf(column)
      emitExactness(compiler, type, builder)
      compiler.read(type, builder, 'row', {
        outOfRange: layout.optionsOf(name, column).outOfRange ?? 'fail',
        ...refuseLeftOut(placeholder, column),
      })
    } else compiler.skip(type)
    compiler.emit('}')
    compiler.endStep()
  }
  return compiler.build()
}

/** Where the fields of a row lie that are key columns but not of `fromKey`: two positions for each. */
export class KeySpans {
  readonly at: Int32Array
  readonly #read: Reader

  constructor(record: AvroRecord, fromKey: Map<string, unknown>, layout: TableLayout) {
    const compiler = new ReaderCompiler()
    let fields = 0
    const spans = compiler.constant(this)
    for (const { name, type } of record.fields) {
      const column = layout.nameOf(name)
      const wanted = layout.isKey(column) && !fromKey.has(column)
      compiler.emit('{')
      if (wanted) compiler.emit(`${spans}.at[${2 * fields}] = pos`)
      compiler.skip(type)
      if (wanted) compiler.emit(`${spans}.at[${2 * fields++ + 1}] = pos`)
      compiler.emit('}')
      compiler.endStep()
    }
    this.at = new Int32Array(2 * fields)
    this.#read = compiler.build()
  }

  /** Finds the fields of the row at `pos`. */
  find(value: Buffer, pos: number, end: number): this {
    this.#read(value, pos, end, 0)
    return this
  }

  /** Whether both have the same values: the same bytes, since one writer wrote them. */
  equals(other: KeySpans, value: Buffer): boolean {
    for (let i = 0; i < this.at.length; i += 2) {
      const [from, to] = [this.at[i] as number, this.at[i + 1] as number]
      if (value.compare(value, from, to, other.at[i] as number, other.at[i + 1] as number) !== 0) return false
    }
    return true
  }
}
