/** What a topic's settings and offsets mean for a table: what is lost, or soon will be. */

import { asKafkaToDeltaError, type KafkaToDeltaError } from '../../errors.js'
import { maxMessageBytes } from '../../kafka/memory-budget.js'
import { dataLossError, findLoss, type StoredOffsets, storedPosition, type Watermarks } from '../../kafka/positions.js'
import type { TopicState } from '../../kafka/topic-state.js'
import type { ResolvedOptions, ResolvedTable } from '../../options/types.js'
import { traitsOf } from '../../options/write-modes.js'
import { formatBytes, formatCount } from '../../terminal/format.js'
import { type Finding, failure, finding } from '../findings.js'

/** Share of the retention from which on a table that is behind is in danger. */
const NEAR = 0.5

/** Settings that are shown. */
export const SHOWN_SETTINGS = [
  'cleanup.policy',
  'retention.ms',
  'retention.bytes',
  'delete.retention.ms',
  'max.message.bytes',
  'message.timestamp.type',
]

export interface TopicSituation {
  table: ResolvedTable
  state: TopicState
  /** What the table holds; null where it could not be looked at. */
  stored: StoredOffsets | null
  now: number
}

interface Settings {
  compacts: boolean
  expires: boolean
  retentionMs: number
  deleteRetentionMs: number
  maxMessageBytes: number
}

function settingsOf(settings: ReadonlyMap<string, string>): Settings {
  const policy = settings.get('cleanup.policy') ?? 'delete'
  const number = (name: string) => Number(settings.get(name) ?? Number.NaN)
  const bounded = (name: string) => number(name) >= 0
  return {
    compacts: policy.includes('compact'),
    expires: policy.includes('delete') && (bounded('retention.ms') || bounded('retention.bytes')),
    retentionMs: bounded('retention.ms') ? number('retention.ms') : Number.POSITIVE_INFINITY,
    deleteRetentionMs: number('delete.retention.ms'),
    maxMessageBytes: number('max.message.bytes'),
  }
}

/** Milliseconds in words. */
function duration(ms: number): string {
  const hours = ms / 3_600_000
  if (hours >= 48) return `${Math.round(hours / 24)} days`
  return hours >= 2 ? `${Math.round(hours)} hours` : `${Math.max(1, Math.round(ms / 60_000))} minutes`
}

/** Offsets that are gone, as a start would say it. */
export function losses({ table, state, stored }: TopicSituation, options: ResolvedOptions): Finding[] {
  const found: KafkaToDeltaError[] = []
  for (const [partition, marks] of state.partitions) {
    try {
      if (stored === null) continue
      const position = storedPosition(table.topic, partition, stored, marks)
      const loss = position === null ? null : findLoss(table.topic, partition, position, marks)
      if (loss) found.push(dataLossError(loss))
    } catch (error) {
      found.push(asKafkaToDeltaError(error))
    }
  }
  return found.map((error) =>
    failure(error, error.code === 'DATA_LOSS' && !options.failOnDataLoss ? 'warning' : 'error'),
  )
}

/** The age of the oldest position that has messages to come, in milliseconds; null where there is none. */
function ageBehind({ state, stored, now }: TopicSituation): number | null {
  const ages = [...state.partitions].flatMap(([partition, { high }]) => {
    const record = stored?.records?.get(partition)
    return record && high > record.offset + 1n ? [now - Number(record.timestamp)] : []
  })
  return ages.length === 0 ? null : Math.max(...ages)
}

/** The least share of what a partition holds that is left before the table's position. */
function roomBefore({ state, stored }: TopicSituation): number {
  const shares = [...state.partitions].flatMap(([partition, { low, high }]) => {
    const last = stored?.last.get(partition)
    if (last === undefined || last + 1n >= high || low === 0n) return []
    return [Number(last + 1n - low) / Number(high - low)]
  })
  return Math.min(1, ...shares)
}

function retention(situation: TopicSituation, settings: Settings): Finding | null {
  if (!settings.expires) return null
  const age = ageBehind(situation)
  const byAge = age !== null && age > settings.retentionMs * NEAR
  const byBytes = roomBefore(situation) < 0.1
  if (!byAge && !byBytes) return null
  const what = byAge
    ? `the table is ${duration(age)} behind, and the topic keeps messages for ${duration(settings.retentionMs)}`
    : "the table's position is near the beginning of what the topic still holds"
  return finding(
    'RETENTION_NEAR',
    `${what}: messages may be removed before they are applied`,
    'let the query catch up, and raise retention.ms (and retention.bytes) of the topic above the longest pause of the query',
  )
}

