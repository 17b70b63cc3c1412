/** A check for people: the summary first, then the tables of which something is to be told. */

import pc from 'picocolors'
import { formatBytes, formatCount, formatMs, formatTable } from '../terminal/format.js'
import type { Finding, Severity } from './findings.js'
import {
  allFindings,
  type CheckReport,
  type ColumnReport,
  numberOf,
  type SystemReport,
  type TableCheck,
} from './report.js'

/** Names that are listed before the others are only counted. */
const MAX_NAMES = 5

const COLOR: Record<Severity, (text: string) => string> = { error: pc.red, warning: pc.yellow, note: pc.dim }

/** Nothing stays nothing: codes of a colour alone would keep the spaces before them. */
const dim = (text: string): string => (text === '' ? '' : pc.dim(text))

const plural = (count: number, what: string): string => `${formatCount(count)} ${what}${count === 1 ? '' : 's'}`

function findingLines({ code, severity, message, remedy }: Finding, indent: string): string[] {
  return [
    `${indent}${COLOR[severity](`${severity} ${code}`)}: ${message}`,
    `${indent}  ${pc.cyan('remedy:')} ${remedy}`,
  ]
}

function systemLines(systems: readonly SystemReport[]): string[] {
  const rows = systems.map(({ kind, name, ok, ms, detail }) => [
    ok ? pc.green('ok') : pc.red('failed'),
    kind,
    name,
    formatMs(ms),
    dim(detail ?? ''),
  ])
  return formatTable(rows, new Set([3])).flatMap((line, at) => {
    const found = systems[at]?.finding
    return [line, ...(found ? findingLines(found, '  ') : [])]
  })
}

const listed = (names: readonly string[], all: boolean): string =>
  all || names.length <= MAX_NAMES
    ? names.join(', ')
    : `${names.slice(0, MAX_NAMES).join(', ')} and ${formatCount(names.length - MAX_NAMES)} others`

function topicLines({ entries, passedOver }: CheckReport, all: boolean): string[] {
  const patterns = entries.filter(({ entry }) => entry.startsWith('/'))
  const named = entries.filter((entry) => !patterns.includes(entry))
  const found = named.filter(({ topics }) => topics.length > 0).length
  const lines =
    named.length === 0 ? [] : [`topics by name: ${formatCount(found)} of ${formatCount(named.length)} found`]
  for (const { entry, topics, excluded } of patterns) {
    lines.push(`${entry} takes ${plural(topics.length, 'topic')}${topics.length > 0 ? `: ${listed(topics, all)}` : ''}`)
    if (excluded.length > 0) lines.push(`  ${dim(`excluded: ${listed(excluded, all)}`)}`)
  }
  if (passedOver.length > 0) {
    const names = passedOver.map(({ topic, why }) => `${topic} (${why})`)
    lines.push(dim(`passed over: ${listed(names, all)}`))
  }
  return lines
}

function columnRows(columns: readonly ColumnReport[], isNew: boolean): string[] {
  const change = ({ change: of, before }: ColumnReport) =>
    of === 'widened' ? pc.yellow(`widened, from ${before}`) : of === 'new' && !isNew ? pc.green('added') : ''
  return formatTable([
    ['', 'column', 'source', 'Delta', '', ''].map(dim),
    ...columns.map((column) => [
      '    ',
      column.name,
      column.source ?? '-',
      `${column.deltaType}${column.nullable ? '' : ' not null'}`,
      column.isKey ? 'key' : '',
      change(column),
    ]),
  ])
}

function partitionLine({ partitions }: TableCheck): string {
  const held = partitions.reduce((sum, { low, end }) => sum + Number(BigInt(end) - BigInt(low)), 0)
  const offsets = partitions.slice(0, 8).map(({ partition, low, end, applied }) => {
    return `${partition}: ${low} to ${end}${applied === null ? '' : `, applied ${applied}`}`
  })
  const more = partitions.length > 8 ? '; …' : ''
  return `${plural(partitions.length, 'partition')}, ${plural(held, 'message')} (${offsets.join('; ')}${more})`
}

