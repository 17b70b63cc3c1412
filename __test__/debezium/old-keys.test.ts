/** The key that a row had before an update of its key, in each form that Connect's header converters write. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { Op } from '../../src/debezium/change-batch.js'
import { TableDecoder } from '../../src/debezium/decoder.js'
import { KeyUpdates } from '../../src/debezium/key-updates.js'
import type { DecodeOptions } from '../../src/debezium/options.js'
import { DeltaTable } from '../../src/delta/table.js'
import { KafkaToDeltaError } from '../../src/errors.js'
import { readTable } from '../helpers/read.js'
import { batchOf, decodeAll, encode, messageOf, rowsOf, schemaSource, type TestMessage } from './support.js'

type Field = [string, unknown]

const record = (name: string, fields: Field[]) => ({
  type: 'record',
  name,
  fields: fields.map(([field, type]) => ({ name: field, type })),
})
const optional = (type: unknown) => ['null', type]
const connect = (type: string, name: string) => ({ type, 'connect.name': `org.apache.kafka.connect.data.${name}` })
const debezium = (type: string, name: string) => ({ type, 'connect.name': `io.debezium.${name}` })
const decimalOf = (scale: number) => ({
  ...connect('bytes', 'Decimal'),
  'connect.parameters': { scale: String(scale), 'connect.decimal.precision': '10' },
})
const VARIABLE = {
  ...record('V', [
    ['scale', 'int'],
    ['value', 'bytes'],
  ]),
  'connect.name': 'io.debezium.data.VariableScaleDecimal',
}
const FIXED_DECIMAL = { type: 'fixed', name: 'D', size: 4, logicalType: 'decimal', precision: 8, scale: 2 }

const LEFT = '__debezium_unavailable_value'

/** A row whose key was updated to `own`, with the key before in the header. */
function moved(type: unknown, own: unknown, header: string | Buffer, isBare: boolean, v = LEFT) {
  const schemas: Record<number, unknown> = {
    1: isBare ? type : record('Key', [['k', type]]),
    2: record('Value', [['v', optional('string')]]),
  }
  const message: TestMessage = {
    key: encode(1, schemas[1], isBare ? own : { k: own }),
    value: encode(2, schemas[2], { v }),
    headers: { '__debezium.oldkey': Buffer.from(header) },
  }
  return { schemas, message }
}

async function oldKeyOf(
  type: unknown,
  own: unknown,
  header: string | Buffer,
  isBare = false,
  options: Partial<DecodeOptions> = {},
): Promise<unknown> {
  const { schemas, message } = moved(type, own, header, isBare)
  const primaryKey = isBare ? { primaryKey: ['k'] } : {}
  const { rows } = await decodeAll({ topic: 't', ...primaryKey, ...options }, schemas, [message])
  return (rows[0]?._old_key as { k: unknown } | null)?.k ?? null
}

async function rejected(promise: Promise<unknown>): Promise<KafkaToDeltaError> {
  const error = await promise.then(
    (value) => value,
    (thrown: unknown) => thrown,
  )
  if (error instanceof KafkaToDeltaError) return error
  throw new Error(`not rejected: ${JSON.stringify(error, (_, v) => (typeof v === 'bigint' ? String(v) : v))}`)
}

const base64 = (...bytes: number[]) => `"${Buffer.from(bytes).toString('base64')}"`

