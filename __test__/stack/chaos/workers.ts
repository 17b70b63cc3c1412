/** The worker processes of a chaos run: started, killed, frozen and ended, with what they tell. */

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createWriteStream } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { StreamOptions } from '../../../src/index.js'

const PROGRAM = fileURLToPath(new URL('worker.ts', import.meta.url))

/** What a worker is started with. */
export interface WorkerStart {
  options: StreamOptions
  /** The broker's own port, and that of the proxy before it. */
  broker: number
  proxy: number
  /** Milliseconds between two looks for new topics. */
  lookEveryMs: number
}

/** A commit, as the worker tells it that made it. */
export interface ToldCommit {
  worker: number
  topic: string
  version: number
  /** Partition to the first and the last offset of the batch. */
  offsets: Record<string, { start: string; end: string }>
}

/** A worker that is told to end has so long. */
const STOP_MS = 60_000

/** Before a worker whose start was refused is started again. */
const AGAIN_MS = 500

type Intent = 'run' | 'stop' | 'kill'

class Worker {
  readonly begun = Date.now()
  readonly child: ChildProcess
  readonly exit: Promise<string>
  intent: Intent = 'run'
  /** It hears when it is told to end. */
  isListening = false
  hasStarted = false
  isFrozen = false

  constructor(
    readonly id: number,
    start: WorkerStart,
    folder: string,
    heard: (worker: Worker, told: Record<string, unknown>) => void,
  ) {
    const args = ['--import', 'tsx', PROGRAM, JSON.stringify(start)]
    this.child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'pipe'] })
    this.child.stderr?.pipe(createWriteStream(join(folder, `worker-${id}.log`)))
    const lines = createInterface({ input: this.child.stdout as NodeJS.ReadableStream })
    lines.on('line', (line) => {
      // A killed worker may leave half a line.
      if (line.startsWith('{') && line.endsWith('}')) heard(this, JSON.parse(line))
    })
    this.exit = once(this.child, 'close').then(([code, signal]) => String(signal ?? code))
  }

  signal(name: NodeJS.Signals): void {
    this.child.kill(name)
  }
}

export class Fleet {
  readonly commits: ToldCommit[] = []
  /** What no fault explains. */
  readonly problems: string[] = []
  /** Starts that ended because a system was away. */
  numRefusedStarts = 0
  #workers: Worker[] = []
  #count = 0
  #isOver = false

  /**
   * @param start what the next one is started with
   * @param folder of the workers' logs
   * @param isDisturbed whether a system was away at some time since then
   */
  constructor(
    private readonly start: () => WorkerStart,
    private readonly folder: string,
    private readonly isDisturbed: (since: number) => boolean,
    private readonly note: (text: string) => void,
  ) {}

  get numStarted(): number {
    return this.#count
  }

  get size(): number {
    return this.#workers.length
  }

  /** Whether one runs. */
  get hasStarted(): boolean {
    return this.#workers.some((worker) => worker.hasStarted)
  }

  /** Workers that can be harmed: those that work, or else those that start. */
  get #awake(): Worker[] {
    const awake = this.#workers.filter(({ isFrozen, intent }) => !isFrozen && intent === 'run')
    const working = awake.filter(({ hasStarted }) => hasStarted)
    return working.length > 0 ? working : awake
  }

  add(): number {
    const worker = new Worker(++this.#count, this.start(), this.folder, (from, told) => this.#heard(from, told))
    this.#workers.push(worker)
    void worker.exit.then((how) => this.#ended(worker, how))
    return worker.id
  }

  #heard(worker: Worker, told: Record<string, unknown>): void {
    if (told.event === 'listening') worker.isListening = true
    if (told.event === 'started') worker.hasStarted = true
    if (told.event === 'committed' && told.version !== null) {
      this.commits.push({ worker: worker.id, ...told } as unknown as ToldCommit)
    }
    if (told.event === 'failed') {
      this.problems.push(`worker ${worker.id}: ${told.topic} failed: ${told.code} ${told.message}`)
    }
  }

  #ended(worker: Worker, how: string): void {
    this.#workers = this.#workers.filter((other) => other !== worker)
    const { id, intent } = worker
    if (intent === 'kill' || this.#isOver) return
    if (intent === 'stop') {
      const isRight = how === '0' || (how === 'SIGTERM' && !worker.isListening)
      if (!isRight) this.problems.push(`worker ${id} was told to end and ended with ${how}`)
    } else if (!worker.hasStarted && this.isDisturbed(worker.begun)) {
      this.numRefusedStarts++
      this.note(`worker ${id}: its start was refused (${how})`)
      setTimeout(() => this.#isOver || this.add(), AGAIN_MS)
    } else this.problems.push(`worker ${id} ended by itself with ${how}`)
  }

  /** Kills one; `which` is from 0 to below 1. Null where there is none. */
  async kill(which: number): Promise<number | null> {
    const worker = pick(this.#awake, which)
    if (!worker) return null
    worker.intent = 'kill'
    worker.signal('SIGKILL')
    await worker.exit
    return worker.id
  }

  /** Stops one from running for a time. */
  async freeze(which: number, ms: number, told: (id: number) => void): Promise<boolean> {
    const worker = pick(this.#awake, which)
    if (!worker) return false
    worker.isFrozen = true
    worker.signal('SIGSTOP')
    told(worker.id)
    await sleep(ms)
    worker.signal('SIGCONT')
    worker.isFrozen = false
    return true
  }

  /** Tells one to end, where others are left. */
  async remove(which: number, told: (id: number) => void): Promise<boolean> {
    const worker = this.size > 1 ? pick(this.#awake, which) : undefined
    if (!worker) return false
    told(worker.id)
    await this.#stop(worker)
    return true
  }

  async #stop(worker: Worker): Promise<void> {
    worker.intent = 'stop'
    worker.signal('SIGTERM')
    const late = new AbortController()
    const tooLong = sleep(STOP_MS, true, { signal: late.signal }).catch(() => false)
    if (await Promise.race([worker.exit.then(() => false), tooLong])) {
      this.problems.push(`worker ${worker.id} did not end within ${STOP_MS / 1000} s`)
      worker.intent = 'kill'
      worker.signal('SIGKILL')
      await worker.exit
    }
    late.abort()
  }

  /** Tells all to end. */
  async stop(): Promise<void> {
    await Promise.all(this.#workers.map((worker) => this.#stop(worker)))
  }

  /** Ends whatever is left. */
  async abandon(): Promise<void> {
    this.#isOver = true
    for (const worker of this.#workers) worker.signal('SIGKILL')
    await Promise.all(this.#workers.map(({ exit }) => exit))
  }
}

const pick = <T>(items: readonly T[], which: number): T | undefined => items[Math.floor(which * items.length)]
