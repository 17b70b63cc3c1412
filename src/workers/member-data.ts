/**
 * What a worker tells the leader of its group as it joins: its tables, and how much work they are. Compressed JSON with a
 * version. A later version may add fields; what an older one cannot read any more has another number.
 */

import { deflateRawSync, inflateRawSync } from 'node:zlib'
import type { Member } from './assign.js'

const VERSION = 1

/** A text that claims to be longer is none of ours. */
const MAX_BYTES = 64 * 1024 ** 2

export interface MemberTable {
  readonly path: string
  /** With their numbers of partitions. */
  readonly topics: ReadonlyMap<string, number>
  /** How much work it is, where the worker has it; null where it has not. */
  readonly load: number | null
}

export interface MemberData {
  readonly worker: string
  readonly session: number
  readonly isNew: boolean
  /** Milliseconds since 1970. */
  readonly heldSince: number
  readonly tables: readonly MemberTable[]
}

export function encodeMemberData({ tables, ...own }: MemberData): Buffer {
  const rows = tables.map(({ path, topics, load }) => [path, [...topics].flat(), load])
  return deflateRawSync(JSON.stringify({ version: VERSION, ...own, tables: rows }))
}

/** Null for what cannot be understood: of another version, damaged, or of another program. */
export function decodeMemberData(data: Uint8Array): MemberData | null {
  try {
    return parse(JSON.parse(inflateRawSync(data, { maxOutputLength: MAX_BYTES }).toString()))
  } catch {
    return null
  }
}

const isText = (value: unknown): value is string => typeof value === 'string'
const isCount = (value: unknown): value is number => typeof value === 'number' && Number.isFinite(value) && value >= 0

function parse(given: Partial<Record<string, unknown>>): MemberData | null {
  const { version, worker, session, isNew, heldSince, tables } = given
  if (version !== VERSION || !isText(worker) || !isCount(session) || !isCount(heldSince)) return null
  if (!Array.isArray(tables)) return null
  const read = tables.map(parseTable)
  const known = read.filter((table) => table !== null)
  if (known.length < read.length) return null
  return { worker, session, isNew: isNew === true, heldSince, tables: known }
}

function parseTable(row: unknown): MemberTable | null {
  if (!Array.isArray(row)) return null
  const [path, pairs, load] = row as unknown[]
  if (!isText(path) || !Array.isArray(pairs) || pairs.length % 2 > 0) return null
  const topics = new Map<string, number>()
  for (let at = 0; at < pairs.length; at += 2) {
    const [topic, partitions] = pairs.slice(at, at + 2) as unknown[]
    if (!isText(topic) || !isCount(partitions)) return null
    topics.set(topic, partitions)
  }
  return { path, topics, load: isCount(load) ? load : null }
}

/**
 * The member as the assigner sees it.
 * @param data what it told; null where that cannot be understood: then it may have tables, and nothing is known of its load
 * @param topics that it subscribes to, as Kafka's protocol has them
 */
export function memberOf(id: string, data: MemberData | null, topics: readonly string[]): Member {
  if (data === null) {
    const paths = new Map(topics.map((topic): [string, null] => [topic, null]))
    const unknown = { worker: null, session: 0, isNew: false, holds: new Set<string>(), heldSince: 0 }
    return { id, ...unknown, topics: paths, loads: new Map() }
  }
  const { tables, ...own } = data
  const held = tables.filter(({ load }) => load !== null)
  return {
    id,
    ...own,
    topics: new Map(tables.flatMap((table) => [...table.topics.keys()].map((topic) => [topic, table.path] as const))),
    holds: new Set(held.map(({ path }) => path)),
    loads: new Map(held.map(({ path, load }) => [path, load as number])),
  }
}
