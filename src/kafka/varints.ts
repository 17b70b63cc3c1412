/**
 * The variable-length numbers of Kafka's records (https://kafka.apache.org/protocol#protocol_types: VARINT, VARLONG): seven
 * bits in a byte, the lowest first, zigzag.
 */

/** Bytes that are no record. */
export class CorruptRecords extends Error {
  override readonly name = 'CorruptRecords'
}

/** Reads one number after another. Reading never passes `end`. */
export class VarintReader {
  readonly bytes: Buffer
  pos: number
  end: number

  constructor(bytes: Buffer, pos = 0, end = bytes.length) {
    this.bytes = bytes
    this.pos = pos
    this.end = end
  }

  byte(): number {
    if (this.pos >= this.end) throw new CorruptRecords('a record ends within a number')
    return this.bytes[this.pos++] as number
  }

  /** A number of 32 bits. */
  int(): number {
    let byte = this.byte()
    let raw = byte & 0x7f
    for (let shift = 7; byte > 0x7f; shift += 7) {
      if (shift > 28) throw new CorruptRecords('a number of more than 32 bits')
      byte = this.byte()
      raw |= (byte & 0x7f) << shift
    }
    return (raw >>> 1) ^ -(raw & 1)
  }

  /** A number of 64 bits; as a bigint where it may be none that a double has exactly. */
  long(): number | bigint {
    const { pos } = this
    let raw = 0
    let scale = 1
    let byte = 0
    for (let n = 0; n < 7; n++) {
      byte = this.byte()
      raw += (byte & 0x7f) * scale
      if (byte <= 0x7f) return raw % 2 === 0 ? raw / 2 : -(raw + 1) / 2
      scale *= 128
    }
    this.pos = pos
    return this.#bigLong()
  }

  #bigLong(): bigint {
    let raw = 0n
    let byte = 0x80
    for (let shift = 0n; byte > 0x7f; shift += 7n) {
      if (shift > 63n) throw new CorruptRecords('a number of more than 64 bits')
      byte = this.byte()
      raw |= BigInt(byte & 0x7f) << shift
    }
    raw = BigInt.asUintN(64, raw)
    return (raw >> 1n) ^ -(raw & 1n)
  }

  /** Reads a length and passes over so many bytes: where they begin, or -1 for null. They end at `pos`. */
  bytesAt(): number {
    const length = this.int()
    if (length < 0) return -1
    const start = this.pos
    if (length > this.end - start) throw new CorruptRecords('a record ends within its bytes')
    this.pos = start + length
    return start
  }
}

/** Writes numbers of 32 bits. */
export function putInt(to: number[], value: number): void {
  let raw = ((value << 1) ^ (value >> 31)) >>> 0
  while (raw > 0x7f) {
    to.push((raw & 0x7f) | 0x80)
    raw >>>= 7
  }
  to.push(raw)
}
