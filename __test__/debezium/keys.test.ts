/** Keys: how they change, and that no two of them become one. */

import test from 'ava'
import { Op } from '../../src/debezium/change-batch.js'
import type { DecodeOptions } from '../../src/debezium/options.js'
import { KafkaToDeltaError } from '../../src/errors.js'
import { decodeAll, encode, type TestMessage } from './support.js'

type Row = Record<string, unknown>
type Field = [string, unknown]

const record = (name: string, fields: Field[]) => ({
  type: 'record',
  name,
  fields: fields.map(([field, type]) => ({ name: field, type })),
})
const optional = (type: unknown) => ['null', type]
const named = (type: string, name: string) => ({ type, 'connect.name': name })

async function rejected(promise: Promise<unknown>): Promise<KafkaToDeltaError> {
  const error = await promise.then(
    () => null,
    (thrown: unknown) => thrown,
  )
  if (error instanceof KafkaToDeltaError) return error
  throw error ?? new Error('it was not rejected')
}

/** One row whose key is `value` of the given type. */
function keyed(type: unknown, values: unknown[], options: Partial<DecodeOptions> = {}) {
  const schemas = {
    1: record('Key', [['k', type]]),
    2: record('Value', [
      ['k', type],
      ['v', 'int'],
    ]),
  }
  const messages = values.map((k, v) => ({ key: encode(1, schemas[1], { k }), value: encode(2, schemas[2], { k, v }) }))
  return decodeAll({ topic: 't', ...options }, schemas, messages)
}

test('a key column that was renamed stops the table, and the remedy works', async (t) => {
  const schemas = {
    1: record('Key', [['id', 'int']]),
    2: record('Value', [
      ['id', 'int'],
      ['v', 'string'],
    ]),
    3: record('Key', [['pk', 'long']]),
    4: record('Value', [
      ['pk', 'long'],
      ['v', 'string'],
    ]),
  }
  const messages = [
    { key: encode(1, schemas[1], { id: 1 }), value: encode(2, schemas[2], { id: 1, v: 'a' }) },
    { key: encode(3, schemas[3], { pk: 2n ** 40n }), value: encode(4, schemas[4], { pk: 2n ** 40n, v: 'b' }) },
    { key: encode(3, schemas[3], { pk: 1n }), value: null },
    { key: encode(1, schemas[1], { id: 3 }), value: null },
  ]
  const error = await rejected(decodeAll({ topic: 't' }, schemas, messages))
  t.is(error.code, 'SCHEMA_INCOMPATIBLE')
  t.regex(error.message, /\(id\) in schema 1 and \(pk\) in schema 3.*renameColumns/)
  const { rows } = await decodeAll({ topic: 't', renameColumns: { pk: 'id' } }, schemas, messages)
  t.deepEqual(rows, [
    { id: 1n, v: 'a', _op: Op.upsert },
    { id: 2n ** 40n, v: 'b', _op: Op.upsert },
    { id: 1n, v: null, _op: Op.delete },
    { id: 3n, v: null, _op: Op.delete },
  ])
})

test('composite keys: their order and their schema id may change', async (t) => {
  const schemas = {
    1: record('Key', [
      ['a', 'int'],
      ['b', 'string'],
    ]),
    2: record('Value', [
      ['a', 'int'],
      ['b', 'string'],
    ]),
    3: record('Key', [
      ['b', 'string'],
      ['a', optional('int')],
    ]),
  }
  const { rows, batch } = await decodeAll({ topic: 't' }, schemas, [
    { key: encode(1, schemas[1], { a: 1, b: 'x' }), value: encode(2, schemas[2], { a: 1, b: 'x' }) },
    { key: encode(3, schemas[3], { a: 1, b: 'y' }), value: encode(2, schemas[2], { a: 1, b: 'y' }) },
    { key: encode(3, schemas[3], { a: null, b: 'z' }), value: null },
  ])
  t.deepEqual(batch.primaryKey, ['a', 'b'])
  t.deepEqual(
    rows.map(({ a, b }) => [a, b]),
    [
      [1, 'x'],
      [1, 'y'],
      [null, 'z'],
    ],
  )
})

