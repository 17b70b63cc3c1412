/**
 * `npm run check:protocol -- TABLE... [--spark] [--no-data] [--json]`: checks every commit, deletion vector and checkpoint
 * of Delta tables on local disk by the text of the protocol (benchmark/protocol.py). With `--spark`, Spark then reads
 * every version of each table, checksums of deletion vectors included, and its rows are counted. A file
 * `TABLE.versions.jsonl` beside a table says what each version must hold. Without a table: tables of all kinds are made
 * from random changes and checked, by Spark too.
 */

import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { ensureSpark } from '../benchmark/spark/setup.mjs'
import { checkNode, requireRust } from './bootstrap.mjs'
import { cargoEnv, LOCKED, ROOT } from './lib/paths.mjs'
import { main, Problem, run } from './lib/process.mjs'
import { ensurePython } from './lib/python.mjs'

async function randomTables(folder) {
  requireRust('The tables are made by a program in Rust')
  const cargo = ['run', '--release', ...LOCKED, '-p', 'kafka2delta-bench', '--bin', 'reader_tables']
  const seed = process.env.SEED ? ['--seed', process.env.SEED] : []
  const { code } = await run('cargo', [...cargo, '--', '--out', folder, ...seed], { cwd: ROOT, env: cargoEnv() })
  if (code !== 0) throw new Problem('the tables could not be made')
  const tables = JSON.parse(readFileSync(join(folder, 'tables.json'), 'utf8'))
  return tables.filter((table) => table.refused === null).map((table) => join(folder, table.name))
}

await main(async () => {
  const args = process.argv.slice(2)
  const flags = args.filter((argument) => argument.startsWith('--'))
  const unknown = flags.find((flag) => !['--spark', '--no-data', '--json'].includes(flag))
  if (unknown) throw new Problem(`unknown option ${unknown}: --spark, --no-data, --json`)
  let tables = args.filter((argument) => !argument.startsWith('--')).map((table) => resolve(table))
  checkNode()
  const python = await ensurePython()
  if ('missing' in python) throw new Problem(python.missing)
  const made = tables.length === 0 ? mkdtempSync(join(tmpdir(), 'kafka2delta-protocol-')) : null
  try {
    if (made) tables = await randomTables(made)
    const own = flags.filter((flag) => flag !== '--spark')
    const checked = await run(python.python, [join('benchmark', 'protocol.py'), ...tables, ...own], { cwd: ROOT })
    let code = checked.code
    if (flags.includes('--spark') || made) {
      const spark = await ensureSpark()
      if ('missing' in spark) throw new Problem(spark.missing)
      const program = join('benchmark', 'spark_versions.py')
      code = (await run(spark.python, [program, spark.jars, ...tables], { cwd: ROOT })).code || code
    }
    process.exitCode = code
  } finally {
    if (made) rmSync(made, { recursive: true, force: true })
  }
})
