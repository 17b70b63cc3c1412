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
  return decodeAll({ topic: 't', ...options }, { 1: KEY, 2: schema }, messages, 2)
}

const column = (rows: Row[], name: string) => rows.map((row) => row[name])
/** Of each sequence the part that orders transactions. */
const transactions = (rows: Row[]) => column(rows, '_seq').map((seq) => (seq as string | null)?.slice(0, 32) ?? null)

test('Postgres: the LSNs of the last commit and of the change; a snapshot and a first transaction have none', async (t) => {
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
    Op.upsert,
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
    null,
    words(18446744073709551615n, 9007199254740993n, 0),
    words(8, 9, 0),
    null,
    null,
    null,
    words(8, 10, 0),
  ])
  t.is(new Set(column(rows, '_epoch').filter((epoch) => epoch !== null)).size, 1)
})

test('MySQL: file number and position; another server or base name is another epoch', async (t) => {
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
  t.deepEqual(transactions(rows), [
    words(9, 2n ** 40n),
    words(10, 2n ** 40n),
    words(10, 2n ** 40n),
    words(10, 2n ** 40n),
    words(11, 2n ** 40n),
    null,
  ])
  const [a, b, c, d, e] = column(rows, '_epoch')
  t.is(a, b)
  t.is(a, e)
  t.is(new Set([a, c, d]).size, 3)
})

test('MySQL and MariaDB: a GTID takes the place of file and position, and its server is the epoch', async (t) => {
  const fields: Field[] = [
    ['server_id', 'long'],
    ['gtid', optional('string')],
    ['file', 'string'],
    ['pos', 'long'],
    ['row', 'int'],
  ]
  const at = (gtid: string | null, pos: number, row = 0) => ({
    server_id: 1n,
    gtid,
    file: 'b.1',
    pos: BigInt(pos),
    row,
  })
  const { rows } = await events(fields, [
    { op: 'c', source: at('3e11fa47-71ca-11e1-9e33-c80aa9429562:23', 900) },
    { op: 'u', source: at('3e11fa47-71ca-11e1-9e33-c80aa9429562:24', 10) },
    { op: 'u', source: at('3e11fa47-71ca-11e1-9e33-c80aa9429562:24', 10, 1) },
    { op: 'u', source: at('3e11fa47-71ca-11e1-9e33-c80aa9429563:25', 10) },
    { op: 'u', source: at('0-1-77', 10) },
    { op: 'u', source: at('0-2-78', 10) },
    { op: 'u', source: at(null, 10) },
  ])
  const [before, after, beside] = column(rows, '_seq')
  t.deepEqual(transactions(rows), [
    words(23, 0),
    words(24, 0),
    words(24, 0),
    words(25, 0),
    words(77, 0),
    words(78, 0),
    words(1, 10),
  ])
  t.not(after, beside)
  t.not(before, after)
  const epochs = column(rows, '_epoch')
  t.is(epochs[0], epochs[1])
  t.is(new Set(epochs).size, 5)
})

test('SQL Server: the commit LSN orders transactions, change LSN and serial number tell changes apart', async (t) => {
  const fields: Field[] = [
    ['commit_lsn', optional('string')],
    ['change_lsn', optional('string')],
    ['event_serial_no', optional('long')],
  ]
  const source = { commit_lsn: '00000027:00000ac0:0002', change_lsn: '00000027:00000ab8:0003', event_serial_no: 2n }
  const { rows } = await events(fields, [
    { op: 'u', source },
    { op: 'u', source: { ...source, change_lsn: null } },
    { op: 'u', source: { ...source, event_serial_no: 3n } },
    { op: 'u', source: { ...source, commit_lsn: '00000027:00000ac0' } },
  ])
  const commit = '0000002700000ac00002000000000000'
  t.deepEqual(transactions(rows), [commit, commit, commit, null])
  t.is(new Set(column(rows, '_seq')).size, 4)
})

