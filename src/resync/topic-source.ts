/**
 * The keys that a topic shows since its last full snapshot began, as the source's side of a comparison: what the table has
 * beyond them was removed while nobody told (a truncate of a flattened stream, rows deleted while a slot was lost).
 *
 * A query of its own applies the topic from there on to a table of keys in a local folder, by the same rules of order as
 * the stream's, and goes on while the comparison runs.
 */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Admin } from 'kafkajs'
import { entryPrefix, NONE, type StoredOffset, TIME } from '../delta/offset-entries.js'
import type { DeltaType } from '../delta/schema-json.js'
import { KafkaToDeltaError } from '../errors.js'
import { askKafka } from '../kafka/ask.js'
import { fetchWatermarks } from '../kafka/positions.js'
import { createLogger } from '../log.js'
import type { ResolvedOptions, ResolvedTable } from '../options/types.js'
import { realSystems } from '../stream/connect.js'
import type { StreamingQuery } from '../stream/query.js'
import { startQuery } from '../stream/start.js'
import { same } from '../verify/source-text.js'
import type { KeySide, Reading, Selection, SourceRow, SourceTable } from '../verify/sources/source.js'
import { FEED, type LiveKey, LiveKeys, PLACE_COLUMNS } from './live-keys.js'
import {
  ADDED_COLUMNS,
  lastSnapshot,
  MARKER_COLUMNS,
  type PartitionWindow,
  SKEW_MS,
  type Snapshot,
} from './snapshots.js'

export interface TopicSourceOptions {
  options: ResolvedOptions
  table: ResolvedTable
  /** The key's columns, with their types in the table. */
  key: readonly { name: string; type: DeltaType }[]
  /** When the snapshot began, in milliseconds since 1970. Null: at the first marker of the last one that is whole. */
  since: number | null
  /** Entries of the table: the offsets that the stream has applied. */
  stored?: readonly StoredOffset[]
}

/** What both queries have that read a topic for itself. */
const OWN: Partial<ResolvedTable> = {
  storageOptions: {},
  deletes: 'hard',
  shared: false,
  excludeColumns: [],
  additionalCols: [],
  partitionCols: [],
  clusterBy: [],
  tableProperties: {},
  indexDir: null,
  deadLetter: null,
  catalog: null,
  onBadRecord: 'fail',
  onMissingValue: 'null',
  keyIndex: 'auto',
}

function startReading(
  { options, table }: TopicSourceOptions,
  own: Partial<ResolvedTable>,
  more: Partial<ResolvedOptions>,
): Promise<StreamingQuery> {
  const logger = createLogger('silent')
  const all: ResolvedOptions = {
    ...options,
    queryName: `${options.queryName}-resync`,
    // Keys of messages that are gone meanwhile would be taken for removed ones.
    failOnDataLoss: true,
    tables: [{ ...table, ...OWN, ...own }],
    ...more,
  }
  return startQuery({ options: all, systems: realSystems(all, logger), logger })
}

/** Keys need no SQL here: they are looked up in memory. */
const SIDE: KeySide = { sql: '', parameter: same as KeySide['parameter'], from: same as KeySide['from'] }
const READING: Reading = { sql: '', value: same, key: { order: SIDE, find: SIDE } }

export class TopicSource implements SourceTable {
  readonly columns: readonly string[]
  readonly #folder: string
  readonly #query: StreamingQuery
  readonly #snapshot: Snapshot
  /** The keys whose last change is no delete. */
  readonly #live: LiveKeys

  private constructor(folder: string, query: StreamingQuery, snapshot: Snapshot, live: LiveKeys, columns: string[]) {
    this.#folder = folder
    this.#query = query
    this.#snapshot = snapshot
    this.#live = live
    this.columns = columns
  }

  /**
   * Reads the topic up to its end as it is now.
   * @throws CONFIG_INVALID where the topic has no whole snapshot, and what the stream of the topic throws
   */
  static async open(given: TopicSourceOptions): Promise<TopicSource> {
    const folder = mkdtempSync(join(tmpdir(), 'kafka2delta-resync-'))
    try {
      const snapshot = await snapshotOf(given, join(folder, 'changelog'))
      await mustBeWhole(given, snapshot)
      const trigger = { processingTime: 50, maxDelay: 0 }
      const own = {
        uri: keysIn(folder),
        writeMode: 'upsert',
        metadataColumns: PLACE_COLUMNS,
        includeColumns: [],
        tableProperties: FEED,
        trigger,
      } as const
      const from = new Map<number | '*', bigint>([['*', -2n]])
      for (const [partition, window] of snapshot.partitions) from.set(partition, window.from)
      const startingOffsets = { offsets: new Map([[given.table.topic, from]]) }
      const live = await LiveKeys.open(keysIn(folder), given.key)
      let query: StreamingQuery | null = null
      try {
        query = await startReading(given, own, { startingOffsets, trigger })
        const columns = given.key.map(({ name }) => name)
        const source = new TopicSource(folder, query, snapshot, live, columns)
        await source.refresh()
        return source
      } catch (error) {
        await query?.stop()
        await live.close()
        throw error
      }
    } catch (error) {
      rmSync(folder, { recursive: true, force: true })
      throw error
    }
  }

