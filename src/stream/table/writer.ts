/** Writes to a table and its dead letters, and finds out where another worker was first. */

import type { DeadLetter } from '../../dead-letter/dead-letter.js'
import type { TableOffset } from '../../delta/results.js'
import type { MergeResult, TableInfo } from '../../delta/table.js'
import { KafkaToDeltaError } from '../../errors.js'
import type { StoredOffsets } from '../../kafka/positions.js'
import type { TableParts } from './parts.js'

/** Fences in a row before the table gives up: two processes write it for ever otherwise. */
const MAX_FENCES = 5

/** `applied`: the table held just these offsets already. `fenced`: another worker was there, and what follows is dropped. */
type Refused = 'applied' | 'fenced'

/** What the start was allowed to ask: where it fails now, more is amiss than a right that was never given. */
const isRefused = (asked: Promise<unknown>): Promise<boolean> =>
  asked.then(
    () => false,
    () => true,
  )

export class TableWriter {
  readonly #parts: TableParts
  /** What the table held when it was last looked at. */
  #offsets: TableInfo['offsets'] = []
  #exists = false
  #isStarted = false
  /** Since the start: that rights suffice for these is known. */
  #hasMerged = false
  #hasWrittenLetters = false
  /** In a row. */
  #fences = 0

  constructor(parts: TableParts) {
    this.#parts = parts
  }

  /** As far as it is known. */
  get exists(): boolean {
    return this.#exists
  }

  /** The table was looked at. */
  get isStarted(): boolean {
    return this.#isStarted
  }

  /** What the table holds now. */
  async storedOffsets(): Promise<StoredOffsets> {
    const { positions } = this.#parts
    const info = await this.#refreshed()
    this.#exists = info.exists
    this.#noteTable(info)
    this.#offsets = info.offsets
    // The source goes where the table is now: another worker may have committed since it was looked at before.
    if (positions.isUntouched) positions.reset(info.offsets)
    if (!this.#isStarted) {
      this.#isStarted = true
      this.#warnOfLosses()
    }
    return positions.storedOffsets(info.offsets)
  }

  /** What its catalog is to say of the table. */
  #noteTable(info: TableInfo): void {
    const { catalogs, table } = this.#parts.options
    if (info.exists) catalogs?.note(table, info)
  }

  /** Only what a commit changes of its schema is in a catalog. */
  async #noteSchema({ addedColumns, widenedColumns }: MergeResult): Promise<void> {
    const { catalogs, delta } = this.#parts.options
    if (!catalogs) return
    const isNew = !this.#exists || addedColumns.length > 0 || widenedColumns.length > 0
    if (isNew) this.#noteTable(await delta.info())
  }

  #warnOfLosses(): void {
    const { options, label, positions } = this.#parts
    if (positions.lost.size === 0) return
    const resumedAt = Object.fromEntries([...positions.lost].map(([partition, offset]) => [partition, String(offset)]))
    const remedy = 'messages of this table were lost: make it equal to its source by `kafka2delta verify --repair`'
    options.logger.warn({ ...label, resumedAt }, remedy)
  }

  #refreshed(): Promise<TableInfo> {
    const { options, retries } = this.#parts
    return retries.run(
      (signal) => options.delta.refresh({ signal }),
      () => this.#isStarted,
    )
  }

  /** Begins anew after what the table holds now. */
  async startAgain(): Promise<void> {
    await this.storedOffsets()
    this.#parts.positions.reset(this.#offsets)
  }

  /**
   * Whether there is a table to remove rows from. Until there is one, changes that only remove rows make none: they do
   * not tell all columns. Their positions are kept with those of the first rows; a start before that reads them again.
   */
  async tableExists(): Promise<boolean> {
    // Another loop may have made it, where tables share a path.
    if (!this.#exists) this.#exists = (await this.#refreshed()).exists
    return this.#exists
  }

  /** A batch went by that needed no commit. */
  forgetFences(): void {
    this.#fences = 0
  }

  /** Writes them as {@link merge} does: another process may write them, too. */
  async writeDeadLetters(letters: readonly DeadLetter[], offsets: TableOffset[]): Promise<'written' | Refused> {
    const { options, label, retries, lifetime } = this.#parts
    const { deadLetters, logger } = options
    if (letters.length === 0 || deadLetters === null) return 'written'
    const refused = await this.#unlessFenced(offsets, async () => {
      await retries.run(
        () => deadLetters.write(letters, lifetime.stopping),
        () => this.#hasWrittenLetters || isRefused(deadLetters.check(lifetime.stopping)),
      )
      this.#hasWrittenLetters = true
      return null
    })
    if (refused !== null) return refused
    logger.info({ ...label, numBadRecords: letters.length, deadLetter: deadLetters.target }, 'dead letters written')
    return 'written'
  }

  /** Commits changes with the offsets. */
  async merge(ipc: Uint8Array | null, primaryKey: string[], offsets: TableOffset[]): Promise<MergeResult | Refused> {
    const { options, retries, positions, lifetime } = this.#parts
    return this.#unlessFenced(offsets, async () => {
      const result = await retries.run(
        (signal) => options.delta.merge(ipc, { primaryKey, offsets, transfer: true, signal }),
        // A table that may be read and not written was never allowed to be.
        () => this.#hasMerged || isRefused(options.delta.refresh({ signal: lifetime.cutOff })),
      )
      this.#hasMerged = true
      positions.committed(offsets)
      await this.#noteSchema(result)
      this.#exists = true
      this.#fences = 0
      this.#warnOf(result)
      return result
    })
  }

  #warnOf({ notes, numMissingValues }: MergeResult): void {
    const { options, label } = this.#parts
    for (const note of notes ?? []) options.logger.warn({ ...label }, note)
    if (numMissingValues === 0) return
    const note = 'changes left out values that are stored nowhere: they are null'
    options.logger.warn({ ...label, numMissingValues }, note)
  }

  async #unlessFenced<T>(offsets: TableOffset[], write: () => Promise<T>): Promise<T | Refused> {
    try {
      return await write()
    } catch (error) {
      if (!(error instanceof KafkaToDeltaError) || error.code !== 'FENCED') throw error
      return this.#fenced(error, offsets)
    }
  }

  async #fenced(error: KafkaToDeltaError, offsets: TableOffset[]): Promise<Refused> {
    const { options, label, positions, flow } = this.#parts
    await this.storedOffsets()
    if (positions.isApplied(offsets, this.#offsets)) {
      // A commit whose answer was lost had landed.
      positions.committed(offsets)
      options.logger.info({ ...label }, 'the table holds these offsets already')
      return 'applied'
    }
    if (++this.#fences > MAX_FENCES) {
      throw new KafkaToDeltaError(
        'FENCED',
        `another process writes the offsets of query ${JSON.stringify(options.query.queryName)} to this table; ` +
          'stop one of them, or give it another queryName and path',
        { ...label, cause: error },
      )
    }
    options.logger.warn({ ...label, fences: this.#fences }, error.message)
    flow.rewind()
    return 'fenced'
  }
}
