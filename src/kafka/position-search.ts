/** Takes over assignments: searches the positions of their partitions until all are confirmed, and again while Kafka fails. */

import { KafkaToDeltaError } from '../errors.js'
import { pause, unlessAborted } from '../waits.js'
import { classify, isTopicDenied, isTransient } from './client.js'
import { findUnreadable, unreadableTopics } from './cluster-check.js'
import type { SourceOptions } from './options.js'
import type { PartitionLocator } from './partition-locator.js'
import type { TopicFeed } from './topic-feed.js'

/** Longest wait for the first positions, where Kafka fails. */
const START_MS = 60_000
/** Between two tries to find a position; doubled each time. */
const LOCATE_MS = 300
const MAX_LOCATE_MS = 5_000

/** A partition, and the next offset that is read of it. */
export interface AssignedPosition {
  topic: string
  partition: number
  position: bigint
}

export interface SearchHost {
  options: SourceOptions
  feeds(): Iterable<TopicFeed>
  locator(): PartitionLocator | null
  /** The source is past its start. */
  isRunning(): boolean
  /** Whether partitions of the topic that appear now were not there before. */
  areNew(feed: TopicFeed): boolean
  /** Aborted when the source ends. */
  signal: AbortSignal
  /** The position cannot be found: nothing more is read of the topic. */
  failed(feed: TopicFeed, error: unknown): void
  /** Another try follows. */
  failedOnce(feed: TopicFeed, error: unknown): void
  /** Partitions of the topic came, went, or were confirmed. */
  changed(feed: TopicFeed): void
}

export class PositionSearch {
  readonly #host: SearchHost
  #generation = 0

  constructor(host: SearchHost) {
    this.#host = host
  }

  /** Counts the assignments. */
  get generation(): number {
    return this.#generation
  }

  /**
   * Takes over an assignment. Nothing is fetched of a partition until its position is confirmed.
   * @returns null where the source ended or another assignment came meanwhile
   */
  async assigned(assignment: Record<string, number[]>): Promise<AssignedPosition[] | null> {
    const generation = ++this.#generation
    const feeds = [...this.#host.feeds()]
    for (const feed of feeds) {
      const ids = new Set(Object.hasOwn(assignment, feed.topic) ? assignment[feed.topic] : [])
      const areNew = this.#host.areNew(feed)
      for (const id of feed.partitions.keys()) {
        if (ids.has(id)) continue
        feed.queue.dropPartition(id)
        feed.partitions.delete(id)
      }
      for (const id of ids) {
        const state = feed.partition(id, areNew)
        state.confirmed = false
        state.paused = false
      }
      this.#host.changed(feed)
    }
    await Promise.all(feeds.map((feed) => this.locate(feed)))
    if (generation !== this.#generation || this.#host.signal.aborted) return null
    return [...this.#host.feeds()].flatMap((feed) =>
      [...feed.partitions.values()].map(({ topic, partition, expected }) => ({
        topic,
        partition,
        position: expected ?? 0n,
      })),
    )
  }

  /** What a consumer had located does not hold for the one that takes its place. */
  unconfirm(): void {
    this.#generation++
    for (const feed of this.#host.feeds()) for (const state of feed.partitions.values()) state.confirmed = false
  }

  /** Confirms the positions of a topic's partitions; fails the topic where that is impossible. Never rejects. */
  locate(feed: TopicFeed): Promise<void> {
    feed.locating ??= this.#keepLocating(feed)
    return feed.locating
  }

  async #keepLocating(feed: TopicFeed): Promise<void> {
    await null // so that `locating` is set before it is cleared
    const { signal } = this.#host
    let failingSince = 0
    let delay = LOCATE_MS
    while (!signal.aborted && !feed.isClosed) {
      try {
        if (await unlessAborted(this.#locateOnce(feed), signal)) {
          if (feed.partitions.size > 0) feed.noteLocated()
          break
        }
        failingSince = 0
        delay = LOCATE_MS
      } catch (error) {
        // The table could not be opened.
        if (signal.aborted || feed.isClosed) break
        failingSince ||= Date.now()
        if (!this.#mayPass(feed, error) || this.#hasLasted(feed, failingSince)) {
          this.#host.failed(feed, error)
          break
        }
        this.#host.failedOnce(feed, error)
        await pause(delay, signal)
        delay = Math.min(delay * 2, MAX_LOCATE_MS)
      }
    }
    feed.locating = null
    this.#host.changed(feed)
    feed.wake()
  }

  /** Where Kafka has let this user in before, it may do so again. */
  #mayPass(feed: TopicFeed, error: unknown): boolean {
    if (error instanceof KafkaToDeltaError) return false
    return isTransient(error) || (this.#isRunning(feed) && classify(error) === 'KAFKA_AUTH')
  }

  /** The topic is past its start, though others may wait for their tables. */
  #isRunning(feed: TopicFeed): boolean {
    return feed.wasLocated || this.#host.isRunning()
  }

  #hasLasted(feed: TopicFeed, since: number): boolean {
    const { options } = this.#host
    const atMost = this.#isRunning(feed) ? (options.maxUnavailableMs ?? Number.POSITIVE_INFINITY) : START_MS
    return Date.now() - since > atMost
  }

  /** True where all partitions are confirmed; false where there is more to do. */
  async #locateOnce(feed: TopicFeed): Promise<boolean> {
    const { options, signal, locator } = this.#host
    try {
      return (await locator()?.locate(feed)) ?? false
    } catch (error) {
      if (error instanceof KafkaToDeltaError) throw error
      if (classify(error) !== 'TOPIC_NOT_FOUND' && !isTopicDenied(error)) throw error
      // kafkajs says that of every topic, where one of those is amiss that it was asked for before.
      const unreadable = await findUnreadable(options, [feed.topic], signal).catch(() => null)
      const why = unreadable?.get(feed.topic)
      if (why) throw unreadableTopics([feed.topic], why)
      throw Object.assign(new Error(`Kafka did not tell the offsets of ${feed.topic}`), { retriable: true })
    }
  }
}
