/** Keys of messages that do not give the primary key which the option names. */

import test from 'ava'
import { Op } from '../../src/debezium/change-batch.js'
import { TableDecoder } from '../../src/debezium/decoder.js'
import type { DecodeOptions } from '../../src/debezium/options.js'
import { KafkaToDeltaError } from '../../src/errors.js'
import { batchAt, decodeWith, encode, schemaSource, type TestMessage } from './support.js'

const record = (name: string, fields: [string, unknown][]) => ({
  type: 'record',
  name,
  fields: fields.map(([field, type]) => ({ name: field, type })),
})
const ROW: [string, unknown][] = [
  ['tenant', 'int'],
  ['id', 'long'],
  ['v', ['null', 'string']],
]
const ROW_TYPE = record('Row', ROW)
const SCHEMAS: Record<number, unknown> = {
  1: record('Key', [['id', 'long']]),
  2: record('Value', ROW),
  3: record('Value', [...ROW, ['__deleted', ['null', 'string']]]),
  4: record('Envelope', [
    ['before', ['null', ROW_TYPE]],
    ['after', ['null', 'Row']],
    ['source', record('Source', [['ts_ms', 'long']])],
    ['op', 'string'],
  ]),
  5: 'long',
}
const OPTIONS: DecodeOptions = { topic: 't', primaryKey: ['tenant', 'id'] }

type Key = (id: bigint) => Buffer | null
const KEYS: [string, Key][] = [
  ['a narrower key', (id) => encode(1, SCHEMAS[1], { id })],
  ['a bare key', (id) => encode(5, SCHEMAS[5], id)],
  ['no key', () => null],
  ['a key that is not Avro', (id) => Buffer.from(`{"id":${id}}`)],
]

const row = (tenant: number, id: bigint, v: string | null) => ({ tenant, id, v })
const plain = (key: Key, tenant: number, id: bigint): TestMessage => ({
  key: key(id),
  value: encode(2, SCHEMAS[2], row(tenant, id, 'x')),
})
const flat = (key: Key, tenant: number, id: bigint, deleted = 'false'): TestMessage => ({
  key: key(id),
  value: encode(3, SCHEMAS[3], { ...row(tenant, id, 'x'), __deleted: deleted }),
})
const event = (key: Key, op: string, before: unknown, after: unknown): TestMessage => {
  const id = ((after ?? before) as { id: bigint }).id
  return { key: key(id), value: encode(4, SCHEMAS[4], { before, after, source: { ts_ms: 1n }, op }) }
}
const tombstone = (key: Key, id: bigint): TestMessage => ({ key: key(id), value: null })

/** Decodes batch after batch; a BAD_RECORD ends it. */
async function follow(batches: TestMessage[][], options: Partial<DecodeOptions> = {}) {
  const decoder = new TableDecoder({ ...OPTIONS, ...options }, schemaSource(SCHEMAS))
  const rows: Record<string, unknown>[] = []
  const notes: string[] = []
  let ignored = 0
  try {
    let next = 0
    for (const messages of batches) {
      const decoded = await decodeWith(decoder, batchAt(next, messages))
      next += messages.length
      rows.push(...decoded.rows)
      notes.push(...(decoded.batch.notes ?? []))
      ignored += decoded.batch.numIgnored
    }
  } catch (error) {
    if (!(error instanceof KafkaToDeltaError) || error.code !== 'BAD_RECORD') throw error
    return { rows, notes, ignored, bad: error.message }
  }
  return { rows, notes, ignored, bad: null }
}

const keysOf = (rows: Record<string, unknown>[]) => rows.map(({ tenant, id, _op }) => [tenant, id, _op])

