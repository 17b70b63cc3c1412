/** What is found in schemas, messages, offsets and settings, without systems. */

import test from 'ava'
import type { AvroSchemaJson } from '../../src/avro/schema.js'
import { columnsOf } from '../../src/check/columns.js'
import { failure } from '../../src/check/findings.js'
import { deadLetterTopics, nestedPaths } from '../../src/check/rules/config.js'
import { placeholders } from '../../src/check/rules/messages.js'
import { readers, rewrites, tableFindings } from '../../src/check/rules/table.js'
import { topicFindings } from '../../src/check/rules/topic.js'
import { valueFindings } from '../../src/check/rules/values.js'
import { shapeOf } from '../../src/check/shape.js'
import type { TableInfo } from '../../src/delta/table.js'
import { KafkaToDeltaError } from '../../src/errors.js'
import { Messages } from '../../src/kafka/messages.js'
import type { StoredOffsets } from '../../src/kafka/positions.js'
import type { RawMessage } from '../../src/kafka/raw-message.js'
import type { TopicState } from '../../src/kafka/topic-state.js'
import { resolveOptions } from '../../src/options/resolve.js'
import type { StreamOptions, TableOptions } from '../../src/options/types.js'
import { decodeOptions } from '../../src/stream/connect.js'

const HOUR = 3_600_000

function optionsOf(table: Partial<TableOptions> = {}, more: Partial<StreamOptions> = {}) {
  const options = resolveOptions({
    queryName: 'q',
    kafka: { brokers: ['b:1'] },
    schemaRegistry: { url: 'http://r:1' },
    tables: { t: { path: '/lake/t', ...table } },
    ...more,
  })
  return { options, table: options.tables[0] as (typeof options.tables)[number] }
}

/** A topic of one partition. */
function situation(settings: Record<string, string> | null, low = 0n, high = 100n) {
  const state: TopicState = {
    partitions: new Map([[0, { low, high }]]),
    settings: settings === null ? null : new Map(Object.entries(settings)),
    newest: [],
    isCut: false,
  }
  return state
}

/** A table that holds a topic up to an offset, whose message is so old. */
const storedUpTo = (offset: bigint, ageMs = 0): StoredOffsets => ({
  exists: true,
  last: new Map([[0, offset]]),
  records: new Map([[0, { offset, timestamp: String(Date.now() - ageMs) }]]),
})

const NOTHING: StoredOffsets = { exists: false, last: new Map() }

function topicCodes(
  state: TopicState,
  stored: StoredOffsets | null,
  own: Partial<TableOptions> = {},
  more: Partial<StreamOptions> = {},
) {
  const { options, table } = optionsOf(own, more)
  return topicFindings({ table, state, stored, now: Date.now() }, options).map(
    ({ code, severity }) => `${severity} ${code}`,
  )
}

test('offsets that are gone are errors, and warnings where failOnDataLoss is false', (t) => {
  const state = situation({ 'cleanup.policy': 'delete', 'retention.ms': '-1' }, 50n)
  t.deepEqual(topicCodes(state, storedUpTo(10n)), ['error DATA_LOSS'])
  t.deepEqual(topicCodes(state, storedUpTo(10n), {}, { failOnDataLoss: false }), ['warning DATA_LOSS'])
  t.deepEqual(topicCodes(state, storedUpTo(60n)), [])
  t.deepEqual(topicCodes(situation({}, 0n, 5n), storedUpTo(10n)), ['error DATA_LOSS'])
  const lost: StoredOffsets = { exists: true, last: new Map([[1, 5n]]) }
  t.deepEqual(topicCodes(state, lost), ['error OFFSET_MISSING'])
})

test('a retention shorter than the lag, by age and by what is left', (t) => {
  const settings = { 'cleanup.policy': 'delete', 'retention.ms': String(24 * HOUR) }
  t.deepEqual(topicCodes(situation(settings), storedUpTo(10n, 20 * HOUR)), ['warning RETENTION_NEAR'])
  t.deepEqual(topicCodes(situation(settings), storedUpTo(10n, HOUR)), [])
  t.deepEqual(topicCodes(situation(settings), storedUpTo(99n, 90 * HOUR)), [], 'nothing waits')
  t.deepEqual(topicCodes(situation(settings, 50n), storedUpTo(51n, HOUR)), ['warning RETENTION_NEAR'])
})

