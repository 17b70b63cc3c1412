/** Loads captured topics into the embedded broker and registry, every message where it was. */

import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { BrokerRecord, EmbeddedBroker } from './broker/index.js'
import type { EmbeddedRegistry } from './registry.js'

/** One line of a captured topic. */
export interface FixtureMessage {
  partition: number
  offset: number
  /** Milliseconds since 1970. */
  timestamp: number
  key_b64: string | null
  /** Null: a tombstone. */
  value_b64: string | null
  /** Values in base64. */
  headers: Record<string, string | null | (string | null)[]>
}

export interface LoadedTopic {
  name: string
  partitions: number
  messages: number
}

const SCHEMAS_FILE = 'schemas.json'
const TOPIC_SUFFIX = '.jsonl'
/** Small batches, so that a consumer sees several of them. */
const RECORDS_PER_BATCH = 100

/** The topics of a captured set, by name. Throws where the folder is none. */
export function fixtureTopics(dir: string): string[] {
  return readdirSync(dir)
    .filter((file) => file.endsWith(TOPIC_SUFFIX))
    .map((file) => file.slice(0, -TOPIC_SUFFIX.length))
    .sort()
}

/** The messages of a captured topic, in the order of the file. Throws with file and line where one cannot be read. */
export function readFixtureTopic(dir: string, topic: string): FixtureMessage[] {
  const file = join(dir, topic + TOPIC_SUFFIX)
  const messages: FixtureMessage[] = []
  for (const [index, line] of readFileSync(file, 'utf8').split('\n').entries()) {
    if (line === '') continue
    try {
      messages.push(JSON.parse(line) as FixtureMessage)
    } catch (cause) {
      throw new Error(`${file}, line ${index + 1}: no JSON`, { cause })
    }
  }
  return messages
}

/** The schemas of a captured set: id → schema. */
export function readFixtureSchemas(dir: string): Map<number, object> {
  const file = join(dir, SCHEMAS_FILE)
  if (!existsSync(file)) return new Map()
  const schemas = JSON.parse(readFileSync(file, 'utf8')) as Record<string, object | string>
  return new Map(
    Object.entries(schemas).map(([id, schema]) => [
      Number(id),
      typeof schema === 'string' ? JSON.parse(schema) : schema,
    ]),
  )
}

/** A captured message as a record for the broker, at its own offset. */
export function fixtureRecord(message: FixtureMessage): BrokerRecord {
  const headers: NonNullable<BrokerRecord['headers']> = {}
  for (const [name, value] of Object.entries(message.headers)) {
    headers[name] = Array.isArray(value) ? value.map(fromBase64) : fromBase64(value)
  }
  return {
    offset: message.offset,
    timestamp: message.timestamp,
    key: fromBase64(message.key_b64),
    value: fromBase64(message.value_b64),
    headers,
  }
}

function fromBase64(text: string | null): Buffer | null {
  return text === null ? null : Buffer.from(text, 'base64')
}

/** The subject that a connector registers a schema under: Debezium names schemas after the topic. */
function subjectOf(schema: object): string | undefined {
  const { namespace, name } = schema as { namespace?: unknown; name?: unknown }
  if (typeof namespace !== 'string') return undefined
  if (name === 'Key') return `${namespace}-key`
  return name === 'Value' || name === 'Envelope' ? `${namespace}-value` : undefined
}

/**
 * Loads a captured set: its schemas under their ids, and each topic with as many partitions as were seen, every
 * message at its partition and offset with its timestamp, key, value and headers. Gaps between offsets stay gaps.
 * @param options.topics only these; default: all of the set
 * @throws where a topic exists already or a message cannot be read
 */
export async function loadFixtureSet(
  dir: string,
  broker: EmbeddedBroker,
  registry: EmbeddedRegistry,
  options: { topics?: readonly string[] } = {},
): Promise<{ topics: LoadedTopic[] }> {
  for (const [id, schema] of readFixtureSchemas(dir)) registry.setSchema(id, schema, subjectOf(schema))
  const topics: LoadedTopic[] = []
  for (const name of options.topics ?? fixtureTopics(dir)) {
    const messages = readFixtureTopic(dir, name)
    const byPartition = new Map<number, FixtureMessage[]>()
    for (const message of messages) {
      const list = byPartition.get(message.partition)
      if (list) list.push(message)
      else byPartition.set(message.partition, [message])
    }
    const partitions = Math.max(0, ...byPartition.keys()) + 1
    broker.createTopic(name, partitions)
    for (const [partition, list] of byPartition) {
      list.sort((a, b) => a.offset - b.offset)
      for (let i = 0; i < list.length; i += RECORDS_PER_BATCH) {
        broker.append(name, partition, list.slice(i, i + RECORDS_PER_BATCH).map(fixtureRecord))
      }
    }
    topics.push({ name, partitions, messages: messages.length })
  }
  return { topics }
}
