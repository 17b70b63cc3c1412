/** How far a table is behind its topic. */

import type { StreamSource } from '../dependencies.js'
import type { Positions } from './positions.js'

export class Lag {
  readonly #topic: string
  readonly #positions: Positions
  /** Null before the run. */
  source: StreamSource | null = null

  constructor(topic: string, positions: Positions) {
    this.#topic = topic
    this.#positions = positions
  }

  /** Offsets between the table and the topic's end, as last seen; null where that is not known yet. */
  get messages(): number | null {
    if (this.source === null) return null
    let total = 0n
    for (const [partition, { committed, high }] of this.source.lag(this.#topic)) {
      const done = this.#positions.done(partition) ?? committed
      if (high === null || done === null) return null
      if (high > done) total += high - done
    }
    return Number(total)
  }

  /** Whether the table holds everything before the given ends. */
  hasReached(ends: ReadonlyMap<number, bigint>): boolean {
    const lag = this.source?.lag(this.#topic)
    return [...ends].every(([partition, end]) => {
      const done = this.#positions.done(partition) ?? lag?.get(partition)?.committed ?? 0n
      return done >= end
    })
  }
}
