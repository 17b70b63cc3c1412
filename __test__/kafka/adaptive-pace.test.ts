import test from 'ava'
import { AdaptivePace } from '../../src/kafka/adaptive-pace.js'

test('the pause grows with the tables that change, and shrinks as they fall quiet', (t) => {
  let now = 0
  const pace = new AdaptivePace(() => now)
  const tables = Array.from({ length: 40 }, () => ({}))
  t.is(pace.pauseMs, 150)
  const pauses = tables.map((table) => {
    pace.noteBatch(table)
    pace.noteBatch(table)
    return pace.pauseMs
  })
  t.deepEqual(pauses.slice(0, 8), [150, 300, 450, 600, 750, 900, 1000, 1000])
  t.is(pauses.at(-1), 1000)
  now = 1_999
  for (const table of tables.slice(0, 3)) pace.noteBatch(table)
  t.is(pace.pauseMs, 1000)
  now = 2_000
  t.is(pace.pauseMs, 450)
  now = 4_000
  t.is(pace.pauseMs, 150)
})