test('fields of the message key that are not of the primary key can be left out', async (t) => {
  const schemas = {
    1: record('Key', [
      ['id', 'int'],
      ['shard', 'string'],
    ]),
    2: record('Value', [
      ['id', 'int'],
      ['v', 'int'],
    ]),
  }
  const messages = [
    { key: encode(1, schemas[1], { id: 1, shard: 's' }), value: encode(2, schemas[2], { id: 1, v: 5 }) },
  ]
  const all = await decodeAll({ topic: 't', primaryKey: ['id'] }, schemas, messages)
  t.deepEqual(all.rows, [{ id: 1, v: 5, shard: 's', _op: 0 }])
  const some = await decodeAll({ topic: 't', primaryKey: ['id'], excludeColumns: ['shard'] }, schemas, messages)
  t.deepEqual(some.rows, [{ id: 1, v: 5, _op: 0 }])
  for (const options of [{ primaryKey: ['id'] }, {}]) {
    const error = await rejected(decodeAll({ topic: 't', ...options, excludeColumns: ['id'] }, schemas, messages))
    t.is(error.code, 'CONFIG_INVALID')
    t.regex(error.message, /excludeColumns names id/)
  }
})

test('a key is never stored with loss', async (t) => {
  const date = named('int', 'io.debezium.time.Date')
  for (const outOfRange of ['null', 'clamp'] as const) {
    const error = await rejected(keyed(date, [1], { columns: { k: { outOfRange } } }))
    t.is(error.code, 'CONFIG_INVALID')
    t.regex(error.message, /columns\.k.*outOfRange.*primary key/)
    // What holds for all columns does not hold for keys.
    const bad = await rejected(keyed(date, [-2147472692], { defaults: { outOfRange } }))
    t.is(bad.code, 'BAD_RECORD')
  }
  const variable = {
    ...record('V', [
      ['scale', 'int'],
      ['value', 'bytes'],
    ]),
    'connect.name': 'io.debezium.data.VariableScaleDecimal',
  }
  const number = { scale: 1, value: Buffer.from([15]) }
  t.is((await keyed(variable, [number], { defaults: { decimal: 'double' } })).rows[0]?.k, '1.5')
  t.is((await rejected(keyed(variable, [number], { columns: { k: { decimal: 'double' } } }))).code, 'CONFIG_INVALID')
  const fixed = await keyed(variable, [number], { columns: { k: { decimal: { precision: 4, scale: 2 } } } })
  t.is(fixed.rows[0]?.k, '1.5')

  const nanos = named('long', 'io.debezium.time.NanoTimestamp')
  t.is((await keyed(nanos, [-2000n])).rows[0]?.k, -2n)
  for (const type of [nanos, optional(nanos)]) {
    t.regex((await rejected(keyed(type, [1001n]))).message, /column k.*fraction of a microsecond/)
  }
  const time = named('long', 'io.debezium.time.NanoTime')
  t.is((await keyed(time, [1001n])).rows[0]?.k, 1001n)
  t.is((await keyed(time, [1001n], { defaults: { time: 'string' } })).rows[0]?.k, '00:00:00.000001001')
  const zoned = named('string', 'io.debezium.time.ZonedTimestamp')
  t.is((await keyed(zoned, ['1970-01-01T00:00:00.0000010Z'])).rows[0]?.k, 1n)
  t.is((await rejected(keyed(zoned, ['1970-01-01T00:00:00.0000011Z']))).code, 'BAD_RECORD')
})

test('two fields with names that differ in case, by a rename at the source', async (t) => {
  const schemas = {
    1: record('Key', [['id', 'int']]),
    2: record('Value', [
      ['id', 'int'],
      ['Name', 'string'],
    ]),
    3: record('Value', [
      ['id', 'int'],
      ['name', 'string'],
    ]),
  }
  const key = encode(1, schemas[1], { id: 1 })
  const messages = [
    { key, value: encode(2, schemas[2], { id: 1, Name: 'a' }) },
    { key, value: encode(3, schemas[3], { id: 1, name: 'b' }) },
  ]
  t.regex((await rejected(decodeAll({ topic: 't' }, schemas, messages))).message, /differ only in case/)
  const { rows } = await decodeAll({ topic: 't', renameColumns: { name: 'Name' } }, schemas, messages)
  t.deepEqual(
    rows.map((row) => row.Name),
    ['a', 'b'],
  )
})

