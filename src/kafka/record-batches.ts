/**
 * Reads record batches, as brokers since 0.11 store them (https://kafka.apache.org/documentation/#recordbatch). Their records
 * become columns. As in kafkajs, the checksum is not looked at.
 */

import { skipHeaders } from './headers.js'
import { PLACES, Records, together } from './records.js'
import { CorruptRecords, VarintReader } from './varints.js'

/** Bytes of a batch before its records: all, and those that its length does not count. */
const HEAD_BYTES = 61
const LENGTH_END = 12

/** Where the fields of a batch lie. */
const AT = {
  length: 8,
  magic: 16,
  attributes: 21,
  lastDelta: 23,
  time: 27,
  maxTime: 35,
  producerId: 43,
  count: 57,
} as const

const CODEC_MASK = 0x07
const LOG_APPEND_TIME = 0x08
const TRANSACTIONAL = 0x10
const CONTROL = 0x20

/** Bytes of a record at least: each of its fields has one. */
const MIN_RECORD_BYTES = 7

/** The batches of this layout say so; sets of messages before it have 0 or 1 at the same place. */
export const MAGIC = 2

/** The version of what a broker sent; null where it is too short for one. */
export const magicOf = (bytes: Buffer): number | null => (bytes.length > AT.magic ? bytes.readInt8(AT.magic) : null)

/** Decompresses; at once, or later. */
export type Decompress = (codec: number, bytes: Buffer) => Buffer | Promise<Buffer>

/** What one batch says of its records: `from` to `to` (exclusive) of all that were read. */
export interface RecordBatch {
  /** The last offset that the batch covers, also where compaction has taken its last records, or all of them. */
  readonly last: bigint
  readonly from: number
  readonly to: number
  readonly producerId: bigint
  readonly isTransactional: boolean
  /** Its record is the mark that ends a transaction. */
  readonly isControl: boolean
}

/** All that was fetched of a partition, also what a reader may not see. */
export class FetchedRecords {
  readonly records: Records
  readonly batches: readonly RecordBatch[]

  constructor(records: Records, batches: readonly RecordBatch[]) {
    this.records = records
    this.batches = batches
  }
}

/** A batch before its records are read. */
interface Head {
  at: number
  end: number
  count: number
}

/** Where the records of a batch lie, once they are decompressed. */
interface Place {
  start: number
  end: number
}

/**
 * Reads batches up to one that is cut off: a broker cuts where the reader's limit is.
 * @throws CorruptRecords, and what `decompress` throws
 */
export async function readRecordBatches(bytes: Buffer, decompress: Decompress): Promise<FetchedRecords> {
  const heads = readHeads(bytes)
  const parts = await recordsOf(bytes, heads, decompress)
  for (const [i, { count }] of heads.entries()) {
    const { start, end } = parts.places[i] as Place
    // Before columns are made of so many.
    if (count * MIN_RECORD_BYTES > end - start) throw new CorruptRecords(`${count} records in ${end - start} bytes`)
  }
  const all = together(parts.buffers)
  const records = new Records(
    all,
    heads.reduce((sum, { count }) => sum + count, 0),
  )
  const batches: RecordBatch[] = []
  let from = 0
  for (const [i, { at, count }] of heads.entries()) {
    const { start, end } = parts.places[i] as Place
    readRecords(new VarintReader(all, start, end), bytes, at, records, from, from + count)
    const attributes = bytes.readInt16BE(at + AT.attributes)
    batches.push({
      last: bytes.readBigInt64BE(at) + BigInt(bytes.readInt32BE(at + AT.lastDelta)),
      from,
      to: from + count,
      producerId: bytes.readBigInt64BE(at + AT.producerId),
      isTransactional: (attributes & TRANSACTIONAL) !== 0,
      isControl: (attributes & CONTROL) !== 0,
    })
    from += count
  }
  return new FetchedRecords(records, batches)
}

