/** Each table runs as soon as it is ready; and what refuses a start does so, whatever runs by then. */

import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'
import { KafkaToDeltaError } from '../../src/errors.js'
import type { FakeTable } from './fakes.js'
import { startFake } from './fakes.js'

/** Resolved by its own function, in time. */
function gate() {
  let open: () => void = () => {}
  const opened = new Promise<void>((resolve) => {
    open = resolve
  })
  return { open, opened }
}

const topicsOf = (count: number) => Object.fromEntries(Array.from({ length: count }, (_, i) => [`t${i}`, [[`k=${i}`]]]))

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await sleep(2)
}

test('a table whose opening hangs holds up none of the others, and runs when it is open', async (t) => {
  const { open, opened } = gate()
  const { query, tables, source } = await startFake({
    topics: topicsOf(20),
    beforeOpen: (topic) => (topic === 't7' ? opened : undefined),
    patienceMs: 1,
  })
  const others = [...tables].filter(([topic]) => topic !== 't7').map(([, table]) => table)
  await until(() => others.every(({ merges }) => merges.length === 1))
  for (const topic of tables.keys()) source.produce(topic, 0, 'k=again')
  await until(() => others.every(({ merges }) => merges.length === 2))
  t.like(query.status.tables.t7, { state: 'starting', lag: null, error: null })
  t.deepEqual(Object.keys(query.status.tables), [...tables.keys()])
  let isThere = false
  const all = query.processAllAvailable().then(() => {
    isThere = true
  })
  await sleep(50)
  t.false(isThere)
  t.is(tables.get('t7')?.merges.length, 0)
  open()
  await all
  t.deepEqual(tables.get('t7')?.storage.applied, ['k=7', 'k=again'])
  await query.stop()
  t.true(await query.awaitTermination())
})

test('tables are opened in the order of what their topics hold, the most first', async (t) => {
  const order: string[] = []
  const topics = { few: [['k=1']], none: [[]], many: [['k=1', 'k=2'], ['k=3']], some: [['k=1', 'k=2']] }
  const { query } = await startFake({ topics, beforeOpen: (topic) => void order.push(topic) })
  t.deepEqual(order, ['many', 'some', 'few', 'none'])
  // As they are named.
  t.deepEqual(Object.keys(query.status.tables), ['few', 'none', 'many', 'some'])
  await query.stop()
})

test('what happens before the start is over is told afterwards', async (t) => {
  const { open, opened } = gate()
  const starting = startFake({
    topics: topicsOf(2),
    beforeOpen: (topic) => (topic === 't1' ? opened : undefined),
    prepare: ({ tables }) => {
      ;(tables.get('t0') as FakeTable).afterCommit = open
    },
  })
  const { query } = await starting
  const told: string[] = []
  query.on('progress', ({ topic }) => told.push(topic))
  await until(() => told.length === 2)
  t.deepEqual(told.toSorted(), ['t0', 't1'])
  await query.stop()
})

test('a wrong configuration refuses the start, though tables run and another one hangs', async (t) => {
  const { opened } = gate()
  const running = gate()
  let made: Map<string, FakeTable> = new Map()
  const starting = startFake({
    topics: topicsOf(4),
    beforeOpen: async (topic) => {
      if (topic === 't1') await opened
      if (topic !== 't2') return
      await running.opened
      throw new KafkaToDeltaError('EXPRESSION_INVALID', 'no such function')
    },
    prepare: ({ tables }) => {
      made = tables
      ;(tables.get('t0') as FakeTable).afterCommit = running.open
    },
  })
  await t.throwsAsync(starting, { code: 'EXPRESSION_INVALID' })
  t.is(made.get('t0')?.merges.length, 1)
  t.true(made.get('t0')?.closed && made.get('t3')?.closed)
})

test('a table that turns out to be wrong when the others run fails alone', async (t) => {
  const { open, opened } = gate()
  const { query, tables, source } = await startFake({
    topics: topicsOf(2),
    beforeOpen: async (topic) => {
      if (topic !== 't1') return
      await opened
      throw new KafkaToDeltaError('EXPRESSION_INVALID', 'no such function')
    },
    patienceMs: 1,
  })
  const failed: string[] = []
  query.on('tableFailed', ({ topic, error }) => failed.push(`${topic} ${error.code}`))
  open()
  await until(() => failed.length > 0)
  t.deepEqual(failed, ['t1 EXPRESSION_INVALID'])
  t.like(query.status.tables.t1, { state: 'ended', error: { code: 'EXPRESSION_INVALID' } })
  source.produce('t0', 0, 'k=again')
  await until(() => tables.get('t0')?.merges.length === 2)
  t.true(query.isActive)
  await query.stop()
})

test('a store that is down for one table is waited for while the others run, and told', async (t) => {
  let isDown = true
  let failures = 0
  const { query, tables } = await startFake({
    topics: topicsOf(2),
    beforeOpen: (topic) => {
      if (topic !== 't1' || !isDown) return
      failures++
      throw new KafkaToDeltaError('STORAGE', 'down')
    },
    patienceMs: 1,
    // The start itself would give up after these.
    policies: { retries: 30, firstDelay: 5, maxDelay: 5 },
  })
  await until(() => failures > 40)
  t.like(query.status.tables.t1?.waitingFor, { code: 'STORAGE', message: 'down' })
  t.is(query.exception, null)
  isDown = false
  await query.processAllAvailable()
  t.is(tables.get('t1')?.merges.length, 1)
  await query.stop()
})

test('a start gives up where no table can be opened', async (t) => {
  const down = () => {
    throw new KafkaToDeltaError('STORAGE', 'down')
  }
  await t.throwsAsync(startFake({ topics: topicsOf(2), beforeOpen: down, patienceMs: 1 }), { code: 'STORAGE' })
  const damaged = () => {
    throw new KafkaToDeltaError('TABLE_CORRUPT', 'no log')
  }
  await t.throwsAsync(startFake({ topics: topicsOf(2), beforeOpen: damaged, patienceMs: 1 }), { code: 'TABLE_CORRUPT' })
})

test('a stop ends a query of which a table is still being opened', async (t) => {
  const { open, opened } = gate()
  const { query, tables } = await startFake({
    topics: topicsOf(3),
    beforeOpen: (topic) => (topic === 't1' ? opened : undefined),
    patienceMs: 1,
  })
  await query.stop()
  t.true(await query.awaitTermination())
  t.true(tables.get('t0')?.closed && tables.get('t2')?.closed)
  // What comes to be open later is closed, too.
  open()
  await until(() => tables.get('t1')?.closed === true)
})

test('what the tables share is asked for before they keep the process busy, and may refuse the start', async (t) => {
  let made: Map<string, FakeTable> = new Map()
  const merges: number[] = []
  const starting = startFake({
    topics: topicsOf(2),
    prepare: ({ tables }) => {
      made = tables
    },
    check: async () => {
      merges.push([...made.values()].reduce((sum, table) => sum + table.merges.length, 0))
      await until(() => [...made.values()].every((table) => table.merges.length === 1))
      throw new KafkaToDeltaError('REGISTRY_UNREACHABLE', 'down')
    },
  })
  await t.throwsAsync(starting, { code: 'REGISTRY_UNREACHABLE' })
  t.deepEqual(merges, [0])
})
