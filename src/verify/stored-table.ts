/** The Delta table's side of a comparison: rows of a part of the key's range, or with some keys. */

import { type RecordBatch, Table } from 'apache-arrow'
import { rawValues } from '../arrow/raw-values.js'
import { scanTable } from '../delta/scan.js'
import type { DeltaType } from '../delta/schema-json.js'
import { type Comparable, quote } from './comparable.js'
import { type Ordered, type Range, rangeSql } from './ranges.js'
import type { Reading } from './sources/source.js'

/** A column that is compared. */
export interface Column {
  name: string
  /** The source's column. */
  field: string
  type: DeltaType
  how: Comparable
  reading: Reading
}

/** A row's values in the form of the comparison ({@link Comparable.stored}); without those that cannot be told. */
export type Values = Map<string, string | null>

export interface StoredTableOptions {
  path: string
  storageOptions?: Readonly<Record<string, string>>
  /** With soft deletes: the column that is true for deleted rows. */
  deletedColumn?: string | null
}

export class StoredTable {
  readonly #ordered: Ordered[]

  constructor(
    private readonly options: StoredTableOptions,
    private readonly columns: readonly Column[],
    private readonly key: readonly Column[],
  ) {
    this.#ordered = key.map(({ name, how }) => ({ sql: quote(name), literal: how.literal }))
  }

  /** Rows of a range: a column for each that is compared, in their order. */
  read(range: Range): Promise<Table> {
    return this.#select(rangeSql(range, this.#ordered))
  }

  /** Rows of some keys, in compared values. */
  readKeys(keys: readonly (readonly string[])[]): Promise<Table> {
    const [first, ...others] = this.#ordered as [Ordered, ...Ordered[]]
    if (others.length === 0) {
      return this.#select(`${first.sql} IN (${keys.map(([value]) => first.literal(value as string)).join(', ')})`)
    }
    const same = (key: readonly string[]) =>
      this.#ordered.map(({ sql, literal }, i) => `${sql} = ${literal(key[i] as string)}`).join(' AND ')
    return this.#select(keys.map((key) => `(${same(key)})`).join(' OR '))
  }

  async #select(where: string): Promise<Table> {
    const { path, storageOptions = {}, deletedColumn } = this.options
    const columns = this.columns.map(({ name }) => name)
    const live = deletedColumn ? [`(${quote(deletedColumn)} IS NULL OR NOT ${quote(deletedColumn)})`] : []
    const all = [...(where === '' ? [] : [`(${where})`]), ...live].join(' AND ')
    const scan = scanTable(path, { columns, storageOptions, ...(all !== '' && { where: all }) })
    const batches: RecordBatch[] = []
    for await (const batch of scan) batches.push(rawValues(batch))
    return batches.length > 0 ? new Table(batches) : new Table(await scan.schema())
  }

  /** Rows by the text of their key. */
  byKey(table: Table): Map<string, Values> {
    const vectors = this.columns.map((_, i) => table.getChildAt(i))
    const rows = new Map<string, Values>()
    for (let row = 0; row < table.numRows; row++) {
      const values: Values = new Map()
      this.columns.forEach(({ name, how }, i) => {
        const value = vectors[i]?.get(row)
        values.set(name, value === null || value === undefined ? null : how.stored(value))
      })
      rows.set(this.keyText(values), values)
    }
    return rows
  }

  keyText(values: Values): string {
    return JSON.stringify(this.key.map(({ name }) => values.get(name) ?? null))
  }
}
