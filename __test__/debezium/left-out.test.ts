/** Values that a change leaves out, in the forms that the connectors give the placeholder. */

import test from 'ava'
import { decodeAll, encode } from './support.js'

const PLACEHOLDER = '__debezium_unavailable_value'
const KEY = { type: 'record', name: 'Key', fields: [{ name: 'id', type: 'int' }] }
const named = (type: string, name: string) => ({ type, 'connect.name': name })
const listOf = (items: unknown) => ({ type: 'array', items: ['null', items] })
const DECIMAL = {
  type: 'bytes',
  scale: 2,
  precision: 10,
  'connect.parameters': { scale: '2', 'connect.decimal.precision': '10' },
  'connect.name': 'org.apache.kafka.connect.data.Decimal',
}
const VARIABLE = {
  type: 'record',
  name: 'VariableScaleDecimal',
  'connect.name': 'io.debezium.data.VariableScaleDecimal',
  fields: [
    { name: 'scale', type: 'int' },
    { name: 'value', type: 'bytes' },
  ],
}

/** Whether each value is taken for one that the change leaves out, of flattened values and of envelopes. */
async function leftOut(schema: unknown, values: unknown[], configured = PLACEHOLDER): Promise<boolean[]> {
  const row = {
    type: 'record',
    name: 'Value',
    fields: [
      { name: 'id', type: 'int' },
      { name: 'v', type: ['null', schema] },
    ],
  }
  const source = { type: 'record', name: 'Source', fields: [{ name: 'ts_ms', type: 'long' }] }
  const envelope = {
    type: 'record',
    name: 'Envelope',
    fields: [
      { name: 'before', type: ['null', row] },
      { name: 'after', type: ['null', 'Value'] },
      { name: 'source', type: source },
      { name: 'op', type: 'string' },
    ],
  }
  const rows = values.map((v) => ({ id: 1, v }))
  const events = rows.map((after) => ({ before: null, after, source: { ts_ms: 1n }, op: 'u' }))
  const found: boolean[][] = []
  for (const [type, messages] of [
    [row, rows],
    [envelope, events],
  ] as const) {
    const { rows: decoded } = await decodeAll(
      { topic: 't', unavailableValuePlaceholder: configured },
      { 1: KEY, 2: type },
      messages.map((value) => ({ key: encode(1, KEY, { id: 1 }), value: encode(2, type, value) })),
    )
    found.push(decoded.map((one) => (one._left_out as { v: boolean } | undefined)?.v ?? false))
  }
  if (found[0]?.join() !== found[1]?.join()) throw new Error('flattened values and envelopes differ')
  return found[0] as boolean[]
}

test('texts: the placeholder, and its bytes in every form of binary.handling.mode', async (t) => {
  const forms = (text: string) => [
    text,
    Buffer.from(text).toString('base64'),
    Buffer.from(text).toString('base64url') + '='.repeat((3 - (Buffer.byteLength(text) % 3)) % 3),
    Buffer.from(text).toString('hex'),
  ]
  for (const text of [PLACEHOLDER, '??>unavailable<ÿÿ']) {
    t.deepEqual(await leftOut('string', [...forms(text), 'AQID', `${text} `], text), [
      ...[true, true, true, true],
      ...[false, false],
    ])
  }
  t.deepEqual(await leftOut('bytes', [Buffer.from(PLACEHOLDER), Buffer.from('AQID')]), [true, false])
  t.deepEqual(await leftOut(named('string', 'io.debezium.data.Xml'), [PLACEHOLDER]), [true], 'XML of Oracle')
})

test('arrays: one item for each byte of the placeholder, in the type of the items', async (t) => {
  const bytes = [...Buffer.from(PLACEHOLDER)]
  const unscaled = bytes.map((byte) => Buffer.from([byte]))
  const cases: [unknown, unknown[]][] = [
    ['double', bytes],
    ['float', bytes],
    ['int', bytes],
    [{ type: 'int', 'connect.type': 'int16' }, bytes],
    [named('int', 'io.debezium.time.Date'), bytes],
    [named('int', 'io.debezium.time.Time'), bytes],
    ['long', bytes.map(BigInt)],
    [named('long', 'io.debezium.time.MicroTimestamp'), bytes.map(BigInt)],
    [named('long', 'io.debezium.time.NanoTimestamp'), bytes.map(BigInt)],
    [DECIMAL, unscaled],
    [VARIABLE, unscaled.map((value) => ({ scale: 0, value }))],
  ]
  for (const [type, items] of cases) {
    const note = JSON.stringify(type)
    t.deepEqual(
      await leftOut(listOf(type), [items, items.slice(1), [...items.slice(1), null], []]),
      [...[true, false, false, false]],
      note,
    )
    t.deepEqual(await leftOut({ type: 'array', items: type }, [items, items.slice(1)]), [true, false], note)
  }
})

