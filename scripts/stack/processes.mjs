/** Processes that outlive the command which started them, known by process id and start time. */

import { spawn } from 'node:child_process'
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Problem, version } from '../lib/process.mjs'
import { HOST, LOGS, PIDS } from './settings.mjs'

const pidFile = (name) => join(PIDS, `${name}.json`)
export const logFile = (name) => join(LOGS, `${name}.log`)

/**
 * When a process was started: another one that has got its id later started at another time. Null for one that has ended,
 * also where nobody has asked for its exit code yet.
 */
function startTime(pid) {
  const [state, ...started] =
    version('ps', ['-o', 'stat=,lstart=', '-p', String(pid)])
      ?.trim()
      .split(/\s+/) ?? []
  return state === undefined || state.startsWith('Z') ? null : started.join(' ')
}

/** The process id of a part that runs, or null. */
export function runningPid(name) {
  if (!existsSync(pidFile(name))) return null
  const { pid, started } = JSON.parse(readFileSync(pidFile(name), 'utf8'))
  return started !== null && startTime(pid) === started ? pid : null
}

/** Remembers a process as the part's. */
export function record(name, pid) {
  mkdirSync(PIDS, { recursive: true })
  writeFileSync(pidFile(name), JSON.stringify({ pid, started: startTime(pid) }))
}

/** Starts a program in the background, its output in the part's log. */
export function startDetached(name, program, args, options = {}) {
  mkdirSync(LOGS, { recursive: true })
  const log = openSync(logFile(name), 'w')
  const child = spawn(program, args, { ...options, detached: true, stdio: ['ignore', log, log] })
  closeSync(log)
  child.once('error', () => {})
  child.unref()
  if (child.pid === undefined) throw new Problem(`${name}: ${program} cannot be run`)
  record(name, child.pid)
}

const tail = (name) =>
  existsSync(logFile(name)) ? readFileSync(logFile(name), 'utf8').trimEnd().split('\n').slice(-25).join('\n') : ''

/** Waits until the part answers; says what it printed where it ends or does not answer. */
export async function untilReady(name, answers, seconds = 180) {
  const until = Date.now() + seconds * 1000
  while (!(await answers().catch(() => false))) {
    if (runningPid(name) === null) throw new Problem(`${name} ended:\n${tail(name)}`)
    if (Date.now() > until) throw new Problem(`${name} does not answer after ${seconds} s:\n${tail(name)}`)
    await sleep(200)
  }
}

/** Ends a part's process and waits for its end. `signal` KILL leaves it no time. */
export async function stop(name, signal = 'SIGTERM', seconds = 40) {
  const pid = runningPid(name)
  if (pid !== null) {
    process.kill(pid, signal)
    const until = Date.now() + seconds * 1000
    while (runningPid(name) !== null) {
      if (Date.now() > until) process.kill(pid, 'SIGKILL')
      await sleep(100)
    }
  }
  rmSync(pidFile(name), { force: true })
  return pid !== null
}

/** Resident memory in MiB. */
export function residentMiB(pid) {
  return Math.round(Number(version('ps', ['-o', 'rss=', '-p', String(pid)]) ?? 0) / 1024)
}

export const portOpen = (port) =>
  new Promise((resolve) => {
    const socket = connect({ host: HOST, port })
    socket.once('error', () => resolve(false))
    socket.once('connect', () => resolve(true)).once('connect', () => socket.destroy())
  })

export const answersHttp = async (url) => (await fetch(url, { signal: AbortSignal.timeout(5000) })).ok
