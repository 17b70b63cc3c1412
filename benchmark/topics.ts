/**
 * Many topics by one pattern in one process: how long a start takes, what the process holds, what it costs while idle and
 * under a steady load. Broker and registry are the embedded ones, in the process of the benchmark; the tables lie on the
 * local disk, and are written by a process of its own.
 *
 *   npm run bench:topics -- [--topics 1000] [--rows 100] [--idle 30] [--rate 5000] [--seconds 60]
 *     [--processing-time adaptive] [--max-delay '0 seconds'] [--cpu-prof FOLDER] [--json]
 */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import type { StreamOptions } from '../src/index.js'
import { type Commit, MIB, quantile, startWorker, type Told, Topics } from './many-topics.js'
import { steadily } from './support/steadily.js'
import type { Worker } from './support/worker.js'

/** A commit writes a data file and a log entry, and asks whether the log is still the same. */
const REQUESTS_PER_COMMIT = { PUT: 2, GET: 1 }

interface Options {
  topics: number
  rows: number
  idle: number
  rate: number
  seconds: number
  processingTime: string
  maxDelay: string
  profile: string | undefined
}

async function measure(options: Options, folder: string) {
  const topics = await Topics.start(options.topics, options.rows)
  try {
    const stream: StreamOptions = {
      queryName: 'topics',
      kafka: { brokers: topics.broker.brokers },
      schemaRegistry: { url: topics.registry.url },
      trigger: { processingTime: options.processingTime, maxDelay: options.maxDelay },
      tables: { '/shop\\.(.*)/': { path: `${join(folder, 'lake')}/$1` } },
    }
    const began = Date.now()
    const profile = options.profile === undefined ? [] : ['--cpu-prof', '--cpu-prof-dir', options.profile]
    const worker = startWorker({ options: stream, topics: options.topics }, profile)
    const all = await worker.until(({ rows }) => rows === topics.total)
    const start = {
      firstCommit: ((all.firstCommit ?? Number.NaN) - began) / 1000,
      lastTable: ((all.allCommitted ?? Number.NaN) - began) / 1000,
      resident: all.resident / MIB,
      peak: worker.peak / MIB,
      cpu: all.cpu,
    }
    console.error(`started: ${JSON.stringify(start)}`)

    // What a start leaves to be done: compaction's looks, checkpoints, garbage.
    await sleep(3000)
    const before = await worker.ask()
    await sleep(options.idle * 1000)
    const after = await worker.ask()
    const idle = {
      cpuShare: (after.cpu - before.cpu) / ((after.now - before.now) / 1000),
      commits: after.commits - before.commits,
      resident: after.resident / MIB,
    }
    console.error(`idle: ${JSON.stringify(idle)}`)
    const live = await load(options, topics, worker)
    await worker.stop()
    return { start, idle, live }
  } finally {
    await topics.close()
  }
}

/** Sends changes at a steady rate over all topics. What is told is of that time alone, without what is left at its end. */
async function load({ rate, seconds }: Options, topics: Topics, worker: Worker<Told>) {
  const before = await worker.ask()
  let sent = 0
  let peak = 0
  let behindAtHalf: number | null = null
  let last = before
  const done: Commit[] = []
  let behind = 0
  for await (const { count, sinceMs } of steadily(rate, seconds, 100)) {
    last = await worker.ask()
    done.push(...last.done)
    peak = Math.max(peak, last.resident)
    behind = before.rows + sent - last.rows
    if (sinceMs >= seconds * 500) behindAtHalf ??= behind
    topics.sendInTurn(count)
    sent += count
  }
  const took = (last.now - before.now) / 1000
  const commits = last.commits - before.commits
  const live = {
    changes: sent,
    changesPerSecond: (last.rows - before.rows) / took,
    behind: { atHalf: behindAtHalf, atEnd: behind },
    commits,
    commitsPerSecond: commits / took,
    cpuShare: (last.cpu - before.cpu) / took,
    resident: peak / MIB,
    requestsPerHour: Object.fromEntries(
      Object.entries(REQUESTS_PER_COMMIT).map(([kind, count]) => [kind, Math.round((commits / took) * 3600 * count)]),
    ),
  }
  const { total } = topics
  await worker.until(({ done: more, rows }) => {
    done.push(...more)
    return rows === total
  })
  const waits = topics.waits(done)
  return { ...live, waitMs: { p50: quantile(waits, 0.5), p99: quantile(waits, 0.99), max: waits.at(-1) } }
}

function print({ topics, rows }: Options, { start, idle, live }: Awaited<ReturnType<typeof measure>>): void {
  const number = (value: number | undefined, digits: number) => (value ?? Number.NaN).toFixed(digits)
  console.log(`${topics} topics with ${rows} rows each, in one process`)
  console.log(
    `  start   first commit after ${number(start.firstCommit, 1)} s, the last table's first one after ` +
      `${number(start.lastTable, 1)} s; ${number(start.cpu, 1)} s of CPU; ${number(start.peak, 0)} MiB at most`,
  )
  console.log(
    `  idle    ${number(idle.cpuShare * 100, 1)} % of one CPU, ${idle.commits} commits, ${number(idle.resident, 0)} MiB`,
  )
  const { waitMs, requestsPerHour: requests, behind } = live
  console.log(
    `  live    ${number(live.changesPerSecond, 0)} changes a second in ${number(live.commitsPerSecond, 0)} commits: ` +
      `${number(live.cpuShare * 100, 0)} % of one CPU, ${number(live.resident, 0)} MiB at most; ${behind.atHalf} changes ` +
      `waited at half of the time, ${behind.atEnd} at its end; a commit's first message ` +
      `waited ${number(waitMs.p50, 0)} ms (p50), ${number(waitMs.p99, 0)} ms (p99), ${number(waitMs.max, 0)} ms (longest); ` +
      `in a store that were ${requests.PUT} PUTs and ${requests.GET} GETs an hour`,
  )
}

const { values } = parseArgs({
  options: {
    topics: { type: 'string', default: '1000' },
    rows: { type: 'string', default: '100' },
    idle: { type: 'string', default: '30' },
    rate: { type: 'string', default: '5000' },
    seconds: { type: 'string', default: '60' },
    'processing-time': { type: 'string', default: 'adaptive' },
    'max-delay': { type: 'string', default: '0 seconds' },
    'cpu-prof': { type: 'string' },
    json: { type: 'boolean', default: false },
  },
})

const options: Options = {
  topics: Number(values.topics),
  rows: Number(values.rows),
  idle: Number(values.idle),
  rate: Number(values.rate),
  seconds: Number(values.seconds),
  processingTime: values['processing-time'],
  maxDelay: values['max-delay'],
  profile: values['cpu-prof'],
}
const folder = mkdtempSync(join(tmpdir(), 'kafka2delta-topics-'))
try {
  const measured = await measure(options, folder)
  if (values.json) console.log(JSON.stringify(measured, null, 2))
  else print(options, measured)
} finally {
  rmSync(folder, { recursive: true, force: true })
}
