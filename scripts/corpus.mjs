/**
 * `npm run corpus -- make [NAME...]`: has Spark 3.5, Spark 4, delta-rs, Polars, DuckDB and PyArrow write the tables of
 * crates/kafka2delta/tests/corpus anew.
 * `npm run corpus -- readers [--tables FOLDER]`: changes each of them in every way of the engine, has Spark 3.5, Spark 4,
 * DuckDB, Polars and delta-rs read what became of them, and prints which of them read it rightly.
 */

import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ensurePySpark, ensureSpark } from '../benchmark/spark/setup.mjs'
import { checkNode, requireRust } from './bootstrap.mjs'
import { cargoEnv, LOCKED, ROOT } from './lib/paths.mjs'
import { main, Problem, run, say } from './lib/process.mjs'
import { ensureReaders } from './lib/python.mjs'

const HERE = join(ROOT, 'scripts', 'corpus')
const CORPUS = join(ROOT, 'crates', 'kafka2delta', 'tests', 'corpus')

/** Spark 4, which runs on the same Java as Spark 3.5 does here. */
const ensureSpark4 = () =>
  ensurePySpark({ name: 'Spark 4', note: 'a download of 430 MB', prefix: 'spark-4', folder: HERE })

async function ensured(program) {
  const found = await program
  if ('missing' in found) throw new Problem(found.missing)
  return found
}

async function make(names) {
  mkdirSync(CORPUS, { recursive: true })
  for (const spark of [await ensured(ensureSpark()), await ensured(ensureSpark4())]) {
    const { code } = await run(spark.python, [join(HERE, 'make.py'), spark.jars, CORPUS, ...names], { cwd: ROOT })
    if (code !== 0) return code
  }
  const { python } = await ensured(ensureReaders())
  return (await run(python, [join(HERE, 'others.py'), CORPUS, ...names], { cwd: ROOT })).code
}

/** The tables as the tests of the engine leave them. */
async function changed(folder) {
  requireRust('The engine is written in Rust')
  const test = ['test', '--release', ...LOCKED, '-p', 'kafka2delta', '--test', 'engine', 'corpus::tables_are_changed']
  return (await run('cargo', test, { cwd: ROOT, env: { ...cargoEnv(), CORPUS_OUT: folder } })).code
}

/** One reader's results by table. */
async function read(name, python, folder, jars = []) {
  const args = [join(HERE, 'read_back.py'), name, folder, ...jars]
  const { code, output } = await run(python, args, { cwd: ROOT, onOutput: () => {} })
  if (code !== 0) throw new Problem(`${name} failed:\n${output.slice(-3000)}`)
  return JSON.parse(output.split('\n').findLast((line) => line.startsWith('{"version"')))
}

function print(readers) {
  const tables = new Map()
  for (const [reader, { results }] of readers) {
    for (const [variant, wrong] of Object.entries(results)) {
      const row = tables.get(variant.split('+')[0]) ?? new Map()
      tables.set(
        variant.split('+')[0],
        row.set(reader, [...(row.get(reader) ?? []), ...(wrong ? [`${variant}: ${wrong}`] : [])]),
      )
    }
  }
  const names = [...readers.keys()]
  say(`| table | ${names.map((name) => `${name} (${readers.get(name).version})`).join(' | ')} |`)
  say(`|---${'|---'.repeat(names.length)}|`)
  const notes = []
  for (const [table, row] of tables) {
    const cells = names.map((name) => {
      const wrong = row.get(name) ?? []
      if (wrong.length > 0) notes.push(`${name}, ${wrong[0]}`)
      return wrong.length === 0 ? 'yes' : `${wrong.length} not [${notes.length}]`
    })
    say(`| ${table} | ${cells.join(' | ')} |`)
  }
  notes.forEach((note, at) => void say(`${at + 1}. ${note}`))
  return notes.length === 0 ? 0 : 1
}

async function readers(args) {
  const at = args.indexOf('--tables')
  const given = at < 0 ? undefined : args[at + 1]
  const folder = given ?? mkdtempSync(join(tmpdir(), 'kafka2delta-corpus-'))
  try {
    if (!given || !existsSync(given)) {
      mkdirSync(folder, { recursive: true })
      const code = await changed(folder)
      if (code !== 0) return code
    }
    const results = new Map()
    const [spark3, spark4] = [await ensured(ensureSpark()), await ensured(ensureSpark4())]
    results.set('Spark 3.5', await read('spark', spark3.python, folder, [spark3.jars]))
    results.set('Spark 4', await read('spark', spark4.python, folder, [spark4.jars]))
    const { python } = await ensured(ensureReaders())
    for (const name of ['duckdb', 'polars', 'delta-rs']) results.set(name, await read(name, python, folder))
    return print(results)
  } finally {
    if (!given) rmSync(folder, { recursive: true, force: true })
  }
}

await main(async () => {
  const [what, ...args] = process.argv.slice(2)
  checkNode()
  if (what === 'make') process.exitCode = await make(args)
  else if (what === 'readers') process.exitCode = await readers(args)
  else throw new Problem('usage: npm run corpus -- make [NAME...] | readers [--tables FOLDER]')
})
