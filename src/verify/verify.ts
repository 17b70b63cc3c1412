/**
 * Compares a Delta table with its source table, chunk by chunk of the key's range: by hashes where the database can
 * compute them, and by their rows where those differ. Memory holds one chunk of both sides and the keys that differ. What
 * differs is looked at again until it is equal or the time for it is over: a change that is on its way is no difference.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import type { Table } from 'apache-arrow'
import { KafkaToDeltaError } from '../errors.js'
import { canHash, hashOf } from './chunk-hash.js'
import { readable } from './comparable.js'
import { type ComparedColumns, comparedColumns, type TableShape } from './compared-columns.js'
import { bridged } from './ranges.js'
import type { HashedChunk, HashedTable, Selection, SourceRow, SourceTable } from './sources/source.js'
import { type Column, StoredTable, type StoredTableOptions, type Values } from './stored-table.js'

export interface VerifyOptions extends TableShape, StoredTableOptions {
  /** Rows of a chunk. */
  chunkRows: number
  /** Milliseconds that a difference is given to go away. */
  settle: number
  /** Differences that count. Default: all. */
  kinds?: readonly Difference['kind'][]
  /** More of them are an error. Default: 10,000. */
  maxDifferences?: number
}

export interface Difference {
  key: string[]
  kind: 'missing' | 'extra' | 'different'
  /** Where it is different: column, value of the table, value of the source. */
  columns?: { name: string; table: string | null; source: string | null }[]
}

export interface VerifyResult {
  /** Rows of the source. */
  rows: number
  /** Chunks that were compared. */
  chunks: number
  /** Those of them whose rows were fetched: the others' hashes were equal. */
  chunksRead: number
  differences: Difference[]
  /** Keys that differed at first and became equal. */
  settled: number
  /** Columns of the source that cannot be compared, in all rows or in some, or that the table lacks. */
  notCompared: string[]
}

type Counts = Pick<VerifyResult, 'rows' | 'chunks' | 'chunksRead'>

/** Above this many the tables have diverged; a list of keys no longer helps. */
const MOST_DIFFERENCES = 10_000
const SETTLE_STEP_MS = 500
const KEYS_OF_ONE_QUERY = 200

/** A difference, by its key's compared values, and the source's row where it has one. */
export interface Found extends Difference {
  keyValues: readonly string[]
  values: Values | null
}

/** What differs, and how it was found. */
export interface Differences extends Pick<ComparedColumns, 'columns' | 'withoutSource'> {
  /** Of the keys that were looked at. */
  found: ReadonlyMap<string, Found>
  /** Keys that were not looked at. */
  more: number
  /** Columns of the table whose values the source does not tell in any row. */
  unknown: readonly string[]
}

export class Verification {
  readonly #columns: Column[]
  readonly #key: Column[]
  readonly #withoutSource: string[]
  readonly #selection: Selection
  readonly #table: StoredTable
  /** Columns that cannot be compared: in no row, and in some. */
  readonly #unknown: Set<string>
  readonly #unknownInRows = new Set<string>()
  #found = new Map<string, Found>()
  #settled = 0
  readonly #source: SourceTable
  readonly #options: VerifyOptions

  constructor(source: SourceTable, options: VerifyOptions) {
    this.#source = source
    this.#options = options
    const { columns, key, notCompared, withoutSource } = comparedColumns(source, options)
    this.#columns = columns
    this.#key = key
    this.#unknown = new Set(notCompared)
    this.#withoutSource = withoutSource
    this.#selection = { columns, key: key.map((column) => columns.indexOf(column)) }
    this.#table = new StoredTable(options, columns, key)
  }

