/** A topic of random changes, appended to an embedded broker and kept as a captured set for the oracle. */

import { appendFileSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import avro from 'avsc'
import type { EmbeddedBroker } from '../../../src/demo/broker/index.js'
import type { EmbeddedRegistry } from '../../../src/demo/registry.js'

const KEY_ID = 1
const VALUE_ID = 2
const KEY = { type: 'record', name: 'Key', namespace: 'gen', fields: [{ name: 'id', type: 'int' }] } as const
const VALUE = {
  type: 'record',
  name: 'Value',
  namespace: 'gen',
  fields: [
    { name: 'id', type: 'int' },
    { name: 'v', type: ['null', 'string'], default: null },
    { name: 'big', type: ['null', 'string'], default: null },
    { name: 'n', type: 'int' },
    { name: '__deleted', type: ['null', 'string'], default: null },
  ],
} as const
const LEFT_OUT = '__debezium_unavailable_value'

/** A generator of numbers in [0, 1) that gives the same ones for the same seed (mulberry32). */
export function randomNumbers(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
}

/** The seed from the environment variable SEED, otherwise a new one. */
export const testSeed = (): number => Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31))

export class GeneratedTopic {
  readonly dir: string
  readonly topic: string
  readonly #broker: EmbeddedBroker
  readonly #random: () => number
  readonly #partitions: number
  readonly #keys: number
  readonly #live = new Set<number>()
  readonly #key = avro.Type.forSchema(KEY as unknown as avro.Schema)
  readonly #value = avro.Type.forSchema(VALUE as unknown as avro.Schema)
  #count = 0

  constructor(options: {
    dir: string
    topic: string
    broker: EmbeddedBroker
    registry: EmbeddedRegistry
    random: () => number
    partitions: number
    /** How many different keys there are. */
    keys: number
  }) {
    this.dir = options.dir
    this.topic = options.topic
    this.#broker = options.broker
    this.#random = options.random
    this.#partitions = options.partitions
    this.#keys = options.keys
    mkdirSync(options.dir, { recursive: true })
    writeFileSync(join(options.dir, 'schemas.json'), JSON.stringify({ [KEY_ID]: KEY, [VALUE_ID]: VALUE }))
    options.broker.createTopic(options.topic, options.partitions)
    options.registry.setSchema(KEY_ID, KEY, `${options.topic}-key`)
    options.registry.setSchema(VALUE_ID, VALUE, `${options.topic}-value`)
  }

  /** Messages appended so far. */
  get count(): number {
    return this.#count
  }

  /** Appends inserts, updates (some leave `big` out) and deletes; a key stays in its partition. */
  append(changes: number): void {
    const byPartition = new Map<number, { key: Buffer; value: Buffer }[]>()
    for (let i = 0; i < changes; i++) {
      const id = Math.floor(this.#random() * this.#keys)
      const isLive = this.#live.has(id)
      const deleted = isLive && this.#random() < 0.15
      const big = isLive && this.#random() < 0.5 ? LEFT_OUT : `big ${this.#count}`
      const n = this.#count++
      if (deleted) this.#live.delete(id)
      else this.#live.add(id)
      const value = deleted
        ? { id, v: null, big: null, n: 0, __deleted: 'true' }
        : { id, v: `v${n}`, big, n, __deleted: 'false' }
      const messages = byPartition.get(id % this.#partitions) ?? []
      messages.push({
        key: framed(KEY_ID, this.#key.toBuffer({ id })),
        value: framed(VALUE_ID, this.#value.toBuffer(value)),
      })
      byPartition.set(id % this.#partitions, messages)
    }
    for (const [partition, messages] of byPartition) {
      const timestamp = Date.now()
      const { first } = this.#broker.append(
        this.topic,
        partition,
        messages.map((m) => ({ ...m, timestamp })),
      )
      const lines = messages.map(({ key, value }, i) =>
        JSON.stringify({
          partition,
          offset: first + i,
          timestamp,
          key_b64: key.toString('base64'),
          value_b64: value.toString('base64'),
          headers: {},
        }),
      )
      appendFileSync(join(this.dir, `${this.topic}.jsonl`), `${lines.join('\n')}\n`)
    }
  }
}

/** The Confluent header before the Avro bytes. */
function framed(id: number, avroBytes: Buffer): Buffer {
  const header = Buffer.alloc(5)
  header.writeInt32BE(id, 1)
  return Buffer.concat([header, avroBytes])
}
