/** Tells the consumer group how far the tables are: for dashboards, at most every few seconds, at best effort. */

import type { Consumer } from 'kafkajs'

const INTERVAL_MS = 5_000

/** Partitions of a request: kafkajs copies what it has of the others for each of them. */
const MAX_TOGETHER = 50

export class GroupCommits {
  #consumer: Consumer
  #onError: (error: unknown) => void
  #offsets = new Map<string, { topic: string; partition: number; offset: string }>()
  #timer: NodeJS.Timeout | null = null
  #isClosed = false

  constructor(consumer: Consumer, onError: (error: unknown) => void) {
    this.#consumer = consumer
    this.#onError = onError
  }

  /** `next`: the next offset to be applied. */
  note(topic: string, partition: number, next: bigint): void {
    if (this.#isClosed || next < 0n) return
    this.#offsets.set(`${topic}:${partition}`, { topic, partition, offset: next.toString() })
    this.#timer ??= setTimeout(() => {
      this.#timer = null
      void this.#send()
    }, INTERVAL_MS).unref()
  }

  /** Says nothing more of a topic: another worker reads it. */
  forget(topic: string): void {
    for (const [key, noted] of this.#offsets) if (noted.topic === topic) this.#offsets.delete(key)
  }

  /** Sends what was noted since; never rejects. */
  async close(): Promise<void> {
    this.#isClosed = true
    if (this.#timer) clearTimeout(this.#timer)
    await this.#send()
  }

  async #send(): Promise<void> {
    if (this.#offsets.size === 0) return
    const offsets = [...this.#offsets.values()]
    this.#offsets.clear()
    try {
      for (let at = 0; at < offsets.length; at += MAX_TOGETHER) {
        await this.#consumer.commitOffsets(offsets.slice(at, at + MAX_TOGETHER))
      }
    } catch (error) {
      this.#onError(error)
    }
  }
}
