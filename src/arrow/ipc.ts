/** Writes finished columns as one Arrow IPC stream. */

import { type Data, Field, makeData, RecordBatch, RecordBatchStreamWriter, Schema, Struct } from 'apache-arrow'

export interface NamedData {
  name: string
  data: Data
  nullable: boolean
}

/** An Arrow IPC stream with exactly one record batch, and `metadata` in its schema. */
export function writeIpc(columns: NamedData[], rows: number, metadata?: Map<string, string>): Uint8Array {
  const fields = columns.map((column) => new Field(column.name, column.data.type, column.nullable))
  const data = makeData({
    type: new Struct(fields),
    length: rows,
    nullCount: 0,
    children: columns.map((column) => column.data),
  })
  const batch = new RecordBatch(new Schema(fields, metadata), data as never)
  return RecordBatchStreamWriter.writeAll([batch]).toUint8Array(true)
}
