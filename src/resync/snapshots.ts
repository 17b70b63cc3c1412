/**
 * Where a topic's last snapshot begins in each partition, as far as the log proves it. Offsets order the messages of one
 * partition, and nothing orders those of two but their times, whose clocks may differ by {@link SKEW_MS}. So a partition is
 * read from a message on before which none of the snapshot can be.
 */

import type { Vector } from 'apache-arrow'
import { rawValues } from '../arrow/raw-values.js'
import { scanTable } from '../delta/scan.js'
import { KafkaToDeltaError } from '../errors.js'

/** What a changelog must hold of the messages: of envelopes, and of flattened values, which have it where it was added. */
export const MARKER_COLUMNS = [
  ...['source.snapshot', 'source.db', 'source.table', 'ts_ms'],
  ...['kafka.partition', 'kafka.offset', 'kafka.timestamp'],
]
export const ADDED_COLUMNS = ['__source_snapshot', '__ts_ms', '__source_db', '__db', '__source_table', '__table']

/** Clocks of brokers, and of a worker of Connect from one moment to another, are as near as that, in milliseconds. */
export const SKEW_MS = 10 * 60_000

/** Of a message that has none: it may be of any time, also since the snapshot began. */
const NO_TIME = 2n ** 62n

const FIRST = ['first', 'first_in_data_collection']
const LAST = ['last', 'last_in_data_collection']
const ROWS = new Set(['true', ...FIRST, ...LAST])
const MARKERS = `__source_snapshot IN (${[...FIRST, ...LAST].map((marker) => `'${marker}'`).join(', ')})`

/** The last snapshot of a topic. */
export interface Snapshot {
  /** When it began, in milliseconds since 1970. */
  start: number
  /** The partitions that hold messages. */
  partitions: ReadonlyMap<number, PartitionWindow>
}

export interface PartitionWindow {
  /** No row of the snapshot lies before this offset. */
  from: bigint
  /** From here on messages are since the snapshot began, by their times; before it that is not certain. */
  certain: bigint
  /** A message from before `from` is there: nothing after it is lost. */
  isWhole: boolean
}

/** A message of the changelog; the times are in microseconds since 1970. */
interface Message {
  partition: number
  offset: bigint
  time: bigint
  marker: string | null
}

class Changelog {
  readonly #path: string
  readonly #columns: readonly string[]

  private constructor(path: string, columns: readonly string[]) {
    this.#path = path
    this.#columns = columns
  }

  static async open(path: string): Promise<Changelog> {
    const { fields } = await scanTable(path).schema()
    return new Changelog(
      path,
      fields.map(({ name }) => name),
    )
  }

  has(column: string): boolean {
    return this.#columns.includes(column)
  }