  /** When the snapshot began. */
  get start(): Date {
    return new Date(this.#snapshot.start)
  }

  /**
   * Keys of which the last message is from before the snapshot began by its time, though the snapshot may have brought it:
   * the log does not tell that they are gone.
   */
  get numUncertain(): number {
    let count = 0
    for (const { partition, offset } of this.#live.values()) {
      const certain = this.#snapshot.partitions.get(partition)?.certain
      if (certain !== undefined && offset < certain) count++
    }
    return count
  }

  reading(): Reading {
    return READING
  }

  /** Reads on, to the topic's end as it is now: only what is new. */
  async refresh(): Promise<void> {
    await this.#query.processAllAvailable()
    await this.#live.refresh()
  }

  async *rows({ columns }: Selection, fetchSize: number): AsyncIterable<readonly SourceRow[]> {
    const live = this.#live.sorted()
    for (let from = 0; from < live.length; from += fetchSize) {
      yield live.slice(from, from + fetchSize).map((key) => this.#asRow(key, columns))
    }
  }

  async rowsOf({ columns }: Selection, keys: readonly (readonly string[])[]): Promise<readonly SourceRow[]> {
    return keys.flatMap((key) => {
      const found = this.#live.get(key)
      return found ? [this.#asRow(found, columns)] : []
    })
  }

  async close(): Promise<void> {
    await this.#query.stop()
    await this.#live.close()
    rmSync(this.#folder, { recursive: true, force: true })
  }

  #asRow({ texts }: LiveKey, columns: Selection['columns']): SourceRow {
    return columns.map(({ field }) => texts[this.columns.indexOf(field)] ?? null)
  }
}

const keysIn = (folder: string) => join(folder, 'keys')

/** The snapshot that the keys are compared with: the last one that is whole, or what the caller says began then. */
async function snapshotOf(given: TopicSourceOptions, changelog: string): Promise<Snapshot> {
  const { topic } = given.table
  if (given.since !== null) return since(given, given.since)
  // Flattened values have the marker as a field.
  const trigger = { availableNow: true } as const
  const own = { uri: changelog, writeMode: 'append', maintenance: null, trigger } as const
  const columns = { metadataColumns: MARKER_COLUMNS, includeColumns: ADDED_COLUMNS }
  const query = await startReading(given, { ...own, ...columns }, { startingOffsets: 'earliest', trigger })
  await query.awaitTermination()
  return lastSnapshot(topic, changelog)
}

/** Whoever names the moment has another clock than those who stamped the messages. */
async function since(given: TopicSourceOptions, start: number): Promise<Snapshot> {
  const { topic } = given.table
  const [marks, from, certain] = await ask(given, (admin) =>
    Promise.all([
      fetchWatermarks(admin, topic),
      admin.fetchTopicOffsetsByTimestamp(topic, Math.max(0, start - SKEW_MS)),
      admin.fetchTopicOffsetsByTimestamp(topic, Math.max(0, start)),
    ]),
  )
  const partitions = new Map<number, PartitionWindow>()
  for (const [partition, { low, high }] of marks) {
    if (low === high) continue
    const of = (found: typeof from) => BigInt(found.find((one) => one.partition === partition)?.offset ?? low)
    const first = of(from)
    partitions.set(partition, { from: first, certain: of(certain), isWhole: first > low })
  }
  return { start, partitions }
}

/** No partition may have lost messages since the snapshot began: their keys would be taken for removed ones. */
async function mustBeWhole(given: TopicSourceOptions, { start, partitions }: Snapshot): Promise<void> {
  const { topic } = given.table
  const marks = await ask(given, (admin) => fetchWatermarks(admin, topic))
  for (const [partition, { low, high }] of marks) {
    if (low === 0n || partitions.get(partition)?.isWhole) continue
    const last = lastApplied(given, partition)
    if (last.offset === high - 1n && last.time >= 0n && Number(last.time) < start - SKEW_MS) continue
    throw new KafkaToDeltaError(
      'DATA_LOSS',
      `topic ${topic}, partition ${partition} begins at offset ${low}, and no message there is from before ` +
        `${new Date(start).toISOString()}: what it held of the snapshot may be gone; take a new one`,
      { topic, partition },
    )
  }
}

/** The last message of a partition that the stream has applied; the numbers are negative where that is not known. */
function lastApplied({ options, table, stored = [] }: TopicSourceOptions, partition: number) {
  const appId = entryPrefix(options.queryName, table.topic) + partition
  const of = (id: string) => stored.find((entry) => entry.appId === id)?.version ?? NONE
  return { offset: of(appId), time: of(appId + TIME) }
}

function ask<T>({ options, table }: TopicSourceOptions, question: (admin: Admin) => Promise<T>): Promise<T> {
  const { kafka, queryName } = options
  return askKafka({ kafka, queryName, retry: { retries: 2 } }, `topic ${table.topic} cannot be looked at`, question)
}
