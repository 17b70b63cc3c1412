/** Starts a query over given systems. */

import { asKafkaToDeltaError, KafkaToDeltaError } from '../errors.js'
import type { ResolvedOptions } from '../options/types.js'
import { onAbort, sideBySide, unlessAborted } from '../waits.js'
import type { StreamSource, Systems } from './dependencies.js'
import { TableDiscovery } from './discovery.js'
import { NewTables } from './new-tables.js'
import { type OpeningOptions, OpenTables } from './open-tables.js'
import { StreamingQuery } from './query.js'
import type { TableLoop } from './table/loop.js'

export interface StartOptions extends OpeningOptions {
  options: ResolvedOptions
  /** Milliseconds between two looks for topics that patterns take, for tests. */
  lookEveryMs?: number
}

/** Tables that are asked for their offsets at a time. */
const MAX_ASKED = 16

/** Opens all tables and the source. What was opened is closed where a later step fails. */
export async function startQuery(start: StartOptions): Promise<StreamingQuery> {
  const { systems, logger, signal } = start
  const opened = new OpenTables(start)
  try {
    const discovery = discoveryOf(start)
    const found = await opened.retried(async () => discovery?.begin(signal))
    const known = { ...start.options, tables: [...start.options.tables, ...(found?.tables ?? [])] }
    const startingOffsets = await opened.retried(async () => systems.startingOffsets?.(known, signal))
    const options = startingOffsets ? { ...known, startingOffsets } : known
    const { loops, failures } = await opened.open(options.tables, options)
    signal?.throwIfAborted()
    failures.push(...(found?.failures ?? []))
    if (loops.length === 0) throw failures[0]?.error
    const read = withTables(options, (topic) => opened.loopOf(topic) !== null)
    const source = systems.source(
      read,
      (topic) => loopOf(opened, topic).storedOffsets(),
      await newTopicsOf(read, opened),
    )
    await startSource(source, systems, signal)
    const newTables = discovery && newTablesOf(start, options, discovery, opened)
    const { tables } = opened
    const parts = { name: options.queryName, loops, failures, source, tables, newTables, systems, logger }
    const query = new StreamingQuery(parts)
    opened.listener = query
    return query
  } catch (error) {
    await opened.letGo()
    throw signal?.aborted ? signal.reason : asKafkaToDeltaError(error)
  }
}

/** The options without tables that could not be opened, and without what they say of these. */
function withTables(options: ResolvedOptions, isOpen: (topic: string) => boolean): ResolvedOptions {
  const { tables, startingOffsets: starting } = options
  const isLeft = (topic: string) => isOpen(topic) || !tables.some((table) => table.topic === topic)
  const startingOffsets =
    typeof starting !== 'string' && 'offsets' in starting
      ? { offsets: new Map([...starting.offsets].filter(([topic]) => isLeft(topic))) }
      : starting
  return { ...options, startingOffsets, tables: tables.filter(({ topic }) => isOpen(topic)) }
}

/** Null where all topics are named. */
function discoveryOf({ options, systems, logger }: StartOptions): TableDiscovery | null {
  if (options.patterns.length === 0) return null
  const find = systems.topics?.bind(systems)
  if (!find) throw new KafkaToDeltaError('INTERNAL', 'the topics of the cluster cannot be listed')
  return new TableDiscovery(options, find, logger)
}

/** Null for a run over what is there now. */
function newTablesOf(
  { logger, lookEveryMs }: StartOptions,
  options: ResolvedOptions,
  discovery: TableDiscovery,
  opened: OpenTables,
): NewTables | null {
  if ('availableNow' in options.trigger) return null
  return new NewTables({ options, discovery, opened, logger, ...(lookEveryMs === undefined ? {} : { lookEveryMs }) })
}

function loopOf(opened: OpenTables, topic: string): TableLoop {
  const loop = opened.loopOf(topic)
  if (loop === null) throw new KafkaToDeltaError('INTERNAL', `no table is open for the topic ${topic}`, { topic })
  return loop
}

/**
 * Topics of patterns whose tables have nothing of this query, where others have: they are younger than the query, and
 * `latest` is not meant for them, since changes that came while no worker ran would be lost.
 */
async function newTopicsOf({ startingOffsets, tables }: ResolvedOptions, opened: OpenTables): Promise<Set<string>> {
  const topics = tables.filter(({ pattern }) => pattern !== null).map(({ topic }) => topic)
  if (startingOffsets !== 'latest') return new Set()
  const stored = await sideBySide(MAX_ASKED, topics, (topic) =>
    opened.retried(() => loopOf(opened, topic).storedOffsets()),
  )
  if (!stored.some(({ exists }) => exists)) return new Set()
  return new Set(topics.filter((_, at) => !stored[at]?.exists))
}

/** Stopped by the signal wherever it is. */
async function startSource(source: StreamSource, systems: Systems, signal: AbortSignal | undefined): Promise<void> {
  const ended = onAbort(signal, () => void source.stop().catch(() => {}))
  try {
    await source.start()
    await unlessAborted(systems.check?.(signal) ?? Promise.resolve(), signal)
    signal?.throwIfAborted()
  } catch (error) {
    await source.stop().catch(() => {})
    throw error
  } finally {
    ended()
  }
}
