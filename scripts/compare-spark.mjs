/**
 * `npm run compare:spark [-- --verbose --keep --tap --no-build]`: the Spark job and kafka2delta on the same captured
 * topics, see docs/spark.md. Fetches PySpark and the jars of Delta and Avro once, into the cache folder. Exit code 1
 * where a difference is not listed there, or a listed one is gone.
 */

import { join } from 'node:path'
import { ensureSpark } from '../benchmark/spark/setup.mjs'
import { bootstrap, checkNode, ensureDependencies } from './bootstrap.mjs'
import { ROOT } from './lib/paths.mjs'
import { main, Problem, run } from './lib/process.mjs'
import { ensurePython } from './lib/python.mjs'

await main(async () => {
  const args = process.argv.slice(2)
  const build = !args.includes('--no-build')
  checkNode()
  const spark = await ensureSpark()
  if ('missing' in spark) throw new Problem(spark.missing)
  if (build) await bootstrap()
  else await ensureDependencies()
  const oracle = await ensurePython()
  const program = [join('benchmark', 'spark', 'compare.ts'), ...args.filter((argument) => argument !== '--no-build')]
  const env = { ...process.env, SPARK_PYTHON: spark.python, SPARK_JARS: spark.jars, ORACLE_PYTHON: oracle.python ?? '' }
  process.exitCode = (await run(process.execPath, ['--import', 'tsx', ...program], { cwd: ROOT, env })).code
})
