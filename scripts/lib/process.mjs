/** Running programs, and saying what goes on while they take long. */

import { spawn, spawnSync } from 'node:child_process'

const isTerminal = Boolean(process.stdout.isTTY) && !process.env.CI

/** A script's end that needs no stack: what is wrong and what to do. */
export class Problem extends Error {}

/** Runs a script's main function; a Problem is printed as it is. */
export async function main(run) {
  try {
    await run()
  } catch (error) {
    if (!(error instanceof Problem)) throw error
    console.error(`\n${error.message}`)
    process.exitCode = 1
  }
}

export function elapsed(sinceMs) {
  const seconds = Math.round((Date.now() - sinceMs) / 1000)
  return seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${String(seconds % 60).padStart(2, '0')} s`
}

export function say(text) {
  console.log(`▸ ${text}`)
}

/** The first line that a program prints with these arguments, or null where it cannot be run. */
export function version(program, args = ['--version']) {
  const result = spawnSync(program, args, { encoding: 'utf8', shell: needsShell(program) })
  if (result.error || result.status !== 0) return null
  return `${result.stdout}${result.stderr}`.trim().split('\n')[0] ?? ''
}

/** npm and npx are .cmd files on Windows, which only a shell runs. */
export const needsShell = (program) => process.platform === 'win32' && /^(npm|npx|mvn)$/.test(program)

/** One line that says how a long step stands: rewritten on a terminal, otherwise printed now and then. */
export class StatusLine {
  #label
  #began = Date.now()
  #detail = ''
  #timer
  #printed = ''

  constructor(label, everyMs = 20_000) {
    this.#label = label
    this.#timer = setInterval(() => this.#show(), isTerminal ? 500 : everyMs)
    this.#timer.unref()
  }

  update(detail) {
    this.#detail = detail
  }

  #show() {
    const line = `  ${this.#label}: ${elapsed(this.#began)}${this.#detail ? `, ${this.#detail}` : ''}`
    if (isTerminal) process.stdout.write(`\r\x1b[2K${line.slice(0, (process.stdout.columns || 100) - 1)}`)
    else if (line !== this.#printed) console.log(line)
    this.#printed = line
  }

  /** Ends the line and returns the time that passed. */
  end() {
    clearInterval(this.#timer)
    if (isTerminal && this.#printed) process.stdout.write('\r\x1b[2K')
    return elapsed(this.#began)
  }
}

/**
 * Runs a program to its end and hands each piece of its output to `onOutput`; without it the output goes through.
 * Resolves to the exit code (128 + n after signal n) and the last 200 kB of output.
 */
export function run(program, args, { cwd, env, onOutput, input, uid, gid } = {}) {
  return new Promise((resolve, reject) => {
    const stdio = onOutput ? [input ?? 'ignore', 'pipe', 'pipe'] : 'inherit'
    const child = spawn(program, args, { cwd, env: env ?? process.env, uid, gid, stdio, shell: needsShell(program) })
    let output = ''
    for (const stream of onOutput ? [child.stdout, child.stderr] : []) {
      stream.setEncoding('utf8')
      stream.on('data', (text) => {
        output = (output + text).slice(-200_000)
        onOutput(text, stream === child.stderr ? 'stderr' : 'stdout')
      })
    }
    const forward = (signal) => child.kill(signal)
    process.once('SIGINT', forward).once('SIGTERM', forward)
    child.once('error', (error) => reject(new Problem(`${program} cannot be run: ${error.message}`)))
    child.once('close', (code, signal) => {
      process.off('SIGINT', forward).off('SIGTERM', forward)
      resolve({ code: code ?? (signal ? 128 : 1), output })
    })
  })
}

/** Runs a program quietly; that it fails is a Problem with the end of its output. */
export async function must(program, args, options = {}) {
  const { code, output } = await run(program, args, { onOutput: () => {}, ...options })
  if (code !== 0) throw new Problem(`${program} ended with ${code}:\n${output.trim().slice(-2000)}`)
}

/** Splits output into lines across pieces. */
export function lineReader(onLine) {
  let rest = ''
  return (text) => {
    const lines = (rest + text).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) onLine(line.replace(/\r$/, ''))
  }
}
