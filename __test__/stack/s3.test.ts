/** Two processes that commit to one table on S3 at the same time: no commit is lost. */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { tableFromArrays, tableFromIPC } from 'apache-arrow'
import test from 'ava'
import { ENDPOINTS } from '../../scripts/stack/settings.mjs'
import { up } from '../../scripts/stack/stack.mjs'
import { DeltaTable, readTable } from '../../src/index.js'
import { S3_OPTIONS } from './support/replica.js'

const WRITER = fileURLToPath(new URL('s3-writer.mjs', import.meta.url))
const WRITERS = [1000, 2000, 3000]
const COMMITS = 25

test('three writers on one table', async (t) => {
  t.timeout(300_000)
  await up(['s3'])
  const path = `s3://${ENDPOINTS.S3_BUCKET}/race_${process.pid}_${Date.now()}`
  const table = await DeltaTable.open({ path, storageOptions: S3_OPTIONS, primaryKey: ['id'] })
  await table.merge(tableFromArrays({ id: BigInt64Array.of(0n), by: ['first'] }))
  const children = WRITERS.map((first) => {
    const args = ['--import=tsx', WRITER, path, JSON.stringify(S3_OPTIONS), String(first), String(COMMITS)]
    return spawn(process.execPath, args, { stdio: 'inherit' })
  })
  const codes = await Promise.all(children.map(async (child) => (await once(child, 'exit'))[0]))
  t.deepEqual(codes, [0, 0, 0])
  const info = await table.refresh()
  t.is(info.version, WRITERS.length * COMMITS)
  t.is(info.numRows, 1 + WRITERS.length * COMMITS)
  for (const first of WRITERS) {
    t.is(info.offsets.find(({ appId }) => appId === `writer-${first}`)?.version, BigInt(COMMITS - 1))
  }
  await table.close()
  const ids = tableFromIPC(await readTable(path, { sql: 'SELECT id FROM t', storageOptions: S3_OPTIONS })).toArray()
  t.is(new Set(ids.map(({ id }) => id)).size, 1 + WRITERS.length * COMMITS)
  t.log(`${info.version} commits of ${WRITERS.length} processes`)
})
