/**
 * Column builders: growing typed arrays that generated code writes into at a row's index.
 *
 * A value that is never written is null, so that a column that a row lacks costs nothing. Offsets of such rows stay 0
 * until `finish`, which carries the last one forward.
 */

import { isUtf8 } from 'node:buffer'
import { Binary, type Data, LargeBinary, LargeUtf8, makeData, Utf8 } from 'apache-arrow'
import { KafkaToDeltaError } from '../errors.js'
import { arrowType, type ColumnType } from './types.js'

const EMPTY_BYTES = new Uint8Array(0)
const EMPTY_INTS = new Int32Array(0)
const EMPTY_OFFSETS = new Uint32Array(1)
export const MAX_INT32 = 0x7fffffff

export abstract class ColumnBuilder {
  /** 1 where the row has a value. */
  valid: Uint8Array = EMPTY_BYTES
  /** Rows that the arrays have room for. */
  capacity = 0
  readonly type: ColumnType
  /** Name for messages: `address.street`, `tags[]`. */
  readonly path: string

  constructor(type: ColumnType, path: string) {
    this.type = type
    this.path = path
  }

  /** Bytes of its arrays. */
  get heldBytes(): number {
    return this.valid.byteLength
  }

  /** Empties the builder and makes room for `capacity` rows. Arrays are used again where they fit. */
  reset(capacity: number): void {
    if (capacity <= this.capacity && this.capacity <= 4 * capacity + 1024) this.valid.fill(0)
    else {
      this.valid = new Uint8Array(capacity)
      this.capacity = capacity
    }
  }

  /** Gives up the arrays; the next `reset` makes new ones. */
  release(): void {
    this.valid = EMPTY_BYTES
    this.capacity = 0
  }

  /** Makes room for `capacity` rows and keeps what is there. */
  grow(capacity: number): void {
    this.capacity = capacity
    const valid = new Uint8Array(capacity)
    valid.set(this.valid)
    this.valid = valid
  }

  /** Makes a row null again and takes back what it appended; only the last row may have appended something. */
  abstract clear(row: number): void
  /** Of an array's items: forgets the rows `from` to `to`. */
  abstract truncate(from: number, to: number): void
  /** Remembers where the next row begins, for {@link utf8SinceMark}. */
  mark(): void {}
  /** Whether the text of the rows `from` to `to`, all appended since the mark, is UTF-8. */
  utf8SinceMark(_from: number, _to: number): boolean {
    return true
  }
  /** The first `rows` rows as Arrow data, or null where a text is not valid UTF-8. */
  abstract finish(rows: number): Data | null

  protected validity(rows: number): { nullCount: number; nullBitmap: Uint8Array | null } {
    return packValidity(this.valid, rows)
  }
}

/** Packs bytes of 0 or 1 to a bitmap, and counts the zeros; no bitmap where there are none. */
export function packValidity(bytes: Uint8Array, rows: number): { nullCount: number; nullBitmap: Uint8Array | null } {
  const bits = packBits(bytes, rows)
  let ones = 0
  for (let i = 0; i < rows; i++) ones += bytes[i] as number
  return ones === rows ? { nullCount: 0, nullBitmap: null } : { nullCount: rows - ones, nullBitmap: bits }
}

export function packBits(bytes: Uint8Array, rows: number): Uint8Array {
  const bits = new Uint8Array(((rows + 63) >> 6) << 3)
  const whole = rows >> 3
  for (let i = 0, at = 0; i < whole; i++, at += 8) {
    bits[i] =
      (bytes[at] as number) |
      ((bytes[at + 1] as number) << 1) |
      ((bytes[at + 2] as number) << 2) |
      ((bytes[at + 3] as number) << 3) |
      ((bytes[at + 4] as number) << 4) |
      ((bytes[at + 5] as number) << 5) |
      ((bytes[at + 6] as number) << 6) |
      ((bytes[at + 7] as number) << 7)
  }
  for (let i = whole << 3; i < rows; i++) bits[i >> 3] = (bits[i >> 3] as number) | ((bytes[i] as number) << (i & 7))
  return bits
}

