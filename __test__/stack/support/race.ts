/** Processes that commit to one table at the same time: no commit is lost. */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { tableFromArrays } from 'apache-arrow'
import type { ExecutionContext } from 'ava'
import { DeltaTable } from '../../../src/index.js'
import { readRows } from '../../helpers/read.js'

/** A program that commits some rows: arguments are URI, options, first key and number of commits. */
export const WRITER = fileURLToPath(new URL('race-writer.mjs', import.meta.url))
const WRITERS = [1000, 2000, 3000]
const COMMITS = 25

export async function race(t: ExecutionContext, path: string, storageOptions: Record<string, string>): Promise<void> {
  t.timeout(300_000)
  const table = await DeltaTable.open({ path, storageOptions, primaryKey: ['id'] })
  await table.merge(tableFromArrays({ id: BigInt64Array.of(0n), by: ['first'] }))
  const children = WRITERS.map((first) => {
    const args = ['--import=tsx', WRITER, path, JSON.stringify(storageOptions), String(first), String(COMMITS)]
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
  const ids = await readRows(path, { columns: ['id'], storageOptions })
  t.is(new Set(ids.map(({ id }) => id)).size, 1 + WRITERS.length * COMMITS)
  t.log(`${info.version} commits of ${WRITERS.length} processes`)
}
