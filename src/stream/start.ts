/** Starts a query over given systems. */

import { asKafkaToDeltaError, KafkaToDeltaError } from '../errors.js'
import type { ResolvedOptions, ResolvedTable } from '../options/types.js'
import { onAbort, pause, settled, unlessAborted } from '../waits.js'
import type { StreamSource } from './dependencies.js'
import { TableDiscovery } from './discovery.js'
import { NewTables } from './new-tables.js'
import { type OpeningOptions, OpenTables } from './open-tables.js'
import { StreamingQuery } from './query.js'
import { QueryTables } from './query-tables.js'
import { WorkerTables } from './worker-tables.js'

export interface StartOptions extends OpeningOptions {
  options: ResolvedOptions
  /** Milliseconds between two looks for topics that patterns take, for tests. */
  lookEveryMs?: number
  /** Milliseconds that tables which are not ready hold up the start of a query in which others are, for tests. */
  patienceMs?: number
}

/** A start waits so long for tables, where others run: that something of them is wrong shows by then, most likely. */
const PATIENCE_MS = 10_000

/** Between two looks whether one runs. */
const LOOK_MS = 50

/** Longest wait for what the topics hold, by which tables are opened in order. */
const BACKLOG_MS = 2_000

/** Milliseconds in which a start that failed lets go of what it had opened. */
const LET_GO_MS = 2_000

/**
 * Opens the tables and the source, side by side: each table runs as soon as it is open and its topic is read. What was opened
 * is closed where a later step fails.
 */
export async function startQuery(start: StartOptions): Promise<StreamingQuery> {
  const { systems, signal } = start
  const opened = new OpenTables(start)
  let query: StreamingQuery | null = null
  try {
    const discovery = discoveryOf(start)
    const found = await opened.retried(async () => discovery?.begin(signal))
    const known = { ...start.options, tables: [...start.options.tables, ...(found?.tables ?? [])] }
    const startingOffsets = await opened.retried(async () => systems.startingOffsets?.(known, signal))
    const options = startingOffsets ? { ...known, startingOffsets } : known
    signal?.throwIfAborted()
    const shared = options.workers === 'many' ? new WorkerTables(options, opened, start.logger) : null
    const stored = (topic: string) => (shared ?? opened).storedOffsets(topic)
    const source = systems.source(options, stored, {
      keepStarts: opened.keepStarts,
      ...(shared ? { sharing: shared } : { isNewTopic: isNewTopic(options, opened) }),
    })
    query = makeQuery(start, options, source, opened, shared, discovery)
    for (const failure of found?.failures ?? []) query.noteFailure(failure)
    // What is checked.
    for (const table of options.tables) systems.deadLetters?.(table)
    await untilStarted(query, source, start)
    void query.handOver()
    return query
  } catch (error) {
    if (query) await query.abandon()
    else await settled(Promise.resolve(systems.close?.()), LET_GO_MS)
    throw signal?.aborted ? signal.reason : asKafkaToDeltaError(error)
  }
}

function makeQuery(
  start: StartOptions,
  options: ResolvedOptions,
  source: StreamSource,
  opened: OpenTables,
  shared: WorkerTables | null,
  discovery: TableDiscovery | null,
): StreamingQuery {
  const { systems, logger } = start
  const query = new StreamingQuery({
    name: options.queryName,
    tables: new QueryTables(shared ? [] : options.tables),
    open: async (listener) => {
      // They are opened as they come to this worker.
      if (shared === null) await opened.open(await busiestFirst(options.tables, source), options, listener)
    },
    source,
    opened,
    shared,
    newTables: discovery && newTablesOf(start, options, discovery, opened, shared),
    systems,
    logger,
  })
  opened.listener = query
  return query
}

/** Tables in the order of what their topics hold, the most first. */
async function busiestFirst(tables: readonly ResolvedTable[], source: StreamSource): Promise<ResolvedTable[]> {
  const backlog = await Promise.race([source.backlog(), pause(BACKLOG_MS, undefined, { ref: false })])
  const messages = ({ topic }: ResolvedTable) => backlog?.get(topic) ?? 0n
  return tables.toSorted((a, b) => (messages(b) > messages(a) ? 1 : messages(b) < messages(a) ? -1 : 0))
}

/**
 * Waits until all tables run, or have failed alone; not for long for some that are not ready, where others are. Rejects where
 * the start is refused, and where no table is left.
 */
async function untilStarted(query: StreamingQuery, source: StreamSource, start: StartOptions): Promise<void> {
  const { systems, signal, patienceMs = PATIENCE_MS } = start
  const over = new AbortController()
  const unbind = onAbort(signal, () => void source.stop().catch(() => {}))
  // At once, as long as nothing keeps the process busy; what Kafka and the tables lack is told before it.
  const checked = Promise.resolve(systems.check?.(signal))
  checked.catch(() => {})
  const begun = source.start()
  query.waitForSource(begun)
  const opened = query.opening.then(() => query.mustHaveTables())
  const all = Promise.all([begun, opened]).then(() => query.mustBeRead())
  // What comes of tables that are not waited for, they tell by themselves.
  all.catch(() => {})
  try {
    await unlessAborted(Promise.race([all, someRun(query, patienceMs, over.signal)]), signal)
    await unlessAborted(checked, signal)
  } finally {
    over.abort()
    unbind()
  }
}

/** Resolves some time after the first table runs. */
async function someRun(query: StreamingQuery, patienceMs: number, signal: AbortSignal): Promise<void> {
  while (!query.hasBegun && !signal.aborted) await pause(LOOK_MS, signal)
  await pause(patienceMs, signal)
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
  shared: WorkerTables | null,
): NewTables | null {
  if ('availableNow' in options.trigger) return null
  const pace = lookEveryMs === undefined ? {} : { lookEveryMs }
  return new NewTables({ options, discovery, opened, shared, logger, ...pace })
}

/**
 * Tells topics of patterns whose tables have nothing of this query, where others had begun: they are younger than the query, and
 * `latest` is not meant for them, since changes that came while no worker ran would be lost.
 */
function isNewTopic({ startingOffsets, tables }: ResolvedOptions, opened: OpenTables) {
  if (startingOffsets !== 'latest') return undefined
  const byPattern = new Set(tables.filter(({ pattern }) => pattern !== null).map(({ topic }) => topic))
  let others: Promise<boolean> | null = null
  return async (topic: string): Promise<boolean> => {
    if (!byPattern.has(topic)) return false
    others ??= anyOf([...byPattern], (other) => opened.hadBegun(other))
    return others
  }
}

/** Whether it holds of any; known as soon as one is found. What fails counts as no. */
async function anyOf<T>(items: readonly T[], holds: (item: T) => Promise<boolean>): Promise<boolean> {
  const holding = items.map(async (item) => {
    if (!(await holds(item))) throw new Error('it does not hold')
  })
  return Promise.any(holding).then(
    () => true,
    () => false,
  )
}
