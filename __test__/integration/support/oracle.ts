/** The Python program that checks tables with readers which share no code with ours. */

import { fileURLToPath } from 'node:url'
import { installedPython } from '../../../scripts/lib/python.mjs'
import { JsonChild } from './json-child.js'

/** One table to check; the names are those of oracle.py. */
export interface OracleJob {
  /** Folder of the captured set. */
  set: string
  topic: string
  /** Path of the table. */
  table: string
  primary_key?: string[]
  out_of_range?: 'fail' | 'null' | 'clamp'
  /** Stored column → `kafka.…`, `operation`, or, of envelopes, a path in them. */
  metadata?: Record<string, string>
  /** The column that marks deleted rows, which stay. */
  soft_delete?: string
  additional?: string[]
  /** Columns of the value that are not stored. */
  exclude?: string[]
  /** Columns that the table is partitioned by: they are there also where no message has them. */
  partition?: string[]
  /** Checks the stored offsets, too. */
  query_name?: string
  /** The messages stand in the order of the source, whatever their timestamps and positions say. */
  source_order?: boolean
  /** Names of the readers; by default all that are there. */
  readers?: string[]
  /** Compares with the source's own rows, too. */
  source_rows?: boolean
}

interface OracleAnswer {
  ok: boolean
  rows?: number
  readers?: string[]
  differences?: string[]
  error?: string
  trace?: string
}

const SCRIPT = fileURLToPath(new URL('../../oracle/oracle.py', import.meta.url))

/** The oracle's Python, or null where it is not there: `npm test` makes it. */
export function oraclePython(): string | null {
  return process.env.ORACLE_PYTHON ?? installedPython()
}

/** Why tests with the oracle are skipped. */
export const NO_ORACLE = 'needs Python: run it with `npm test`'

export class Oracle {
  readonly #child: JsonChild

  constructor(python: string) {
    this.#child = new JsonChild(python, [SCRIPT, '--serve'])
  }

  /** What is wrong with a table: an empty list if nothing is. */
  async differences(job: OracleJob): Promise<string[]> {
    const failed = (error: Error): OracleAnswer => ({ ok: false, error: error.message })
    const { ok, differences, error, trace } = await this.#child.ask<OracleAnswer>(job).catch(failed)
    if (error !== undefined) return [error, ...(trace ? [trace] : [])]
    return ok ? [] : (differences ?? ['unknown']).slice(0, 30)
  }

  close(): Promise<void> {
    return this.#child.end()
  }
}
