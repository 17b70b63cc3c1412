/** The life of a small shop's database, as its change events: for the demo and for tests with a known result. */

import { setTimeout as sleep } from 'node:timers/promises'
import { SchemaRegistry, SchemaType } from '@kafkajs/confluent-schema-registry'
import kafkajs, { type Kafka, type Message, type Producer } from 'kafkajs'
import { KafkaToDeltaError } from '../errors.js'
import { Random } from './random.js'
import type { ChangeMetadata } from './shop-encoder.js'
import {
  type AddedColumn,
  keySchema,
  SHOP_TABLES,
  type ShopTable,
  type ShopTableName,
  valueSchema,
} from './shop-schemas.js'
import { ShopTableLife } from './shop-table.js'

export type { ShopColumn, ShopColumnType, ShopTable, ShopTableName } from './shop-schemas.js'

export interface ShopOptions {
  /** The same seed gives the same life. */
  seed: number
  /** Orders in the snapshot; a tenth as many users, a hundredth as many products. Default: 100,000. */
  orders?: number
  /** Changes after the snapshot; a change is one to three messages. Default: 50,000. */
  changes?: number
  /** Messages per second after the snapshot, at most. Default: as many as possible. */
  rate?: number
  /** Partitions of each topic, where it does not exist yet. Default: 3. */
  partitions?: number
  /** Messages in one request, at most. Default: 5,000. */
  batchSize?: number
  /** Default: `none`. */
  compression?: 'none' | 'gzip'
  /** Whether a tombstone follows each delete. Default: true. */
  tombstones?: boolean
  /** Milliseconds since 1970: the time of each change. Default: the system's clock. */
  clock?: () => number
}

/** What happens, in this order. */
export const SHOP_STAGES = ['snapshot', 'changes', 'column added', 'column dropped', 'another column added'] as const

export type ShopStage = (typeof SHOP_STAGES)[number]

export interface ShopProgress {
  stage: ShopStage
  /** Rows of the snapshot, or changes, of this stage: sent so far, and in all. */
  done: number
  total: number
  /** Messages sent so far, of all stages. */
  messages: number
  /** Over this stage so far. */
  messagesPerSecond: number
}

/** What the life held so far. A key change is neither a delete nor an insert here. */
export interface ShopCounts {
  messages: number
  inserts: number
  updates: number
  deletes: number
  /** Updates that took an order to another month, so to another partition of its table. */
  moves: number
  keyChanges: number
  tombstones: number
}

interface StagePlan {
  stage: Exclude<ShopStage, 'snapshot'>
  /** The column that the users have in addition. */
  added: AddedColumn | null
  share: number
}

const PLAN: readonly StagePlan[] = [
  { stage: 'changes', added: null, share: 0.4 },
  { stage: 'column added', added: 'phone_number', share: 0.2 },
  { stage: 'column dropped', added: null, share: 0.2 },
  { stage: 'another column added', added: 'points', share: 0.2 },
]

/** As in the captured snapshot: all of its rows have one LSN. */
const SNAPSHOT_LSN = 22_495_592
/** How often a limited rate sends, per second. */
const SENDS_PER_SECOND = 10

interface Batch {
  messages: Map<string, Message[]>
  size: number
}

export class ShopLife {
  readonly tables: readonly ShopTable[] = SHOP_TABLES
  readonly counts: ShopCounts = {
    messages: 0,
    inserts: 0,
    updates: 0,
    deletes: 0,
    moves: 0,
    keyChanges: 0,
    tombstones: 0,
  }
  readonly #options: Required<Omit<ShopOptions, 'rate'>> & { rate: number }
  readonly #random: Random
  readonly #lives: Record<ShopTableName, ShopTableLife>
  #lsn = SNAPSHOT_LSN
  #started = false

  constructor(options: ShopOptions) {
    this.#options = {
      orders: 100_000,
      changes: 50_000,
      rate: Number.POSITIVE_INFINITY,
      partitions: 3,
      batchSize: 5000,
      compression: 'none',
      tombstones: true,
      clock: Date.now,
      ...options,
    }
    this.#random = new Random(options.seed)
    const life = (name: ShopTableName) =>
      new ShopTableLife(SHOP_TABLES.find((table) => table.name === name) as ShopTable, this.#random)
    this.#lives = { users: life('users'), products: life('products'), orders: life('orders') }
  }

