/** Messages lie in one buffer, one after another: of one that is cut off, its neighbour must not be read, or be blamed. */

import test from 'ava'
import { TableDecoder } from '../../src/debezium/decoder.js'
import type { DecodeOptions } from '../../src/debezium/options.js'
import { Messages } from '../../src/kafka/messages.js'
import { inColumns, type MicroBatch, type RawMessage } from '../../src/kafka/micro-batch.js'
import { batchOf, decodeAll, decodeWith, encode, schemaSource, type TestMessage } from './support.js'

const record = (name: string, fields: [string, unknown][]) => ({
  type: 'record',
  name,
  fields: fields.map(([field, type]) => ({ name: field, type })),
})

const KEY = record('Key', [['id', 'long']])
const ROW: [string, unknown][] = [
  ['id', 'long'],
  ['text', 'string'],
  ['flag', 'boolean'],
  ['half', 'double'],
  ['single', 'float'],
  ['list', { type: 'array', items: ['null', 'string'] }],
  ['map', { type: 'map', values: 'int' }],
  [
    'inner',
    record('Inner', [
      ['a', ['null', 'long']],
      ['b', 'bytes'],
    ]),
  ],
  ['fixed', { type: 'fixed', name: 'F', size: 5 }],
  ['maybe', ['null', 'string']],
]
const FLAT = record('Flat', [...ROW, ['__deleted', ['null', 'string']]])
const row = (id: number) => ({
  ...{ id: BigInt(id), text: `text ${id}`, flag: id % 2 === 0, half: id / 7, single: id / 2, list: ['a', null, 'bc'] },
  ...{ map: { x: id, y: 2 }, inner: { a: BigInt(id), b: Buffer.alloc(3, id) }, fixed: Buffer.alloc(5, 9), maybe: null },
})
const VALUE = record('Value', ROW)
const EVENT = record('Envelope', [
  ['before', ['null', VALUE]],
  ['after', ['null', 'Value']],
  ['op', 'string'],
  [
    'source',
    record('Source', [
      ['snapshot', ['null', 'string']],
      ['lsn', ['null', 'long']],
    ]),
  ],
])
const SCHEMAS = { 1: KEY, 2: FLAT, 3: EVENT }

const flat = (id: number): TestMessage => ({
  key: encode(1, KEY, { id: BigInt(id) }),
  value: encode(2, FLAT, { ...row(id), __deleted: id % 5 === 0 ? 'true' : 'false' }),
})
const event = (id: number): TestMessage => ({
  key: encode(1, KEY, { id: BigInt(id) }),
  value: encode(3, EVENT, {
    before: row(id),
    after: row(id + 1000),
    op: 'u',
    source: { snapshot: null, lsn: BigInt(id) },
  }),
})

/** Each message in a buffer of its own, and in a batch of its own. */
async function alone(options: DecodeOptions, messages: readonly TestMessage[]) {
  const decoder = new TableDecoder(options, schemaSource(SCHEMAS))
  const rows: unknown[] = []
  const reasons: string[] = []
  for (const message of messages) {
    const { rows: some, batch } = await decodeWith(decoder, batchOf(options.topic, [message]))
    rows.push(...some)
    reasons.push(...batch.badRecords.map(({ reason }) => reason))
  }
  return { rows, reasons }
}

for (const [name, make] of [
  ['flattened', flat],
  ['envelope', event],
] as const) {
  test(`${name} messages that are cut off anywhere are told by their own bytes`, async (t) => {
    const options = { topic: 't', onBadRecord: 'collect', orderGuard: 'off' } as const
    const messages: TestMessage[] = []
    for (const part of ['key', 'value'] as const) {
      const { length } = make(7)[part] as Buffer
      for (let size = 0; size < length; size++) {
        messages.push(make(size), { ...make(size + 5), [part]: make(size + 5)[part]?.subarray(0, size) ?? null })
      }
    }
    const { rows, batch } = await decodeAll(options, SCHEMAS, messages)
    const expected = await alone(options, messages)
    t.deepEqual(
      batch.badRecords.map(({ reason }) => reason),
      expected.reasons,
    )
    t.true(expected.reasons.length > 50)
    t.deepEqual(rows, expected.rows)
    // Their bytes are kept as they came.
    for (const { offset, key, value } of batch.badRecords) {
      t.deepEqual(key, messages[Number(offset)]?.key ?? null)
      t.deepEqual(value, messages[Number(offset)]?.value ?? null)
    }
  })
}

test('messages in several buffers, sliced and joined, are decoded as one list is', async (t) => {
  const messages = Array.from({ length: 40 }, (_, id) => flat(id))
  const given = batchOf('t', messages)
  const [range] = given.ranges
  const raw = range?.messages as RawMessage[]
  const pieces = [raw.slice(0, 3), raw.slice(3, 4), [], raw.slice(4, 30), raw.slice(30)].map((some) =>
    Messages.of(some),
  )
  const joined = Messages.joined(pieces)
  t.is(joined.length, 40)
  t.deepEqual([joined.at(-1)?.offset, joined.at(40), joined.at(0)?.offset], ['39', undefined, '0'])
  t.deepEqual(
    [joined.indexOf(3n), joined.indexOf(40n), joined.from(35n).length, joined.before(4n).length],
    [3, 40, 5, 4],
  )
  t.is(
    joined.countBytes(),
    raw.reduce((sum, { key, value }) => sum + (key?.length ?? 0) + (value?.length ?? 0), 0),
  )
  const decoder = () => new TableDecoder({ topic: 't' }, schemaSource(SCHEMAS))
  const of = (parts: Messages): MicroBatch => ({
    ...inColumns(given),
    ranges: [{ ...inColumns(given).ranges[0], messages: parts } as never],
  })
  const whole = await decodeWith(decoder(), given)
  t.deepEqual((await decodeWith(decoder(), of(joined))).rows, whole.rows)
  t.deepEqual((await decodeWith(decoder(), of(joined.slice(2, 33)))).rows, whole.rows.slice(2, 33))
})
