/** Columns whose values begin to mean something else while their type stays: refused, or told apart. */

import { tableFromIPC } from 'apache-arrow'
import test from 'ava'
import { FORMS } from '../../src/debezium/change-batch.js'
import { TableDecoder } from '../../src/debezium/decoder.js'
import type { DecodeOptions } from '../../src/debezium/options.js'
import type { KafkaToDeltaError } from '../../src/errors.js'
import { batchOf, confluent, type Decoded, decodeWith, encode, schemaSource } from './support.js'

const KEY = { type: 'record', name: 'Key', fields: [{ name: 'id', type: 'int' }] }
const TIME = 'io.debezium.time.'
const named = (type: string, name: string) => ({ type, 'connect.name': `${TIME}${name}` })
const row = (type: unknown) => ({
  type: 'record',
  name: 'Value',
  fields: [
    { name: 'id', type: 'int' },
    { name: 'c', type },
  ],
})

/** Decodes one value of each type (or the bytes of a row), with one decoder: each in a batch of its own, or all in one. */
async function decodeEach(
  values: [unknown, unknown][],
  options: Partial<DecodeOptions> = {},
  together = false,
): Promise<Decoded> {
  const schemas = Object.fromEntries(values.map(([type], i) => [i + 2, row(type)]))
  const decoder = new TableDecoder({ topic: 't', ...options }, schemaSource({ 1: KEY, ...schemas }))
  const messages = values.map(([type, c], i) => ({
    key: encode(1, KEY, { id: i }),
    value: c instanceof Uint8Array ? confluent(i + 2, c) : encode(i + 2, row(type), { id: i, c }),
  }))
  const batches = together ? [messages] : messages.map((message) => [message])
  let last: Decoded | undefined
  for (const batch of batches) last = await decodeWith(decoder, batchOf('t', batch))
  return last as Decoded
}

const MILLIS = named('int', 'Time')
const MICROS = named('long', 'MicroTime')
const NANOS = named('long', 'NanoTime')
const connectTime = { type: 'int', 'connect.name': 'org.apache.kafka.connect.data.Time' }
const within = (type: unknown) => ({ type: 'record', name: 'R', fields: [{ name: 'at', type: ['null', type] }] })

test('a unit that changes is refused, at the top and within, in one batch and in the next', async (t) => {
  const cases: [unknown, unknown][] = [
    [MILLIS, MICROS],
    [MICROS, MILLIS],
    [MICROS, NANOS],
    [connectTime, MICROS],
    [named('long', 'MicroDuration'), named('long', 'NanoDuration')],
    ['long', MICROS],
    [MICROS, 'long'],
    [{ type: 'long', logicalType: 'time-micros' }, NANOS],
  ]
  const numberOf = (type: unknown) => ((type as { type?: string }).type === 'int' ? 5 : 5n)
  for (const [before, after] of cases) {
    for (const together of [false, true]) {
      const note = JSON.stringify([before, after])
      const refused = (values: [unknown, unknown][]) =>
        t.throwsAsync(
          decodeEach(values, {}, together),
          { code: 'SCHEMA_INCOMPATIBLE', message: /time\.precision\.mode/ },
          note,
        )
      const [a, b] = [numberOf(before), numberOf(after)]
      await refused([
        [['null', before], a],
        [['null', after], b],
      ])
      await refused([
        [{ type: 'array', items: before }, [a]],
        [{ type: 'array', items: after }, [b]],
      ])
      await refused([
        [{ type: 'map', values: before }, { k: a }],
        [{ type: 'map', values: after }, { k: b }],
      ])
      await refused([
        [within(before), { at: a }],
        [within(after), { at: b }],
      ])
    }
  }
  const error = await t.throwsAsync(
    decodeEach([
      [MILLIS, 3_723_004],
      [MICROS, 3_723_004_000n],
    ]),
  )
  t.regex(error?.message ?? '', /column c holds milliseconds in schema 2 and microseconds in schema 3/)
})

test('the same unit under another name, and texts of any unit, go on', async (t) => {
  await t.notThrowsAsync(
    decodeEach([
      [MILLIS, 5],
      [connectTime, 6],
      [{ type: 'int', logicalType: 'time-millis' }, 7],
    ]),
  )
  const texts = [
    [MILLIS, 3_723_004],
    [MICROS, 3_723_004_000n],
    [NANOS, 3_723_004_000_000n],
  ] as [unknown, unknown][]
  const { rows } = await decodeEach(texts, { columns: { c: { time: 'string' } } }, true)
  t.deepEqual(
    rows.map((one) => one.c),
    Array(3).fill('01:02:03.004000'),
  )
  const moments = [
    [named('long', 'Timestamp'), 1_500n],
    [named('long', 'MicroTimestamp'), 1_500_000n],
    [named('string', 'IsoTimestamp'), '1970-01-01T00:00:01.5Z'],
  ] as [unknown, unknown][]
  t.deepEqual(
    (await decodeEach(moments, {}, true)).rows.map((one) => one.c),
    Array(3).fill(1_500_000n),
  )
})