for (const [name, key] of KEYS) {
  test(`${name}: rows and their deletes have their keys from the values`, async (t) => {
    const flattened = await follow([
      [flat(key, 1, 5n), flat(key, 2, 5n), flat(key, 1, 5n, 'true'), tombstone(key, 5n), flat(key, 3, 5n)],
    ])
    t.deepEqual(keysOf(flattened.rows), [
      [1, 5n, Op.upsert],
      [2, 5n, Op.upsert],
      [1, 5n, Op.delete],
      [3, 5n, Op.upsert],
    ])
    t.deepEqual([flattened.ignored, flattened.notes, flattened.bad], [1, [], null])
    const envelopes = await follow([
      [
        event(key, 'c', null, row(1, 5n, 'x')),
        event(key, 'u', row(1, 5n, null), row(2, 5n, 'x')),
        event(key, 'd', row(2, 5n, null), null),
        tombstone(key, 5n),
      ],
    ])
    t.deepEqual(keysOf(envelopes.rows), [
      [1, 5n, Op.upsert],
      [2, 5n, Op.upsert],
      [1, 5n, Op.moved],
      [2, 5n, Op.delete],
    ])
    t.deepEqual(envelopes.rows[2 - 1]?._old_key, { tenant: 1, id: 5n })
    t.deepEqual([envelopes.ignored, envelopes.notes, envelopes.bad], [1, [], null])
  })

  test(`${name}: a tombstone that is the only delete is a bad record that names the remedy`, async (t) => {
    for (const batches of [
      [[plain(key, 1, 5n), tombstone(key, 5n)]],
      [[plain(key, 1, 5n)], [tombstone(key, 5n)]],
      [[tombstone(key, 5n), plain(key, 1, 5n)]],
      // Deletes had values before the connector was set otherwise.
      [[flat(key, 1, 5n)], [plain(key, 1, 5n), tombstone(key, 5n)]],
    ]) {
      const { bad } = await follow(batches)
      t.regex(bad ?? '', /key column tenant.*message\.key\.columns.*delete\.tombstone\.handling\.mode=rewrite/)
      t.is((await follow(batches, { deletes: 'ignore' })).bad, null)
    }
    const skipped = await follow([[plain(key, 1, 5n), tombstone(key, 5n)]], { onBadRecord: 'skip' })
    t.deepEqual(keysOf(skipped.rows), [[1, 5n, Op.upsert]])
  })

  test(`${name}: a tombstone that may follow a delete from before a restart is noted`, async (t) => {
    const first = await follow([[tombstone(key, 5n)], [flat(key, 1, 5n)]])
    t.deepEqual([first.ignored, first.bad, first.notes.length], [1, null, 1])
    t.regex(first.notes[0] ?? '', /first message is a tombstone.*delete that was applied before/)
    t.regex((await follow([[tombstone(key, 5n), tombstone(key, 6n)]])).bad ?? '', /message\.key\.columns/)
    const wrong = await follow([[tombstone(key, 5n)], [plain(key, 1, 5n)]])
    t.regex(wrong.notes[1] ?? '', /passed over was a delete.*verify --repair/)
    // The connector told of deletes by values before, and tells of them by tombstones alone.
    const changed = await follow([[flat(key, 1, 5n)], [tombstone(key, 5n)], [plain(key, 1, 6n)]])
    t.regex(changed.notes[0] ?? '', /passed over was a delete.*verify --repair/)
    // What the batch has later counts, too.
    const known = await follow([[tombstone(key, 5n), flat(key, 1, 5n)]])
    t.deepEqual([known.ignored, known.bad, known.notes], [1, null, []])
    const mixed = await follow([[plain(key, 1, 5n), flat(key, 1, 5n, 'true')], [tombstone(key, 5n)]])
    t.deepEqual([mixed.ignored, mixed.bad, mixed.notes], [1, null, []])
  })
}

test('a key of one value that is not the column which primaryKey names is a bad record', async (t) => {
  // The topic is keyed by the tenant; `id` tells the rows.
  const key = (tenant: bigint) => encode(5, SCHEMAS[5], tenant)
  const flattened = { key: key(1n), value: encode(3, SCHEMAS[3], { ...row(1, 5n, 'x'), __deleted: 'false' }) }
  const deleted = { key: key(1n), value: encode(3, SCHEMAS[3], { ...row(1, 5n, 'x'), __deleted: 'true' }) }
  const envelope = {
    key: key(1n),
    value: encode(4, SCHEMAS[4], { before: null, after: row(1, 5n, 'x'), source: { ts_ms: 1n }, op: 'c' }),
  }
  for (const message of [flattened, deleted, envelope]) {
    const { bad } = await follow([[message]], { primaryKey: ['id'] })
    t.regex(bad ?? '', /primaryKey takes for the column id, but the row has another value.*message\.key\.columns/)
  }
  for (const message of [flattened, envelope]) {
    const { rows, bad } = await follow([[{ ...message, key: key(5n) }, tombstone(key, 5n)]], { primaryKey: ['id'] })
    t.deepEqual(
      [rows.map(({ id, _op }) => [id, _op]), bad],
      [
        [
          [5n, Op.upsert],
          [5n, Op.delete],
        ],
        null,
      ],
    )
    // The remedy.
    const both = await follow([[message]], { primaryKey: ['tenant', 'id'] })
    t.deepEqual([keysOf(both.rows), both.bad], [[[1, 5n, Op.upsert]], null])
  }
})
