/**
 * Memory over time: a worker that catches up with many topics under `limits.maxMemory`, and then keeps up with them. Large
 * messages, rows of 600 columns, updates and deletes are among them. Kafka is a real broker, with a folder of its own; the
 * registry is the embedded one; the worker has a process of its own, and its tables lie on the local disk.
 *
 *   npm run bench:backlog -- [--gb 10] [--topics 100] [--max-memory '1 GB'] [--minutes 30] [--rate 2000]
 *     [--large '50 MB'] [--out FOLDER] [--json]
 */

import { mkdirSync, mkdtempSync, rmSync, statfsSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { kafkaJars, NO_KAFKA, RealKafka } from '../__test__/integration/support/real-kafka.js'
import { scanTable } from '../src/delta/index.js'
import { EmbeddedRegistry } from '../src/demo/registry.js'
import { streamToDelta } from '../src/index.js'
import { maxMessageBytes } from '../src/kafka/memory-budget.js'
import { parseSize } from '../src/options/units.js'
import { counted, KINDS, picture, type Sample, toCsv } from './backlog/samples.js'
import { SCHEMAS, Topics } from './backlog/topics.js'
import { steadily } from './support/steadily.js'
import { answer, Worker, workOf } from './support/worker.js'

const MB = 2 ** 20
/** What the process may hold beside `limits.maxMemory`: see docs/deployment.md. */
const BESIDE = 800 * MB
/** A large message comes each of so many milliseconds of the live load. */
const LARGE_EVERY_MS = 30_000

interface Start {
  brokers: string[]
  registry: string
  lake: string
  maxMemory: number
}

interface Told {
  rows: number
  kinds: Sample['kinds']
  heap: number
  buffers: number
  commits: number
  compactions: number
  badRecords: number
  failed: string[]
}

async function work({ brokers, registry, lake, maxMemory }: Start): Promise<void> {
  const told = { rows: 0, commits: 0, compactions: 0, badRecords: 0, failed: [] as string[] }
  const query = await streamToDelta({
    queryName: 'backlog',
    kafka: { brokers },
    schemaRegistry: { url: registry },
    tables: { '/bench\\.(.*)\\.(.*)/': { path: `${lake}/$1/$2` } },
    limits: { maxMemory },
  })
  query.on('progress', ({ numInputRows, numBadRecords }) => {
    told.rows += numInputRows
    told.badRecords += numBadRecords
    told.commits++
  })
  query.on('compaction', () => {
    told.compactions++
  })
  query.on('tableFailed', ({ error }) => told.failed.push(error.message))
  const tell = (): Told => {
    const { memory } = query.status
    const { heapTotal, external } = process.memoryUsage()
    const kinds = Object.fromEntries(KINDS.map((kind) => [kind, memory[kind]])) as Sample['kinds']
    return { ...told, kinds, heap: heapTotal, buffers: external }
  }
  answer(tell, () => query.stop())
}

interface Options {
  bytes: number
  topics: number
  maxMemory: number
  minutes: number
  rate: number
  large: number
}

/** Looks at the worker each second, until it is stopped. */
class Watch {
  readonly samples: Sample[] = []
  last: Told | null = null
  #isOver = false
  readonly #over: Promise<void>
  readonly #begun = Date.now()

  constructor(
    private readonly worker: Worker<Told>,
    private readonly topics: Topics,
  ) {
    this.#over = this.#watch()
  }

  get seconds(): number {
    return (Date.now() - this.#begun) / 1000
  }

  async #watch(): Promise<void> {
    let told = 0
    while (!this.#isOver) {
      const next = sleep(1000)
      const last = await this.worker.ask()
      this.last = last
      const { rows, kinds, heap, buffers } = last
      const [resident, lag] = [this.worker.resident, this.topics.sent - rows]
      const sample = { at: this.seconds, resident, heap, buffers, kinds, rows, lag }
      this.samples.push(sample)
      if (last.failed.length > 0) throw new Error(`tables were stopped: ${last.failed.join('; ')}`)
      if (sample.at >= told) {
        told = sample.at + 10
        say(sample)
      }
      await next
    }
  }

  /** Waits until all that was sent is in the tables. */
  async caughtUp(): Promise<void> {
    while (this.last === null || this.last.rows < this.topics.sent) await Promise.race([sleep(500), this.#over])
  }

  async end(): Promise<void> {
    this.#isOver = true
    await this.#over
  }
}

const megabytes = (bytes: number): string => (bytes / MB).toFixed(0)

function say(sample: Sample): void {
  const kinds = KINDS.map((kind) => `${kind} ${megabytes(sample.kinds[kind])}`).join(', ')
  console.error(
    `${sample.at.toFixed(0)} s: resident ${megabytes(sample.resident)} MB, counted ${megabytes(counted(sample))} (${kinds}), ` +
      `heap ${megabytes(sample.heap)}, buffers ${megabytes(sample.buffers)}; ${sample.rows} rows, ${sample.lag} behind`,
  )
}

async function measure(options: Options, folder: string) {
  const jars = kafkaJars()
  if (jars === null) throw new Error(NO_KAFKA)
  const [kafka, registry] = [
    await RealKafka.start(jars, join(folder, 'kafka'), undefined, '2g'),
    await EmbeddedRegistry.start(),
  ]
  try {
    for (const [id, schema] of SCHEMAS) registry.setSchema(id, schema)
    const topics = new Topics(kafka.client, options.topics, options.large)
    await topics.create()
    const filling = Date.now()
    await topics.fill(options.bytes)
    const backlog = topics.sent
    console.error(`${backlog} messages in ${((Date.now() - filling) / 1000).toFixed(0)} s`)

    const lake = join(folder, 'lake')
    const { maxMemory } = options
    const { brokers } = kafka
    const worker = Worker.start<Told>(import.meta.url, { brokers, registry: registry.url, lake, maxMemory })
    const watch = new Watch(worker, topics)
    await watch.caughtUp()
    const live = watch.seconds
    await load(options, topics)
    const liveEnd = watch.seconds
    await watch.caughtUp()
    await watch.end()
    const { peak } = worker
    await worker.stop()
    await topics.close()
    const { last, samples } = watch
    const wrong = await wrongTables(topics, lake)
    return { backlog, sent: topics.sent, live, liveEnd, peak, last, samples, wrong }
  } finally {
    await kafka.stop()
    await registry.close()
  }
}

/** Sends changes at a steady rate over all topics. */
async function load({ rate, minutes }: Options, topics: Topics): Promise<void> {
  let large = 0
  for await (const { count, sinceMs } of steadily(rate, minutes * 60, 200)) {
    const isLargeDue = Math.floor(sinceMs / LARGE_EVERY_MS) > large
    if (isLargeDue) large++
    await topics.change(count, isLargeDue)
  }
}

/** Tables that have not exactly the rows that were sent. */
async function wrongTables(topics: Topics, lake: string): Promise<string[]> {
  const wrong: string[] = []
  for (const topic of topics.all) {
    const [, kind, name] = topic.name.split('.')
    let [rows, strange] = [0, 0]
    for await (const batch of scanTable(`${lake}/${kind}/${name}`, { columns: ['id'] })) {
      rows += batch.numRows
      for (const id of batch.getChild('id') ?? []) if (!topic.has(Number(id))) strange++
    }
    if (rows !== topic.rows || strange > 0)
      wrong.push(`${topic.name}: ${rows} rows of ${topic.rows}, ${strange} strange`)
  }
  return wrong
}

function median(values: number[]): number {
  return values.sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN
}

function figures({ maxMemory }: Options, measured: Awaited<ReturnType<typeof measure>>) {
  const { samples, live, liveEnd } = measured
  const third = (liveEnd - live) / 3
  const within = (from: number, to: number) => samples.filter(({ at }) => at >= from && at < to)
  const resident = (part: Sample[]) => part.map(({ resident }) => resident)
  const most = (of: (sample: Sample) => number, part = samples) => Math.max(...part.map(of))
  return {
    maxMemory,
    bound: maxMemory + BESIDE,
    peak: measured.peak,
    peakLive: most(({ resident }) => resident, within(live, liveEnd)),
    counted: most(counted),
    kinds: Object.fromEntries(KINDS.map((kind) => [kind, most(({ kinds }) => kinds[kind])])),
    firstThird: median(resident(within(live, live + third))),
    lastThird: median(resident(within(liveEnd - third, liveEnd))),
    backlog: { messages: measured.backlog, seconds: live, rowsPerSecond: measured.backlog / live },
    live: { messages: measured.sent - measured.backlog, seconds: liveEnd - live },
    commits: measured.last?.commits,
    compactions: measured.last?.compactions,
    badRecords: measured.last?.badRecords,
    wrong: measured.wrong,
  }
}

function print(result: ReturnType<typeof figures>): void {
  const rows: [string, string][] = [
    ['limits.maxMemory, MB', megabytes(result.maxMemory)],
    ['stated bound, MB', megabytes(result.bound)],
    ['peak resident, MB', megabytes(result.peak)],
    ['peak while live, MB', megabytes(result.peakLive)],
    ['first third of the live load, median, MB', megabytes(result.firstThird)],
    ['last third, median, MB', megabytes(result.lastThird)],
    ['most counted, MB', megabytes(result.counted)],
    ...KINDS.map((kind): [string, string] => [`  ${kind}`, megabytes(result.kinds[kind] ?? 0)]),
    ['messages of the backlog', String(result.backlog.messages)],
    ['  applied a second', result.backlog.rowsPerSecond.toFixed(0)],
    ['messages of the live load', String(result.live.messages)],
    ['commits, steps of compaction', `${result.commits}, ${result.compactions}`],
    ['bad records', String(result.badRecords)],
    ['tables that are wrong', result.wrong.join('; ') || 'none'],
  ]
  for (const [what, value] of rows) console.log(`${what.padEnd(44)} ${value}`)
}

const start = workOf<Start>()
if (start !== null) await work(start)
else {
  const { values } = parseArgs({
    options: {
      gb: { type: 'string', default: '10' },
      topics: { type: 'string', default: '100' },
      'max-memory': { type: 'string', default: '1 GB' },
      minutes: { type: 'string', default: '30' },
      rate: { type: 'string', default: '2000' },
      large: { type: 'string', default: '50 MB' },
      out: { type: 'string' },
      json: { type: 'boolean', default: false },
    },
  })
  const size = (text: string): number => {
    const bytes = parseSize(text)
    if (bytes === null) throw new Error(`${text} is no size`)
    return bytes
  }
  const maxMemory = size(values['max-memory'])
  const options: Options = {
    bytes: Number(values.gb) * 1024 * MB,
    topics: Number(values.topics),
    maxMemory,
    minutes: Number(values.minutes),
    rate: Number(values.rate),
    // A larger one would be a bad record.
    large: Math.min(size(values.large), Math.floor(maxMessageBytes(maxMemory) * 0.9)),
  }
  // Three times the backlog, and some 30 MB a second of live load: nothing that was replaced is deleted.
  const needed = 3 * options.bytes + options.minutes * 60 * options.rate * 16 * 1024
  const { bavail, bsize } = statfsSync(tmpdir())
  if (bavail * bsize < needed) throw new Error(`${tmpdir()} has to have ${megabytes(needed)} MB left on its disk`)
  const folder = mkdtempSync(join(tmpdir(), 'kafka2delta-backlog-'))
  try {
    const measured = await measure(options, folder)
    const result = figures(options, measured)
    if (values.out !== undefined) {
      const lines = { limit: maxMemory, bound: result.bound, live: measured.live }
      mkdirSync(values.out, { recursive: true })
      writeFileSync(join(values.out, 'memory.csv'), toCsv(measured.samples))
      writeFileSync(join(values.out, 'memory.svg'), picture(measured.samples, lines))
    }
    if (values.json) console.log(JSON.stringify(result))
    else print(result)
    if (result.wrong.length > 0) process.exitCode = 1
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
