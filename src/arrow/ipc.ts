/** Writes finished columns as one Arrow IPC stream. */

import { type Data, Field, makeData, RecordBatch, RecordBatchStreamWriter, Schema, Struct } from 'apache-arrow'
import type { Turns } from '../waits.js'

export interface NamedData {
  name: string
  data: Data
  nullable: boolean
}

/** An Arrow IPC stream with exactly one record batch, and `metadata` in its schema. */
export function writeIpc(columns: NamedData[], rows: number, metadata?: Map<string, string>): Uint8Array {
  return writerOf(columns, rows, metadata).toUint8Array(true)
}

/** {@link writeIpc} that lets others have their turn while the columns are copied. */
export async function writeIpcInTurns(
  columns: NamedData[],
  rows: number,
  metadata: Map<string, string>,
  turns: Turns,
): Promise<Uint8Array> {
  const pieces: Uint8Array[] = []
  let length = 0
  for await (const piece of writerOf(columns, rows, metadata)) {
    pieces.push(piece)
    length += piece.byteLength
  }
  const stream = new Uint8Array(length)
  let at = 0
  for (const piece of pieces) {
    stream.set(piece, at)
    at += piece.byteLength
    if (turns.isLong) await turns.next()
  }
  return stream
}

function writerOf(columns: NamedData[], rows: number, metadata?: Map<string, string>): RecordBatchStreamWriter {
  const fields = columns.map((column) => new Field(column.name, column.data.type, column.nullable))
  const data = makeData({
    type: new Struct(fields),
    length: rows,
    nullCount: 0,
    children: columns.map((column) => column.data),
  })
  const batch = new RecordBatch(new Schema(fields, metadata), data as never)
  return RecordBatchStreamWriter.writeAll([batch])
}
