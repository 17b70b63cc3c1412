/** A table of a source in memory, and a Delta table beside it. */

import { Table, Uint8, Utf8, vectorFromArray } from 'apache-arrow'
import { DeltaTable } from '../../src/index.js'
import { same } from '../../src/verify/source-text.js'
import type { KeySide, Reading, Selection, SourceRow, SourceTable } from '../../src/verify/sources/source.js'

const SIDE: KeySide = { sql: '', parameter: (placeholder) => placeholder, from: (value) => value }

/** Texts in columns; the first one is the key. */
export class MemorySource implements SourceTable {
  /** Called when rows of some keys are asked for. */
  whenAsked: () => Promise<void> = async () => {}
  /** Called after each chunk. */
  whenRead: () => Promise<void> = async () => {}
  /** How columns are read, where not as they are. */
  readings: Record<string, Partial<Reading> | null> = {}
  asked = 0

  constructor(
    readonly columns: readonly string[],
    public table: (string | null)[][],
  ) {}

  reading(column: string): Reading | null {
    const own = this.readings[column]
    return own === null ? null : { sql: '', value: same, key: { order: SIDE, find: SIDE }, ...own }
  }

  #select(row: readonly (string | null)[], { columns }: Selection): SourceRow {
    return columns.map(({ field }) => row[this.columns.indexOf(field)] ?? null)
  }

  async *rows(selection: Selection, fetchSize: number): AsyncGenerator<SourceRow[]> {
    const rows = this.table.toSorted(([a], [b]) => Buffer.compare(Buffer.from(a as string), Buffer.from(b as string)))
    for (let i = 0; i < rows.length; i += fetchSize) {
      yield rows.slice(i, i + fetchSize).map((row) => this.#select(row, selection))
      await this.whenRead()
    }
  }

  async rowsOf(selection: Selection, keys: readonly (readonly string[])[]): Promise<SourceRow[]> {
    this.asked += keys.length
    await this.whenAsked()
    const wanted = new Set(keys.map(([key]) => key))
    return this.table.filter(([key]) => wanted.has(key as string)).map((row) => this.#select(row, selection))
  }

  async close(): Promise<void> {}
}

/** Writes rows of texts to a Delta table; null for one that is deleted. */
export async function write(
  table: DeltaTable,
  columns: readonly string[],
  rows: readonly (readonly (string | null)[])[],
  options: Parameters<DeltaTable['merge']>[1] = {},
  op = 0,
): Promise<void> {
  const vectors = columns.map((name, i) => [
    name,
    vectorFromArray(
      rows.map((row) => row[i] ?? null),
      new Utf8(),
    ),
  ])
  const _op = vectorFromArray(
    rows.map(() => op),
    new Uint8(),
  )
  const batch = new Table({ ...Object.fromEntries(vectors), _op })
  await table.merge(batch, { primaryKey: [columns[0] as string], ...options })
}

/** A Delta table of texts. */
export async function tableAt(
  path: string,
  columns: readonly string[],
  rows: readonly (readonly (string | null)[])[],
  options: Parameters<DeltaTable['merge']>[1] = {},
): Promise<DeltaTable> {
  const table = await DeltaTable.open({ path })
  await write(table, columns, rows, options)
  return table
}

export const fieldsOf = (columns: readonly string[]) => columns.map((name) => ({ name, type: 'string' }))
