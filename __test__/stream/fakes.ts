/** Stand-ins for Kafka, the decoder and the addon: they keep the contracts and nothing more. */

import { EventEmitter } from 'node:events'
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { DeadLetter, DeadLetterSink } from '../../src/dead-letter/dead-letter.js'
import type { ChangeBatch } from '../../src/debezium/change-batch.js'
import type { TableOffset } from '../../src/delta/results.js'
import type { MergeOptions, MergeResult, TableInfo } from '../../src/delta/table.js'
import { KafkaToDeltaError } from '../../src/errors.js'
import { Messages } from '../../src/kafka/messages.js'
import type { MicroBatch } from '../../src/kafka/micro-batch.js'
import type { StoredOffsets } from '../../src/kafka/positions.js'
import type { Sharing } from '../../src/kafka/sharing.js'
import type { PartitionLag } from '../../src/kafka/topic-feed.js'
import { silentLogger } from '../../src/log.js'
import { resolveOptions } from '../../src/options/resolve.js'
import type { ResolvedOptions, StreamOptions } from '../../src/options/types.js'
import type { RetryPolicies, RetryPolicy } from '../../src/retry.js'
import type { StreamDecoder, StreamSource, StreamTable, Systems } from '../../src/stream/dependencies.js'
import { startQuery } from '../../src/stream/start.js'
import { NO_FIGURES } from '../helpers/figures.js'

/** What storage holds: it outlives the tables that are opened on it. */
export class FakeStorage {
  exists = false
  version = -1
  readonly rows = new Map<string, string>()
  readonly offsets = new Map<string, bigint>()
  /** Every row in the order of its commit. */
  readonly applied: string[] = []
}

export class FakeTable implements StreamTable {
  readonly uri: string
  readonly storage: FakeStorage
  merges: { rows: number; offsets: TableOffset[] }[] = []
  closed = false
  opened = 0
  /** What the next merge says that it added. */
  addedColumns: string[] = []
  /** Runs before each look at the table. */
  beforeInfo: (() => void) | null = null
  /** Why it cannot be opened. */
  cannotBeOpened: KafkaToDeltaError | null = null
  /** Runs before each commit; may throw, or wait. */
  beforeCommit: ((offsets: readonly TableOffset[]) => Promise<void> | void) | null = null
  /** Runs after each commit; may throw: the answer is lost then. */
  afterCommit: (() => void) | null = null
  compact?: NonNullable<StreamTable['compact']>

  constructor(uri: string, storage: FakeStorage) {
    this.uri = uri
    this.storage = storage
  }

  async info(): Promise<TableInfo> {
    const { storage } = this
    this.beforeInfo?.()
    return {
      exists: storage.exists,
      version: storage.exists ? storage.version : null,
      uri: this.uri,
      name: null,
      schemaJson: null,
      partitionColumns: [],
      numFiles: 0,
      numRows: storage.rows.size,
      sizeBytes: 0,
      mergeMode: 'merge-on-read',
      properties: {},
      offsets: [...storage.offsets].map(([appId, version]) => ({ appId, version })),
      indexKeys: 0,
      indexBytes: 0,
    }
  }

  refresh(): Promise<TableInfo> {
    return this.info()
  }

  async merge(changes: Uint8Array | null, { offsets = [] }: MergeOptions): Promise<MergeResult> {
    await this.beforeCommit?.(offsets)
    const { storage } = this
    for (const { appId, expected, last, mayFall } of offsets) {
      const stored = storage.offsets.get(appId) ?? null
      if (stored !== expected) throw new KafkaToDeltaError('FENCED', `${appId} is at ${stored}, not at ${expected}`)
      if (!mayFall && stored !== null && last < stored) throw new Error('offsets went down')
    }
    if (changes === null && !storage.exists) throw new Error('no table to commit offsets to')
    const rows = changes === null ? [] : (JSON.parse(Buffer.from(changes).toString()) as [string, string][])
    for (const [key, value] of rows) {
      if (value === 'gone') storage.rows.delete(key)
      else storage.rows.set(key, value)
      storage.applied.push(`${key}=${value}`)
    }
    for (const { appId, last } of offsets) storage.offsets.set(appId, last)
    storage.exists = true
    storage.version++
    this.merges.push({ rows: rows.length, offsets: [...offsets] })
    this.afterCommit?.()
    return {
      ...NO_FIGURES,
      version: storage.version,
      numRowsUpserted: rows.length,
      numRowsInserted: rows.length,
      numFilesAdded: 1,
      bytesWritten: 10,
      addedColumns: this.addedColumns.splice(0),
      widenedColumns: [],
      notes: [],
      indexBytes: 64,
      peakBytes: 1000 * rows.length,
      timings: { collapse: 1, locate: 1, fetch: 0, write: 1, commit: 1, total: 4 },
    }
  }