test('arrays of texts and bytes: the placeholder is the one item, whatever the texts mean', async (t) => {
  for (const type of [
    'string',
    'io.debezium.time.ZonedTimestamp',
    'io.debezium.time.IsoDate',
    'io.debezium.data.Enum',
  ]) {
    const items = type === 'string' ? type : named('string', type)
    t.deepEqual(await leftOut(listOf(items), [[PLACEHOLDER], []]), [true, false], type)
  }
  t.deepEqual(await leftOut(listOf('bytes'), [[Buffer.from(PLACEHOLDER)], [Buffer.from('a')]]), [true, false])
  const uuid = 'b68a35a7-17ad-35b3-af2a-ae46edb4545a'
  t.deepEqual(await leftOut(listOf(named('string', 'io.debezium.data.Uuid')), [[uuid], [uuid, uuid]]), [true, false])
  const map = { type: 'map', values: ['null', 'string'] }
  t.deepEqual(await leftOut(map, [{ [PLACEHOLDER]: PLACEHOLDER }, { a: PLACEHOLDER }]), [true, false])
})

test('bytes above 127 are negative numbers, as in Java', async (t) => {
  t.deepEqual(await leftOut(listOf('long'), [[-1n, -128n, 127n]], 'hex:ff807f'), [true])
  t.deepEqual(await leftOut(listOf('double'), [[-1, -128, 127]], 'hex:ff807f'), [true])
  t.deepEqual(
    await leftOut(listOf(DECIMAL), [[Buffer.from([255]), Buffer.from([128]), Buffer.from([127])]], 'hex:ff807f'),
    [true],
  )
})

test('an array of truth values that are all true is a value', async (t) => {
  t.deepEqual(await leftOut(listOf('boolean'), [Array(PLACEHOLDER.length).fill(true)]), [false])
})

/** A key column `code` of this type, in the message's key, in a flattened row, and in the rows of an envelope. */
async function keyed(type: unknown, code: unknown, other: unknown, configured = PLACEHOLDER) {
  const fields = [
    { name: 'code', type },
    { name: 'v', type: 'int' },
  ]
  const row = { type: 'record', name: 'Value', fields }
  const flat = { ...row, fields: [...fields, { name: '__deleted', type: 'string' }] }
  const source = { type: 'record', name: 'Source', fields: [{ name: 'ts_ms', type: 'long' }] }
  const envelope = {
    type: 'record',
    name: 'Envelope',
    fields: [
      { name: 'before', type: ['null', row] },
      { name: 'after', type: ['null', 'Value'] },
      { name: 'source', type: source },
      { name: 'op', type: 'string' },
    ],
  }
  const key = { type: 'record', name: 'Key', fields: [{ name: 'code', type }] }
  const bare = type
  const event = (op: string, before: unknown, after: unknown) => {
    const rowOf = (value: unknown) => (value === undefined ? null : { code: value, v: 1 })
    return encode(3, envelope, { before: rowOf(before), after: rowOf(after), source: { ts_ms: 1n }, op })
  }
  const own = encode(2, flat, { code, v: 1, __deleted: 'false' })
  const cases: Record<string, { key: Buffer | null; value: Buffer | null }> = {
    'a flattened row': { key: null, value: own },
    'a flattened delete': { key: null, value: encode(2, flat, { code, v: 1, __deleted: 'true' }) },
    'the row after': { key: null, value: event('u', undefined, code) },
    'the row before and after': { key: null, value: event('u', code, code) },
    'the row before': { key: null, value: event('u', code, other) },
    'a deleted row': { key: null, value: event('d', code, undefined) },
    "the message's key": { key: encode(1, key, { code }), value: own },
    'a tombstone': { key: encode(1, key, { code }), value: null },
    'a single value': { key: encode(4, bare, code), value: null },
  }
  const outcomes: Record<string, string> = {}
  for (const [name, message] of Object.entries(cases)) {
    const { batch, rows } = await decodeAll(
      { topic: 't', primaryKey: ['code'], onBadRecord: 'collect', unavailableValuePlaceholder: configured },
      { 1: key, 2: flat, 3: envelope, 4: bare },
      [message],
    )
    outcomes[name] = batch.badRecords[0]?.reason ?? `${rows.length} rows`
  }
  return outcomes
}

test('a key that is left out is a bad record, wherever it comes from', async (t) => {
  const cases: [type: unknown, code: unknown, other: unknown, configured?: string][] = [
    ['string', PLACEHOLDER, 'a'],
    ['string', Buffer.from(PLACEHOLDER).toString('hex'), 'a'],
    [['null', 'string'], PLACEHOLDER, 'a'],
    [['string', 'null'], 'not there', 'a', 'not there'],
    ['bytes', Buffer.from(PLACEHOLDER), Buffer.from('a')],
    ['bytes', Buffer.from([1, 2, 3]), Buffer.from('a'), 'hex:010203'],
  ]
  for (const [type, code, other, configured] of cases) {
    for (const [name, outcome] of Object.entries(await keyed(type, code, other, configured))) {
      t.regex(outcome, /column code: .*placeholder.*REPLICA IDENTITY FULL/, `${JSON.stringify(type)}: ${name}`)
    }
    for (const [name, outcome] of Object.entries(await keyed(type, other, other, configured))) {
      t.regex(outcome, /^1 rows/, `${JSON.stringify(type)}: ${name}`)
    }
  }
})
