/** A table of a database and a Delta table with the same rows, made without a stream: for comparisons of both. */

import { makeData, Table, Uint8, Vector } from 'apache-arrow'
import type { ExecutionContext } from 'ava'
import type { ColumnType } from '../../../src/arrow/types.js'
import type { DeltaType } from '../../../src/delta/schema-json.js'
import { DeltaTable } from '../../../src/index.js'
import { columnOf, columnType } from '../../../src/verify/columns.js'
import { comparedColumns, type TableShape } from '../../../src/verify/compared-columns.js'
import type { Selection, SourceTable } from '../../../src/verify/sources/source.js'
import { Verification, type VerifyOptions, type VerifyResult } from '../../../src/verify/verify.js'

/** Values in the form of the comparison. */
export type Row = Record<string, string | null>

export class HashedPair {
  /** The rows of the source, in its order. */
  rows: Row[] = []
  readonly fields: { name: string; type: DeltaType }[]
  readonly shape: TableShape
  readonly selection: Selection

  constructor(
    readonly source: SourceTable,
    readonly path: string,
    types: Readonly<Record<string, DeltaType>>,
    readonly primaryKey: string[],
    forms: Readonly<Record<string, string>> = {},
  ) {
    this.fields = Object.entries(types).map(([name, type]) => ({ name, type }))
    // Times of day, which are called so here.
    const times = this.fields.filter(({ name, type }) => /time/.test(name) && type === 'long')
    const ofTimes = Object.fromEntries(times.map(({ name }) => [name, 'microseconds']))
    this.shape = { fields: this.fields, primaryKey, forms: { ...ofTimes, ...forms } }
    const { columns, key } = comparedColumns(source, this.shape)
    this.selection = { columns, key: key.map((one) => columns.indexOf(one)) }
  }

  /** Reads the source's rows, and makes the table of them. */
  async fill(): Promise<void> {
    const { columns } = this.selection
    for await (const rows of this.source.rows(this.selection, 1000)) {
      for (const row of rows) {
        const values = columns.map(({ field, reading }, i) => {
          const text = row[i] ?? null
          return [field, text === null ? null : (reading.value(text) ?? null)] as const
        })
        this.rows.push(Object.fromEntries(values))
      }
    }
    if (this.rows.length > 0) await this.write(this.rows)
  }

  /** Writes rows to the Delta table, or deletes them there. */
  async write(rows: readonly Row[], op: 'upsert' | 'delete' = 'upsert'): Promise<void> {
    const column = ({ name, type }: { name: string; type: DeltaType }) =>
      new Vector([
        columnOf(
          columnType(type) as ColumnType,
          rows.map((row) => row[name] ?? null),
        ),
      ])
    const ops = Uint8Array.from(rows, () => (op === 'delete' ? 1 : 0))
    const _op = new Vector([makeData({ type: new Uint8(), length: rows.length, nullCount: 0, data: ops })])
    const table = await DeltaTable.open({ path: this.path })
    try {
      const columns = Object.fromEntries(this.fields.map((field) => [field.name, column(field)]))
      await table.merge(new Table({ ...columns, _op } as never), { primaryKey: this.primaryKey })
    } finally {
      await table.close()
    }
  }

  verification(options: Partial<VerifyOptions>, source = this.source): Verification {
    return new Verification(source, { path: this.path, ...this.shape, chunkRows: 5, settle: 0, ...options })
  }

  /** The result of hashes, which must be that of the rows. */
  async verified(t: ExecutionContext, options: Partial<VerifyOptions> = {}): Promise<VerifyResult> {
    const result = await this.verification(options).run()
    const sure = await this.verification(options, byRowsOf(this.source)).run()
    const told = ({ rows, differences, settled, notCompared }: VerifyResult) => ({
      rows,
      differences: differences.map((one) => JSON.stringify(one)).sort(),
      settled,
      notCompared: notCompared.toSorted(),
    })
    t.deepEqual(told(result), told(sure))
    t.is(sure.chunksRead, sure.chunks)
    t.is(result.rows, this.rows.length)
    return result
  }
}

/** The same source, of which nothing is hashed. */
export const byRowsOf = (source: SourceTable): SourceTable => ({
  columns: source.columns,
  reading: (column, target) => source.reading(column, target),
  rows: (selection, fetchSize) => source.rows(selection, fetchSize),
  rowsOf: (selection, keys) => source.rowsOf(selection, keys),
  close: () => source.close(),
})

/** Differences in short: kind, key, columns. */
export const short = ({ differences }: VerifyResult): string[] =>
  differences
    .map(({ kind, key, columns }) => [kind, ...key, ...(columns ?? []).map(({ name }) => name)].join(' '))
    .sort()
