/**
 * Compares a Delta table with its source table, chunk by chunk of the key's range: by hashes where the database can
 * compute them, and by their rows where those differ. Memory holds one chunk of both sides and the keys that differ. What
 * differs is looked at again until it is equal or the time for it is over: a change that is on its way is no difference.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import type { Table } from 'apache-arrow'
import { KafkaToDeltaError } from '../errors.js'
import { canHash, hashOf } from './chunk-hash.js'
import { comparable, type DeltaType, NUMBER_TEXT, sourceText } from './comparable.js'
import { bridged } from './ranges.js'
import type { HashedChunk, HashedTable, SourceRow, SourceTable } from './sources/source.js'
import { type Column, StoredTable, type Values } from './stored-table.js'

export interface VerifyOptions {
  path: string
  storageOptions?: Readonly<Record<string, string>>
  /** Columns of the Delta table's schema. */
  fields: readonly { name: string; type: DeltaType }[]
  primaryKey: readonly string[]
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
  /** Columns of the source that cannot be compared, or that the table lacks. */
  notCompared: string[]
}

type Counts = Pick<VerifyResult, 'rows' | 'chunks' | 'chunksRead'>

/** Above this many the tables have diverged; a list of keys no longer helps. */
const MOST_DIFFERENCES = 10_000
const SETTLE_STEP_MS = 500
const KEYS_OF_ONE_QUERY = 200

/** A difference, and the source's row where it has one. */
export interface Found extends Difference {
  values: Values | null
}

export class Verification {
  readonly #columns: Column[] = []
  readonly #key: Column[]
  readonly #table: StoredTable
  readonly #notCompared = new Set<string>()
  #found = new Map<string, Found>()
  readonly #source: SourceTable
  readonly #options: VerifyOptions

