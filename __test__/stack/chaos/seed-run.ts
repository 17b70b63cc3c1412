/** One seed of a chaos run: its tables and workers, its faults in their time, and the marks between. */

import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { ENDPOINTS, HOST, PORTS } from '../../../scripts/stack/settings.mjs'
import type { StreamOptions } from '../../../src/index.js'
import { generator } from '../../helpers/random.js'
import { Changes } from './changes.js'
import { type Planned, plan } from './faults.js'
import { MOST_WORKERS, RunField } from './field.js'
import { Lake } from './lake.js'
import { Marks } from './marks.js'
import { LOOK_EVERY_MS, MARK_EVERY_MS, SESSION_MS } from './settings.js'
import { Fleet, type WorkerStart } from './workers.js'
import { SHAPES, type World } from './world.js'

export interface SeedOptions {
  seed: number
  /** Milliseconds under faults. */
  lasts: number
  /** What happens, as it happens. */
  print: (line: string) => void
}

export interface SeedResult {
  /** What is wrong; empty where nothing is. */
  problems: string[]
  /** Kind to how often it happened. */
  faults: Record<string, number>
  /** Operation to the number of commits in all tables. */
  commits: Record<string, number>
  /** Commits that workers told, each held against the log. */
  numTold: number
  numMarks: number
  numTables: number
  numRows: number
  numTransactions: number
  numWorkers: number
  numRefusedStarts: number
}

/** Mean of the milliseconds between two faults. */
const FAULT_EVERY_MS = 2_500

/** The first worker may take so long to start. */
const START_MS = 120_000

/** How to run a seed again. */
export const again = ({ seed, lasts }: Pick<SeedOptions, 'seed' | 'lasts'>): string =>
  `npm run chaos -- --seed ${seed} --minutes ${Math.round((lasts / 60_000) * 1000) / 1000}`

export class SeedRun {
  readonly folder: string
  readonly #begun = Date.now()
  readonly #queryName: string
  readonly #hasIndexDir: boolean
  readonly #firstWorkers: number
  readonly #planned: Planned[]
  readonly #lake: Lake
  readonly #changes: Changes
  readonly #fleet: Fleet
  readonly #marks: Marks
  readonly #field: RunField
  readonly #problems: string[] = []
  readonly #timeline: string[] = []

