/** Partitions are consumed in no fixed order: whichever comes first, the table must be the same. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { readFixtureTopic } from '../../src/demo/fixtures.js'
import { FIXTURES, tableTopics } from './support/captured-sets.js'
import { decodeAndMerge } from './support/decode-and-merge.js'
import { NO_ORACLE, Oracle, oraclePython } from './support/oracle.js'

const QUERY_NAME = 'order'
const SET = 'hard-env'
const ORDERS = ['012', '021', '102', '120', '201', '210']
const ONE_BATCH = Number.MAX_SAFE_INTEGER
const dir = join(FIXTURES, SET)
const folder = mkdtempSync(join(tmpdir(), 'kafka2delta-order-'))
const python = oraclePython()
const oracle = python ? new Oracle(python) : null
const run = oracle ? test.serial : test.serial.skip
const reason = oracle ? '' : ` (${NO_ORACLE})`

test.after.always(async () => {
  await oracle?.close()
  rmSync(folder, { recursive: true, force: true })
})

for (const topic of tableTopics(SET)) {
  for (const order of ORDERS) {
    for (const batchSize of [ONE_BATCH, 1]) {
      // A key update leaves values out and may move the row to another partition. Its old row is known within a batch;
      // where the new key's partition was committed first, there is nothing that the values could come from yet.
      if (topic.endsWith('.pkt') && batchSize === 1) continue
      const size = batchSize === 1 ? 'a commit for every message' : 'one commit'
      run(`${topic}: partitions in the order ${order}, ${size}${reason}`, async (t) => {
        const messages = readFixtureTopic(dir, topic).sort(
          (a, b) => order.indexOf(String(a.partition)) - order.indexOf(String(b.partition)) || a.offset - b.offset,
        )
        const path = join(folder, `${topic}-${order}-${batchSize}`)
        await decodeAndMerge({ dir, topic, messages, batchSize, queryName: QUERY_NAME, table: { path } })
        const job = { set: dir, topic, table: path, query_name: QUERY_NAME, source_rows: true }
        t.deepEqual(await (oracle as Oracle).differences(job), [])
      })
    }
  }
}
