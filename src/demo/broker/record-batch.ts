/** Record batches, format v2: their header, and batches made here. The broker keeps records opaque otherwise. */

import { gunzipSync } from 'node:zlib'
import { crc32c } from './crc32c.js'
import { KafkaErrorCode, KafkaProtocolError } from './protocol.js'
import { WireWriter } from './wire.js'

/** Bytes before the records. */
export const BATCH_HEADER_BYTES = 61
const LENGTH_AT = 8
const LEADER_EPOCH_AT = 12
const MAGIC_AT = 16
const CRC_AT = 17
const ATTRIBUTES_AT = 21
const LAST_OFFSET_DELTA_AT = 23
const BASE_TIMESTAMP_AT = 27
const MAX_TIMESTAMP_AT = 35
const PRODUCER_ID_AT = 43
const PRODUCER_EPOCH_AT = 51
const BASE_SEQUENCE_AT = 53
const RECORD_COUNT_AT = 57

const COMPRESSION_MASK = 0x07
const TRANSACTIONAL = 0x10
const CONTROL = 0x20

export interface BatchHeader {
  baseOffset: number
  lastOffset: number
  /** Bytes of the whole batch. */
  size: number
  recordCount: number
  baseTimestamp: number
  maxTimestamp: number
  /** 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd. */
  compression: number
  transactional: boolean
  control: boolean
  /** -1 without idempotence. */
  producerId: number
  producerEpoch: number
  baseSequence: number
}

/** A record to be appended by the broker's own methods. */
export interface BrokerRecord {
  key: Buffer | null
  value: Buffer | null
  /** Milliseconds since 1970; default: now. */
  timestamp?: number
  headers?: Record<string, Buffer | string | null | (Buffer | string | null)[]>
  /** Its offset; at least the next free one. Offsets left out become gaps. Default: the next one. */
  offset?: number
}

/** A record as read back from a batch. */
export interface StoredRecord {
  offset: number
  timestamp: number
}

/** The size of the batch at `at`, or null where its header or body is cut off. */
export function batchSizeAt(bytes: Buffer, at: number): number | null {
  if (at + BATCH_HEADER_BYTES > bytes.length) return null
  const size = LEADER_EPOCH_AT + bytes.readInt32BE(at + LENGTH_AT)
  return size < BATCH_HEADER_BYTES || at + size > bytes.length ? null : size
}

/** The header of a batch. Throws CORRUPT_MESSAGE for what is no v2 batch or has another CRC than it says. */
export function readBatchHeader(batch: Buffer): BatchHeader {
  if (batchSizeAt(batch, 0) !== batch.length) {
    throw new KafkaProtocolError(KafkaErrorCode.CORRUPT_MESSAGE, `record batch is cut off at ${batch.length} bytes`)
  }
  const magic = batch.readInt8(MAGIC_AT)
  if (magic !== 2) {
    throw new KafkaProtocolError(
      KafkaErrorCode.UNSUPPORTED_FOR_MESSAGE_FORMAT,
      `message format ${magic}, only 2 is kept`,
    )
  }
  if (crc32c(batch, ATTRIBUTES_AT) !== batch.readUInt32BE(CRC_AT)) {
    throw new KafkaProtocolError(KafkaErrorCode.CORRUPT_MESSAGE, 'record batch has a wrong CRC')
  }
  const attributes = batch.readInt16BE(ATTRIBUTES_AT)
  const baseOffset = Number(batch.readBigInt64BE(0))
  const lastOffsetDelta = batch.readInt32BE(LAST_OFFSET_DELTA_AT)
  const recordCount = batch.readInt32BE(RECORD_COUNT_AT)
  if (lastOffsetDelta < 0 || recordCount < 0 || recordCount > lastOffsetDelta + 1) {
    throw new KafkaProtocolError(
      KafkaErrorCode.CORRUPT_MESSAGE,
      `record batch has ${recordCount} records and a last offset delta of ${lastOffsetDelta}`,
    )
  }
  return {
    baseOffset,
    lastOffset: baseOffset + lastOffsetDelta,
    size: batch.length,
    recordCount,
    baseTimestamp: Number(batch.readBigInt64BE(BASE_TIMESTAMP_AT)),
    maxTimestamp: Number(batch.readBigInt64BE(MAX_TIMESTAMP_AT)),
    compression: attributes & COMPRESSION_MASK,
    transactional: (attributes & TRANSACTIONAL) !== 0,
    control: (attributes & CONTROL) !== 0,
    producerId: Number(batch.readBigInt64BE(PRODUCER_ID_AT)),
    producerEpoch: batch.readInt16BE(PRODUCER_EPOCH_AT),
    baseSequence: batch.readInt32BE(BASE_SEQUENCE_AT),
  }
}

/** Writes where the batch lies in its partition; both fields are outside of the CRC. */
export function setBatchPosition(batch: Buffer, baseOffset: number): void {
  batch.writeBigInt64BE(BigInt(baseOffset), 0)
  batch.writeInt32BE(0, LEADER_EPOCH_AT)
}

interface BatchFields {
  baseOffset: number
  lastOffsetDelta: number
  baseTimestamp: number
  maxTimestamp: number
  attributes: number
  producerId: number
  records: Buffer[]
}