/** Envelopes of a table without a key at the source; `x` and `y` are the key that the option names. */
function keyless(
  events: { op: string; before: Row | null; after: Row | null }[],
  options: Partial<DecodeOptions> = {},
) {
  const row = record('Row', [
    ['x', 'int'],
    ['y', optional('string')],
    ['v', optional('string')],
  ])
  const schema = record('Envelope', [
    ['before', optional(row)],
    ['after', optional('Row')],
    [
      'source',
      record('Source', [
        ['connector', 'string'],
        ['sequence', optional('string')],
        ['lsn', optional('long')],
      ]),
    ],
    ['op', 'string'],
  ])
  const source = { connector: 'postgresql', sequence: '["1","2"]', lsn: 2n }
  const messages = events.map((event): TestMessage => ({ value: encode(2, schema, { ...event, source }) }))
  return decodeAll({ topic: 't', primaryKey: ['x', 'y'], ...options }, { 2: schema }, messages)
}

const LEFT = '__debezium_unavailable_value'
const row = (x: number, y: string | null, v: string | null) => ({ x, y, v })

test('an update of a key that the connector does not know is a delete and an upsert', async (t) => {
  const events = [
    { op: 'c', before: null, after: row(1, 'a', 'long text') },
    { op: 'u', before: row(1, 'a', 'long text'), after: row(1, 'a', 'same key') },
    { op: 'u', before: row(1, 'a', null), after: row(1, null, LEFT) },
    { op: 'u', before: null, after: row(1, null, 'before is not known') },
    { op: 'd', before: row(1, null, 'x'), after: null },
  ]
  const { rows } = await keyless(events, { metadataColumns: ['operation'] })
  t.deepEqual(
    rows.map(({ x, y, v, _op, _old_key, __operation }) => [x, y, v, _op, _old_key, __operation]),
    [
      [1, 'a', 'long text', Op.upsert, null, 'c'],
      [1, 'a', 'same key', Op.upsert, null, 'u'],
      [1, null, null, Op.upsert, { x: 1, y: 'a' }, 'u'],
      [1, 'a', null, Op.moved, null, null],
      [1, null, 'before is not known', Op.upsert, null, 'u'],
      [1, null, null, Op.delete, null, null],
    ],
  )
  t.deepEqual(
    rows.map((r) => (r._left_out as Row).v),
    [false, false, true, false, false, false],
  )
  t.is(new Set(rows.map((r) => r._seq)).size, 1)

  const soft = await keyless(events.slice(2, 3), { deletes: 'soft', metadataColumns: ['op'] })
  t.deepEqual(
    soft.rows.map(({ x, y, v, __op, __deleted, _op, _left_out }) => [
      x,
      y,
      v,
      __op,
      __deleted,
      _op,
      (_left_out as Row).v,
    ]),
    [
      [1, null, null, 'u', false, Op.upsert, true],
      [1, 'a', null, 'u', true, Op.softMoved, true],
    ],
  )
  const ignored = await keyless(events.slice(2, 3), { deletes: 'ignore' })
  t.deepEqual(
    ignored.rows.map(({ _op, _old_key }) => [_op, _old_key]),
    [[Op.upsert, { x: 1, y: 'a' }]],
  )
})

test('bad records between split updates leave their neighbours whole', async (t) => {
  const events = Array.from({ length: 12 }, (_, i) => ({
    op: i % 3 === 1 ? 'x' : 'u',
    before: row(i, 'before', `b${i}`),
    after: row(i, i % 4 === 0 ? null : `after ${i}`, i % 2 === 0 ? null : `v${i}`),
  }))
  const { rows, batch } = await keyless(events, { onBadRecord: 'skip' })
  t.is(batch.badRecords.length, 4)
  const good = events.map((event, i) => ({ ...event, i })).filter(({ op }) => op === 'u')
  t.deepEqual(
    rows.map(({ x, y, v, _op }) => [x, y, v, _op]),
    good.flatMap(({ after, i }) => [
      [i, after.y, after.v, Op.upsert],
      [i, 'before', null, Op.moved],
    ]),
  )
})
