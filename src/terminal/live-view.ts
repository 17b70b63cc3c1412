/** The live view of a running query: one line for each table. */

import { createLogUpdate } from 'log-update'
import pc from 'picocolors'
import type { StreamingQueryProgress } from '../stream/progress.js'
import type { StreamingQuery } from '../stream/query.js'
import { formatCount, formatMs, formatTable } from './format.js'
import type { Output } from './output.js'

const REFRESH_MS = 250

/** Rates are those of the last seconds. */
const WINDOW_MS = 5000

interface TableView {
  name: string
  version: number | null
  upserts: number
  deletes: number
  rows: number
  filesAdded: number
  lastCommitMs: number | null
  failed: boolean
  recent: { at: number; rows: number }[]
}

/** Sums up a query's progress by table. */
export class QuerySummary {
  readonly #tables = new Map<string, TableView>()
  readonly #started = Date.now()

  constructor(query: StreamingQuery) {
    for (const [topic, { table }] of Object.entries(query.status.tables)) this.#view(topic, table)
    query.on('progress', (progress) => this.add(progress))
    query.on('tableFailed', ({ topic, table }) => {
      this.#view(topic, table).failed = true
    })
  }

  /** Of a table that appeared while the query ran, a new one. */
  #view(topic: string, name: string): TableView {
    let view = this.#tables.get(topic)
    if (!view) {
      view = {
        name,
        version: null,
        upserts: 0,
        deletes: 0,
        rows: 0,
        filesAdded: 0,
        lastCommitMs: null,
        failed: false,
        recent: [],
      }
      this.#tables.set(topic, view)
    }
    return view
  }

  /** Messages applied, of all tables. */
  get rows(): number {
    return [...this.#tables.values()].reduce((sum, { rows }) => sum + rows, 0)
  }

  get elapsedMs(): number {
    return Date.now() - this.#started
  }

  add(progress: StreamingQueryProgress): void {
    const view = this.#view(progress.topic, progress.table)
    view.version = progress.version
    view.upserts += progress.numRowsUpserted
    view.deletes += progress.numRowsDeleted
    view.rows += progress.numInputRows
    view.filesAdded += progress.numFilesAdded
    view.lastCommitMs = progress.durationMs.merge
    view.recent.push({ at: Date.now(), rows: progress.numInputRows })
  }

  /** The table that is shown. */
  lines(query: StreamingQuery, now = Date.now()): string[] {
    const rows = [...this.#tables].map(([topic, view]) => {
      view.recent = view.recent.filter(({ at }) => now - at < WINDOW_MS)
      const span = Math.max(1000, Math.min(WINDOW_MS, this.elapsedMs))
      const rate = (view.recent.reduce((sum, { rows }) => sum + rows, 0) * 1000) / span
      const { lag, state, waitingFor } = query.status.tables[topic] ?? { lag: null, state: 'ended', waitingFor: null }
      return [
        view.failed ? pc.red(`✗ ${view.name}`) : view.name,
        view.version === null ? '-' : String(view.version),
        formatCount(rate),
        lag === null ? '-' : formatCount(lag),
        formatCount(view.upserts),
        formatCount(view.deletes),
        formatCount(view.filesAdded),
        view.lastCommitMs === null ? '-' : formatMs(view.lastCommitMs),
        view.failed ? pc.red('failed') : waitingFor ? pc.yellow(`trying again: ${waitingFor.code}`) : pc.dim(state),
      ]
    })
    const header = ['table', 'version', 'rows/s', 'lag', 'upserts', 'deletes', 'files', 'commit', ''].map(pc.dim)
    return formatTable([header, ...rows], new Set([1, 2, 3, 4, 5, 6, 7]))
  }
}

export interface LiveView {
  /** Writes lines above the view. */
  print(text: string): void
  /** Draws once more and leaves what is shown. */
  end(): void
}

/** Draws a query's state until it is ended. `head` gives lines above the tables. */
export function showLive(query: StreamingQuery, output: Output, head: () => string[] = () => []): LiveView {
  const summary = new QuerySummary(query)
  const update = createLogUpdate(output.stdout as NodeJS.WriteStream)
  const draw = () => {
    const total = `${formatCount(summary.rows)} messages in ${formatMs(summary.elapsedMs)}`
    update([...head(), ...summary.lines(query), pc.dim(total)].join('\n'))
  }
  const timer = setInterval(draw, REFRESH_MS)
  timer.unref()
  draw()
  return {
    print(text) {
      update.clear()
      output.stdout.write(`${text}\n`)
      draw()
    },
    end() {
      clearInterval(timer)
      draw()
      update.done()
    },
  }
}
