/** The way of one table: pull, decode, merge, commit; the next batch is pulled and decoded while one is merged. */

import { performance } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { collectDeadLetters, type DeadLetter, type DeadLetterSink } from '../dead-letter/dead-letter.js'
import type { BadRecord, ChangeBatch } from '../debezium/change-batch.js'
import type { TableOffset } from '../delta/results.js'
import type { MergeResult, TableInfo } from '../delta/table.js'
import { asKafkaToDeltaError, KafkaToDeltaError, type Waiting } from '../errors.js'
import type { MicroBatch } from '../kafka/micro-batch.js'
import { MESSAGE_OVERHEAD } from '../kafka/options.js'
import type { StoredOffsets } from '../kafka/positions.js'
import type { Logger } from '../log.js'
import type { ResolvedOptions, ResolvedTable } from '../options/types.js'
import { BOUNDED, type RetryPolicies, UNBOUNDED, withRetries } from '../retry.js'
import { unlessAborted } from '../waits.js'
import type { StreamDecoder, StreamSource, StreamTable } from './dependencies.js'
import { Compaction } from './maintenance.js'
import { type BatchRange, batchRange, Positions } from './positions.js'
import { type CompactionStep, makeProgress, type StreamingQueryProgress } from './progress.js'

/** Fences in a row before the table gives up: two processes write it for ever otherwise. */
const MAX_FENCES = 5

/** Milliseconds after which positions that only ignored messages moved are committed. */
const PENDING_COMMIT_MS = 30_000

/** Milliseconds in which a batch in hand is to be committed after a stop. */
const STOP_MS = 10_000

/** As long as a timer can be. */
const FOREVER_MS = 2 ** 31 - 1

interface Decoded {
  /** As the source gave it, without its messages. */
  original: MicroBatch
  ranges: BatchRange[]
  numMessages: number
  numBytes: number
  /** Without its bad records' bytes: those are in `letters`. */
  changes: ChangeBatch
  /** What is written to the dead letters before the batch is committed. */
  letters: DeadLetter[]
  wait: number
  decode: number
}

/** How long failing systems are waited for: at a start and in a run that has an end, and in one that has none. */
export interface StreamPolicies {
  bounded: RetryPolicies
  unbounded: RetryPolicies
}

export interface TableLoopOptions {
  query: ResolvedOptions
  table: ResolvedTable
  delta: StreamTable
  decoder: StreamDecoder
  /** Where bad records go; null where they are skipped or stop the table. */
  deadLetters: DeadLetterSink | null
  logger: Logger
  onProgress: (progress: StreamingQueryProgress) => void
  onCompaction?: (step: CompactionStep) => void
  /** Replaces the policies, for tests. */
  retryPolicies?: StreamPolicies
}

export type LoopState = 'starting' | 'waiting' | 'merging' | 'ended'

export class TableLoop {
  readonly topic: string
  /** The table's name, or its path where it has none. */
  readonly name: string
  readonly #options: TableLoopOptions
  readonly #positions: Positions
  readonly #compaction: Compaction | null
  /** Nothing new is begun. */
  readonly #stopping = new AbortController()
  /** What is under way is left for the next start: some time after {@link stop}, and at the end. */
  readonly #cutOff = new AbortController()
  #grace: NodeJS.Timeout | undefined
  #source: StreamSource | null = null
  /** What the table held when it was last looked at. */
  #offsets: TableInfo['offsets'] = []
  #exists = false
  #started = false
  #rewind = false
  #fences = 0
  #isCutOff = false
  #error: KafkaToDeltaError | null = null
  #batchId = 0
  #numBadRecords = 0
  #state: LoopState = 'starting'
  /** Batches that were taken from the source and are not committed. */
  #inHand = 0
  #lastBegun = Date.now()
  #pendingSince: number | null = null
  #pendingBatches: MicroBatch[] = []
  /** By operation: a batch may be decoded while another one is merged. */
  readonly #waiting = new Map<object, Waiting>()

  constructor(options: TableLoopOptions) {
    this.#options = options
    this.topic = options.table.topic
    this.name = options.table.name ?? options.table.uri
    this.#positions = new Positions(options.query.queryName, this.topic)
    this.#compaction = this.#makeCompaction()
  }

  /** Messages since the start that could not be applied, of batches that were committed. */
  get numBadRecords(): number {
    return this.#numBadRecords
  }

  get state(): LoopState {
    return this.#state
  }

