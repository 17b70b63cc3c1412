/**
 * A second process that commits to tables which a stream keeps: compaction of all small files, and commits of its own
 * position. `node other-writer.mjs OPTIONS APP_ID URI...` runs until its standard input ends, and prints its commits as JSON.
 * `APP_ID` names the position: two of these beside each other would fence one another by the same one.
 */

import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { DeltaTable } from '../../src/index.ts'

const [options, appId, ...uris] = process.argv.slice(2)
const storageOptions = JSON.parse(options)
let isOver = false
once(process.stdin.resume(), 'end').then(() => {
  isOver = true
})

const done = Object.fromEntries(uris.map((uri) => [uri, { positions: 0, compactions: 0 }]))
const tables = new Map()
while (!isOver) {
  for (const uri of uris) {
    const table = tables.get(uri) ?? (await DeltaTable.open({ path: uri, storageOptions }))
    tables.set(uri, table)
    // The table is made by its stream.
    if (!(await table.refresh()).exists) continue
    const { positions } = done[uri]
    const expected = positions > 0 ? { expected: BigInt(positions) } : {}
    await table.merge(null, { offsets: [{ appId, ...expected, last: BigInt(positions + 1) }] })
    done[uri].positions++
    // Null where the stream changed the same files meanwhile.
    if (await table.compact({ full: true })) done[uri].compactions++
  }
  await sleep(500)
}
for (const table of tables.values()) await table.close()
process.stdout.write(`${JSON.stringify(done)}\n`)
