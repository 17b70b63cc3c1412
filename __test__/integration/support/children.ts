/** Child processes that run TypeScript. */

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

export interface Child {
  process: ChildProcess
  /** All that it printed so far, on both streams. */
  output: () => string
  /** Resolves when a line with this text was printed, or the child has ended. */
  printed: (text: string) => Promise<void>
  exit: Promise<{ code: number | null; signal: NodeJS.Signals | null }>
}

/** Starts a file of this folder. `within`: a program, and its arguments before those of the child, that becomes the child. */
export function startChild(file: string, args: string[], within: readonly string[] = []): Child {
  const path = fileURLToPath(new URL(file, import.meta.url))
  // What a child prints is compared as text. CI alone is reason enough for picocolors to colour a pipe.
  const { FORCE_COLOR: _, ...shown } = process.env
  const env = { ...shown, NO_COLOR: '1' }
  const command = [...within, process.execPath, '--import', 'tsx', path, ...args]
  const child = spawn(command[0] as string, command.slice(1), { env, stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  const waiting = new Set<() => void>()
  const heard = () => {
    for (const look of waiting) look()
  }
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text
      heard()
    })
  }
  let ended = false
  const exit = once(child, 'close').then(([code, signal]) => {
    ended = true
    heard()
    return { code, signal } as Awaited<Child['exit']>
  })
  const printed = (text: string) =>
    new Promise<void>((resolve) => {
      const look = () => {
        if (!ended && !output.includes(text)) return
        waiting.delete(look)
        resolve()
      }
      waiting.add(look)
      look()
    })
  return { process: child, output: () => output, printed, exit }
}
