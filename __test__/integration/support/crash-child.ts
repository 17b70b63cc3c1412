/**
 * A worker that kills itself between two steps: `crash-child.ts POINT TIMES OPTIONS`, at the given arrival at the point. What
 * is between the steps is put around the systems of the query from outside; an arrival is never made out of `src`.
 */

import { silentLogger } from '../../../src/log.js'
import { resolveOptions } from '../../../src/options/resolve.js'
import { realSystems } from '../../../src/stream/connect.js'
import { startQuery } from '../../../src/stream/start.js'

const [, , wanted, times, given = '{}'] = process.argv
let arrivals = 0

function arriveAt(point: string): void {
  if (point !== wanted || ++arrivals < Number(times)) return
  console.log(`ends at: ${point}`)
  process.kill(process.pid, 'SIGKILL')
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)
}

type Points = Record<string, { before?: string; after?: string }>

/** The same object; before and after calls of the methods that are named, a point is arrived at. */
function around<T extends object>(target: T, points: Points): T {
  return new Proxy(target, {
    get(_, name) {
      const value: unknown = Reflect.get(target, name, target)
      if (typeof value !== 'function') return value
      const { before, after } = points[String(name)] ?? {}
      return (...args: unknown[]) => {
        if (before) arriveAt(before)
        const result: unknown = Reflect.apply(value, target, args)
        if (!after) return result
        return Promise.resolve(result).then((done) => {
          if (done !== null) arriveAt(after)
          return done
        })
      }
    },
    set: (_, name, value) => Reflect.set(target, name, value, target),
  })
}

const options = resolveOptions(JSON.parse(given))
const real = realSystems(options, silentLogger)
const systems: typeof real = {
  ...real,
  source: (...args) =>
    around(real.source(...args), { next: { after: 'consumed' }, committed: { after: 'group told' } }),
  decoder: (...args) => around(real.decoder(...args), { decode: { after: 'decoded' } }),
  async table(...args) {
    arriveAt('opening')
    const table = await real.table(...args)
    arriveAt('opened')
    return around(table, {
      merge: { after: 'committed' },
      compact: { after: 'compacted' },
      close: { before: 'closing', after: 'closed' },
    })
  },
}
const query = await startQuery({ options, systems, logger: silentLogger })
query.on('progress', ({ version }) => console.log(`committed ${version}`))
process.on('SIGTERM', () => void query.stop())
console.log('started')
await query.awaitTermination()
console.log('ended')
