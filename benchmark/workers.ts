/**
 * Workers that share tables: 1, 2 and 4 processes over the same topics. What each of them applies, how many tables move as one
 * joins or leaves, and how long after a kill -9 each of its tables has its next commit. Broker and registry are the embedded
 * ones, in the process of the benchmark; the tables lie on the local disk. At the end every message is in its table once.
 *
 *   npm run bench:workers -- [--tables 40] [--workers 1,2,4] [--messages 2000] [--rate 400] [--seconds 20] [--session 10000] [--json]
 */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { type Child, startChild } from '../__test__/integration/support/children.js'
import { SharedTopics } from '../__test__/integration/support/shared-topics.js'
import { EmbeddedBroker } from '../src/demo/broker/index.js'
import { EmbeddedRegistry } from '../src/demo/registry.js'

interface Options {
  tables: number
  /** Messages of each table that wait before the workers' work is measured. */
  messages: number
  /** Changes a second over all tables while workers come and go. */
  rate: number
  seconds: number
  /** Milliseconds. */
  session: number
}

interface Told {
  event: string
  at: number
  topic: string
  topics: string[]
  numInputRows: number
  gained: string[]
  lost: string[]
}

/** Milliseconds without a table that moves after which all have their places. */
const QUIET_MS = 3_000

class Worker {
  readonly child: Child
  #told: Told[] = []
  #read = 0

  constructor(options: object) {
    this.child = startChild('worker-child.ts', [JSON.stringify(options)])
  }

  get told(): Told[] {
    const output = this.child.output()
    const end = output.lastIndexOf('\n') + 1
    for (const line of output.slice(this.#read, end).split('\n')) {
      if (line.startsWith('{"event"')) this.#told.push(JSON.parse(line) as Told)
    }
    this.#read = Math.max(this.#read, end)
    return this.#told
  }

  /** Topics that it has. */
  get topics(): Set<string> {
    const own = new Set<string>()
    for (const { event, topics, gained, lost } of this.told) {
      if (event === 'started') for (const topic of topics) own.add(topic)
      if (event !== 'moved') continue
      for (const topic of lost) own.delete(topic)
      for (const topic of gained) own.add(topic)
    }
    return own
  }

  get lastMove(): number {
    return this.told.findLast(({ event }) => event === 'moved' || event === 'started')?.at ?? 0
  }

  rowsSince(time: number): number {
    const commits = this.told.filter(({ event, at }) => event === 'committed' && at >= time)
    return commits.reduce((sum, { numInputRows }) => sum + numInputRows, 0)
  }

  async end(signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    this.child.process.kill(signal)
    await this.child.exit
  }
}

/** Tables whose worker is another one. Of a worker that is gone they had to move. */
function moved(before: Map<string, Worker>, after: Map<string, Worker>, gone: Worker | null): number {
  return [...before].filter(([topic, worker]) => worker !== gone && after.get(topic) !== worker).length
}

class Group {
  workers: Worker[] = []

  constructor(
    readonly options: object,
    readonly topics: SharedTopics,
  ) {}

  /** Who has what. */
  get places(): Map<string, Worker> {
    return new Map(this.workers.flatMap((worker) => [...worker.topics].map((topic) => [topic, worker] as const)))
  }

  /** Every worker has about its part. One that joins others gets it two session timeouts later. */
  async settled(): Promise<void> {
    const least = Math.floor(this.topics.names.length / this.workers.length / 2)
    const isSettled = () => {
      const sizes = this.workers.map(({ topics }) => topics.size)
      if (sizes.some((size) => size < least)) return false
      const numHeld = sizes.reduce((sum, size) => sum + size, 0)
      const lastMove = Math.max(0, ...this.workers.map((worker) => worker.lastMove))
      return numHeld === this.topics.names.length && Date.now() - lastMove > QUIET_MS
    }
    await until(isSettled, 'every table is somewhere')
  }

  /** How many tables moved. */
  async join(): Promise<number> {
    const before = this.places
    const worker = new Worker(this.options)
    this.workers.push(worker)
    await worker.child.printed('"started"')
    await this.settled()
    return moved(before, this.places, null)
  }

