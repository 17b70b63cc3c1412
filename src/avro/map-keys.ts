/** Keys of maps: Delta's maps have each key once. */

import type { BytesBuilder } from '../arrow/builders.js'
import type { ListBuilder, StructBuilder } from '../arrow/nested-builders.js'
import { fault } from './wire.js'

/** Below this many entries, comparing each with each is faster than a set. */
const FEW = 12

/** Checks that the map whose entries are the last ones of `list` has no key twice. */
export function checkMapKeys(list: ListBuilder): void {
  const count = list.count - list.start
  if (count < 2) return
  const keys = (list.child as StructBuilder).children[0] as BytesBuilder
  if (count > FEW) {
    const seen = new Set<string>()
    for (let i = list.start; i < list.count; i++) seen.add(textAt(keys, i))
    if (seen.size < count) fault('a map with the same key twice', list.path)
    return
  }
  for (let i = list.start + 1; i < list.count; i++) {
    for (let j = list.start; j < i; j++) {
      if (equal(keys, i, j)) fault('a map with the same key twice', list.path)
    }
  }
}

function textAt(keys: BytesBuilder, at: number): string {
  const start = keys.offsets[at] as number
  return Buffer.from(keys.data.buffer, keys.data.byteOffset + start, (keys.offsets[at + 1] as number) - start).toString(
    'latin1',
  )
}

function equal(keys: BytesBuilder, a: number, b: number): boolean {
  const { data, offsets } = keys
  const from = offsets[a] as number
  const other = offsets[b] as number
  const length = (offsets[a + 1] as number) - from
  if ((offsets[b + 1] as number) - other !== length) return false
  for (let i = 0; i < length; i++) if (data[from + i] !== data[other + i]) return false
  return true
}