/** Of each type: a key in Avro, and texts of other keys with what they are; `null` where a text is of no such key. */
const CASES: [name: string, type: unknown, own: unknown, forms: [text: string, expected: unknown][]][] = [
  [
    'int',
    'int',
    1,
    [
      ['12', 12],
      ['-2147483648', -2147483648],
      ['2147483648', null],
      ['1.0', null],
      ['"1"', null],
      ['null', null],
    ],
  ],
  [
    'long',
    'long',
    1n,
    [
      ['9007199254740993', 9007199254740993n],
      ['9223372036854775808', null],
      ['true', null],
    ],
  ],
  [
    'optional long',
    optional('long'),
    1n,
    [
      ['5', 5n],
      ['"5"', null],
    ],
  ],
  [
    'boolean',
    'boolean',
    true,
    [
      ['false', false],
      ['0', null],
    ],
  ],
  [
    'float',
    'float',
    1,
    [
      ['1.5', 1.5],
      ['1.0E10', 1e10],
      ['-Infinity', -Infinity],
      ['1E39', null],
      ['x', null],
    ],
  ],
  [
    'double',
    'double',
    1,
    [
      ['1.0E-5', 1e-5],
      ['-0.5', -0.5],
      ['"NaN"', Number.NaN],
      ['NaN', Number.NaN],
      ['"5"', null],
      ['0x10', null],
    ],
  ],
  [
    'text',
    'string',
    'b',
    [
      ['"a\nb\u0001"', 'a\nb\u0001'],
      [String.raw`"a\\\"\nö\u0041"`, 'a\\"\nöA'],
      ['"{1,2}: [x]"', '{1,2}: [x]'],
      ['a', null],
      ['1', null],
    ],
  ],
  [
    'bytes',
    'bytes',
    Buffer.from([1]),
    [
      [base64(251, 255), 'fbff'],
      ['"a-_="', null],
      ['"AB"', null],
      ['1', null],
    ],
  ],
  [
    'decimal',
    decimalOf(2),
    Buffer.from([1]),
    [
      ['1.50', '1.5'],
      ['-1.5', '-1.5'],
      ['1E+3', '1000'],
      ['0E-10', '0'],
      ['1.500', '1.5'],
      ['1.505', null],
      [base64(1, 44), '3'],
      ['"1.50"', null],
      ['128', '128'],
      ['-0.01', '-0.01'],
    ],
  ],
  [
    'fixed decimal',
    FIXED_DECIMAL,
    Buffer.from([0, 0, 0, 1]),
    [
      ['-1.50', '-1.5'],
      ['21474836.48', null],
      [base64(0, 0, 1, 44), '3'],
    ],
  ],
  [
    'decimal of any scale',
    VARIABLE,
    { scale: 0, value: Buffer.from([1]) },
    [
      [`{"scale":1,"value":${base64(15)}}`, '1.5'],
      ['{"scale":1}', null],
    ],
  ],
  [
    'Connect date',
    connect('int', 'Date'),
    1,
    [
      ['2024-01-01', 19723],
      ['19723', 19723],
      ['2023-02-29', null],
      ['00:00:00.000Z', null],
      ['1970-01-01', null],
      ['2024-01-01T00:00:00.000Z', null],
    ],
  ],
  ['Avro date', { type: 'int', logicalType: 'date' }, 1, [['2024-01-01', 19723]]],
  [
    'Connect timestamp',
    connect('long', 'Timestamp'),
    1n,
    [
      ['2024-01-01', 1704067200000000n],
      ['2024-01-01T12:00:00.001Z', 1704110400001000n],
      ['2024-01-01T00:00:00.000Z', null],
      ['12:00:00.001Z', null],
      ['1704067200000', 1704067200000000n],
    ],
  ],
  [
    'Connect time',
    connect('int', 'Time'),
    1,
    [
      ['01:00:00.250Z', 3600250],
      ['24:00:00.000Z', null],
      ['2024-01-01', null],
      ['5', 5],
    ],
  ],
  [
    'Debezium date',
    debezium('int', 'time.Date'),
    1,
    [
      ['19723', 19723],
      ['2024-01-01', null],
    ],
  ],
  [
    'Debezium micro timestamp',
    debezium('long', 'time.MicroTimestamp'),
    1n,
    [
      ['5', 5n],
      ['2024-01-01', null],
    ],
  ],
]

/** Numbers without a 64-bit type as they were read. */
const isSame = (found: unknown, expected: unknown) =>
  Object.is(found, expected) || (typeof found === 'string' && found === expected)