test('texts of one column have one form', async (t) => {
  const text = { columns: { c: { type: 'string' } } } as const
  const refused = (values: [unknown, unknown][], options: Partial<DecodeOptions> = text) =>
    t.throwsAsync(decodeEach(values, options), { code: 'SCHEMA_INCOMPATIBLE' })
  await refused([
    [named('long', 'MicroTimestamp'), 0n],
    [named('string', 'IsoTimestamp'), '1970-01-01T00:00:00Z'],
  ])
  await refused([
    [named('string', 'IsoDate'), '1970-01-01Z'],
    [named('int', 'Date'), 0],
  ])
  await refused(
    [
      [MICROS, 0n],
      [named('string', 'IsoTime'), '00:00:00Z'],
    ],
    { columns: { c: { time: 'string' } } },
  )
})

test('a batch tells the table what the types do not', async (t) => {
  const forms = async (values: [unknown, unknown][], options: Partial<DecodeOptions> = {}) => {
    const { batch } = await decodeEach(values, options)
    const { id, ...others } = JSON.parse(tableFromIPC(batch.ipc as Uint8Array).schema.metadata.get(FORMS) as string)
    t.is(id, 'plain')
    return others
  }
  t.deepEqual(await forms([[MILLIS, 5]]), { c: 'milliseconds' })
  t.deepEqual(await forms([[{ type: 'array', items: ['null', NANOS] }, [5n]]]), { 'c[]': 'nanoseconds' })
  t.deepEqual(await forms([[within(MICROS), { at: 5n }]], { renameColumns: { c: 'd' } }), { 'd.at': 'microseconds' })
  t.deepEqual(await forms([[['int', 'string'], 5]]), { 'c.member0': 'int', 'c.member1': 'string' })
  for (const [type, value] of [
    ['int', 5],
    ['long', 5n],
    ['double', 0.5],
    ['string', 'a'],
    [['null', named('string', 'IsoTime')], null],
  ] as [unknown, unknown][])
    t.deepEqual(await forms([[type, value]]), { c: 'plain' }, JSON.stringify(type))
  t.deepEqual(await forms([[within('int'), { at: 5 }]]), { 'c.at': 'plain' })
  t.deepEqual(await forms([[{ type: 'map', values: 'long' }, { k: 5n }]]), { 'c{}': 'plain' })
  // Nothing else has these types.
  for (const [type, value] of [
    ['boolean', true],
    ['bytes', Buffer.from([0, 0])],
    [named('int', 'Date'), 5],
    [named('long', 'MicroTimestamp'), 5n],
  ] as [unknown, unknown][])
    t.deepEqual(await forms([[type, value]]), {}, JSON.stringify(type))
})

const R = {
  type: 'record',
  name: 'R',
  fields: [
    { name: 'a', type: 'int' },
    { name: 'b', type: 'string' },
  ],
}

test('a record that becomes a union of others is refused', async (t) => {
  const error = await t.throwsAsync(
    decodeEach(
      [
        [['null', R], { a: 1, b: 'x' }],
        [['null', 'int', 'string'], 22],
      ],
      {},
      true,
    ),
  )
  t.is((error as KafkaToDeltaError).code, 'SCHEMA_INCOMPATIBLE')
})

test('a union grows at its end; members that change their places are refused', async (t) => {
  const { rows } = await decodeEach(
    [
      [['int', 'string'], 1],
      [['int', 'string', 'boolean'], true],
    ],
    {},
    true,
  )
  t.deepEqual(
    rows.map((one) => one.c),
    [
      { member0: 1, member1: null, member2: null },
      { member0: null, member1: null, member2: true },
    ],
  )
  const S = { ...R, name: 'S' }
  // What avsc cannot encode: the row 0, the first branch, and zeros.
  for (const [before, after, bytes] of [
    [
      [R, S],
      [S, R],
      [0, 0, 0, 0],
    ],
    [
      ['int', 'long', 'string'],
      ['int', 'string', 'long'],
      [0, 0, 0],
    ],
    [
      ['null', 'int', named('long', 'MicroTime'), 'string'],
      ['null', 'int', 'long', 'string'],
      [0, 0],
    ],
  ] as [unknown[], unknown[], number[]][]) {
    const values = [before, after].map((type) => [type, Buffer.from(bytes)] as [unknown, unknown])
    await t.throwsAsync(decodeEach(values), { code: 'SCHEMA_INCOMPATIBLE' }, JSON.stringify(before))
  }
})
