/** Reads messages as a run does, and tells what a run would say of them. */

import type { BadRecord, ChangeBatch } from '../debezium/change-batch.js'
import { TableDecoder, type TableDescription } from '../debezium/decoder.js'
import type { DecodeOptions } from '../debezium/options.js'
import { Messages } from '../kafka/messages.js'
import type { MicroBatch, OffsetRange, RawMessage } from '../kafka/micro-batch.js'
import type { SchemaSource } from '../registry/schema-source.js'
import type { SchemaIds } from './shape.js'

export interface Decoded {
  changes: ChangeBatch | null
  /** Null where no message says what the columns are. */
  description: TableDescription | null
  badRecords: readonly BadRecord[]
  notes: readonly string[]
  /** What stops the table, whatever `onBadRecord` says. */
  error: unknown
}

export async function decodeSample(
  options: DecodeOptions,
  schemas: SchemaSource,
  ranges: OffsetRange[],
  numPartitions: number,
): Promise<Decoded> {
  const decoder = new TableDecoder({ ...options, onBadRecord: 'skip' }, schemas)
  const numMessages = ranges.reduce((sum, { messages }) => sum + messages.length, 0)
  const numBytes = ranges.reduce((sum, { messages }) => sum + messages.countBytes(), 0)
  const batch: MicroBatch = { topic: options.topic, ranges, numMessages, numPartitions, numBytes }
  try {
    const changes = await decoder.decode(batch)
    const { badRecords, notes = [] } = changes
    return { changes, description: decoder.describe(), badRecords, notes, error: null }
  } catch (error) {
    return { changes: null, description: decoder.describe(), badRecords: [], notes: [], error }
  }
}

/** The columns by schemas alone: of a message that ends behind their ids. */
export async function decodeSchemas(
  options: DecodeOptions,
  schemas: SchemaSource,
  ids: SchemaIds,
  numPartitions: number,
): Promise<Decoded> {
  const message: RawMessage = { offset: '0', timestamp: '0', key: header(ids.key), value: header(ids.value) }
  const range = { partition: 0, firstOffset: 0n, lastOffset: 0n, messages: Messages.of([message]) }
  const decoded = await decodeSample(options, schemas, [range], numPartitions)
  return { ...decoded, changes: null, badRecords: [] }
}

function header(id: number | null): Buffer | null {
  if (id === null) return null
  const bytes = Buffer.alloc(5)
  bytes.writeInt32BE(id, 1)
  return bytes
}
