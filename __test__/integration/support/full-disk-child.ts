/**
 * A query whose table is on a disk that gets full, and then has room again: `full-disk-child.ts FOLDER OPTIONS`. It fills the
 * rest of the disk after its first commit, prints what the query waits for, and makes room when it was told to by SIGUSR2.
 */

import { closeSync, openSync, rmSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { streamToDelta } from '../../../src/index.js'
import type { StreamOptions } from '../../../src/options/types.js'
import { readRows } from '../../helpers/read.js'

const [, , folder = '', options = '{}'] = process.argv
const filler = join(folder, 'filler')

function fill(): void {
  const file = openSync(filler, 'w')
  for (let size = 1 << 16; size >= 1; size >>= 1) {
    try {
      for (;;) writeSync(file, Buffer.alloc(size, 1))
    } catch {}
  }
  closeSync(file)
}

const query = await streamToDelta(JSON.parse(options) as StreamOptions, { logger: 'error' })
process.on('SIGUSR2', () => rmSync(filler))
const tables = () => Object.values(query.status.tables)
while (tables().some(({ lastCommit }) => lastCommit === null)) await sleep(20)
fill()
console.log('full')
while (tables().every(({ waitingFor, error }) => !waitingFor && !error)) await sleep(20)
console.log(`told ${JSON.stringify(tables())}`)
while (tables().some(({ lag }) => lag !== 0)) await sleep(20)
const rows = await readRows(join(folder, 'rows'), { orderBy: ['id'] })
console.log(`rows ${JSON.stringify(rows.map(({ id }) => id))}`)
await query.stop()