function writeBatch(fields: BatchFields): Buffer {
  let size = BATCH_HEADER_BYTES
  for (const record of fields.records) size += record.length
  const batch = Buffer.allocUnsafe(size)
  batch.writeBigInt64BE(BigInt(fields.baseOffset), 0)
  batch.writeInt32BE(size - LEADER_EPOCH_AT, LENGTH_AT)
  batch.writeInt32BE(0, LEADER_EPOCH_AT)
  batch.writeInt8(2, MAGIC_AT)
  batch.writeInt16BE(fields.attributes, ATTRIBUTES_AT)
  batch.writeInt32BE(fields.lastOffsetDelta, LAST_OFFSET_DELTA_AT)
  batch.writeBigInt64BE(BigInt(fields.baseTimestamp), BASE_TIMESTAMP_AT)
  batch.writeBigInt64BE(BigInt(fields.maxTimestamp), MAX_TIMESTAMP_AT)
  batch.writeBigInt64BE(BigInt(fields.producerId), PRODUCER_ID_AT)
  batch.writeInt16BE(fields.producerId < 0 ? -1 : 0, PRODUCER_EPOCH_AT)
  batch.writeInt32BE(-1, BASE_SEQUENCE_AT)
  batch.writeInt32BE(fields.records.length, RECORD_COUNT_AT)
  let at = BATCH_HEADER_BYTES
  for (const record of fields.records) at += record.copy(batch, at)
  batch.writeUInt32BE(crc32c(batch, ATTRIBUTES_AT), CRC_AT)
  return batch
}

function writeRecord(record: BrokerRecord, offsetDelta: number, timestampDelta: number): Buffer {
  const body = new WireWriter()
  body.int8(0).varint(timestampDelta).varint(offsetDelta).varbytes(record.key).varbytes(record.value)
  const headers: [string, Buffer | string | null][] = []
  for (const [name, values] of Object.entries(record.headers ?? {})) {
    for (const value of Array.isArray(values) ? values : [values]) headers.push([name, value])
  }
  body.varint(headers.length)
  for (const [name, value] of headers) {
    body.varbytes(Buffer.from(name)).varbytes(typeof value === 'string' ? Buffer.from(value) : value)
  }
  const bytes = body.toBuffer()
  return new WireWriter(bytes.length + 5).varint(bytes.length).raw(bytes).toBuffer()
}

/**
 * A batch of records that begins at `nextOffset` or at the first record's own offset.
 * Throws where a record's offset is below the next free one.
 */
export function buildBatch(
  records: readonly BrokerRecord[],
  nextOffset: number,
  transaction?: { producerId: number },
): Buffer {
  const first = records[0]
  if (!first) throw new RangeError('no record to append')
  const now = Date.now()
  const baseOffset = first.offset ?? nextOffset
  const baseTimestamp = first.timestamp ?? now
  let maxTimestamp = baseTimestamp
  let next = nextOffset
  const written = records.map((record) => {
    const offset = record.offset ?? next
    if (offset < next) throw new RangeError(`offset ${offset} is taken, the next free one is ${next}`)
    next = offset + 1
    const timestamp = record.timestamp ?? now
    maxTimestamp = Math.max(maxTimestamp, timestamp)
    return writeRecord(record, offset - baseOffset, timestamp - baseTimestamp)
  })
  return writeBatch({
    baseOffset,
    lastOffsetDelta: next - 1 - baseOffset,
    baseTimestamp,
    maxTimestamp,
    attributes: transaction ? TRANSACTIONAL : 0,
    producerId: transaction?.producerId ?? -1,
    records: written,
  })
}

/** A batch that covers `count` offsets and holds no record: what compaction leaves where all of them are gone. */
export function buildEmptyBatch(baseOffset: number, count: number): Buffer {
  return writeBatch({
    baseOffset,
    lastOffsetDelta: count - 1,
    baseTimestamp: -1,
    maxTimestamp: -1,
    attributes: 0,
    producerId: -1,
    records: [],
  })
}

/** The control batch that ends a transaction; it takes one offset. */
export function buildControlBatch(baseOffset: number, producerId: number, outcome: 'commit' | 'abort'): Buffer {
  const timestamp = Date.now()
  const key = new WireWriter().int16(0).int16(outcome === 'commit' ? 1 : 0)
  const value = new WireWriter().int16(0).int32(0)
  return writeBatch({
    baseOffset,
    lastOffsetDelta: 0,
    baseTimestamp: timestamp,
    maxTimestamp: timestamp,
    attributes: TRANSACTIONAL | CONTROL,
    producerId,
    records: [writeRecord({ key: key.toBuffer(), value: value.toBuffer() }, 0, 0)],
  })
}

/** Whether a control batch is an abort marker. */
export function isAbortMarker(batch: Buffer): boolean {
  // Record: length, attributes, timestamp delta, offset delta, key length (all one byte here), version, type.
  return batch.readInt16BE(BATCH_HEADER_BYTES + 7) === 0
}

/**
 * Offsets and timestamps of a batch's records: of uncompressed and gzip batches.
 * Null for the other codecs, which the broker cannot open.
 */
export function readRecordPositions(batch: Buffer, header: BatchHeader): StoredRecord[] | null {
  let bytes = batch.subarray(BATCH_HEADER_BYTES)
  if (header.compression === 1) bytes = gunzipSync(bytes)
  else if (header.compression !== 0) return null
  let at = 0
  const varint = (): number => {
    let value = 0
    let scale = 1
    for (;;) {
      const byte = bytes[at++]
      if (byte === undefined) throw new KafkaProtocolError(KafkaErrorCode.CORRUPT_MESSAGE, 'record is cut off')
      value += (byte & 0x7f) * scale
      if (byte < 0x80) break
      scale *= 0x80
    }
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2
  }
  const positions: StoredRecord[] = []
  for (let i = 0; i < header.recordCount; i++) {
    const length = varint()
    const end = at + length
    at++
    const timestamp = header.baseTimestamp + varint()
    const offset = header.baseOffset + varint()
    positions.push({ offset, timestamp })
    at = end
  }
  return positions
}
