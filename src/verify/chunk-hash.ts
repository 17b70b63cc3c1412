/** The hash of a chunk's rows, from the Delta table. */

import { hash } from 'node:crypto'
import type { Table, Vector } from 'apache-arrow'
import type { Cells } from './database-text.js'

/** A chunk's hash: the sums of the halves of its rows' hashes, each modulo 2^64. */
export function hashText(high: bigint, low: bigint): string {
  return [high, low].map((half) => BigInt.asUintN(64, half).toString(16).padStart(16, '0')).join('')
}

/** Whether there are MD5s here: a FIPS mode may refuse them. */
export function canHash(): boolean {
  try {
    return hash('md5', '') !== ''
  } catch {
    return false
  }
}

/** Rows of which the sums of 32 bits are exact. */
const EXACT_ROWS = 1 << 20

/** Sums of MD5s, whatever their order. */
class HashSum {
  /** Sums of 32 bits, the highest first. */
  readonly #sums = new Float64Array(4)
  #left = EXACT_ROWS
  #high = 0n
  #low = 0n
  #bytes = Buffer.allocUnsafe(1 << 16)

  /** @param text one character a byte */
  add(text: string): void {
    if (text.length > this.#bytes.length) this.#bytes = Buffer.allocUnsafe(2 * text.length)
    const length = this.#bytes.write(text, 0, 'binary')
    const digest = hash('md5', this.#bytes.subarray(0, length), 'binary')
    for (let i = 0; i < 4; i++) {
      const at = 4 * i
      const word =
        digest.charCodeAt(at) * 0x1000000 +
        ((digest.charCodeAt(at + 1) << 16) | (digest.charCodeAt(at + 2) << 8) | digest.charCodeAt(at + 3))
      this.#sums[i] = (this.#sums[i] as number) + word
    }
    if (--this.#left === 0) this.#carry()
  }

  #carry(): void {
    const [a, b, c, d] = Array.from(this.#sums, BigInt) as [bigint, bigint, bigint, bigint]
    this.#high += (a << 32n) + b
    this.#low += (c << 32n) + d
    this.#sums.fill(0)
    this.#left = EXACT_ROWS
  }

  toString(): string {
    this.#carry()
    return hashText(this.#high, this.#low)
  }
}

/** The hash of all rows, as a source computes it that makes the same texts. */
export function hashOf(table: Table, cells: readonly Cells[]): string {
  const sum = new HashSum()
  for (const batch of table.batches) {
    const columns = cells.map((of, i) => of(batch.getChildAt(i) as Vector))
    for (let row = 0; row < batch.numRows; row++) {
      let text = ''
      for (const cell of columns) text += cell(row)
      sum.add(text)
    }
  }
  return sum.toString()
}
