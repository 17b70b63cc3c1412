/**
 * What the benchmarks of many topics share: topics of one kind in an embedded broker, and a process of its own that writes
 * their tables and tells of its commits.
 */

import { EmbeddedBroker } from '../src/demo/broker/index.js'
import { EmbeddedRegistry } from '../src/demo/registry.js'
import { ConfluentEncoder } from '../src/demo/shop-encoder.js'
import type { StreamOptions } from '../src/index.js'
import { Worker } from './support/worker.js'

export const MIB = 2 ** 20

const KEY_ID = 1
const VALUE_ID = 2
const KEY = { type: 'record', name: 'Key', fields: [{ name: 'id', type: 'int' }] }
const VALUE = {
  type: 'record',
  name: 'Value',
  fields: [
    { name: 'id', type: 'int' },
    { name: 'name', type: 'string' },
    { name: 'amount', type: 'double' },
    { name: '__deleted', type: 'string' },
  ],
}

/** Messages of a record batch, at most. */
const CHUNK = 10_000

/** A commit: topic, offset of its first message, number of its messages, and when it was done. */
export type Commit = [topic: string, first: number, count: number, at: number]

/** What the worker tells of itself. */
export interface Told {
  /** Milliseconds since 1970. */
  now: number
  firstCommit: number | null
  /** When the last table had its first commit; null while some have none. */
  allCommitted: number | null
  commits: number
  rows: number
  /** Bytes. */
  resident: number
  /** Seconds of CPU time. */
  cpu: number
  /** Of each commit since the last time. */
  done: Commit[]
  /** Tables that wait for their store. */
  retrying: string[]
}

export interface WorkerStart {
  options: StreamOptions
  topics: number
}

/**
 * The process that writes the tables.
 * @param execArgv further options of Node
 */
export const startWorker = (start: WorkerStart, execArgv: string[] = []): Worker<Told> =>
  Worker.start(new URL('many-topics-worker.ts', import.meta.url), start, execArgv)

/** Topics, and when each of their messages was sent. */
export class Topics {
  readonly sent: Map<string, number[]>
  readonly #keys = new ConfluentEncoder(KEY, KEY_ID)
  readonly #values = new ConfluentEncoder(VALUE, VALUE_ID)
  #version = 0
  #next = 0

  private constructor(
    readonly broker: EmbeddedBroker,
    readonly registry: EmbeddedRegistry,
    readonly names: string[],
    private readonly rows: number,
  ) {
    this.sent = new Map(names.map((name) => [name, []]))
    for (const name of names) broker.createTopic(name)
  }

  /** `shop.public.t0` and so on, with `rows` messages each. */
  static async start(count: number, rows: number): Promise<Topics> {
    const [broker, registry] = [await EmbeddedBroker.start(), await EmbeddedRegistry.start()]
    registry.setSchema(KEY_ID, KEY)
    registry.setSchema(VALUE_ID, VALUE)
    const names = Array.from({ length: count }, (_, i) => `shop.public.t${i}`)
    const topics = new Topics(broker, registry, names, rows)
    for (const name of names) {
      for (let sent = 0; sent < rows; sent += CHUNK) topics.send(name, Math.min(CHUNK, rows - sent))
    }
    return topics
  }

  /** Sends changes of a topic's rows, one row after the other. */
  send(topic: string, count: number): void {
    const times = this.sent.get(topic) as number[]
    const timestamp = Date.now()
    const records = Array.from({ length: count }, (_, i) => {
      const id = (times.length + i) % this.rows
      const amount = this.#version++
      const value = this.#values.encode({ id, name: `row ${id} of ${topic}`, amount, __deleted: 'false' })
      return { key: this.#keys.encode({ id }), value, timestamp }
    })
    this.broker.append(topic, 0, records)
    for (let i = 0; i < count; i++) times.push(timestamp)
  }

  /** Sends a change to each topic in turn. */
  sendInTurn(count: number): void {
    for (let i = 0; i < count; i++) this.send(this.names[this.#next++ % this.names.length] as string, 1)
  }

  get total(): number {
    let sum = 0
    for (const times of this.sent.values()) sum += times.length
    return sum
  }

  /** Milliseconds that the first message of each commit waited until it was in the table, sorted. */
  waits(done: readonly Commit[]): number[] {
    return done.map(([topic, first, , at]) => at - (this.sent.get(topic)?.[first] ?? at)).sort((a, b) => a - b)
  }

  /** Milliseconds that each message of commits waited until it was in the table, sorted. */
  waitsOfAll(done: readonly Commit[]): number[] {
    const waitsOf = ([topic, first, count, at]: Commit) =>
      (this.sent.get(topic) ?? []).slice(first, first + count).map((sentAt) => at - sentAt)
    return done.flatMap(waitsOf).sort((a, b) => a - b)
  }

  async close(): Promise<void> {
    await this.broker.close()
    await this.registry.close()
  }
}

/** Of sorted numbers. */
export const quantile = (sorted: readonly number[], share: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN
