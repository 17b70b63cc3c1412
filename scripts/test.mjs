/**
 * `npm test [-- SUITE... [ava arguments]]`: installs and builds what is missing, then runs the suites: rust, simulation,
 * oracle, unit, integration, stack (the real systems of scripts/stack). A suite whose tools are missing is left out, and that is
 * said; in CI it is a failure. `--verbose` prints every test, `--no-build` takes the addon in src/ as it is.
 */

import { readdirSync } from 'node:fs'
import { join, relative } from 'node:path'
import { bootstrap, checkNode, ensureDependencies } from './bootstrap.mjs'
import { cargoEnv, LOCKED, ROOT, SIMULATION } from './lib/paths.mjs'
import { elapsed, lineReader, main, Problem, run, StatusLine, say } from './lib/process.mjs'
import { ensureCatalogs, ensurePython } from './lib/python.mjs'
import { cargoReader, tapReader, unittestReader } from './lib/results.mjs'
import { hiveJars, kafkaJars } from './stack/install.mjs'
import { VERSIONS } from './stack/settings.mjs'
import { down, up } from './stack/stack.mjs'

const AVA = join(ROOT, 'node_modules', 'ava', 'entrypoints', 'cli.mjs')
const TESTS = join(ROOT, '__test__')
const SUITES = ['rust', 'simulation', 'oracle', 'unit', 'integration', 'stack']

const args = process.argv.slice(2)
const verbose = args.includes('--verbose')
const named = args.filter((argument) => SUITES.includes(argument))
const build = !args.includes('--no-build')
const own = [...SUITES, '--verbose', '--no-build']
const avaArgs = args.filter((argument) => !own.includes(argument))

function testFiles(folder) {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.test.ts'))
    .map((entry) => relative(ROOT, join(entry.parentPath, entry.name)))
    .sort()
}

/** Runs one suite's program and reads its results. A program that fails without a failed test counts as one. */
async function runSuite(name, program, programArgs, reader, options = {}) {
  const began = Date.now()
  const status = new StatusLine(name)
  const { results } = reader
  let tail = ''
  const { code } = await run(program, programArgs, {
    cwd: ROOT,
    env: { ...process.env, ...options.env },
    onOutput: (text, stream) => {
      tail = (tail + text).slice(-8_000)
      if (options.onText) options.onText(text, status)
      reader.feed(text, stream)
      const { passed, failed, skipped } = results
      if (passed + failed + skipped > 0) status.update(`${passed + failed + skipped} tests, ${failed} failed`)
    },
  })
  status.end()
  for (const failure of results.failures) console.log(`  ✘ ${failure.replaceAll('\n', '\n    ')}`)
  if (code !== 0 && results.failed === 0) {
    results.failed++
    console.log(`  ✘ ${name} ended with exit code ${code}:\n${tail.replace(/^/gm, '    ')}`)
  }
  if (code === 0 && results.passed + results.failed + results.skipped === 0) {
    results.failed++
    console.log(`  ✘ ${name} ran no test`)
  }
  say(`${name}: ${results.passed} passed, ${results.failed} failed, ${results.skipped} skipped (${elapsed(began)})`)
  return { name, ...results, time: elapsed(began) }
}

/** Runs tests of Rust. */
function rust(name, packages, toolsEnv = {}) {
  const reader = cargoReader()
  const building = lineReader((line) => verbose && console.log(line))
  const cargoArgs = ['test', '--release', ...packages, ...LOCKED]
  const env = { ...cargoEnv(), ...toolsEnv, CARGO_TERM_COLOR: 'never' }
  let compiled = 0
  const onText = (text, status) => {
    compiled += text.match(/^\s*Compiling /gm)?.length ?? 0
    if (compiled > 0) status.update(`${compiled} crates compiled`)
    building(text)
  }
  return runSuite(name, 'cargo', cargoArgs, reader, { env, onText })
}

function ava(name, files, env = {}, extra = []) {
  const reader = tapReader((line) => (verbose || /^[^no]|seed/i.test(line)) && console.log(`  ${line}`))
  return runSuite(name, process.execPath, [AVA, '--tap', ...extra, ...avaArgs, ...files], reader, { env })
}

/** What a step gives, or why it cannot be done here. */
async function orMissing(step) {
  try {
    return await step()
  } catch (error) {
    if (!(error instanceof Problem)) throw error
    return { missing: error.message }
  }
}

await main(async () => {
  const unknown = avaArgs.find((argument) => /^[a-z]+$/.test(argument))
  if (unknown) throw new Problem(`there is no suite ${unknown}: ${SUITES.join(', ')}`)
  const wants = (suite) => named.length === 0 || named.includes(suite)
  if (build) await bootstrap()
  else {
    checkNode()
    await ensureDependencies()
  }
  const began = Date.now()
  const done = []
  const leftOut = []

  const needsPython = named.length === 0 || named.some((suite) => !['unit', 'simulation'].includes(suite))
  const python = needsPython ? await ensurePython() : { missing: '' }
  const bothBrokers = async () => [await kafkaJars(), await kafkaJars(VERSIONS.kafka3)]
  const catalogs = wants('integration') || wants('stack') ? await ensureCatalogs() : {}
  const kafka = wants('integration') ? await orMissing(bothBrokers) : {}
  const bothHives = async () => [await hiveJars(3), await hiveJars(4)]
  const hive = wants('integration') ? await orMissing(bothHives) : {}
  const toolsEnv = { ORACLE_PYTHON: python.python ?? '' }
  if (wants('rust')) {
    if (python.missing) say(`rust, all that has delta-rs write or read tables will fail: ${python.missing}`)
    const without = ['node', 'bench', 'simulation'].flatMap((name) => ['--exclude', `kafka2delta-${name}`])
    done.push(await rust('rust', ['--workspace', ...without], toolsEnv))
  }
  // By itself, so that the other tests have the engine as it is shipped.
  if (wants('simulation')) done.push(await rust('simulation', SIMULATION))
  if (wants('oracle')) {
    if (python.python) {
      const selfTest = join('__test__', 'oracle', 'self_test.py')
      done.push(await runSuite('oracle', python.python, [selfTest], unittestReader()))
    } else leftOut.push(`oracle: ${python.missing}`)
  }
  const files = testFiles(TESTS)
  const isOf = (folder) => (file) => file.split(/[\\/]/)[1] === folder
  const isIntegration = isOf('integration')
  const isStack = isOf('stack')
  if (wants('unit'))
    done.push(
      await ava(
        'unit',
        files.filter((file) => !isIntegration(file) && !isStack(file)),
      ),
    )
  if (wants('integration')) {
    // One file at a time: they measure and kill processes.
    done.push(await ava('integration', files.filter(isIntegration), toolsEnv, ['--concurrency', '1']))
    if (python.missing) leftOut.push(`integration, all that reads tables with other programs: ${python.missing}`)
    if (catalogs.missing) leftOut.push(`integration, Glue and Unity Catalog: ${catalogs.missing}`)
    if (kafka.missing) leftOut.push(`integration, the part on real Kafka brokers: ${kafka.missing}`)
    if (hive.missing) leftOut.push(`integration, the part on a Hive metastore: ${hive.missing}`)
  }
  if (wants('stack')) {
    // What this has started is ended after the tests; what ran before goes on.
    const stack = python.python ? await orMissing(async () => ({ started: await up() })) : { missing: python.missing }
    if (stack.missing) leftOut.push(`stack: ${stack.missing}`)
    else {
      try {
        done.push(await ava('stack', files.filter(isStack), toolsEnv, ['--concurrency', '1']))
      } finally {
        await down(stack.started)
      }
    }
  }

  const rows = [['suite', 'passed', 'failed', 'skipped', 'time']]
  for (const suite of done) rows.push([suite.name, suite.passed, suite.failed, suite.skipped, suite.time].map(String))
  const widths = rows[0].map((_, i) => Math.max(...rows.map((row) => row[i].length)))
  console.log(
    `\n${rows.map((row) => row.map((cell, i) => (i ? cell.padStart(widths[i]) : cell.padEnd(widths[i]))).join('  ')).join('\n')}`,
  )
  for (const text of leftOut) console.log(`left out: ${text}`)
  console.log(`in ${elapsed(began)}\n`)
  const sum = (what) => done.reduce((total, suite) => total + suite[what], 0)
  const failed = sum('failed') + (process.env.CI ? leftOut.length : 0)
  console.log(`${sum('passed')} passed, ${failed} failed, ${sum('skipped')} skipped`)
  process.exitCode = failed > 0 || done.length === 0 ? 1 : 0
})
