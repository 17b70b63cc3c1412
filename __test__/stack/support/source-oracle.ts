/** The Python program that compares Delta tables with rows of the source, through readers that share no code with ours. */

import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { JsonChild } from '../../integration/support/json-child.js'
import { oraclePython } from '../../integration/support/oracle.js'

/** A row of the source: what the database writes as text. */
export type SourceRow = Record<string, string | null>

export interface Comparison {
  /** Rows compared, once for each reader. */
  rows: number
  differences: string[]
}

const SCRIPT = fileURLToPath(new URL('../../oracle/source_table.py', import.meta.url))

export class SourceOracle {
  readonly #child: JsonChild

  /** Starts it, with the Python that `npm test` has made. */
  static start(): SourceOracle {
    const python = oraclePython()
    if (python === null) throw new Error('needs Python: run it with `npm run test:stack`')
    return new SourceOracle(python)
  }

  private constructor(python: string) {
    this.#child = new JsonChild(python, [SCRIPT])
  }

  /** Compares a table with all rows of its source. `file` is a place for the rows. */
  async compare(
    table: string,
    storageOptions: Record<string, string>,
    keys: readonly string[],
    rows: readonly SourceRow[],
    file: string,
  ): Promise<Comparison> {
    writeFileSync(file, rows.map((row) => `${JSON.stringify(row)}\n`).join(''))
    const job = { table, keys, rows: file, storage_options: storageOptions }
    return this.#child.ask<Comparison>(job)
  }

  close(): Promise<void> {
    return this.#child.end()
  }
}
