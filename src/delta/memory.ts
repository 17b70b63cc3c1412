/** The memory that all open tables of the process share, in the engine. */

import { loadAddon } from './addon.js'

/** Bytes by what holds them. */
export interface EngineMemory {
  /** Key indexes. */
  indexes: number
  /** Steps of compaction that are under way: what they are expected to hold. */
  compaction: number
}

/**
 * Bounds what all tables hold together. Indexes above it go to disk, those of tables that are not written to first; steps
 * of compaction wait.
 * @throws ADDON_UNAVAILABLE
 */
export function limitEngineMemory({ indexes, compaction }: EngineMemory): void {
  loadAddon().limitMemory(indexes, compaction)
}

/**
 * What all tables hold now.
 * @throws ADDON_UNAVAILABLE
 */
export function engineMemory(): EngineMemory {
  return JSON.parse(loadAddon().heldMemory()) as EngineMemory
}
