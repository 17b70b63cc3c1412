/** Fetches are read as kafkajs reads them, message for message. */

import { createRequire } from 'node:module'
import test, { type ExecutionContext } from 'ava'
import type { KafkaMessage } from 'kafkajs'
import { registerCodecs } from '../../src/kafka/codecs.js'
import { readAsColumns, readRecordSet, withOwnDecoder } from '../../src/kafka/fetch-decoder.js'
import { readFetchResponse } from '../../src/kafka/fetch-response.js'
import { messagesOf, portionsOf } from '../../src/kafka/fetched-messages.js'
import { fixKafkajs, hideAborted } from '../../src/kafka/kafkajs-fixes.js'
import { Messages } from '../../src/kafka/messages.js'
import type { RawMessage } from '../../src/kafka/raw-message.js'
import type { FetchedRecords } from '../../src/kafka/record-batches.js'
import { generator, type Random, ROUNDS, SEED } from '../helpers/random.js'
import {
  compressed,
  fetchResponse,
  marker,
  messageSet,
  recordBatch,
  type WrittenPartition,
  type WrittenRecord,
} from './record-sets.js'

registerCodecs()
const load = createRequire(import.meta.url)

interface Answer<M> {
  responses: { topicName: string; partitions: ({ messages: M } & Record<string, unknown>)[] }[]
}

const theirs = (bytes: Buffer, version: number): Promise<Answer<KafkaMessage[]>> =>
  load(`kafkajs/src/protocol/requests/fetch/v${version}/response`).decode(bytes)

const plain = ({ offset, timestamp, key, value, headers }: RawMessage) => ({
  offset,
  timestamp: timestamp ?? '-1',
  key: key && Buffer.from(key),
  value: value && Buffer.from(value),
  headers: Object.fromEntries(Object.entries(headers ?? {})),
})

const allOf = ({ records }: FetchedRecords) => [...new Messages([{ records, from: 0, to: records.length }])]

/** Both read the same out of an answer. Gives what ours has read. */
async function same(t: ExecutionContext, version: number, topics: Record<string, WrittenPartition[]>) {
  const bytes = fetchResponse(version, topics)
  const expected = await theirs(bytes, version)
  const read = await readFetchResponse(bytes, version, readRecordSet)
  const comparable = <M>(answer: Answer<M>, messages: (of: M) => RawMessage[]) => ({
    ...answer,
    responses: answer.responses.map((topic) => ({
      ...topic,
      partitions: topic.partitions.map((one) => ({ ...one, messages: messages(one.messages).map(plain) })),
    })),
  })
  t.deepEqual(
    comparable(read as unknown as Answer<FetchedRecords>, allOf),
    comparable(expected, (messages) => messages as RawMessage[]),
  )
  return read
}

const SOME: WrittenRecord[] = [
  { key: Buffer.from('a'), value: Buffer.from('one') },
  { key: null, value: Buffer.alloc(0), timeDelta: 5n },
  { key: Buffer.from('b'), value: null, timeDelta: -700n },
  { value: Buffer.from('with'), headers: [['__debezium.newkey', Buffer.from('k')]] },
  {
    headers: [
      ['twice', Buffer.from('1')],
      ['twice', Buffer.from('2')],
      ['none', null],
      ['twice', null],
      ['ümlaut', Buffer.alloc(0)],
    ],
  },
]

for (const version of [4, 5, 6, 7, 8, 9, 10, 11]) {
  test(`an answer of version ${version}: all fields, several topics and partitions, empty ones and errors`, async (t) => {
    const first = recordBatch({ first: 10, records: SOME })
    const second = recordBatch({ first: 15, records: SOME, isAppendTime: true, maxTime: 77n })
    await same(t, version, {
      orders: [
        { partition: 2, records: Buffer.concat([first, second]), aborted: [{ producerId: 5n, first: 2n }] },
        { partition: 0, records: Buffer.alloc(0) },
      ],
      'more.of-them': [{ partition: 1, records: second, errorCode: 1 }],
      none: [],
    })
  })
}

for (const [codec, name] of ['none', 'gzip', 'snappy', 'lz4', 'zstd'].entries()) {
  test(`batches with compression ${name}, alone and after others`, async (t) => {
    const of = codec === 0 ? {} : { compressed: await compressed(codec, SOME) }
    const packed = recordBatch({ first: 100, records: SOME, ...of })
    const records = Buffer.concat([recordBatch({ first: 90, records: SOME }), packed, packed])
    await same(t, 11, { t: [{ partition: 0, records }] })
    await same(t, 11, { t: [{ partition: 0, records: packed }] })
    const large = Array.from({ length: 5_000 }, (_, i) => ({
      key: Buffer.from(`k${i}`),
      value: Buffer.alloc(1_000, i),
    }))
    const largeOf = codec === 0 ? {} : { compressed: await compressed(codec, large) }
    await same(t, 11, { t: [{ partition: 0, records: recordBatch({ first: 1, records: large, ...largeOf }) }] })
  })
}