  /** Calls `see` for each message, in no certain order; it must not keep the object. */
  async each(see: (message: Message) => void, where?: string): Promise<void> {
    const own = this.has('__ts_ms') ? ['__ts_ms'] : []
    const columns = ['__kafka_partition', '__kafka_offset', '__kafka_timestamp', '__source_snapshot', ...own]
    for await (const batch of scanTable(this.#path, { columns, ...(where === undefined ? {} : { where }) })) {
      const rows = rawValues(batch)
      const [partition, offset, stamp, marker, told] = columns.map((_, i) => rows.getChildAt(i) as Vector)
      for (let row = 0; row < rows.numRows; row++) {
        // The connector has one clock; brokers that stamp messages as they append them have one each.
        const ms = told?.get(row) ?? null
        see({
          partition: partition?.get(row),
          offset: offset?.get(row),
          time: ms === null ? (stamp?.get(row) ?? NO_TIME) : BigInt(ms) * 1000n,
          marker: marker?.get(row),
        })
      }
    }
  }

  /** The values of a column, null aside. */
  async valuesOf(column: string): Promise<Set<unknown>> {
    const found = new Set<unknown>()
    for await (const batch of scanTable(this.#path, { columns: [column], where: MARKERS })) {
      const values = batch.getChildAt(0) as Vector
      for (let row = 0; row < batch.numRows; row++) if (values.get(row) !== null) found.add(values.get(row))
    }
    return found
  }
}

/**
 * The last snapshot of a topic that is whole: its markers are there, from the first one to the last one.
 * @param path a changelog of the topic, with {@link MARKER_COLUMNS}
 * @throws CONFIG_INVALID where there is none, or where snapshots of several tables are in the topic
 */
export async function lastSnapshot(topic: string, path: string): Promise<Snapshot> {
  const refused = (why: string) =>
    new KafkaToDeltaError('CONFIG_INVALID', `${why}: say when the snapshot began, with --since`, { topic })
  const changelog = await Changelog.open(path)
  if (!changelog.has('__source_snapshot')) {
    throw refused(`topic ${topic} does not tell which rows are a snapshot's (source.snapshot in add.fields)`)
  }
  for (const column of ADDED_COLUMNS.filter((name) => /(db|table)$/.test(name) && changelog.has(name))) {
    const tables = await changelog.valuesOf(column)
    // Each has its own markers: those of one say nothing of the others.
    if (tables.size > 1) throw refused(`topic ${topic} holds snapshots of several tables (${[...tables].join(', ')})`)
  }
  const { first, last } = await markersOf(changelog, topic, refused)
  return { start: Number(first.time / 1000n), partitions: await windowsOf(changelog, first, last) }
}

async function markersOf(
  changelog: Changelog,
  topic: string,
  refused: (why: string) => Error,
): Promise<{ first: Message; last: Message }> {
  const markers: Message[] = []
  await changelog.each((message) => markers.push(message), MARKERS)
  const newest = (names: readonly string[], within: (time: bigint) => boolean) =>
    markers
      .filter(({ marker, time }) => names.includes(marker ?? '') && within(time))
      .reduce<Message | null>((most, one) => (most === null || one.time > most.time ? one : most), null)
  const last = newest(LAST, () => true)
  if (last === null) throw refused(`topic ${topic} holds no snapshot that is whole`)
  const before = newest(LAST, (time) => time < last.time)?.time ?? -1n
  const within = (time: bigint) => time > before && time <= last.time
  const first = newest(FIRST, within)
  if (first !== null) return { first, last }
  // A table of one row has no other marker.
  let isAlone = true
  await changelog.each(({ time }) => {
    if (within(time)) isAlone = false
  }, "__source_snapshot = 'true'")
  if (isAlone) return { first: last, last }
  throw refused(`the beginning of the last snapshot is not in topic ${topic} any more`)
}

/** What a partition holds, by offsets. */
interface Seen {
  lowest: bigint
  highest: bigint
  /** The first message that may be since the snapshot began. */
  since: bigint | null
  /** The first one that is, by its time. */
  certain: bigint | null
  /** The first row of a snapshot that may be this one. */
  row: bigint | null
  /** The last message before that row that is no row of a snapshot. */
  change: bigint | null
}

const least = (one: bigint | null, other: bigint) => (one === null || other < one ? other : one)
const most = (one: bigint | null, other: bigint) => (one === null || other > one ? other : one)

async function windowsOf(changelog: Changelog, first: Message, last: Message): Promise<Map<number, PartitionWindow>> {
  const begin = first.time - BigInt(SKEW_MS) * 1000n
  const all = new Map<number, Seen>()
  /** Rows of another snapshot may follow, which is not whole. */
  let isFollowed = false
  await changelog.each(({ partition, offset, time, marker }) => {
    const seen = all.get(partition)
    if (!seen) {
      const none = { since: null, certain: null, row: null, change: null }
      all.set(partition, { lowest: offset, highest: offset, ...none })
    }
    const at = all.get(partition) as Seen
    at.lowest = least(at.lowest, offset)
    at.highest = most(at.highest, offset)
    if (time >= first.time) at.certain = least(at.certain, offset)
    if (time < begin) return
    at.since = least(at.since, offset)
    if (!ROWS.has(marker ?? '')) return
    at.row = least(at.row, offset)
    if (time > last.time || (partition === last.partition && offset > last.offset)) isFollowed = true
  })
  await changelog.each(({ partition, offset, marker }) => {
    const at = all.get(partition) as Seen
    if (at.row !== null && offset < at.row && !ROWS.has(marker ?? '')) at.change = most(at.change, offset)
  })
  return new Map(
    [...all].map(([partition, seen]) => {
      const from = partition === first.partition ? first.offset : startOf(seen, isFollowed)
      const certain = partition === first.partition ? first.offset : (seen.certain ?? seen.highest + 1n)
      return [partition, { from, certain, isWhole: from > seen.lowest }]
    }),
  )
}

/**
 * A connector sends no changes amid a snapshot: the last change before its rows is from before it. Where another snapshot
 * follows, its rows may be taken for this one's, and changes between the two must not be left out.
 */
function startOf({ since, change, highest }: Seen, isFollowed: boolean): bigint {
  const from = since ?? highest + 1n
  return isFollowed || change === null || change < from ? from : change + 1n
}
