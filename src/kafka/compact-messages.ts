/**
 * What messages hold in memory. Their keys, values and headers are slices of what was fetched, and a slice keeps its whole
 * buffer: a small message of a quiet topic would keep megabytes of the busy ones that were fetched with it.
 */

import type { RawMessage } from './micro-batch.js'
import { HEADER_OVERHEAD } from './options.js'

type Slice = Buffer<ArrayBufferLike>

/** How much of a buffer its slices have to fill, so that it is kept as it is. */
const MIN_FILL = 0.5

/**
 * Copies the slices of sparsely used buffers together, in place, and gives the bytes that the messages hold from then on:
 * copied slices, whole buffers, and what each header takes beside its value.
 */
export function compactMessages(messages: readonly RawMessage[]): number {
  const used = new Map<ArrayBufferLike, number>()
  let buffer: ArrayBufferLike | null = null
  let bytes = 0
  let numHeaders = 0
  const count = (slice: Slice) => {
    if (slice.buffer !== buffer) {
      if (buffer !== null) used.set(buffer, bytes)
      buffer = slice.buffer
      bytes = used.get(buffer) ?? 0
    }
    bytes += slice.length
  }
  for (const { key, value, headers } of messages) {
    if (key !== null) count(key)
    if (value !== null) count(value)
    if (headers !== undefined) numHeaders += eachHeader(headers, count)
  }
  if (buffer !== null) used.set(buffer, bytes)
  return numHeaders * HEADER_OVERHEAD + settleBuffers(messages, used)
}

/** Gives the bytes of the buffers that stay and of the copies that are made. */
function settleBuffers(messages: readonly RawMessage[], used: ReadonlyMap<ArrayBufferLike, number>): number {
  let whole = 0
  let copied = 0
  const sparse = new Set<ArrayBufferLike>()
  for (const [buffer, bytes] of used) {
    if (bytes >= buffer.byteLength * MIN_FILL) whole += buffer.byteLength
    else {
      sparse.add(buffer)
      copied += bytes
    }
  }
  if (sparse.size > 0) copyTogether(messages, sparse, copied)
  return whole + copied
}

function copyTogether(messages: readonly RawMessage[], sparse: ReadonlySet<ArrayBufferLike>, bytes: number): void {
  const slab = Buffer.allocUnsafeSlow(bytes)
  let end = 0
  const moved = <T extends Slice | null>(slice: T): T => {
    if (slice === null || !sparse.has(slice.buffer)) return slice
    slab.set(slice, end)
    const start = end
    end += slice.length
    return slab.subarray(start, end) as unknown as T
  }
  for (const message of messages) {
    message.key = moved(message.key)
    message.value = moved(message.value)
    if (message.headers === undefined) continue
    for (const [name, given] of Object.entries(message.headers)) {
      if (Array.isArray(given)) message.headers[name] = given.map((one) => (Buffer.isBuffer(one) ? moved(one) : one))
      else if (Buffer.isBuffer(given)) message.headers[name] = moved(given)
    }
  }
}

/** Calls `then` for the value of each header, and gives the number of headers. */
function eachHeader(headers: NonNullable<RawMessage['headers']>, then: (value: Slice) => void): number {
  let count = 0
  for (const name in headers) {
    const given = headers[name]
    if (Array.isArray(given)) {
      count += given.length
      for (const one of given) if (Buffer.isBuffer(one)) then(one)
    } else {
      count++
      if (Buffer.isBuffer(given)) then(given)
    }
  }
  return count
}