  async close(): Promise<void> {
    this.closed = true
  }
}

/** A topic's partitions: `key=value` texts; null stands for an offset without a message. */
export type FakeTopics = Record<string, (string | null)[][]>

export class FakeSource extends EventEmitter implements StreamSource {
  readonly topics: FakeTopics
  readonly committedBatches: MicroBatch[] = []
  /** Messages of each batch, and what the engine held for it. */
  readonly peaks: [number, number][] = []
  readonly rewinds: string[] = []
  readonly closed: string[] = []
  stopped = false
  readonly waitingFor = null
  readonly options: ResolvedOptions
  readonly memory = { limit: 1000, queued: 0, decoding: 0, merging: 0 }
  readonly #batchSize: number
  readonly #availableNow: boolean
  readonly #storedOffsets: (topic: string) => Promise<StoredOffsets>
  readonly #positions = new Map<string, number[]>()
  readonly #located = new Map<string, Promise<boolean>>()
  /** Why topics are not read. */
  readonly #errors = new Map<string, unknown>()
  readonly #calling = new Set<string>()
  /** With `workers: 'many'`. */
  readonly sharing: Sharing | null
  readonly #owned = new Set<string>()
  #wake: (() => void)[] = []

  constructor(
    topics: FakeTopics,
    options: ResolvedOptions,
    stored: (topic: string) => Promise<StoredOffsets>,
    sharing: Sharing | null = null,
  ) {
    super()
    this.topics = topics
    this.sharing = sharing
    this.options = options
    this.#batchSize = options.limits.maxBatchMessages
    this.#availableNow = 'availableNow' in options.trigger
    this.#storedOffsets = stored
  }

  async start(): Promise<void> {
    const topics = this.options.tables.map(({ topic }) => topic)
    if (this.sharing) return this.assign(...topics)
    const located = await Promise.all(topics.map((topic) => this.located(topic)))
    if (!located.includes(true)) throw this.#errors.get(topics[0] as string)
  }

