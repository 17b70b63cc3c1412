/** The memory that all queries of a process share. */

import { type EngineMemory, limitEngineMemory } from '../delta/memory.js'
import { MemoryBudget } from '../kafka/memory-budget.js'
import { MEMORY_SHARES } from '../kafka/memory-shares.js'

/** What a query has of the memory. */
export interface MemoryMembership {
  readonly budget: MemoryBudget
  /** The query has ended. */
  leave(): void
}

/**
 * One budget for all queries, of the largest `limits.maxMemory` of those that run: the memory is the process's, and each of
 * them was told how much of it there is.
 */
export class ProcessMemory {
  readonly #budget = new MemoryBudget()
  readonly #limitEngine: (limits: EngineMemory) => void
  /** What each query says. */
  readonly #members = new Map<object, number>()

  constructor(limitEngine: (limits: EngineMemory) => void = limitEngineMemory) {
    this.#limitEngine = limitEngine
  }

  /** A query begins. */
  join(maxMemory: number): MemoryMembership {
    const member = {}
    this.#members.set(member, maxMemory)
    this.#resize()
    const leave = () => {
      if (this.#members.delete(member)) this.#resize()
    }
    return { budget: this.#budget, leave }
  }

  #resize(): void {
    // Tables that are open without a query have no bound in common.
    const limit = this.#members.size > 0 ? Math.max(...this.#members.values()) : Number.POSITIVE_INFINITY
    // A query that has ended still tells what the bound was.
    if (this.#members.size > 0) this.#budget.resize(limit)
    const { indexes, compaction } = MEMORY_SHARES
    this.#limitEngine({ indexes: limit * indexes, compaction: limit * compaction })
  }
}

/** Of this process. */
export const processMemory = new ProcessMemory()
