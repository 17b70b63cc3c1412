/**
 * The keys that a topic shows since its last full snapshot began, as the source's side of a comparison: what the table has
 * beyond them was removed while nobody told (a truncate of a flattened stream, rows deleted while a slot was lost).
 *
 * A query of its own writes keys, operations and positions of the topic to a changelog in a local folder, and goes on while
 * the comparison runs.
 */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { RecordBatch, Vector } from 'apache-arrow'
import { decimalText, rawValues } from '../arrow/raw-values.js'
import { scanTable } from '../delta/scan.js'
import { KafkaToDeltaError } from '../errors.js'
import { askKafka } from '../kafka/ask.js'
import { fetchWatermarks } from '../kafka/positions.js'
import { createLogger } from '../log.js'
import type { ResolvedOptions, ResolvedTable } from '../options/types.js'
import { realSystems } from '../stream/connect.js'
import type { StreamingQuery } from '../stream/query.js'
import { startQuery } from '../stream/start.js'
import { comparable, type DeltaType } from '../verify/comparable.js'
import { same } from '../verify/source-text.js'
import type { KeySide, Reading, Selection, SourceRow, SourceTable } from '../verify/sources/source.js'

const METADATA = ['source.snapshot', 'operation', 'kafka.partition', 'kafka.offset', 'kafka.timestamp']
/** The markers of a snapshot's first and last row. */
const FIRST = ['first', 'first_in_data_collection']
const LAST = ['last', 'last_in_data_collection']
const MARKERS = `__source_snapshot IN (${[...FIRST, ...LAST].map((marker) => `'${marker}'`).join(', ')})`

/** A key that the topic shows: its values as they are stored, and as a comparison has them. */
interface LiveKey {
  values: readonly unknown[]
  texts: readonly string[]
}

/** The order in which a comparison reads a table: numbers by their size, texts by their UTF-8 bytes. */
function byKey(a: LiveKey, b: LiveKey): number {
  for (const [i, one] of a.values.entries()) {
    const order = compareValues(one, b.values[i])
    if (order !== 0) return order
  }
  return 0
}

function compareValues(a: unknown, b: unknown): number {
  if (typeof a === 'string') return Buffer.compare(Buffer.from(a), Buffer.from(b as string))
  if (a instanceof Uint8Array) return Buffer.compare(a, b as Uint8Array)
  if (a instanceof Uint32Array) return compareValues(decimalOf(a), decimalOf(b as Uint32Array))
  return (a as number | bigint) < (b as number | bigint) ? -1 : a === b ? 0 : 1
}

/** The unscaled number of a decimal. */
const decimalOf = (words: Uint32Array) => BigInt(decimalText(words, 0))

/** Keys need no SQL here: they are looked up in memory. */
const SIDE: KeySide = { sql: '', parameter: same as KeySide['parameter'], from: same as KeySide['from'] }
const READING: Reading = { sql: '', value: same, key: { order: SIDE, find: SIDE } }

export interface TopicSourceOptions {
  options: ResolvedOptions
  table: ResolvedTable
  /** The key's columns, with their types in the table. */
  key: readonly { name: string; type: DeltaType }[]
  /** When the snapshot began, in milliseconds since 1970. Null: at the first marker of the last one that is whole. */
  since: number | null
}

export class TopicSource implements SourceTable {
  readonly columns: readonly string[]
  readonly #given: TopicSourceOptions
  readonly #folder: string
  readonly #query: StreamingQuery
  /** When the snapshot began, in microseconds since 1970. */
  #start = 0n

  private constructor(given: TopicSourceOptions, folder: string, query: StreamingQuery) {
    this.#given = given
    this.#folder = folder
    this.#query = query
    this.columns = given.key.map(({ name }) => name)
  }