  located(topic: string): Promise<boolean> {
    const known = this.#located.get(topic)
    if (known) return known
    const located = this.#seek(topic).then(
      () => true,
      (error) => {
        this.#errors.set(topic, error)
        return false
      },
    )
    this.#located.set(topic, located)
    return located
  }

  async backlog(): Promise<Map<string, bigint>> {
    const count = (partitions: unknown[][]) => BigInt(partitions.reduce((sum, { length }) => sum + length, 0))
    return new Map(Object.entries(this.topics).map(([topic, partitions]) => [topic, count(partitions)]))
  }

  /** The group gives this worker these topics, and no others. */
  async assign(...topics: string[]): Promise<void> {
    const gained = topics.filter((topic) => !this.#owned.has(topic))
    const lost = [...this.#owned].filter((topic) => !topics.includes(topic))
    for (const topic of lost) {
      this.#owned.delete(topic)
      this.#positions.delete(topic)
    }
    for (const topic of gained) this.#owned.add(topic)
    this.sharing?.moved({ gained, lost })
    this.#wakeAll()
    // Kafka is asked where the topics end.
    await nextTurn()
    await nextTurn()
    await Promise.all(gained.map((topic) => this.#seek(topic)))
    this.#wakeAll()
  }

  async #seek(topic: string): Promise<void> {
    const { last } = await this.#storedOffsets(topic)
    const partitions = this.topics[topic] as (string | null)[][]
    this.#positions.set(
      topic,
      partitions.map((_, partition) => Number((last.get(partition) ?? -1n) + 1n)),
    )
  }

  produce(topic: string, partition: number, ...messages: (string | null)[]): void {
    this.topics[topic]?.[partition]?.push(...messages)
    this.#wakeAll()
  }

  #wakeAll(): void {
    for (const wake of this.#wake.splice(0)) wake()
  }

  async next(topic: string): Promise<MicroBatch | null> {
    if (this.#calling.has(topic)) throw new Error('next was called while a call was under way')
    this.#calling.add(topic)
    try {
      if (!this.sharing && !(await this.located(topic))) throw this.#errors.get(topic)
      for (;;) {
        if (this.stopped || (this.sharing && !this.#owned.has(topic))) return null
        const batch = this.#cut(topic)
        if (batch) return batch
        if (this.#availableNow) return null
        const { length } = this.rewinds
        await new Promise<void>((resolve) => this.#wake.push(resolve))
        if (this.rewinds.length > length) return null
      }
    } finally {
      this.#calling.delete(topic)
    }
  }

  #cut(topic: string): MicroBatch | null {
    const positions = this.#positions.get(topic)
    if (!positions) return null
    const batch: MicroBatch = { topic, ranges: [], numMessages: 0, numPartitions: 1, numBytes: 0 }
    for (const [partition, messages] of (this.topics[topic] as (string | null)[][]).entries()) {
      const from = positions[partition] as number
      const to = Math.min(messages.length, from + this.#batchSize)
      if (to <= from) continue
      const raw = messages.slice(from, to).flatMap((text, i) => {
        if (text === null) return []
        const [key = '', value = ''] = text.split('=')
        return [{ offset: String(from + i), timestamp: '0', key: Buffer.from(key), value: Buffer.from(value) }]
      })
      batch.ranges.push({
        partition,
        firstOffset: BigInt(from),
        lastOffset: BigInt(to - 1),
        messages: Messages.of(raw),
      })
      batch.numMessages += raw.length
      positions[partition] = to
    }
    return batch.ranges.length > 0 ? batch : null
  }

  decoded(_batch: MicroBatch, bytes: number): void {
    this.memory.merging += bytes
  }

  merged(batch: MicroBatch, peakBytes: number): void {
    this.peaks.push([batch.numMessages, peakBytes])
  }

  noteColumns(_topic: string, bytes: number): void {
    this.memory.decoding = bytes
  }

  committed(batch: MicroBatch): void {
    this.committedBatches.push(batch)
  }

  async rewind(topic: string): Promise<void> {
    this.rewinds.push(topic)
    this.#wakeAll()
    await this.#seek(topic)
  }

  async add(topics: ReadonlyMap<string, unknown>): Promise<void> {
    for (const topic of topics.keys()) await this.#seek(topic)
    this.#wakeAll()
  }

  lag(topic: string): Map<number, PartitionLag> {
    const positions = this.#positions.get(topic) ?? []
    return new Map(
      (this.topics[topic] as unknown[][]).map((messages, partition) => [
        partition,
        { position: BigInt(positions[partition] ?? 0), committed: null, high: BigInt(messages.length), lag: null },
      ]),
    )
  }

  async fetchEnds(topic: string): Promise<Map<number, bigint>> {
    return new Map(
      (this.topics[topic] as unknown[][]).map((messages, partition) => [partition, BigInt(messages.length)]),
    )
  }

  close(topic: string): void {
    this.closed.push(topic)
  }

  async stop(): Promise<void> {
    this.stopped = true
    this.#wakeAll()
  }
}

/** Values: `bad` is a bad record, `ignore` no change, `gone` a delete. */
export class FakeDecoder implements StreamDecoder {
  decoded = 0
  onHeld?: (bytes: number) => void
  beforeDecode: (() => Promise<void> | void) | null = null

  async decode(batch: MicroBatch): Promise<ChangeBatch> {
    await this.beforeDecode?.()
    this.decoded++
    const rows: [string, string][] = []
    const result: ChangeBatch = { ipc: null, numRows: 0, primaryKey: ['id'], numIgnored: 0, badRecords: [] }
    for (const { partition, messages } of batch.ranges) {
      for (const { key, value, offset } of messages) {
        const text = String(value)
        if (text === 'bad') {
          result.badRecords.push({ topic: batch.topic, partition, offset, reason: 'no header', key, value })
        } else if (text === 'ignore') result.numIgnored++
        else rows.push([String(key), text])
      }
    }
    result.numRows = rows.length
    result.onlyRemoves = rows.every(([, value]) => value === 'gone')
    if (rows.length > 0) result.ipc = Buffer.from(JSON.stringify(rows))
    return result
  }
}

/** Keeps each letter once, by its position. */
export class FakeDeadLetters implements DeadLetterSink {
  readonly target = 'dead'
  readonly letters = new Map<string, DeadLetter>()
  /** The offsets of each write, in order. */
  readonly writes: string[][] = []
  /** Runs before each write; may throw, or wait. */
  beforeWrite: ((signal: AbortSignal | undefined) => Promise<void> | void) | null = null

  async check(): Promise<void> {}

  async write(letters: readonly DeadLetter[], signal?: AbortSignal): Promise<void> {
    await this.beforeWrite?.(signal)
    this.writes.push(letters.map(({ offset }) => offset))
    for (const letter of letters) this.letters.set(`${letter.topic}:${letter.partition}:${letter.offset}`, letter)
  }

  async close(): Promise<void> {}
}

const FAST: RetryPolicy = { retries: 4, firstDelay: 1, maxDelay: 2 }

export interface World {
  topics: FakeTopics
  storages?: Map<string, FakeStorage>
  options?: Partial<StreamOptions>
  /** Called with each system as it is made, before the start. */
  prepare?: (made: { tables: Map<string, FakeTable>; decoders: Map<string, FakeDecoder> }) => void
  source?: (source: FakeSource) => void
  /** Runs before a table is opened; may throw, or wait. */
  beforeOpen?: (topic: string) => Promise<void> | void
  /** Whether what the tables share can be reached. */
  check?: () => Promise<void>
  /** As the start has it. */
  patienceMs?: number
  /** Takes the bad records of tables with `onBadRecord: 'dead-letter'`. */
  deadLetters?: FakeDeadLetters
  /** Keeps the tables' entries. */
  catalogs?: Systems['catalogs']
  /** How often each failure is tried again, in a run that has an end. */
  policies?: RetryPolicy
}

const ofAll = (policy: RetryPolicy): RetryPolicies => ({ outage: policy, conflict: policy, access: policy })

/** Starts a query on the fakes. */
export async function startFake(world: World) {
  const { topics, storages = new Map(), options = {}, prepare, source, deadLetters, policies = FAST } = world
  const { beforeOpen, patienceMs, check } = world
  const tables = new Map<string, FakeTable>()
  const decoders = new Map<string, FakeDecoder>()
  const made: { source?: FakeSource } = {}
  for (const topic of Object.keys(topics)) {
    if (!storages.has(topic)) storages.set(topic, new FakeStorage())
    tables.set(topic, new FakeTable(`/lake/${topic}`, storages.get(topic) as FakeStorage))
    decoders.set(topic, new FakeDecoder())
  }
  prepare?.({ tables, decoders })
  const resolved = resolveOptions({
    queryName: 'q',
    kafka: { brokers: ['localhost:1'] },
    schemaRegistry: { url: 'http://localhost:1' },
    tables: Object.fromEntries(Object.keys(topics).map((topic) => [topic, { path: `/lake/${topic}` }])),
    ...options,
  })
  const systems: Systems = {
    source: (given, stored, { sharing } = {}) => {
      made.source = new FakeSource(topics, given, stored, sharing)
      source?.(made.source)
      return made.source
    },
    decoder: ({ topic }) => decoders.get(topic) as FakeDecoder,
    engineMemory: () => ({ indexes: 64, compaction: 32 }),
    table: async ({ topic }) => {
      await beforeOpen?.(topic)
      const table = tables.get(topic) as FakeTable
      if (table.cannotBeOpened) throw table.cannotBeOpened
      table.closed = false
      table.opened++
      return table
    },
    ...(check ? { check } : {}),
    catalogs: world.catalogs,
    deadLetters: ({ deadLetter }) => (deadLetter ? (deadLetters ?? null) : null),
  }
  const query = await startQuery({
    options: resolved,
    systems,
    logger: silentLogger,
    ...(patienceMs === undefined ? {} : { patienceMs }),
    retryPolicies: { bounded: ofAll(policies), unbounded: ofAll({ ...policies, retries: Number.POSITIVE_INFINITY }) },
  })
  return { query, tables, decoders, storages, source: made.source as FakeSource }
}
