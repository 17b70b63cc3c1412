/**
 * End to end: a topic of a real broker that waits, until all of it is in a table. Beside kafka2delta, kafkajs that consumes and
 * drops, and the Spark job, with its own settings and with better ones. Each is a process of its own, and its time is that from
 * its start until its work is done. The tables of both have to hold the same in the end, by delta-rs's reader.
 *
 *   npm run bench:e2e -- [--events 1000000] [--cases narrow:1,narrow:8,wide:1,wide:8] [--runs 3] [--no-spark] [--json]
 *
 * With `--json`, the last line is one object: the figures of the first case, and those of all of them in `cases`.
 */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { parseArgs } from 'node:util'
import { kafkaJars, NO_KAFKA, RealKafka } from '../__test__/integration/support/real-kafka.js'
import { EmbeddedRegistry } from '../src/demo/registry.js'
import { Changes, SCHEMAS, type Shape, type Totals } from './e2e/changes.js'

const HERE = join(import.meta.dirname, 'e2e')
const { ORACLE_PYTHON, SPARK_PYTHON, SPARK_JARS } = process.env

/** What a program tells when its work is done: seconds of CPU time since its start, and its highest resident size. */
interface Use {
  events: number
  commits: number
  cpu: number
  peakMib: number
}

interface Run extends Use {
  /** From the start of the process until its work was done, and until its first commit, where it tells. */
  seconds: number
  firstCommit: number | null
}

type Line = { done?: Use; firstCommit?: number }

/** Runs a program until it says that its work is done. */
async function runPeer(command: string, args: string[]): Promise<Run> {
  const began = Date.now()
  const child = spawn(command, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, SPARK_LOCAL_IP: '127.0.0.1' },
  })
  let errors = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    errors = (errors + text).slice(-4_000)
  })
  let [firstCommit, run] = [null as number | null, null as Run | null]
  createInterface(child.stdout).on('line', (line) => {
    const told = line.startsWith('{') ? (JSON.parse(line) as Line) : {}
    if (told.firstCommit !== undefined) firstCommit ??= (told.firstCommit - began) / 1000
    if (told.done) run ??= { ...told.done, seconds: (Date.now() - began) / 1000, firstCommit }
  })
  const [code] = await once(child, 'close')
  if (code !== 0 || run === null) throw new Error(`${args.at(-2)} ended with ${code}: ${errors}`)
  return run
}

/** Files of a table, and their bytes: all that was written, since nothing is vacuumed. */
function written(folder: string): { files: number; bytes: number } {
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
  const bytes = entries.reduce((sum, { parentPath, name }) => sum + statSync(join(parentPath, name)).size, 0)
  return { files: entries.length, bytes }
}

async function totalsOf(table: string): Promise<Totals | null> {
  if (!ORACLE_PYTHON) return null
  const child = spawn(ORACLE_PYTHON, [join(HERE, 'totals.py'), table], { stdio: ['ignore', 'pipe', 'inherit'] })
  let text = ''
  child.stdout.setEncoding('utf8').on('data', (part: string) => {
    text += part
  })
  const [code] = await once(child, 'close')
  if (code !== 0) throw new Error(`${table} cannot be read`)
  return JSON.parse(text) as Totals
}

/** Throws where a table does not hold what it has to. */
async function check(name: string, table: string, expected: Totals): Promise<void> {
  const totals = await totalsOf(table)
  if (totals === null) return say(`${name}: not read back, since the test oracle needs Python`)
  const isRight = totals.rows === expected.rows && totals.ids === expected.ids && totals.cents === expected.cents
  if (!isRight) throw new Error(`${name}: ${JSON.stringify(totals)} in the table, not ${JSON.stringify(expected)}`)
}

const say = (text: string) => console.error(text)

/** By seconds. */
const median = (runs: Run[]): Run =>
  runs.sort((a, b) => a.seconds - b.seconds)[Math.floor((runs.length - 1) / 2)] as Run

interface Peer {
  name: string
  run: Run
  eventsPerSecond: number
  cpuPerMillion: number
  written: { files: number; bytes: number } | null
}

interface Options {
  events: number
  runs: number
  spark: boolean
}

const peer = (name: string, run: Run, table: string | null): Peer => ({
  name,
  run,
  eventsPerSecond: run.events / run.seconds,
  cpuPerMillion: (run.cpu / run.events) * 1e6,
  written: table === null ? null : written(table),
})

