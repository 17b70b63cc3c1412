/** The topics of the backlog: what their messages are, and which rows they leave. */

import { randomBytes } from 'node:crypto'
import type { Kafka, Message } from 'kafkajs'
import { ConfluentEncoder } from '../../src/demo/shop-encoder.js'

const MB = 2 ** 20
const WIDE_COLUMNS = 600
const KEY_ID = 1

/** What a topic's rows are. Texts of `noise` cannot be compressed; every second one of the large ones can. */
type Kind = 'large' | 'wide' | 'narrow' | 'text' | 'noise'

const FIELDS = [
  { name: 'id', type: 'long' },
  { name: 'number', type: 'double' },
  { name: 'text', type: 'string' },
  { name: '__deleted', type: 'string' },
]
const wideFields = Array.from({ length: WIDE_COLUMNS }, (_, i) => ({
  name: `c${i}`,
  type: ['null', i % 2 === 0 ? 'double' : 'string'],
  default: null,
}))
const KEY = { type: 'record', name: 'Key', fields: [{ name: 'id', type: 'long' }] }
const VALUE = { type: 'record', name: 'Value', fields: FIELDS }
const WIDE = { type: 'record', name: 'Wide', fields: [...FIELDS, ...wideFields] }
const VALUE_ID = 2
const WIDE_ID = 3
export const SCHEMAS: [id: number, schema: object][] = [
  [KEY_ID, KEY],
  [VALUE_ID, VALUE],
  [WIDE_ID, WIDE],
]

/** Characters of a text, about. */
const TEXT: Record<Exclude<Kind, 'large'>, number> = { wide: 100, narrow: 300, text: 4_000, noise: 4_000 }
/** Each of so many messages of a topic deletes its row. */
const DELETES = 20
/** Of the messages of a backlog so many bring new rows, the others change them. */
const NEW = 0.6
/** Bytes of a request to Kafka, which is one batch of messages there. */
const REQUEST = MB / 2
/** Topics that are filled at the same time. */
const PARALLEL = 4

const NOISE = randomBytes(24 * MB).toString('base64')
const PHRASE = 'the quick brown fox jumps over the lazy dog; '

function noise(length: number): string {
  const start = Math.floor(Math.random() * Math.max(1, NOISE.length - length))
  const text = NOISE.slice(start, start + length)
  return text.length === length ? text : text + noise(length - text.length)
}

class Topic {
  readonly #keys = new ConfluentEncoder(KEY, KEY_ID)
  readonly #values: ConfluentEncoder
  /** By id: whether the row is there. */
  #live = new Uint8Array(1024)
  #ids = 0
  /** Messages so far. */
  sent = 0

  constructor(
    readonly name: string,
    readonly kind: Kind,
    private readonly largeBytes: number,
  ) {
    this.#values = new ConfluentEncoder(VALUE, kind === 'wide' ? WIDE_ID : VALUE_ID)
  }

  /** Brings a new row, or changes or deletes one that is there. */
  message(isNew: boolean): Message & { value: Buffer } {
    const n = this.sent++
    const id = isNew || this.#ids === 0 ? this.#ids++ : (n * 7919) % this.#ids
    const isDeleted = n % DELETES === DELETES - 1
    this.#note(id, isDeleted)
    const text = isDeleted ? '' : this.#text(n)
    const row = this.#values.encode({ id, number: n / 7, text, __deleted: String(isDeleted) })
    // A record's fields stand one after the other.
    const value = this.kind === 'wide' ? Buffer.concat([row, isDeleted ? NULLS : wideColumns(n)]) : row
    return { key: this.#keys.encode({ id }), value }
  }

  /** Rows that are left; none is there that is not among them. */
  get rows(): number {
    return this.#live.reduce((sum, is) => sum + is, 0)
  }

  has(id: number): boolean {
    return this.#live[id] === 1
  }

  #text(n: number): string {
    if (this.kind === 'large')
      return n % 2 === 0 ? noise(this.largeBytes) : PHRASE.repeat(this.largeBytes / PHRASE.length)
    const length = TEXT[this.kind]
    if (this.kind === 'noise') return noise(length)
    return `${n} ${PHRASE.repeat(length / PHRASE.length)}`
  }