  /** Rows in the snapshot, of all tables. */
  get snapshotRows(): number {
    return Object.values(this.#snapshotSizes()).reduce((sum, count) => sum + count, 0)
  }

  /**
   * What a table holds after all that was produced: key (the id as text) → columns. Columns that a row was written
   * without are null, those added later too. Ints, dates (days since 1970) and timestamps (milliseconds since 1970)
   * are numbers, longs are bigints, decimals are text with two fraction digits.
   */
  truth(table: ShopTableName): Map<string, Record<string, unknown>> {
    return this.#lives[table].truth()
  }

  /**
   * Lives through all stages once. The topics are created where they do not exist, and must be empty.
   * Where the signal is aborted, it ends between two batches; the truth is then that of what was sent. After a
   * rejection the truth may be ahead of the topics.
   */
  async produce(
    kafka: Kafka,
    registryUrl: string,
    onProgress: (progress: ShopProgress) => void = () => {},
    options: { signal?: AbortSignal } = {},
  ): Promise<void> {
    if (this.#started) throw new Error('a shop lives once')
    this.#started = true
    await this.#createTopics(kafka)
    const registry = new SchemaRegistry({ host: registryUrl })
    for (const { table } of Object.values(this.#lives)) {
      await this.#useKeySchema(registry, table.name)
      await this.#useValueSchema(registry, table.name, null)
    }
    const producer = kafka.producer({ createPartitioner: kafkajs.Partitioners.DefaultPartitioner })
    await producer.connect()
    try {
      const send = new Sender(producer, this.counts, this.#options.compression, onProgress, options.signal)
      await this.#snapshot(send)
      for (const plan of PLAN) {
        if (options.signal?.aborted) break
        await this.#useValueSchema(registry, 'users', plan.added)
        await this.#stage(send, plan)
      }
    } finally {
      await producer.disconnect()
    }
  }

  #snapshotSizes(): Record<ShopTableName, number> {
    const { orders } = this.#options
    return { users: Math.ceil(orders / 10), products: Math.ceil(orders / 100), orders }
  }

  async #createTopics(kafka: Kafka): Promise<void> {
    const admin = kafka.admin()
    await admin.connect()
    try {
      const existing = new Set(await admin.listTopics())
      for (const { topic } of this.tables) {
        if (!existing.has(topic)) continue
        const offsets = await admin.fetchTopicOffsets(topic)
        if (offsets.some(({ high }) => high !== '0')) {
          throw new KafkaToDeltaError('CONFIG_INVALID', `the shop needs empty topics, and ${topic} holds messages`, {
            topic,
          })
        }
      }
      const missing = this.tables.filter(({ topic }) => !existing.has(topic))
      if (missing.length === 0) return
      await admin.createTopics({
        waitForLeaders: true,
        topics: missing.map(({ topic }) => ({ topic, numPartitions: this.#options.partitions })),
      })
    } finally {
      await admin.disconnect()
    }
  }

  async #register(registry: SchemaRegistry, subject: string, schema: object): Promise<number> {
    const { id } = await registry.register(
      { type: SchemaType.AVRO, schema: JSON.stringify(schema) },
      // The client would set BACKWARD; the captured registry asks for nothing.
      { subject, compatibility: 'NONE' as never },
    )
    return id
  }

  async #useKeySchema(registry: SchemaRegistry, name: ShopTableName): Promise<void> {
    const life = this.#lives[name]
    const schema = keySchema(name)
    life.setKeySchema(schema, await this.#register(registry, `${life.table.topic}-key`, schema))
  }

  /** Dropping a column brings the older schema back, under its old id. */
  async #useValueSchema(registry: SchemaRegistry, name: ShopTableName, added: AddedColumn | null): Promise<void> {
    const life = this.#lives[name]
    const schema = valueSchema(name, added ?? undefined) as { fields: { name: string }[] }
    life.setValueSchema(schema, await this.#register(registry, `${life.table.topic}-value`, schema), added)
  }

  async #snapshot(send: Sender): Promise<void> {
    send.begin('snapshot', this.snapshotRows)
    const sizes = this.#snapshotSizes()
    for (const name of ['users', 'products', 'orders'] as const) {
      const life = this.#lives[name]
      for (let left = sizes[name]; left > 0 && !send.aborted; ) {
        const count = Math.min(left, this.#options.batchSize)
        const timestamp = this.#options.clock()
        for (let i = 0; i < count; i++) {
          send.add(life.table.topic, life.insert({ deleted: false, timestamp, lsn: SNAPSHOT_LSN }, false))
        }
        left -= count
        await send.flush(count)
      }
    }
  }

  async #stage(send: Sender, { stage, added, share }: StagePlan): Promise<void> {
    const { changes, rate, batchSize } = this.#options
    const total = Math.round(changes * share)
    const limit = Math.max(1, Math.min(batchSize, Math.floor(rate / SENDS_PER_SECOND)))
    const began = Date.now()
    const before = this.counts.messages
    send.begin(stage, total)
    let done = 0
    while (done < total && !send.aborted) {
      let inBatch = 0
      while (done + inBatch < total && send.size < limit) {
        // The column's coming and going is seen at once, however short the stage is.
        if (done + inBatch === 0 && (added !== null || stage === 'column dropped')) this.#update(send, 'users')
        else this.#change(send)
        inBatch++
      }
      done += inBatch
      await send.flush(inBatch)
      const ahead = ((this.counts.messages - before) / rate) * 1000 - (Date.now() - began)
      if (ahead > 0) await sleep(ahead, undefined, send.signal ? { signal: send.signal } : {}).catch(() => {})
    }
  }

  #metadata(): ChangeMetadata {
    this.#lsn += this.#random.integer(72, 400)
    return { deleted: false, timestamp: this.#options.clock(), lsn: this.#lsn }
  }

  #change(send: Sender): void {
    const random = this.#random
    const which = random.next()
    const name: ShopTableName = which < 0.7 ? 'orders' : which < 0.92 ? 'users' : 'products'
    const life = this.#lives[name]
    const { topic } = life.table
    const kind = random.next()
    if (kind < 0.25 || life.size === 0) {
      const metadata = this.#metadata()
      // Rows of one COPY share an LSN.
      const rows = random.chance(0.1) ? 3 : 1
      for (let i = 0; i < rows; i++) send.add(topic, life.insert(metadata))
      this.counts.inserts += rows
    } else if (kind < 0.35) {
      this.#send(send, topic, life.delete(this.#metadata(), this.#options.tombstones))
      this.counts.deletes++
    } else if (kind < 0.355) {
      this.#send(send, topic, life.changeKey(this.#metadata(), this.#options.tombstones))
      this.counts.keyChanges++
    } else this.#update(send, name)
  }

  #update(send: Sender, name: ShopTableName): void {
    const life = this.#lives[name]
    if (life.size === 0) {
      send.add(life.table.topic, life.insert(this.#metadata()))
      this.counts.inserts++
      return
    }
    const moves = name === 'orders' && this.#random.chance(0.15)
    send.add(life.table.topic, life.update(this.#metadata(), moves))
    this.counts.updates++
    if (moves) this.counts.moves++
  }

  #send(send: Sender, topic: string, messages: readonly Message[]): void {
    for (const message of messages) {
      send.add(topic, message)
      if (message.value === null) this.counts.tombstones++
    }
  }
}

/** Gathers messages, sends them, and tells how far the stage is. */
class Sender {
  readonly signal: AbortSignal | undefined
  readonly #producer: Producer
  readonly #counts: ShopCounts
  readonly #compression: kafkajs.CompressionTypes
  readonly #onProgress: (progress: ShopProgress) => void
  #batch: Batch = { messages: new Map(), size: 0 }
  #stage: ShopStage = 'snapshot'
  #total = 0
  #done = 0
  #began = 0
  #before = 0

  constructor(
    producer: Producer,
    counts: ShopCounts,
    compression: 'none' | 'gzip',
    onProgress: (progress: ShopProgress) => void,
    signal: AbortSignal | undefined,
  ) {
    this.#producer = producer
    this.#counts = counts
    this.#compression = compression === 'gzip' ? kafkajs.CompressionTypes.GZIP : kafkajs.CompressionTypes.None
    this.#onProgress = onProgress
    this.signal = signal
  }

  get aborted(): boolean {
    return this.signal?.aborted ?? false
  }

  /** Messages that wait to be sent. */
  get size(): number {
    return this.#batch.size
  }

  begin(stage: ShopStage, total: number): void {
    this.#stage = stage
    this.#total = total
    this.#done = 0
    this.#began = Date.now()
    this.#before = this.#counts.messages
    this.#report()
  }

  add(topic: string, message: Message): void {
    const list = this.#batch.messages.get(topic)
    if (list) list.push(message)
    else this.#batch.messages.set(topic, [message])
    this.#batch.size++
  }

  /** Sends what was added: `done` rows or changes. One request at a time keeps their order. */
  async flush(done: number): Promise<void> {
    const { messages, size } = this.#batch
    this.#batch = { messages: new Map(), size: 0 }
    await this.#producer.sendBatch({
      compression: this.#compression,
      topicMessages: [...messages].map(([topic, list]) => ({ topic, messages: list })),
    })
    this.#counts.messages += size
    this.#done += done
    this.#report()
  }

  #report(): void {
    const messages = this.#counts.messages
    const seconds = Math.max(0.001, (Date.now() - this.#began) / 1000)
    const messagesPerSecond = Math.round((messages - this.#before) / seconds)
    this.#onProgress({ stage: this.#stage, done: this.#done, total: this.#total, messages, messagesPerSecond })
  }
}
