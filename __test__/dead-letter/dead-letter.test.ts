import { type StructRowProxy, tableFromIPC } from 'apache-arrow'
import test from 'ava'
import { collectDeadLetters, inGroups } from '../../src/dead-letter/dead-letter.js'
import { deadLetterRows } from '../../src/dead-letter/delta-rows.js'
import { toMessage } from '../../src/dead-letter/kafka-session.js'
import { Messages } from '../../src/kafka/messages.js'
import type { MicroBatch } from '../../src/kafka/micro-batch.js'
import { letter } from './support.js'

test('letters are taken out of a batch as they came, with all that a message has', (t) => {
  const key = Buffer.from([0, 0, 0, 0, 7, 1])
  const value = Buffer.from('{}')
  const headers = { text: 'a', bytes: Buffer.from([255]), many: [Buffer.from('1'), 'two'], none: undefined }
  const batch: MicroBatch = {
    topic: 'a',
    ranges: [
      {
        partition: 3,
        firstOffset: 5n,
        lastOffset: 7n,
        messages: Messages.of([
          { offset: '5', timestamp: '10', key, value: null },
          { offset: '6', timestamp: '11', key, value, headers },
        ]),
      },
      {
        partition: 1,
        firstOffset: 6n,
        lastOffset: 6n,
        messages: Messages.of([{ offset: '6', timestamp: '-1', key: null, value: null }]),
      },
    ],
    numMessages: 3,
    numPartitions: 4,
    numBytes: 20,
  }
  const bad = (partition: number, offset: string) => ({
    topic: 'a',
    partition,
    offset,
    reason: `r${partition}`,
    key: null,
    value: null,
  })
  const letters = collectDeadLetters(batch, [bad(3, '6'), bad(1, '6')], 'q')
  t.deepEqual(letters, [
    {
      topic: 'a',
      partition: 3,
      offset: '6',
      timestamp: '11',
      key,
      value,
      headers: [
        { name: 'text', value: Buffer.from('a') },
        { name: 'bytes', value: Buffer.from([255]) },
        { name: 'many', value: Buffer.from('1') },
        { name: 'many', value: Buffer.from('two') },
        { name: 'none', value: null },
      ],
      reason: 'r3',
      code: 'BAD_RECORD',
      queryName: 'q',
      keySchemaId: 7,
      valueSchemaId: null,
    },
    {
      topic: 'a',
      partition: 1,
      offset: '6',
      timestamp: null,
      key: null,
      value: null,
      headers: [],
      reason: 'r1',
      code: 'BAD_RECORD',
      queryName: 'q',
      keySchemaId: null,
      valueSchemaId: null,
    },
  ])
  t.deepEqual(collectDeadLetters(batch, [], 'q'), [])
  const piece = Buffer.alloc(1_000_000).subarray(0, 100)
  const messages = Messages.of([{ offset: '0', timestamp: '0', key: null, value: piece }])
  const small = { ...batch, ranges: [{ partition: 0, firstOffset: 0n, lastOffset: 0n, messages }] }
  t.is(collectDeadLetters(small, [bad(0, '0')], 'q')[0]?.value?.buffer.byteLength, 100, 'all that was fetched with it')
  t.throws(() => collectDeadLetters(batch, [bad(9, '6')], 'q'), { message: /not in the batch/ })
})

test('groups keep the order and the bounds; a large letter is alone', (t) => {
  const letters = [1, 2, 3, 4, 5].map((offset) =>
    letter(offset, offset === 4 ? { value: Buffer.alloc(10_000) } : { value: null }),
  )
  const offsets = [...inGroups(letters, 2, 5_000)].map((group) => group.map(({ offset }) => Number(offset)))
  t.deepEqual(offsets, [[1, 2], [3], [4], [5]])
  t.deepEqual([...inGroups([], 2, 5)], [])
})

test('rows hold every byte, null and repeated header', (t) => {
  const letters = [
    letter(1),
    letter(2, { key: null, value: Buffer.alloc(0), headers: [], timestamp: null, keySchemaId: null }),
    letter(3, {
      offset: '9223372036854775806',
      headers: [
        { name: 'x', value: null },
        { name: 'x', value: Buffer.from([0, 255]) },
      ],
    }),
  ]
  const table = tableFromIPC(deadLetterRows(letters, 1_700_000_001_000))
  t.is(table.batches.length, 1)
  const rows = table.toArray() as StructRowProxy[]
  t.deepEqual(
    rows.map((row) => row.offset),
    [1n, 2n, 9223372036854775806n],
  )
  t.deepEqual(
    rows.map((row) => row.timestamp),
    [1_700_000_000_123, null, 1_700_000_000_123],
  )
  t.deepEqual(
    rows.map((row) => row.key && [...row.key]),
    [[0, 0, 0, 0, 1, 1], null, [0, 0, 0, 0, 1, 3]],
  )
  t.deepEqual(
    rows.map((row) => [...row.value]),
    [[255, 254, 1], [], [255, 254, 3]],
  )
  t.deepEqual(
    rows.map((row) => [...row.headers].map(({ key, value }) => [key, value && [...value]])),
    [
      [['h', [120]]],
      [],
      [
        ['x', null],
        ['x', [0, 255]],
      ],
    ],
  )
  t.deepEqual(
    rows.map((row) => [row.key_schema_id, row.value_schema_id, row._op, row.query_name, row.written_at]),
    [
      [1, null, 0, 'q', 1_700_000_001_000],
      [null, null, 0, 'q', 1_700_000_001_000],
      [1, null, 0, 'q', 1_700_000_001_000],
    ],
  )
})

test('a Kafka message keeps key, value and headers; ours come beside and after them', (t) => {
  const message = toMessage(
    letter(4, {
      headers: [
        { name: 'h', value: Buffer.from('1') },
        { name: 'h', value: Buffer.from('2') },
        { name: 'kafka2delta.offset', value: Buffer.from('99') },
      ],
    }),
  )
  t.deepEqual(message, {
    key: letter(4).key,
    value: letter(4).value,
    headers: {
      h: [Buffer.from('1'), Buffer.from('2')],
      'kafka2delta.topic': 'a',
      'kafka2delta.partition': '0',
      'kafka2delta.offset': [Buffer.from('99'), '4'],
      'kafka2delta.timestamp': '1700000000123',
      'kafka2delta.code': 'BAD_RECORD',
      'kafka2delta.reason': 'the value is no Avro',
      'kafka2delta.query': 'q',
    },
  })
})
