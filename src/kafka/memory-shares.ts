/** How `limits.maxMemory` is divided. */

/** What each kind may hold of it. Together they are all of it. */
export const MEMORY_SHARES = {
  /** Messages of all topics that wait, or are being decoded: see `QueueRoom`. */
  messages: 1 / 4,
  /** Batches of all tables, from their decoding to their commit: see `MemoryBudget`. */
  batches: 3 / 8,
  /** Key indexes of all tables; the engine keeps to it. */
  indexes: 1 / 4,
  /** Steps of compaction of all tables; the engine keeps to it. */
  compaction: 1 / 8,
} as const
