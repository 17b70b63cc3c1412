/** How long the fetches of a consumer wait for messages. */

import { unlessAborted } from '../waits.js'

const byGroup = new Map<string, FetchWait>()

/** Undefined where kafkajs's own options count. */
export const waitOfGroup = (groupId: string): FetchWait | undefined => byGroup.get(groupId)

/** Decides before each fetch of a consumer group how long it may wait, and ends the wait when the consumer is closed. */
export class FetchWait {
  /** Milliseconds that the next fetch may wait. */
  readonly nextMs: () => number
  readonly #groupId: string
  readonly #closing = new AbortController()

  constructor(groupId: string, nextMs: () => number) {
    this.#groupId = groupId
    this.nextMs = nextMs
    byGroup.set(groupId, this)
  }

  /** What was fetched; nothing, at once, when the consumer is closed. */
  async unlessClosed(fetched: Promise<unknown[]>): Promise<unknown[]> {
    const { signal } = this.#closing
    try {
      return await unlessAborted(fetched, signal)
    } catch (error) {
      if (signal.aborted) return []
      throw error
    }
  }

  /** The consumer is closed. */
  close(): void {
    byGroup.delete(this.#groupId)
    this.#closing.abort()
  }
}
