/** The log of one partition: batches in memory, and in an append-only file where there is one. */

import { closeSync, existsSync, openSync, readFileSync, rmSync, truncateSync, writeSync } from 'node:fs'
import { KafkaErrorCode, KafkaProtocolError } from './protocol.js'
import {
  type BatchHeader,
  batchSizeAt,
  isAbortMarker,
  readBatchHeader,
  readRecordPositions,
  setBatchPosition,
} from './record-batch.js'

interface StoredBatch {
  header: BatchHeader
  bytes: Buffer
}

/** A transaction that was aborted: read-committed consumers leave its records out. */
export interface AbortedTransaction {
  producerId: number
  firstOffset: number
  lastOffset: number
}

interface ProducerState {
  epoch: number
  /** The newest batches, to answer a repeated one with its offset. */
  recent: { firstSequence: number; lastSequence: number; baseOffset: number }[]
}

/** Kafka remembers five batches of an idempotent producer. */
const REMEMBERED_BATCHES = 5

export class PartitionLog {
  #batches: StoredBatch[] = []
  #logStart = 0
  #next = 0
  #aborted: AbortedTransaction[] = []
  readonly #openTransactions = new Map<number, number>()
  readonly #producers = new Map<number, ProducerState>()
  readonly #waiters = new Set<() => void>()
  readonly #file: string | null
  #fd: number | null = null

  /** @param file where the batches are kept; what it holds is loaded, a torn end is cut off. */
  constructor(file: string | null, logStart = 0) {
    this.#file = file
    if (file !== null) {
      if (existsSync(file)) this.#load(file)
      this.#fd = openSync(file, 'a')
    }
    if (logStart > 0) this.moveLogStart(logStart)
  }

  /** The first offset that can be read. */
  get logStart(): number {
    return this.#logStart
  }

  /** The offset that the next record will get; also the high watermark. */
  get nextOffset(): number {
    return this.#next
  }

  /** Batches kept, also those that cover no record. */
  get batchCount(): number {
    return this.#batches.length
  }

