/** Where a topic's snapshots begin and end, by the markers of their first and last rows. */

import type { Vector } from 'apache-arrow'
import { rawValues } from '../arrow/raw-values.js'
import { scanTable } from '../delta/scan.js'
import { KafkaToDeltaError } from '../errors.js'

/** What a changelog must hold of the messages. */
export const MARKER_COLUMNS = ['source.snapshot', 'kafka.timestamp']

const FIRST = ['first', 'first_in_data_collection']
const LAST = ['last', 'last_in_data_collection']
const MARKERS = `__source_snapshot IN (${[...FIRST, ...LAST].map((marker) => `'${marker}'`).join(', ')})`

/** Rows of a snapshot and their messages' times, in microseconds since 1970. */
async function markersOf(changelog: string, where: string): Promise<{ marker: string; time: bigint }[]> {
  const found: { marker: string; time: bigint }[] = []
  for await (const batch of scanTable(changelog, { columns: ['__source_snapshot', '__kafka_timestamp'], where })) {
    const rows = rawValues(batch)
    const [marker, time] = [rows.getChildAt(0) as Vector, rows.getChildAt(1) as Vector]
    for (let row = 0; row < rows.numRows; row++) found.push({ marker: marker.get(row), time: time.get(row) })
  }
  return found
}

/**
 * When the last snapshot began that is whole, in milliseconds since 1970: its markers are in the topic, from the first one
 * to the last one.
 * @throws CONFIG_INVALID where there is none
 */
export async function lastSnapshot(topic: string, changelog: string): Promise<number> {
  const refused = (why: string) =>
    new KafkaToDeltaError('CONFIG_INVALID', `${why}: say when the snapshot began, with --since`, { topic })
  const { fields } = await scanTable(changelog).schema()
  if (!fields.some(({ name }) => name === '__source_snapshot')) {
    throw refused(`topic ${topic} does not tell which rows are a snapshot's (source.snapshot in add.fields)`)
  }
  const markers = await markersOf(changelog, MARKERS)
  const newest = (names: readonly string[], within: (time: bigint) => boolean) =>
    markers
      .filter(({ marker, time }) => names.includes(marker) && within(time))
      .reduce<bigint | null>((most, { time }) => (most === null || time > most ? time : most), null)
  const end = newest(LAST, () => true)
  if (end === null) throw refused(`topic ${topic} holds no snapshot that is whole`)
  const before = newest(LAST, (time) => time < end) ?? -1n
  const within = (time: bigint) => time > before && time <= end
  const start = newest(FIRST, within)
  if (start !== null) return Number(start / 1000n)
  // A table of one row has no other marker.
  const rows = await markersOf(changelog, "__source_snapshot = 'true'")
  if (!rows.some(({ time }) => within(time))) return Number(end / 1000n)
  throw refused(`the beginning of the last snapshot is not in topic ${topic} any more`)
}
