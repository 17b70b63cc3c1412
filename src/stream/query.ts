/** The handle of a running query. */

import { EventEmitter } from 'node:events'
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises'
import type { EntryStatus } from '../catalog/keeper.js'
import type { EngineMemory } from '../delta/memory.js'
import { asKafkaToDeltaError, type ErrorCode, type KafkaToDeltaError, type Waiting } from '../errors.js'
import type { MemoryUse } from '../kafka/memory-budget.js'
import type { DataLoss } from '../kafka/positions.js'
import type { TopicMoves } from '../kafka/sharing.js'
import type { Logger } from '../log.js'
import type { ResolvedTable } from '../options/types.js'
import { settled } from '../waits.js'
import type { StreamSource, Systems } from './dependencies.js'
import type { NewTables } from './new-tables.js'
import type { OpeningListener, OpenTables } from './open-tables.js'
import type { CompactionStep, StreamingQueryProgress } from './progress.js'
import type { QueryTables } from './query-tables.js'
import type { TableLoop } from './table/loop.js'
import type { TableFailure } from './table-failure.js'
import type { TablesHost, WorkerTables } from './worker-tables.js'

/** What one table does at the moment. */
export interface TableStatus {
  table: string
  /** `starting`: the table is being opened. `resting`: the topic, which a pattern had taken, was deleted. */
  state: 'starting' | 'waiting' | 'merging' | 'resting' | 'ended'
  /** Offsets between the table and the topic's end, as last seen; null where that is not known yet. */
  lag: number | null
  /** The last commit since the start: the table's version, and when its batch was begun, ISO 8601. Null before it. */
  lastCommit: { version: number; timestamp: string } | null
  /** Messages since the start that could not be applied: skipped, or written as dead letters (`onBadRecord`). */
  numBadRecords: number
  /** Messages were lost (`failOnDataLoss: false`) that `verify --repair` has not made good since. */
  needsResync: boolean
  /** A system that fails, and that the table waits for; null where none does. */
  waitingFor: Waiting | null
  /** How the table's entry stands in its catalog; null where it stands in none, and before the table is open. */
  catalog: EntryStatus | null
  /** What stopped the table; null where nothing did. */
  error: { code: ErrorCode; message: string } | null
}

/** What all queries of the process hold in memory, in bytes, by kind. */
export interface MemoryStatus extends MemoryUse, EngineMemory {}

/** What a query does at the moment. */
export interface StreamingQueryStatus {
  message: string
  /** Messages wait that are not in the tables. */
  isDataAvailable: boolean
  /** A batch is being written. */
  isTriggerActive: boolean
  memory: MemoryStatus
  /** Of each table of this worker, by topic. */
  tables: Record<string, TableStatus>
  /** How many tables are other workers', with `workers: 'many'`; 0 otherwise. */
  numTablesElsewhere: number
}

/** Of a table that does not run. */
const NOTHING_YET = {
  lag: null,
  lastCommit: null,
  numBadRecords: 0,
  needsResync: false,
  waitingFor: null,
  catalog: null,
  error: null,
} as const

const statusOfFailure = ({
  topic,
  table,
  error: { code, message },
}: TableFailure): TableStatus & { topic: string } => ({
  ...NOTHING_YET,
  topic,
  table,
  state: 'ended',
  error: { code, message },
})

/** How a query ended: `exception` is null after a clean end. */
export interface StreamingQueryTermination {
  name: string
  exception: KafkaToDeltaError | null
}

export interface StreamingQueryEvents {
  /** After each commit of a table. */
  progress: [StreamingQueryProgress]
  /** After each step of compaction beside a table's stream. */
  compaction: [CompactionStep]
  /** A table stopped by an error; the others go on until they end or {@link StreamingQuery.stop}. */
  tableFailed: [TableFailure]
  /** Offsets are gone that were not applied, and the stream went on (`failOnDataLoss: false`). */
  dataLoss: [DataLoss]
  /** Topics came to this worker, or went to others (`workers: 'many'`). */
  tablesMoved: [TopicMoves]
  /** The query has ended and let go of everything. Once. */
  terminated: [StreamingQueryTermination]
}

