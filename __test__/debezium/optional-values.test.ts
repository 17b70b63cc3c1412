/** Values and keys that are a union of null and a record: Connect writes them so for a struct that is optional. */

import test from 'ava'
import { Op } from '../../src/debezium/change-batch.js'
import type { DecodeOptions } from '../../src/debezium/options.js'
import { isOwnMessage } from '../../src/debezium/own-topics.js'
import { confluent, decodeAll, encode, schemaSource, type TestMessage } from './support.js'

type Schema = { type: string; name: string; fields: { name: string; type: unknown }[] }
type Union = (record: Schema) => unknown

const record = (name: string, fields: Record<string, unknown>): Schema => ({
  type: 'record',
  name,
  fields: Object.entries(fields).map(([field, type]) => ({ name: field, type })),
})
const optional = (type: unknown) => ['null', type]

const PLAIN: Union = (schema) => schema
const FORMS: [name: string, form: Union, nullBranch: number][] = [
  ['null first', (schema) => ['null', schema], 0],
  ['null last', (schema) => [schema, 'null'], 2],
  ['by itself', (schema) => [schema], -1],
]

const KEY = record('Key', { id: 'int' })
const ROW = record('Value', { id: 'int', v: optional('string'), code: 'string' })
const FLAT = record('Value', { id: 'int', v: optional('string'), code: 'string', __deleted: optional('string') })
const SOURCE = record('Source', { connector: 'string', ts_ms: 'long' })
const ENVELOPE = record('Envelope', { before: optional(ROW), after: optional('Value'), source: SOURCE, op: 'string' })

const row = (id: number, v: string | null, code = 'c') => ({ id, v, code })
const event = (op: string, before: object | null, after: object | null) => {
  return { before, after, op, source: { connector: 'postgresql', ts_ms: 1n } }
}

/** What the same messages give where value and key have these forms. */
async function rowsOf(
  values: [id: number | string | null, value: object | null, more?: TestMessage][],
  schemas: { key: unknown; value: Schema },
  form: Union,
  options: Partial<DecodeOptions> = {},
) {
  const all = { 1: schemas.key, 2: form(schemas.value) }
  const messages = values.map(([id, value, more]) => ({
    key: id === null ? null : encode(1, schemas.key, schemas.key === 'string' ? id : { id }),
    value: value && encode(2, all[2], value),
    ...more,
  }))
  return (await decodeAll({ topic: 't', ...options }, all, messages)).rows
}

