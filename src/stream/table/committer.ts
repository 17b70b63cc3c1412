/** Takes decoded batches to the table, and tells the source of those that are done with. */

import { performance } from 'node:perf_hooks'
import type { ChangeBatch } from '../../debezium/change-batch.js'
import type { MergeResult } from '../../delta/table.js'
import type { MicroBatch } from '../../kafka/micro-batch.js'
import { makeProgress } from '../progress.js'
import type { TableParts } from './parts.js'
import { Pending } from './pending.js'
import type { Decoded } from './reader.js'
import type { TableWriter } from './writer.js'

export class Committer {
  readonly #parts: TableParts
  readonly #writer: TableWriter
  readonly #pending: Pending
  readonly #onCommit: () => void
  #batchId = 0
  #numBadRecords = 0
  #lastBegun = Date.now()

  /** @param onCommit called after each commit of changes */
  constructor(parts: TableParts, writer: TableWriter, onCommit: () => void) {
    this.#parts = parts
    this.#writer = writer
    this.#pending = new Pending(parts.options.query.limits.maxQueueBytes / 4)
    this.#onCommit = onCommit
  }

  /** Messages since the start that could not be applied, of batches that were committed. */
  get numBadRecords(): number {
    return this.#numBadRecords
  }

  /** Milliseconds until {@link commitPending} is due. */
  get dueIn(): number {
    return this.#pending.dueIn
  }

  /** Forgets what waits for its commit: it is read again. */
  drop(): void {
    this.#pending.drop()
  }

  /** Writes a batch and commits it, or keeps its positions; dropped where another worker was first. */
  async apply(decoded: Decoded): Promise<void> {
    const { flow, positions } = this.#parts
    const { changes, ranges, letters } = decoded
    const begun = Date.now()
    flow.merging()
    const mergeBegun = performance.now()
    const offsets = positions.offsetsFor(ranges)
    // Before the commit: a crash between the two repeats the letters, which are stored once, and loses none.
    const written = await this.#writer.writeDeadLetters(letters, offsets)
    if (written === 'written' && (await this.#changesNothing(changes)) && !this.#mustCommit(decoded)) {
      this.#numBadRecords += changes.badRecords.length
      await this.#keep(decoded)
      flow.finished()
      return
    }
    const result = written === 'written' ? await this.#writer.merge(changes.ipc, changes.primaryKey, offsets) : written
    flow.finished()
    if (result === 'fenced') return
    this.#numBadRecords += changes.badRecords.length
    if (result !== 'applied') this.#parts.lag.source?.merged(decoded.original, result.peakBytes)
    await this.#noteCommit(decoded.original)
    if (result === 'applied') return
    this.#report(decoded, result, begun, performance.now() - mergeBegun)
    this.#onCommit()
  }

  async #changesNothing({ ipc, onlyRemoves }: ChangeBatch): Promise<boolean> {
    return ipc === null || (onlyRemoves === true && !(await this.#writer.tableExists()))
  }

  #report(decoded: Decoded, result: MergeResult, begun: number, merge: number): void {
    const { query, delta, deadLetters, onProgress } = this.#parts.options
    const { changes, ranges, letters, wait, decode } = decoded
    const fixed = {
      name: query.queryName,
      ...this.#parts.label,
      path: delta.uri,
      batchId: this.#batchId++,
      numInputRows: decoded.numMessages,
      numInputBytes: decoded.numBytes,
      numIgnored: changes.numIgnored,
      numBadRecords: changes.badRecords.length,
      deadLetter: letters.length > 0 ? (deadLetters?.target ?? null) : null,
      lag: this.#parts.lag.messages,
      offsets: Object.fromEntries(
        ranges.map(({ partition, firstOffset, lastOffset }) => [
          partition,
          { start: String(firstOffset), end: String(lastOffset) },
        ]),
      ),
    }
    onProgress(makeProgress(fixed, result, { begun, sinceLast: begun - this.#lastBegun, wait, decode, merge }))
    this.#lastBegun = begun
  }

  /**
   * Bad records are told of at once, with a commit. Positions of many ignored messages are not kept back: a restart would
   * read them all again.
   */
  #mustCommit({ original, changes }: Decoded): boolean {
    return this.#writer.exists && (changes.badRecords.length > 0 || this.#pending.holdsMuch(original))
  }

  /** Keeps the positions of a batch that changes no row. */
  async #keep({ original, ranges }: Decoded): Promise<void> {
    this.#parts.positions.keep(ranges)
    this.#pending.keep(original)
    if (this.#writer.exists) return
    this.#writer.forgetFences()
    // As long as no row has made a table, nothing can hold the positions: but the source must go on reading.
    if (this.#pending.holdsMuch()) await this.#tellSource()
  }

  /** Commits positions that only ignored messages moved. A table that no row has made yet cannot hold them. */
  async commitPending(): Promise<void> {
    const { positions } = this.#parts
    this.#pending.committing()
    if (!positions.hasPending || !this.#writer.exists) return
    const result = await this.#writer.merge(null, [], positions.offsetsFor([]))
    if (result !== 'fenced') await this.#noteCommit(null)
  }

  async #noteCommit(original: MicroBatch | null): Promise<void> {
    if (original) this.#pending.add(original)
    this.#pending.committing()
    await this.#tellSource()
  }

  /** Lets the source free what it holds of the batches that are done with. */
  async #tellSource(): Promise<void> {
    for (const batch of this.#pending.take()) {
      try {
        await this.#parts.lag.source?.committed(batch)
      } catch (error) {
        // The group's offsets are for dashboards; the table's count.
        const note = 'the consumer group was not told of a commit'
        this.#parts.options.logger.warn({ ...this.#parts.label, err: error }, note)
      }
    }
  }
}
