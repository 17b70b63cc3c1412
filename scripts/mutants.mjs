/**
 * Puts faults back, one at a time, and runs the random topics, or the tests of the engine: each fault has to be found. A
 * fault that is not found says that the tests lack what would show it.
 *
 *   node scripts/mutants.mjs [name… | engine | simulation]     ROUNDS=… topics for each, SEED=… the first one's seed;
 *                                                 SEQUENCES=… of the engine's random tests; SEEDS=… of the simulation
 *
 * Each file of `__test__/mutants` describes one fault as edits of the source: a text that occurs once, and what takes its
 * place. `engine` are the tests of the engine that are to find it, by the beginnings of their names (all: '');
 * `simulation` says that the simulation of the engine is to find it; without both the random topics are. Edited files are
 * put back in any case; commit first all the same.
 */

import { copyFileSync, existsSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { buildAddon } from './build-addon.mjs'
import { cargoEnv, LOCKED, ROOT, SIMULATION } from './lib/paths.mjs'
import { main, Problem, run, StatusLine } from './lib/process.mjs'
import { ensurePython } from './lib/python.mjs'

const FOLDER = join(ROOT, '__test__', 'mutants')
const TEST = '__test__/integration/random-traffic.test.ts'
const AVA = join(ROOT, 'node_modules', 'ava', 'entrypoints', 'cli.mjs')
const NATIVE = /^kafka2delta\..*\.node$|^native\.(cjs|d\.cts)$/
const ROUNDS = process.env.ROUNDS ?? '120'

/** @typedef {{ file: string, from: string, to: string }} Edit */

/**
 * Each fault once for each of those that are to find it.
 *
 * @returns {{ name: string, what: string, engine?: string, simulation?: true, edits: Edit[] }[]}
 */
function readMutants(names) {
  const all = readdirSync(FOLDER)
    .filter((file) => file.endsWith('.json'))
    .sort()
    .map((file) => ({ name: file.slice(0, -5), ...JSON.parse(readFileSync(join(FOLDER, file), 'utf8')) }))
    .flatMap(({ engine, simulation, ...mutant }) => {
      const finders = [...(engine === undefined ? [] : [{ engine }]), ...(simulation ? [{ simulation }] : [])]
      return finders.length === 0 ? [mutant] : finders.map((finder) => ({ ...mutant, ...finder }))
    })
  if (names.length === 1 && names[0] === 'engine') return all.filter(({ engine }) => engine !== undefined)
  if (names.length === 1 && names[0] === 'simulation') return all.filter(({ simulation }) => simulation)
  const unknown = names.find((name) => !all.some((mutant) => mutant.name === name))
  if (unknown) throw new Problem(`${FOLDER} has no ${unknown}.json`)
  return names.length === 0 ? all : all.filter(({ name }) => names.includes(name))
}

/** The new text of each edited file. */
function edited({ name, edits }) {
  const texts = new Map()
  for (const { file, from, to } of edits) {
    const text = texts.get(file) ?? readFileSync(join(ROOT, file), 'utf8')
    const parts = text.split(from)
    if (parts.length !== 2)
      throw new Problem(`${name}: ${file} has ${parts.length - 1} times what is to be edited: ${from}`)
    texts.set(file, parts.join(to))
  }
  return texts
}

/** Keeps the addon's files aside while `work` builds another one. */
async function withAddonAside(work) {
  const kept = readdirSync(join(ROOT, 'src')).filter((file) => NATIVE.test(file))
  const path = (file) => join(ROOT, 'src', file)
  for (const file of kept) copyFileSync(path(file), `${path(file)}.kept`)
  try {
    return await work()
  } finally {
    for (const file of kept) {
      if (!existsSync(`${path(file)}.kept`)) continue
      rmSync(path(file), { force: true })
      renameSync(`${path(file)}.kept`, path(file))
    }
  }
}

/** @returns {Promise<{ isFound: boolean, by: string }>} */
async function runTopics(status) {
  const onOutput = (text) => {
    const title = /(\d+ random topics, SEED=\d+)/.exec(text)
    if (title) status.update(title[1])
  }
  const env = { ...process.env, ROUNDS, FORCE_COLOR: '0' }
  const args = [AVA, '--fail-fast', '--timeout=10m', TEST]
  const { code, output } = await run(process.execPath, args, { cwd: ROOT, env, onOutput })
  if (code === 0)
    return { isFound: false, by: /skipped/.test(output) ? 'skipped: no Python' : `not found in ${ROUNDS} topics` }
  const seeds = [...new Set([...output.matchAll(/SEED=(\d+) ROUNDS=1/g)].map((match) => match[1]))]
  if (seeds.length === 0) throw new Problem(`the topics did not run:\n${output.slice(-2000)}`)
  return { isFound: true, by: `found by SEED=${seeds.slice(0, 3).join(', ')}` }
}

/** The engine without optimisation: a fault is compiled in seconds, and its dependencies are those of other builds. */
const ENGINE_BUILD = ['test', '--release', '--config', 'profile.release.package.kafka2delta.opt-level=0']

/** How many random sequences it took, or which test failed. */
function foundBy(output) {
  const numbers = (pattern) => [...output.matchAll(pattern)].map((match) => match.slice(1).map(Number))
  const ranges = numbers(/^seeds (\d+) to (\d+)/gm)
  const failed = numbers(/\bseed (\d+)/g).flatMap(([seed]) => {
    const [first] = ranges.find(([first, last]) => first <= seed && seed <= last) ?? []
    return first === undefined ? [] : [{ seed, sequences: seed - first + 1 }]
  })
  const [least] = failed.sort((one, other) => one.sequences - other.sequences)
  const tests = [...new Set([...output.matchAll(/^ {4}(\S+::\S+)$/gm)].map((match) => match[1]))]
  const sequences = least ? [`${least.sequences} sequences (seed ${least.seed})`] : []
  return [...tests, ...sequences].join(', ')
}

/** @returns {Promise<{ isFound: boolean, by: string }>} */
async function runEngine(tests, status) {
  status.update('building')
  const { python, missing } = await ensurePython()
  if (missing) throw new Problem(`delta-rs is the tests' other writer: ${missing}`)
  const env = { ...cargoEnv(), ORACLE_PYTHON: python, CARGO_TERM_COLOR: 'never' }
  const args = [...ENGINE_BUILD, '-p', 'kafka2delta', '--test', 'engine', ...LOCKED]
  const onOutput = () => {}
  const built = await run('cargo', [...args, '--no-run'], { cwd: ROOT, env, onOutput })
  if (built.code !== 0) throw new Problem(`the fault does not compile:\n${built.output.slice(-4000)}`)
  status.update('running')
  // One test after the other, each without captured output: the seeds stand in it.
  const filters = ['--', '--nocapture', ...tests.split(' ')]
  const { code, output } = await run('cargo', [...args, ...filters], { cwd: ROOT, env, onOutput })
  return code === 0 ? { isFound: false, by: 'not found' } : { isFound: true, by: `found by ${foundBy(output)}` }
}

/** @returns {Promise<{ isFound: boolean, by: string }>} */
async function runSimulation(status) {
  status.update('building')
  const env = { SEED: '1', SEEDS: '200', ...process.env, ...cargoEnv(), CARGO_TERM_COLOR: 'never' }
  const args = ['test', '--release', ...SIMULATION, '--test', 'simulation', ...LOCKED]
  const onOutput = () => {}
  const built = await run('cargo', [...args, '--no-run'], { cwd: ROOT, env, onOutput })
  if (built.code !== 0) throw new Problem(`the fault does not compile:\n${built.output.slice(-4000)}`)
  status.update('running')
  const { code, output } = await run('cargo', [...args, '--', '--nocapture'], { cwd: ROOT, env, onOutput })
  if (code === 0) return { isFound: false, by: `not found by ${env.SEEDS} seeds` }
  const [, seed, event, how] = /^seed (\d+), event (\d+), (.*)$/m.exec(output) ?? []
  if (seed === undefined) throw new Problem(`the simulation did not run:\n${output.slice(-2000)}`)
  return { isFound: true, by: `found by SEED=${seed}, event ${event}: ${how.slice(0, 200)}` }
}

async function tryMutant(mutant) {
  const status = new StatusLine(mutant.name)
  const texts = edited(mutant)
  const before = new Map([...texts.keys()].map((file) => [file, readFileSync(join(ROOT, file), 'utf8')]))
  const isRust = [...texts.keys()].some((file) => file.endsWith('.rs'))
  const attempt = async () => {
    for (const [file, text] of texts) writeFileSync(join(ROOT, file), text)
    if (mutant.engine !== undefined) return runEngine(mutant.engine, status)
    if (mutant.simulation) return runSimulation(status)
    if (isRust) await buildAddon()
    return runTopics(status)
  }
  try {
    return await (isRust && mutant.engine === undefined && !mutant.simulation ? withAddonAside(attempt) : attempt())
  } finally {
    for (const [file, text] of before) writeFileSync(join(ROOT, file), text)
    status.end()
  }
}

/** Tests that fail without a fault would find every one of them. */
async function passUnchanged(mutants) {
  if (mutants.some(({ simulation }) => simulation)) {
    const status = new StatusLine('unchanged')
    const { isFound, by } = await runSimulation(status)
    status.end()
    if (isFound) throw new Problem(`the simulation fails on the code as it stands: ${by}`)
    console.log('✔ unchanged: the simulation passes')
  }
  const tests = [...new Set(mutants.flatMap(({ engine }) => (engine === undefined ? [] : [engine])))]
  if (tests.length === 0) return
  const status = new StatusLine('unchanged')
  const { isFound, by } = await runEngine(tests.includes('') ? '' : tests.join(' '), status)
  status.end()
  if (isFound) throw new Problem(`the engine's tests fail on the code as it stands: ${by}`)
  console.log("✔ unchanged: the engine's tests pass")
}

await main(async () => {
  const mutants = readMutants(process.argv.slice(2))
  await passUnchanged(mutants)
  const missed = []
  for (const mutant of mutants) {
    const { isFound, by } = await tryMutant(mutant)
    console.log(`${isFound ? '✔' : '✘'} ${mutant.name}: ${mutant.what}: ${by}`)
    if (!isFound) missed.push(mutant.name)
  }
  if (missed.length > 0) throw new Problem(`not found: ${missed.join(', ')}`)
})