  /** How many tables of others moved, and how long each of its own was without a commit. */
  async lose(signal: 'SIGTERM' | 'SIGKILL'): Promise<{ own: number; others: number; waits: number[] }> {
    const before = this.places
    const gone = this.workers.pop() as Worker
    const own = [...gone.topics]
    const at = Date.now()
    const ending = gone.end(signal)
    const firstCommits = () =>
      own.map((topic) => {
        const commits = this.workers.flatMap(({ told }) =>
          told.filter((line) => line.event === 'committed' && line.topic === topic && line.at > at),
        )
        return commits.length > 0 ? Math.min(...commits.map((line) => line.at)) - at : null
      })
    await until(() => firstCommits().every((wait) => wait !== null), 'every table has a commit again')
    await ending
    await this.settled()
    const waits = firstCommits().filter((wait) => wait !== null)
    return { own: own.length, others: moved(before, this.places, gone), waits: waits.sort((a, b) => a - b) }
  }
}

async function until(is: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const deadline = Date.now() + 180_000
  while (!(await is())) {
    if (Date.now() > deadline) throw new Error(`not within three minutes: ${what}`)
    await sleep(50)
  }
}

async function measure(numWorkers: number, options: Options, folder: string) {
  const broker = await EmbeddedBroker.start({ initialRebalanceDelayMs: 3000 })
  const registry = await EmbeddedRegistry.start()
  const topics = new SharedTopics(broker, registry, join(folder, 'lake'), options.tables)
  const group = new Group(
    {
      queryName: 'workers',
      kafka: { brokers: broker.brokers },
      consumer: { sessionTimeout: options.session, heartbeatInterval: Math.min(3000, options.session / 4) },
      schemaRegistry: { url: registry.url },
      workers: 'many',
      indexDir: join(folder, 'index'),
      tables: topics.tables(),
    },
    topics,
  )
  const producing = new AbortController()
  let producer: Promise<void> | null = null
  try {
    const joins: number[] = []
    for (let i = 0; i < numWorkers; i++) joins.push(await group.join())
    const sizes = group.workers.map((worker) => worker.topics.size)

    topics.sendToAll(options.messages)
    const began = Date.now()
    const rows = () => group.workers.map((worker) => worker.rowsSince(began))
    const sum = () => rows().reduce((total, count) => total + count, 0)
    await until(() => sum() >= topics.numMessages, 'all that waited is applied')
    const work = { rows: rows(), seconds: (Date.now() - began) / 1000 }

    producer = produce(topics, options.rate, producing.signal)
    const steady = Date.now()
    await sleep(options.seconds * 1000)
    const live = { rows: group.workers.map((worker) => worker.rowsSince(steady)), seconds: options.seconds }

    const leave = numWorkers > 1 ? await group.lose('SIGTERM') : null
    const rejoin = numWorkers > 1 ? await group.join() : null
    const kill = numWorkers > 1 ? await group.lose('SIGKILL') : null
    producing.abort()
    await producer
    await until(() => topics.areWhole(), 'all tables are whole').catch(() => {})
    return { sizes, joins, work, live, leave, rejoin, kill, differences: await topics.differences() }
  } finally {
    producing.abort()
    await producer
    await Promise.all(group.workers.map((worker) => worker.end('SIGTERM')))
    await broker.close()
    await registry.close()
  }
}

async function produce(topics: SharedTopics, rate: number, signal: AbortSignal): Promise<void> {
  const began = Date.now()
  for (let sent = 0; !signal.aborted; await sleep(50)) {
    const due = ((Date.now() - began) / 1000) * rate
    for (; sent < due; sent++) topics.send(topics.names[sent % topics.names.length] as string)
  }
}

const seconds = (ms: number | undefined) => ((ms ?? Number.NaN) / 1000).toFixed(1)

function print(
  numWorkers: number,
  { sizes, joins, work, live, leave, rejoin, kill, differences }: Awaited<ReturnType<typeof measure>>,
) {
  console.log(`${numWorkers} workers: ${sizes.join(', ')} tables; moved as each joined: ${joins.join(', ')}`)
  console.log(`  backlog  ${work.rows.join(', ')} messages in ${work.seconds.toFixed(1)} s`)
  console.log(`  live     ${live.rows.join(', ')} messages in ${live.seconds} s`)
  for (const [what, lost] of [
    ['leave', leave],
    ['kill -9', kill],
  ] as const) {
    // biome-ignore format: short
    if (!lost) continue
    const { own, others, waits } = lost
    console.log(
      `  ${what.padEnd(8)} ${own} tables had to move, ${others} others did; next commit after ${seconds(waits[0])} s ` +
        `(first), ${seconds(waits[waits.length >> 1])} s (median), ${seconds(waits.at(-1))} s (last)`,
    )
  }
  if (rejoin !== null) console.log(`  rejoin   ${rejoin} tables moved`)
  console.log(`  rows     ${differences.length === 0 ? 'each message is in its table once' : differences.join('; ')}`)
}

const { values } = parseArgs({
  options: {
    tables: { type: 'string', default: '40' },
    workers: { type: 'string', default: '1,2,4' },
    messages: { type: 'string', default: '2000' },
    rate: { type: 'string', default: '400' },
    seconds: { type: 'string', default: '20' },
    session: { type: 'string', default: '10000' },
    json: { type: 'boolean', default: false },
  },
})

const options: Options = {
  tables: Number(values.tables),
  messages: Number(values.messages),
  rate: Number(values.rate),
  seconds: Number(values.seconds),
  session: Number(values.session),
}
for (const numWorkers of values.workers.split(',').map(Number)) {
  const folder = mkdtempSync(join(tmpdir(), 'kafka2delta-workers-'))
  try {
    const measured = await measure(numWorkers, options, folder)
    if (values.json) console.log(JSON.stringify({ numWorkers, ...measured }))
    else print(numWorkers, measured)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
