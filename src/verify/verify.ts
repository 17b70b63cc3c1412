/**
 * Compares a Delta table with its source table, chunk by chunk of the key's range: memory holds one chunk of both sides
 * and the keys that differ. What differs is looked at again until it is equal or the time for it is over: a change that
 * is on its way is no difference.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import { tableFromIPC } from 'apache-arrow'
import { readTable } from '../delta/table.js'
import { KafkaToDeltaError } from '../errors.js'
import type { SourceRow, SourceTable } from './source.js'
import { type Comparable, comparable, type DeltaType, quote, sourceText } from './values.js'

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
  differences: Difference[]
  /** Keys that differed at first and became equal. */
  settled: number
  /** Columns of the source that cannot be compared, or that the table lacks. */
  notCompared: string[]
}

/** Beyond as many, the tables are two tables: no list of keys helps any more. */
const MOST_DIFFERENCES = 10_000
const SETTLE_STEP_MS = 500
const KEYS_OF_ONE_QUERY = 200

type Values = Map<string, string | null>

/** A difference, and the source's row where it has one. */
export interface Found extends Difference {
  values: Values | null
}

export class Verification {
  readonly #columns: { name: string; how: Comparable }[] = []
  readonly #key: { name: string; how: Comparable }[]
  readonly #notCompared = new Set<string>()
  #found = new Map<string, Found>()

  constructor(
    private readonly source: SourceTable,
    private readonly options: VerifyOptions,
  ) {
    const types = new Map(options.fields.map(({ name, type }) => [name, type]))
    for (const name of source.columns) {
      const type = types.get(name)
      const how = type === undefined ? null : comparable(type)
      if (how) this.#columns.push({ name, how })
      else this.#notCompared.add(name)
    }
    this.#key = options.primaryKey.map((name) => {
      const found = this.#columns.find((column) => column.name === name)
      if (!found)
        throw new KafkaToDeltaError('CONFIG_INVALID', `the key column ${name} cannot be compared with the source`)
      return found
    })
  }

  async run(): Promise<VerifyResult> {
    const found = new Map<string, Found>()
    let rows = 0
    let after: readonly string[] | null = null
    for await (const chunk of this.source.rows(this.options.primaryKey, this.options.chunkRows)) {
      const upTo = this.#sourceKey(chunk.at(-1) as SourceRow)
      this.#compare(chunk, await this.#stored(this.#range(after, upTo)), found)
      rows += chunk.length
      after = upTo
    }
    this.#compare([], await this.#stored(this.#range(after, null)), found)
    const first = found.size
    await this.#settle(found)
    const differences = [...found.values()].map(({ values: _, ...difference }) => difference)
    this.#found = found
    return { rows, differences, settled: first - differences.length, notCompared: [...this.#notCompared] }
  }

  #sourceKey(row: SourceRow): string[] {
    return this.#key.map(({ name }) => row[name] ?? '')
  }

  /** Keys above `after` up to `upTo`, by the order of the columns one after another. */
  #range(after: readonly string[] | null, upTo: readonly string[] | null): string {
    const bound = (values: readonly string[], sign: string, last: string) =>
      values
        .map((_, i) => {
          const terms = values.slice(0, i + 1).map((value, j) => {
            const { name, how } = this.#key[j] as { name: string; how: Comparable }
            const operator = j < i ? '=' : i === values.length - 1 ? last : sign
            return `${quote(name)} ${operator} ${how.literal(value)}`
          })
          return `(${terms.join(' AND ')})`
        })
        .join(' OR ')
    const bounds = [...(after ? [bound(after, '>', '>')] : []), ...(upTo ? [bound(upTo, '<', '<=')] : [])]
    return bounds.map((text) => `(${text})`).join(' AND ')
  }

  /** Rows of the table by key. */
  async #stored(where: string): Promise<Map<string, Values>> {
    const { path, storageOptions } = this.options
    const columns = this.#columns.map(({ name, how }, i) => `${how.select(name)} AS c${i}`)
    const sql = `SELECT ${columns.join(', ')} FROM t${where === '' ? '' : ` WHERE ${where}`}`
    const table = tableFromIPC(await readTable(path, { sql, ...(storageOptions ? { storageOptions } : {}) }))
    const vectors = this.#columns.map((_, i) => table.getChild(`c${i}`))
    const rows = new Map<string, Values>()
    for (let row = 0; row < table.numRows; row++) {
      const values: Values = new Map()
      this.#columns.forEach(({ name, how }, i) => {
        const value = vectors[i]?.get(row)
        values.set(name, value === null || value === undefined ? null : how.stored(value))
      })
      rows.set(this.#keyText(values), values)
    }
    return rows
  }

  #keyText(values: Values): string {
    return JSON.stringify(this.#key.map(({ name }) => values.get(name) ?? null))
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

  #compare(rows: readonly SourceRow[], stored: Map<string, Values>, found: Map<string, Found>): void {
    const { kinds, maxDifferences = MOST_DIFFERENCES } = this.options
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
      const text = this.#keyText(values)
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
    const until = Date.now() + this.options.settle
    while (found.size > 0 && Date.now() < until) {
      await sleep(SETTLE_STEP_MS)
      await this.#lookAgain(found)
    }
  }

  async #lookAgain(found: Map<string, Found>): Promise<void> {
    const keys = [...found.entries()]
    for (let i = 0; i < keys.length; i += KEYS_OF_ONE_QUERY) {
      const some = keys.slice(i, i + KEYS_OF_ONE_QUERY)
      const values = some.map(([, { key, kind }]) => (kind === 'extra' ? this.#sourceForm(key) : key))
      // The table first: what it has got by then, the source has, too.
      const stored = await this.#stored(values.map((key) => `(${this.#same(key)})`).join(' OR '))
      const rows = await this.source.rowsOf(this.options.primaryKey, values)
      for (const [text] of some) found.delete(text)
      this.#compare(rows, stored, found)
    }
  }

  /**
   * Looks once more at what {@link run} found: what differs now, by the key's values as the table has them. The columns
   * say what {@link Found.values} hold.
   */
  async differencesNow(): Promise<{ columns: readonly string[]; found: ReadonlyMap<string, Found> }> {
    await this.source.refresh?.()
    await this.#lookAgain(this.#found)
    return { columns: this.#columns.map(({ name }) => name), found: this.#found }
  }

  #same(key: readonly string[]): string {
    return this.#key.map(({ name, how }, i) => `${quote(name)} = ${how.literal(key[i] as string)}`).join(' AND ')
  }

  /** A key as the table holds it, in the form in which the source writes it. */
  #sourceForm(key: readonly string[]): string[] {
    return key.map((value, i) => {
      const type = this.options.fields.find(({ name }) => name === this.#key[i]?.name)?.type
      return type === undefined ? value : sourceText(type, value)
    })
  }
}
