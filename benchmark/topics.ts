/**
 * Many topics by one pattern in one process: how long a start takes, what the process holds, what it costs while idle and
 * under a steady load. Broker and registry are the embedded ones, in the process of the benchmark; the tables lie on the
 * local disk, and are written by a process of its own.
 *
 *   npm run bench:topics -- [--topics 1000] [--rows 100] [--idle 30] [--rate 5000] [--seconds 60] [--json]
 */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { EmbeddedBroker } from '../src/demo/broker/index.js'
import { EmbeddedRegistry } from '../src/demo/registry.js'
import { ConfluentEncoder } from '../src/demo/shop-encoder.js'
import { streamToDelta } from '../src/index.js'
import { answer, Worker, workOf } from './support/worker.js'

/** A commit writes a data file and a log entry, and asks whether the log is still the same. */
const REQUESTS_PER_COMMIT = { PUT: 2, GET: 1 }
const KEY_ID = 1
const VALUE_ID = 2
const KEY = { type: 'record', name: 'Key', fields: [{ name: 'id', type: 'int' }] }
const VALUE = {
  type: 'record',
  name: 'Value',
  fields: [
    { name: 'id', type: 'int' },
    { name: 'name', type: 'string' },
    { name: 'amount', type: 'double' },
    { name: '__deleted', type: 'string' },
  ],
}

/** What the worker tells of itself. */
interface Told {
  /** Milliseconds since 1970. */
  now: number
  firstCommit: number | null
  /** When the last table had its first commit; null while some have none. */
  allCommitted: number | null
  commits: number
  rows: number
  /** Bytes. */
  resident: number
  /** Seconds of CPU time. */
  cpu: number
  /** Each commit since the last time: topic, first offset, and when it was done. */
  done: [topic: string, first: number, at: number][]
}

interface Start {
  brokers: string[]
  registry: string
  lake: string
  topics: number
}

async function work({ brokers, registry, lake, topics }: Start): Promise<void> {
  const committed = new Set<string>()
  let firstCommit: number | null = null
  let allCommitted: number | null = null
  let [commits, rows] = [0, 0]
  const done: Told['done'] = []
  const query = await streamToDelta({
    queryName: 'topics',
    kafka: { brokers },
    schemaRegistry: { url: registry },
    tables: { '/shop\\.(.*)/': { path: `${lake}/$1` } },
  })
  query.on('progress', (progress) => {
    commits++
    rows += progress.numInputRows
    firstCommit ??= Date.now()
    committed.add(progress.topic)
    if (committed.size === topics) allCommitted ??= Date.now()
    done.push([progress.topic, Number(progress.offsets['0']?.start), Date.now()])
  })
  const tell = (): Told => {
    const { user, system } = process.cpuUsage()
    return {
      now: Date.now(),
      firstCommit,
      allCommitted,
      commits,
      rows,
      resident: process.memoryUsage.rss(),
      cpu: (user + system) / 1e6,
      done: done.splice(0),
    }
  }
  answer(tell, () => query.stop())
}

/** Topics, and when each of their messages was sent. */
class Topics {
  readonly sent: Map<string, number[]>
  readonly #keys = new ConfluentEncoder(KEY, KEY_ID)
  readonly #values = new ConfluentEncoder(VALUE, VALUE_ID)
  #version = 0

  constructor(
    private readonly broker: EmbeddedBroker,
    readonly names: string[],
    private readonly rows: number,
  ) {
    this.sent = new Map(names.map((name) => [name, []]))
    for (const name of names) broker.createTopic(name)
  }

