/** `npm run bench:merge|soak|index|requests|readers|scan|consume|decode|e2e|topics|latency|slow-table|backlog|workers -- [options]`: see benchmark/README.md. */

import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ensureSpark } from '../benchmark/spark/setup.mjs'
import { bootstrap, checkNode, requireRust } from './bootstrap.mjs'
import { ensureJars } from './lib/jars.mjs'
import { cargoEnv, LOCKED, ROOT } from './lib/paths.mjs'
import { main, Problem, run, say } from './lib/process.mjs'
import { ensurePython, ensureReaders } from './lib/python.mjs'
import { kafkaJars } from './stack/install.mjs'

/** Programs of crates/bench that are compiled with delta-rs and DataFusion. */
const BESIDE_DELTARS = { merge: 'bench_merge', soak: 'bench_soak', index: 'bench_index' }

async function program(name, args, { features = [], env = {} } = {}) {
  requireRust('The benchmarks are written in Rust')
  const cargo = ['run', '--release', ...LOCKED, '-p', 'kafka2delta-bench', '--bin', name, ...features, '--', ...args]
  return (await run('cargo', cargo, { cwd: ROOT, env: { ...cargoEnv(), ...env } })).code
}

/** Makes the tables, or takes those of `--tables`, and has every reader read them. */
async function readers(args) {
  const option = (name) => {
    const at = args.indexOf(name)
    return at < 0 ? undefined : args[at + 1]
  }
  const python = await ensureReaders()
  if ('missing' in python) throw new Problem(python.missing)
  const spark = args.includes('--no-spark') ? { missing: 'left out' } : await ensureSpark()
  if ('missing' in spark) say(`Spark: ${spark.missing}`)
  const given = option('--tables')
  const folder = given ?? mkdtempSync(join(tmpdir(), 'kafka2delta-readers-'))
  try {
    if (!given || !existsSync(join(given, 'tables.json'))) {
      const named = ['--rows', '--commits', '--seed'].flatMap((name) => (option(name) ? [name, option(name)] : []))
      const code = await program('reader_tables', ['--out', folder, ...named])
      if (code !== 0) return code
    }
    const withSpark = 'missing' in spark ? [] : ['--spark', spark.python, spark.jars]
    const out = option('--out') ?? join(ROOT, 'docs', 'readers.md')
    const main = join('benchmark', 'readers', 'main.py')
    const env = { ...process.env, NODE: process.execPath }
    return (await run(python.python, [main, folder, '--out', out, ...withSpark], { cwd: ROOT, env })).code
  } finally {
    if (!given) rmSync(folder, { recursive: true, force: true })
  }
}

/** Beside the Spark job, unless `--no-spark` is given or there is none. */
async function endToEnd(args) {
  if ((await run(process.execPath, [join(ROOT, 'scripts', 'build.mjs')], { cwd: ROOT })).code !== 0) return 1
  await kafkaJars()
  const oracle = await ensurePython()
  const env = { ...process.env, ORACLE_PYTHON: oracle.python ?? '' }
  const node = ['--import', 'tsx', 'benchmark/e2e.ts', ...args]
  if (!args.includes('--no-spark')) {
    const spark = await ensureSpark()
    if ('missing' in spark) throw new Problem(`${spark.missing} --no-spark leaves the job out.`)
    const kafka = await ensureJars('Kafka for Spark', 'spark-kafka-jars', join(ROOT, 'benchmark', 'e2e', 'pom.xml'))
    if ('missing' in kafka) throw new Problem(kafka.missing)
    Object.assign(env, { SPARK_PYTHON: spark.python, SPARK_JARS: `${spark.jars}:${kafka.jars}` })
  }
  return (await run(process.execPath, node, { cwd: ROOT, env })).code
}

await main(async () => {
  const [what, ...args] = process.argv.slice(2)
  checkNode()
  if (what === 'readers') {
    await bootstrap()
    process.exitCode = await readers(args)
  } else if (what === 'scan' && !args.includes('--help')) {
    await bootstrap()
    const python = await ensurePython()
    if ('missing' in python) say(`delta-rs and DuckDB: ${python.missing}`)
    const node = ['--import', 'tsx', 'benchmark/scan.ts', ...args]
    const env = { ...process.env, ORACLE_PYTHON: python.python ?? '' }
    process.exitCode = (await run(process.execPath, node, { cwd: ROOT, env })).code
  } else if (['consume', 'decode', 'topics', 'latency', 'slow-table', 'backlog', 'workers'].includes(what)) {
    await bootstrap()
    if (what === 'backlog') await kafkaJars()
    const node = ['--import', 'tsx', `benchmark/${what}.ts`, ...args]
    process.exitCode = (await run(process.execPath, node, { cwd: ROOT })).code
  } else if (what === 'e2e') {
    process.exitCode = await endToEnd(args)
  } else if (what === 'requests') {
    process.exitCode = await program('bench_requests', args)
  } else if (Object.hasOwn(BESIDE_DELTARS, what ?? '')) {
    // The soak has DuckDB read the table too, where there is a Python for it.
    const python = what === 'soak' && !args.includes('--help') ? await ensurePython() : {}
    const env = { ORACLE_PYTHON: python.python ?? '' }
    process.exitCode = await program(BESIDE_DELTARS[what], args, { features: ['--features', 'deltars'], env })
  } else
    throw new Problem(
      'usage: node scripts/bench.mjs merge|soak|index|requests|readers|scan|consume|decode|e2e|topics|latency|slow-table|backlog|workers [options]',
    )
})