test('a new table of a topic that has lost its beginning', (t) => {
  const settings = { 'cleanup.policy': 'delete', 'retention.ms': String(24 * HOUR) }
  t.deepEqual(topicCodes(situation(settings, 50n), NOTHING), ['warning TOPIC_CUT'])
  t.deepEqual(topicCodes(situation(settings, 50n), NOTHING, {}, { startingOffsets: 'latest' }), [])
  t.deepEqual(topicCodes(situation(settings, 50n), null), [], 'the table could not be looked at')
  t.deepEqual(topicCodes(situation(null, 0n, 0n), NOTHING), ['note SETTINGS_HIDDEN', 'note TOPIC_EMPTY'])
})

test('compaction: histories, rows that expire, tombstones that expire', (t) => {
  const compacted = { 'cleanup.policy': 'compact', 'delete.retention.ms': String(24 * HOUR) }
  t.deepEqual(topicCodes(situation(compacted, 50n), NOTHING), [])
  t.deepEqual(topicCodes(situation(compacted), NOTHING, { writeMode: 'append' }), ['warning COMPACTED_HISTORY'])
  t.deepEqual(topicCodes(situation(compacted), storedUpTo(10n, 48 * HOUR)), ['warning TOMBSTONES_EXPIRE'])
  const both = { 'cleanup.policy': 'compact,delete', 'retention.ms': String(24 * HOUR) }
  t.deepEqual(topicCodes(situation(both), NOTHING), ['warning ROWS_EXPIRE'])
})

test('messages above the limits, by the setting and by what was read', (t) => {
  t.deepEqual(topicCodes(situation({ 'max.message.bytes': '100000000' }), NOTHING), ['warning MESSAGE_TOO_LARGE'])
  const state = situation({ 'max.message.bytes': '1000' })
  const message = { offset: '0', timestamp: '0', key: null, value: Buffer.alloc(2000) }
  const holding = (message: RawMessage) => [
    { partition: 0, firstOffset: 0n, lastOffset: 0n, messages: Messages.of([message]) },
  ]
  state.newest = holding(message)
  t.deepEqual(topicCodes(state, NOTHING, {}, { limits: { maxBatchBytes: 1500 } }), ['warning MESSAGE_TOO_LARGE'])
  t.deepEqual(topicCodes(state, NOTHING), [])
  const { options, table } = optionsOf({}, { limits: { maxBatchBytes: 1500, maxMemory: '1 MB' } })
  state.newest = holding({ ...message, value: Buffer.alloc(200_000) })
  const [beyond] = topicFindings({ table, state, stored: NOTHING, now: 0 }, options)
  t.regex(beyond?.message ?? '', /195 KB.*an eighth of limits\.maxMemory \(128 KB\).*bad record/)
})

const row = (fields: unknown[], name = 'Value'): AvroSchemaJson => ({ type: 'record', name, namespace: 'a.b', fields })
const ID = { name: 'id', type: 'int' }
const DELETED = { name: '__deleted', type: ['null', 'string'] }

async function valueCodes(value: AvroSchemaJson, own: Partial<TableOptions> = {}, numPartitions = 1) {
  const { table } = optionsOf(own)
  const shape = await shapeOf({ key: null, value: 1 }, decodeOptions(table), { get: async () => value })
  if (shape === null) return []
  const description = {
    primaryKey: ['id'],
    columns: shape.row.fields.map(({ name }) => ({ name, deltaType: 'string', source: '' })),
  }
  return valueFindings(shape, description, table, numPartitions).map(({ code, severity }) => `${severity} ${code}`)
}

