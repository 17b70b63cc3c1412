/** How much work a table is, as one number: workers get equal sums of it. */

export interface TableFigures {
  /** Messages that are committed in a second. */
  readonly messagesPerSecond: number
  /** Offsets between the table and the end of its topics. */
  readonly lag: number
  /** What the key index holds in memory. */
  readonly indexBytes: number
}

/**
 * A table that has a commit now and then counts 1; each of these adds 1. A commit costs what some 200 messages cost
 * (benchmark/README.md, "Many topics").
 */
const MESSAGES_PER_SECOND = 200
/** To be caught up within a minute. */
const LAG = 60 * MESSAGES_PER_SECOND
/** Of a key index, which takes memory, and time where it is built anew. */
const INDEX_BYTES = 32 * 1024 ** 2

/** A topic that is far behind is that wherever it is read: its lag weighs as much as this at most. */
const MAX_LAG = 50

export function loadOf({ messagesPerSecond, lag, indexBytes }: TableFigures): number {
  return 1 + messagesPerSecond / MESSAGES_PER_SECOND + Math.min(lag / LAG, MAX_LAG) + indexBytes / INDEX_BYTES
}
