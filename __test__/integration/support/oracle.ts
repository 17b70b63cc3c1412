/** The Python program that checks tables with readers which share no code with ours. */

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface, type Interface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { installedPython } from '../../../scripts/lib/python.mjs'

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
  readonly #child: ChildProcess
  readonly #lines: Interface
  readonly #waiting: ((answer: OracleAnswer) => void)[] = []
  #errors = ''

  constructor(python: string) {
    this.#child = spawn(python, [SCRIPT, '--serve'], { stdio: ['pipe', 'pipe', 'pipe'] })
    this.#child.stderr?.on('data', (text) => {
      this.#errors = (this.#errors + text).slice(-4000)
    })
    this.#lines = createInterface({ input: this.#child.stdout as NodeJS.ReadableStream })
    this.#lines.on('line', (line) => this.#waiting.shift()?.(JSON.parse(line) as OracleAnswer))
    this.#child.on('exit', (code) => {
      const error = `the oracle ended with ${code}: ${this.#errors}`
      for (const answer of this.#waiting.splice(0)) answer({ ok: false, error })
    })
  }

  /** What is wrong with a table: an empty list if nothing is. */
  async differences(job: OracleJob): Promise<string[]> {
    const answer = new Promise<OracleAnswer>((resolve) => this.#waiting.push(resolve))
    this.#child.stdin?.write(`${JSON.stringify(job)}\n`)
    const { ok, differences, error, trace } = await answer
    if (error !== undefined) return [error, ...(trace ? [trace] : [])]
    return ok ? [] : (differences ?? ['unknown']).slice(0, 30)
  }

  async close(): Promise<void> {
    const ended = once(this.#child, 'exit')
    this.#child.stdin?.end()
    await ended
    this.#lines.close()
  }
}
