/** Which values are envelopes, which of them can be read, and which are refused. */

import test from 'ava'
import { Op } from '../../src/debezium/change-batch.js'
import type { DecodeOptions } from '../../src/debezium/options.js'
import { decodeAll, encode } from './support.js'

type Field = [string, unknown]

const record = (name: string, fields: Field[], extra: object = {}) => ({
  type: 'record',
  name,
  fields: fields.map(([field, type]) => ({ name: field, type })),
  ...extra,
})
const optional = (type: unknown) => ['null', type]
const KEY = record('Key', [['id', 'int']])
const ROW = record('Row', [
  ['id', 'int'],
  ['v', optional('string')],
])
const SOURCE = record('Source', [['ts_ms', 'long']])
const ENVELOPE = { 'connect.name': 'server.public.t.Envelope' }
const JSON_TEXT = optional({ type: 'string', 'connect.name': 'io.debezium.data.Json' })

const key = (id: number) => encode(1, KEY, { id })

function decode(schema: unknown, values: unknown[], options: Partial<DecodeOptions> = {}) {
  const messages = values.map((value, i) => ({ key: key(i + 1), value: encode(2, schema, value) }))
  return decodeAll({ topic: 't', ...options }, { 1: KEY, 2: schema }, messages)
}

test('an envelope without before, or without source, is read', async (t) => {
  const row = { id: 1, v: 'a' }
  const withoutBefore = record('Value', [
    ['after', optional(ROW)],
    ['source', SOURCE],
    ['op', 'string'],
  ])
  const events = [
    { after: row, source: { ts_ms: 1n }, op: 'c' },
    { after: null, source: { ts_ms: 2n }, op: 'd' },
  ]
  const expected = [
    { id: 1, v: 'a', _op: Op.upsert },
    { id: 2, v: null, _op: Op.delete },
  ]
  t.deepEqual((await decode(withoutBefore, events)).rows, expected)
  const nullBefore = record('Value', [
    ['before', 'null'],
    ...withoutBefore.fields.map(({ name, type }): Field => [name, type]),
  ])
  t.deepEqual(
    (
      await decode(
        nullBefore,
        events.map((event) => ({ before: null, ...event })),
      )
    ).rows,
    expected,
  )
  const withoutSource = record('Value', [
    ['before', optional(ROW)],
    ['after', optional('Row')],
    ['op', 'string'],
  ])
  const changes = [
    { before: null, after: row, op: 'c' },
    { before: { id: 2, v: 'b' }, after: null, op: 'd' },
  ]
  t.deepEqual((await decode(withoutSource, changes)).rows, expected)
  await t.throwsAsync(decode(withoutSource, changes, { metadataColumns: ['source.ts_ms'] }), { code: 'CONFIG_INVALID' })
})

test('a delete whose key is nowhere is a bad record where the envelope has no before', async (t) => {
  const schema = record('Value', [
    ['after', optional(ROW)],
    ['source', SOURCE],
    ['op', 'string'],
  ])
  const gone = { after: null, source: { ts_ms: 1n }, op: 'd' }
  await t.throwsAsync(decode(schema, [gone], { primaryKey: ['v'] }), {
    code: 'BAD_RECORD',
    message: /a delete whose key/,
  })
})

test('envelopes that cannot be read are refused, with what to do', async (t) => {
  const mongo = record(
    'Envelope',
    [
      ['before', JSON_TEXT],
      ['after', JSON_TEXT],
      ['updateDescription', optional(record('UpdateDescription', [['removedFields', optional('string')]]))],
      ['source', SOURCE],
      ['op', optional('string')],
    ],
    ENVELOPE,
  )
  const cases: [unknown, unknown, RegExp][] = [
    [
      mongo,
      { before: null, after: null, updateDescription: null, source: { ts_ms: 1n }, op: 'd' },
      /MongoDB's envelope.*ExtractNewDocumentState/,
    ],
    // As the transform SetSchemaMetadata names it.
    [
      record('Orders', [
        ['after', JSON_TEXT],
        ['source', record('Source', [['ts_ms', 'long']], { namespace: 'io.debezium.connector.mongo' })],
        ['op', optional('string')],
      ]),
      { after: null, source: { ts_ms: 1n }, op: 'd' },
      /MongoDB's envelope.*ExtractNewDocumentState/,
    ],
    [
      record(
        'Envelope',
        [
          ['before', optional(ROW)],
          ['source', SOURCE],
          ['op', 'string'],
        ],
        ENVELOPE,
      ),
      { before: null, source: { ts_ms: 1n }, op: 'd' },
      /lacks after.*ExtractNewRecordState/,
    ],
    [
      record('Envelope', [
        ['before', optional(ROW)],
        ['after', optional('Row')],
        ['source', SOURCE],
      ]),
      { before: null, after: null, source: { ts_ms: 1n } },
      /lacks op/,
    ],
    [
      record(
        'Envelope',
        [
          ['after', optional(ROW)],
          ['op', 'string'],
          ['source', 'string'],
        ],
        ENVELOPE,
      ),
      { after: null, op: 'd', source: 'db' },
      /of another type than Debezium/,
    ],
    [
      record(
        'Envelope',
        [
          ['id', 'string'],
          ['source', 'string'],
          ['specversion', 'string'],
        ],
        {
          'connect.name': 'server.public.t.CloudEvents.Envelope',
        },
      ),
      { id: 'a', source: '/debezium', specversion: '1.0' },
      /CloudEvent.*AvroConverter/,
    ],
    [
      record('Value', [
        ['after', optional(ROW)],
        ['source', record('Source', [['ts_ms', 'long']], { namespace: 'io.debezium.connector.cassandra' })],
        ['op', 'string'],
      ]),
      { after: { id: 1, v: null }, source: { ts_ms: 1n }, op: 'u' },
      /Cassandra or ScyllaDB/,
    ],
  ]
  for (const [schema, value, message] of cases) {
    await t.throwsAsync(decode(schema, [value]), { code: 'BAD_RECORD', message })
    const { batch } = await decode(schema, [value], { onBadRecord: 'collect' })
    t.is(batch.badRecords.length, 1)
    t.is(batch.ipc, null, 'nothing of it is stored')
  }
})

