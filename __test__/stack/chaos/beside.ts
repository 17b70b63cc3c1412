/** What works on tables beside their workers: commands of the program, and programs of others. */

import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { linkSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { oraclePython } from '../../integration/support/oracle.js'

const place = (path: string) => fileURLToPath(new URL(path, import.meta.url))
const CLI = place('../../../src/cli/main.ts')
const OTHER_WRITER = place('../other-writer.mjs')
const DELTA_RS = place('delta_rs.py')

export interface Ran {
  code: number | null
  output: string
}

/** Runs a program to its end; its standard input ends after `ms`. */
async function run(program: string, args: readonly string[], ms = 0): Promise<Ran> {
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'] })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text
    })
  }
  child.stdin.on('error', () => {})
  const timer = setTimeout(() => child.stdin.end(), ms)
  const [code] = await once(child, 'close')
  clearTimeout(timer)
  return { code, output: output.trim() }
}

/** A command of the program on one table. */
export function command(name: string, uri: string, storage: Record<string, string>, flags: string[]): Promise<Ran> {
  const options = Object.entries(storage).flatMap(([key, value]) => ['--storage-option', `${key}=${value}`])
  return run(process.execPath, ['--import', 'tsx', CLI, name, uri, '--json', ...flags, ...options])
}

/** The library in a process that commits positions of its own to tables and compacts them. */
export function otherWriter(uris: readonly string[], storage: Record<string, string>, ms: number): Promise<Ran> {
  // One may still be at work when the next one begins.
  const appId = `other-writer-${randomUUID()}`
  return run(process.execPath, ['--import', 'tsx', OTHER_WRITER, JSON.stringify(storage), appId, ...uris], ms)
}

/** OPTIMIZE of delta-rs. */
export function deltaRs(uri: string, storage: Record<string, string>): Promise<Ran> {
  return run(oraclePython() as string, [DELTA_RS, uri, JSON.stringify(storage)])
}

/**
 * The next entry of a log on the local disk, with nothing in it but who wrote it. Returns its version, or null where another
 * one took it.
 */
export function emptyCommit(folder: string): number | null {
  const log = join(folder, '_delta_log')
  const versions = readdirSync(log).filter((name) => /^\d{20}\.json$/.test(name))
  const version = versions.length
  const name = `${String(version).padStart(20, '0')}.json`
  const written = join(log, `.${name}.chaos`)
  const info = { timestamp: Date.now(), operation: 'MANUAL UPDATE', engineInfo: 'chaos' }
  writeFileSync(written, `${JSON.stringify({ commitInfo: info })}\n`)
  try {
    linkSync(written, join(log, name))
    return version
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return null
    throw error
  } finally {
    rmSync(written)
  }
}
