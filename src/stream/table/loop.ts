/** The way of one table: pull, decode, merge, commit; the next batch is pulled and decoded while one is merged. */

import type { EntryStatus } from '../../catalog/keeper.js'
import { asKafkaToDeltaError, type KafkaToDeltaError, retryPolicyOf, type Waiting } from '../../errors.js'
import type { StoredOffsets } from '../../kafka/positions.js'
import type { ResolvedTrigger } from '../../options/types.js'
import { BOUNDED, type RetryPolicies, UNBOUNDED } from '../../retry.js'
import { onAbort, unlessAborted } from '../../waits.js'
import type { StreamSource } from '../dependencies.js'
import { Committer } from './committer.js'
import { Compaction } from './compaction.js'
import { Flow, type LoopState } from './flow.js'
import { Lag } from './lag.js'
import { Lifetime } from './lifetime.js'
import type { TableLoopOptions, TableParts } from './parts.js'
import { Positions } from './positions.js'
import { BatchReader, type Decoded } from './reader.js'
import { Retries } from './retries.js'
import { TableWriter } from './writer.js'

/** A batch that is read ahead; its errors are thrown where it is taken. */
type Ahead = Promise<Decoded | null>

export class TableLoop {
  readonly topic: string
  /** The table's name, or its path where it has none. */
  readonly name: string
  readonly #options: TableLoopOptions
  readonly #parts: TableParts
  readonly #reader: BatchReader
  readonly #writer: TableWriter
  readonly #committer: Committer
  readonly #compaction: Compaction | null
  #error: KafkaToDeltaError | null = null
  #isRead = false

  constructor(options: TableLoopOptions) {
    const { query, table, logger } = options
    this.#options = options
    this.topic = table.topic
    this.name = table.name ?? table.uri
    const label = { topic: this.topic, table: this.name }
    const lifetime = new Lifetime()
    const positions = new Positions(query.queryName, this.topic)
    this.#parts = {
      options,
      label,
      positions,
      flow: new Flow(),
      lag: new Lag(this.topic, positions),
      lifetime,
      retries: new Retries({ label, lifetime, logger, policies: () => this.#policies }),
    }
    this.#reader = new BatchReader(this.#parts)
    this.#writer = new TableWriter(this.#parts)
    this.#compaction = this.#makeCompaction()
    this.#committer = new Committer(this.#parts, this.#writer, () => this.#compaction?.noteCommit())
  }

  /** Messages since the start that could not be applied, of batches that were committed. */
  get numBadRecords(): number {
    return this.#committer.numBadRecords
  }

  /** When its batches are made. */
  get trigger(): ResolvedTrigger {
    return this.#options.table.trigger
  }

  get state(): LoopState {
    return this.#parts.flow.state
  }

  /** What keeps the table waiting: the oldest failure that is tried again. */
  get waitingFor(): Waiting | null {
    if (this.state === 'ended') return null
    return this.#parts.retries.waitingFor ?? this.#parts.lag.source?.waitingFor ?? null
  }

  /** What stopped the table. */
  get error(): KafkaToDeltaError | null {
    return this.#error
  }

  /** How its entry stands in its catalog; null where it stands in none. */
  get entry(): EntryStatus | null {
    const { catalogs, table } = this.#options
    return catalogs?.statusOf(table) ?? null
  }

  /** Its topic is read, or was. */
  get isRead(): boolean {
    return this.#isRead
  }

  /** Something did not answer before the end. */
  get isCutOff(): boolean {
    return this.#parts.lifetime.isCutOff
  }

  /** Nothing is on the way from the source to the table. */
  get isIdle(): boolean {
    return this.#parts.flow.isIdle
  }

  /** Messages were lost, and the table has not been made equal to its source since. */
  get needsResync(): boolean {
    return this.#parts.positions.lost.size > 0
  }

  /** Offsets between the table and the topic's end, as last seen; null where that is not known yet. */
  lag(): number | null {
    return this.#parts.lag.messages
  }

  /** Whether the table holds everything before the given ends. */
  hasReached(ends: ReadonlyMap<number, bigint>): boolean {
    return !this.#parts.flow.mustRewind && this.#parts.lag.hasReached(ends)
  }

  /** What the table holds now: the source asks before each seek. */
  storedOffsets(): Promise<StoredOffsets> {
    return this.#writer.storedOffsets()
  }

  /** Runs until the topic's end (availableNow) or {@link stop}. Rejects with what stopped the table. */
  async run(source: StreamSource): Promise<void> {
    const { label, lifetime, lag } = this.#parts
    try {
      // The source asks for the stored offsets meanwhile.
      this.#isRead = await unlessAborted(source.located(this.topic), lifetime.stopping).catch(() => false)
      if (lifetime.isStopping) return
      lag.source = source
      if (this.#isRead && !this.#writer.isStarted) await this.storedOffsets()
      await this.#follow(source)
      // A run over what is there now has no later moment.
      if (!lifetime.isStopping) await unlessAborted(this.#finishCompaction(), lifetime.cutOff)
    } catch (thrown) {
      const error = asKafkaToDeltaError(thrown, 'INTERNAL', label)
      const mayPass = error.canRetry || retryPolicyOf(error.code) !== null || error.code === 'CANCELLED'
      if (!lifetime.isStopping || !mayPass) {
        this.#error = error
        throw error
      }
      this.#options.logger.warn({ ...label, err: error }, 'a batch was left for the next start')
    } finally {
      await this.#end()
    }
  }

  /** Applies what comes from the source, until its end or a stop. */
  async #follow(source: StreamSource): Promise<void> {
    const { flow, lifetime } = this.#parts
    // The run before may have ended before the table had been quiet for long enough.
    if (this.#writer.exists) this.#compaction?.lookWhenQuiet()
    let ahead = this.#readAhead(source)
    for (;;) {
      const decoded = await this.#taken(ahead)
      if (lifetime.isStopping) break
      if (!flow.mustRewind) {
        if (decoded === null) break
        ahead = this.#readAhead(source)
        await this.#committer.apply(decoded)
      }
      if (flow.mustRewind && !lifetime.isStopping) {
        await this.#goBack(source, ahead)
        ahead = this.#readAhead(source)
      }
    }
    if (!flow.mustRewind) await this.#committer.commitPending()
  }

  #readAhead(source: StreamSource): Ahead {
    const ahead = this.#reader.next(source)
    ahead.catch(() => {})
    return ahead
  }

  /** Lets the batch in hand be committed, if that can be done in time, then ends {@link run}. */
  stop(graceMs?: number): void {
    if (this.#parts.lifetime.isStopping) return
    this.#parts.lifetime.stop(graceMs)
    void this.#compaction?.stop()
  }

  async #finishCompaction(): Promise<void> {
    await this.#compaction?.finish()
  }

  async #end(): Promise<void> {
    const { lifetime, flow } = this.#parts
    this.stop()
    await unlessAborted(this.#compaction?.stop() ?? Promise.resolve(), lifetime.cutOff).catch(() => {})
    lifetime.end()
    flow.ended()
  }

  #makeCompaction(): Compaction | null {
    const { query, table, delta, logger, onCompaction } = this.#options
    const { label } = this.#parts
    const compact = delta.compact?.bind(delta)
    if (!table.maintenance || !compact) return null
    return new Compaction({
      compact,
      options: table.maintenance,
      lag: () => this.lag(),
      logger: logger.child({ ...label }),
      onStep: (result) => onCompaction?.({ name: query.queryName, ...label, path: delta.uri, ...result }),
    })
  }

  /** How long failing systems are waited for. */
  get #policies(): RetryPolicies {
    const { query, isStarting, retryPolicies = { bounded: BOUNDED, unbounded: UNBOUNDED } } = this.#options
    const isAtStart = this.#parts.lag.source === null && (isStarting?.() ?? true)
    const hasEnd = isAtStart || 'availableNow' in query.trigger
    return hasEnd ? retryPolicies.bounded : retryPolicies.unbounded
  }

