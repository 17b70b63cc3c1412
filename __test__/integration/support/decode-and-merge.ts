/** The way of the data without Kafka, so that a test decides which messages make a batch and in which order. */

import { TableDecoder } from '../../../src/debezium/decoder.js'
import type { DecodeOptions } from '../../../src/debezium/options.js'
import { DeltaTable, type DeltaTableOptions } from '../../../src/delta/table.js'
import { type FixtureMessage, fixtureRecord, readFixtureSchemas } from '../../../src/demo/fixtures.js'
import type { OffsetRange, RawMessage } from '../../../src/kafka/micro-batch.js'

export interface BatchesOptions {
  /** Folder of the captured set. */
  dir: string
  topic: string
  /** In the order in which they are consumed; each partition's in offset order. */
  messages: readonly FixtureMessage[]
  /** Messages of one commit. */
  batchSize: number
  queryName: string
  table: DeltaTableOptions
  decode?: Partial<DecodeOptions>
}

/** Decodes and merges messages in batches, with offsets and the fence as a stream has them. */
export async function decodeAndMerge({
  dir,
  topic,
  messages,
  batchSize,
  queryName,
  table,
  decode = {},
}: BatchesOptions): Promise<void> {
  const schemas = readFixtureSchemas(dir)
  const decoder = new TableDecoder({ topic, ...decode }, { get: async (id) => schemas.get(id) as never })
  const delta = await DeltaTable.open(table)
  const stored = new Map<number, bigint>()
  const numPartitions = Math.max(1, ...messages.map(({ partition }) => partition + 1))
  try {
    for (let i = 0; i < messages.length; i += batchSize) {
      const ranges = rangesOf(messages.slice(i, i + batchSize))
      const numMessages = Math.min(batchSize, messages.length - i)
      const { ipc, primaryKey } = await decoder.decode({ topic, ranges, numMessages, numPartitions, numBytes: 0 })
      const offsets = ranges.map(({ partition, lastOffset }) => {
        const expected = stored.get(partition) ?? null
        stored.set(partition, lastOffset)
        return { appId: `${queryName}:${topic}:${partition}`, expected, last: lastOffset }
      })
      await delta.merge(ipc, { primaryKey, offsets })
    }
  } finally {
    await delta.close()
  }
}

/** Ranges in the order in which their partitions come first. */
function rangesOf(messages: readonly FixtureMessage[]): OffsetRange<RawMessage[]>[] {
  const ranges = new Map<number, OffsetRange<RawMessage[]>>()
  for (const message of messages) {
    const { partition } = message
    const offset = BigInt(message.offset)
    const range = ranges.get(partition) ?? { partition, firstOffset: offset, lastOffset: offset, messages: [] }
    const { key, value, headers } = fixtureRecord(message)
    range.lastOffset = offset
    range.messages.push({
      offset: String(offset),
      timestamp: String(message.timestamp),
      key,
      value,
      headers: headers as NonNullable<RawMessage['headers']>,
    })
    ranges.set(partition, range)
  }
  return [...ranges.values()]
}