test('a table that has columns named as the parts of an envelope is a table', async (t) => {
  const audit = record('Value', [
    ['id', 'int'],
    ['before', JSON_TEXT],
    ['after', JSON_TEXT],
    ['op', 'string'],
    ['source', 'string'],
  ])
  const { rows } = await decode(audit, [{ id: 1, before: null, after: '{}', op: 'd', source: 'app' }])
  t.deepEqual(rows, [{ id: 1, before: null, after: '{}', op: 'd', source: 'app', _op: Op.upsert }])
  const letters = record('Envelope', [
    ['id', 'int'],
    ['grams', 'int'],
  ])
  t.deepEqual((await decode(letters, [{ id: 1, grams: 20 }])).rows, [{ id: 1, grams: 20, _op: Op.upsert }])
})

test('columns of a table that are named as what the transform adds are stored, and tell of nothing', async (t) => {
  const names = ['__deleted', '__op', '__source_ts_ms', '__source_snapshot', '__lsn', 'gone'] as const
  const types = { __source_ts_ms: 'long', __lsn: 'long' } as Record<string, string>
  const row = record('Row', [['id', 'int'], ...names.map((name): Field => [name, optional(types[name] ?? 'string')])])
  const schema = record('Envelope', [
    ['before', optional(row)],
    ['after', optional('Row')],
    ['source', SOURCE],
    ['op', 'string'],
  ])
  const after = {
    id: 1,
    __deleted: 'true',
    __op: 'd',
    __source_ts_ms: 5n,
    __source_snapshot: 'true',
    __lsn: 7n,
    gone: 'true',
  }
  for (const options of [{}, { deletedColName: 'gone', lsnColName: '__lsn' }]) {
    const { rows } = await decode(schema, [{ before: null, after, source: { ts_ms: 1n }, op: 'u' }], options)
    t.deepEqual(rows, [{ ...after, _op: Op.upsert }])
    const deleted = { before: after, after: null, source: { ts_ms: 1n }, op: 'd' }
    t.is((await decode(schema, [deleted], options)).rows[0]?._op, Op.delete)
    // The table's flag of soft deletes may not be one of them.
    const soft = decode(schema, [deleted], { ...options, deletes: 'soft', softDeleteColName: '__deleted' })
    await t.throwsAsync(soft, { message: /__deleted/ })
  }
})

test('a topic has flattened rows beside envelopes: the flag of the one is a column of the other', async (t) => {
  const row = record('Row', [
    ['id', 'int'],
    ['__deleted', optional('string')],
  ])
  const envelope = record('Envelope', [
    ['before', optional(row)],
    ['after', optional('Row')],
    ['source', SOURCE],
    ['op', 'string'],
  ])
  const { rows } = await decodeAll({ topic: 't' }, { 1: KEY, 2: envelope, 3: row }, [
    {
      key: key(1),
      value: encode(2, envelope, { before: null, after: { id: 1, __deleted: 'no' }, source: { ts_ms: 1n }, op: 'c' }),
    },
    { key: key(2), value: encode(3, row, { id: 2, __deleted: 'false' }) },
    { key: key(1), value: encode(3, row, { id: 1, __deleted: 'true' }) },
  ])
  t.deepEqual(
    rows.map(({ id, __deleted, _op }) => [id, __deleted, _op]),
    [
      [1, 'no', Op.upsert],
      [2, null, Op.upsert],
      [1, null, Op.delete],
    ],
  )
})

test("a flattened row's column that is named as the flag, and cannot be it, is stored", async (t) => {
  const row = record('Row', [
    ['id', 'int'],
    ['__deleted', optional('long')],
  ])
  const { rows } = await decode(row, [{ id: 1, __deleted: 5n }])
  t.deepEqual(rows, [{ id: 1, __deleted: 5n, _op: Op.upsert }])
})