function readHeads(bytes: Buffer): Head[] {
  const heads: Head[] = []
  for (let at = 0; at + HEAD_BYTES <= bytes.length; ) {
    const length = bytes.readInt32BE(at + AT.length)
    const end = at + LENGTH_END + length
    if (length >= 0 && end > bytes.length) break
    if (end - at < HEAD_BYTES) throw new CorruptRecords(`a record batch of ${length} bytes`)
    if (bytes.readInt8(at + AT.magic) !== MAGIC) break
    const count = Math.max(0, bytes.readInt32BE(at + AT.count))
    heads.push({ at, end, count })
    at = end
  }
  return heads
}

/** The records of each batch, and where they lie once the buffers are put together. */
async function recordsOf(
  bytes: Buffer,
  heads: readonly Head[],
  decompress: Decompress,
): Promise<{ buffers: Buffer[]; places: Place[] }> {
  const codecOf = ({ at }: Head) => bytes.readInt16BE(at + AT.attributes) & CODEC_MASK
  if (heads.every((head) => codecOf(head) === 0 || head.count === 0)) {
    const places = heads.map(({ at, end }) => ({ start: at + HEAD_BYTES, end }))
    return { buffers: heads.length === 0 ? [] : [bytes.subarray(0, heads.at(-1)?.end)], places }
  }
  const buffers: Buffer[] = []
  const places: Place[] = []
  let start = 0
  for (const head of heads) {
    if (head.count === 0) {
      places.push({ start, end: start })
      continue
    }
    const codec = codecOf(head)
    const stored = bytes.subarray(head.at + HEAD_BYTES, head.end)
    const found = codec === 0 ? stored : decompress(codec, stored)
    // Most codecs have it at once.
    const buffer = found instanceof Promise ? await found : found
    buffers.push(buffer)
    places.push({ start, end: start + buffer.length })
    start += buffer.length
  }
  return { buffers, places }
}

/** Reads the records `from` to `to` (exclusive), which are all of a batch. */
function readRecords(
  reader: VarintReader,
  heads: Buffer,
  headAt: number,
  { offsetWords, timestampWords, timestamps, places }: Records,
  from: number,
  to: number,
): void {
  const isAppendTime = (heads.readInt16BE(headAt + AT.attributes) & LOG_APPEND_TIME) !== 0
  const timeAt = headAt + (isAppendTime ? AT.maxTime : AT.time)
  const firstTime = heads.readBigInt64BE(timeAt)
  const timeHigh = heads.readInt32BE(timeAt)
  const timeLow = heads.readUInt32BE(timeAt + 4)
  const offsetHigh = heads.readInt32BE(headAt)
  const offsetLow = heads.readUInt32BE(headAt + 4)
  const batchEnd = reader.end
  for (let i = from; i < to; i++) {
    reader.end = batchEnd
    const size = reader.int()
    const end = reader.pos + size
    if (size < 0 || end > batchEnd) throw new CorruptRecords('a record reaches beyond its batch')
    reader.end = end
    reader.byte()
    const delta = reader.long()
    if (isAppendTime) putSum(timestampWords, i, timeHigh, timeLow, 0)
    else if (typeof delta === 'number') putSum(timestampWords, i, timeHigh, timeLow, delta)
    else timestamps[i] = firstTime + delta
    putSum(offsetWords, i, offsetHigh, offsetLow, reader.int())
    const place = PLACES * i
    const keyAt = reader.bytesAt()
    places[place] = keyAt
    places[place + 1] = keyAt < 0 ? -1 : reader.pos
    const valueAt = reader.bytesAt()
    places[place + 2] = valueAt
    places[place + 3] = valueAt < 0 ? -1 : reader.pos
    const headersAt = reader.pos
    const numHeaders = reader.int()
    places[place + 4] = numHeaders > 0 ? headersAt : -1
    if (numHeaders > 0) skipHeaders(reader, numHeaders)
    reader.pos = end
  }
}

/** Writes a number of 64 bits and what is added to it, which is below 2^50. */
function putSum(words: Int32Array, at: number, high: number, low: number, delta: number): void {
  const sum = low + delta
  words[2 * at] = sum
  words[2 * at + 1] = high + Math.floor(sum / 2 ** 32)
}