for (const [name, form, nullBranch] of FORMS) {
  test(`flattened rows, envelopes and keys in a union: ${name}`, async (t) => {
    const flat = [
      [1, { ...row(1, 'a'), __deleted: 'false' }],
      [2, { ...row(2, null), __deleted: 'true' }],
    ] as [number, object][]
    const events = [
      [1, event('c', null, row(1, 'a'))],
      [1, event('u', row(1, 'a'), row(1, 'b'))],
      [1, event('d', row(1, 'b'), null)],
    ] as [number, object][]
    for (const [value, schema] of [
      [flat, FLAT],
      [events, ENVELOPE],
    ] as const) {
      const plain = await rowsOf(value, { key: KEY, value: schema }, PLAIN)
      t.is(plain.length, value.length)
      t.deepEqual(await rowsOf(value, { key: KEY, value: schema }, form), plain)
      t.deepEqual(await rowsOf(value, { key: form(KEY), value: schema }, form), plain, 'the key as well')
    }
  })

  test(`what else reads a value begins behind the union's number: ${name}`, async (t) => {
    // The key of an update is compared and read in both rows of the event.
    const moved = [[null, event('u', row(1, 'a', 'old'), row(1, 'a', 'new'))]] as [null, object][]
    const byCode = { primaryKey: ['code'] }
    const split = await rowsOf(moved, { key: KEY, value: ENVELOPE }, form, byCode)
    t.deepEqual(split, await rowsOf(moved, { key: KEY, value: ENVELOPE }, PLAIN, byCode))
    t.deepEqual(
      split.map(({ code, _op }) => [code, _op]),
      [
        ['new', Op.upsert],
        ['old', Op.moved],
      ],
    )
    // A key that is one value is compared with its column, and a row that cannot be read is, as a delete.
    for (const [value, schema] of [
      [{ ...row(1, 'a', 'k'), __deleted: 'false' }, FLAT],
      [event('c', null, row(1, 'a', 'k')), ENVELOPE],
    ] as const) {
      const [read] = await rowsOf([['k', value]], { key: 'string', value: schema }, form, byCode)
      t.is(read?.code, 'k')
      await t.throwsAsync(rowsOf([['other', value]], { key: 'string', value: schema }, form, byCode), {
        message: /the row has another value there/,
      })
    }
    const day = { type: 'int', 'connect.name': 'io.debezium.time.Date' }
    const dated = record('Value', { id: 'int', day, __deleted: 'string' })
    const made = [[1, { id: 1, day: 2 ** 31 - 1, __deleted: 'true' }]] as [number, object][]
    t.deepEqual(
      await rowsOf(made, { key: KEY, value: dated }, form),
      await rowsOf(made, { key: KEY, value: dated }, PLAIN),
    )
    const left = { ...row(2, '__debezium_unavailable_value'), __deleted: 'false' }
    const headers = { '__debezium.oldkey': encode(1, KEY, { id: 1 }) }
    const [renamed] = await rowsOf([[2, left, { headers }]], { key: KEY, value: FLAT }, form)
    t.deepEqual(renamed?._old_key, { id: 1 })
  })

  if (nullBranch >= 0) {
    test(`a null in a union is a tombstone: ${name}`, async (t) => {
      const tombstone = confluent(2, Buffer.from([nullBranch]))
      for (const [schema, value] of [
        [FLAT, { ...row(1, 'a'), __deleted: 'false' }],
        [ENVELOPE, event('c', null, row(1, 'a'))],
      ] as const) {
        const inUnion = await rowsOf(
          [
            [1, value],
            [1, null, { value: tombstone }],
          ],
          { key: KEY, value: schema },
          form,
        )
        t.deepEqual(
          inUnion,
          await rowsOf(
            [
              [1, value],
              [1, null],
            ],
            { key: KEY, value: schema },
            form,
          ),
        )
        t.is(inUnion[1]?._op, Op.delete)
        // Known by its header, as well.
        const own = { __value_schema_id: confluent(2, Buffer.alloc(0)) }
        const more = { value: Buffer.from([nullBranch]), headers: own }
        t.deepEqual(
          await rowsOf(
            [
              [1, value],
              [1, null, more],
            ],
            { key: KEY, value: schema },
            form,
          ),
          inUnion,
        )
      }
      t.is((await rowsOf([[1, null, { value: tombstone }]], { key: KEY, value: FLAT }, form)).length, 1)
      const after = await decodeAll({ topic: 't' }, { 1: KEY, 2: form(FLAT) }, [{ key: null, value: tombstone }])
      t.is(after.batch.numIgnored + after.rows.length, 1, 'without a key as any tombstone without one')
    })
  }

  test(`a union's number that is none of it is a bad record: ${name}`, async (t) => {
    const whole = encode(2, form(FLAT), { ...row(1, 'a'), __deleted: 'false' })
    const other = Buffer.from(whole)
    other[5] = 4
    const more = nullBranch < 0 ? [] : [Buffer.concat([confluent(2, Buffer.from([nullBranch])), whole.subarray(6)])]
    for (const value of [other, ...more, whole.subarray(0, 5), whole.subarray(0, -1), Buffer.concat([whole, whole])]) {
      const messages = [
        { key: encode(1, KEY, { id: 1 }), value },
        { key: encode(1, KEY, { id: 1 }), value: whole },
      ]
      const { batch, rows } = await decodeAll(
        { topic: 't', onBadRecord: 'collect' },
        { 1: KEY, 2: form(FLAT) },
        messages,
      )
      t.is(batch.badRecords.length, 1)
      t.deepEqual(batch.badRecords[0]?.value, value)
      t.is(rows.length, 1)
    }
  })
}

test('columns that come and go, within a union and beside it', async (t) => {
  const wider = record('Value', { id: 'int', w: optional('long'), v: optional('string'), __deleted: 'string' })
  const schemas = { 1: KEY, 2: ['null', FLAT], 3: [wider, 'null'], 4: wider }
  const key = encode(1, KEY, { id: 1 })
  const { rows } = await decodeAll({ topic: 't' }, schemas, [
    { key, value: encode(2, schemas[2], { ...row(1, 'a'), __deleted: 'false' }) },
    { key, value: encode(3, schemas[3], { id: 1, w: 5n, v: 'b', __deleted: 'false' }) },
    { key, value: encode(4, schemas[4], { id: 1, w: 6n, v: 'c', __deleted: 'false' }) },
  ])
  t.deepEqual(
    rows.map(({ id, v, w, code }) => [id, v, w, code]),
    [
      [1, 'a', null, 'c'],
      [1, 'b', 5n, null],
      [1, 'c', 6n, null],
    ],
  )
})

test("a message of Debezium's own topics is known within a union", async (t) => {
  const schema = ['null', { ...record('Heartbeat', { ts_ms: 'long' }), namespace: 'io.debezium.connector.common' }]
  const rows = ['null', { ...FLAT, namespace: 'shop.public.orders' }]
  const schemas = schemaSource({ 1: schema, 2: rows })
  const message = (value: Buffer) => ({ offset: '0', timestamp: '0', key: null, value })
  t.true(await isOwnMessage(message(encode(1, schema, { ts_ms: 1n })), schemas))
  t.false(await isOwnMessage(message(encode(2, rows, { ...row(1, 'a'), __deleted: 'false' })), schemas))
})
