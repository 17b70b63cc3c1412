import test from 'ava'
import { Op } from '../../src/debezium/change-batch.js'
import { TableDecoder } from '../../src/debezium/decoder.js'
import type { DecodeOptions } from '../../src/debezium/options.js'
import {
  batchOf,
  decodeAll,
  decodeWith,
  encode,
  fixtureMessages,
  fixtureSchemas,
  schemaSource,
  type TestMessage,
} from './support.js'

type Row = Record<string, unknown>
type Field = [string, unknown]

const record = (name: string, fields: Field[]) => ({
  type: 'record',
  name,
  fields: fields.map(([field, type]) => ({ name: field, type })),
})
const optional = (type: unknown) => ['null', type]
const KEY = record('Key', [['id', 'int']])

const words = (...parts: (number | bigint)[]) => parts.map((part) => part.toString(16).padStart(16, '0')).join('')

/** An envelope with the given fields in `source`. */
function envelope(fields: Field[]) {
  return record('Envelope', [
    [
      'before',
      optional(
        record('Value', [
          ['id', 'int'],
          ['v', optional('string')],
        ]),
      ),
    ],
    ['after', optional('Value')],
    [
      'source',
      record('Source', [
        ['connector', 'string'],
        ['name', 'string'],
        ['db', 'string'],
        ['snapshot', optional('string')],
        ...fields,
      ]),
    ],
    ['op', 'string'],
    ['ts_ms', optional('long')],
  ])
}

interface Event {
  op: string
  source: Row
  snapshot?: string | null
  id?: number
}

function events(fields: Field[], list: Event[], options: Partial<DecodeOptions> = {}) {
  const schema = envelope(fields)
  const messages = list.map(({ op, source, snapshot = 'false', id = 1 }): TestMessage => {
    const row = { id, v: op }
    const value = {
      before: op === 'd' ? row : null,
      after: 'cru'.includes(op) ? row : null,
      source: { connector: 'x', name: 'shop', db: 'd', snapshot, ...source },
      op,
      ts_ms: 5n,
    }
    return { key: op === 't' || op === 'm' ? null : encode(1, KEY, { id }), value: encode(2, schema, value) }
  })
  return decodeAll({ topic: 't', ...options }, { 1: KEY, 2: schema }, messages)
}

const column = (rows: Row[], name: string) => rows.map((row) => row[name])

test('Postgres: the last commit and the LSN; a snapshot has none, an incremental one says so', async (t) => {
  const fields: Field[] = [
    ['sequence', optional('string')],
    ['lsn', optional('long')],
  ]
  const at = (sequence: string | null) => ({ sequence, lsn: 1n })
  const { rows } = await events(fields, [
    { op: 'r', source: at('[null,"5"]'), snapshot: 'first' },
    { op: 'r', source: at('[null,"5"]'), snapshot: 'incremental' },
    { op: 'c', source: at('[null,"7"]') },
    { op: 'u', source: at('["18446744073709551615","9007199254740993"]'), snapshot: null },
    { op: 'd', source: at('["8","9"]') },
    { op: 'u', source: at(null) },
    { op: 'u', source: at('nonsense') },
    { op: 'u', source: at('["8","9"]'), snapshot: 'true' },
    { op: 't', source: at('["8","10"]') },
  ])
  t.deepEqual(column(rows, '_op'), [
    Op.upsert,
    Op.incremental,
    Op.upsert,
    Op.upsert,
    Op.delete,
    Op.upsert,
    Op.upsert,
    Op.upsert,
    Op.truncate,
  ])
  t.deepEqual(column(rows, '_seq'), [
    null,
    null,
    words(0, 7, 0),
    words(18446744073709551615n, 9007199254740993n, 0),
    words(8, 9, 0),
    null,
    null,
    null,
    words(8, 10, 0),
  ])
  t.is(new Set(column(rows, '_epoch').filter((epoch) => epoch !== null)).size, 1)
})

test('MySQL: file number, position and row; another server or base name is another epoch', async (t) => {
  const fields: Field[] = [
    ['server_id', 'long'],
    ['file', 'string'],
    ['pos', 'long'],
    ['row', 'int'],
    ['sequence', optional('string')],
  ]
  const at = (file: string, server_id = 1n) => ({ file, server_id, pos: 2n ** 40n, row: 3, sequence: null })
  const { rows } = await events(fields, [
    { op: 'c', source: at('binlog.000009') },
    { op: 'u', source: at('binlog.000010') },
    { op: 'u', source: at('other.000010') },
    { op: 'u', source: at('binlog.000010', 2n) },
    { op: 'u', source: at('binlog.000011') },
    { op: 'u', source: at('nonumber') },
  ])
  t.deepEqual(column(rows, '_seq'), [
    words(9, 2n ** 40n, 3),
    words(10, 2n ** 40n, 3),
    words(10, 2n ** 40n, 3),
    words(10, 2n ** 40n, 3),
    words(11, 2n ** 40n, 3),
    null,
  ])
  const [a, b, c, d, e] = column(rows, '_epoch')
  t.is(a, b)
  t.is(a, e)
  t.is(new Set([a, c, d]).size, 3)
})

