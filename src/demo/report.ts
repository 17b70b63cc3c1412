/** What the demo shows: while it runs, and at its end. */

import pc from 'picocolors'
import { formatBytes, formatCount, formatMs, formatTable } from '../terminal/format.js'
import { isEqual } from './compare.js'
import type { DemoResult, DemoTable } from './run.js'
import { SHOP_STAGES, type ShopProgress } from './shop.js'

const BAR = 24

/** The lines above the live view: what the shop does. */
export function stageLines(progress: ShopProgress | null): string[] {
  if (!progress) return []
  const { stage, done, total, messages, messagesPerSecond } = progress
  const part = total === 0 ? 1 : done / total
  const bar = '█'.repeat(Math.round(part * BAR)).padEnd(BAR, '░')
  const number = SHOP_STAGES.indexOf(stage) + 1
  return [
    `${pc.bold(stage)} (${number}/${SHOP_STAGES.length})  ${bar}  ${formatCount(done)} of ${formatCount(total)}`,
    pc.dim(`produced: ${formatCount(messages)} messages, ${formatCount(messagesPerSecond)}/s`),
    '',
  ]
}

const MAX_CELL = 28

const cut = (text: string) => (text.length > MAX_CELL ? `${text.slice(0, MAX_CELL - 1)}…` : text)

function tableLines(table: DemoTable): string[] {
  const { info, comparison } = table
  const facts = [
    `version ${info.version}`,
    `${formatCount(info.numRows)} rows`,
    `${formatCount(info.numFiles)} files`,
    formatBytes(info.sizeBytes),
  ]
  const [header = [], ...rows] = table.firstRows
  const lines = [`${pc.bold(info.name ?? table.topic)}  ${facts.join(', ')}`]
  const cells = formatTable([header.map((name) => pc.dim(cut(name))), ...rows.map((row) => row.map(cut))])
  if (rows.length > 0) lines.push(...cells.map((line) => `  ${line}`))
  if (comparison && isEqual(comparison)) {
    lines.push(
      `  ${pc.green('✓')} equal to the source: all ${formatCount(comparison.expected)} rows, every value, none lost, none doubled`,
    )
  } else if (comparison) {
    const { missing, unexpected, doubled, different, misplaced } = comparison
    lines.push(
      `  ${pc.red('✗')} NOT equal to the source: ${missing} missing, ${unexpected} unexpected, ${doubled} doubled, ` +
        `${different} different, ${misplaced} in the wrong partition`,
      ...comparison.examples.map((example) => `    ${example}`),
    )
  }
  return lines
}

/** Text for a shell, in single quotes. */
const shell = (text: string) => `'${text.replaceAll("'", "'\\''")}'`

/** How to look at a table with other programs. */
export function commandLines(path: string): string[] {
  const sql = path.replaceAll("'", "''")
  const python = `from deltalake import DeltaTable, QueryBuilder; print(QueryBuilder().register("t", DeltaTable(${JSON.stringify(path)})).execute("SELECT * FROM t LIMIT 10").read_all())`
  const spark =
    'spark-sql --packages io.delta:delta-spark_2.12:3.3.2 ' +
    '--conf spark.sql.extensions=io.delta.sql.DeltaSparkSessionExtension ' +
    '--conf spark.sql.catalog.spark_catalog=org.apache.spark.sql.delta.catalog.DeltaCatalog ' +
    `-e ${shell(`SELECT * FROM delta.\`${path}\` LIMIT 10`)}`
  return [
    `DuckDB  duckdb -c ${shell(`INSTALL delta; LOAD delta; SELECT * FROM delta_scan('${sql}') LIMIT 10`)}`,
    `Python  python3 -c ${shell(python)}   ${pc.dim('(pip install deltalake)')}`,
    `Spark   ${spark}`,
  ]
}

/** What the demo did, at its end. */
export function resultLines(result: DemoResult): string[] {
  const lines: string[] = ['']
  for (const table of result.tables) lines.push(...tableLines(table), '')
  for (const topic of result.withoutTable) {
    lines.push(
      `${pc.bold(topic)}  no table: none of its messages could be applied (no key, or nothing but bad records)`,
      '',
    )
  }
  const { counts } = result
  if (counts && !result.stopped) {
    lines.push(
      `The shop's life: ${formatCount(counts.inserts)} inserts, ${formatCount(counts.updates)} updates ` +
        `(${formatCount(counts.moves)} to another partition), ${formatCount(counts.deletes)} deletes, ` +
        `${formatCount(counts.keyChanges)} key changes after the snapshot; a column added, dropped, another one added.`,
    )
  }
  const rate = result.applyMs > 0 ? (result.messages * 1000) / result.applyMs : 0
  lines.push(
    `Applied in this run: ${formatCount(result.messages)} messages in ${formatMs(result.applyMs)}, ` +
      `${formatCount(rate)}/s, with their production in the same process.`,
  )
  if (result.skippedRecords > 0) lines.push(`Skipped as bad records: ${formatCount(result.skippedRecords)}.`)
  if (result.resumed > 0) {
    const times = result.resumed === 1 ? 'once' : `${result.resumed} times`
    const equal = result.tables.length > 0 && result.tables.every(({ comparison }) => comparison && isEqual(comparison))
    lines.push(`It was ended ${times} before and went on${equal ? ': nothing lost, nothing doubled' : ''}.`)
  }
  if (result.stopped)
    lines.push('', `Stopped. To go on: kafka2delta demo --dir ${shell(result.dir)} (and the same other options)`)
  const shown = result.tables.at(-1)
  if (shown) {
    lines.push('', `The tables lie in ${result.dir}/tables. To look at ${shown.info.name ?? shown.topic}:`)
    lines.push(...commandLines(shown.path).map((line) => `  ${line}`))
  }
  return lines
}
