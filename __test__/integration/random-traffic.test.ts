/**
 * Topics that nobody has seen, through the whole path but Kafka: random tables, types, sources, schema versions and changes,
 * in random micro-batches with restarts, compared with what the table is at the source. `SEED=… ROUNDS=1` does one of them
 * again, ROUNDS says how many, and `KEEP=folder` keeps messages, table and log.
 */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { generator, SEED } from '../helpers/random.js'
import { NO_ORACLE, Oracle, oraclePython } from './support/oracle.js'
import { randomOptions, replayRandom } from './support/random-replay.js'
import { RandomTopic } from './support/random-topic.js'

const TOPICS = Number(process.env.ROUNDS ?? 120)
/** Topics of one test. */
const GROUP = 20
/** Topics at once: while the oracle checks one, others are written. */
const SIDE_BY_SIDE = 3
/** One topic of so many is read with every reader that there is. */
const ALL_READERS = 8

const keep = process.env.KEEP
const folder = keep ?? mkdtempSync(join(tmpdir(), 'kafka2delta-random-'))
const python = oraclePython()
const oracle = python ? new Oracle(python) : null
const run = oracle ? test.serial : test.serial.skip
const reason = oracle ? '' : ` (${NO_ORACLE})`

test.after.always(async () => {
  await oracle?.close()
  if (keep === undefined) rmSync(folder, { recursive: true, force: true })
})

async function differences(seed: number): Promise<string[]> {
  const random = generator(seed)
  const topic = new RandomTopic(`random.t${seed}`, random)
  if (topic.messages.length === 0) return []
  const options = randomOptions(topic, random)
  const what = () => [`SEED=${seed} ROUNDS=1`, JSON.stringify({ ...topic.description, ...options })]
  try {
    const job = await replayRandom(folder, topic, options, random)
    if (seed % ALL_READERS !== 0) job.readers = ['deltalake']
    const found = await (oracle as Oracle).differences(job)
    if (keep === undefined) rmSync(join(folder, topic.topic), { recursive: true, force: true })
    return found.length === 0 ? [] : [...what(), ...found]
  } catch (error) {
    return [...what(), (error as Error).stack ?? String(error)]
  }
}

for (let from = 0; from < TOPICS; from += GROUP) {
  const count = Math.min(GROUP, TOPICS - from)
  run(`${count} random topics, SEED=${SEED + from}${reason}`, async (t) => {
    const all: string[] = []
    let next = SEED + from
    const work = async () => {
      while (next < SEED + from + count) all.push(...(await differences(next++)))
    }
    await Promise.all(Array.from({ length: SIDE_BY_SIDE }, work))
    t.deepEqual(all, [])
  })
}