test('SQL Server: commit LSN, change LSN, serial number', async (t) => {
  const fields: Field[] = [
    ['commit_lsn', optional('string')],
    ['change_lsn', optional('string')],
    ['event_serial_no', optional('long')],
  ]
  const source = { commit_lsn: '00000027:00000ac0:0002', change_lsn: '00000027:00000ab8:0003', event_serial_no: 2n }
  const { rows } = await events(fields, [
    { op: 'u', source },
    { op: 'u', source: { ...source, change_lsn: null } },
    { op: 'u', source: { ...source, commit_lsn: '00000027:00000ac0' } },
  ])
  t.deepEqual(column(rows, '_seq'), ['0000002700000ac000020000002700000ab8000300000002', null, null])
})

test('Oracle: SCN, record set id, SSN', async (t) => {
  const fields: Field[] = [
    ['scn', optional('string')],
    ['rs_id', optional('string')],
    ['ssn', optional('int')],
  ]
  const source = { scn: '2868546', rs_id: ' 0x000019.0000047f.0010 ', ssn: 1 }
  const { rows } = await events(fields, [
    { op: 'u', source },
    { op: 'u', source: { ...source, rs_id: null } },
  ])
  t.deepEqual(column(rows, '_seq'), [`00000000002bc542000000190000047f001000000001${'0000'}`, null])
})

test('without proof there is no sequence; the guard can be off, or the LSN alone', async (t) => {
  const set = 'hard'
  const messages = fixtureMessages(set, 'hard.public.openx')
  const schemas = fixtureSchemas(set)
  for (const orderGuard of ['auto', 'off'] as const) {
    const { table } = await decodeAll({ topic: 't', orderGuard }, schemas, messages)
    t.false(table?.schema.fields.some((field) => field.name === '_seq'))
  }
  const { rows } = await decodeAll({ topic: 't', orderGuard: 'lsn' }, schemas, messages)
  t.is(rows[0]?._seq, words(23361040, 0, 0))
  t.is(rows[4]?._op, Op.delete)
  t.is(rows[4]?._seq, words(23286064, 0, 0))
  const renamed = await decodeAll({ topic: 't', orderGuard: 'lsn', lsnColName: '__timestamp' }, schemas, messages)
  t.is(renamed.rows[0]?._seq, words(1795455050569, 0, 0))
})

test('flattened rows with op, snapshot and sequence', async (t) => {
  const { rows } = await decodeAll(
    { topic: 't' },
    fixtureSchemas('hard-seq'),
    fixtureMessages('hard-seq', 'hseq.public.openx'),
  )
  t.deepEqual(column(rows, '_seq'), [
    null,
    null,
    null,
    words(0, 23285984, 0),
    words(0, 23286064, 0),
    words(0, 23286128, 0),
    words(23381840, 23381840, 0),
    words(23381840, 23382080, 0),
  ])
  t.is(rows[0]?.__op, 'r')
})

test('a tombstone has the sequence of the delete before it, also from the batch before', async (t) => {
  const messages = fixtureMessages('hard-env', 'henv.public.openx').filter((message) => message.partition === 2)
  const schemas = fixtureSchemas('hard-env')
  const whole = await decodeAll({ topic: 't' }, schemas, messages)
  t.deepEqual(column(whole.rows, '_op'), [0, 1, 1, 2])
  t.is(whole.rows[1]?._seq, whole.rows[2]?._seq)
  const decoder = new TableDecoder({ topic: 't' }, schemaSource(schemas))
  const rows: Row[] = []
  for (const message of messages) rows.push(...(await decodeWith(decoder, batchOf('t', [message]))).rows)
  t.is(rows[2]?._seq, rows[1]?._seq)
  t.is(rows[2]?._epoch, rows[1]?._epoch)
  t.is(typeof rows[2]?._seq, 'string')
  const alone = await decodeAll({ topic: 't' }, schemas, messages.slice(2, 3))
  t.is(alone.rows[0]?._seq, undefined)
})

test('metadata columns have the names that a flattened stream gives them', async (t) => {
  const fields: Field[] = [
    ['sequence', optional('string')],
    ['lsn', optional('long')],
  ]
  const source = { sequence: '["8","9"]', lsn: 9n }
  const metadataColumns = ['op', 'ts_ms', 'source.lsn:log_sequence_number', 'lsn', 'source.db']
  const { rows, batch } = await events(
    fields,
    [
      { op: 'c', source },
      { op: 'd', source },
      { op: 'm', source },
    ],
    { metadataColumns },
  )
  t.deepEqual(rows[0], {
    id: 1,
    v: 'c',
    __op: 'c',
    __ts_ms: 5n,
    __log_sequence_number: 9n,
    __lsn: 9n,
    __source_db: 'd',
    _op: 0,
    _seq: words(8, 9, 0),
    _epoch: rows[0]?._epoch,
  })
  t.is(rows[1]?.__op, null)
  t.is(batch.numIgnored, 1)
  const error = await t.throwsAsync(events(fields, [{ op: 'c', source }], { metadataColumns: ['nope'] }))
  t.regex(error?.message ?? '', /nope/)
})

test('an event without a row, or of an unknown operation, is a bad record', async (t) => {
  const { batch } = await events([], [{ op: 'x', source: {} }], { onBadRecord: 'skip' })
  t.regex(batch.badRecords[0]?.reason ?? '', /none of c, r, u, d, t, m/)
})