  async run(): Promise<VerifyResult> {
    this.#found = new Map()
    this.#settled = 0
    const { chunkRows } = this.#options
    const hashed = canHash() ? await this.#source.hashed?.(this.#selection, chunkRows) : null
    const counts = hashed ? await this.#byHash(hashed) : await this.#byRow()
    await this.#settle(() => this.#found.size > 0)
    this.#mustBeFew()
    const differences = [...this.#found.values()].map(({ values: _, keyValues: __, ...difference }) => difference)
    const notCompared = [...new Set([...this.#unknown, ...this.#unknownInRows])]
    return { ...counts, differences, settled: this.#settled, notCompared }
  }

  async #byRow(): Promise<Counts> {
    let [rows, chunks] = [0, 0]
    let after: readonly string[] | null = null
    for await (const chunk of this.#source.rows(this.#selection, this.#options.chunkRows)) {
      const upTo = this.#keyOf(chunk.at(-1) as SourceRow)
      await this.#compareChunk(chunk, await this.#table.read({ after, upTo }))
      rows += chunk.length
      chunks++
      after = upTo
    }
    await this.#compareChunk([], await this.#table.read({ after, upTo: null }))
    return { rows, chunks, chunksRead: chunks }
  }

  async #byHash(source: HashedTable): Promise<Counts> {
    try {
      const chunks: HashedChunk[] = []
      const different: number[] = []
      let rows = 0
      for await (const chunk of source.chunks()) {
        const stored = await this.#table.read(chunk)
        const same = stored.numRows === chunk.rows && hashOf(stored, source.cells) === chunk.hash
        if (!same) different.push(chunks.length)
        rows += chunk.rows
        chunks.push(chunk)
      }
      // Nothing at the source: all that there is in the table is too many.
      if (chunks.length === 0) await this.#compareChunk([], await this.#table.read({ after: null, upTo: null }))
      const toRead = bridged(different).map((i) => chunks[i] as HashedChunk)
      const left = toRead.values()
      for await (const read of toRead.length > 0 ? source.rows(toRead) : []) {
        await this.#compareChunk(read, await this.#table.read(left.next().value as HashedChunk))
      }
      return { rows, chunks: chunks.length, chunksRead: toRead.length }
    } finally {
      await source.end()
    }
  }

  /** A row's key in compared values. */
  #keyOf(row: SourceRow): string[] {
    return this.#selection.key.map((at, i) => {
      const { name, reading } = this.#key[i] as Column
      const raw = row[at] ?? null
      const value = raw === null ? null : reading.value(raw)
      if (typeof value === 'string') return value
      throw new KafkaToDeltaError(
        'CONFIG_INVALID',
        `the key column ${name} is ${raw} in a row of the source, which the table cannot hold`,
        { column: name },
      )
    })
  }

