/** Debezium's envelopes: `before`, `after`, `op`, `source`, and metadata columns taken from them. */
import { type Reader, ReaderCompiler } from '../avro/compile.js'
import { type AvroNode, type AvroRecord, withoutNull } from '../avro/schema.js'
import { KafkaToDeltaError } from '../errors.js'
import { captureOf, emitRow, type Guard } from './flattened.js'
import type { TableLayout } from './layout.js'
import { columnOptions, type ResolvedOptions } from './options.js'
import { EPOCH_FIELDS, fieldsOf, SequenceReader, sequenceKindOf } from './order.js'
import type { Placeholder } from './placeholder.js'
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

/** The envelope's parts, or null where the value is no envelope. */
export function envelopeShape(record: AvroRecord, options: ResolvedOptions): EnvelopeShape | null {
  const before = recordOf(fieldType(record, 'before'))
  const after = recordOf(fieldType(record, 'after'))
  const source = recordOf(fieldType(record, 'source'))
  const op = fieldType(record, 'op')
  if (before === null || after === null || source === null || op === undefined) return null
  if (withoutNull(op)?.kind !== 'string') return null
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
  if (options.orderGuard === 'lsn') {
    if (take(options.lsnColName ?? 'lsn', { number: 'lsn' })) sequence = new SequenceReader('lsn')
  } else if (options.orderGuard === 'auto') {
    const kind = sequenceKindOf((name) => has(name, captureOf(name)))
    if (kind !== null) {
      sequence = new SequenceReader(kind)
      for (const name of [...fieldsOf(kind), ...EPOCH_FIELDS]) take(name, captureOf(name))
    }
  }
  const metadata = options.metadataColumns.map((spec) => metadataColumn(spec, record, source))
  return { record, before, after, guard: { captures, sequence, hasOp: true, hasSnapshot }, metadata }
}

/** As Debezium's `add.fields`: `field`, `record.field`, each with `:new name`; a bare name is of the event or `source`. */
function metadataColumn(spec: string, record: AvroRecord, source: AvroRecord): MetadataColumn {
  const colon = spec.indexOf(':')
  const path = (colon < 0 ? spec : spec.slice(0, colon)).trim()
  const column = `__${colon < 0 ? path.replaceAll('.', '_') : spec.slice(colon + 1).trim()}`
  const dot = path.indexOf('.')
  if (dot < 0) {
    const own = fieldType(record, path)
    if (own !== undefined && recordOf(own) === null) return { path, column, type: own }
    const type = fieldType(source, path)
    if (type !== undefined) return { path: `source.${path}`, column, type }
  } else {
    const type = fieldType(recordOf(fieldType(record, path.slice(0, dot))) ?? source, path.slice(dot + 1))
    if (type !== undefined && recordOf(fieldType(record, path.slice(0, dot))) !== null) return { path, column, type }
  }
  throw new KafkaToDeltaError(
    'CONFIG_INVALID',
    `metadataColumns names ${JSON.stringify(path)}, which the event ${record.name} lacks`,
  )
}

/** Reads an envelope: columns of `after`, metadata columns, and the state. */
export function compileEnvelope(
  shape: EnvelopeShape,
  fromKey: Map<string, unknown>,
  layout: TableLayout,
  options: ResolvedOptions,
  placeholder: Placeholder,
  state: RowState,
): Reader {
  const row = new ReaderCompiler()
  emitRow(row, shape.after, fromKey, layout, options, placeholder)
  const readRow = row.build()

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
    if (name === 'before') {
      within((record) => {
        compiler.emit(`${x}.beforeAt = pos`)
        compiler.skip(record)
      })
    } else if (name === 'after') {
      within(() => compiler.emit(`${x}.hasAfter = true; pos = ${compiler.constant(readRow)}(buf, pos, end, row)`))
    } else if (name === 'op') emitValue(type, 'op', { flag: 'op' })
    else if (inner !== null && (name === 'source' || shape.metadata.some((c) => c.path.startsWith(`${name}.`)))) {
      within((record) => emitRecord(record, name))
    } else emitValue(type, name, undefined)
    compiler.emit('}')
    compiler.endStep()
  }
  return compiler.build()
}

/** Reads the key columns out of `before`, for messages whose key is null. */
export function compileBeforeKey(
  shape: EnvelopeShape,
  layout: TableLayout,
  options: ResolvedOptions,
  placeholder: Placeholder,
): Reader {
  const compiler = new ReaderCompiler()
  emitRow(compiler, shape.before, new Map(), layout, options, placeholder, new Set(layout.primaryKey ?? []))
  return compiler.build()
}