const RECENT_PROGRESS = 100

/** Milliseconds in which what did not answer is let go of. */
const LET_GO_MS = 1_000

/** Milliseconds in which a start that failed lets go of what it had opened. */
const ABANDON_MS = 2_000

/** Milliseconds in which many workers save indexes before they leave their group. */
const SAVE_MS = 5_000

/** Milliseconds between two looks of `processAllAvailable`. */
const POLL_MS = 20

export interface QueryParts {
  name: string
  /** Further ones are added. */
  tables: QueryTables
  source: StreamSource
  opened: OpenTables
  /** Opens the tables, each of which runs at once. */
  open: (listener: OpeningListener) => Promise<void>
  /** What takes the tables of topics that appear; null where all are known. */
  newTables: NewTables | null
  /** Which tables this worker has, where many share them; null where it has all. */
  shared: WorkerTables | null
  systems: Systems
  logger: Logger
}

/**
 * A running query, made by {@link streamToDelta}. As Spark's: it runs until {@link stop}, until an error has stopped
 * all its tables, or until it has applied what was there (`trigger: { availableNow: true }`).
 */
export class StreamingQuery extends EventEmitter<StreamingQueryEvents> {
  /** The query's name. */
  readonly name: string
  readonly #parts: QueryParts
  readonly #recent: StreamingQueryProgress[] = []
  /** By topic. */
  readonly #lastCommits = new Map<string, { version: number; timestamp: string }>()
  /** Tables that run. */
  readonly #running = new Set<Promise<void>>()
  /** Topics that were deleted. */
  readonly #resting = new Set<string>()
  readonly #terminated: Promise<void>
  /** All tables are open, or cannot be. */
  readonly #opening: Promise<void>
  /** The start of the source. */
  #beginning: Promise<unknown> = Promise.resolve()
  #noteHandedOver: () => void = () => {}
  /** Resolves when the start is over, whether well or not. */
  readonly #handedOver = new Promise<void>((resolve) => {
    this.#noteHandedOver = resolve
  })
  /** What is told when the start is over; null afterwards, when it is told at once. */
  #untold: (() => void)[] | null = []
  #isActive = true
  #stopping = false
  #exception: KafkaToDeltaError | null = null
  #sourceError: KafkaToDeltaError | null = null
  #noteFailure: () => void = () => {}
  /** Resolves with the first failure of a table or of the source. */
  readonly #failed = new Promise<void>((resolve) => {
    this.#noteFailure = resolve
  })

  /** @internal */
  constructor(parts: QueryParts) {
    super()
    this.name = parts.name
    this.#parts = parts
    parts.source.on('failed', (error) => this.#failAll(error))
    parts.source.on('dataLoss', (loss) => {
      parts.logger.error(loss, 'offsets are gone that were not applied; the table needs a new snapshot')
      this.#emit('dataLoss', loss)
    })
    this.#opening = parts.open({
      opened: (loop) => {
        parts.tables.opened(loop)
        this.#begin(loop)
      },
      failed: (failure) => {
        parts.source.close(failure.topic)
        this.noteFailure(failure)
      },
    })
    this.#track(this.#opening.catch(() => {}))
    this.#terminated = this.#run()
  }

  /** Whether it runs. */
  get isActive(): boolean {
    return this.#isActive
  }

  get status(): StreamingQueryStatus {
    const { source, shared, systems } = this.#parts
    const { loops } = this.#parts.tables
    const tables = this.#parts.tables.map<TableStatus & { topic: string }>({
      opening: ({ topic, name, uri }) => ({
        ...NOTHING_YET,
        topic,
        table: name ?? uri,
        state: 'starting',
        waitingFor: this.#parts.opened.waitingFor(topic),
      }),
      loop: (loop) => this.#statusOf(loop),
      failure: statusOfFailure,
    })
    const waiting = tables.find(({ waitingFor }) => waitingFor !== null)
    const isTriggerActive = tables.some(({ state }) => state === 'merging')
    return {
      message: !this.#isActive
        ? 'Stopped'
        : this.#stopping
          ? 'Stopping'
          : waiting
            ? `Trying again, ${waiting.topic}: ${waiting.waitingFor?.message}`
            : isTriggerActive
              ? 'Writing changes'
              : 'Waiting for data to arrive',
      isDataAvailable: loops.some((loop) => !loop.isIdle) || tables.some(({ lag }) => lag !== null && lag > 0),
      isTriggerActive,
      memory: { ...source.memory, ...(systems.engineMemory?.() ?? { indexes: 0, compaction: 0 }) },
      tables: Object.fromEntries(tables.map(({ topic, ...rest }) => [topic, rest])),
      numTablesElsewhere: shared?.numElsewhere ?? 0,
    }
  }

  #statusOf(loop: TableLoop): TableStatus & { topic: string } {
    const isResting = this.#resting.has(loop.topic)
    return {
      topic: loop.topic,
      table: loop.name,
      state: isResting ? 'resting' : loop.state,
      lag: isResting ? null : loop.lag(),
      lastCommit: this.#lastCommits.get(loop.topic) ?? null,
      numBadRecords: loop.numBadRecords,
      needsResync: loop.needsResync,
      waitingFor: loop.waitingFor,
      catalog: loop.entry,
      error: loop.error && !isResting ? { code: loop.error.code, message: loop.error.message } : null,
    }
  }

  /** The newest progress of any table; null before the first commit. */
  get lastProgress(): StreamingQueryProgress | null {
    return this.#recent.at(-1) ?? null
  }

  /** The last 100 commits, the oldest first. */
  get recentProgress(): StreamingQueryProgress[] {
    return [...this.#recent]
  }

  /** What stopped the query, or its first failed table while the others go on; null otherwise. */
  get exception(): KafkaToDeltaError | null {
    return this.#exception
  }

  /**
   * Waits until all messages that are in the topics now are in the tables: as long as the trigger makes them wait, which is up to
   * half a minute where an overloaded process has an adaptive one.
   * @throws what stopped a table
   */
  async processAllAvailable(): Promise<void> {
    const { tables, source } = this.#parts
    if (this.#exception) throw this.#exception
    if (!this.#isActive) return
    const topics = tables.loops.filter(({ state }) => state !== 'ended').map(({ topic }) => topic)
    const ends = new Map<string, Map<number, bigint>>()
    const asked = Promise.all(
      [...topics, ...tables.opening].map(async (topic) => {
        ends.set(topic, await source.fetchEnds(topic))
      }),
    )
    try {
      await Promise.race([asked, this.#failed])
    } catch (error) {
      // Kafka's client is let go of at the end: what the query ended with is said, not that.
      if (!this.#isEnding) throw error
      await this.#terminated
    }
    if (this.#exception) throw this.#exception
    const isThere = ([topic, end]: [string, Map<number, bigint>]) => {
      const loop = tables.loopOf(topic)
      return loop !== null && (loop.state === 'ended' || loop.hasReached(end))
    }
    while (this.#isActive && !this.#exception && ![...ends].every(isThere)) await sleep(POLL_MS)
    if (this.#exception) throw this.#exception
  }

  /**
   * Waits for the end.
   *
   * @param timeoutMs gives up waiting after so many milliseconds
   * @returns whether it has ended
   * @throws what stopped it
   */
  async awaitTermination(timeoutMs?: number): Promise<boolean> {
    if (timeoutMs === undefined) {
      await this.#terminated
    } else {
      const timer = new AbortController()
      const timeout = sleep(timeoutMs, null, { signal: timer.signal }).catch(() => null)
      await Promise.race([this.#terminated, timeout])
      timer.abort()
      if (this.#isActive) return false
    }
    if (this.#exception) throw this.#exception
    return true
  }

  /** Finishes the batches in hand, commits them and leaves the consumer group. Does not throw what stopped the query. */
  async stop(): Promise<void> {
    this.#stopping = true
    this.#stopAll()
    await this.#terminated
  }

  /** @internal */
  noteProgress(progress: StreamingQueryProgress): void {
    const { topic, version, timestamp } = progress
    this.#lastCommits.set(topic, { version, timestamp })
    this.#parts.shared?.noteProgress(progress)
    this.#recent.push(progress)
    if (this.#recent.length > RECENT_PROGRESS) this.#recent.shift()
    this.#emit('progress', progress)
  }

  /** @internal */
  noteCompaction(step: CompactionStep): void {
    this.#emit('compaction', step)
  }

  /** @internal Resolves when each table is open, or has failed alone; rejects where the start is refused. */
  get opening(): Promise<void> {
    return this.#opening
  }

  /** @internal Some table's changes are read. */
  get hasBegun(): boolean {
    return this.#parts.tables.loops.some(({ isRead }) => isRead)
  }

  /** @internal The source is not let go of before it has begun, unless the query is stopped. */
  waitForSource(beginning: Promise<void>): void {
    this.#beginning = beginning.catch(() => {})
  }

  /** @internal Throws where no table could be opened. */
  mustHaveTables(): void {
    const { tables, shared } = this.#parts
    if (tables.loops.length === 0 && !shared) throw this.#exception
  }

  /** @internal Rejects where no topic can be read, when that is known of all of them. */
  async mustBeRead(): Promise<void> {
    const { tables, source } = this.#parts
    const isRead = await Promise.all(tables.loops.map(({ topic }) => source.located(topic)))
    if (!isRead.includes(true) && this.#exception) throw this.#exception
  }

  /** @internal The start is over: who made it is told of what has happened since, as soon as there are listeners. */
  async handOver(): Promise<void> {
    this.#parts.opened.isStarting = false
    await nextTurn()
    const untold = this.#untold ?? []
    this.#untold = null
    for (const tell of untold) tell()
    this.#noteHandedOver()
  }

  /** @internal Ends a start that failed: nothing is told. Does not wait for long. */
  async abandon(): Promise<void> {
    this.#stopping = true
    this.#stopAll(0)
    this.#noteHandedOver()
    this.#parts.source.stop().catch(() => {})
    await settled(this.#terminated, ABANDON_MS)
  }

  #failAll(error: KafkaToDeltaError): void {
    this.#sourceError = error
    this.#fail(error)
    this.#stopAll()
  }

  #stopAll(graceMs?: number): void {
    const { newTables, tables, opened, shared } = this.#parts
    newTables?.stop()
    shared?.stop()
    opened.stop()
    for (const loop of tables.loops) loop.stop(graceMs)
  }

  #fail(error: KafkaToDeltaError): void {
    this.#exception ??= error
    this.#noteFailure()
  }

  /** Whether the source is let go of, or will be without anyone's doing. */
  get #isEnding(): boolean {
    return this.#stopping || !this.#isActive || this.#hasNoTable
  }

  /** No table is left, and none is waited for. */
  get #hasNoTable(): boolean {
    const { tables, newTables, shared } = this.#parts
    const { loops } = tables
    // Others may come to it.
    if (shared && !this.#stopping && this.#sourceError === null) return false
    if (tables.opening.length > 0 || loops.some(({ state }) => state !== 'ended')) return false
    return newTables === null || loops.some(({ topic }) => !this.#resting.has(topic))
  }

  async #run(): Promise<void> {
    const { newTables, shared } = this.#parts
    if (shared) this.#track(shared.run(this.#tablesHost()))
    if (newTables) this.#track(newTables.run((found, failed, known) => this.#add(found, failed, known)))
    while (this.#running.size > 0) await Promise.all(this.#running)
    if (!this.#stopping) await this.#beginning
    await this.#letGo()
    await this.#handedOver
    this.#isActive = false
    this.#emit('terminated', { name: this.name, exception: this.#exception })
  }

  /** What is done with the tables that come to this worker, and that go. */
  #tablesHost(): TablesHost {
    const { tables, newTables } = this.#parts
    return {
      begin: (loop) => {
        tables.opened(loop)
        if (this.#stopping) loop.stop()
        return this.#begin(loop)
      },
      forget: (loop) => {
        tables.forget(loop)
        this.#resting.delete(loop.topic)
        // What stopped it is another worker's to tell.
        if (loop.error && this.#exception === loop.error) this.#exception = null
      },
      failed: (failure) => this.noteFailure(failure),
      deleted: (topic, error) => void newTables?.rests(topic, error),
      moved: (moves) => this.#emit('tablesMoved', moves),
    }
  }

  #track(running: Promise<void>): Promise<void> {
    const ended = running.finally(() => this.#running.delete(ended))
    this.#running.add(ended)
    return ended
  }

  #begin(loop: TableLoop): Promise<void> {
    return this.#track(this.#runTable(loop))
  }

  async #runTable(loop: TableLoop): Promise<void> {
    const { source, newTables, shared, logger } = this.#parts
    const { topic, name: table } = loop
    try {
      await loop.run(source)
    } catch (thrown) {
      const error = asKafkaToDeltaError(thrown)
      const isLost = shared?.isLost(loop) ?? false
      if (!isLost) source.close(topic)
      if (newTables?.rests(topic, error)) this.#resting.add(topic)
      else if (isLost) logger.warn({ err: error, topic, table }, 'a batch of a table that went was left to its worker')
      else this.noteFailure({ topic, table, error })
    }
    if (this.#hasNoTable) newTables?.stop()
  }

  /** Takes tables of topics that have appeared, in place of those that rested. */
  async #add(
    loops: readonly TableLoop[],
    failures: readonly TableFailure[],
    shared: readonly ResolvedTable[] = [],
  ): Promise<void> {
    const { source, tables } = this.#parts
    for (const failure of failures) this.noteFailure(failure)
    if (loops.length + shared.length === 0) return
    for (const loop of loops) {
      this.#resting.delete(loop.topic)
      tables.opened(loop)
    }
    const added = source.add(new Map([...loops, ...shared].map(({ topic, trigger }) => [topic, trigger])))
    for (const loop of loops) this.#begin(loop)
    await added
  }

  /** @internal A topic has no table, or none any more. */
  noteFailure(failure: TableFailure): void {
    const { topic, table, error } = failure
    const { tables, logger } = this.#parts
    if (tables.loopOf(topic) === null) tables.failed(failure)
    this.#fail(error)
    this.#tell(() => logger.error({ err: error, topic, table }, 'a table stopped'))
    this.#emit('tableFailed', failure)
  }

  /** Nothing of this may hide why the query ended. */
  async #letGo(): Promise<void> {
    const { source, opened, shared, systems, logger } = this.#parts
    const { loops } = this.#parts.tables
    const warn = (error: unknown) => logger.warn({ err: error }, 'could not let go of a system at the end')
    const closing = opened.closeAll()
    // Who takes the tables over finds their indexes saved.
    if (shared) await settled(closing, SAVE_MS)
    const letGo = [source.stop().catch(warn), closing, Promise.resolve(systems.close?.()).catch(warn)]
    // A table that is closed waits for the calls that are under way.
    if (!loops.some(({ isCutOff }) => isCutOff)) await Promise.all(letGo)
    else if (!(await settled(Promise.all(letGo), LET_GO_MS))) logger.warn({}, 'a system did not answer until the end')
  }

  #tell(what: () => void): void {
    if (this.#untold) this.#untold.push(what)
    else what()
  }

  #emit<E extends keyof StreamingQueryEvents>(event: E, ...args: StreamingQueryEvents[E]): void {
    this.#tell(() => this.#emitNow(event, ...args))
  }

  /** A listener that throws must not stop the tables. */
  #emitNow<E extends keyof StreamingQueryEvents>(event: E, ...args: StreamingQueryEvents[E]): void {
    for (const listener of this.rawListeners(event)) {
      try {
        ;(listener as (...values: unknown[]) => void).apply(this, args)
      } catch (error) {
        this.#parts.logger.error({ err: error, event }, 'a listener of the query threw')
      }
    }
  }
}
