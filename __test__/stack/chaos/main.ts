/**
 * Workers under fire: random changes in PostgreSQL go through Debezium and Kafka to one to four workers, which are killed, frozen,
 * removed and added, while the systems around them are stopped, slow, silent and cut off, partitions and tables are added, and
 * others write to the tables. At marks every table equals its source, and its log is what the workers told.
 *
 *   npm run chaos -- [--seed N] [--seeds K] [--minutes M]
 *
 * `--seeds` runs so many seeds, one after the other, from the first one on; `--minutes` (0.33) is for each of them.
 * A seed gives the same tables, statements, options, and faults with their times again. What is the machine's comes anew:
 * how the sessions' statements meet, where a batch ends, and what a process does at the moment of a fault.
 */

import { parseArgs } from 'node:util'
import { SEED } from '../../helpers/random.js'
import { again, type SeedResult, SeedRun } from './seed-run.js'
import { World } from './world.js'

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: String(SEED) },
    seeds: { type: 'string', default: '1' },
    minutes: { type: 'string', default: '1' },
  },
})

const [first, count, minutes] = [values.seed, values.seeds, values.minutes].map(Number) as [number, number, number]
if (![first, count].every(Number.isSafeInteger) || !(minutes > 0)) {
  throw new Error('usage: npm run chaos -- [--seed N] [--seeds K] [--minutes M]')
}
const lasts = minutes * 60_000

const sums: Record<'faults' | 'commits', Record<string, number>> = { faults: {}, commits: {} }
const totals = { told: 0, marks: 0, rows: 0, transactions: 0, workers: 0, refused: 0 }

function add(result: SeedResult): void {
  for (const what of ['faults', 'commits'] as const) {
    for (const [name, times] of Object.entries(result[what])) sums[what][name] = (sums[what][name] ?? 0) + times
  }
  totals.told += result.numTold
  totals.marks += result.numMarks
  totals.rows += result.numRows
  totals.transactions += result.numTransactions
  totals.workers += result.numWorkers
  totals.refused += result.numRefusedStarts
}

const table = (counts: Record<string, number>) =>
  Object.entries(counts)
    .sort(([, a], [, b]) => b - a)
    .map(([name, times]) => `  ${String(times).padStart(6)}  ${name}`)
    .join('\n')

const begun = Date.now()
const failed: number[] = []
const world = await World.start()
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  // The workers do not outlive this process.
  process.once(signal, () => void world.close().finally(() => process.exit(1)))
}
try {
  for (let seed = first; seed < first + count; seed++) {
    const run = new SeedRun(world, { seed, lasts, print: (line) => console.log(line) })
    const result = await run.run()
    add(result)
    if (result.problems.length > 0) failed.push(seed)
  }
} finally {
  await world.close()
}
const numFaults = Object.values(sums.faults).reduce((sum, times) => sum + times, 0)
console.log(`\n${numFaults} faults\n${table(sums.faults)}\ncommits\n${table(sums.commits)}`)
console.log(
  `${count} seeds from ${first} on, ${minutes} min each, in ${Math.round((Date.now() - begun) / 1000)} s: ` +
    `${totals.transactions} transactions, ${totals.workers} workers (${totals.refused} starts refused), ` +
    `${totals.told} commits told by them, ${totals.marks} marks, ${totals.rows} rows compared, ${failed.length} seeds failed`,
)
for (const seed of failed) console.log(`again: ${again({ seed, lasts })}`)
process.exitCode = failed.length > 0 ? 1 : 0
