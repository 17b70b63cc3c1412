/**
 * The entries in which a Delta table keeps offsets, by their app ids. `<query>:<topic>:<partition>` is the last offset
 * that was applied. Each may have companions: `…:time` is the timestamp of the message at that offset, by which a topic that
 * was deleted and created again is recognised; `…:lost` is where reading went on after messages were lost; `…:deleted` is the
 * hash of the key where the last message was a delete, by which the tombstone that follows it is recognised.
 */

import type { TableOffset } from './results.js'

export const TIME = ':time'
export const LOST = ':lost'
export const DELETED = ':deleted'

/** Stands for "no value" in a companion: an entry that was committed cannot be removed. */
export const NONE = -1n

/** An entry as the table's info has it. */
export interface StoredOffset {
  appId: string
  version: bigint
}

/** What the app ids of one topic's partitions begin with. */
export const entryPrefix = (queryName: string, topic: string): string => `${queryName}:${topic}:`

/** Partition to what is stored for it under a suffix; without a suffix, the last offset that was applied. */
export function entriesByPartition(
  stored: Iterable<readonly [appId: string, version: bigint]>,
  prefix: string,
  suffix: '' | typeof TIME | typeof LOST | typeof DELETED = '',
): Map<number, bigint> {
  const found = new Map<number, bigint>()
  for (const [appId, version] of stored) {
    if (!appId.startsWith(prefix) || !appId.endsWith(suffix)) continue
    const partition = appId.slice(prefix.length, appId.length - suffix.length)
    if (/^\d+$/.test(partition)) found.set(Number(partition), version)
  }
  return found
}

/** The last offset that a query applied of each partition of a topic. */
export function lastOffsets(queryName: string, topic: string, stored: readonly StoredOffset[]): Map<number, bigint> {
  const entries = stored.map(({ appId, version }) => [appId, version] as const)
  return entriesByPartition(entries, entryPrefix(queryName, topic))
}

/** The entries that say where messages were lost; such a table has to be compared with its source. */
export function lostEntries(offsets: ReadonlyMap<string, bigint>): TableOffset[] {
  const lost = [...offsets].filter(([appId, version]) => /:\d+:lost$/.test(appId) && version >= 0n)
  return lost.map(([appId, version]) => ({ appId, expected: version, last: NONE, mayFall: true }))
}

/** Fences a commit also by the partitions of which the table holds nothing yet: none of them may have come meanwhile. */
export function otherPartitions(offsets: ReadonlyMap<string, bigint>): TableOffset[] {
  const topics = new Set([...offsets.keys()].filter(isOffset).map((appId) => appId.replace(/\d+$/, '*')))
  return [...topics].map((appId) => ({ appId, expected: null, last: NONE }))
}

/** Whether an app id is that of a partition's offset, and not of a companion. */
export const isOffset = (appId: string): boolean => /:\d+$/.test(appId)

/** Whether an app id is that of a companion of a partition's offset. */
export const isCompanionEntry = (appId: string): boolean => /:\d+:(time|lost|deleted)$/.test(appId)