test('offsets and times of 64 bits', async (t) => {
  const times = [0n, 1n, -1n, 2n ** 31n, 2n ** 49n, -(2n ** 49n), 2n ** 62n, -(2n ** 62n), 2n ** 63n - 1n - 1_000n]
  const records = times.map((timeDelta) => ({ timeDelta }))
  const firsts = [0n, 2n ** 31n - 3n, 2n ** 32n - 3n, 2n ** 53n - 2n, 2n ** 62n + 12_345n]
  for (const first of firsts) await same(t, 11, { t: [{ partition: 0, records: recordBatch({ first, records }) }] })
  for (const time of [-1n, -1_000n, 2n ** 32n - 1n, 2n ** 53n, 2n ** 62n])
    await same(t, 11, { t: [{ partition: 0, records: recordBatch({ first: 0, records: SOME, time }) }] })
})

test('what compaction leaves: holes, and batches without records', async (t) => {
  const holed = recordBatch({ first: 0, records: [{ offsetDelta: 3 }, { offsetDelta: 9 }], lastDelta: 20 })
  const empty = recordBatch({ first: 21, records: [], lastDelta: 9 })
  const read = await same(t, 11, { t: [{ partition: 0, records: Buffer.concat([holed, empty]) }] })
  const [fetched] = read.responses[0]?.partitions ?? []
  t.deepEqual(
    fetched?.messages.batches.map(({ last }) => last),
    [20n, 30n],
  )
})

test('a last batch that is cut off is left out, wherever it is cut', async (t) => {
  const whole = recordBatch({ first: 0, records: SOME })
  const next = recordBatch({ first: 5, records: SOME })
  for (let length = 0; length < next.length; length++) {
    const records = Buffer.concat([whole, next.subarray(0, length)])
    const read = await same(t, 11, { t: [{ partition: 0, records }] })
    t.is(read.responses[0]?.partitions[0]?.messages.batches.length, 1)
  }
})

test('sets of messages of old versions are read by kafkajs', async (t) => {
  for (const magic of [0, 1] as const) {
    const records = messageSet(
      magic,
      40,
      SOME.map(({ key = null, value = null }) => ({ key, value })),
    )
    const read = await same(t, 4, { t: [{ partition: 0, records }] })
    const fetched = read.responses[0]?.partitions[0]?.messages as FetchedRecords
    t.is(allOf(fetched).length, 5)
    t.is(fetched.batches[0]?.last, 44n)
    await same(t, 4, { t: [{ partition: 0, records: records.subarray(0, records.length - 3) }] })
  }
})

test('a header named as a property of every object has the values of the message alone', async (t) => {
  for (const name of ['constructor', '__proto__', 'toString']) {
    const records = recordBatch({ first: 0, records: [{ headers: [[name, Buffer.from('x')]] }] })
    const [message] = allOf(await readRecordSet(records))
    t.deepEqual(Object.entries(message?.headers ?? {}), [[name, Buffer.from('x')]])
    t.deepEqual(message?.header(name), Buffer.from('x'))
    t.is(message?.header('valueOf'), undefined)
  }
})

/** What kafkajs hands over of a partition from an offset on, by its own decoder and our rule of what a reader may see. */
async function visibleByKafkajs(bytes: Buffer, fetchOffset: bigint): Promise<RawMessage[]> {
  const answer = await theirs(bytes, 11)
  const partition = answer.responses[0]?.partitions[0] as unknown as Parameters<typeof hideAborted>[0]
  hideAborted(partition)
  const shown = partition.messages.filter(({ isControlRecord }) => !isControlRecord) as unknown as RawMessage[]
  return shown.filter(({ offset }) => BigInt(offset) >= fetchOffset)
}

async function portions(bytes: Buffer, fetchOffset: bigint) {
  const { responses } = await readFetchResponse(bytes, 11, readRecordSet)
  const partition = responses[0]?.partitions[0]
  if (!partition) throw new Error('no partition')
  return portionsOf(partition.messages, partition.abortedTransactions, String(fetchOffset))
}

