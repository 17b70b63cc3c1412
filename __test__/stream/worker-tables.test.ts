/** Tables that come to a worker and go to others, on stand-ins for Kafka and the addon. */

import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'
import { KafkaToDeltaError } from '../../src/errors.js'
import type { TopicMoves } from '../../src/kafka/sharing.js'
import { eventually } from '../kafka/support.js'
import { type FakeStorage, type FakeTable, startFake, type World } from './fakes.js'

const startWorker = ({ options, ...world }: World) =>
  startFake({ ...world, options: { ...options, workers: 'many' } as never })

test('tables that go are closed, those that come are opened and go on after what they hold', async (t) => {
  const { query, source, tables, storages } = await startWorker({ topics: { a: [['k=1']], b: [['k=1']] } })
  const moves: TopicMoves[] = []
  query.on('tablesMoved', (moved) => moves.push(moved))
  await query.processAllAvailable()
  await source.assign('a')
  const b = tables.get('b') as FakeTable
  await eventually(() => b.closed && Object.keys(query.status.tables).length === 1)
  t.is(query.status.numTablesElsewhere, 1)
  // Another worker goes on with it.
  storages.get('b')?.offsets.set('q:b:0', 1n)
  source.produce('b', 0, 'k=2', 'k=3')
  source.produce('a', 0, 'k=2')
  await query.processAllAvailable()
  t.is(storages.get('a')?.rows.get('k'), '2')
  t.is(storages.get('b')?.rows.get('k'), '1')
  await source.assign('a', 'b')
  await query.processAllAvailable()
  t.deepEqual(storages.get('b')?.applied, ['k=1', 'k=3'])
  t.is(tables.get('a')?.opened, 1, 'the table that stayed was left as it was')
  t.is(b.opened, 2)
  t.deepEqual(moves, [
    { gained: ['a', 'b'], lost: [] },
    { gained: [], lost: ['b'] },
    { gained: ['b'], lost: [] },
  ])
  await query.stop()
  t.is(query.exception, null)
  t.true(b.closed)
})

test('a batch in hand of a table that goes is committed, what follows it is left', async (t) => {
  let release: () => void = () => {}
  const held = new Promise<void>((resolve) => {
    release = resolve
  })
  const { query, source, tables, storages } = await startWorker({
    topics: { a: [['k=1', 'k=2', 'k=3']], b: [[]] },
    options: { limits: { maxBatchMessages: 1 } },
    prepare: ({ tables }) => {
      const a = tables.get('a') as FakeTable
      a.beforeCommit = () => held
    },
  })
  await eventually(() => query.status.isTriggerActive)
  await source.assign('b')
  release()
  const a = tables.get('a') as FakeTable
  await eventually(() => a.closed)
  t.deepEqual(storages.get('a')?.applied, ['k=1'])
  t.deepEqual(Object.keys(query.status.tables), ['b'])
  await query.stop()
  t.is(query.exception, null)
})

test('a batch that another worker was ahead of is given up with its table', async (t) => {
  let release: () => void = () => {}
  const held = new Promise<void>((resolve) => {
    release = resolve
  })
  const { query, source, tables, storages } = await startWorker({
    topics: { a: [['k=1', 'k=2']], b: [[]] },
    options: { limits: { maxBatchMessages: 1 } },
    prepare: ({ tables }) => {
      const a = tables.get('a') as FakeTable
      a.beforeCommit = () => held
    },
  })
  await eventually(() => query.status.isTriggerActive)
  await source.assign('b')
  storages.get('a')?.offsets.set('q:a:0', 1n)
  release()
  await eventually(() => tables.get('a')?.closed === true)
  t.deepEqual(storages.get('a')?.applied, [])
  t.deepEqual(source.rewinds, [])
  t.true(query.isActive)
  t.is(query.exception, null)
  await query.stop()
})

