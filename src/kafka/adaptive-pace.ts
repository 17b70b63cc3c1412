/** How often tables are committed where no interval is given. */

/** Milliseconds between two batches of a table that changes alone. */
const LEAST_MS = 150
/** Milliseconds between two batches, at most. */
export const MOST_MS = 1_000
/** A table counts as one that changes for so many milliseconds after a batch. */
const ACTIVE_MS = 2 * MOST_MS

/**
 * The pause grows with the number of tables that change at the same time: each commit has a price in requests to the store and
 * in work, and all tables of a query together make no more of them than seven a second, until each makes one a second.
 */
export class AdaptivePace {
  /** When each table's last batch was made, the oldest first. */
  readonly #lastBatches = new Map<object, number>()
  readonly #now: () => number

  /** @param now the time, in milliseconds */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now
  }

  /** Notes that a batch of changes was made. */
  noteBatch(table: object): void {
    this.#lastBatches.delete(table)
    this.#lastBatches.set(table, this.#now())
  }

  /** Milliseconds from a table's last batch to its next one. */
  get pauseMs(): number {
    const activeSince = this.#now() - ACTIVE_MS
    for (const [table, at] of this.#lastBatches) {
      if (at > activeSince) break
      this.#lastBatches.delete(table)
    }
    return Math.min(MOST_MS, LEAST_MS * Math.max(1, this.#lastBatches.size))
  }
}
