/** What readings of both databases have in common. */

import { decimal } from '../comparable.js'
import { momentOf } from '../database-text.js'
import type { KeyReading, KeySide } from './source.js'

export const keyOf = (order: KeySide, find = order): KeyReading => ({ order, find })

/** Microseconds since 1970 as databases write them. */
export const instant =
  (zone = '') =>
  (micros: string) =>
    momentOf(0, zone)(BigInt(micros))

/** Whether a stored number is the source's with an exponent, as Java may write small ones. */
export function isExponent(stored: string, source: string): boolean {
  const parts = /^(-?)(\d)(?:\.(\d+))?E([+-]\d+)$/.exec(stored)
  if (!parts) return false
  const [, sign, first = '', rest = '', exponent] = parts
  const zeros = -1 - Number(exponent)
  return zeros >= 0 && decimal(`${sign}0.${'0'.repeat(zeros)}${first}${rest}`) === decimal(source)
}
