/** Halves of key updates, as they were captured: the other key in the header as JSON. */

import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'
import { KeyUpdates } from '../../src/debezium/key-updates.js'
import { readFixtureTopic } from '../../src/demo/fixtures.js'
import type { Message } from '../../src/kafka/message.js'
import { Messages } from '../../src/kafka/messages.js'
import { confluent, FIXTURES, messageOf, schemaSource } from './support.js'

const SET = 'hard'
const schemas = JSON.parse(readFileSync(`${FIXTURES}${SET}/schemas.json`, 'utf8')) as Record<number, unknown>

function captured(topic: string): Message[] {
  const bytes = (text: string | null) => (text === null ? null : Buffer.from(text, 'base64'))
  const messages = readFixtureTopic(`${FIXTURES}${SET}`, topic).map((m) => ({
    offset: String(m.offset),
    timestamp: String(m.timestamp),
    key: bytes(m.key_b64),
    value: bytes(m.value_b64),
    headers: Object.fromEntries(
      Object.entries(m.headers).map(([name, value]) => [name, Buffer.from(String(value), 'base64')]),
    ),
  }))
  return [...Messages.of(messages)]
}

for (const topic of ['hard.public.pkt', 'hard.public.swap']) {
  test(`${topic}: each delete has its row, and each row its delete`, async (t) => {
    const updates = new KeyUpdates(schemaSource(schemas))
    const messages = captured(topic)
    // The first look asks the registry.
    for (const message of messages) updates.pairMemberOf(message)?.pair()
    await sleep(10)
    const pairs = { before: new Set<string | null>(), after: new Set<string | null>() }
    for (const message of messages) {
      const half = updates.pairMemberOf(message)
      if (half) pairs[half.side].add(half.pair())
    }
    t.true(pairs.before.size > 0)
    t.false(pairs.before.has(null))
    t.deepEqual([...pairs.before].sort(), [...pairs.after].sort())
  })
}

test('keys in headers as Avro, and a registry that does not know the schema', async (t) => {
  const updates = new KeyUpdates(schemaSource({}))
  const key = (n: number) => confluent(7, Buffer.from([2 * n]))
  const message = (own: number, name: string, other: Buffer) =>
    messageOf({ offset: '0', timestamp: '0', key: key(own), value: null, headers: { [name]: other } })
  t.deepEqual(
    [message(1, '__debezium.newkey', key(2)), message(2, '__debezium.oldkey', key(1))].map((m) =>
      updates.pairMemberOf(m)?.pair(),
    ),
    ['02>04', '02>04'],
  )
  const json = updates.pairMemberOf(message(1, '__debezium.newkey', Buffer.from('{"id":2}')))
  await sleep(10)
  t.is(json?.pair(), null)
  const broken = updates.pairMemberOf(message(1, '__debezium.newkey', Buffer.from('{"id"')))
  t.is(broken?.pair(), null)
  t.is(updates.pairMemberOf(message(1, 'other', Buffer.from('x'))), null)
})

test('a tombstone is told from the delete before it, also where it is a null in a union', (t) => {
  const updates = new KeyUpdates(schemaSource({}))
  const half = (value: Buffer | null, headers: Record<string, Buffer> = {}) =>
    updates.pairMemberOf(
      messageOf({
        ...{ offset: '0', timestamp: '0', key: confluent(7, Buffer.from([2])), value },
        headers: { '__debezium.newkey': confluent(7, Buffer.from([4])), ...headers },
      }),
    )?.isTombstone
  t.true(half(null))
  t.true(half(confluent(8, Buffer.from([0]))))
  t.true(half(Buffer.from([2]), { __value_schema_id: confluent(8, Buffer.alloc(0)) }))
  t.false(half(confluent(8, Buffer.from([2, 4, 8]))))
})
