/** The rows of one batch beside the table's columns: control columns, and the finished stream. */

import { Bool, type Data, Field, FixedSizeBinary, Int32, Int64, makeData, Struct, Uint8, Uint64 } from 'apache-arrow'
import { packBits, packValidity } from '../arrow/builders.js'
import { type NamedData, writeIpcInTurns } from '../arrow/ipc.js'
import type { Turns } from '../waits.js'
import { FORMS, OF_THE_CHANGE, Op, PARTITIONS } from './change-batch.js'
import type { TableLayout } from './layout.js'
import { SEQ_SIZE, Sequences } from './order.js'

export class RowSet {
  rows = 0
  /** Whether a change is an upsert. */
  hasUpserts = false
  hasTruncates = false
  #numPartitions = 1
  readonly sequences = new Sequences()
  #ops: Uint8Array = new Uint8Array(0)
  #partitions: Int32Array = new Int32Array(0)
  #otherPartitions = false
  /** Microseconds since 1970, where the times of changes are wanted. */
  #times: BigInt64Array | null = null
  #hasTime: Uint8Array = new Uint8Array(0)

  /** @param numPartitions of the topic, where changes of several are ordered; null where they are not */
  reset(capacity: number, numPartitions: number | null, withTimes: boolean): void {
    this.#times = withTimes ? new BigInt64Array(capacity) : null
    this.#hasTime = new Uint8Array(withTimes ? capacity : 0)
    this.rows = 0
    this.hasUpserts = false
    this.hasTruncates = false
    this.#numPartitions = numPartitions ?? 1
    this.#ops = new Uint8Array(capacity)
    this.#partitions = new Int32Array(capacity)
    this.#otherPartitions = false
    this.sequences.reset(numPartitions === null ? 0 : capacity)
  }

  /** Gives up its arrays. */
  release(): void {
    this.reset(0, null, false)
  }

  get heldBytes(): number {
    const own = this.#ops.byteLength + this.#partitions.byteLength + this.#hasTime.byteLength
    return own + (this.#times?.byteLength ?? 0) + this.sequences.heldBytes
  }

  get wantsTimes(): boolean {
    return this.#times !== null
  }

  /** @param micros since 1970; null where it is not known */
  setTime(row: number, micros: bigint | null): void {
    if (this.#times === null || micros === null) return
    this.#times[row] = micros
    this.#hasTime[row] = 1
  }

  add(op: number, partition: number): void {
    this.#ops[this.rows] = op
    this.#partitions[this.rows] = partition
    if (partition !== 0) this.#otherPartitions = true
    if (op === Op.upsert) this.hasUpserts = true
    if (op === Op.truncate) this.hasTruncates = true
    this.rows++
  }

  /**
   * The Arrow IPC stream, or null where a text is not valid UTF-8.
   * @param ofTheChange columns that tell of the change and not of the row, where that matters
   */
  async finish(layout: TableLayout, ofTheChange: string[], turns: Turns): Promise<Uint8Array | null> {
    const { rows } = this
    const columns: NamedData[] = []
    for (const column of layout.columns) {
      const data = column.builder.finish(rows)
      if (data === null) return null
      if (turns.isLong) await turns.next()
      columns.push({ name: column.name, data, nullable: true })
    }
    columns.push({ name: '_op', data: numbers(new Uint8(), this.#ops.subarray(0, rows), rows), nullable: false })
    if (this.#otherPartitions) {
      const data = numbers(new Int32(), this.#partitions.subarray(0, rows), rows)
      columns.push({ name: '_part', data, nullable: false })
    }
    if (this.sequences.isKept) columns.push(...this.#orderColumns())
    if (this.#times !== null) {
      const data = makeData({
        type: new Int64(),
        length: rows,
        ...packValidity(this.#hasTime, rows),
        data: this.#times.subarray(0, rows),
      } as never) as Data
      columns.push({ name: '_time', data, nullable: true })
    }
    const oldKey = layout.oldKey
    if (oldKey !== null && anyOf(oldKey.valid, rows)) {
      const data = oldKey.finish(rows)
      if (data === null) return null
      columns.push({ name: '_old_key', data, nullable: true })
    }
    if (layout.columns.some((column) => column.leftOut !== null)) {
      columns.push({ name: '_left_out', data: this.#leftOut(layout), nullable: false })
    }
    const forms = layout.forms()
    const metadata = new Map<string, string>()
    if (Object.keys(forms).length > 0) metadata.set(FORMS, JSON.stringify(forms))
    if (this.sequences.isKept) metadata.set(PARTITIONS, String(this.#numPartitions))
    if (ofTheChange.length > 0) metadata.set(OF_THE_CHANGE, JSON.stringify(ofTheChange))
    return writeIpcInTurns(columns, rows, metadata, turns)
  }

  #orderColumns(): NamedData[] {
    const { rows, sequences } = this
    const timestamps = sequences.timestamps.subarray(0, rows)
    const timestamp = makeData({
      type: new Int64(),
      length: rows,
      ...packValidity(
        Uint8Array.from(timestamps, (time) => (time < 0 ? 0 : 1)),
        rows,
      ),
      data: longs(timestamps),
    } as never) as Data
    const columns: NamedData[] = [{ name: '_timestamp', data: timestamp, nullable: true }]
    if (!sequences.any) return columns
    const validity = packValidity(sequences.valid, rows)
    const seq = makeData({
      type: new FixedSizeBinary(SEQ_SIZE),
      length: rows,
      ...validity,
      data: sequences.bytes.subarray(0, rows * SEQ_SIZE),
    } as never) as Data
    const epoch = makeData({
      type: new Uint64(),
      length: rows,
      ...validity,
      data: new BigUint64Array(sequences.epochs.buffer, 0, rows),
    } as never) as Data
    columns.push({ name: '_seq', data: seq, nullable: true }, { name: '_epoch', data: epoch, nullable: true })
    return columns
  }

  #leftOut(layout: TableLayout): Data {
    const { rows } = this
    // Each column needs bytes of its own: Arrow's writer takes adjoining pieces of one buffer for one piece.
    const none = () => new Uint8Array(((rows + 63) >> 6) << 3)
    const children = layout.columns.map((column) =>
      makeData({
        type: new Bool(),
        length: rows,
        nullCount: 0,
        data: column.leftOut === null ? none() : packBits(column.leftOut, rows),
      }),
    )
    const fields = layout.columns.map((column) => new Field(column.name, new Bool(), false))
    return makeData({ type: new Struct(fields), length: rows, nullCount: 0, children } as never) as Data
  }
}

/** Whole numbers as Int64, in two words each: a bigint for each row would be garbage. */
function longs(values: Float64Array): BigInt64Array {
  const words = new Int32Array(2 * values.length)
  for (let i = 0; i < values.length; i++) {
    const value = values[i] as number
    words[2 * i] = value
    words[2 * i + 1] = Math.floor(value / 2 ** 32)
  }
  return new BigInt64Array(words.buffer)
}

function numbers(type: Uint8 | Int32, data: Uint8Array | Int32Array, rows: number): Data {
  return makeData({ type, length: rows, nullCount: 0, data } as never) as Data
}

function anyOf(valid: Uint8Array, rows: number): boolean {
  return valid.subarray(0, rows).includes(1)
}
