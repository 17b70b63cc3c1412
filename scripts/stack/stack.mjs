/** The local stack: Kafka, registry, Connect with Debezium, PostgreSQL, MariaDB and object stores, without containers. */

import { mkdirSync, rmSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { elapsed, Problem, say } from '../lib/process.mjs'
import { PARTS } from './parts.mjs'
import { portOpen, runningPid, stop } from './processes.mjs'
import { DATA, FOLDER, LOGS } from './settings.mjs'

const ALL_PARTS = Object.keys(PARTS)

/** What `up` starts where nothing is named. */
const DEFAULT_PARTS = ALL_PARTS.filter((name) => !PARTS[name].onlyNamed)

const NEEDS = { connect: ['kafka', 'registry'], gcs: ['gcs-json'] }

function wanted(names) {
  for (const name of names) {
    if (!(name in PARTS)) throw new Problem(`there is no part ${name}: ${ALL_PARTS.join(', ')}`)
  }
  const all = new Set(names.flatMap((name) => [...(NEEDS[name] ?? []), name]))
  return ALL_PARTS.filter((name) => all.has(name))
}

/** Whether nobody listens on the port. On a busy machine a killed process may hold it a moment longer than its id. */
async function isFree(port) {
  for (let tries = 0; await portOpen(port); tries++) {
    if (tries === 20) return false
    await sleep(500)
  }
  return true
}

/** Starts what does not run yet, installing what is missing. Returns the parts that it started. */
export async function up(names = DEFAULT_PARTS) {
  mkdirSync(LOGS, { recursive: true })
  mkdirSync(DATA, { recursive: true })
  const started = []
  for (const name of wanted(names)) {
    if (runningPid(name) !== null) {
      await PARTS[name].mustFit?.()
      continue
    }
    if (!(await isFree(PARTS[name].port))) {
      throw new Problem(`${name}: port ${PARTS[name].port} is taken by another program; see scripts/stack/settings.mjs`)
    }
    const began = Date.now()
    try {
      await PARTS[name].start()
    } catch (error) {
      await stop(name)
      throw error
    }
    say(`${name}: ${PARTS[name].where} (${elapsed(began)})`)
    started.push(name)
  }
  return started
}

/** PostgreSQL ends at once and in order with SIGINT. */
const SIGNALS = { postgres: 'SIGINT' }

/** Ends the parts in the reverse order. Returns those that ran. */
export async function down(names = ALL_PARTS) {
  const stopped = []
  for (const name of ALL_PARTS.toReversed()) {
    if (names.includes(name) && (await stop(name, SIGNALS[name]))) stopped.push(name)
  }
  return stopped
}

/** Ends everything and throws the data away. */
export async function reset() {
  await down()
  rmSync(FOLDER, { recursive: true, force: true })
}
