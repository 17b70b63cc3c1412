/**
 * The Spark job and kafka2delta on the same captured topics, and every table of ours read by Spark and by another
 * reader: see docs/spark.md. Run by `npm run compare:spark`, which hands over where Spark is.
 */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { FIXTURES } from '../../__test__/integration/support/captured-sets.js'
import { compareByName } from './by-name.js'
import { type Difference, differences, readersDiffer, type SparkOutcome, type TableRead } from './difference.js'
import { idOf, judge, type ListedDifference, listedDifferences, tableRow } from './listed.js'
import { hasDeletionVectors, writeOurs } from './ours.js'
import { Report } from './report.js'
import { microBatches, readOnly, replayed, type Scenario } from './scenarios.js'
import { TAKEOVERS, takeOver, without } from './takeover.js'

const HERE = import.meta.dirname
const DOCS = join(HERE, '..', '..', 'docs', 'spark.md')

type ReadOrError = TableRead | { error: string }

interface SparkResult {
  version: string
  jobs: Record<string, SparkOutcome>
  tables: Record<string, ReadOrError>
}

interface OtherResult {
  reader: string
  tables: Record<string, ReadOrError>
}

const { values: options } = parseArgs({
  options: {
    tap: { type: 'boolean', default: false },
    keep: { type: 'boolean', default: false },
    verbose: { type: 'boolean', default: false },
    only: { type: 'string' },
  },
})
const { SPARK_PYTHON, SPARK_JARS, ORACLE_PYTHON, HIVE_JARS } = process.env
if (!SPARK_PYTHON || !SPARK_JARS) throw new Error('start it with npm run compare:spark')

const folder = mkdtempSync(join(tmpdir(), 'kafka2delta-spark-'))
const report = new Report(options)
try {
  if (options.only !== 'by-name') await compare()
  report.title('Tables by their names, in a Hive metastore')
  if (!HIVE_JARS) report.skipped('by name', 'the jars of the metastore are missing')
  else await compareByName(report, folder, { python: SPARK_PYTHON, jars: SPARK_JARS, hive: HIVE_JARS })
  report.end()
} finally {
  if (options.keep) report.say(`tables and results are in ${folder}`)
  else rmSync(folder, { recursive: true, force: true })
}

async function compare(): Promise<void> {
  const listed = listedDifferences(readFileSync(DOCS, 'utf8'))
  const both = replayed()
  const all = [...both, ...readOnly()]
  const place = new Map(all.map(({ id }, i) => [id, join(folder, 'ours', String(i))]))
  const path = ({ id }: Scenario) => place.get(id) as string

  let began = Date.now()
  for (const [i, scenario] of all.entries())
    await writeOurs(scenario, path(scenario), join(folder, 'topics', String(i)))
  const marked = all.filter((scenario) => hasDeletionVectors(path(scenario))).length
  report.say(`kafka2delta wrote ${all.length} tables, ${marked} with deletion vectors (${seconds(began)})`)

  const plan = join(folder, 'plan.json')
  const reads = all.map((scenario) => ({ id: scenario.id, path: path(scenario) }))
  writeFileSync(
    plan,
    JSON.stringify({ jars: SPARK_JARS, scratch: join(folder, 'scratch'), jobs: both.map(sparkJob), reads }),
  )

  began = Date.now()
  const spark = await runPython<SparkResult>(SPARK_PYTHON as string, 'main.py', plan)
  report.say(`Spark ${spark.version} replayed ${both.length} and read ${all.length} tables (${seconds(began)})`)
  began = Date.now()
  const other = ORACLE_PYTHON ? await runPython<OtherResult>(ORACLE_PYTHON, 'reread.py', plan) : null
  if (other) report.say(`${other.reader} read them too (${seconds(began)})`)

  report.title('The Spark job and kafka2delta')
  const found = both.flatMap((scenario) => compareScenario(scenario, spark, listed))
  reportGone(judge(found, listed).gone)
  report.title(`What Spark reads, and what ${other?.reader ?? 'another reader'} reads`)
  for (const { id } of all) compareReaders(id, spark, other)
  report.title('Tables of the Spark job that kafka2delta continues')
  await compareTakeovers(both, plan)
}

/** A topic for the Spark job: its messages with the numbers of their micro-batches. */
function sparkJob(scenario: Scenario, i: number) {
  const messages = join(folder, 'topics', String(i), 'spark.json')
  const batches = microBatches(scenario.messages)
  const lines = scenario.messages.map(({ offset, key_b64, value_b64 }, at) =>
    JSON.stringify({ batch: batches[at], offset, key_b64, value_b64 }),
  )
  writeFileSync(messages, `${lines.join('\n')}\n`)
  const { id, additionalCols, partitionCols } = scenario
  const schemas = join(FIXTURES, scenario.set, 'schemas.json')
  return { id, messages, schemas, additionalCols, partitionCols, table: join(folder, 'theirs', String(i)) }
}

