/** avsc with longs of 64 bits: its own are numbers, and throw beyond 2^53. */

import avsc from 'avsc'

/** Longs as BigInt. */
export const bigLong = avsc.types.LongType.__with({
  fromBuffer: (bytes: Buffer) => bytes.readBigInt64LE(),
  toBuffer: (value: bigint) => {
    const bytes = Buffer.alloc(8)
    bytes.writeBigInt64LE(value)
    return bytes
  },
  fromJSON: BigInt,
  toJSON: String,
  isValid: (value: unknown) => typeof value === 'bigint',
  compare: (a: bigint, b: bigint) => (a < b ? -1 : a > b ? 1 : 0),
})

/** A type with such longs. Values of unions are objects with the branch's name, so that they tell which one it is. */
export function wrappedType(schema: unknown): avsc.Type {
  return avsc.Type.forSchema(
    schema as never,
    {
      registry: {},
      wrapUnions: 'always',
      typeHook: (json: unknown) =>
        json === 'long' || (json as { type?: unknown } | null)?.type === 'long' ? bigLong : undefined,
    } as never,
  )
}