  /**
   * Reads the topic up to its end as it is now.
   * @throws CONFIG_INVALID where the topic has no whole snapshot, and what the stream of the topic throws
   */
  static async open(given: TopicSourceOptions): Promise<TopicSource> {
    const folder = mkdtempSync(join(tmpdir(), 'kafka2delta-resync-'))
    const { options, table } = given
    const changelog: ResolvedTable = {
      ...table,
      uri: join(folder, 'changelog'),
      storageOptions: {},
      writeMode: 'append',
      metadataColumns: METADATA,
      // Key columns always are there; flattened values have the marker as a field.
      includeColumns: ['__source_snapshot'],
      excludeColumns: [],
      additionalCols: [],
      partitionCols: [],
      clusterBy: [],
      tableProperties: {},
      maintenance: null,
      indexDir: null,
      deadLetter: null,
      onBadRecord: 'fail',
    }
    const logger = createLogger('silent')
    const own: ResolvedOptions = {
      ...options,
      queryName: `${options.queryName}-resync`,
      tables: [changelog],
      startingOffsets: 'earliest',
      trigger: { processingTime: 50 },
    }
    try {
      const query = await startQuery({ options: own, systems: realSystems(own, logger), logger })
      const source = new TopicSource(given, folder, query)
      try {
        await source.refresh()
        source.#start = given.since === null ? await source.#lastSnapshot() : BigInt(given.since) * 1000n
        await source.#mustBeWhole()
        return source
      } catch (error) {
        await query.stop()
        throw error
      }
    } catch (error) {
      rmSync(folder, { recursive: true, force: true })
      throw error
    }
  }