  #valuesOf(row: SourceRow): Values {
    const values: Values = new Map()
    for (const [i, { name, reading }] of this.#columns.entries()) {
      const raw = row[i] ?? null
      const value = raw === null ? null : reading.value(raw)
      if (value === undefined) this.#unknownInRows.add(name)
      else values.set(name, value)
    }
    return values
  }

  /** Changes on their way must not be taken for differences: where there are too many, they are given their time. */
  async #compareChunk(rows: readonly SourceRow[], table: Table): Promise<void> {
    this.#compare(rows, table)
    const { maxDifferences = MOST_DIFFERENCES } = this.#options
    if (this.#found.size <= maxDifferences) return
    await this.#settle(() => this.#found.size > maxDifferences / 2)
    this.#mustBeFew()
  }

  #mustBeFew(): void {
    const { maxDifferences = MOST_DIFFERENCES } = this.#options
    if (this.#found.size <= maxDifferences) return
    throw new KafkaToDeltaError('SOURCE_DIFFERS', `more than ${maxDifferences} keys differ: are these the same table?`)
  }

  #note(text: string, found: Omit<Found, 'key'>): void {
    const { kinds } = this.#options
    if (kinds && !kinds.includes(found.kind)) return
    const key = found.keyValues.map((value, i) => readable((this.#key[i] as Column).type, value))
    this.#found.set(text, { key, ...found })
  }

  #compare(rows: readonly SourceRow[], table: Table): void {
    const stored = this.#table.byKey(table)
    for (const row of rows) {
      const values = this.#valuesOf(row)
      const keyValues = this.#keyOf(row)
      const text = this.#table.keyText(values)
      const other = stored.get(text)
      stored.delete(text)
      if (other === undefined) this.#note(text, { keyValues, kind: 'missing', values })
      else {
        const columns = this.#different(other, values)
        if (columns.length > 0) this.#note(text, { keyValues, kind: 'different', columns, values })
      }
    }
    for (const [text, values] of stored) {
      const keyValues = this.#key.map(({ name }) => values.get(name) ?? '')
      this.#note(text, { keyValues, kind: 'extra', values: null })
    }
  }

  #different(stored: Values, source: Values): { name: string; table: string | null; source: string | null }[] {
    return this.#columns.flatMap(({ name, reading }) => {
      const [one, other] = [stored.get(name) ?? null, source.get(name)]
      if (other === undefined || one === other) return []
      if (one !== null && other !== null) {
        if (reading.isSame?.(one, other)) return []
        const doubtful = reading.mayBe?.(one, other) ? this.#unknown : this.#unknownInRows
        if (doubtful === this.#unknown || reading.mayLack?.(one, other)) {
          doubtful.add(name)
          return []
        }
      }
      return [{ name, table: one, source: other }]
    })
  }

  /** Looks again at what differs until it is good or the time is over. */
  async #settle(isBad: () => boolean): Promise<void> {
    const until = Date.now() + this.#options.settle
    while (isBad() && Date.now() < until) {
      await sleep(SETTLE_STEP_MS)
      const before = this.#found.size
      await this.#lookAgain([...this.#found.keys()])
      this.#settled += Math.max(0, before - this.#found.size)
    }
  }

  /** @param between is called when the table has been read, and the source not yet */
  async #lookAgain(texts: readonly string[], between?: () => Promise<unknown>): Promise<void> {
    const looks: { some: readonly string[]; keys: (readonly string[])[]; stored: Table }[] = []
    // The table first: what it has got by then, the source has, too.
    for (let i = 0; i < texts.length; i += KEYS_OF_ONE_QUERY) {
      const some = texts.slice(i, i + KEYS_OF_ONE_QUERY)
      const keys = some.map((text) => (this.#found.get(text) as Found).keyValues)
      looks.push({ some, keys, stored: await this.#table.readKeys(keys) })
    }
    await between?.()
    await this.#source.refresh?.()
    for (const { some, keys, stored } of looks) {
      const asked = new Set(some)
      const rows = await this.#source.rowsOf(this.#selection, keys)
      for (const text of some) this.#found.delete(text)
      // Where the database takes other texts for the same, it gives rows that nobody has asked for.
      this.#compare(
        rows.filter((row) => asked.has(JSON.stringify(this.#keyOf(row)))),
        stored,
      )
    }
  }

  /**
   * Looks once more at what {@link run} found: what differs now, by the key's values as the table has them.
   *
   * @param most as many of the keys are looked at, the first ones
   * @param between is called when the table has been read, and the source not yet: the source's rows are as new as what
   *   is read there
   */
  async differencesNow(most: number, between?: () => Promise<unknown>): Promise<Differences> {
    const texts = [...this.#found.keys()]
    await this.#lookAgain(texts.slice(0, most), between)
    // Those that were looked at are the last ones now, and those that follow were not.
    const unseen = new Set(texts.slice(most))
    const looked = [...this.#found].filter(([text]) => !unseen.has(text))
    const rest = [...this.#found].filter(([text]) => unseen.has(text))
    this.#found = new Map([...looked, ...rest])
    const unknown = [...this.#unknown].filter((name) => this.#options.fields.some((field) => field.name === name))
    return {
      columns: this.#columns,
      withoutSource: this.#withoutSource,
      found: new Map(looked),
      more: rest.length,
      unknown,
    }
  }

  /** Is told of what was repaired. */
  forget(text: string): void {
    this.#found.delete(text)
  }
}