test('Oracle: the commit SCN orders transactions, what else there is tells changes apart', async (t) => {
  const fields: Field[] = [
    ['scn', optional('string')],
    ['commit_scn', optional('string')],
    ['rs_id', optional('string')],
    ['ssn', optional('int')],
  ]
  const source = { scn: '2868546', commit_scn: '2868550', rs_id: ' 0x000019.0000047f.0010 ', ssn: 1 }
  const { rows } = await events(fields, [
    { op: 'u', source },
    { op: 'u', source: { ...source, rs_id: null } },
    { op: 'u', source: { ...source, commit_scn: null } },
  ])
  t.deepEqual(transactions(rows), [words(2868550, 0), words(2868550, 0), null])
  t.not(rows[0]?._seq, rows[1]?._seq)
})

test('without proof there is no sequence; topics of one partition have no order at all', async (t) => {
  const messages = fixtureMessages('hard', 'hard.public.openx')
  const schemas = fixtureSchemas('hard')
  const columns = async (options: Partial<DecodeOptions>, numPartitions: number) => {
    const { table } = await decodeAll({ topic: 't', ...options }, schemas, messages, numPartitions)
    return table?.schema.fields
      .map(({ name }) => name)
      .filter((name) => ['_seq', '_epoch', '_timestamp'].includes(name))
  }
  t.deepEqual(await columns({}, 2), ['_timestamp'])
  t.deepEqual(await columns({}, 1), [])
  t.deepEqual(await columns({ orderGuard: 'off' }, 2), [])
  const { rows } = await decodeAll({ topic: 't' }, schemas, messages, 2)
  t.deepEqual(
    rows.map(({ _timestamp }) => String(_timestamp)),
    messages.map(({ timestamp }) => timestamp),
  )
})

test('flattened rows with op, snapshot and sequence', async (t) => {
  const { rows } = await decodeAll(
    { topic: 't' },
    fixtureSchemas('hard-seq'),
    fixtureMessages('hard-seq', 'hseq.public.openx'),
    2,
  )
  t.deepEqual(column(rows, '_seq'), [
    null,
    null,
    null,
    null,
    null,
    null,
    words(23381840, 23381840, 0),
    words(23381840, 23382080, 0),
  ])
  t.is(rows[0]?.__op, 'r')
})

test('a tombstone stands where the delete before it stands, also from the batch before', async (t) => {
  const schema = envelope([['sequence', optional('string')]])
  const source = { connector: 'x', name: 'shop', db: 'd', snapshot: 'false', sequence: '["8","9"]' }
  const event = { before: { id: 1, v: 'd' }, after: null, source, op: 'd', ts_ms: 5n }
  const key = encode(1, KEY, { id: 1 })
  const messages: TestMessage[] = [
    { key, value: encode(2, schema, event), timestamp: '100' },
    { key, value: null, timestamp: '101' },
    { key, value: null, timestamp: '102' },
    { key: encode(1, KEY, { id: 2 }), value: null, timestamp: '103' },
  ]
  const schemas = { 1: KEY, 2: schema }
  const whole = await decodeAll({ topic: 't' }, schemas, messages, 2)
  t.deepEqual(column(whole.rows, '_op'), [1, 1, 1, 1])
  t.deepEqual(column(whole.rows, '_seq'), [words(8, 9, 0), words(8, 9, 0), words(8, 9, 0), null])
  t.deepEqual(column(whole.rows, '_timestamp'), [100n, 100n, 100n, 103n])
  const decoder = new TableDecoder({ topic: 't' }, schemaSource(schemas))
  const rows: Row[] = []
  for (const [i, message] of messages.slice(0, 2).entries()) {
    const batch = batchOf('t', [{ ...message, offset: String(i) }], 2)
    rows.push(...(await decodeWith(decoder, batch)).rows)
  }
  t.is(rows[1]?._seq, rows[0]?._seq)
  t.is(rows[1]?._epoch, rows[0]?._epoch)
  t.is(rows[1]?._timestamp, 100n)
  const alone = await decodeAll({ topic: 't' }, schemas, messages.slice(1, 2), 2)
  t.is(alone.rows[0]?._seq, undefined)
  t.is(alone.rows[0]?._timestamp, 101n)
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
    _timestamp: 0n,
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
