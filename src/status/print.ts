/** A status report for people. */

import pc from 'picocolors'
import type { MemoryStatus } from '../stream/index.js'
import { formatBytes, formatCount, formatTable } from '../terminal/format.js'
import { byUrgency, needsHelp, type StatusReport, type TableReport } from './report.js'

/** `3 s`, `5 min`, `2 h`, `4 d`: one unit will do. */
function age(time: string | null | undefined, now: number): string {
  if (!time) return '-'
  const seconds = Math.max(0, Math.round((now - Date.parse(time)) / 1000))
  if (seconds < 120) return `${seconds} s`
  if (seconds < 7_200) return `${Math.round(seconds / 60)} min`
  return seconds < 172_800 ? `${Math.round(seconds / 3_600)} h` : `${Math.round(seconds / 86_400)} d`
}

/** Nothing stays nothing: codes of a colour alone would keep the spaces before them. */
const dim = (text: string): string => (text === '' ? '' : pc.dim(text))

const counted = (value: number | null): string => (value === null ? '-' : formatCount(value))

function note(table: TableReport): string {
  const { trouble, needsResync, otherQueries, version, state, catalog } = table
  if (trouble) return pc.red(trouble.code)
  if (needsResync) return pc.yellow('needs resync')
  if (catalog?.error) return pc.yellow('not in its catalog as it is')
  if (otherQueries.length > 0) return pc.yellow(`also written by ${otherQueries.join(', ')}`)
  if (state === null && version === null) return dim('no table yet')
  return dim(state ?? '')
}

/** One line for each table, then a line for each trouble, then the sum. */
export function statusLines({ query, state, memory, tables, problems }: StatusReport, now = Date.now()): string[] {
  const ordered = byUrgency(tables)
  const isWorker = state !== null
  const head = ['table', 'version', 'lag', isWorker ? 'last commit' : 'last change', 'rows', 'files', 'size', '']
  const rows = ordered.map((table) => [
    table.table,
    counted(table.version),
    counted(table.lag),
    age(isWorker ? table.lastCommit?.time : table.lastChange, now),
    counted(table.rows),
    counted(table.files),
    table.bytes === null ? '-' : formatBytes(table.bytes),
    note(table),
  ])
  // What a worker does not tell has no column.
  const shown = head.map((_, at) => at === 0 || at === head.length - 1 || rows.some((row) => row[at] !== '-'))
  const pickShown = (row: readonly string[]) => row.filter((_, at) => shown[at])
  const right = new Set(
    pickShown(head)
      .map((_, at) => at)
      .slice(1, -1),
  )
  const lines = tables.length === 0 ? [] : formatTable([pickShown(head).map(dim), ...rows.map(pickShown)], right)
  for (const { topic, trouble, catalog } of ordered) {
    if (trouble) lines.push(`${pc.red(trouble.code)} ${topic}: ${trouble.message}`)
    if (catalog?.error) lines.push(`${pc.yellow(catalog.error.code)} ${catalog.name}: ${catalog.error.message}`)
  }
  for (const { code, message } of problems) lines.push(`${pc.red(code)} ${message}`)
  if (memory) lines.push(memoryLine(memory))
  return [...lines, sum(query, state, tables)]
}

function memoryLine({ limit, ...kinds }: MemoryStatus): string {
  const told = Object.entries(kinds).map(([kind, bytes]) => `${formatBytes(bytes)} ${kind}`)
  return `memory: ${told.join(', ')} of ${formatBytes(limit)}`
}

function sum(query: string, state: string | null, tables: readonly TableReport[]): string {
  const count = (is: (table: TableReport) => boolean) => tables.filter(is).length
  const parts = [
    [count(needsHelp), 'need help'],
    [count((table) => !needsHelp(table) && table.lag !== null && table.lag > 0), 'behind'],
    [count((table) => !needsHelp(table) && table.lag === 0), 'up to date'],
  ] as const
  const told = parts.filter(([number]) => number > 0).map(([number, what]) => `${formatCount(number)} ${what}`)
  const who = state === null ? `query ${query}` : `query ${query} (${state})`
  return [`${who}: ${formatCount(tables.length)} tables`, ...told].join(', ')
}

/** The partitions of one table. */
export function partitionLines({ partitions }: TableReport): string[] {
  const rows = partitions.map(({ partition, applied, end, lag }) => [
    String(partition),
    applied ?? '-',
    end ?? '-',
    counted(lag),
  ])
  return formatTable([['partition', 'applied', 'end', 'lag'].map(dim), ...rows], new Set([0, 1, 2, 3]))
}
