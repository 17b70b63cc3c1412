/** Record sets and answers to fetches as a broker writes them, by a writer of their own: what reads them is not used. */

import { gzipSync } from 'node:zlib'
import { lz4Codec, snappyCodec, zstdCodec } from '../../src/kafka/codecs.js'

export interface WrittenRecord {
  key?: Buffer | null
  value?: Buffer | null
  headers?: [name: string, value: Buffer | null][]
  /** From the first offset of the batch; without one, that of the record before and 1. */
  offsetDelta?: number
  timeDelta?: bigint
}

export interface WrittenBatch {
  first: number | bigint
  records: readonly WrittenRecord[]
  /** Compaction leaves it as it was. Default: that of the last record. */
  lastDelta?: number
  time?: bigint
  maxTime?: bigint
  isAppendTime?: boolean
  producerId?: bigint
  isTransactional?: boolean
  isControl?: boolean
  /** 1 gzip, 2 snappy, 3 lz4, 4 zstd, with the records compressed. */
  compressed?: { codec: number; bytes: Buffer }
}

export function varint(value: bigint): Buffer {
  let raw = BigInt.asUintN(64, (value << 1n) ^ (value >> 63n))
  const bytes: number[] = []
  for (; raw > 0x7fn; raw >>= 7n) bytes.push(Number(raw & 0x7fn) | 0x80)
  return Buffer.from([...bytes, Number(raw)])
}

const sized = (bytes: Buffer | null): Buffer =>
  bytes === null ? varint(-1n) : Buffer.concat([varint(BigInt(bytes.length)), bytes])

function recordBytes(record: WrittenRecord, delta: number): Buffer {
  const { key = null, value = null, headers = [], timeDelta = 0n } = record
  const listed = headers.flatMap(([name, bytes]) => [sized(Buffer.from(name)), sized(bytes)])
  const fields = [Buffer.from([0]), varint(timeDelta), varint(BigInt(delta)), sized(key), sized(value)]
  const body = Buffer.concat([...fields, varint(BigInt(headers.length)), ...listed])
  return sized(body)
}

function deltasOf(records: readonly WrittenRecord[]): number[] {
  const deltas: number[] = []
  for (const { offsetDelta } of records) deltas.push(offsetDelta ?? (deltas.at(-1) ?? -1) + 1)
  return deltas
}

/** The records of a batch, as they are compressed. */
export function recordsBytes(records: readonly WrittenRecord[]): Buffer {
  const deltas = deltasOf(records)
  return Buffer.concat(records.map((record, i) => recordBytes(record, deltas[i] as number)))
}

export async function compressed(codec: number, records: readonly WrittenRecord[]) {
  const buffer = recordsBytes(records)
  const codecs = [null, null, snappyCodec, lz4Codec, zstdCodec]
  const bytes = codec === 1 ? gzipSync(buffer) : await (codecs[codec] as typeof lz4Codec).compress({ buffer })
  return { codec, bytes }
}

export function recordBatch(batch: WrittenBatch): Buffer {
  const { first, records, time = 1_000n, maxTime = time, producerId = -1n, compressed: packed } = batch
  const lastDelta = batch.lastDelta ?? deltasOf(records).at(-1) ?? 0
  const body = packed?.bytes ?? recordsBytes(records)
  const head = Buffer.alloc(61)
  head.writeBigInt64BE(BigInt(first), 0)
  head.writeInt32BE(49 + body.length, 8)
  head.writeInt32BE(7, 12)
  head.writeInt8(2, 16)
  head.writeInt32BE(123_456, 17)
  const flags = (batch.isAppendTime ? 8 : 0) | (batch.isTransactional ? 16 : 0) | (batch.isControl ? 32 : 0)
  head.writeInt16BE((packed?.codec ?? 0) | flags, 21)
  head.writeInt32BE(lastDelta, 23)
  head.writeBigInt64BE(time, 27)
  head.writeBigInt64BE(maxTime, 35)
  head.writeBigInt64BE(producerId, 43)
  head.writeInt32BE(records.length, 57)
  return Buffer.concat([head, body])
}

/** The mark that ends a transaction. */
export function marker(first: number, producerId: bigint, type: 'abort' | 'commit'): Buffer {
  const key = Buffer.from([0, 0, 0, type === 'abort' ? 0 : 1])
  const records = [{ key, value: Buffer.alloc(6) }]
  return recordBatch({ first, records, producerId, isTransactional: true, isControl: true })
}

/** A set of messages of the versions before batches: magic 0 or 1. */
export function messageSet(magic: 0 | 1, first: number, messages: readonly WrittenRecord[]): Buffer {
  const entries = messages.map(({ key = null, value = null }, i) => {
    const part = (bytes: Buffer | null) => Buffer.concat([int32(bytes?.length ?? -1), bytes ?? Buffer.alloc(0)])
    const time = magic === 1 ? [int64(1_000n + BigInt(i))] : []
    const body = Buffer.concat([int32(0), Buffer.from([magic, 0]), ...time, part(key), part(value)])
    return Buffer.concat([int64(BigInt(first + i)), int32(body.length), body])
  })
  return Buffer.concat(entries)
}

export interface WrittenPartition {
  partition: number
  records: Buffer
  errorCode?: number
  aborted?: { producerId: bigint; first: bigint }[]
}

const int16 = (value: number) => {
  const bytes = Buffer.alloc(2)
  bytes.writeInt16BE(value)
  return bytes
}
const int32 = (value: number) => {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32BE(value)
  return bytes
}
const int64 = (value: bigint) => {
  const bytes = Buffer.alloc(8)
  bytes.writeBigInt64BE(value)
  return bytes
}
const list = (items: readonly Buffer[]) => Buffer.concat([int32(items.length), ...items])

export function fetchResponse(version: number, topics: Record<string, readonly WrittenPartition[]>): Buffer {
  const session = version >= 7 ? [int16(0), int32(4711)] : []
  const partitionBytes = ({ partition, records, errorCode = 0, aborted = [] }: WrittenPartition) =>
    Buffer.concat([
      int32(partition),
      int16(errorCode),
      int64(9_000n),
      int64(8_000n),
      ...(version >= 5 ? [int64(3n)] : []),
      list(aborted.map(({ producerId, first }) => Buffer.concat([int64(producerId), int64(first)]))),
      ...(version >= 11 ? [int32(-1)] : []),
      int32(records.length),
      records,
    ])
  const topicBytes = ([name, partitions]: [string, readonly WrittenPartition[]]) =>
    Buffer.concat([int16(Buffer.byteLength(name)), Buffer.from(name), list(partitions.map(partitionBytes))])
  return Buffer.concat([int32(17), ...session, list(Object.entries(topics).map(topicBytes))])
}
