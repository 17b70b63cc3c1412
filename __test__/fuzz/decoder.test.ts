/**
 * Broken messages. Each is a bad record with its position, or a row that a second decoder (avsc) reads the same; never a
 * crash, a hang or a row that is wrong, and its neighbours are as they were.
 *
 * SEED gives a run again; ROUNDS=20 goes on for longer. Found failures go into corpus/.
 */

import { readdirSync, readFileSync } from 'node:fs'
import test from 'ava'
import { TableDecoder } from '../../src/debezium/decoder.js'
import { randomTable } from '../avro/schemas.js'
import {
  batchOf,
  confluent,
  decodeWith,
  encode,
  fixtureMessages,
  fixtureSchemas,
  fixtureTopics,
  schemaSource,
  type TestMessage,
} from '../debezium/support.js'
import { wrappedType } from '../helpers/avsc-long.js'
import { generator, ROUNDS, SEED } from '../helpers/random.js'
import { check, type Probe, pristine, SecondReader, type Subject } from './check.js'
import { LYING_NUMBERS, mutate, varint } from './mutate.js'

const SETS = [
  'flat',
  'flat-adaptive',
  'hard',
  'hard-seq',
  'hard-env',
  'envelope',
  'mariadb-flat',
  'mariadb-flat-adaptive',
  'mariadb-envelope',
  'debezium-3',
  'debezium-3-isostring',
  'debezium-3-nanoseconds',
  'debezium-3-structured',
  'debezium-3-vectors',
  'debezium-3-mysql',
]
const KEY = { type: 'record', name: 'Key', fields: [{ name: 'id', type: 'long' }] }
const OPTIONS = [{}, { outOfRange: 'null' }, { outOfRange: 'clamp', time: 'string', decimal: 'double' }] as const
/** Bytes of the header, which says what the rest is. */
const HEADER = 5

interface Totals {
  bad: number
  taken: number
}

/** Runs the probes; throws with what tells the failure again. */
async function run(
  subject: Subject,
  probes: Probe[],
  expected: Map<number, Record<string, unknown>>,
  reader: SecondReader,
  totals: Totals,
): Promise<string | null> {
  const { wrong, bad, taken } = await check(subject, probes, expected, reader)
  totals.bad += bad
  totals.taken += taken
  return wrong === null ? null : `${wrong}\nof ${subject.name} with ${JSON.stringify(subject.options)}`
}

/** The messages, and after each of them broken ones. */
function among(messages: TestMessage[], broken: (message: TestMessage) => TestMessage[]) {
  const probes: Probe[] = []
  const places: number[] = []
  for (const message of messages) {
    places.push(probes.length)
    probes.push({ message, intact: true })
    for (const other of broken(message)) probes.push({ message: other, intact: false })
  }
  return { probes, places }
}

/** What is expected of the intact messages, at their places among the broken ones. */
function placed(expected: Map<number, Record<string, unknown>>, places: number[]) {
  const found = new Map<number, Record<string, unknown>>()
  for (const [at, row] of expected) {
    if (at >= 0) found.set(places[at] as number, row)
    else found.set(-1 - (places[-1 - at] as number), row)
  }
  return found
}

const bytesOf = (messages: TestMessage[], part: 'key' | 'value') =>
  messages.map((message) => message[part]).filter((bytes): bytes is Buffer => bytes != null)

const CORPUS = new URL('./corpus/', import.meta.url)

interface CorpusCase {
  /** What went wrong once, or could. */
  why: string
  outcome: 'refused' | 'taken'
  options: Subject['options']
  schema: unknown
  /** The message's value, hexadecimal. */
  value: string
}

for (const file of readdirSync(CORPUS).sort()) {
  const { why, outcome, options, schema, value } = JSON.parse(readFileSync(new URL(file, CORPUS), 'utf8')) as CorpusCase
  test.serial(`corpus: ${file}: ${why}`, async (t) => {
    const subject: Subject = { name: file, schemas: { 1: KEY, 2: schema }, options: options ?? {} }
    const key = encode(1, KEY, { id: 1n })
    const message = { key, value: Buffer.from(value, 'hex') }
    const { wrong, bad, taken } = await check(
      subject,
      [{ message, intact: false }],
      new Map(),
      new SecondReader(subject),
    )
    t.is(wrong, null)
    t.deepEqual({ bad, taken }, outcome === 'taken' ? { bad: 0, taken: 1 } : { bad: 1, taken: 0 })
  })
}