  /** When the snapshot began. */
  get start(): Date {
    return new Date(Number(this.#start / 1000n))
  }

  /** Reads on, to the topic's end as it is now. */
  async refresh(): Promise<void> {
    await this.#query.processAllAvailable()
  }

  reading(): Reading {
    return READING
  }

  async *rows({ columns }: Selection, fetchSize: number): AsyncIterable<readonly SourceRow[]> {
    const live = [...(await this.#live()).values()].sort(byKey)
    for (let from = 0; from < live.length; from += fetchSize) {
      yield live.slice(from, from + fetchSize).map((key) => this.#asRow(key, columns))
    }
  }

  async rowsOf({ columns }: Selection, keys: readonly (readonly string[])[]): Promise<readonly SourceRow[]> {
    const live = await this.#live()
    return keys.flatMap((key) => {
      const found = live.get(JSON.stringify(key))
      return found ? [this.#asRow(found, columns)] : []
    })
  }

  async close(): Promise<void> {
    await this.#query.stop()
    rmSync(this.#folder, { recursive: true, force: true })
  }

  /** The keys whose last change since the snapshot's beginning is no delete, by their texts. */
  async #live(): Promise<Map<string, LiveKey>> {
    const names = this.#given.key.map(({ name }) => name)
    const hows = this.#given.key.map(({ type }) => comparable(type))
    const last = new Map<string, LiveKey & { time: bigint; offset: bigint; isDelete: boolean }>()
    const columns = [...names, '__operation', '__kafka_timestamp', '__kafka_offset']
    for await (const rows of this.#scan(columns)) {
      const [op, time, offset] = [-3, -2, -1].map((at) => rows.getChildAt(columns.length + at) as Vector)
      const keys = names.map((_, i) => rows.getChildAt(i) as Vector)
      for (let row = 0; row < rows.numRows; row++) {
        const at = { time: time?.get(row) as bigint, offset: offset?.get(row) as bigint }
        const values = keys.map((key) => key.get(row) as unknown)
        if (at.time < this.#start || values.includes(null)) continue
        const texts = values.map((value, i) => hows[i]?.stored(value) ?? '')
        const text = JSON.stringify(texts)
        const known = last.get(text)
        if (known && (known.time > at.time || (known.time === at.time && known.offset > at.offset))) continue
        last.set(text, { values, texts, ...at, isDelete: op?.get(row) === 'd' })
      }
    }
    for (const [text, { isDelete }] of last) if (isDelete) last.delete(text)
    return last
  }

  /** The changelog's rows, batch by batch. */
  async *#scan(columns: readonly string[], where?: string): AsyncIterable<RecordBatch> {
    const scan = scanTable(join(this.#folder, 'changelog'), { columns, ...(where !== undefined && { where }) })
    for await (const batch of scan) yield rawValues(batch)
  }

  #asRow({ texts }: LiveKey, columns: Selection['columns']): SourceRow {
    return columns.map(({ field }) => texts[this.columns.indexOf(field)] ?? null)
  }

  /** The times of the snapshot's markers, in microseconds since 1970. */
  async #markers(): Promise<{ marker: string; time: bigint }[]> {
    const found: { marker: string; time: bigint }[] = []
    for await (const rows of this.#scan(['__source_snapshot', '__kafka_timestamp'], MARKERS)) {
      const [marker, time] = [rows.getChildAt(0) as Vector, rows.getChildAt(1) as Vector]
      for (let row = 0; row < rows.numRows; row++) found.push({ marker: marker.get(row), time: time.get(row) })
    }
    return found
  }

  /** When the last snapshot began that is whole: its markers are in the topic, from the first one to the last one. */
  async #lastSnapshot(): Promise<bigint> {
    const { topic } = this.#given.table
    const refused = (why: string) =>
      new KafkaToDeltaError('CONFIG_INVALID', `${why}: say when the snapshot began, with --since`, { topic })
    const { fields } = await scanTable(join(this.#folder, 'changelog')).schema()
    if (!fields.some(({ name }) => name === '__source_snapshot')) {
      throw refused(`topic ${topic} does not tell which rows are a snapshot's (source.snapshot in add.fields)`)
    }
    const markers = await this.#markers()
    const newest = (names: readonly string[], within: (time: bigint) => boolean) =>
      markers
        .filter(({ marker, time }) => names.includes(marker) && within(time))
        .reduce<bigint | null>((most, { time }) => (most === null || time > most ? time : most), null)
    const end = newest(LAST, () => true)
    if (end === null) throw refused(`topic ${topic} holds no snapshot that is whole`)
    const before = newest(LAST, (time) => time < end) ?? -1n
    const within = (time: bigint) => time > before && time <= end
    const start = newest(FIRST, within)
    if (start !== null) return start
    // A table of one row has no other marker.
    for await (const rows of this.#scan(['__kafka_timestamp'], "__source_snapshot = 'true'")) {
      if ([...(rows.getChildAt(0) as Vector)].some((time) => within(time as bigint))) {
        throw refused(`the beginning of the last snapshot is not in topic ${topic} any more`)
      }
    }
    return end
  }

  /** The time of the oldest message of each partition, in microseconds since 1970. */
  async #firstTimes(): Promise<Map<number, bigint>> {
    const first = new Map<number, bigint>()
    for await (const rows of this.#scan(['__kafka_partition', '__kafka_timestamp'])) {
      const [partitions, times] = [rows.getChildAt(0) as Vector, rows.getChildAt(1) as Vector]
      for (let row = 0; row < rows.numRows; row++) {
        const [partition, time] = [Number(partitions.get(row)), times.get(row) as bigint]
        const known = first.get(partition)
        if (known === undefined || time < known) first.set(partition, time)
      }
    }
    return first
  }

  /** No partition may have lost messages since the snapshot began: their keys would be taken for removed ones. */
  async #mustBeWhole(): Promise<void> {
    const { options, table } = this.#given
    const { kafka, queryName } = options
    const { topic } = table
    const first = await this.#firstTimes()
    const marks = await askKafka(
      { kafka, queryName, retry: { retries: 2 } },
      `topic ${topic} cannot be looked at`,
      (admin) => fetchWatermarks(admin, topic),
    )
    for (const [partition, { low, high }] of marks) {
      const since = first.get(partition)
      if (low === 0n || low === high || (since !== undefined && since < this.#start)) continue
      throw new KafkaToDeltaError(
        'DATA_LOSS',
        `topic ${topic}, partition ${partition} begins at offset ${low}, and no message there is from before ` +
          `${this.start.toISOString()}: what it held of the snapshot may be gone; take a new one`,
        { topic, partition },
      )
    }
  }
}