  constructor(source: SourceTable, options: VerifyOptions) {
    this.#source = source
    this.#options = options
    const types = new Map(options.fields.map(({ name, type }) => [name, type]))
    for (const name of source.columns) {
      const type = types.get(name)
      const isNumber = type === 'string' && source.isUnscaled?.(name)
      const how = isNumber ? NUMBER_TEXT : type === undefined ? null : comparable(type)
      if (type !== undefined && how) this.#columns.push({ name, type, how })
      else this.#notCompared.add(name)
    }
    this.#key = options.primaryKey.map((name) => {
      const found = this.#columns.find((column) => column.name === name)
      if (!found)
        throw new KafkaToDeltaError('CONFIG_INVALID', `the key column ${name} cannot be compared with the source`)
      return found
    })
    this.#table = new StoredTable(options, this.#columns, this.#key)
  }

  async run(): Promise<VerifyResult> {
    const found = new Map<string, Found>()
    const { primaryKey, chunkRows } = this.#options
    const hashed = canHash() ? await this.#source.hashed?.(primaryKey, this.#columns, chunkRows) : null
    const counts = hashed ? await this.#byHash(hashed, found) : await this.#byRow(found)
    const first = found.size
    await this.#settle(found)
    const differences = [...found.values()].map(({ values: _, ...difference }) => difference)
    this.#found = found
    return { ...counts, differences, settled: first - differences.length, notCompared: [...this.#notCompared] }
  }

  async #byRow(found: Map<string, Found>): Promise<Counts> {
    let [rows, chunks] = [0, 0]
    let after: readonly string[] | null = null
    for await (const chunk of this.#source.rows(this.#options.primaryKey, this.#options.chunkRows)) {
      const upTo = this.#sourceKey(chunk.at(-1) as SourceRow)
      this.#compare(chunk, await this.#table.read({ after, upTo }), found)
      rows += chunk.length
      chunks++
      after = upTo
    }
    this.#compare([], await this.#table.read({ after, upTo: null }), found)
    return { rows, chunks, chunksRead: chunks }
  }

  async #byHash(source: HashedTable, found: Map<string, Found>): Promise<Counts> {
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
      if (chunks.length === 0) this.#compare([], await this.#table.read({ after: null, upTo: null }), found)
      const toRead = bridged(different).map((i) => chunks[i] as HashedChunk)
      const left = toRead.values()
      for await (const read of toRead.length > 0 ? source.rows(toRead) : []) {
        this.#compare(read, await this.#table.read(left.next().value as HashedChunk), found)
      }
      return { rows, chunks: chunks.length, chunksRead: toRead.length }
    } finally {
      await source.end()
    }
  }

  #sourceKey(row: SourceRow): string[] {
    return this.#key.map(({ name }) => row[name] ?? '')
  }

  #sourceValues(row: SourceRow): Values {
    const values: Values = new Map()
    for (const { name, how } of this.#columns) {
      const raw = row[name] ?? null
      const value = raw === null ? null : how.source(raw)
      if (value === undefined) this.#notCompared.add(name)
      else values.set(name, value)
    }
    return values
  }

  #compare(rows: readonly SourceRow[], table: Table, found: Map<string, Found>): void {
    const stored = this.#table.byKey(table)
    const { kinds, maxDifferences = MOST_DIFFERENCES } = this.#options
    const note = (text: string, difference: Found) => {
      if (kinds && !kinds.includes(difference.kind)) return
      found.set(text, difference)
      if (found.size <= maxDifferences) return
      throw new KafkaToDeltaError(
        'SOURCE_DIFFERS',
        `more than ${maxDifferences} keys differ: are these the same table?`,
      )
    }
    for (const row of rows) {
      const values = this.#sourceValues(row)
      const text = this.#table.keyText(values)
      const key = this.#sourceKey(row)
      const other = stored.get(text)
      stored.delete(text)
      if (other === undefined) note(text, { key, kind: 'missing', values })
      else {
        const columns = [...values].filter(([name, value]) => other.get(name) !== value)
        if (columns.length > 0) {
          const of = columns.map(([name, value]) => ({ name, table: other.get(name) ?? null, source: value }))
          note(text, { key, kind: 'different', columns: of, values })
        }
      }
    }
    for (const [text, values] of stored) {
      note(text, { key: this.#key.map(({ name }) => values.get(name) ?? ''), kind: 'extra', values: null })
    }
  }

  /** Looks again at what differs until it is equal or the time is over. */
  async #settle(found: Map<string, Found>): Promise<void> {
    const until = Date.now() + this.#options.settle
    while (found.size > 0 && Date.now() < until) {
      await sleep(SETTLE_STEP_MS)
      await this.#lookAgain(found)
    }
  }

  /** @param between is called when the table has been read, and the source not yet */
  async #lookAgain(found: Map<string, Found>, between?: () => Promise<unknown>): Promise<void> {
    const keys = [...found.entries()]
    const looks: { some: typeof keys; values: (readonly string[])[]; stored: Table }[] = []
    // The table first: what it has got by then, the source has, too.
    for (let i = 0; i < keys.length; i += KEYS_OF_ONE_QUERY) {
      const some = keys.slice(i, i + KEYS_OF_ONE_QUERY)
      const values = some.map(([, { key, kind }]) => (kind === 'extra' ? this.#sourceForm(key) : key))
      looks.push({ some, values, stored: await this.#table.readKeys(values) })
    }
    await between?.()
    for (const { some, values, stored } of looks) {
      const rows = await this.#source.rowsOf(this.#options.primaryKey, values)
      for (const [text] of some) found.delete(text)
      this.#compare(rows, stored, found)
    }
  }

  /**
   * Looks once more at what {@link run} found: what differs now, by the key's values as the table has them. The columns
   * say what {@link Found.values} hold.
   *
   * @param between is called when the table has been read, and the source not yet: the source's rows are as new as what
   *   is read there
   */
  async differencesNow(
    between?: () => Promise<unknown>,
  ): Promise<{ columns: readonly string[]; found: ReadonlyMap<string, Found> }> {
    await this.#source.refresh?.()
    await this.#lookAgain(this.#found, between)
    return { columns: this.#columns.map(({ name }) => name), found: this.#found }
  }

  /** A key as the table holds it, in the form in which the source writes it. */
  #sourceForm(key: readonly string[]): string[] {
    return this.#key.map(({ type }, i) => sourceText(type, key[i] as string))
  }
}
