/** Workers under fire, in short: see chaos/main.ts. `SEED` gives a row of seeds again, `ROUNDS` makes it longer. */

import test from 'ava'
import { ROUNDS, SEED } from '../helpers/random.js'
import { again, SeedRun } from './chaos/seed-run.js'
import { World } from './chaos/world.js'

const SEEDS = Array.from({ length: 8 * ROUNDS }, (_, i) => SEED + i)

/** Of one seed, in milliseconds, under faults. */
const LASTS = 15_000

let world: World

test.before(async (t) => {
  t.timeout(300_000)
  world = await World.start()
})

test.after.always(async (t) => {
  t.timeout(120_000)
  await world?.close()
})

for (const seed of SEEDS) {
  test.serial(`seed ${seed}`, async (t) => {
    t.timeout(600_000)
    const lines: string[] = []
    const run = new SeedRun(world, { seed, lasts: LASTS, print: (line) => lines.push(line) })
    const { problems, faults, numTold, numRows } = await run.run()
    if (problems.length > 0) t.log(lines.join('\n'))
    t.deepEqual(problems, [], again({ seed, lasts: LASTS }))
    const numFaults = Object.values(faults).reduce((sum, times) => sum + times, 0)
    t.log(`${numFaults} faults, ${numTold} commits told, ${numRows} rows compared`)
  })
}
