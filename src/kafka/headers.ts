/** Headers of a record, in the bytes of the record: their number, then name and value of each one. */

import { VarintReader } from './varints.js'

/** The bytes of names that are looked for. */
const names = new Map<string, Buffer>()

function bytesOf(name: string): Buffer {
  let bytes = names.get(name)
  if (!bytes) {
    bytes = Buffer.from(name)
    names.set(name, bytes)
  }
  return bytes
}

/** The value of a header, of several with this name the last one; undefined where there is none. */
export function findHeader(bytes: Buffer, at: number, name: string): Buffer | null | undefined {
  const wanted = bytesOf(name)
  const reader = new VarintReader(bytes, at)
  let found: Buffer | null | undefined
  for (let left = reader.int(); left > 0; left--) {
    const nameAt = reader.bytesAt()
    const nameEnd = reader.pos
    const valueAt = reader.bytesAt()
    if (nameEnd - nameAt !== wanted.length || wanted.compare(bytes, nameAt, nameEnd) !== 0) continue
    found = valueAt < 0 ? null : bytes.subarray(valueAt, reader.pos)
  }
  return found
}

/** All headers by their names, of which one may be that of a property of every object. */
export function readHeaders(bytes: Buffer, at: number): Record<string, Buffer | null | (Buffer | null)[]> {
  const reader = new VarintReader(bytes, at)
  const headers = new Map<string, Buffer | null | (Buffer | null)[]>()
  for (let left = reader.int(); left > 0; left--) {
    const nameAt = reader.bytesAt()
    const name = bytes.toString('utf8', nameAt, reader.pos)
    const valueAt = reader.bytesAt()
    const value = valueAt < 0 ? null : bytes.subarray(valueAt, reader.pos)
    const before = headers.get(name)
    if (before === undefined) headers.set(name, value)
    else headers.set(name, Array.isArray(before) ? [...before, value] : [before, value])
  }
  return Object.fromEntries(headers)
}

/** Passes over headers: throws where they reach beyond the record. */
export function skipHeaders(reader: VarintReader, count: number): void {
  for (let left = count; left > 0; left--) {
    reader.bytesAt()
    reader.bytesAt()
  }
}