/** One check for each table that the Spark job began: continued as our own is, or refused. */
async function compareTakeovers(both: readonly Scenario[], plan: string): Promise<void> {
  const find = (id: string) => both.find((scenario) => scenario.id === id) as Scenario
  const { jobs, reads } = JSON.parse(readFileSync(plan, 'utf8')) as { jobs: ReadJob[]; reads: ReadJob[] }
  const continued: ReadJob[] = []
  for (const [i, takeover] of TAKEOVERS.entries()) {
    const { begun, whole, refused } = takeover
    const table = jobs.find(({ id }) => id === begun)?.table as string
    const code = await takeOver(takeover, find(begun), find(whole), table, join(folder, 'continued', String(i)))
    if (code !== refused) report.failed(`${begun}: continued`, `${code ?? 'no error'} instead of ${refused ?? 'none'}`)
    else if (refused) report.passed(`${begun}: continued`, `refused, ${refused}`, true)
    else continued.push({ id: begun, path: table })
  }
  const wholes = reads.filter(({ id }) => TAKEOVERS.some(({ whole }) => whole === id))
  const secondPlan = join(folder, 'continued.json')
  writeFileSync(secondPlan, JSON.stringify({ reads: [...continued, ...wholes] }))
  const read = ORACLE_PYTHON ? await runPython<OtherResult>(ORACLE_PYTHON, 'reread.py', secondPlan) : null
  for (const { id } of continued) {
    const { whole, lost } = TAKEOVERS.find(({ begun }) => begun === id) as (typeof TAKEOVERS)[number]
    const [theirs, ours] = [read?.tables[id], read?.tables[whole]]
    if (!theirs || !ours) report.skipped(`${id}: continued`, 'no other reader: the test oracle needs Python')
    else if ('error' in theirs || 'error' in ours) report.failed(`${id}: continued`, JSON.stringify([theirs, ours]))
    else {
      const difference = readersDiffer(without(theirs, lost), without(ours, lost))
      if (difference) report.failed(`${id}: continued`, difference)
      else report.passed(`${id}: continued`, `${ours.rows.length} rows, as if kafka2delta had written it alone`, true)
    }
  }
}

interface ReadJob {
  id: string
  path?: string
  table?: string
}

async function runPython<T>(python: string, script: string, plan: string): Promise<T> {
  const result = join(folder, `${script}.json`)
  mkdirSync(join(folder, 'scratch'), { recursive: true })
  const child = spawn(python, [join(HERE, script), plan, result], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, SPARK_LOCAL_IP: '127.0.0.1', PYTHONDONTWRITEBYTECODE: '1' },
  })
  const forward = (signal: NodeJS.Signals) => child.kill(signal)
  process.once('SIGINT', forward).once('SIGTERM', forward)
  let errors = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    errors = (errors + text).slice(-4000)
  })
  child.stdout.setEncoding('utf8').on('data', (text: string) => report.progress(text))
  const [code, signal] = await once(child, 'close')
  process.off('SIGINT', forward).off('SIGTERM', forward)
  if (code !== 0) throw new Error(`${script} ended with ${code ?? signal}:\n${errors}`)
  return JSON.parse(readFileSync(result, 'utf8')) as T
}

/** One check for each column that both have, and one for each difference. */
function compareScenario(scenario: Scenario, spark: SparkResult, listed: readonly ListedDifference[]): Difference[] {
  const { id, key } = scenario
  const [job, ours] = [spark.jobs[id], spark.tables[id]]
  if (!job || !ours || 'error' in ours) {
    report.failed(id, `Spark cannot read our table: ${ours && 'error' in ours ? ours.error : 'no answer'}`)
    return []
  }
  const found = differences(id, key, job, ours)
  const { unlisted } = judge(found, listed)
  const columns = job.table?.columns.map((c) => c.name).filter((name) => !found.some((d) => d.what === name)) ?? []
  report.topic(id, { columns: columns.length, rows: ours.rows.length, differ: found.length })
  for (const name of columns) report.passed(`${id}: ${name}`, 'equal')
  for (const difference of found) {
    const { what, spark: theirs, ours: our } = difference
    const example = `differs: ${theirs}  |  ours: ${our}`
    if (!unlisted.includes(difference)) report.passed(`${id}: ${what}`, example, true)
    else
      report.failed(`${id}: ${what}`, `${example}\nnot in docs/spark.md:\n${tableRow(difference, 'why ours is right')}`)
  }
  return found
}

function reportGone(gone: readonly ListedDifference[]): void {
  for (const difference of gone) {
    report.failed(idOf(difference), 'docs/spark.md lists a difference that is no longer there: take the row out')
  }
}

function compareReaders(id: string, spark: SparkResult, other: OtherResult | null): void {
  const title = `${id}: two readers`
  const [theirs, others] = [spark.tables[id], other?.tables[id]]
  if (!theirs || 'error' in theirs) report.failed(title, `Spark: ${theirs?.error ?? 'no answer'}`)
  else if (!others) report.skipped(title, 'no other reader: the test oracle needs Python')
  else if ('error' in others) report.failed(title, `${other?.reader}: ${others.error}`)
  else {
    const difference = readersDiffer(theirs, others)
    if (difference) report.failed(title, `Spark and ${other?.reader}: ${difference}`)
    else report.passed(title, `${theirs.columns.length} columns, ${theirs.rows.length} rows: equal`)
  }
}

function seconds(began: number): string {
  return `${((Date.now() - began) / 1000).toFixed(0)} s`
}