const asRow = (type: unknown, more: unknown[] = []) => ({
  type: 'record',
  name: 'Value',
  fields: [{ name: 'id', type: 'long' }, { name: 'c', type }, ...more],
})

/** Too large for the corpus: what could use up the stack, the time or the memory. */
interface Hostile {
  name: string
  schema: unknown
  payload: () => Buffer
  /** What the messages beside it hold instead. Default a zero: null, an empty text, an empty array. */
  harmless?: Buffer
  excluded?: boolean
  refused: boolean
}

const HOSTILE: Hostile[] = [
  {
    name: 'a list of a million records within each other',
    schema: asRow({ type: 'record', name: 'Node', fields: [{ name: 'next', type: ['null', 'Node'] }] }),
    payload: () => Buffer.alloc(1_000_000, 2),
    excluded: true,
    refused: true,
  },
  {
    name: 'arrays within each other, deep',
    schema: asRow({ type: 'record', name: 'Tree', fields: [{ name: 'kids', type: { type: 'array', items: 'Tree' } }] }),
    payload: () => Buffer.alloc(500_000, 2),
    excluded: true,
    refused: true,
  },
  {
    name: 'a schema that doubles at each of forty levels',
    schema: asRow(doubled(40)),
    payload: () => varint(0n),
    excluded: true,
    refused: false,
  },
  {
    name: 'half a million blocks that claim all that follows',
    schema: asRow({ type: 'array', items: { type: 'array', items: 'int' } }),
    payload: () => Buffer.concat(Array.from({ length: 100_000 }, () => Buffer.from([2, 0xfe, 0xff, 3]))),
    refused: true,
  },
  {
    name: 'blocks of nothing without end',
    schema: asRow({ type: 'array', items: 'null' }),
    payload: () => Buffer.concat([...Array.from({ length: 100_000 }, () => LYING_NUMBERS[16] as Buffer), varint(0n)]),
    excluded: true,
    refused: false,
  },
  {
    name: 'an empty text of four megabytes of zeros beyond its end',
    schema: asRow('string'),
    payload: () => Buffer.concat([varint(5_000_000n), Buffer.alloc(4_000_000)]),
    refused: true,
  },
  {
    name: 'a text of four megabytes',
    schema: asRow('string'),
    payload: () => Buffer.concat([varint(4_000_000n), Buffer.alloc(4_000_000, 'é')]),
    refused: false,
  },
  {
    name: 'a decimal of a megabyte',
    schema: asRow({ type: 'bytes', logicalType: 'decimal', precision: 60, scale: 2 }),
    payload: () => Buffer.concat([varint(1_000_000n), Buffer.alloc(1_000_000, 1)]),
    harmless: Buffer.from([2, 1]),
    refused: true,
  },
]

function doubled(levels: number): unknown {
  let type: unknown = { type: 'record', name: 'L0', fields: [{ name: 'a', type: ['null', 'int'] }] }
  for (let i = 1; i <= levels; i++) {
    const fields = [
      { name: 'a', type },
      { name: 'b', type: `L${i - 1}` },
    ]
    type = { type: 'record', name: `L${i}`, fields }
  }
  return { type: 'array', items: type }
}

for (const { name, schema, payload, harmless = Buffer.from([0]), excluded, refused } of HOSTILE) {
  test.serial(`hostile: ${name}`, async (t) => {
    const options = excluded === true ? { excludeColumns: ['c'] } : {}
    const good = (id: bigint) => {
      return { key: encode(1, KEY, { id }), value: confluent(2, Buffer.concat([varint(id), harmless])) }
    }
    const bad = { key: encode(1, KEY, { id: 5n }), value: confluent(2, Buffer.concat([varint(5n), payload()])) }
    const decoder = new TableDecoder(
      { topic: 't', onBadRecord: 'skip', ...options },
      schemaSource({ 1: KEY, 2: schema }),
    )
    const before = process.memoryUsage().arrayBuffers
    const start = process.cpuUsage()
    const { batch, rows } = await decodeWith(decoder, batchOf('t', [good(1n), bad, good(2n)]))
    const { user, system } = process.cpuUsage(start)
    t.true(user + system < 10_000_000, `it took ${(user + system) / 1000} ms`)
    t.true(process.memoryUsage().arrayBuffers - before < 300_000_000)
    t.is(batch.badRecords.length, refused ? 1 : 0)
    t.deepEqual(
      rows.map((row) => row.id).filter((id) => id !== 5n),
      [1n, 2n],
    )
    if (refused) t.like(batch.badRecords[0], { topic: 't', partition: 0, offset: '1' })
  })
}