function randomRecord({ below, next }: Random): WrittenRecord {
  const bytes = (most: number) => (below(4) === 0 ? null : Buffer.alloc(below(most), below(256)))
  const headers: [string, Buffer | null][] = Array.from({ length: next() < 0.2 ? below(4) : 0 }, () => [
    `h${below(3)}`,
    bytes(10),
  ])
  return { key: bytes(20), value: bytes(300), headers, timeDelta: BigInt(below(100) - 50) }
}

test('the mark of an abort ends the transaction: what the same producer writes after it is seen', async (t) => {
  const batch = (first: number, producerId: bigint) =>
    recordBatch({ first, records: SOME.slice(0, 2), producerId, isTransactional: true })
  const records = Buffer.concat([
    batch(0, 9n),
    batch(2, 8n),
    marker(4, 9n, 'abort'),
    batch(5, 9n),
    marker(7, 8n, 'commit'),
    marker(8, 9n, 'commit'),
    batch(9, 8n),
    marker(11, 8n, 'abort'),
  ])
  const aborted = [
    { producerId: 8n, first: 9n },
    { producerId: 9n, first: 0n },
  ]
  const bytes = fetchResponse(11, { t: [{ partition: 0, records, aborted }] })
  const [, portion] = await portions(bytes, 0n)
  const seen = [...(portion?.messages ?? [])].map(({ offset }) => offset)
  t.deepEqual(seen, ['2', '3', '5', '6'])
  t.deepEqual(
    (await visibleByKafkajs(bytes, 0n)).map(({ offset }) => offset),
    seen,
  )
  t.is(portion?.offset, '11')
})

/** A log of batches of several producers, with transactions that overlap, abort and commit, and what compaction took. */
async function randomLog(random: Random) {
  const { below, pick } = random
  const batches: { first: number; bytes: Buffer }[] = []
  const aborted: { producerId: bigint; first: bigint }[] = []
  const open = new Map<bigint, { first: number; aborts: boolean }>()
  let at = below(1_000)
  for (let i = 0; i < 20; i++) {
    const producerId = BigInt(below(4))
    const first = at
    const transaction = open.get(producerId)
    if (transaction && below(3) === 0) {
      batches.push({ first, bytes: marker(first, producerId, transaction.aborts ? 'abort' : 'commit') })
      if (transaction.aborts) aborted.push({ producerId, first: BigInt(transaction.first) })
      open.delete(producerId)
      at++
      continue
    }
    const isTransactional = producerId > 0n
    if (isTransactional && !transaction) open.set(producerId, { first, aborts: below(2) === 0 })
    let delta = -1
    const size = below(6)
    const records = Array.from({ length: size }, () => {
      delta += 1 + (below(3) === 0 ? below(3) : 0)
      return { ...randomRecord(random), offsetDelta: delta }
    })
    const lastDelta = Math.max(0, delta) + below(3)
    const codec = size === 0 ? 0 : pick([0, 0, 1, 2, 3, 4])
    const of = codec === 0 ? {} : { compressed: await compressed(codec, records) }
    batches.push({ first, bytes: recordBatch({ first, records, lastDelta, producerId, isTransactional, ...of }) })
    at += lastDelta + 1
  }
  for (const [producerId, { first, aborts }] of open) if (aborts) aborted.push({ producerId, first: BigInt(first) })
  return { batches, aborted, end: at }
}

test(`random logs: what a reader may see from any offset on (SEED=${SEED})`, async (t) => {
  const random = generator(SEED)
  for (let round = 0; round < 100 * ROUNDS; round++) {
    const { batches, aborted, end } = await randomLog(random)
    const begun = random.below(batches.length)
    const from = batches[begun]?.first as number
    const fetchOffset = BigInt(from + random.below(Math.min(8, end - from)))
    const records = Buffer.concat(batches.slice(begun).map(({ bytes }) => bytes))
    const bytes = fetchResponse(11, { t: [{ partition: 0, records, aborted }] })
    const expected = await visibleByKafkajs(bytes, fetchOffset)
    const [begin, rest] = await portions(bytes, fetchOffset)
    t.is(begin?.offset, String(fetchOffset))
    t.is(rest?.offset, String(end - 1))
    t.deepEqual([...messagesOf(begin && rest ? [begin, rest] : [])].map(plain), expected.map(plain), `round ${round}`)
  }
})

