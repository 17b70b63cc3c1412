/**
 * Finds partitions at which kafkajs stands still although the log goes on: beyond the log's ends it waits without a word for
 * what comes next; at an empty record batch a `Kafka` that the user made, whose fetches we do not read, fetches the same offset
 * for ever (kafkajs#1072).
 */

import { findLoss, type Watermarks } from './positions.js'
import type { PartitionState, TopicFeed } from './topic-feed.js'

const TICK_MS = 250
/** Nothing came for so long: the log is asked where it ends. */
const IDLE_MS = 5_000
/** Between questions about a topic that had nothing new, at most. */
const MAX_IDLE_MS = 30_000
/** So many fetches in a row that brought nothing and did not wait: something is there that is never delivered. */
const HOT_FETCHES = 10
const HOT_IDLE_MS = 250
const HOT_EVERY_MS = 500

export interface WatchdogHost {
  feeds(): Iterable<TopicFeed>
  watermarks(topic: string): Promise<Map<number, Watermarks>>
  /** The first offset from `from` at which there is something, or the end. */
  skipEmpty(topic: string, partition: number, from: bigint): Promise<bigint>
  /** The partition stands at offsets that the log does not have. */
  misplaced(state: PartitionState): void
  /** Nothing is at the offsets before `next`. */
  skipTo(state: PartitionState, next: bigint): void
  onError(error: unknown): void
}

export class Watchdog {
  #host: WatchdogHost
  /** A fetch that returns sooner had something to return. Milliseconds. */
  #hotBelow: number
  #timer: NodeJS.Timeout | null = null
  #hotFetches = 0
  #lastHotCheck = Number.NEGATIVE_INFINITY
  #busy = new Set<string>()
  #idle = new Map<string, { wait: number; nextAt: number }>()

  constructor(host: WatchdogHost, maxWaitTimeInMs: number) {
    this.#host = host
    this.#hotBelow = maxWaitTimeInMs / 2
  }

  start(): void {
    this.#timer ??= setInterval(() => this.#tick(), TICK_MS).unref()
  }

  stop(): void {
    if (this.#timer) clearInterval(this.#timer)
    this.#timer = null
  }

  /** A fetch returned. */
  fetched(durationMs: number): void {
    this.#hotFetches = durationMs < this.#hotBelow ? this.#hotFetches + 1 : 0
  }

  /** A batch came, with or without messages. */
  delivered(): void {
    this.#hotFetches = 0
  }

  #tick(): void {
    const now = performance.now()
    const isHot = this.#hotFetches >= HOT_FETCHES && now - this.#lastHotCheck >= HOT_EVERY_MS
    if (isHot) {
      this.#lastHotCheck = now
      this.#hotFetches = 0
    }
    for (const feed of this.#host.feeds()) {
      const quiet = this.#quiet(feed, now - (isHot ? HOT_IDLE_MS : IDLE_MS))
      const idle = this.#idle.get(feed.topic)
      if (quiet.length === 0) {
        this.#idle.delete(feed.topic)
      } else if (!this.#busy.has(feed.topic) && (isHot || !idle || now >= idle.nextAt)) {
        this.#busy.add(feed.topic)
        this.#check(feed, quiet)
          .catch((error) => this.#host.onError(error))
          .finally(() => this.#busy.delete(feed.topic))
      }
    }
  }

  /** Partitions that are being fetched and did not move since. */
  #quiet(feed: TopicFeed, since: number): PartitionState[] {
    return [...feed.partitions.values()].filter((state) => state.movedAt <= since && !feed.isHeld(state))
  }

  async #check(feed: TopicFeed, quiet: PartitionState[]): Promise<void> {
    const { topic } = feed
    const before = new Map(quiet.map((state) => [state, state.expected]))
    const marks = await this.#host.watermarks(topic)
    let isBehind = false
    for (const [state, expected] of before) {
      const found = marks.get(state.partition)
      const hasMoved = () => !state.confirmed || state.expected !== expected
      if (!found || expected === null || hasMoved()) continue
      state.high = found.high
      if (findLoss(topic, state.partition, expected, found)) {
        this.#host.misplaced(state)
        isBehind = true
      } else if (expected < found.high) {
        isBehind = true
        const next = await this.#host.skipEmpty(topic, state.partition, expected)
        if (next > expected && !hasMoved()) this.#host.skipTo(state, next)
      }
    }
    const last = this.#idle.get(topic)
    const wait = isBehind || !last ? IDLE_MS : Math.min(last.wait * 2, MAX_IDLE_MS)
    this.#idle.set(topic, { wait, nextAt: performance.now() + wait })
  }
}