  /** Sends changes of a topic's rows, one row after the other. */
  send(topic: string, count: number): void {
    const times = this.sent.get(topic) as number[]
    const timestamp = Date.now()
    const records = Array.from({ length: count }, (_, i) => {
      const id = (times.length + i) % this.rows
      const amount = this.#version++
      const value = this.#values.encode({ id, name: `row ${id} of ${topic}`, amount, __deleted: 'false' })
      return { key: this.#keys.encode({ id }), value, timestamp }
    })
    this.broker.append(topic, 0, records)
    for (let i = 0; i < count; i++) times.push(timestamp)
  }

  get total(): number {
    let sum = 0
    for (const times of this.sent.values()) sum += times.length
    return sum
  }

  /** Milliseconds that the first message of each commit waited until it was in the table, sorted. */
  waits(done: Told['done']): number[] {
    return done.map(([topic, first, at]) => at - (this.sent.get(topic)?.[first] ?? at)).sort((a, b) => a - b)
  }
}

interface Options {
  topics: number
  rows: number
  idle: number
  rate: number
  seconds: number
}

const MIB = 2 ** 20

async function measure(options: Options, folder: string) {
  const [broker, registry] = [await EmbeddedBroker.start(), await EmbeddedRegistry.start()]
  try {
    registry.setSchema(KEY_ID, KEY)
    registry.setSchema(VALUE_ID, VALUE)
    const names = Array.from({ length: options.topics }, (_, i) => `shop.public.t${i}`)
    const topics = new Topics(broker, names, options.rows)
    for (const name of names) topics.send(name, options.rows)
    const began = Date.now()
    const { brokers } = broker
    const start: Start = { brokers, registry: registry.url, lake: join(folder, 'lake'), topics: options.topics }
    const worker = Worker.start<Told>(import.meta.url, start)
    const all = await worker.until(({ rows }) => rows === topics.total)
    const started = {
      firstCommit: ((all.firstCommit ?? Number.NaN) - began) / 1000,
      lastTable: ((all.allCommitted ?? Number.NaN) - began) / 1000,
      resident: all.resident / MIB,
      peak: worker.peak / MIB,
      cpu: all.cpu,
    }
    console.error(`started: ${JSON.stringify(started)}`)

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
    return { start: started, idle, live }
  } finally {
    await broker.close()
    await registry.close()
  }
}

/** Sends changes at a steady rate over all topics. */
async function load({ rate, seconds }: Options, topics: Topics, worker: Worker<Told>) {
  const TICK_MS = 100
  const before = await worker.ask()
  const began = Date.now()
  let [sent, next] = [0, 0]
  const done: Told['done'] = []
  let peak = 0
  while (Date.now() - began < seconds * 1000) {
    const due = Math.floor(((Date.now() - began) / 1000) * rate)
    for (; sent < due; sent++) topics.send(topics.names[next++ % topics.names.length] as string, 1)
    await sleep(TICK_MS)
    const told = await worker.ask()
    done.push(...told.done)
    peak = Math.max(peak, told.resident)
  }
  const { total } = topics
  const after = await worker.until(({ done: more, rows }) => {
    done.push(...more)
    return rows === total
  })
  const waits = topics.waits(done)
  const took = (after.now - before.now) / 1000
  const commits = after.commits - before.commits
  const perHour = (commits / took) * 3600
  return {
    changes: sent,
    changesPerSecond: sent / took,
    commits,
    cpuShare: (after.cpu - before.cpu) / took,
    resident: peak / MIB,
    waitMs: { p50: waits[waits.length >> 1], p99: waits[Math.floor(waits.length * 0.99)], max: waits.at(-1) },
    requestsPerHour: Object.fromEntries(
      Object.entries(REQUESTS_PER_COMMIT).map(([kind, count]) => [kind, Math.round(perHour * count)]),
    ),
  }
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
  const { waitMs, requestsPerHour: requests } = live
  console.log(
    `  live    ${number(live.changesPerSecond, 0)} changes a second in ${live.commits} commits: ` +
      `${number(live.cpuShare * 100, 0)} % of one CPU, ${number(live.resident, 0)} MiB at most; a commit's first message ` +
      `waited ${number(waitMs.p50, 0)} ms (p50), ${number(waitMs.p99, 0)} ms (p99), ${number(waitMs.max, 0)} ms (longest); ` +
      `in a store that were ${requests.PUT} PUTs and ${requests.GET} GETs an hour`,
  )
}

const start = workOf<Start>()
if (start !== null) await work(start)
else {
  const { values } = parseArgs({
    options: {
      topics: { type: 'string', default: '1000' },
      rows: { type: 'string', default: '100' },
      idle: { type: 'string', default: '30' },
      rate: { type: 'string', default: '5000' },
      seconds: { type: 'string', default: '60' },
      json: { type: 'boolean', default: false },
    },
  })
  const options: Options = {
    topics: Number(values.topics),
    rows: Number(values.rows),
    idle: Number(values.idle),
    rate: Number(values.rate),
    seconds: Number(values.seconds),
  }
  const folder = mkdtempSync(join(tmpdir(), 'kafka2delta-topics-'))
  try {
    const measured = await measure(options, folder)
    if (values.json) console.log(JSON.stringify(measured, null, 2))
    else print(options, measured)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