test('kafkajs makes a batch of it that ends where the record batches end', async (t) => {
  const Batch = load('kafkajs/src/consumer/batch')
  const records = Buffer.concat([
    recordBatch({ first: 5, records: SOME }),
    recordBatch({ first: 10, records: [], lastDelta: 89 }),
  ])
  const found = await portions(fetchResponse(11, { t: [{ partition: 0, records }] }), 7n)
  const batch = new Batch('t', '7', { partition: 0, highWatermark: '200', abortedTransactions: [], messages: found })
  t.is(batch.firstOffset(), '7')
  t.is(batch.lastOffset(), '99')
  t.false(batch.isEmpty())
  t.deepEqual(
    [...messagesOf(batch.messages)].map(({ offset }) => offset),
    ['7', '8', '9'],
  )
  // An emptied batch alone is what kafkajs filtered: it resolves the offset by itself.
  const empty = recordBatch({ first: 10, records: [], lastDelta: 89 })
  const emptied = await portions(fetchResponse(11, { t: [{ partition: 0, records: empty }] }), 10n)
  const nothing = new Batch('t', '10', { partition: 0, highWatermark: '200', messages: emptied })
  t.true(nothing.isEmptyDueToFiltering())
  t.deepEqual([nothing.firstOffset(), nothing.lastOffset()], ['10', '99'])
  t.deepEqual(await portions(fetchResponse(11, { t: [{ partition: 0, records: Buffer.alloc(0) }] }), 10n), [])
})

test(`bytes that are no records are refused, and never read beyond (SEED=${SEED})`, async (t) => {
  const { below } = generator(SEED)
  const good = Buffer.concat([recordBatch({ first: 0, records: SOME }), recordBatch({ first: 5, records: SOME })])
  let refused = 0
  for (let round = 0; round < 2_000 * ROUNDS; round++) {
    const bytes = Buffer.from(good)
    for (let n = 1 + below(3); n > 0; n--) bytes[below(bytes.length)] = below(256)
    try {
      const { records, batches } = await readRecordSet(bytes)
      for (const place of records.places) t.true(place >= -1 && place <= records.bytes.length)
      t.is(batches.at(-1)?.to ?? 0, records.length)
      for (const message of allOf({ records, batches })) message.headers
    } catch (error) {
      refused++
      t.true(error instanceof Error)
    }
  }
  t.true(refused > 0)
  const many = Buffer.from(good)
  many.writeInt32BE(2 ** 31 - 1, 57)
  await t.throwsAsync(readRecordSet(many), { message: /2147483647 records in/ })
  const response = fetchResponse(11, { orders: [{ partition: 3, records: many }] })
  await t.throwsAsync(readFetchResponse(response, 11, readRecordSet), { message: /^orders, partition 3: .*records in/ })
})

test('fetches of our own clients alone are read as columns', async (t) => {
  fixKafkajs()
  const Connection = load('kafkajs/src/network/connection')
  const payload = fetchResponse(11, { t: [{ partition: 0, records: recordBatch({ first: 0, records: SOME }) }] })
  const { decode, parse } = load('kafkajs/src/protocol/requests/fetch/v11/response')
  const isOurs = async (socketFactory: object, apiName: string, apiVersion: number) => {
    const sent = { request: { apiName, apiVersion }, response: { decode, parse } }
    const { response } = withOwnDecoder({ socketFactory }, sent)
    t.is(response.parse, parse)
    return response.decode !== decode
  }
  const own = readAsColumns(() => {})
  t.true(await isOurs(own, 'Fetch', 4))
  t.true(await isOurs(own, 'Fetch', 11))
  t.false(await isOurs(own, 'Fetch', 3))
  t.false(await isOurs(own, 'Fetch', 12))
  t.false(await isOurs(own, 'Metadata', 6))
  t.false(await isOurs(() => {}, 'Fetch', 11))
  // Through kafkajs's connection itself.
  const send = async (socketFactory: object) => {
    const connection = Object.assign(Object.create(Connection.prototype), {
      ...{ socketFactory, connectionStatus: 'connected', correlationId: 0, clientId: 'c', shouldLogFetchBuffer: false },
      ...{ logDebug() {}, logError() {}, isAuthenticated: () => true, isConnected: () => true },
      requestQueue: {
        push: ({ entry }: { entry: { resolve(answer: object): void } }) =>
          entry.resolve({ correlationId: 0, size: 1, entry, payload }),
        maybeThrottle() {},
      },
    })
    const request = load('kafkajs/src/protocol/requests/fetch').protocol({ version: 11 })
    const { request: made, response } = request({ maxWaitTime: 1, minBytes: 1, maxBytes: 1, topics: [], rackId: '' })
    const answer = await connection.send({ request: made, response })
    return answer.responses[0].partitions[0].messages
  }
  t.true(Array.isArray(await send(() => {})))
  const { records } = await send(own)
  t.is(records.length, 5)
})
