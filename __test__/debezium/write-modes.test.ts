/** Changelogs have each change as a row; histories the time of each. */

import test from 'ava'
import { Op } from '../../src/debezium/change-batch.js'
import type { DecodeOptions } from '../../src/debezium/options.js'
import { type Decoded, decodeAll, encode, type TestMessage } from './support.js'

const record = (name: string, fields: [string, unknown][]) => ({
  type: 'record',
  name,
  fields: fields.map(([field, type]) => ({ name: field, type })),
})
const optional = (type: unknown) => ['null', type]
const KEY = record('Key', [['id', 'int']])
const FLAT = record('Flat', [
  ['id', 'int'],
  ['v', optional('string')],
  ['__deleted', optional('string')],
  ['__op', optional('string')],
  ['__source_ts_ms', optional('long')],
])
const ROW = record('Row', [
  ['id', 'int'],
  ['v', optional('string')],
])
const SOURCE = record('Source', [
  ['ts_ms', 'long'],
  ['lsn', optional('long')],
])
const ENVELOPE = record('Envelope', [
  ['before', optional(ROW)],
  ['after', optional('Row')],
  ['source', SOURCE],
  ['op', 'string'],
])
/** As `delete.tombstone.handling.mode: tombstone` leaves it: deletes are tombstones alone. */
const PLAIN = record('Plain', [
  ['id', 'int'],
  ['v', optional('string')],
])
const SCHEMAS = { 1: KEY, 2: FLAT, 3: ENVELOPE, 4: PLAIN }

const key = (id: number) => encode(1, KEY, { id })
const flat = (id: number, v: string, op: string, time: bigint): TestMessage => ({
  key: key(id),
  value: encode(2, FLAT, { id, v, __deleted: String(op === 'd'), __op: op, __source_ts_ms: time }),
})
const event = (op: string, before: object | null, after: object | null, time: bigint, id: number): TestMessage => ({
  key: op === 't' ? null : key(id),
  value: encode(3, ENVELOPE, { before, after, source: { ts_ms: time, lsn: 1n }, op }),
})
const tombstone = (id: number): TestMessage => ({ key: key(id), value: null })
const at = (messages: TestMessage[]): TestMessage[] =>
  messages.map((message, i) => ({ ...message, offset: String(i), timestamp: String(1_700_000_000_000 + i) }))

const decode = (messages: TestMessage[], options: Partial<DecodeOptions>) =>
  decodeAll({ topic: 't', ...options }, SCHEMAS, at(messages))

const CHANGELOG: Partial<DecodeOptions> = { writeMode: 'append', metadataColumns: ['operation', 'kafka.offset'] }
const shown = (rows: Record<string, unknown>[]) =>
  rows.map((row) => [row.id, row.v, row.__operation, row.__kafka_offset])

test('a changelog of flattened changes: deletes have what the message tells, their tombstones are none', async (t) => {
  const { rows } = await decode(
    [flat(1, 'a', 'c', 5n), flat(1, 'b', 'u', 6n), flat(1, 'b', 'd', 7n), tombstone(1), flat(2, 'x', 'r', 8n)],
    CHANGELOG,
  )
  t.deepEqual(shown(rows), [
    [1, 'a', 'c', 0n],
    [1, 'b', 'u', 1n],
    [1, 'b', 'd', 2n],
    [2, 'x', 'r', 4n],
  ])
})

test('where deletes are tombstones alone, these are rows', async (t) => {
  const plain = (id: number, v: string): TestMessage => ({ key: key(id), value: encode(4, PLAIN, { id, v }) })
  const { rows } = await decode([plain(1, 'a'), tombstone(1)], CHANGELOG)
  t.deepEqual(shown(rows), [
    [1, 'a', null, 0n],
    [1, null, 'd', 1n],
  ])
})

test('a changelog of envelopes: the row before of deletes, and truncates', async (t) => {
  const { rows } = await decode(
    [
      event('c', null, { id: 1, v: 'a' }, 5n, 1),
      event('d', { id: 1, v: 'a' }, null, 6n, 1),
      tombstone(1),
      event('t', null, null, 7n, 0),
    ],
    CHANGELOG,
  )
  t.deepEqual(shown(rows), [
    [1, 'a', 'c', 0n],
    [1, 'a', 'd', 1n],
    [null, null, 't', 3n],
  ])
})

