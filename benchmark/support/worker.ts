/** A query in a process of its own, so that memory and CPU are its alone: the benchmark's file is run again as the worker. */

import { type ChildProcess, fork } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

const FLAG = '--work'

/** What the worker was started with; null in the benchmark's own process. */
export function workOf<Start>(): Start | null {
  const [flag, text] = process.argv.slice(2)
  return flag === FLAG && text !== undefined ? (JSON.parse(text) as Start) : null
}

/** In the worker: answers what is asked, and ends when it is told to. */
export function answer(tell: () => object, stop: () => Promise<void>): void {
  process.on('message', (message) => {
    if (message === 'stop') void stop().then(() => process.exit(0))
    else process.send?.(tell())
  })
}

/** The worker, as the benchmark sees it. `Told` is what it answers. */
export class Worker<Told> {
  /** Rejects where the worker ends by itself. */
  readonly #lost: Promise<never>

  private constructor(private readonly child: ChildProcess) {
    this.#lost = new Promise((_, reject) => {
      child.once('exit', (code, signal) => reject(new Error(`the worker ended with ${code ?? signal}`)))
    })
    this.#lost.catch(() => {})
  }

  /**
   * @param program the worker's, most often the benchmark's `import.meta.url`
   * @param execArgv further options of Node
   */
  static start<Told>(program: string | URL, start: object, execArgv: string[] = []): Worker<Told> {
    const args = [FLAG, JSON.stringify(start)]
    return new Worker(fork(fileURLToPath(program), args, { execArgv: ['--import', 'tsx', ...execArgv] }))
  }

  ask(): Promise<Told> {
    const told = new Promise<Told>((resolve) => this.child.once('message', (message) => resolve(message as Told)))
    this.child.send('tell')
    return Promise.race([told, this.#lost])
  }

  /** Asks until it is so. */
  async until(is: (told: Told) => boolean, everyMs = 100): Promise<Told> {
    for (;;) {
      const told = await this.ask()
      if (is(told)) return told
      await sleep(everyMs)
    }
  }

  /** Resident size in bytes. */
  get resident(): number {
    return this.#status('VmRSS')
  }

  /** Highest resident size since its start, in bytes. */
  get peak(): number {
    return this.#status('VmHWM')
  }

  async stop(): Promise<void> {
    const ended = new Promise((resolve) => this.child.once('exit', resolve))
    this.child.send('stop')
    await ended
  }

  #status(name: string): number {
    const status = readFileSync(`/proc/${this.child.pid}/status`, 'utf8')
    return Number(new RegExp(`${name}:\\s*(\\d+)`).exec(status)?.[1]) * 1024
  }
}