for (const set of SETS) {
  test.serial(`captured messages of ${set}, broken (SEED=${SEED})`, async (t) => {
    const random = generator(SEED + SETS.indexOf(set))
    const totals = { bad: 0, taken: 0 }
    for (const topic of fixtureTopics(set)) {
      const messages = fixtureMessages(set, topic)
      const options = { defaults: random.pick(OPTIONS) }
      const subject: Subject = { name: `${set}/${topic}`, schemas: fixtureSchemas(set), options }
      if (messages.every(({ key }) => key === null)) subject.options = { ...options, primaryKey: ['id'] }
      const reader = new SecondReader(subject)
      const expected = await pristine(subject, messages)
      const values = bytesOf(messages, 'value')
      const keys = bytesOf(messages, 'key')
      for (let round = 0; round < 6 * ROUNDS; round++) {
        const { probes, places } = among(messages, (message) => {
          const { key, value } = message
          return Array.from({ length: 4 }, () => {
            if (key != null && random.below(5) === 0) return { ...message, key: mutate(key, HEADER, random, keys) }
            if (value == null) return message
            return { ...message, value: mutate(value, random.below(30) === 0 ? 0 : HEADER, random, values) }
          }).filter(sameSchemas(subject, message))
        })
        const wrong = await run(subject, probes, placed(expected, places), reader, totals)
        if (wrong !== null) {
          t.fail(wrong)
          return
        }
      }
    }
    t.log(`${totals.bad} refused, ${totals.taken} taken`)
    t.true(totals.bad > 50 && totals.taken > 50)
  })
}

/** Without those whose header names another schema of the topic: that is another table, and no broken message. */
function sameSchemas(subject: Subject, original: TestMessage) {
  const changed = (was: Buffer | null | undefined, is: Buffer | null | undefined) =>
    was != null &&
    is != null &&
    is.length >= HEADER &&
    is[0] === 0 &&
    is.readInt32BE(1) !== was.readInt32BE(1) &&
    subject.schemas[is.readInt32BE(1)] !== undefined
  return ({ key, value }: TestMessage) => !changed(original.key, key) && !changed(original.value, value)
}

test.serial(`messages cut at every byte, and every bit turned (SEED=${SEED})`, async (t) => {
  const random = generator(SEED + 100)
  const totals = { bad: 0, taken: 0 }
  for (let round = 0; round < 40 * ROUNDS; round++) {
    const table = randomTable(random, 1 + random.below(5))
    const type = wrappedType(table.schema)
    const message = (id: number) => ({
      key: encode(1, KEY, { id: BigInt(id) }),
      value: confluent(2, type.toBuffer(table.row(id, { random, outside: 0 }))),
    })
    const options = { columns: Object.fromEntries(table.columns.map((c) => [c.name, c.options])) }
    const subject = { name: JSON.stringify(table.schema), schemas: { 1: KEY, 2: table.schema }, options }
    const messages = Array.from({ length: 4 }, (_, id) => message(id))
    const { probes, places } = among(messages, ({ key, value }) => {
      const bytes = value as Buffer
      const step = Math.max(1, Math.floor(bytes.length / 40))
      const broken: TestMessage[] = []
      for (let at = HEADER; at < bytes.length; at += step) {
        broken.push({ key: key as Buffer, value: bytes.subarray(0, at) })
        const turned = Buffer.from(bytes)
        turned[at] = (turned[at] as number) ^ (1 << random.below(8))
        broken.push({ key: key as Buffer, value: turned })
        broken.push({ key: key as Buffer, value: mutate(bytes, HEADER, random, bytesOf(messages, 'value')) })
      }
      return broken
    })
    const expected = placed(await pristine(subject, messages), places)
    const wrong = await run(subject, probes, expected, new SecondReader(subject), totals)
    if (wrong !== null) {
      t.fail(wrong)
      return
    }
  }
  t.log(`${totals.bad} refused, ${totals.taken} taken`)
  t.true(totals.bad > 500 && totals.taken > 500)
})
