/** Random numbers that a seed gives again. */

/** `SEED` of the environment, or a new one. Tests name it in their titles. */
export const SEED = Number(process.env.SEED ?? Date.now() % 1_000_000_000)

/** How much more work than by default: `ROUNDS=10` does ten times as much. */
export const ROUNDS = Number(process.env.ROUNDS ?? 1)

export interface Random {
  /** From 0 to below 1. */
  next(): number
  /** A whole number from 0 to below n. */
  below(n: number): number
  pick<T>(items: readonly T[]): T
  bytes(length: number): Buffer
  /** A whole number of up to `bits` bits, of any length, of either sign. */
  signed(bits: number): bigint
}

export function generator(seed: number): Random {
  let state = seed >>> 0
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
  const below = (n: number) => Math.floor(next() * n)
  const pick = <T>(items: readonly T[]): T => items[below(items.length)] as T
  const bytes = (length: number) => Buffer.from(Array.from({ length }, () => below(256)))
  const signed = (bits: number) => {
    const length = 1 + below(bits)
    const value = BigInt(`0x0${bytes(Math.ceil(length / 8)).toString('hex')}`)
    return BigInt.asIntN(length, value)
  }
  return { next, below, pick, bytes, signed }
}
