/** Keys: which columns a key message gives. */

import type { ColumnBuilder } from '../arrow/builders.js'
import type { Placeholder } from '../avro/placeholder.js'
import type { ReaderCompiler, ReadOptions } from '../avro/reader-compiler.js'
import type { AvroNode, AvroRecord } from '../avro/schema.js'
import { withoutNull } from '../avro/schema.js'
import { meaningOf } from '../avro/semantic-types.js'
import type { StructuredParts } from '../avro/structured.js'
import { fault } from '../avro/wire.js'
import type { TableLayout } from './layout.js'
import type { DecoderSettings } from './options.js'

/** A field of a key and the column that it fills. */
export interface KeyField {
  field: string
  column: string
  type: AvroNode
}

/** A key's schema, as the table reads it. */
export interface KeyShape {
  schemaId: number
  node: AvroNode
  fields: KeyField[]
  /** Whether the key is one value, whose column the option `primaryKey` tells. */
  isBare: boolean
}

/**
 * What a key of this schema gives. A key that is one value, not a record, needs the option `primaryKey` to name it; where
 * that names several columns, the key gives none. Text where it cannot be used: the reason.
 */
export function keyShapeOf(
  node: AvroNode,
  schemaId: number,
  layout: TableLayout,
  options: DecoderSettings,
): KeyShape | string {
  const record = withoutNull(node)
  if (record?.kind === 'record') {
    if (record.fields.length === 0 && options.primaryKey === undefined) return 'the key is a record without fields'
    const fields = record.fields.map(({ name, type }) => ({ field: name, column: layout.nameOf(name), type }))
    return { schemaId, node, fields, isBare: false }
  }
  const [only, ...more] = options.primaryKey ?? []
  if (only === undefined) {
    return `the key is a single ${node.kind}, not a record: name its column with the option primaryKey`
  }
  if (more.length > 0) return { schemaId, node, fields: [], isBare: true }
  return { schemaId, node, fields: [{ field: only, column: layout.nameOf(only), type: node }], isBare: true }
}

/** For reading a key column: a placeholder there is no value, and rows that share it would become one. */
export function refuseLeftOut(placeholder: Placeholder, column: string): Pick<ReadOptions, 'leftOut'> {
  const onLeftOut = () =>
    fault(
      "a key column with the connector's placeholder for a value that the change leaves out, so that its row is not known: " +
        'ALTER TABLE … REPLICA IDENTITY FULL in PostgreSQL, or name other columns in primaryKey',
      column,
    )
  return { leftOut: { placeholder, onLeftOut } }
}

const BEYOND_MICROS =
  'a key with a fraction of a microsecond, which the column cannot hold: another key could become the same'

function checkNanos(low: number, high: number, path: string): void {
  if (((BigInt(high) << 32n) | BigInt(low >>> 0)) % 1000n !== 0n) fault(BEYOND_MICROS, path)
}

function checkFraction(bytes: Buffer, at: number, length: number, path: string): void {
  if (/\.\d{6}0*[1-9]/.test(bytes.toString('latin1', at, at + length))) fault(BEYOND_MICROS, path)
}

function checkParts(parts: StructuredParts, path: string): void {
  if (parts.special === 0 && parts.get('nanos', path) % 1000 !== 0) fault(BEYOND_MICROS, path)
}

/** Emits a check, where keys that differ could be stored as the same: times are stored in microseconds. */
export function emitExactness(compiler: ReaderCompiler, type: AvroNode, builder: ColumnBuilder): void {
  const meaning = withoutNull(type) === null ? null : meaningOf(withoutNull(type) as AvroNode)
  // A time is a number or a text then, both exact.
  if (builder.type.kind !== 'timestamp') return
  const nanos = meaning !== null && 'unit' in meaning && meaning.unit === 'ns'
  const text = meaning?.is === 'isoTimestamp' || meaning?.is === 'zonedTimestamp'
  const structured = meaning?.is === 'structured'
  if (!nanos && !text && !structured) return
  const path = JSON.stringify(builder.path)
  const check = (node: AvroNode) => {
    if (nanos) {
      compiler.long()
      compiler.emit(`${compiler.constant(checkNanos)}(lo, hi, ${path})`)
    } else if (structured) {
      const parts = compiler.structuredParts(node as AvroRecord)
      compiler.emit(`${compiler.constant(checkParts)}(${parts}, ${path})`)
    } else {
      compiler.length()
      compiler.emit(`${compiler.constant(checkFraction)}(buf, pos, n, ${path}); pos += n`)
    }
    return node
  }
  const start = compiler.fresh('p')
  compiler.emit(`const ${start} = pos`)
  if (type.kind === 'union') compiler.union(type.branches, check, '')
  else check(type)
  compiler.emit(`pos = ${start}`)
}
