/** Ways of breaking bytes that a decoder meets: cut, flipped, inserted, spliced, and numbers that lie. */

import type { Random } from '../helpers/random.js'

/** An int or long as Avro writes it. */
export function varint(value: bigint): Buffer {
  let rest = BigInt.asUintN(64, (value << 1n) ^ (value >> 63n))
  const bytes: number[] = []
  for (; rest > 127n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128)
  bytes.push(Number(rest))
  return Buffer.from(bytes)
}

/** Numbers that are lengths, counts and branches where they should not be: huge, negative, longer than needed. */
export const LYING_NUMBERS: Buffer[] = [
  ...[0n, 1n, -1n, -2n, 2n, 63n, -64n, 64n, 1000n, 2n ** 20n, 2n ** 31n - 1n, 2n ** 31n, -(2n ** 31n), 2n ** 32n].map(
    varint,
  ),
  ...[2n ** 53n, 2n ** 62n, 2n ** 63n - 1n, -(2n ** 63n), -(2n ** 63n) + 1n].map(varint),
  Buffer.from('8000', 'hex'),
  Buffer.from('80808000', 'hex'),
  Buffer.from('82808080808080808000', 'hex'),
  Buffer.from('ffffffffffffffffff01', 'hex'),
  Buffer.from('ffffffffffffffffff7f', 'hex'),
  Buffer.from('ffffffffffffffffffffffffff01', 'hex'),
  Buffer.from('80'.repeat(40), 'hex'),
]

/** What is no UTF-8: lone and missing continuations, surrogates, overlong forms, beyond Unicode. */
export const BAD_TEXTS: Buffer[] = [
  '80',
  'c3',
  'c328',
  'eda080',
  'c080',
  'e08080',
  'f08080',
  'f5808080',
  'ff',
  'fe',
].map((hex) => Buffer.from(hex, 'hex'))

function replaced(bytes: Buffer, at: number, remove: number, insert: Uint8Array): Buffer {
  return Buffer.concat([bytes.subarray(0, at), insert, bytes.subarray(at + remove)])
}

/** One random change of the bytes from `from` on. `others` are messages to take pieces from. */
export function mutate(bytes: Buffer, from: number, random: Random, others: readonly Buffer[]): Buffer {
  const length = bytes.length - from
  const at = from + random.below(length + 1)
  const inside = from + random.below(Math.max(1, length))
  switch (random.below(9)) {
    case 0:
      return bytes.subarray(0, at)
    case 1:
    case 2: {
      const copy = Buffer.from(bytes)
      if (inside < copy.length) copy[inside] = (copy[inside] as number) ^ (1 << random.below(8))
      return copy
    }
    case 3:
      return replaced(bytes, at, 0, random.bytes(1 + random.below(8)))
    case 4:
      return replaced(bytes, at, 1 + random.below(8), Buffer.alloc(0))
    case 5: {
      const other = random.pick(others)
      const start = Math.min(from, other.length)
      const piece = other.subarray(start + random.below(other.length - start + 1))
      return replaced(bytes, at, random.pick([0, piece.length, length]), piece)
    }
    case 6:
      return replaced(bytes, inside, 1, random.pick(LYING_NUMBERS))
    case 7:
      return replaced(bytes, inside, random.below(2), random.pick(BAD_TEXTS))
    default: {
      const copy = Buffer.from(bytes)
      for (let i = 0; i < 3; i++) if (length > 0) copy[from + random.below(length)] = random.pick([0, 0x7f, 0x80, 0xff])
      return copy
    }
  }
}
