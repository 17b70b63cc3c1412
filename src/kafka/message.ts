/** One message among others: a place that moves, so that reading all of them makes no object for each. */

import { findHeader, readHeaders } from './headers.js'
import type { RawMessage } from './raw-message.js'
import { bigAt, numberAt, PLACES, type Sliced } from './records.js'

const NO_BYTES = Buffer.alloc(0)
const NO_WORDS = new Int32Array(0)

export class Message implements RawMessage {
  /** What the key and the value lie in, with others: what is read has to end where they end. */
  keyBytes: Buffer = NO_BYTES
  valueBytes: Buffer = NO_BYTES
  /** -1 where the key is null. */
  keyStart = -1
  keyEnd = -1
  /** -1 where the value is null. */
  valueStart = -1
  valueEnd = -1
  /** -1 where there are none. */
  #headersAt = -1
  #bytes: Buffer = NO_BYTES
  #messages: Sliced | null = null
  /** What is known of the slice that it is in: the numbers of its messages, and what lies between them and its records. */
  #first = 0
  #end = 0
  #shift = 0
  #at = 0
  #places: Int32Array = NO_WORDS
  #offsetWords: Int32Array = NO_WORDS
  #timestampWords: Int32Array = NO_WORDS

  /** Moves to another message. */
  moveTo(messages: Sliced, index: number): this {
    if (messages !== this.#messages || index < this.#first || index >= this.#end) this.#enter(messages, index)
    const at = index + this.#shift
    const place = PLACES * at
    const places = this.#places
    this.#at = at
    this.keyStart = places[place] as number
    this.keyEnd = places[place + 1] as number
    this.valueStart = places[place + 2] as number
    this.valueEnd = places[place + 3] as number
    this.#headersAt = places[place + 4] as number
    return this
  }

  #enter(messages: Sliced, index: number): void {
    const { records, from, to, first } = messages.sliceOf(index)
    this.#messages = messages
    this.#first = first
    this.#end = first + to - from
    this.#shift = from - first
    this.#bytes = records.bytes
    this.keyBytes = records.bytes
    this.valueBytes = records.bytes
    this.#places = records.places
    this.#offsetWords = records.offsetWords
    this.#timestampWords = records.timestampWords
  }

  /** The message at this place, which stays here. */
  still(): Message {
    return this.#messages === null ? this : new Message().moveTo(this.#messages, this.#at - this.#shift)
  }

  /** The same message with a key and a value that end where their buffers do: nothing of others can be read beyond them. */
  apart(): Message {
    const apart = this.still()
    const { key, value } = this
    if (key !== null) {
      apart.keyBytes = Buffer.from(key)
      apart.keyStart = 0
      apart.keyEnd = key.length
    }
    if (value !== null) {
      apart.valueBytes = Buffer.from(value)
      apart.valueStart = 0
      apart.valueEnd = value.length
    }
    return apart
  }

  get hasKey(): boolean {
    return this.keyStart >= 0
  }

  get hasValue(): boolean {
    return this.valueStart >= 0
  }

  /** Bytes of the key and the value. */
  get size(): number {
    return this.keyEnd - this.keyStart + this.valueEnd - this.valueStart
  }

  get hasHeaders(): boolean {
    return this.#headersAt >= 0
  }

  /** The value of a header, of several with this name the last one; undefined where there is none. */
  header(name: string): Buffer | null | undefined {
    return this.#headersAt < 0 ? undefined : findHeader(this.#bytes, this.#headersAt, name)
  }

  /** Milliseconds since 1970; -1 where the message has no time. */
  get time(): number {
    return numberAt(this.#timestampWords, this.#at)
  }

  /** The same, exactly. */
  get exactTime(): bigint {
    return bigAt(this.#timestampWords, this.#at)
  }

  get position(): bigint {
    return bigAt(this.#offsetWords, this.#at)
  }

  /** As text, as clients give it. */
  get offset(): string {
    return String(this.position)
  }

  get timestamp(): string {
    return String(this.exactTime)
  }

  get key(): Buffer | null {
    return this.keyStart < 0 ? null : this.keyBytes.subarray(this.keyStart, this.keyEnd)
  }

  get value(): Buffer | null {
    return this.valueStart < 0 ? null : this.valueBytes.subarray(this.valueStart, this.valueEnd)
  }

  /** All headers by their names; several with one name are an array. */
  get headers(): Record<string, Buffer | null | (Buffer | null)[]> {
    return this.#headersAt < 0 ? {} : readHeaders(this.#bytes, this.#headersAt)
  }
}