/** What the batch says to tell of the change. */
const ofTheChange = ({ table }: Decoded): string[] =>
  JSON.parse(table?.schema.metadata.get('kafka2delta.ofTheChange') ?? '[]')

test('a history is told which columns tell of the change', async (t) => {
  const time = 1_600_000_000_123n
  const HISTORY: Partial<DecodeOptions> = { writeMode: 'scd2' }
  const of = async (fields: [string, unknown][], options: Partial<DecodeOptions> = HISTORY) => {
    const schema = record('Value', [['id', 'int'], ...fields])
    const value = Object.fromEntries(fields.map(([name, type]) => [name, type === 'long' ? time : 'c']))
    const message = { key: key(1), value: encode(2, schema, { id: 1, ...value }) }
    return ofTheChange(await decodeAll({ topic: 't', ...options }, { 1: KEY, 2: schema }, at([message])))
  }
  const status: [string, unknown] = ['__status', 'string']
  // Flattened rows: what stands behind the flag of deletes, and Debezium's names before it; without it, from the first of these on.
  t.deepEqual(await of([status, ['__deleted', 'string'], ['__op', 'string'], ['__any', 'string']]), ['__op', '__any'])
  const before: [string, unknown][] = [
    ['__source_txId', 'long'],
    status,
    ['__table', 'string'],
    ['__deleted', 'string'],
  ]
  t.deepEqual(await of(before), ['__source_txId', '__table'])
  t.deepEqual(
    await of([
      ['__table', 'string'],
      ['v', 'string'],
      ['__deleted', 'string'],
    ]),
    [],
  )
  t.deepEqual(await of([status, ['__source_lsn', 'long'], ['__any', 'string']]), ['__source_lsn', '__any'])
  t.deepEqual(await of([['__table', 'string'], ['v', 'string'], status]), [])
  t.deepEqual(await of([status], { ...CHANGELOG, renameColumns: { __kafka_offset: 'at' } }), ['at'])
  t.deepEqual(await of([['__op', 'string']], {}), [])
  // Envelopes: no column of the row, also where a flattened row had added it.
  const row = record('Row', [['id', 'int'], status, ['__op', 'string']])
  const envelope = record('Envelope', [
    ['before', optional(row)],
    ['after', optional('Row')],
    ['source', SOURCE],
    ['op', 'string'],
  ])
  const event = {
    before: null,
    after: { id: 1, __status: 'new', __op: 'x' },
    source: { ts_ms: time, lsn: 1n },
    op: 'c',
  }
  const enveloped: TestMessage = { key: key(1), value: encode(5, envelope, event) }
  const schemas = { ...SCHEMAS, 5: envelope }
  const options = { topic: 't', ...HISTORY, metadataColumns: ['source.ts_ms', 'kafka.offset', 'operation'] }
  t.deepEqual(ofTheChange(await decodeAll(options, schemas, at([enveloped]))), ['__source_ts_ms', '__kafka_offset'])
  const both = await decodeAll({ topic: 't', ...HISTORY }, schemas, at([flat(1, 'a', 'c', time), enveloped]))
  t.deepEqual(ofTheChange(both), ['__source_ts_ms'])
})

test('without deletes, a changelog has none', async (t) => {
  const { rows } = await decode([flat(1, 'a', 'c', 5n), flat(1, 'a', 'd', 7n), tombstone(1)], {
    ...CHANGELOG,
    deletes: 'ignore',
  })
  t.is(rows.length, 1)
})

test('a history has the time of the source, else that of Kafka', async (t) => {
  const time = 1_600_000_000_123n
  const { rows } = await decode(
    [
      flat(1, 'a', 'c', time),
      event('u', null, { id: 1, v: 'b' }, time + 2n ** 33n, 1),
      event('d', null, null, time + 1n, 1),
      tombstone(1),
    ],
    { writeMode: 'scd2' },
  )
  t.deepEqual(
    rows.map((row) => row._time),
    [time * 1000n, (time + 2n ** 33n) * 1000n, (time + 1n) * 1000n, 1_700_000_000_003_000n],
  )
  t.deepEqual(
    rows.map((row) => row._op),
    [Op.upsert, Op.upsert, Op.delete, Op.delete],
  )
  const { rows: others } = await decode([flat(1, 'a', 'c', time)], {})
  t.false('_time' in (others[0] as object))
})
