/** Messages of one partition, as columns. They are read one after another by a {@link Message}, which moves over them. */

import { Message } from './message.js'
import { packRecords } from './pack-records.js'
import type { RawMessage } from './raw-message.js'
import { numberAt, PLACES, Records, type Slice, type Sliced } from './records.js'

const NO_SLICE: Slice = { records: new Records(Buffer.alloc(0), 0), from: 0, to: 0, first: 0 }

export class Messages implements Sliced, Iterable<Message> {
  static readonly none = new Messages([])

  readonly length: number
  readonly #slices: readonly Slice[]
  /** The slice that was read last: most messages are read in their order. */
  #last: Slice

  /** Messages that a client gave as objects; copied, unless they are columns already. */
  static of(given: Messages | readonly RawMessage[]): Messages {
    if (given instanceof Messages) return given
    const records = packRecords(given)
    return new Messages([{ records, from: 0, to: records.length }])
  }

  /** The messages of several, one after the other. */
  static joined(parts: readonly Messages[]): Messages {
    const [only] = parts
    if (parts.length === 1 && only) return only
    return new Messages(parts.flatMap((part) => part.#slices))
  }

  /** Records, in the order of their offsets. */
  constructor(slices: readonly Omit<Slice, 'first'>[]) {
    let length = 0
    const filled: Slice[] = []
    for (const { records, from, to } of slices) {
      if (to <= from) continue
      filled.push({ records, from, to, first: length })
      length += to - from
    }
    this.length = length
    this.#slices = filled
    this.#last = filled[0] ?? NO_SLICE
  }

  /** @internal The slice that the message at `index` lies in. */
  sliceOf(index: number): Slice {
    const { first, from, to } = this.#last
    if (index >= first && index - first < to - from) return this.#last
    const slices = this.#slices
    const next = lowest(slices.length, (at) => (slices[at] as Slice).first > index)
    this.#last = slices[next - 1] ?? NO_SLICE
    return this.#last
  }

  /** Each message by itself. For what is rare: it makes an object of each one. */
  *[Symbol.iterator](): Generator<Message> {
    for (let index = 0; index < this.length; index++) yield new Message().moveTo(this, index)
  }

  /** One message by itself; undefined where there is none. A negative index counts from the end, as that of an array. */
  at(index: number): Message | undefined {
    const from = index < 0 ? index + this.length : index
    return from >= 0 && from < this.length ? new Message().moveTo(this, from) : undefined
  }

  offsetAt(index: number): bigint {
    const { records, from, first } = this.sliceOf(index)
    return records.offsets[index - first + from] as bigint
  }

  /** Milliseconds since 1970; -1 where the message has no time. */
  timeAt(index: number): number {
    const { records, from, first } = this.sliceOf(index)
    return numberAt(records.timestampWords, index - first + from)
  }

  /** Bytes of the key and the value. */
  sizeAt(index: number): number {
    const { records, from, first } = this.sliceOf(index)
    return sizeOf(records.places, index - first + from)
  }

  hasHeadersAt(index: number): boolean {
    const { records, from, first } = this.sliceOf(index)
    return (records.places[PLACES * (index - first + from) + 4] as number) >= 0
  }

  /** Counts the bytes of keys and values. */
  countBytes(): number {
    let bytes = 0
    for (const { records, from, to } of this.#slices) {
      for (let at = from; at < to; at++) bytes += sizeOf(records.places, at)
    }
    return bytes
  }

  /** What the messages keep in memory beside their columns: whole buffers. */
  get heldBytes(): number {
    const buffers = new Map(this.#slices.map(({ records }) => [records.bytes.buffer, records.heldBytes]))
    let bytes = 0
    for (const held of buffers.values()) bytes += held
    return bytes
  }

  /** Messages `from` to `to` (exclusive). */
  slice(from: number, to = this.length): Messages {
    if (from <= 0 && to >= this.length) return this
    return new Messages(
      this.#slices.map((slice) => ({
        records: slice.records,
        from: slice.from + Math.max(0, from - slice.first),
        to: Math.min(slice.to, slice.from + to - slice.first),
      })),
    )
  }

  /** The number of the first message whose offset is not below; `length` where there is none. */
  indexOf(offset: bigint): number {
    return lowest(this.length, (index) => this.offsetAt(index) >= offset)
  }

  /** The messages from an offset on. */
  from(offset: bigint): Messages {
    return this.slice(this.indexOf(offset))
  }

  /** The messages before an offset. */
  before(offset: bigint): Messages {
    return this.slice(0, this.indexOf(offset))
  }

  /** The same messages, but for values that are null instead. */
  withNulls(isNull: (index: number) => boolean): Messages {
    const slices = this.#slices.map((slice) => {
      const { records, from, to, first } = slice
      let places: Int32Array | null = null
      for (let at = from; at < to; at++) {
        if (!isNull(at - from + first)) continue
        places ??= Int32Array.from(records.places)
        places[PLACES * at + 2] = -1
        places[PLACES * at + 3] = -1
      }
      if (places === null) return slice
      return { ...slice, records: new Records(records.bytes, records.length, { records, places }) }
    })
    return new Messages(slices)
  }
}

/** A key or value that is null begins and ends at -1. */
function sizeOf(places: Int32Array, at: number): number {
  const place = PLACES * at
  const key = (places[place + 1] as number) - (places[place] as number)
  return key + (places[place + 3] as number) - (places[place + 2] as number)
}

/** The lowest number below `end` of which `holds` is true, and so is of all above it; `end` where there is none. */
function lowest(end: number, holds: (at: number) => boolean): number {
  let low = 0
  let high = end
  while (low < high) {
    const middle = (low + high) >>> 1
    if (holds(middle)) high = middle
    else low = middle + 1
  }
  return low
}