/** All programs on one topic. */
async function measure(
  shape: Shape,
  partitions: number,
  options: Options,
  kafka: RealKafka,
  registry: string,
  folder: string,
) {
  const topic = `shop.${shape}.p${partitions}`
  const changes = new Changes(shape, options.events, partitions)
  await kafka.createTopic(topic, partitions)
  await changes.produce(kafka.client, topic)
  const { totals } = changes
  say(`${topic}: ${options.events} messages, ${(changes.bytes / 1e6).toFixed(0)} MB, leave ${totals.rows} rows`)
  const { brokers } = kafka
  const node = (program: string, start: object) =>
    runPeer(process.execPath, [join(HERE, program), JSON.stringify({ brokers, topic, ...start })])
  const [ours, drop]: [Run[], Run[]] = [[], []]
  const tables = Array.from({ length: options.runs }, (_, i) => join(folder, `${topic}-${i}`))
  for (const table of tables) {
    drop.push(await node('drop.mjs', {}))
    ours.push(await node('ours.mjs', { registry, table }))
    say(`  ours ${ours.at(-1)?.seconds.toFixed(1)} s, consume and drop ${drop.at(-1)?.seconds.toFixed(1)} s`)
    await check('ours', table, totals)
  }
  const peers = [peer('ours', median(ours), tables[0] as string), peer('consume and drop', median(drop), null)]
  for (const tuned of options.spark ? [false, true] : []) {
    const name = tuned ? 'Spark job, tuned' : 'Spark job'
    const [table, scratch] = [join(folder, `${topic}-spark-${tuned}`), join(folder, `scratch-${topic}-${tuned}`)]
    const jars = (SPARK_JARS as string).split(':')
    const plan = { brokers, topic, schemas: SCHEMAS, table, scratch, jars, events: options.events, tuned }
    const run = await runPeer(SPARK_PYTHON as string, [join(HERE, 'job.py'), JSON.stringify(plan)])
    say(`  ${name} ${run.seconds.toFixed(1)} s`)
    await check(name, table, totals)
    peers.push(peer(name, run, table))
    for (const used of [table, scratch]) rmSync(used, { recursive: true, force: true })
  }
  for (const table of tables) rmSync(table, { recursive: true, force: true })
  return { shape, partitions, bytes: changes.bytes, peers }
}

type Case = Awaited<ReturnType<typeof measure>>

function print({ shape, partitions, bytes, peers }: Case): void {
  const [ours] = peers as [Peer]
  console.log(
    `${shape}, ${partitions} ${partitions === 1 ? 'partition' : 'partitions'}, ${(bytes / 1e6).toFixed(0)} MB`,
  )
  for (const { name, run, eventsPerSecond, cpuPerMillion, written: out } of peers) {
    const times = ours.eventsPerSecond / eventsPerSecond
    const first = run.firstCommit === null ? '' : `, first commit after ${run.firstCommit.toFixed(1)} s`
    const wrote = out === null ? '' : `, wrote ${(out.bytes / 1e6).toFixed(0)} MB in ${out.files} files`
    console.log(
      `  ${name.padEnd(17)} ${run.seconds.toFixed(1).padStart(6)} s, ${eventsPerSecond.toFixed(0).padStart(7)} events/s ` +
        `(ours is ${times.toFixed(2)} × that), ${cpuPerMillion.toFixed(1)} CPU s a million, ${run.peakMib.toFixed(0)} MiB${wrote}${first}`,
    )
  }
}

/** The figures of a case by the names that programs look for. */
function figures({ shape, partitions, bytes, peers }: Case): object {
  const keys = { ours: 'ours', 'consume and drop': 'drop', 'Spark job': 'spark', 'Spark job, tuned': 'spark_tuned' }
  const ofPeer = ({ name, run, eventsPerSecond, cpuPerMillion, written: out }: Peer) => {
    const key = keys[name as keyof typeof keys]
    return [
      [`${key}_events_s`, Math.round(eventsPerSecond)],
      [`${key}_seconds`, run.seconds],
      [`${key}_cpu_s_per_million`, Number(cpuPerMillion.toFixed(2))],
      [`${key}_peak_mib`, Math.round(run.peakMib)],
      ...(run.firstCommit === null ? [] : [[`${key}_first_commit_s`, run.firstCommit]]),
      ...(out === null
        ? []
        : [
            [`${key}_bytes_written`, out.bytes],
            [`${key}_files_written`, out.files],
          ]),
    ]
  }
  return { case: `${shape}:${partitions}`, bytes, ...Object.fromEntries(peers.flatMap(ofPeer)) }
}

const { values } = parseArgs({
  options: {
    events: { type: 'string', default: '1000000' },
    cases: { type: 'string', default: 'narrow:1,narrow:8,wide:1,wide:8' },
    runs: { type: 'string', default: '3' },
    'no-spark': { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  },
})
const jars = kafkaJars()
if (jars === null) throw new Error(NO_KAFKA)
const options: Options = { events: Number(values.events), runs: Number(values.runs), spark: !values['no-spark'] }
if (options.spark && (!SPARK_PYTHON || !SPARK_JARS)) throw new Error('start it with npm run bench:e2e')
const folder = mkdtempSync(join(tmpdir(), 'kafka2delta-e2e-'))
const registry = await EmbeddedRegistry.start()
for (const [id, schema] of Object.entries(SCHEMAS)) registry.setSchema(Number(id), schema)
const kafka = await RealKafka.start(jars, join(folder, 'kafka'), undefined, '1g')
try {
  const cases: Case[] = []
  for (const text of values.cases.split(',')) {
    const [shape, partitions] = text.split(':')
    if (shape !== 'narrow' && shape !== 'wide') throw new Error(`--cases has narrow and wide, not ${shape}`)
    cases.push(await measure(shape, Number(partitions ?? 1), options, kafka, registry.url, folder))
    if (!values.json) print(cases.at(-1) as Case)
  }
  if (values.json) {
    const told = cases.map(figures)
    console.log(JSON.stringify({ events: options.events, cpus: cpus().length, ...told[0], cases: told }))
  }
} finally {
  await kafka.stop()
  await registry.close()
  rmSync(folder, { recursive: true, force: true })
}