/** Bytes of one value. byte and short are kept as 32-bit numbers until `finish`. */
function widthOf(type: ColumnType): number {
  switch (type.kind) {
    case 'boolean':
      return 1
    case 'long':
    case 'double':
    case 'timestamp':
      return 8
    case 'decimal':
      return 16
    default:
      return 4
  }
}

/** Numbers, booleans, dates, timestamps, decimals. 64-bit values are two 32-bit halves of `i32`, the low one first. */
export class FixedBuilder extends ColumnBuilder {
  i32: Int32Array = EMPTY_INTS
  u8: Uint8Array = EMPTY_BYTES
  readonly #width: number

  constructor(type: ColumnType, path: string) {
    super(type, path)
    this.#width = widthOf(type)
  }

  override get heldBytes(): number {
    return super.heldBytes + this.u8.byteLength
  }

  override reset(capacity: number): void {
    super.reset(capacity)
    if (this.u8.length !== this.capacity * this.#width) this.#allocate()
  }

  override release(): void {
    super.release()
    this.u8 = EMPTY_BYTES
    this.i32 = EMPTY_INTS
  }

  #allocate(): void {
    const buffer = new ArrayBuffer(this.capacity * this.#width)
    this.u8 = new Uint8Array(buffer)
    this.i32 = this.#width === 1 ? EMPTY_INTS : new Int32Array(buffer)
  }

  override grow(capacity: number): void {
    super.grow(capacity)
    const before = this.u8
    this.#allocate()
    this.u8.set(before)
  }

  override clear(row: number): void {
    this.valid[row] = 0
  }

  override truncate(from: number, to: number): void {
    this.valid.fill(0, from, to)
  }

  override finish(rows: number): Data {
    const type = arrowType(this.type)
    const { nullCount, nullBitmap } = this.validity(rows)
    return makeData({ type, length: rows, nullCount, nullBitmap, data: this.#values(rows) } as never) as Data
  }

  #values(rows: number): unknown {
    const { buffer } = this.u8
    switch (this.type.kind) {
      case 'boolean':
        return packBits(this.u8, rows)
      case 'byte':
        return Int8Array.from(this.i32.subarray(0, rows))
      case 'short':
        return Int16Array.from(this.i32.subarray(0, rows))
      case 'long':
      case 'timestamp':
        return new BigInt64Array(buffer, 0, rows)
      case 'float':
        return new Float32Array(buffer, 0, rows)
      case 'double':
        return new Float64Array(buffer, 0, rows)
      case 'decimal':
        return new Uint32Array(buffer, 0, rows * 4)
      default:
        return this.i32.subarray(0, rows)
    }
  }
}

/** What the builders of variable length share: offsets, and where the current row's value begins. */
export abstract class OffsetsBuilder extends ColumnBuilder {
  offsets: Uint32Array = EMPTY_OFFSETS
  /** Length before `startRow`'s value was appended. */
  start = 0
  startRow = -1

  override get heldBytes(): number {
    return super.heldBytes + this.offsets.byteLength
  }

  override reset(capacity: number): void {
    super.reset(capacity)
    if (this.offsets.length === this.capacity + 1) this.offsets.fill(0)
    else this.offsets = new Uint32Array(this.capacity + 1)
    this.start = 0
    this.startRow = -1
  }

  override release(): void {
    super.release()
    this.offsets = EMPTY_OFFSETS
  }

  override grow(capacity: number): void {
    super.grow(capacity)
    const offsets = new Uint32Array(capacity + 1)
    offsets.set(this.offsets)
    this.offsets = offsets
  }

  /** Takes back what was appended beyond a length. */
  protected abstract cutTo(length: number): void

  override clear(row: number): void {
    if (this.startRow === row) {
      this.cutTo(this.start)
      this.startRow = -1
    }
    this.valid[row] = 0
    this.offsets[row + 1] = 0
  }

  override truncate(from: number, to: number): void {
    this.cutTo(this.#lengthBefore(from))
    this.valid.fill(0, from, to)
    this.offsets.fill(0, from + 1, to + 1)
  }

  /** The length before row `row`: the last offset written before it. */
  #lengthBefore(row: number): number {
    for (let i = row; i > 0; i--) if (this.offsets[i] !== 0) return this.offsets[i] as number
    return 0
  }

  /** Carries the offsets forward over rows that wrote none. */
  protected closedOffsets(rows: number): Uint32Array {
    const { offsets } = this
    let last = 0
    for (let i = 1; i <= rows; i++) {
      const at = offsets[i] as number
      if (at < last) offsets[i] = last
      else last = at
    }
    return offsets
  }
}

/** Text and bytes. */
export class BytesBuilder extends OffsetsBuilder {
  data: Uint8Array = EMPTY_BYTES
  length = 0
  #marked = 0
  #lastLength = 0

  override get heldBytes(): number {
    return super.heldBytes + this.data.byteLength
  }

  override reset(capacity: number): void {
    super.reset(capacity)
    const wanted = Math.max(1024, Math.ceil(this.#lastLength * 1.25))
    if (this.data.length < wanted || this.data.length > 4 * wanted + 65536) this.data = new Uint8Array(wanted)
    this.length = 0
  }

  override release(): void {
    super.release()
    this.data = EMPTY_BYTES
  }

  /** Makes room for `length` bytes in all. */
  growData(length: number): void {
    if (length > 0xffffffff) {
      throw new KafkaToDeltaError(
        'BAD_RECORD',
        `the column ${this.path} exceeds 4 GiB in one batch: lower the batch's size`,
        { column: this.path },
      )
    }
    const data = new Uint8Array(Math.min(0xffffffff, Math.max(length, this.data.length * 2)))
    data.set(this.data.subarray(0, this.length))
    this.data = data
  }

  protected override cutTo(length: number): void {
    this.length = length
  }

  override mark(): void {
    this.#marked = this.length
  }

  override utf8SinceMark(from: number, to: number): boolean {
    if (this.type.kind !== 'string') return true
    if (!isUtf8(this.data.subarray(this.#marked, this.length))) return false
    let at = this.#marked
    for (let row = from + 1; row <= to; row++) {
      const end = this.offsets[row] as number
      if (end <= at) continue
      // Slicing may split a UTF-8 character, so the start of each item is checked too.
      if (((this.data[at] as number) & 0xc0) === 0x80) return false
      at = end
    }
    return true
  }

  override finish(rows: number): Data | null {
    this.#lastLength = this.length
    const offsets = this.closedOffsets(rows)
    const data = this.data.subarray(0, this.length)
    const text = this.type.kind === 'string'
    if (text && !validText(data, offsets, rows)) return null
    const { nullCount, nullBitmap } = this.validity(rows)
    const common = { length: rows, nullCount, nullBitmap, data }
    if (this.length > MAX_INT32) {
      const valueOffsets = BigInt64Array.from(offsets.subarray(0, rows + 1), BigInt)
      const type = text ? new LargeUtf8() : new LargeBinary()
      return makeData({ ...common, type, valueOffsets } as never) as Data
    }
    const valueOffsets = new Int32Array(offsets.buffer, 0, rows + 1)
    return makeData({ ...common, type: text ? new Utf8() : new Binary(), valueOffsets } as never) as Data
  }
}

/** Whether every value is UTF-8: the whole is, and no value begins inside a character. */
export function validText(data: Uint8Array, offsets: Uint32Array, rows: number): boolean {
  if (!isUtf8(data)) return false
  for (let i = 0; i < rows; i++) if (((data[offsets[i] as number] as number) & 0xc0) === 0x80) return false
  return true
}
