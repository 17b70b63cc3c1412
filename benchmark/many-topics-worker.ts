/** Writes the tables of many topics, and tells of its commits: the process of `startWorker`. */

import { streamToDelta } from '../src/index.js'
import type { Commit, Told, WorkerStart } from './many-topics.js'
import { answer, workOf } from './support/worker.js'

const { options, topics } = workOf<WorkerStart>() as WorkerStart

const committed = new Set<string>()
let firstCommit: number | null = null
let allCommitted: number | null = null
let [commits, rows] = [0, 0]
const done: Commit[] = []

const query = await streamToDelta(options)
query.on('progress', ({ topic, numInputRows, offsets, timestamp, durationMs }) => {
  // The first ones are told when all tables run.
  const at = Date.parse(timestamp) + durationMs.merge
  commits++
  rows += numInputRows
  firstCommit = Math.min(firstCommit ?? at, at)
  committed.add(topic)
  if (committed.size === topics) allCommitted ??= at
  done.push([topic, Number(offsets['0']?.start), numInputRows, at])
})

const tell = (): Told => {
  const { user, system } = process.cpuUsage()
  const retrying = Object.entries(query.status.tables).filter(([, { waitingFor }]) => waitingFor !== null)
  return {
    now: Date.now(),
    firstCommit,
    allCommitted,
    commits,
    rows,
    resident: process.memoryUsage.rss(),
    cpu: (user + system) / 1e6,
    done: done.splice(0),
    retrying: retrying.map(([topic]) => topic),
  }
}
answer(tell, () => query.stop())