test('flattened values without deletes, without positions, and none of Debezium', async (t) => {
  const lost = ['warning DELETES_NOT_TOLD', 'warning POSITIONS_MISSING', 'note TRUNCATES_NOT_TOLD']
  t.deepEqual(await valueCodes(row([ID]), {}, 3), lost)
  t.deepEqual(await valueCodes(row([ID, DELETED]), {}, 1), ['note POSITIONS_MISSING', 'note TRUNCATES_NOT_TOLD'])
  t.deepEqual(await valueCodes(row([ID, DELETED]), { writeMode: 'append' }), ['warning POSITIONS_MISSING'])
  t.deepEqual(await valueCodes(row([ID]), { deletes: 'ignore', orderGuard: 'off' }), ['note TRUNCATES_NOT_TOLD'])
  t.deepEqual(await valueCodes(row([ID], 'Order')), ['warning VALUE_NOT_DEBEZIUM'])
  const positions = ['__op', '__source_sequence', '__source_snapshot'].map((name) => ({
    name,
    type: ['null', 'string'],
  }))
  t.deepEqual(await valueCodes(row([ID, DELETED, ...positions]), {}, 3), ['note TRUNCATES_NOT_TOLD'])
})

test('values that arrive as NULL where a change leaves them out, and other losses', async (t) => {
  const named = (name: string, type: unknown) => ({ name, type })
  const only = async (column: unknown, ...added: unknown[]) =>
    (await valueCodes(row([ID, column, DELETED, ...added]))).filter((code) => !/POSITIONS|TRUNCATES/.test(code))
  const array = (items: unknown) => ['null', { type: 'array', items: ['null', items] }]
  for (const items of ['float', 'double', 'boolean', { type: 'int', 'connect.type': 'int16' }]) {
    t.deepEqual(await only(named('a', array(items))), ['warning LEFT_OUT_AS_NULL'], JSON.stringify(items))
  }
  for (const items of ['string', 'int', 'long', { type: 'int', 'connect.name': 'io.debezium.time.Date' }]) {
    t.deepEqual(await only(named('a', array(items))), [], JSON.stringify(items))
  }
  const decimal = { type: 'bytes', logicalType: 'decimal', precision: 60, scale: 2 }
  t.deepEqual(await only(named('d', decimal)), ['note DECIMAL_AS_TEXT'])
  const millis = { type: 'long', 'connect.name': 'org.apache.kafka.connect.data.Timestamp' }
  t.deepEqual(await only(named('ts', millis)), ['note TIME_PRECISION'])
  t.deepEqual(await only(named('ts', { type: 'long', 'connect.name': 'io.debezium.time.NanoTimestamp' })), [
    'note TIME_PRECISION',
  ])
  const lsn = { name: '__commit_lsn', type: ['null', 'string'] }
  const op = { name: '__op', type: ['null', 'string'] }
  t.deepEqual(await only(named('text', 'string'), op, lsn), ['warning LEFT_OUT_AS_NULL'], 'SQL Server')
})

test("Debezium's placeholder, where the options name another one", (t) => {
  const { table } = optionsOf({ unavailableValuePlaceholder: '__gone' })
  const message = { offset: '0', timestamp: '0', key: null, value: Buffer.from('a__debezium_unavailable_valueb') }
  const ranges = [{ partition: 0, firstOffset: 0n, lastOffset: 0n, messages: Messages.of([message]) }]
  t.is(placeholders({ ranges, badRecords: [] }, table)?.code, 'PLACEHOLDER_STORED')
  t.is(placeholders({ ranges, badRecords: [] }, optionsOf().table), null)
})

test('paths within each other, and dead letters without a topic', (t) => {
  const { options } = optionsOf(
    {},
    {
      tables: { a: { path: '/lake/a' }, b: { path: '/lake/a/b' }, c: { path: '/lake/ab' } },
      onBadRecord: 'dead-letter',
      deadLetter: { topic: 'dead' },
    },
  )
  t.deepEqual(
    nestedPaths(options.tables).map(({ message }) => /table of (\w)/.exec(message)?.[1]),
    ['b'],
  )
  t.is(deadLetterTopics(options, new Set(['a'])).length, 1)
  t.is(deadLetterTopics(options, new Set(['dead'])).length, 0)
})

