import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'
import type { EntryStatus, RegisteredTable } from '../../src/catalog/keeper.js'
import { type FakeTable, startFake } from './fakes.js'

/** What was told of tables, and how their entries stand. */
function entries(state: EntryStatus['state'] = 'registered') {
  const noted: string[] = []
  return {
    noted,
    note: ({ topic }: RegisteredTable) => void noted.push(topic),
    statusOf: ({ topic }: RegisteredTable): EntryStatus => ({ name: `shop.${topic}`, state, error: null }),
  }
}

test('a catalog is told of a table when it is made, and when its schema changes, and not of other commits', async (t) => {
  const catalogs = entries()
  const { query, source, tables } = await startFake({ topics: { a: [[]], b: [[]] }, catalogs })
  const produce = async (text: string) => {
    source.produce('a', 0, text)
    await query.processAllAvailable()
  }
  t.deepEqual(catalogs.noted, [])
  await produce('k=1')
  t.deepEqual(catalogs.noted, ['a'])
  await produce('k=2')
  t.deepEqual(catalogs.noted, ['a'])
  ;(tables.get('a') as FakeTable).addedColumns = ['note']
  await produce('k=3')
  t.deepEqual(catalogs.noted, ['a', 'a'])
  t.deepEqual(query.status.tables.a?.catalog, { name: 'shop.a', state: 'registered', error: null })
  await query.stop()
})

test('at each start a catalog is told of the tables that are there', async (t) => {
  const first = await startFake({ topics: { a: [['k=1']], b: [[]] }, options: { trigger: { availableNow: true } } })
  await first.query.awaitTermination()
  const catalogs = entries('pending')
  const { query } = await startFake({ topics: { a: [['k=1']], b: [[]] }, storages: first.storages, catalogs })
  while (catalogs.noted.length === 0) await sleep(1)
  t.deepEqual(catalogs.noted, ['a'])
  t.is(query.status.tables.a?.catalog?.state, 'pending')
  await query.stop()
})
