/** A stream in a process of its own (stream.mjs), with what {@link Replica} asks of a query. */

import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { StreamOptions } from '../../../src/index.js'
import type { Stream } from './replica.js'

const SCRIPT = fileURLToPath(new URL('../stream.mjs', import.meta.url))

export class StreamProcess implements Stream {
  exception: Error | null = null
  readonly #ended: Promise<unknown>

  private constructor(private readonly child: ChildProcess) {
    this.#ended = once(child, 'exit').then(([code, signal]) => {
      if (code !== 0) this.exception = new Error(`the stream ended with ${code ?? signal}`)
    })
  }

  static async start(options: StreamOptions): Promise<StreamProcess> {
    const child = fork(SCRIPT, [JSON.stringify(options)], { execArgv: ['--import=tsx'] })
    const stream = new StreamProcess(child)
    await stream.#said('started')
    return stream
  }

  async #said(message: string): Promise<void> {
    const answered = once(this.child, 'message').then(() => true)
    if (await Promise.race([answered, this.#ended.then(() => false)])) return
    throw this.exception ?? new Error(`the stream ended before it said ${message}`)
  }

  async processAllAvailable(): Promise<void> {
    this.child.send('through')
    await this.#said('through')
  }

  async stop(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return
    this.child.send('stop')
    await this.#ended
  }

  /** As `kill -9` does. */
  async kill(): Promise<void> {
    this.child.kill('SIGKILL')
    await this.#ended
  }
}