/** What is known of a table, whatever was found. */
function detailLines(table: TableCheck): string[] {
  const { settings, keySchema, valueSchema, form, primaryKey, columns, delta, sample } = table
  const lines: string[] = []
  if (table.partitions.length > 0) lines.push(partitionLine(table))
  if (settings !== null) {
    const texts = Object.entries(settings).map(([name, value]) => `${name}=${value}`)
    if (texts.length > 0) lines.push(texts.join(', '))
  }
  if (valueSchema !== null || keySchema !== null) {
    lines.push(
      `schemas: key ${keySchema ?? 'none'}, value ${valueSchema ?? 'none'}${form === null ? '' : ` (${form})`}`,
    )
  }
  if (sample !== null) lines.push(`read: ${plural(sample.messages, 'message')}, ${formatCount(sample.bad)} of them bad`)
  lines.push(
    delta === null
      ? `no table there yet: it would be made${columns.length > 0 ? ` with ${plural(columns.length, 'column')}` : ''}`
      : `table: version ${formatCount(delta.version)}, ${plural(delta.rows, 'row')}, ${formatBytes(delta.bytes)}, ${delta.mergeMode}` +
          (delta.partitionColumns.length > 0 ? `, partitioned by ${delta.partitionColumns.join(', ')}` : ''),
  )
  if (primaryKey.length > 0) lines.push(`key: ${primaryKey.join(', ')}`)
  return [...lines.map((line) => `  ${line}`), ...(columns.length > 0 ? columnRows(columns, delta === null) : [])]
}

function tableLines(table: TableCheck, all: boolean): string[] {
  const { topic, path, findings } = table
  const shown = all ? findings : findings.filter(({ severity }) => severity !== 'note')
  return [
    `${pc.bold(topic)}${path === '' ? '' : ` ${dim('→')} ${path}`}`,
    ...shown.flatMap((found) => findingLines(found, '  ')),
    ...(all ? detailLines(table) : []),
  ]
}

/** Errors first, then warnings, then by name. */
function byNeed(tables: readonly TableCheck[]): TableCheck[] {
  const rank = ({ findings }: TableCheck) => -(numberOf(findings, 'error') * 1000 + numberOf(findings, 'warning'))
  return [...tables].sort((a, b) => Math.sign(rank(a) - rank(b)) || (a.topic < b.topic ? -1 : 1))
}

function sumLine(report: CheckReport): string {
  const found = allFindings(report)
  const counts = (['error', 'warning', 'note'] as const).map(
    (severity) => [severity, numberOf(found, severity)] as const,
  )
  const told = counts
    .filter(([, count]) => count > 0)
    .map(([severity, count]) => COLOR[severity](plural(count, severity)))
  const verdict = told.length === 0 ? pc.green('nothing to tell') : told.join(', ')
  return `query ${report.query}: ${plural(report.tables.length, 'table')}, ${verdict}`
}

/** @param all whether tables without findings are shown, notes, and all details */
export function checkLines(report: CheckReport, all: boolean): string[] {
  const isTold = ({ findings }: TableCheck) => all || findings.some(({ severity }) => severity !== 'note')
  const shown = byNeed(report.tables).filter(isTold)
  const rest = report.tables.length - shown.length
  const isPartial = report.systems.some(({ finding }) => finding?.severity === 'error')
  const clean = `without errors and warnings${isPartial ? ', as far as they could be looked at' : ''}`
  const blocks = [
    systemLines(report.systems),
    [...topicLines(report, all), ...report.findings.flatMap((found) => findingLines(found, ''))],
    ...shown.map((table) => tableLines(table, all)),
    [...(rest > 0 ? [dim(`${plural(rest, 'table')} ${clean}: --all shows them, and notes`)] : []), sumLine(report)],
  ]
  return blocks.filter((block) => block.length > 0).flatMap((block, at) => (at === 0 ? block : ['', ...block]))
}