test('a table whose former worker commits while it is opened goes on after that commit', async (t) => {
  const { query, source, tables, storages } = await startWorker({ topics: { a: [['k=1', 'k=2', 'k=3']], b: [[]] } })
  await query.processAllAvailable()
  await source.assign('b')
  const a = tables.get('a') as FakeTable
  await eventually(() => a.closed)
  const storage = storages.get('a') as FakeStorage
  source.topics.a?.[0]?.push('k=4', 'k=5', 'k=6')
  let looks = 0
  a.beforeInfo = () => {
    // Its loop has looked, the source looks now.
    if (++looks === 2) storage.offsets.set('q:a:0', 4n)
  }
  await source.assign('a', 'b')
  await query.processAllAvailable()
  t.true(looks >= 2)
  t.deepEqual(storage.applied, ['k=1', 'k=2', 'k=3', 'k=6'])
  t.is(query.exception, null)
  await query.stop()
})

test('a table that comes back waits until it is closed', async (t) => {
  let release: () => void = () => {}
  const held = new Promise<void>((resolve) => {
    release = resolve
  })
  const { query, source, tables, storages } = await startWorker({
    topics: { a: [['k=1']], b: [[]] },
    prepare: ({ tables }) => {
      const a = tables.get('a') as FakeTable
      a.beforeCommit = () => held
    },
  })
  await eventually(() => query.status.isTriggerActive)
  await source.assign('b')
  const back = source.assign('a', 'b')
  await sleep(30)
  t.is(tables.get('a')?.opened, 1)
  release()
  await back
  t.is(tables.get('a')?.opened, 2)
  source.produce('a', 0, 'k=2')
  await query.processAllAvailable()
  t.deepEqual(storages.get('a')?.applied, ['k=1', 'k=2'])
  await query.stop()
})

test('a worker without tables waits for some; one whose tables have all failed goes on, too', async (t) => {
  const { query, source, tables } = await startWorker({ topics: { a: [[]], b: [[]] } })
  await source.assign()
  await eventually(() => Object.keys(query.status.tables).length === 0)
  t.true(query.isActive)
  t.is(query.status.numTablesElsewhere, 2)
  const b = tables.get('b') as FakeTable
  b.cannotBeOpened = new KafkaToDeltaError('TABLE_UNSUPPORTED', 'b has a constraint')
  const failed: string[] = []
  query.on('tableFailed', ({ topic }) => failed.push(topic))
  await t.throwsAsync(source.assign('b'), { code: 'TABLE_UNSUPPORTED' })
  await eventually(() => failed.length > 0)
  t.deepEqual(failed, ['b'])
  t.is(query.status.tables.b?.error?.code, 'TABLE_UNSUPPORTED')
  t.true(query.isActive)
  b.cannotBeOpened = null
  await source.assign()
  await source.assign('b')
  await eventually(() => query.status.tables.b?.state === 'waiting')
  await query.stop()
})

test('a store that fails is waited for by a worker that runs', async (t) => {
  const { query, source, tables } = await startWorker({ topics: { a: [[]], b: [['k=1']] } })
  await source.assign('a')
  await eventually(() => tables.get('b')?.closed === true)
  const b = tables.get('b') as FakeTable
  b.cannotBeOpened = new KafkaToDeltaError('STORAGE', 'no route')
  const back = source.assign('a', 'b')
  // Longer than a start would have waited.
  await sleep(50)
  t.is(query.exception, null)
  b.cannotBeOpened = null
  await back
  await query.processAllAvailable()
  t.is(b.storage.rows.get('k'), '1')
  await query.stop()
})

test('the group is told how much work each table is', async (t) => {
  const { query, source } = await startWorker({
    topics: { a: [['k=1']], b: [[]] },
    options: { tables: { a: { path: '/lake/all', shared: true }, b: { path: '/lake/all', shared: true } } },
  })
  await query.processAllAvailable()
  const [table, ...more] = source.sharing?.tables() ?? []
  t.deepEqual([table?.topics, more], [['a', 'b'], []])
  t.true((table?.load ?? 0) > 2)
  await source.assign()
  t.is(source.sharing?.tables()[0]?.load, null)
  await query.stop()
})
