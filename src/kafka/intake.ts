/** Takes what the consumer fetched where it begins at the expected position; where it does not, the position is searched anew. */

import type { FetchedBatch, SkippedBatch } from './consumer-session.js'
import { messagesOf } from './fetched-messages.js'
import { Messages } from './messages.js'
import type { SourceLogger } from './options.js'
import type { PartitionState, TopicFeed } from './topic-feed.js'

export interface IntakeHost {
  /** Undefined where the topic is not read. */
  feed(topic: string): TopicFeed | undefined
  /** False where there is no assignment to seek in. */
  seek(topic: string, partition: number, offset: bigint): boolean
  /** What is held of the topic, or where it stands, has changed. */
  changed(feed: TopicFeed): void
  locate(feed: TopicFeed): Promise<void>
  /** Aborted when the source ends. */
  signal: AbortSignal
  logger: SourceLogger | undefined
}

export class Intake {
  readonly #host: IntakeHost

  constructor(host: IntakeHost) {
    this.#host = host
  }

  /** A fetched batch: checks its position and enqueues it. Waits for nothing. False where it is not taken. */
  take(batch: FetchedBatch): boolean {
    const feed = this.#host.feed(batch.topic)
    const state = feed?.partitions.get(batch.partition)
    if (!feed || !state?.confirmed || state.expected === null || this.#host.signal.aborted) return false
    const last = BigInt(batch.lastOffset())
    const high = BigInt(batch.highWatermark)
    // The broker answers a fetch below or above the log with an error, upon which kafkajs goes elsewhere without
    // a word. A fetch of the very offset that was expected therefore proves the position; a message that begins
    // later then only shows that the offsets between are empty: compacted, or transaction markers.
    const fetched = BigInt(batch.fetchedOffset ?? batch.firstOffset() ?? last)
    if (fetched === state.expected) {
      this.#accept(feed, state, last, messagesOf(batch.messages), high)
      return true
    }
    const isGap = batch.fetchedOffset === undefined && fetched > state.expected
    state.gap = isGap ? { last, messages: messagesOf(batch.messages), high } : null
    this.#searchAnew(feed, state)
    return false
  }

  /** Offsets that were scanned and have no messages for us. */
  skipped(batch: SkippedBatch): void {
    const feed = this.#host.feed(batch.topic)
    const state = feed?.partitions.get(batch.partition)
    if (!feed || !state?.confirmed || state.expected === null || this.#host.signal.aborted) return
    const last = BigInt(batch.lastOffset)
    const high = BigInt(batch.highWatermark)
    const first = batch.firstOffset === null ? last : BigInt(batch.firstOffset)
    if (first <= state.expected && last >= state.expected) {
      this.#accept(feed, state, last, Messages.none, high)
      return
    }
    state.gap = first > state.expected ? { last, messages: Messages.none, high } : null
    this.#searchAnew(feed, state)
  }

  /** The consumer is not where it should be: hold the partition, look at the log, seek again. */
  misplaced(state: PartitionState): void {
    const feed = this.#host.feed(state.topic)
    if (feed) this.#searchAnew(feed, state)
  }

  /** Nothing is at the offsets before `next`. */
  skipTo(state: PartitionState, next: bigint): void {
    const { topic, partition, expected } = state
    const feed = this.#host.feed(topic)
    if (!feed || !this.#host.seek(topic, partition, next)) return
    this.#host.logger?.info({ topic, partition, from: String(expected), to: String(next) }, 'skipped empty offsets')
    this.#accept(feed, state, next - 1n, Messages.none, state.high ?? next)
  }

  #accept(feed: TopicFeed, state: PartitionState, last: bigint, messages: Messages, high: bigint): void {
    feed.accept(state, last, messages, high)
    this.#host.changed(feed)
  }

  #searchAnew(feed: TopicFeed, state: PartitionState): void {
    state.confirmed = false
    this.#host.changed(feed)
    void this.#host.locate(feed)
  }
}
