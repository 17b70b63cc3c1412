/** Tombstones that only follow a delete, and those that tell of one. */

import test from 'ava'
import { TableDecoder } from '../../src/debezium/decoder.js'
import type { DecodeOptions } from '../../src/debezium/options.js'
import { batchAt, decodeWith, encode, schemaSource, type TestMessage } from './support.js'

const record = (name: string, fields: [string, unknown][]) => ({
  type: 'record',
  name,
  fields: fields.map(([field, type]) => ({ name: field, type })),
})
const ROW: [string, unknown][] = [
  ['tenant', 'int'],
  ['id', 'int'],
]
const SCHEMAS: Record<number, unknown> = {
  1: record('Key', ROW),
  2: record('Plain', ROW),
  3: record('Flat', [...ROW, ['__deleted', 'string']]),
}

const key = (tenant: number) => encode(1, SCHEMAS[1], { tenant, id: 5 })
const plain = (tenant: number): TestMessage => ({
  key: key(tenant),
  value: encode(2, SCHEMAS[2], { tenant, id: 5 }),
})
const flat = (tenant: number, deleted: boolean): TestMessage => ({
  key: key(tenant),
  value: encode(3, SCHEMAS[3], { tenant, id: 5, __deleted: String(deleted) }),
})
const tombstone = (tenant: number): TestMessage => ({ key: key(tenant), value: null })

interface Way {
  /** Messages in a batch. */
  size: number
  /** Each batch has a decoder of its own, which is told what the table knows. */
  restarts: boolean
}
const WAYS: Way[] = [1, 2, 100].flatMap((size) => [true, false].map((restarts) => ({ size, restarts })))

/** The rows' ops and offsets, which must not depend on the batches. */
async function decoded(messages: TestMessage[], { size, restarts }: Way, options: Partial<DecodeOptions>) {
  const given = { topic: 't', primaryKey: ['id'], metadataColumns: ['kafka.offset'], ...options }
  const newDecoder = () => new TableDecoder(given, schemaSource(SCHEMAS))
  let decoder = newDecoder()
  const ops: string[] = []
  let deleted: bigint | undefined
  for (let at = 0; at < messages.length; at += size) {
    const batch = batchAt(at, messages.slice(at, at + size))
    const [range] = batch.ranges
    if (restarts && range && deleted !== undefined) range.afterDelete = deleted
    const { rows, batch: changes } = await decodeWith(decoder, batch)
    ops.push(...rows.map(({ _op, tenant }) => `${_op} ${tenant ?? '-'}`))
    deleted = changes.lastDeletes?.get(0)
    if (restarts) decoder = newDecoder()
  }
  return ops
}

for (const [mode, options] of [
  ['a table', {}],
  ['a changelog', { writeMode: 'append' }],
  ['a changelog of the whole key', { writeMode: 'append', primaryKey: ['tenant', 'id'] }],
  ['a history', { writeMode: 'scd2' }],
  ['a table that topics share', { shared: true, primaryKey: ['tenant', 'id'] }],
] as [string, Partial<DecodeOptions>][]) {
  for (const way of WAYS) {
    const name = `${mode}, ${way.size} in a batch${way.restarts ? ', restarts' : ''}`
    const run = (...messages: TestMessage[]) => decoded(messages, way, options)

    test(`${name}: a tombstone after the delete of its key says nothing new`, async (t) => {
      t.deepEqual(await run(flat(1, false), flat(1, true), tombstone(1), tombstone(1), flat(2, false)), [
        '0 1',
        '1 1',
        '0 2',
      ])
    })

    test(`${name}: all others are deletes`, async (t) => {
      // Compaction has taken the delete; the connector has gone over to tombstones; it is another key's.
      t.deepEqual(await run(flat(1, false), tombstone(1)), ['0 1', '1 1'])
      t.deepEqual(await run(flat(1, false), plain(2), tombstone(1)), ['0 1', '0 2', '1 1'])
      t.deepEqual(await run(flat(1, true), tombstone(2), tombstone(1)), ['1 1', '1 2', '1 1'])
      t.deepEqual(await run(flat(1, true), flat(1, false), tombstone(1)), ['1 1', '0 1', '1 1'])
    })
  }
}

test('where its key is the primary one, a tombstone deletes what the delete did, and nothing is kept of that', async (t) => {
  const decoder = new TableDecoder({ topic: 't' }, schemaSource(SCHEMAS))
  const { rows, batch } = await decodeWith(decoder, batchAt(0, [flat(1, true), tombstone(1)]))
  t.deepEqual([rows.length, batch.lastDeletes], [2, undefined])
})

test('what the table knows stays known while no message comes', async (t) => {
  const given = { topic: 't', primaryKey: ['id'] }
  const first = await decodeWith(new TableDecoder(given, schemaSource(SCHEMAS)), batchAt(0, [flat(1, true)]))
  const afterDelete = first.batch.lastDeletes?.get(0) as bigint
  // A restart finds the mark of a transaction first.
  const range = { partition: 0, firstOffset: 1n, lastOffset: 1n, messages: [], afterDelete }
  const empty = { topic: 't', ranges: [range], numMessages: 0, numPartitions: 1, numBytes: 0 }
  const { batch } = await decodeWith(new TableDecoder(given, schemaSource(SCHEMAS)), empty)
  t.is(batch.lastDeletes?.get(0), afterDelete)
})

test('what is known ends where the stream goes back', async (t) => {
  const decoder = new TableDecoder({ topic: 't', primaryKey: ['id'] }, schemaSource(SCHEMAS))
  await decodeWith(decoder, batchAt(5, [flat(1, true)]))
  const { rows } = await decodeWith(decoder, batchAt(5, [tombstone(1)]))
  t.is(rows.length, 1)
})
