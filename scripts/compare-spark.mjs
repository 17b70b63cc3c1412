/**
 * `npm run compare:spark [-- --verbose --keep --tap --no-build --only by-name]`: the Spark job and kafka2delta on the same
 * captured topics, see docs/spark.md, and tables of ours that Spark reads by name from a Hive metastore. Fetches PySpark, the
 * jars of Delta and Avro, and the metastore once, into the cache folder. Exit code 1 where a difference is not listed there, or a
 * listed one is gone.
 */

import { join } from 'node:path'
import { ensureSpark } from '../benchmark/spark/setup.mjs'
import { bootstrap, checkNode, ensureDependencies } from './bootstrap.mjs'
import { ROOT } from './lib/paths.mjs'
import { main, Problem, run } from './lib/process.mjs'
import { ensurePython } from './lib/python.mjs'
import { hiveJars } from './stack/install.mjs'

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
  const tools = { SPARK_PYTHON: spark.python, SPARK_JARS: spark.jars, ORACLE_PYTHON: oracle.python ?? '' }
  const env = { ...process.env, ...tools, HIVE_JARS: await hiveJars(3) }
  process.exitCode = (await run(process.execPath, ['--import', 'tsx', ...program], { cwd: ROOT, env })).code
})