  /** Waits for the next batch. Meanwhile, positions that wait for too long are committed. Null when stopping. */
  async #taken(ahead: Ahead): Promise<Decoded | null> {
    const { flow, lifetime } = this.#parts
    const arrived = ahead.then(
      (decoded) => ({ decoded }),
      (error: unknown) => {
        // What was pulled before a rewind is dropped, and so are its errors.
        if (flow.mustRewind) return { decoded: null }
        throw error
      },
    )
    arrived.catch(() => {})
    while (!lifetime.isStopping && !flow.mustRewind) {
      const result = await this.#unlessDue(arrived)
      if (result) return result.decoded
      if (!lifetime.isStopping) await this.#committer.commitPending()
    }
    return null
  }

  /** Null where positions are to be committed before it, or the table is stopped. Once for each batch: it costs little. */
  async #unlessDue<T>(arrived: Promise<T>): Promise<T | null> {
    let timer: NodeJS.Timeout | undefined
    let unbind = () => {}
    const due = new Promise<null>((resolve) => {
      timer = setTimeout(resolve, this.#committer.dueIn, null).unref()
      unbind = onAbort(this.#parts.lifetime.stopping, () => resolve(null))
    })
    try {
      return await Promise.race([arrived, due])
    } finally {
      clearTimeout(timer)
      unbind()
    }
  }

  /**
   * Reads again what was dropped.
   * @param ahead the batch after it: `next` must not be under way any more when it is called anew
   */
  async #goBack(source: StreamSource, ahead: Ahead): Promise<void> {
    const { flow, lifetime, retries } = this.#parts
    await this.#writer.startAgain()
    this.#committer.drop()
    await retries.run(() => source.rewind(this.topic), undefined, lifetime.stopping)
    // Its errors are dropped with it.
    const dropped = ahead.catch(() => {})
    await unlessAborted(dropped, lifetime.stopping)
    flow.rewound()
  }
}