const INFO: TableInfo = {
  ...{ exists: true, version: 3, uri: '/lake/t', name: null, schemaJson: null, partitionColumns: [] },
  ...{ numFiles: 2, numRows: 10, sizeBytes: 5_000_000, mergeMode: 'merge-on-read', properties: {} },
  ...{ offsets: [], indexKeys: 0, indexBytes: 0 },
}

test("a table of another's, of another query, with losses, with other properties", (t) => {
  const { table } = optionsOf({ tableProperties: { 'delta.appendOnly': 'false' } })
  const codes = (info: TableInfo, stored: StoredOffsets) =>
    tableFindings(info, table, 'q', stored).map(({ code }) => code)
  t.deepEqual(codes(INFO, NOTHING), ['TABLE_FOREIGN', 'PROPERTIES_DIFFER'])
  const properties = { 'delta.appendOnly': 'false' }
  const offsets = [
    { appId: 'old:t:0', version: 5n },
    { appId: 'q:t:0', version: 5n },
    { appId: 'q:t:0:lost', version: 3n },
  ]
  t.deepEqual(codes({ ...INFO, properties, offsets }, storedUpTo(5n)), ['OTHER_QUERY', 'NEEDS_RESYNC'])
  t.is(readers(INFO)?.code, 'READERS')
  t.is(readers({ mergeMode: 'copy-on-write', properties: {} }), null)
})

test('columns: added, widened, and what a wider type costs', (t) => {
  const schema = (...fields: [string, unknown][]) =>
    JSON.stringify({ type: 'struct', fields: fields.map(([name, type]) => ({ name, type, nullable: name !== 'id' })) })
  const description = { primaryKey: ['id'], columns: [{ name: 'n', deltaType: 'long', source: 'long' }] }
  const list = { type: 'array', elementType: 'string', containsNull: true }
  const columns = columnsOf(
    description,
    schema(['id', 'long'], ['n', 'integer']),
    schema(['id', 'long'], ['n', 'long'], ['l', list]),
  )
  t.deepEqual(
    columns.map(({ name, deltaType, isKey, nullable, change, before }) => [
      name,
      deltaType,
      isKey,
      nullable,
      change,
      before,
    ]),
    [
      ['id', 'long', true, false, 'none', null],
      ['n', 'long', false, true, 'widened', 'integer'],
      ['l', 'array<string>', false, true, 'new', null],
    ],
  )
  t.deepEqual(
    rewrites(columns, INFO, optionsOf().table).map(({ code }) => code),
    ['TABLE_REWRITTEN'],
  )
  t.deepEqual(
    rewrites(columns, INFO, optionsOf({ maxRewriteBytes: 1000 }).table).map(({ code }) => code),
    ['REWRITE_TOO_LARGE'],
  )
  t.deepEqual(rewrites(columns, { ...INFO, numFiles: 0 }, optionsOf().table), [])
})

test('errors of connections are told with what mends them', (t) => {
  const remedy = (message: string) => failure(new KafkaToDeltaError('KAFKA_UNREACHABLE', message)).remedy
  t.regex(remedy('getaddrinfo ENOTFOUND kafka'), /no such host/)
  t.regex(remedy('connect ECONNREFUSED 127.0.0.1:9'), /nothing listens/)
  t.regex(remedy('self-signed certificate in certificate chain'), /kafka\.ssl\.ca/)
  t.regex(remedy('Client network socket disconnected before secure TLS connection was established'), /speaks TLS/)
  t.regex(remedy('no answer'), /kafka\.brokers/)
  const wrapped = new KafkaToDeltaError('STORAGE', 'the table cannot be opened', {
    cause: new Error('404: NoSuchBucket'),
  })
  t.regex(failure(wrapped).message, /NoSuchBucket/)
  t.regex(failure(wrapped).remedy, /make the bucket/)
})