  #note(id: number, isDeleted: boolean): void {
    if (id >= this.#live.length) {
      const live = new Uint8Array(this.#live.length * 2)
      live.set(this.#live)
      this.#live = live
    }
    this.#live[id] = isDeleted ? 0 : 1
  }
}

/** The wide columns of a row that is deleted. */
const NULLS = Buffer.alloc(WIDE_COLUMNS)
/** Rows that differ in them. Few: to encode one takes milliseconds. */
const WIDE_ROWS = 200
const wideRows: Buffer[] = []
const wideEncoder = new ConfluentEncoder({ type: 'record', name: 'Columns', fields: wideFields }, WIDE_ID)

/** Half of them numbers, a quarter texts, a quarter null. */
function wideColumns(n: number): Buffer {
  const row = n % WIDE_ROWS
  const value = (i: number) => (i % 2 === 0 ? (row * i) / 7 : i % 4 === 1 ? `text ${row} of ${i}` : null)
  const columns = () => Object.fromEntries(wideFields.map(({ name }, i) => [name, value(i)]))
  wideRows[row] ??= wideEncoder.encode(columns()).subarray(5)
  return wideRows[row]
}

/** All topics, of one partition each. */
export class Topics {
  readonly all: Topic[]
  readonly #producer
  #next = 0

  /** @param largeBytes of the texts of the topic with the large messages */
  constructor(
    private readonly kafka: Kafka,
    count: number,
    private readonly largeBytes: number,
  ) {
    const kinds: Kind[] = ['large', 'wide']
    const others: Kind[] = ['narrow', 'text', 'noise', 'text', 'noise', 'text']
    const kindOf = (n: number): Kind => kinds[n] ?? (others[n % others.length] as Kind)
    this.all = Array.from({ length: count }, (_, n) => new Topic(`bench.${kindOf(n)}.t${n}`, kindOf(n), largeBytes))
    this.#producer = kafka.producer({ retry: { retries: 10 } })
  }

  async create(): Promise<void> {
    const admin = this.kafka.admin()
    await admin.connect()
    // A message and what is beside it in its batch.
    const entries = { 'max.message.bytes': String(this.largeBytes + MB), 'retention.ms': '-1' }
    const configEntries = Object.entries(entries).map(([name, value]) => ({ name, value }))
    await admin.createTopics({
      waitForLeaders: true,
      topics: this.all.map(({ name }) => ({ topic: name, numPartitions: 1, configEntries })),
    })
    await admin.disconnect()
    await this.#producer.connect()
  }

  /** A tenth of so many bytes is large messages, and a tenth wide rows; the other topics have equal parts. */
  async fill(bytes: number): Promise<void> {
    const part = ({ kind }: Topic) =>
      kind === 'large' || kind === 'wide' ? bytes / 10 : (bytes * 0.8) / Math.max(1, this.all.length - 2)
    const topics = this.all.values()
    const fillSome = async () => {
      for (const topic of topics) await this.#fill(topic, part(topic))
    }
    await Promise.all(Array.from({ length: PARALLEL }, fillSome))
  }

  async #fill(topic: Topic, bytes: number): Promise<void> {
    let left = bytes
    while (left > 0) {
      const messages: Message[] = []
      let size = 0
      do {
        const message = topic.message(topic.sent % 10 < NEW * 10)
        messages.push(message)
        size += message.value.length
      } while (size < Math.min(REQUEST, left))
      left -= size
      await this.#producer.send({ topic: topic.name, messages, acks: 1 })
    }
  }

  /** Changes of all topics, one after the other; a large message only where it is asked for. */
  async change(count: number, isLargeToo: boolean): Promise<void> {
    const byTopic = new Map<Topic, Message[]>()
    for (let n = 0; n < count; n++) {
      const topic = this.all[this.#next++ % this.all.length] as Topic
      if (topic.kind === 'large') continue
      const messages = byTopic.get(topic) ?? []
      messages.push(topic.message(topic.sent % 10 === 0))
      byTopic.set(topic, messages)
    }
    const [large] = this.all
    if (isLargeToo && large !== undefined) byTopic.set(large, [large.message(large.sent % 10 === 0)])
    const topicMessages = [...byTopic].map(([{ name }, messages]) => ({ topic: name, messages }))
    await this.#producer.sendBatch({ topicMessages, acks: 1 })
  }

  /** Messages so far. */
  get sent(): number {
    return this.all.reduce((sum, topic) => sum + topic.sent, 0)
  }

  async close(): Promise<void> {
    await this.#producer.disconnect()
  }
}
