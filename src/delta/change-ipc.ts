/** Arrow tables of callers as the one record batch that the engine takes. */

import {
  Field,
  makeBuilder,
  makeData,
  RecordBatch,
  Schema,
  Struct,
  Table,
  tableToIPC,
  Uint8,
  type Vector,
} from 'apache-arrow'
import { KafkaToDeltaError } from '../errors.js'

/** One contiguous column: the only chunk, or all of them built anew. */
function inOneChunk(column: Vector): Vector['data'][number] {
  const only = column.data[0]
  if (column.data.length === 1 && only) return only
  const builder = makeBuilder({ type: column.type, nullValues: [null, undefined] })
  for (const value of column) builder.append(value)
  return builder.finish().flush()
}

/**
 * The IPC stream of a table, with exactly one record batch. A table without `_op` holds upserts alone.
 * @throws BATCH_INVALID for a table without columns
 */
export function tableToChangeIpc(table: Table): Uint8Array {
  if (table.numCols === 0) throw new KafkaToDeltaError('BATCH_INVALID', 'the Arrow table has no columns')
  const fields = [...table.schema.fields]
  const children = fields.map((field) => inOneChunk(table.getChild(field.name) as Vector))
  if (!fields.some((field) => field.name === '_op')) {
    fields.push(new Field('_op', new Uint8(), false))
    children.push(makeData({ type: new Uint8(), length: table.numRows, data: new Uint8Array(table.numRows) }))
  }
  const schema = new Schema(fields, table.schema.metadata)
  const data = makeData({ type: new Struct(fields), length: table.numRows, nullCount: 0, children })
  return tableToIPC(new Table([new RecordBatch(schema, data)]), 'stream')
}
