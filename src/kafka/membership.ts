/** This worker as a member of a group whose members share the tables of a query. */

import { randomUUID } from 'node:crypto'
import type { PartitionAssigner } from 'kafkajs'
import type { SourceLogger } from './options.js'
import type { Sharing, TopicMoves } from './sharing.js'
import { TableAssigner } from './table-assigner.js'

export class Membership {
  readonly #worker = randomUUID()
  readonly #sharing: Sharing
  readonly #logger: SourceLogger | undefined
  readonly #newMs: number
  #joinedAt: number | null = null
  /** Topics that this worker has. */
  readonly #owned = new Set<string>()
  #session = 0
  #heldSince = 0
  #waiting: (() => void)[] = []

  /** @param newMs how long a worker is new, in milliseconds: as long as it gets no tables of workers that stay */
  constructor(sharing: Sharing, newMs: number, logger: SourceLogger | undefined) {
    this.#sharing = sharing
    this.#newMs = newMs
    this.#logger = logger
  }

  /**
   * For the next consumer of this worker.
   * @param waitId names it, see fetch-wait.ts
   */
  nextAssigner(waitId: string): PartitionAssigner {
    const session = ++this.#session
    const describe = () => ({
      worker: this.#worker,
      session,
      isNew: this.#joinedAt === null || Date.now() - this.#joinedAt < this.#newMs,
      heldSince: this.#heldSince,
      tables: this.#sharing.tables(),
    })
    return ({ cluster }) => new TableAssigner(cluster, { describe, waitId, logger: this.#logger })
  }

  /** Takes an assignment over. */
  assigned(assignment: Record<string, number[]>): TopicMoves {
    const now = new Set(Object.keys(assignment).filter((topic) => (assignment[topic]?.length ?? 0) > 0))
    const moves = {
      gained: [...now].filter((topic) => !this.#owned.has(topic)),
      lost: [...this.#owned].filter((topic) => !now.has(topic)),
    }
    this.#owned.clear()
    for (const topic of now) this.#owned.add(topic)
    this.#joinedAt ??= Date.now()
    this.#heldSince = Date.now()
    this.confirmed()
    return moves
  }

  /** Whether its part of the tables is larger than what it has, by numbers alone. */
  hasTooFew(numMembers: number): boolean {
    const tables = this.#sharing.tables()
    const own = tables.filter(({ load }) => load !== null)
    return own.length < Math.floor(tables.length / Math.max(1, numMembers))
  }

  owns(topic: string): boolean {
    return this.#owned.has(topic)
  }

  /** The group knows this worker as one that has what it was last given. */
  confirmed(): void {
    for (const resolve of this.#waiting.splice(0)) resolve()
  }

  /**
   * Resolves when the group says next what this worker has. After a fence: a worker that had stood still for too long learns
   * so that its tables are another one's, before it reads them again.
   */
  nextWord(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve))
  }
}