  constructor(
    private readonly world: World,
    private readonly options: SeedOptions,
  ) {
    const { seed, lasts } = options
    const random = generator(seed * 13 + 5)
    const hasStore = random.next() < 0.5
    this.#hasIndexDir = random.next() < 0.5
    this.#firstWorkers = 1 + random.below(MOST_WORKERS)
    this.#planned = plan({ seed, lasts, every: FAULT_EVERY_MS, hasStore })
    this.#queryName = `${world.id}_s${seed}`
    this.folder = join(world.folder, `seed-${seed}`)
    mkdirSync(this.folder)
    const note = (text: string) => this.#note(text)
    this.#lake = new Lake(world, this.folder, `s${seed}`, hasStore)
    this.#changes = new Changes(world, seed, note)
    this.#fleet = new Fleet(
      () => this.#start(),
      this.folder,
      (since) => world.wasDisturbed(since),
      note,
    )
    this.#marks = new Marks(world, this.#changes, this.#lake, this.#fleet, this.#queryName, this.folder)
    this.#field = new RunField(world, this.#changes, this.#lake, this.#fleet, this.#problems, note)
  }

  #note(text: string): void {
    const line = `${((Date.now() - this.#begun) / 1000).toFixed(1).padStart(7)} s  ${text}`
    this.#timeline.push(line)
    this.options.print(line)
  }

  #start(): WorkerStart {
    const { kafka, registry } = this.world.proxies
    return {
      options: this.#workerOptions(registry.port),
      broker: PORTS.kafka,
      proxy: kafka.port,
      lookEveryMs: LOOK_EVERY_MS,
    }
  }

  #workerOptions(registryPort: number): StreamOptions {
    const url = ENDPOINTS.REGISTRY_URL.replace(`:${PORTS.registry}`, `:${registryPort}`)
    const named = this.#named.map(({ topic, name, options }) => [topic, { path: this.#lake.uri(name), ...options }])
    const patterns = SHAPES.map((shape) => {
      const topics = `/${this.world.prefix(shape)}\\.${shape}\\.(${this.#changes.prefix}.*)/`
      return [topics, { path: this.#lake.uri('$1') }]
    })
    return {
      queryName: this.#queryName,
      kafka: { brokers: [`${HOST}:${PORTS.kafka}`] },
      consumer: {
        sessionTimeout: SESSION_MS,
        heartbeatInterval: SESSION_MS / 6,
        rebalanceTimeout: 10_000,
        metadataMaxAge: 2_000,
      },
      schemaRegistry: { url },
      workers: 'many',
      trigger: { processingTime: 300 },
      storageOptions: this.#lake.proxied,
      tables: Object.fromEntries([...named, ...patterns]),
      ...(this.#hasIndexDir ? { indexDir: join(this.folder, 'index') } : {}),
    }
  }

  /** Tables with options of their own. A pattern takes the others. */
  get #named() {
    return this.#changes.tables.filter(({ options }) => Object.keys(options).length > 0)
  }

  async run(): Promise<SeedResult> {
    try {
      await this.#changes.create()
      for (let i = 0; i < this.#firstWorkers; i++) this.#fleet.add()
      const storage = Object.keys(this.#lake.direct).length > 0 ? 'the object store' : 'the local disk'
      const numTables = this.#changes.tables.length
      this.#note(`seed ${this.options.seed}: ${numTables} tables on ${storage}, ${this.#firstWorkers} workers at first`)
      this.#changes.run()
      await this.#firstStarted()
      await this.#underFaults()
      await this.#fleet.stop()
      this.#problems.push(...this.#marks.logProblems(), ...this.#fleet.problems)
    } catch (error) {
      this.#problems.push(String((error as Error).stack))
    } finally {
      await this.#field.over()
      await this.#changes.pause().catch(() => {})
      await this.#fleet.abandon()
      await this.#changes.drop().catch(() => {})
    }
    return this.#result()
  }

  /** Without a worker there is nothing to harm. */
  async #firstStarted(): Promise<void> {
    const until = Date.now() + START_MS
    while (!this.#fleet.hasStarted) {
      if (Date.now() > until) throw new Error(`no worker has started within ${START_MS / 1000} s`)
      await sleep(100)
    }
    this.#note('the first worker has started')
  }

  /** Segments of faults, with a mark after each. */
  async #underFaults(): Promise<void> {
    const { lasts } = this.options
    const segments = Math.max(1, Math.round(lasts / MARK_EVERY_MS))
    const planned = [...this.#planned]
    for (let segment = 1; segment <= segments && this.#problems.length === 0; segment++) {
      const end = (lasts * segment) / segments
      const begun = Date.now() - (lasts * (segment - 1)) / segments
      if (segment > 1) this.#changes.run()
      while (planned[0] && planned[0].at < end) {
        const fault = planned.shift() as Planned
        await sleep(Math.max(0, begun + fault.at - Date.now()))
        this.#field.begin(fault)
      }
      await sleep(Math.max(0, begun + end - Date.now()))
      await this.#mark()
    }
  }

  async #mark(): Promise<void> {
    await this.#changes.pause()
    await this.#field.over()
    const began = Date.now()
    const found = await this.#marks.check()
    this.#problems.push(...found)
    const took = ((Date.now() - began) / 1000).toFixed(1)
    this.#note(`mark: ${found.length === 0 ? 'all is equal' : `${found.length} differences`} (after ${took} s)`)
  }

  #result(): SeedResult {
    const problems = [...new Set(this.#problems)]
    for (const problem of problems) this.#note(`WRONG: ${problem}`)
    if (problems.length > 0) {
      this.world.keepFolder = true
      writeFileSync(join(this.folder, 'timeline.txt'), `${this.#timeline.join('\n')}\n`)
      writeFileSync(
        join(this.folder, 'told.jsonl'),
        this.#fleet.commits.map((told) => `${JSON.stringify(told)}\n`).join(''),
      )
      this.#note(`kept: ${this.folder}; again: ${again(this.options)}`)
    }
    const commits: Record<string, number> = {}
    for (const { operations } of this.#marks.logs.values()) {
      for (const [operation, count] of operations) commits[operation] = (commits[operation] ?? 0) + count
    }
    return {
      problems,
      faults: this.#field.counts,
      commits,
      numTold: this.#fleet.commits.length,
      numMarks: this.#marks.numMarks,
      numTables: this.#changes.tables.length,
      numRows: this.#marks.numRows,
      numTransactions: this.#changes.numTransactions,
      numWorkers: this.#fleet.numStarted,
      numRefusedStarts: this.#fleet.numRefusedStarts,
    }
  }
}