  #load(file: string): void {
    const bytes = readFileSync(file)
    let at = 0
    for (;;) {
      const size = batchSizeAt(bytes, at)
      if (size === null) break
      const batch = bytes.subarray(at, at + size)
      try {
        this.#add(batch, readBatchHeader(batch))
      } catch (cause) {
        throw new Error(`${file} is damaged at byte ${at}`, { cause })
      }
      at += size
    }
    // A process that died in the middle of a write leaves a part of a batch.
    if (at < bytes.length) truncateSync(file, at)
  }

  #add(bytes: Buffer, header: BatchHeader): void {
    this.#batches.push({ header, bytes })
    this.#next = header.lastOffset + 1
    if (header.control) {
      const firstOffset = this.#openTransactions.get(header.producerId)
      this.#openTransactions.delete(header.producerId)
      if (firstOffset !== undefined && isAbortMarker(bytes)) {
        this.#aborted.push({ producerId: header.producerId, firstOffset, lastOffset: header.lastOffset })
      }
    } else if (header.transactional && !this.#openTransactions.has(header.producerId)) {
      this.#openTransactions.set(header.producerId, header.baseOffset)
    }
  }

  /**
   * Appends one batch as a producer sent it, and gives the offset of its first record.
   * A batch that an idempotent producer sends again gets its old offset and is not appended.
   */
  appendProduced(batch: Buffer): number {
    const header = readBatchHeader(batch)
    if (header.recordCount === 0) {
      throw new KafkaProtocolError(KafkaErrorCode.CORRUPT_MESSAGE, 'a produced batch holds no record')
    }
    const repeated = this.#checkSequence(header)
    if (repeated !== null) return repeated
    const baseOffset = this.#next
    // Its own memory: the request's buffer is larger and would be kept alive.
    const bytes = Buffer.from(batch)
    setBatchPosition(bytes, baseOffset)
    this.appendAt(bytes)
    return baseOffset
  }

  /** Appends a batch at the base offset in its header; offsets before it that nobody holds become a gap. */
  appendAt(bytes: Buffer): BatchHeader {
    const header = readBatchHeader(bytes)
    if (header.baseOffset < this.#next) {
      throw new RangeError(`offset ${header.baseOffset} is taken, the next free one is ${this.#next}`)
    }
    if (this.#fd !== null) writeSync(this.#fd, bytes)
    this.#add(bytes, header)
    this.#wake()
    return header
  }

  #checkSequence(header: BatchHeader): number | null {
    if (header.producerId < 0) return null
    let state = this.#producers.get(header.producerId)
    if (!state || state.epoch !== header.producerEpoch) {
      state = { epoch: header.producerEpoch, recent: [] }
      this.#producers.set(header.producerId, state)
    }
    const repeated = state.recent.find((batch) => batch.firstSequence === header.baseSequence)
    if (repeated) return repeated.baseOffset
    const last = state.recent.at(-1)
    // Sequences wrap after 2^31 - 1.
    if (last && header.baseSequence !== (last.lastSequence + 1) % 2 ** 31) {
      throw new KafkaProtocolError(
        KafkaErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER,
        `sequence ${header.baseSequence} follows ${last.lastSequence}`,
      )
    }
    state.recent.push({
      firstSequence: header.baseSequence,
      lastSequence: (header.baseSequence + header.recordCount - 1) % 2 ** 31,
      baseOffset: this.#next,
    })
    if (state.recent.length > REMEMBERED_BATCHES) state.recent.shift()
    return null
  }

  /** The first batch whose last offset is at least `offset`, as an index; the number of batches where there is none. */
  #search(offset: number): number {
    let low = 0
    let high = this.#batches.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#batches[middle] as StoredBatch).header.lastOffset < offset) low = middle + 1
      else high = middle
    }
    return low
  }

  /**
   * The batches from `offset` on, as many as fit into `maxBytes`.
   * @param atLeastOne give the first one even if it is larger
   * @throws {KafkaProtocolError} OFFSET_OUT_OF_RANGE below the log's start or above its end
   */
  read(offset: number, maxBytes: number, atLeastOne: boolean): Buffer[] {
    if (offset < this.#logStart || offset > this.#next) {
      throw new KafkaProtocolError(
        KafkaErrorCode.OFFSET_OUT_OF_RANGE,
        `offset ${offset} is outside of ${this.#logStart} to ${this.#next}`,
      )
    }
    const found: Buffer[] = []
    let bytes = 0
    for (let i = this.#search(offset); i < this.#batches.length; i++) {
      const batch = this.#batches[i] as StoredBatch
      if (bytes + batch.bytes.length > maxBytes && !(atLeastOne && found.length === 0)) break
      found.push(batch.bytes)
      bytes += batch.bytes.length
    }
    return found
  }

  /** The aborted transactions that have records at or after `offset`. */
  abortedFrom(offset: number): AbortedTransaction[] {
    return this.#aborted.filter((transaction) => transaction.lastOffset >= offset)
  }

  /**
   * The first record whose timestamp is at least `timestamp` (milliseconds); null where there is none.
   * In batches of a codec that the broker cannot open, the batch's first offset stands for it.
   */
  findByTimestamp(timestamp: number): { offset: number; timestamp: number } | null {
    for (const { header, bytes } of this.#batches) {
      if (header.maxTimestamp < timestamp || header.recordCount === 0 || header.lastOffset < this.#logStart) continue
      const positions = readRecordPositions(bytes, header) ?? [
        { offset: Math.max(header.baseOffset, this.#logStart), timestamp: header.maxTimestamp },
      ]
      const found = positions.find((record) => record.timestamp >= timestamp && record.offset >= this.#logStart)
      if (found) return found
    }
    return null
  }

  /** Moves the log's start forward; batches that lie wholly before it go. Beyond the end, the end moves with it. */
  moveLogStart(offset: number): void {
    if (offset <= this.#logStart) return
    this.#logStart = offset
    if (offset > this.#next) this.#next = offset
    this.#batches = this.#batches.slice(this.#search(offset))
    this.#aborted = this.#aborted.filter((transaction) => transaction.lastOffset >= offset)
    this.#wake()
  }

  /** Calls `wake` at each append until it is removed. */
  addWaiter(wake: () => void): void {
    this.#waiters.add(wake)
  }

  removeWaiter(wake: () => void): void {
    this.#waiters.delete(wake)
  }

  #wake(): void {
    for (const wake of [...this.#waiters]) wake()
  }

  close(): void {
    if (this.#fd !== null) closeSync(this.#fd)
    this.#fd = null
    this.#wake()
  }

  /** Closes the log and removes its file. */
  delete(): void {
    this.close()
    this.#batches = []
    if (this.#file !== null) rmSync(this.#file, { force: true })
  }
}
