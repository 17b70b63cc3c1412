/**
 * Topics that nobody has seen, through the whole path but Kafka: random tables, types, schema versions and changes, in
 * random batches with restarts, compared with the oracle's replay. `SEED=… SEQUENCES=1` does one of them again, and
 * `KEEP=folder` keeps its messages, table and log.
 */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { generator, SEED } from '../helpers/random.js'
import { NO_ORACLE, Oracle, oraclePython } from './support/oracle.js'
import { randomOptions, replayRandom } from './support/random-replay.js'
import { RandomTopic } from './support/random-topic.js'

const SEQUENCES = Number(process.env.SEQUENCES ?? 70)
/** Topics of one test. */
const GROUP = 10

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
  try {
    const found = await (oracle as Oracle).differences(await replayRandom(folder, topic, options, random))
    if (keep === undefined) rmSync(join(folder, topic.topic), { recursive: true, force: true })
    if (found.length === 0) return []
    const { shape, database, added, partitions, keyless, rehashes } = topic
    const what = { shape, database, added, partitions, keyless, rehashes, ...options }
    return [`SEED=${seed} SEQUENCES=1`, JSON.stringify(what), ...found]
  } catch (error) {
    return [`SEED=${seed} SEQUENCES=1`, JSON.stringify(options), (error as Error).stack ?? String(error)]
  }
}

for (let from = 0; from < SEQUENCES; from += GROUP) {
  const count = Math.min(GROUP, SEQUENCES - from)
  run(`${count} random topics, SEED=${SEED + from}${reason}`, async (t) => {
    const all: string[] = []
    for (let i = 0; i < count; i++) all.push(...(await differences(SEED + from + i)))
    t.deepEqual(all, [])
  })
}