  /** What keeps the table waiting: the oldest failure that is tried again. */
  get waitingFor(): Waiting | null {
    if (this.#state === 'ended') return null
    return this.#waiting.values().next().value ?? this.#source?.waitingFor ?? null
  }

  /** What stopped the table. */
  get error(): KafkaToDeltaError | null {
    return this.#error
  }

  /** Something did not answer before the end. */
  get isCutOff(): boolean {
    return this.#isCutOff
  }

  /** Nothing is on the way from the source to the table. */
  get isIdle(): boolean {
    return this.#inHand === 0 && !this.#rewind
  }

  /** What the table holds now: the source asks before each seek. */
  async storedOffsets(): Promise<StoredOffsets> {
    const info = await this.#refreshed()
    this.#exists = info.exists
    this.#offsets = info.offsets
    if (!this.#started) {
      this.#started = true
      this.#positions.reset(info.offsets)
      if (this.needsResync) {
        const { topic, name: table } = this
        const at = Object.fromEntries(
          [...this.#positions.lost].map(([partition, offset]) => [partition, String(offset)]),
        )
        const remedy = 'messages of this table were lost: make it equal to its source by `kafka2delta verify --repair`'
        this.#options.logger.warn({ topic, table, resumedAt: at }, remedy)
      }
    }
    return this.#positions.storedOffsets(info.offsets)
  }

  /** Messages were lost, and the table has not been made equal to its source since. */
  get needsResync(): boolean {
    return this.#positions.lost.size > 0
  }

  /** Runs until the topic's end (availableNow) or {@link stop}. Rejects with what stopped the table. */
  async run(source: StreamSource): Promise<void> {
    this.#source = source
    if (!this.#started) await this.storedOffsets()
    let ahead = this.#pull()
    ahead.catch(() => {})
    try {
      for (;;) {
        const decoded = await this.#taken(ahead)
        if (this.#stopping.signal.aborted) break
        if (!this.#rewind) {
          if (decoded === null) break
          ahead = this.#pull()
          ahead.catch(() => {})
          await this.#apply(decoded)
        }
        if (this.#rewind && !this.#stopping.signal.aborted) {
          await this.#goBack(ahead)
          ahead = this.#pull()
          ahead.catch(() => {})
        }
      }
      if (!this.#rewind) await this.#commitPending()
      // A run over what is there now has no later moment.
      if (!this.#stopping.signal.aborted) await unlessAborted(this.#finishCompaction(), this.#cutOff.signal)
    } catch (thrown) {
      const error = asKafkaToDeltaError(thrown, 'INTERNAL', { topic: this.topic, table: this.name })
      if (!this.#stopping.signal.aborted || !(error.canRetry || error.code === 'CANCELLED')) {
        this.#error = error
        throw error
      }
      this.#options.logger.warn({ err: error, topic: this.topic }, 'a batch was left for the next start')
    } finally {
      await this.#end()
    }
  }

  /** Lets the batch in hand be committed, if that can be done in time, then ends {@link run}. */
  stop(graceMs = STOP_MS): void {
    if (this.#stopping.signal.aborted) return
    this.#stopping.abort(new KafkaToDeltaError('CANCELLED', 'the table was stopped'))
    void this.#compaction?.stop()
    this.#grace = setTimeout(() => {
      this.#isCutOff = true
      this.#cutOff.abort(new KafkaToDeltaError('CANCELLED', `nothing answered for ${graceMs} ms after the stop`))
    }, graceMs)
  }

  async #finishCompaction(): Promise<void> {
    await this.#compaction?.finish()
  }

  async #end(): Promise<void> {
    this.stop()
    await unlessAborted(this.#compaction?.stop() ?? Promise.resolve(), this.#cutOff.signal).catch(() => {})
    clearTimeout(this.#grace)
    this.#cutOff.abort(new KafkaToDeltaError('CANCELLED', 'the table was stopped'))
    this.#state = 'ended'
    this.#inHand = 0
  }

  #makeCompaction(): Compaction | null {
    const { query, table, delta, logger, onCompaction } = this.#options
    const compact = delta.compact?.bind(delta)
    if (!table.maintenance || !compact) return null
    return new Compaction({
      compact,
      options: table.maintenance,
      lag: () => this.lag(),
      logger: logger.child({ topic: this.topic, table: this.name }),
      onStep: (result) =>
        onCompaction?.({ name: query.queryName, topic: this.topic, table: this.name, path: delta.uri, ...result }),
    })
  }

  /** How long failing systems are waited for. */
  get #policies(): RetryPolicies {
    const { query, retryPolicies = { bounded: BOUNDED, unbounded: UNBOUNDED } } = this.#options
    const hasEnd = this.#source === null || 'availableNow' in query.trigger
    return hasEnd ? retryPolicies.bounded : retryPolicies.unbounded
  }

  /** Tries again what may heal; gives up when the table was stopped, and what hangs some time after it. */
  async #retried<T>(operation: (signal: AbortSignal) => Promise<T>, until = this.#cutOff.signal): Promise<T> {
    const { logger } = this.#options
    const id = {}
    try {
      return await withRetries(() => unlessAborted(operation(until), until), {
        signal: this.#stopping.signal,
        onRetry: (error, attempt, delayMs) => {
          const { code, message } = error
          const since = this.#waiting.get(id)?.since ?? new Date().toISOString()
          this.#waiting.set(id, { code, message, since, attempts: attempt })
          logger.warn({ topic: this.topic, table: this.name, code, attempt, delayMs }, message)
        },
        policies: this.#policies,
      })
    } finally {
      this.#waiting.delete(id)
    }
  }

  /** Waits for the next batch. Meanwhile, positions that wait for too long are committed. Null when stopping. */
  async #taken(ahead: Promise<Decoded | null>): Promise<Decoded | null> {
    const { signal } = this.#stopping
    const wake = new AbortController()
    const onStop = () => wake.abort()
    signal.addEventListener('abort', onStop, { once: true })
    const arrived = ahead.then(
      (decoded) => ({ decoded }),
      (error: unknown) => {
        // What was pulled before a rewind is dropped, and so are its errors.
        if (this.#rewind) return { decoded: null }
        throw error
      },
    )
    arrived.catch(() => {})
    try {
      while (!signal.aborted && !this.#rewind) {
        const wait = this.#pendingSince === null ? FOREVER_MS : this.#pendingSince + PENDING_COMMIT_MS - Date.now()
        const timer = new AbortController()
        const options = { signal: AbortSignal.any([wake.signal, timer.signal]), ref: false }
        const timeout = sleep(Math.max(0, wait), null, options).catch(() => null)
        const result = await Promise.race([arrived, timeout])
        timer.abort()
        if (result) return result.decoded
        if (!signal.aborted) await this.#commitPending()
      }
      return null
    } finally {
      signal.removeEventListener('abort', onStop)
    }
  }

  /** The next batch that has something new, decoded. Null at the end. */
  async #pull(): Promise<Decoded | null> {
    const source = this.#source as StreamSource
    const { query, table, decoder, deadLetters } = this.#options
    for (;;) {
      const begun = performance.now()
      if (this.#inHand === 0) this.#state = 'waiting'
      // What follows a fence is dropped as a whole: its positions are not those of the table.
      if (this.#rewind) return null
      const original = await source.next(this.topic)
      if (original === null || this.#rewind || this.#stopping.signal.aborted) return null
      const batch = this.#positions.accept(original, !query.failOnDataLoss)
      if (batch === null) {
        await source.committed(original)
        continue
      }
      this.#inHand++
      const arrived = performance.now()
      const changes = await this.#retried(() => decoder.decode(batch))
      for (const note of changes.notes ?? []) this.#options.logger.info({ topic: this.topic, table: this.name }, note)
      const bad = changes.badRecords[0]
      if (bad && table.onBadRecord === 'fail') throw badRecordError(bad, changes.badRecords.length)
      if (bad) this.#warnOf(bad, changes.badRecords.length)
      const letters = deadLetters ? collectDeadLetters(batch, changes.badRecords, query.queryName) : []
      // The columns hold all that is needed; the messages' memory is free from here on.
      const ranges = batch.ranges.map(batchRange)
      for (const range of original.ranges) range.messages = []
      return {
        original,
        ranges,
        numMessages: batch.numMessages,
        numBytes: batch.numBytes,
        changes,
        letters,
        wait: arrived - begun,
        decode: performance.now() - arrived,
      }
    }
  }

  async #apply(decoded: Decoded): Promise<void> {
    const { changes, ranges, letters } = decoded
    const begun = Date.now()
    this.#state = 'merging'
    const mergeBegun = performance.now()
    const offsets = this.#positions.offsetsFor(ranges)
    // Before the commit: a crash between the two repeats the letters, which are stored once, and loses none.
    const written = await this.#writeDeadLetters(letters, offsets)
    const changesNothing = changes.ipc === null || (changes.onlyRemoves === true && !(await this.#tableExists()))
    if (written === 'written' && changesNothing && !this.#mustCommit(decoded)) {
      this.#numBadRecords += changes.badRecords.length
      await this.#keep(decoded, begun)
      this.#finished()
      return
    }
    const result = written === 'written' ? await this.#merge(changes.ipc, changes.primaryKey, offsets) : written
    this.#finished()
    if (result === 'fenced') return
    this.#numBadRecords += changes.badRecords.length
    await this.#noteCommit(decoded.original)
    if (result === 'applied') return
    this.#options.onProgress(
      makeProgress(
        {
          name: this.#options.query.queryName,
          topic: this.topic,
          table: this.name,
          path: this.#options.delta.uri,
          batchId: this.#batchId++,
          numInputRows: decoded.numMessages,
          numInputBytes: decoded.numBytes,
          numIgnored: changes.numIgnored,
          numBadRecords: changes.badRecords.length,
          deadLetter: letters.length > 0 ? (this.#options.deadLetters?.target ?? null) : null,
          lag: this.lag(),
          offsets: Object.fromEntries(
            ranges.map(({ partition, firstOffset, lastOffset }) => [
              partition,
              { start: String(firstOffset), end: String(lastOffset) },
            ]),
          ),
        },
        result,
        {
          begun,
          sinceLast: begun - this.#lastBegun,
          wait: decoded.wait,
          decode: decoded.decode,
          merge: performance.now() - mergeBegun,
        },
      ),
    )
    this.#lastBegun = begun
    this.#compaction?.noteCommit()
  }

  /**
   * Whether there is a table to remove rows from. Until there is one, changes that only remove rows make none: they do
   * not tell all columns. Their positions are kept with those of the first rows; a start before that reads them again.
   */
  async #tableExists(): Promise<boolean> {
    // Another loop may have made it, where tables share a path.
    if (!this.#exists) this.#exists = (await this.#refreshed()).exists
    return this.#exists
  }

  #refreshed(): Promise<TableInfo> {
    return this.#retried((signal) => this.#options.delta.refresh({ signal }))
  }

  /** A batch is in the table, or dropped. */
  #finished(): void {
    this.#inHand--
    if (this.#inHand === 0) this.#state = 'waiting'
  }

  /** Offsets between the table and the topic's end, as last seen; null where that is not known yet. */
  lag(): number | null {
    let total = 0n
    for (const [partition, { committed, high }] of this.#source?.lag(this.topic) ?? []) {
      const done = this.#positions.done(partition) ?? committed
      if (high === null || done === null) return null
      if (high > done) total += high - done
    }
    return this.#source ? Number(total) : null
  }

  /** Whether the table holds everything before the given ends. */
  hasReached(ends: ReadonlyMap<number, bigint>): boolean {
    if (this.#rewind) return false
    const lag = this.#source?.lag(this.topic)
    return [...ends].every(([partition, end]) => {
      const done = this.#positions.done(partition) ?? lag?.get(partition)?.committed ?? 0n
      return done >= end
    })
  }

  /**
   * Bad records are told of at once, with a commit. Positions of many ignored messages are not kept back: the source
   * holds their memory until they are committed.
   */
  #mustCommit({ original, changes }: Decoded): boolean {
    if (!this.#exists) return false
    return changes.badRecords.length > 0 || this.#holdsMuch([...this.#pendingBatches, original])
  }

  #holdsMuch(batches: readonly MicroBatch[]): boolean {
    let held = 0
    for (const { numBytes, numMessages } of batches) held += numBytes + numMessages * MESSAGE_OVERHEAD
    return held >= this.#options.query.limits.maxQueueBytes / 4
  }

  /** Keeps the positions of a batch that changes no row. */
  async #keep({ original, ranges }: Decoded, now: number): Promise<void> {
    this.#positions.keep(ranges)
    this.#pendingSince ??= now
    this.#pendingBatches.push(original)
    if (this.#exists) return
    this.#fences = 0
    // As long as no row has made a table, nothing can hold the positions: but the source must go on reading.
    if (this.#holdsMuch(this.#pendingBatches)) await this.#tellSource()
  }

  /** `applied` and `fenced` as {@link #merge}: another process writes them, too. */
  async #writeDeadLetters(
    letters: readonly DeadLetter[],
    offsets: TableOffset[],
  ): Promise<'written' | 'applied' | 'fenced'> {
    const { deadLetters, logger } = this.#options
    if (letters.length === 0 || deadLetters === null) return 'written'
    try {
      await this.#retried(() => deadLetters.write(letters, this.#stopping.signal))
    } catch (error) {
      if (!(error instanceof KafkaToDeltaError) || error.code !== 'FENCED') throw error
      return this.#fenced(error, offsets)
    }
    const { topic, name } = this
    logger.info(
      { topic, table: name, numBadRecords: letters.length, deadLetter: deadLetters.target },
      'dead letters written',
    )
    return 'written'
  }

  #warnOf(bad: BadRecord, numBadRecords: number): void {
    const { deadLetters, logger } = this.#options
    logger.warn({ ...positionOf(bad), numBadRecords, deadLetter: deadLetters?.target ?? null }, bad.reason)
  }

  /** Commits; `applied` where the table held just these offsets already, `fenced` where another worker was there. */
  async #merge(
    ipc: Uint8Array | null,
    primaryKey: string[],
    offsets: TableOffset[],
  ): Promise<MergeResult | 'applied' | 'fenced'> {
    try {
      const result = await this.#retried((signal) =>
        this.#options.delta.merge(ipc, { primaryKey, offsets, transfer: true, signal }),
      )
      this.#positions.committed(offsets)
      this.#exists = true
      for (const note of result.notes ?? []) this.#options.logger.warn({ topic: this.topic, table: this.name }, note)
      const { numMissingValues } = result
      if (numMissingValues > 0) {
        const note = 'changes left out values that are stored nowhere: they are null'
        this.#options.logger.warn({ topic: this.topic, table: this.name, numMissingValues }, note)
      }
      this.#fences = 0
      return result
    } catch (error) {
      if (!(error instanceof KafkaToDeltaError) || error.code !== 'FENCED') throw error
      return this.#fenced(error, offsets)
    }
  }

  async #fenced(error: KafkaToDeltaError, offsets: TableOffset[]): Promise<'applied' | 'fenced'> {
    const { logger } = this.#options
    await this.storedOffsets()
    if (this.#positions.isApplied(offsets, this.#offsets)) {
      // A commit whose answer was lost had landed.
      this.#positions.committed(offsets)
      logger.info({ topic: this.topic, table: this.name }, 'the table holds these offsets already')
      return 'applied'
    }
    if (++this.#fences > MAX_FENCES) {
      throw new KafkaToDeltaError(
        'FENCED',
        `another process writes the offsets of query ${JSON.stringify(this.#options.query.queryName)} to this table; ` +
          'stop one of them, or give it another queryName and path',
        { topic: this.topic, table: this.name, cause: error },
      )
    }
    logger.warn({ topic: this.topic, table: this.name, fences: this.#fences }, error.message)
    this.#rewind = true
    return 'fenced'
  }

  /**
   * Reads again what was dropped.
   * @param ahead the batch after it: `next` must not be under way any more when it is called anew
   */
  async #goBack(ahead: Promise<unknown>): Promise<void> {
    const { signal } = this.#stopping
    await this.storedOffsets()
    this.#positions.reset(this.#offsets)
    this.#pendingBatches = []
    this.#pendingSince = null
    await this.#retried(() => (this.#source as StreamSource).rewind(this.topic), signal)
    // Its errors are dropped with it.
    await unlessAborted(
      ahead.catch(() => {}),
      signal,
    )
    this.#inHand = 0
    this.#rewind = false
  }

  /** Commits positions that only ignored messages moved. A table that no row has made yet cannot hold them. */
  async #commitPending(): Promise<void> {
    this.#pendingSince = null
    if (!this.#positions.hasPending || !this.#exists) return
    const result = await this.#merge(null, [], this.#positions.offsetsFor([]))
    if (result !== 'fenced') await this.#noteCommit(null)
  }

  async #noteCommit(original: MicroBatch | null): Promise<void> {
    if (original) this.#pendingBatches.push(original)
    this.#pendingSince = null
    await this.#tellSource()
  }

  /** Lets the source free what it holds of the batches that are done with. */
  async #tellSource(): Promise<void> {
    const batches = this.#pendingBatches
    this.#pendingBatches = []
    for (const batch of batches) {
      try {
        await this.#source?.committed(batch)
      } catch (error) {
        // The group's offsets are for dashboards; the table's count.
        this.#options.logger.warn({ err: error, topic: this.topic }, 'the consumer group was not told of a commit')
      }
    }
  }
}

const positionOf = ({ topic, partition, offset }: BadRecord) => ({ topic, partition, offset })

function badRecordError(bad: BadRecord, count: number): KafkaToDeltaError {
  const more = count > 1 ? ` (and ${count - 1} more in this batch)` : ''
  const { topic, partition, offset, reason } = bad
  return new KafkaToDeltaError(
    'BAD_RECORD',
    `${topic}, partition ${partition}, offset ${offset}: ${reason}${more}`,
    positionOf(bad),
  )
}
