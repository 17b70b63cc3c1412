/** The tables of a source beside what its replicas have made of them. */

import { join } from 'node:path'
import type { ExecutionContext } from 'ava'
import type { Replica } from './replica.js'
import type { SourceOracle, SourceRow } from './source-oracle.js'

export interface ComparisonOptions {
  /** Runs a statement at the source, and gives its rows as the text that the database writes. */
  query: (sql: string) => Promise<SourceRow[]>
  oracle: SourceOracle
  replicas: readonly Replica[]
  /** Names of the tables to be compared. */
  tables: readonly string[]
  /** Name of the table (n) of which a row says that what came before it has gone through. */
  marker: string
  /** For a file with a table's rows. */
  folder: string
  /** What a failure says beside the differences. */
  note?: string
}

export class SourceComparison {
  /** Rows compared so far, once for each replica and reader. */
  rows = 0
  /** Tables that the first replica, of flattened topics, cannot keep equal any more. */
  readonly lost = new Set<string>()
  #marker = 0

  constructor(private readonly options: ComparisonOptions) {}

  /** Waits until all that was committed at the source has gone through. */
  async untilThrough(): Promise<void> {
    const { query, replicas, marker } = this.options
    this.#marker++
    await query(`INSERT INTO ${marker} VALUES (${this.#marker})`)
    await Promise.all(replicas.map((replica) => replica.untilMarked(marker, this.#marker)))
  }

  /** Waits until everything has gone through, and compares all tables of all replicas with the source. */
  async equal(t: ExecutionContext): Promise<void> {
    const { query, oracle, replicas, tables, folder, note } = this.options
    await this.untilThrough()
    let rows = 0
    for (const name of tables) {
      const source = await query(`SELECT * FROM ${name}`)
      for (const replica of replicas) {
        if (replica === replicas[0] && this.lost.has(name)) continue
        const result = await replica.compare(oracle, name, source, join(folder, 'rows.jsonl'))
        t.deepEqual(result.differences, [], note)
        rows += result.rows
      }
    }
    this.rows += rows
    t.log(`${rows} rows compared`)
  }

  /** Henry came after the column `phone` was dropped, Frank before. */
  async phoneIsKept(t: ExecutionContext, users: string): Promise<void> {
    for (const replica of this.options.replicas) {
      const found = await replica.rows(users, { columns: ['phone', 'name'], where: "name IN ('Henry', 'Frank')" })
      t.deepEqual(
        found.sort((a, b) => String(a.name).localeCompare(String(b.name))),
        [
          { phone: '123', name: 'Frank' },
          { phone: null, name: 'Henry' },
        ],
      )
    }
  }

  /** Rows are in the partitions of their `created_at`. */
  async areByMonth(t: ExecutionContext, orders: string): Promise<void> {
    for (const replica of this.options.replicas) {
      const columns = ['year', 'month']
      const wrong = await replica.rows(orders, {
        columns,
        where: 'year <> YEAR(created_at) OR month <> MONTH(created_at)',
      })
      t.is(wrong.length, 0)
      const parts = (await replica.rows(orders, { columns })).map(({ year, month }) => `${year}-${month}`)
      t.true(new Set(parts).size > 10)
    }
  }
}
