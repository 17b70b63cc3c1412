/** Finds the topics of a source that cannot be read, and refuses a start with topics that never could be. */

import { pause, unlessAborted } from '../waits.js'
import { findUnreadable, type Unreadable, unreadableTopics } from './cluster-check.js'
import type { TopicLookup } from './lookup.js'
import type { SourceOptions } from './options.js'
import type { StoredOffsets } from './positions.js'

/** Longest wait of a start for the leaders of partitions, and the time between two looks. */
const ELECTION_MS = 8_000
const LOOK_MS = 300

export interface TopicCheckHost {
  options: SourceOptions
  storedOffsets(topic: string): Promise<StoredOffsets>
  /** Null before the source is connected. */
  lookup(): TopicLookup | null
  /** The consumer had an assignment before: this is no start any more. */
  isRunning(): boolean
  /** The topic's table could not be opened. */
  isClosed(topic: string): boolean
  /** Aborted when the source ends. */
  signal: AbortSignal
}

export class TopicCheck {
  readonly #host: TopicCheckHost

  constructor(host: TopicCheckHost) {
    this.#host = host
  }

  /**
   * Of the topics, those that cannot be read, and why. One that never could be read is most likely a mistake, which a start
   * refuses: where the table has nothing of the topic.
   * @throws TOPIC_NOT_FOUND, KAFKA_AUTH of such topics; KAFKA_UNREACHABLE, KAFKA_AUTH of the cluster
   */
  async unreadable(topics: readonly string[]): Promise<Map<string, Unreadable>> {
    const unreadable = await this.#find(topics)
    if (!this.#host.isRunning()) await this.#refuseUnknown(unreadable)
    if (!this.#host.isRunning()) return unreadable
    // A running query waits for Kafka, whatever it lacks.
    return new Map([...unreadable].filter(([, why]) => why !== 'leaderless'))
  }

  async #find(topics: readonly string[]): Promise<Map<string, Unreadable>> {
    const { options, isRunning, lookup, signal } = this.#host
    let unreadable = await findUnreadable(options, topics, signal)
    // Another leader is elected within seconds, where there is a broker for it.
    const until = Date.now() + ELECTION_MS
    while (!isRunning() && [...unreadable.values()].includes('leaderless') && Date.now() < until) {
      await pause(LOOK_MS, signal)
      signal.throwIfAborted()
      unreadable = await findUnreadable(options, topics, signal)
    }
    const asking = lookup()
    if (!asking) return unreadable
    const seen = topics.filter((topic) => !unreadable.has(topic))
    const denied = await Promise.all(seen.map((topic) => asking.isReadDenied(topic)))
    for (const [at, topic] of seen.entries()) if (denied[at]) unreadable.set(topic, 'denied')
    return unreadable
  }

  async #refuseUnknown(unreadable: Map<string, Unreadable>): Promise<void> {
    for (const why of ['missing', 'denied'] as const) {
      const unknown: string[] = []
      for (const [topic, itsWhy] of unreadable) {
        if (itsWhy === why && !(await this.#isInTable(topic))) unknown.push(topic)
      }
      if (unknown.length > 0) throw unreadableTopics(unknown, why)
    }
  }

  async #isInTable(topic: string): Promise<boolean> {
    const { storedOffsets, signal, isClosed } = this.#host
    try {
      return (await unlessAborted(storedOffsets(topic), signal)).exists
    } catch (error) {
      if (!isClosed(topic)) throw error
      // The table itself says what is amiss.
      return true
    }
  }
}
