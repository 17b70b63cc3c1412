/**
 * Records of one partition as columns: their bytes lie in one buffer, and the columns tell where. A fetch brings thousands of
 * records, of which most are read once: an object for each one would cost more than all else that is done with it.
 */

/** Bytes that the columns take for each record. */
export const COLUMN_BYTES = 36

/** Numbers of {@link Records.places} for each record. */
export const PLACES = 5

/** Beyond that a place is no number of 32 bits. */
const MAX_BYTES = 2 ** 31 - 1

/** How much of its buffer a part has to fill, so that it is kept as it is and not copied. */
const MIN_FILL = 0.5

export class Records {
  /** Keys, values and headers. */
  readonly bytes: Buffer
  readonly length: number
  readonly offsets: BigInt64Array
  /** Milliseconds since 1970; -1 where a record has none. */
  readonly timestamps: BigInt64Array
  /** The same numbers as two words each, the low one first. */
  readonly offsetWords: Int32Array
  readonly timestampWords: Int32Array
  /**
   * Of each record: where its key begins and ends, where its value does, and where its headers begin. A key or value that is
   * null begins at -1, and so do headers that there are none of.
   */
  readonly places: Int32Array

  /** @param places those of other records with the same bytes, offsets and timestamps: `like` */
  constructor(bytes: Buffer, length: number, like?: { records: Records; places: Int32Array }) {
    this.bytes = bytes
    this.length = length
    if (like) {
      const { records, places } = like
      this.offsets = records.offsets
      this.timestamps = records.timestamps
      this.offsetWords = records.offsetWords
      this.timestampWords = records.timestampWords
      this.places = places
      return
    }
    const columns = new ArrayBuffer(length * COLUMN_BYTES)
    this.offsets = new BigInt64Array(columns, 0, length)
    this.timestamps = new BigInt64Array(columns, 8 * length, length)
    this.offsetWords = new Int32Array(columns, 0, 2 * length)
    this.timestampWords = new Int32Array(columns, 8 * length, 2 * length)
    this.places = new Int32Array(columns, 16 * length, PLACES * length)
  }

  /** What it keeps in memory beside the columns: a part of a buffer keeps all of it. */
  get heldBytes(): number {
    return this.bytes.buffer.byteLength
  }
}

/** Records `from` to `to` (exclusive), which are the messages from the one with the number `first` on. */
export interface Slice {
  readonly records: Records
  readonly from: number
  readonly to: number
  readonly first: number
}

/** Messages that lie in slices of records. */
export interface Sliced {
  /** The slice that the message with this number lies in. */
  sliceOf(index: number): Slice
}

/** Reads a number out of words; beyond 2^53 it is rounded. */
export function numberAt(words: Int32Array, at: number): number {
  return (words[2 * at + 1] as number) * 2 ** 32 + ((words[2 * at] as number) >>> 0)
}

export function bigAt(words: Int32Array, at: number): bigint {
  return (BigInt(words[2 * at + 1] as number) << 32n) | BigInt((words[2 * at] as number) >>> 0)
}

/** The parts as one buffer, which keeps little in memory beside them: see {@link MIN_FILL}. */
export function together(parts: readonly Buffer[]): Buffer {
  const [only] = parts
  if (parts.length === 1 && only && only.length >= only.buffer.byteLength * MIN_FILL) return only
  const size = parts.reduce((sum, { length }) => sum + length, 0)
  if (size > MAX_BYTES) throw new RangeError(`${size} bytes of records, fetched of one partition at a time`)
  const all = Buffer.allocUnsafeSlow(size)
  let end = 0
  for (const part of parts) {
    all.set(part, end)
    end += part.length
  }
  return all
}
