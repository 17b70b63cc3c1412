/** Reading and writing of Kafka's primitive protocol types (the non-compact ones; big endian). */

/** Bytes of a request that are not what the protocol says. The connection is closed after it. */
export class WireError extends Error {
  override readonly name = 'WireError'
}

/** Reads protocol types from a buffer; throws {@link WireError} with the position where the bytes do not suffice. */
export class WireReader {
  #position = 0
  readonly #buffer: Buffer

  constructor(buffer: Buffer) {
    this.#buffer = buffer
  }

  get remaining(): number {
    return this.#buffer.length - this.#position
  }

  #take(length: number): number {
    if (length < 0 || length > this.remaining) {
      throw new WireError(`${length} bytes wanted at byte ${this.#position}, ${this.remaining} left`)
    }
    const at = this.#position
    this.#position += length
    return at
  }

  int8(): number {
    return this.#buffer.readInt8(this.#take(1))
  }

  int16(): number {
    return this.#buffer.readInt16BE(this.#take(2))
  }

  int32(): number {
    return this.#buffer.readInt32BE(this.#take(4))
  }

  /** An INT64 as a number: offsets, timestamps and ids here stay below 2^53. */
  int64(): number {
    return Number(this.#buffer.readBigInt64BE(this.#take(8)))
  }

  boolean(): boolean {
    return this.int8() !== 0
  }

  nullableString(): string | null {
    const length = this.int16()
    if (length === -1) return null
    const at = this.#take(length)
    return this.#buffer.toString('utf8', at, at + length)
  }

  string(): string {
    const at = this.#position
    const text = this.nullableString()
    if (text === null) throw new WireError(`null at byte ${at} where text must be`)
    return text
  }

  /** A slice, not a copy. */
  nullableBytes(): Buffer | null {
    const length = this.int32()
    if (length === -1) return null
    const at = this.#take(length)
    return this.#buffer.subarray(at, at + length)
  }

  bytes(): Buffer {
    return this.nullableBytes() ?? Buffer.alloc(0)
  }

  nullableArray<T>(item: (reader: this) => T): T[] | null {
    const at = this.#position
    const length = this.int32()
    if (length === -1) return null
    // Every item takes a byte at least: a wild length must not allocate.
    if (length < 0 || length > this.remaining) throw new WireError(`array of ${length} items at byte ${at}`)
    const items: T[] = []
    for (let i = 0; i < length; i++) items.push(item(this))
    return items
  }

  array<T>(item: (reader: this) => T): T[] {
    return this.nullableArray(item) ?? []
  }
}

/** Writes protocol types. Big byte blocks are kept by reference, so a response is a list of buffers. */
export class WireWriter {
  #chunk: Buffer
  #used = 0
  readonly #done: Buffer[] = []
  #doneBytes = 0

  constructor(capacity = 256) {
    this.#chunk = Buffer.allocUnsafe(capacity)
  }

  /** Bytes written so far. */
  get size(): number {
    return this.#doneBytes + this.#used
  }

  #reserve(length: number): number {
    const at = this.#used
    if (at + length > this.#chunk.length) {
      const grown = Buffer.allocUnsafe(Math.max(this.#chunk.length * 2, at + length))
      this.#chunk.copy(grown, 0, 0, at)
      this.#chunk = grown
    }
    this.#used = at + length
    return at
  }

  int8(value: number): this {
    const at = this.#reserve(1)
    this.#chunk.writeInt8(value, at)
    return this
  }

  int16(value: number): this {
    const at = this.#reserve(2)
    this.#chunk.writeInt16BE(value, at)
    return this
  }

  int32(value: number): this {
    const at = this.#reserve(4)
    this.#chunk.writeInt32BE(value, at)
    return this
  }

  uint32(value: number): this {
    const at = this.#reserve(4)
    this.#chunk.writeUInt32BE(value, at)
    return this
  }

  int64(value: number): this {
    const at = this.#reserve(8)
    this.#chunk.writeBigInt64BE(BigInt(value), at)
    return this
  }

  boolean(value: boolean): this {
    return this.int8(value ? 1 : 0)
  }

  string(value: string | null): this {
    if (value === null) return this.int16(-1)
    const length = Buffer.byteLength(value)
    this.int16(length)
    const at = this.#reserve(length)
    this.#chunk.write(value, at, 'utf8')
    return this
  }

  bytes(value: Buffer | null): this {
    if (value === null) return this.int32(-1)
    return this.int32(value.length).raw(value)
  }

  /** The bytes themselves, copied. */
  raw(value: Buffer): this {
    const at = this.#reserve(value.length)
    value.copy(this.#chunk, at)
    return this
  }

  /** Blocks of bytes with their total length before them, not copied: they must not change afterwards. */
  blocks(values: readonly Buffer[]): this {
    let total = 0
    for (const value of values) total += value.length
    this.int32(total)
    this.#flush()
    for (const value of values) this.#done.push(value)
    this.#doneBytes += total
    return this
  }

  array<T>(items: readonly T[], write: (writer: this, item: T) => void): this {
    this.int32(items.length)
    for (const item of items) write(this, item)
    return this
  }

  /** A zigzag varint or varlong (below 2^52 in size). */
  varint(value: number): this {
    let rest = value >= 0 ? value * 2 : -value * 2 - 1
    while (rest >= 0x80) {
      // First reserve: it may replace the chunk.
      const next = this.#reserve(1)
      this.#chunk[next] = (rest % 0x80) | 0x80
      rest = Math.floor(rest / 0x80)
    }
    const at = this.#reserve(1)
    this.#chunk[at] = rest
    return this
  }

  varbytes(value: Buffer | null): this {
    if (value === null) return this.varint(-1)
    return this.varint(value.length).raw(value)
  }

  #flush(): void {
    if (this.#used === 0) return
    this.#done.push(this.#chunk.subarray(0, this.#used))
    this.#doneBytes += this.#used
    this.#chunk = Buffer.allocUnsafe(256)
    this.#used = 0
  }

  /** All that was written, as a list of buffers. */
  parts(): Buffer[] {
    this.#flush()
    return this.#done
  }

  /** All that was written, in one buffer. */
  toBuffer(): Buffer {
    const parts = this.parts()
    return parts.length === 1 && parts[0] ? parts[0] : Buffer.concat(parts)
  }
}
