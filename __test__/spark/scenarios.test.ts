import test from 'ava'
import { microBatches, readOnly, replayed } from '../../benchmark/spark/scenarios.js'
import type { FixtureMessage } from '../../src/demo/fixtures.js'

test('a quiet second ends a micro-batch', (t) => {
  const messages = [0, 900, 1900, 2901, 2901, 2000].map((timestamp) => ({ timestamp }) as FixtureMessage)
  t.deepEqual(microBatches(messages), [0, 0, 0, 1, 1, 1])
  t.deepEqual(microBatches([]), [])
})

test('every captured topic is in it, under names of their own', (t) => {
  const all = [...replayed(), ...readOnly()]
  t.is(new Set(all.map(({ id }) => id)).size, all.length)
  const sets = new Set(all.map(({ set }) => set))
  t.is(sets.size, 19)
  for (const { id, messages, key } of all) {
    t.true(messages.length > 0, id)
    t.true(key.length > 0, id)
  }
})

test('the offsets of a changed topic still grow', (t) => {
  for (const { id, messages } of replayed()) {
    const offsets = messages.map(({ offset }) => offset)
    t.deepEqual(
      offsets,
      [...new Set(offsets)].sort((a, b) => a - b),
      id,
    )
  }
})
