/** Makes columns of messages that a client gave as objects: a `Kafka` that the user made, and tests. */

import type { RawMessage } from './raw-message.js'
import { Records } from './records.js'
import { putInt } from './varints.js'

type Header = readonly [name: string, value: Buffer | null]

/** Copies all bytes. A key, a value and the headers of a message lie one after the other. */
export function packRecords(messages: readonly RawMessage[]): Records {
  const parts: Uint8Array[] = []
  let end = 0
  const add = (part: Uint8Array): number => {
    const start = end
    parts.push(part)
    end += part.length
    return start
  }
  const places: number[] = []
  for (const { key, value, headers } of messages) {
    const keyAt = key === null ? -1 : add(key)
    const keyEnd = key === null ? -1 : end
    const valueAt = value === null ? -1 : add(value)
    const valueEnd = value === null ? -1 : end
    const listed = headers === undefined ? [] : listHeaders(headers)
    places.push(keyAt, keyEnd, valueAt, valueEnd, listed.length === 0 ? -1 : end)
    if (listed.length > 0) addHeaders(listed, add)
  }
  const bytes = Buffer.allocUnsafeSlow(end)
  let at = 0
  for (const part of parts) {
    bytes.set(part, at)
    at += part.length
  }
  const records = new Records(bytes, messages.length)
  for (const [i, { offset, timestamp }] of messages.entries()) {
    records.offsets[i] = BigInt(offset)
    records.timestamps[i] = /^\d+$/.test(timestamp) ? BigInt(timestamp) : -1n
  }
  records.places.set(places)
  return records
}

function listHeaders(headers: NonNullable<RawMessage['headers']>): Header[] {
  return Object.entries(headers).flatMap(([name, given]) =>
    (Array.isArray(given) ? given.filter(isValue) : [given ?? null]).map((value): Header => {
      return [name, typeof value === 'string' ? Buffer.from(value) : value]
    }),
  )
}

/** Of a header named as a property of every object, kafkajs gives that property as the first value. */
function isValue(value: unknown): value is Buffer | string | null {
  return value === null || typeof value === 'string' || Buffer.isBuffer(value)
}

function addHeaders(headers: readonly Header[], add: (part: Uint8Array) => number): void {
  const addSized = (bytes: Buffer | null, before: number[] = []) => {
    putInt(before, bytes === null ? -1 : bytes.length)
    add(Uint8Array.from(before))
    if (bytes !== null) add(bytes)
  }
  headers.forEach(([name, value], i) => {
    const before: number[] = []
    if (i === 0) putInt(before, headers.length)
    addSized(Buffer.from(name), before)
    addSized(value)
  })
}
