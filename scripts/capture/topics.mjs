/** Writes topics as a fixture set: their messages, their schemas, and the same as readable text. */

import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import avro from 'avsc'
import { Kafka, logLevel } from 'kafkajs'
import { ENDPOINTS } from '../stack/settings.mjs'

const QUIET_MS = 4000
const TEXT = 80
const ITEMS = 12

const longs = avro.types.LongType.__with({
  fromBuffer: (buffer) => buffer.readBigInt64LE(),
  toBuffer: (value) => {
    const buffer = Buffer.alloc(8)
    buffer.writeBigInt64LE(value)
    return buffer
  },
  fromJSON: BigInt,
  toJSON: String,
  isValid: (value) => typeof value === 'bigint',
  compare: (a, b) => (a < b ? -1 : Number(a > b)),
})

/** Large values shortened. */
function short(_, value) {
  if (typeof value === 'bigint' || (typeof value === 'number' && !Number.isFinite(value))) return String(value)
  if (Array.isArray(value) && value.length > ITEMS) return `[${value.length} items ${value[0]}…]`
  if (value?.type === 'Buffer') return `0x${Buffer.from(value.data).toString('hex').slice(0, 64)}`
  return typeof value === 'string' && value.length > TEXT ? `<${value.length} chars ${value.slice(0, 12)}…>` : value
}

class Schemas {
  byId = {}
  #types = {}

  async decode(data) {
    if (data === null) return 'null'
    if (data[0] !== 0) throw new Error(`not in Confluent's format: ${data.toString('hex').slice(0, 60)}`)
    const id = data.readInt32BE(1)
    if (!this.byId[id]) {
      const response = await fetch(`${ENDPOINTS.REGISTRY_URL}/schemas/ids/${id}`)
      this.byId[id] = JSON.parse((await response.json()).schema)
      const typeHook = (schema) => (schema === 'long' || schema.type === 'long' ? longs : undefined)
      this.#types[id] = avro.Type.forSchema(this.byId[id], { wrapUnions: false, registry: {}, typeHook })
    }
    return `#${id} ${JSON.stringify(this.#types[id].fromBuffer(data.subarray(5)), short)}`
  }
}

async function connected(work) {
  const kafka = new Kafka({ brokers: [ENDPOINTS.KAFKA_BOOTSTRAP], logLevel: logLevel.NOTHING })
  const admin = kafka.admin()
  await admin.connect()
  try {
    return await work(admin, kafka)
  } finally {
    await admin.disconnect()
  }
}

async function endsOf(admin, topics) {
  const ends = new Map()
  for (const topic of topics) {
    for (const { partition, high } of await admin.fetchTopicOffsets(topic))
      ends.set(`${topic}/${partition}`, Number(high))
  }
  return ends
}

const matching = async (admin, pattern) => (await admin.listTopics()).filter((topic) => pattern.test(topic)).sort()

/** Waits until no topic that matches has grown for a while. */
export const untilQuiet = (pattern) =>
  connected(async (admin) => {
    let [last, since] = ['', Date.now()]
    while (Date.now() - since < QUIET_MS) {
      // A topic that is just being made has no leader yet.
      const ends = await endsOf(admin, await matching(admin, pattern)).catch(() => [String(Date.now())])
      const now = JSON.stringify([...ends])
      if (now !== last) [last, since] = [now, Date.now()]
      await sleep(300)
    }
  })

async function readAll(kafka, topics, ends) {
  const left = new Set([...ends].filter(([, high]) => high > 0).map(([place]) => place))
  const found = new Map(topics.map((topic) => [topic, []]))
  const consumer = kafka.consumer({ groupId: `capture-${Date.now()}`, maxWaitTimeInMs: 100 })
  await consumer.connect()
  await consumer.subscribe({ topics, fromBeginning: true })
  await new Promise((resolve, reject) => {
    const eachBatch = async ({ batch: { topic, partition, messages } }) => {
      for (const message of messages) found.get(topic).push({ ...message, partition })
      const place = `${topic}/${partition}`
      if (Number(messages.at(-1)?.offset ?? -1) + 1 >= ends.get(place)) left.delete(place)
      if (left.size === 0) resolve()
    }
    consumer.run({ autoCommit: false, eachBatch }).catch(reject)
  })
  await consumer.disconnect()
  return found
}

const cell = (value) => (value === null ? '\\N' : /[",\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value)

/** Writes the source's rows at the end, given as texts, where the tests look for them: SET/source/TABLE.csv. */
export function writeSource(folder, table, columns, rows) {
  mkdirSync(join(folder, 'source'), { recursive: true })
  const lines = [columns, ...rows.map((row) => columns.map((column) => cell(row[column])))]
  writeFileSync(join(folder, 'source', `${table}.csv`), `${lines.map((line) => line.join(',')).join('\n')}\n`)
}

const base64 = (data) => data && Buffer.from(data).toString('base64')

/** Reads the topics that match to their ends and writes `folder`/TOPIC.jsonl, `folder`/schemas.json and `folder`.txt. */
export const capture = (pattern, folder) =>
  connected(async (admin, kafka) => {
    const topics = await matching(admin, pattern)
    const found = await readAll(kafka, topics, await endsOf(admin, topics))
    rmSync(folder, { recursive: true, force: true })
    mkdirSync(folder, { recursive: true })
    const schemas = new Schemas()
    const text = []
    for (const [topic, messages] of found) {
      text.push(`== ${topic}`)
      const lines = []
      for (const { partition, offset, timestamp, key, value, headers } of messages) {
        const inHeaders = Object.entries(headers ?? {}).map(([name, data]) => [name, base64(data)])
        // Debezium 3 says in four headers of each message which connector wrote it.
        const shown = Object.entries(headers ?? {}).filter(([name]) => !name.startsWith('__debezium.context.'))
        const told = shown.length > 0 ? ` headers=${JSON.stringify(Object.fromEntries(shown), short)}` : ''
        text.push(` ${partition}/${offset} key=${await schemas.decode(key)}`)
        text.push(`      value=${await schemas.decode(value)}${told}`)
        const place = { partition, offset: Number(offset), timestamp: Number(timestamp) }
        const content = { key_b64: base64(key), value_b64: base64(value), headers: Object.fromEntries(inHeaders) }
        lines.push(JSON.stringify({ ...place, ...content }))
      }
      if (lines.length > 0) writeFileSync(join(folder, `${topic}.jsonl`), `${lines.join('\n')}\n`)
    }
    const known = Object.entries(schemas.byId).map(([id, schema]) => `"${id}": ${JSON.stringify(schema)}`)
    writeFileSync(join(folder, 'schemas.json'), `{\n${known.join(',\n')}\n}\n`)
    writeFileSync(`${folder}.txt`, `${text.join('\n')}\n`)
    console.log(`${folder}: ${[...found].map(([topic, messages]) => `${topic} ${messages.length}`).join(', ')}`)
  })