/** A new table whose topic has lost its beginning. */
function beginning(
  { table, state, stored }: TopicSituation,
  options: ResolvedOptions,
  settings: Settings,
): Finding | null {
  if (stored === null || stored.exists || settings.compacts || options.startingOffsets !== 'earliest') return null
  const cut = [...state.partitions].filter(([, { low }]) => low > 0n)
  if (cut.length === 0) return null
  const [[partition, { low }]] = cut as [[number, Watermarks]]
  return finding(
    'TOPIC_CUT',
    `the topic has lost its beginning (partition ${partition} begins at offset ${low}): rows that did not change since are not ` +
      'in it, and a new table lacks them',
    `let Debezium take a new snapshot of ${table.topic} (a signal for an incremental one), before or after the start`,
  )
}

function compaction({ table, stored }: TopicSituation, settings: Settings): Finding | null {
  if (!settings.compacts) return null
  if (!traitsOf(table.writeMode).equalsSource) {
    return finding(
      'COMPACTED_HISTORY',
      `the topic is compacted: of the changes of a key only the last stays for sure, and a table with writeMode ${table.writeMode} is to have them all`,
      'set cleanup.policy=delete for this topic, with a retention above the longest pause of the query',
    )
  }
  if (!settings.expires || stored === null || stored.exists) return null
  return finding(
    'ROWS_EXPIRE',
    `cleanup.policy is compact,delete: rows that did not change for ${duration(settings.retentionMs)} leave the topic, and a table made after that lacks them`,
    'set cleanup.policy=compact, or take a new snapshot when a table is made anew',
  )
}

function tombstones(situation: TopicSituation, settings: Settings): Finding | null {
  if (!settings.compacts || !(settings.deleteRetentionMs >= 0)) return null
  const age = ageBehind(situation)
  if (age === null || age <= settings.deleteRetentionMs) return null
  return finding(
    'TOMBSTONES_EXPIRE',
    `the table is ${duration(age)} behind, and compaction removes deletes after ${duration(settings.deleteRetentionMs)} (delete.retention.ms): rows ` +
      'deleted meanwhile may stay in the table',
    'raise delete.retention.ms, let the query catch up, then compare: verify --repair, or resync after a new snapshot',
  )
}

function sizes({ state }: TopicSituation, { limits }: ResolvedOptions, settings: Settings | null): Finding | null {
  const sampled = state.newest.flatMap(({ messages }) => [...messages].map(({ value }) => value?.length ?? 0))
  const largest = sampled.reduce((most, size) => Math.max(most, size), 0)
  const allowed = settings?.maxMessageBytes ?? Number.NaN
  const size = Math.max(largest, Number.isNaN(allowed) ? 0 : allowed)
  if (size <= limits.maxBatchBytes) return null
  const what = size === largest ? 'a message of the topic has' : 'the topic takes messages of'
  const most = maxMessageBytes(limits.maxMemory)
  if (size > most) {
    return finding(
      'MESSAGE_TOO_LARGE',
      `${what} ${formatBytes(size)} (max.message.bytes), above an eighth of limits.maxMemory (${formatBytes(most)}): such a message is a bad record`,
      'give the process more memory, and raise limits.maxMemory; or lower max.message.bytes',
    )
  }
  return finding(
    'MESSAGE_TOO_LARGE',
    `${what} ${formatBytes(size)} (max.message.bytes), above limits.maxBatchBytes (${formatBytes(limits.maxBatchBytes)}): such a message is a batch of ` +
      'its own, and takes a multiple of its size while it is decoded',
    'give the process memory for it, and raise limits.maxBatchBytes and maxQueueBytes; or lower max.message.bytes',
  )
}

/** All that a topic's settings and offsets say. */
export function topicFindings(situation: TopicSituation, options: ResolvedOptions): Finding[] {
  const { state } = situation
  const found: (Finding | null)[] = losses(situation, options)
  const settings = state.settings === null ? null : settingsOf(state.settings)
  found.push(sizes(situation, options, settings))
  if (settings === null) {
    const message = 'this user may not see the settings of the topic: retention and compaction are not checked'
    found.push(
      finding('SETTINGS_HIDDEN', message, 'give it the operation DescribeConfigs on the topic, for this check'),
    )
  } else {
    found.push(retention(situation, settings), beginning(situation, options, settings))
    found.push(compaction(situation, settings), tombstones(situation, settings))
  }
  const held = [...state.partitions.values()].reduce((sum, { low, high }) => sum + (high - low), 0n)
  if (held === 0n) {
    const message = `the topic holds no message (${formatCount(state.partitions.size)} partitions): its table is made by the first row`
    found.push(finding('TOPIC_EMPTY', message, 'nothing, or a snapshot of the source table'))
  }
  return found.filter((one) => one !== null)
}
