/** A child process that answers each line of JSON with one. */

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'

export class JsonChild {
  readonly #child: ChildProcess
  readonly #waiting: { resolve: (line: string) => void; reject: (error: Error) => void }[] = []
  #errors = ''

  constructor(program: string, args: readonly string[]) {
    this.#child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'] })
    this.#child.stderr?.on('data', (text) => {
      this.#errors = (this.#errors + text).slice(-4000)
    })
    const lines = createInterface({ input: this.#child.stdout as NodeJS.ReadableStream })
    lines.on('line', (line) => this.#waiting.shift()?.resolve(line))
    this.#child.on('exit', (code) => {
      const error = new Error(`${args.join(' ')} ended with ${code}: ${this.#errors}`)
      for (const { reject } of this.#waiting.splice(0)) reject(error)
    })
  }

  /** The next line that it writes. */
  async line<T>(): Promise<T> {
    const line = await new Promise<string>((resolve, reject) => this.#waiting.push({ resolve, reject }))
    return JSON.parse(line) as T
  }

  /** Its answer to a line. */
  ask<T>(question: object): Promise<T> {
    const answer = this.line<T>()
    this.#child.stdin?.write(`${JSON.stringify(question)}\n`)
    return answer
  }

  async end(): Promise<void> {
    if (this.#child.exitCode !== null) return
    this.#child.stdin?.end()
    const ended = once(this.#child, 'exit')
    this.#child.kill()
    await ended
  }
}
