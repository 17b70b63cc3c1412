/** What workers tell each other: written and read, damaged and of other versions. */

import { deflateRawSync } from 'node:zlib'
import test from 'ava'
import { assign } from '../../src/workers/assign.js'
import { loadOf } from '../../src/workers/load.js'
import { decodeMemberData, encodeMemberData, type MemberData, memberOf } from '../../src/workers/member-data.js'
import { generator, ROUNDS, SEED } from '../helpers/random.js'

const DATA: MemberData = {
  worker: 'w',
  session: 2,
  isNew: true,
  heldSince: 1_700_000_000_000,
  tables: [
    { path: '/lake/a', topics: new Map([['a', 3]]), load: 1.5 },
    { path: '/lake/all', topics: new Map([['x', 1], ['y', 2]]), load: null }, // biome-ignore format: one table a line
  ],
}

const packed = (value: unknown) => deflateRawSync(JSON.stringify(value))

test('what a worker tells is read as it was', (t) => {
  t.deepEqual(decodeMemberData(encodeMemberData(DATA)), DATA)
  const member = memberOf('m', DATA, ['a'])
  t.deepEqual([...member.topics], [['a', '/lake/a'], ['x', '/lake/all'], ['y', '/lake/all']]) // biome-ignore format: short
  t.deepEqual([...member.holds], ['/lake/a'])
  t.deepEqual([...member.loads], [['/lake/a', 1.5]])
})

test('fields that a later version adds are passed over; another version is not read', (t) => {
  const { worker, session, heldSince } = DATA
  const known = { version: 1, worker, session, heldSince, tables: [['/lake/a', ['a', 3], 1, 'more']] }
  t.is(decodeMemberData(packed({ ...known, more: 1 }))?.tables.length, 1)
  t.is(decodeMemberData(packed({ ...known, version: 2 })), null)
})

test('what is no report of ours is none', (t) => {
  const { worker, session, heldSince } = DATA
  const wrong = [
    null,
    [],
    {},
    { version: 1 },
    { version: 1, worker, session, heldSince, tables: [[1]] },
    { version: 1, worker, session, heldSince, tables: [['/a', ['a']]] },
    { version: 1, worker, session, heldSince, tables: [['/a', ['a', 'b']]] },
    { version: 1, worker, session: -1, heldSince, tables: [] },
  ]
  for (const value of wrong) t.is(decodeMemberData(packed(value)), null, JSON.stringify(value))
  t.is(decodeMemberData(Buffer.alloc(0)), null)
  t.is(decodeMemberData(Buffer.from('something else')), null)
  const member = memberOf('m', null, ['a', 'b'])
  t.deepEqual([...member.topics], [['a', null], ['b', null]]) // biome-ignore format: short
})

test(`garbled reports do no harm (SEED=${SEED})`, (t) => {
  const random = generator(SEED)
  const whole = encodeMemberData(DATA)
  for (let round = 0; round < 1000 * ROUNDS; round++) {
    const garbled = Buffer.from(whole)
    for (let i = 0; i <= random.below(4); i++) garbled[random.below(garbled.length)] = random.below(256)
    const cut = random.below(3) === 0 ? garbled.subarray(0, random.below(garbled.length)) : garbled
    const found = assign([memberOf('a', decodeMemberData(cut), ['a', 'x', 'y']), memberOf('b', DATA, ['a', 'x', 'y'])])
    const topics = [...found.tables.values()].flatMap((own) => [...own.values()].flat())
    if (new Set(topics).size < topics.length || !topics.includes('a')) t.fail(`round ${round}: ${topics}`)
  }
  t.pass()
})

test('thousands of tables are told in few bytes', (t) => {
  const tables = Array.from({ length: 10_000 }, (_, i) => ({
    path: `s3://company-lake/production/shop/public/table_${i}`,
    topics: new Map([[`production.shop.public.table_${i}`, 4]]),
    load: i % 4 === 0 ? 1 + (i % 100) / 7 : null,
  }))
  const { length } = encodeMemberData({ ...DATA, tables })
  t.log(`10,000 tables: ${length} bytes`)
  t.true(length < 150_000)
})

test('load grows with rate, lag and index, and a lag does not outweigh all', (t) => {
  const none = { messagesPerSecond: 0, lag: 0, indexBytes: 0 }
  t.is(loadOf(none), 1)
  t.true(loadOf({ ...none, messagesPerSecond: 1000 }) > 5)
  t.true(loadOf({ ...none, indexBytes: 1024 ** 3 }) > 30)
  t.true(loadOf({ ...none, lag: 1e12 }) < 100)
})