for (const [name, type, own, forms] of CASES) {
  test(`a key of the type ${name}: the forms of the header converters`, async (t) => {
    for (const [text, expected] of forms) {
      const headers: [string, boolean][] = [
        [`{"k":${text}}`, false],
        [`{"schema":{"type":"struct","fields":[]},"payload":{"k":${text}}}`, false],
        // Transforms take the value out of the key, not out of the header.
        [`{"k":${text}}`, true],
        [`{"schema":{"type":"struct"},"payload":{"k":${text}}}`, true],
      ]
      if (/^[^"{]*$/.test(text) && type !== 'string' && type !== 'bytes') headers.push([text, true])
      for (const [header, isBare] of headers) {
        // A record is no single value.
        if (isBare && type === VARIABLE) continue
        const note = `${header}${isBare ? ', a bare key' : ''}`
        if (expected === null) {
          const error = await rejected(oldKeyOf(type, own, header, isBare))
          t.is(error.code, 'BAD_RECORD', note)
          t.regex(error.message, /__debezium\.oldkey.*header\.converter=.*JsonConverter.*AvroConverter/, note)
        } else {
          const found = await oldKeyOf(type, own, header, isBare)
          t.true(isSame(found, expected), `${note}: ${found} instead of ${expected}`)
        }
      }
    }
  })
}

test('a key in the header as Avro', async (t) => {
  for (const [, type, own] of CASES) {
    const header = encode(1, record('Key', [['k', type]]), { k: own })
    t.not(await oldKeyOf(type, own, header), null, JSON.stringify(type))
  }
})

test('single texts in the header are raw; in quotes they could be either', async (t) => {
  for (const text of ['null', '12', '{', 'a\nb', 'true', '"', String.raw`\n`]) {
    t.is(await oldKeyOf('string', 'x', text, true), text)
  }
  t.is(await oldKeyOf('string', 'x', '{"schema":{"type":"string"},"payload":"12"}', true), '12')
  t.regex((await rejected(oldKeyOf('string', 'x', '"a"', true))).message, /quotes may be part of the text/)
  t.regex((await rejected(oldKeyOf(optional('string'), 'x', 'null', true))).message, /may be null/)
  t.is(await oldKeyOf('bytes', Buffer.from([1]), 'true', true), 'b6bb9e')
  t.is((await rejected(oldKeyOf('bytes', Buffer.from([1]), 'tru', true))).code, 'BAD_RECORD')
})

test('keys that are not whole, or of other fields, are not read', async (t) => {
  const headers = ['{}', '{"k":1,"x":2}', '{"x":1}', '{"k":1', '{"k":1}}', '{"k":1,"k":2}', '', '[1]', '1', '{"k":1,}']
  for (const header of [...headers, Buffer.from([0x7b, 0xff, 0x7d])]) {
    t.is((await rejected(oldKeyOf('int', 1, header))).code, 'BAD_RECORD', String(header))
  }
})

test('what StringConverter writes is read where it can have one meaning alone', async (t) => {
  t.is(await oldKeyOf('long', 1n, 'Struct{k=5}'), 5n)
  t.is(await oldKeyOf('boolean', true, 'Struct{k=false}'), false)
  t.is(await oldKeyOf(decimalOf(2), Buffer.from([1]), 'Struct{k=1.50}'), '1.5')
  for (const type of ['string', 'bytes']) {
    t.is(
      (await rejected(oldKeyOf(type, type === 'bytes' ? Buffer.from([1]) : 'x', 'Struct{k=AQID}'))).code,
      'BAD_RECORD',
    )
  }
})

test('a key may have the fields schema and payload', async (t) => {
  const schemas = {
    1: record('Key', [
      ['schema', 'string'],
      ['payload', 'int'],
    ]),
    2: record('Value', [['v', 'string']]),
  }
  const plain = '{"schema":"s","payload":5}'
  for (const header of [plain, `{"schema":{"type":"struct"},"payload":${plain}}`]) {
    const { rows } = await decodeAll({ topic: 't' }, schemas, [
      {
        key: encode(1, schemas[1], { schema: 'x', payload: 1 }),
        value: encode(2, schemas[2], { v: LEFT }),
        headers: { '__debezium.oldkey': header },
      },
    ])
    t.deepEqual(rows[0]?._old_key, { schema: 's', payload: 5 })
  }
})

test('a value of a union is of one branch, or it is not clear of which', async (t) => {
  const both = ['null', 'int', 'string']
  const options = { excludeColumns: [] }
  t.deepEqual(await oldKeyOf(both, 1, '{"k":"a"}', false, options), { member0: null, member1: 'a' })
  t.is((await rejected(oldKeyOf(['null', 'int', 'long'], 1, '{"k":1}'))).code, 'BAD_RECORD')
})

test('an old key that no left-out value needs may be unreadable', async (t) => {
  const { schemas, message } = moved('int', 1, 'no key at all', false, 'a value')
  const { rows, batch } = await decodeAll({ topic: 't' }, schemas, [message])
  t.deepEqual([rows[0]?.v, rows[0]?._old_key ?? null, batch.notes], ['a value', null, []])
})

test('with bad records skipped, a row whose old key cannot be read is written with a note', async (t) => {
  for (const onBadRecord of ['skip', 'collect'] as const) {
    const { schemas, message } = moved('string', 'new', 'Struct{k=old}', false)
    const second = { ...message, headers: { '__debezium.oldkey': '{"k":"readable"}' } }
    const { rows, batch } = await decodeAll({ topic: 't', onBadRecord }, schemas, [message, second, message])
    t.deepEqual(
      rows.map(({ k, v, _op, _old_key, _left_out }) => [k, v, _op, _old_key, (_left_out as { v: boolean }).v]),
      [
        ['new', null, Op.upsert, null, true],
        ['new', null, Op.upsert, { k: 'readable' }, true],
        ['new', null, Op.upsert, null, true],
      ],
    )
    t.is(batch.badRecords.length, 0)
    t.is(batch.notes?.length, 1)
    t.regex(batch.notes?.[0] ?? '', /values that rows leave out are missing.*header\.converter/)
  }
})

test('both messages of a key update are known as a pair in each form', async (t) => {
  const type = decimalOf(2)
  const key = record('Key', [['k', type]])
  const [before, after] = [Buffer.from([0, 150]), Buffer.from([1, 44])].map((k) => encode(1, key, { k })) as [
    Buffer,
    Buffer,
  ]
  const updates = new KeyUpdates(schemaSource({ 1: key }))
  await updates.load([1])
  const half = (own: Buffer, name: string, text: string) =>
    updates
      .pairMemberOf(messageOf({ offset: '0', timestamp: '0', key: own, value: null, headers: { [name]: text } }))
      ?.pair()
  for (const form of [(n: string) => `{"k":${n}}`, (n: string) => `Struct{k=${n}}`]) {
    const pair = half(before, '__debezium.newkey', form('3.00'))
    t.is(typeof pair, 'string')
    t.is(half(after, '__debezium.oldkey', form('1.50')), pair)
  }
})

const folder = mkdtempSync(join(tmpdir(), 'kafka2delta-old-keys-'))
test.after.always(() => rmSync(folder, { recursive: true, force: true }))

/** Applies batches, each one commit; returns the values and how many were missing. */
async function apply(schemas: Record<number, unknown>, batches: TestMessage[][], options: Partial<DecodeOptions> = {}) {
  const decoder = new TableDecoder({ topic: 't', ...options }, schemaSource(schemas))
  const path = mkdtempSync(join(folder, 't'))
  const table = await DeltaTable.open({ path })
  let missing = 0
  try {
    for (const messages of batches) {
      const { ipc, primaryKey } = await decoder.decode(batchOf('t', messages))
      missing += (await table.merge(ipc, { primaryKey })).numMissingValues
    }
  } finally {
    await table.close()
  }
  return { values: rowsOf(await readTable(path)).map(({ v }) => v), missing }
}

test('a table keeps left-out values through updates of keys in the form of the default header converter', async (t) => {
  const moves: [unknown, unknown, unknown, string][] = [
    ['string', 'a\nb', 'c', '{"k":"a\nb"}'],
    [decimalOf(2), Buffer.from([0, 150]), Buffer.from([1, 44]), '{"k":1.50}'],
    [connect('int', 'Date'), 19723, 19724, '{"k":2024-01-01}'],
  ]
  for (const [type, old, own, header] of moves) {
    const { schemas, message } = moved(type, own, header, false)
    const insert = { key: encode(1, schemas[1], { k: old }), value: encode(2, schemas[2], { v: 'long text' }) }
    const gone = { key: insert.key, value: null, headers: { '__debezium.newkey': 'any' } }
    for (const batches of [[[insert], [gone], [message]], [[insert, gone, message]]]) {
      t.deepEqual(await apply(schemas, batches), { values: ['long text'], missing: 0 })
    }
    const unreadable = { ...message, headers: { '__debezium.oldkey': 'a key' } }
    const skipped = await apply(schemas, [[insert], [gone], [unreadable]], { onBadRecord: 'skip' })
    t.deepEqual(skipped, { values: [null], missing: 1 }, 'the row is there all the same')
  }
})
