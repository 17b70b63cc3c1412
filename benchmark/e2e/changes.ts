/** The topics of the end-to-end benchmark: changes of orders, and the rows that they leave. */

import { CompressionTypes, type Kafka, type Message } from 'kafkajs'
import { Random } from '../../src/demo/random.js'
import { ConfluentEncoder, unscaledBytes } from '../../src/demo/shop-encoder.js'
import { DATE, MONEY } from '../../src/demo/shop-schemas.js'
import { registerCodecs } from '../../src/kafka/codecs.js'

/** Messages of a request. */
const CHUNK = 5_000
/** Of the messages so many are first ones of their key; of the others so many are deletes. */
const SHARES = { inserts: 0.6, deletes: 0.06 }
const FIRST_TIMESTAMP = 1_760_000_000_000
const FIRST_DAY = 19_358
const STATES = ['NEW', 'PAID', 'SHIPPED', 'DELIVERED', 'CANCELLED']
const LETTERS = [...'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 .']

const nullable = (type: unknown) => ['null', type]
const ZONED = { type: 'string', 'connect.version': 1, 'connect.name': 'io.debezium.time.ZonedTimestamp' }

const field = (name: string, type: unknown) => ({ name, type, ...(Array.isArray(type) ? { default: null } : {}) })
const OWN = [
  field('id', 'long'),
  field('customer', 'string'),
  field('order_date', ZONED),
  field('total_amount', MONEY),
  field('status', nullable('string')),
  field('note', nullable('string')),
  field('created_at', DATE),
]
const CONTROL = [
  field('__deleted', nullable('string')),
  field('__timestamp', nullable('long')),
  field('__log_sequence_number', nullable('long')),
]
const WIDE = Array.from({ length: 22 }, (_, i) => field(`c${i}`, nullable(['string', 'long', 'double', 'int'][i % 4])))

const record = (name: string, fields: object[]) => ({ type: 'record', name, fields })
const KEY = record('Key', [field('id', 'long')])

/** A row of 10 fields in 150 bytes, or of 33 with a document of JSON in 1.3 KB. */
export type Shape = 'narrow' | 'wide'

const KEY_ID = 1
const VALUE_IDS = { narrow: 2, wide: 3 }
const VALUES = {
  narrow: record('Narrow', [...OWN, ...CONTROL]),
  wide: record('Wide', [...OWN, field('document', nullable('string')), ...WIDE, ...CONTROL]),
}

/** By id, as the registry has them. */
export const SCHEMAS: Record<number, object> = {
  [KEY_ID]: KEY,
  [VALUE_IDS.narrow]: VALUES.narrow,
  [VALUE_IDS.wide]: VALUES.wide,
}

/** What a table has to hold in the end. `cents` is the sum of `total_amount`, in hundredths. */
export interface Totals {
  rows: number
  ids: number
  cents: number
}

/** A topic's changes, always the same. Each key is a partition's. */
export class Changes {
  readonly #random = new Random(1)
  readonly #keys = new ConfluentEncoder(KEY, KEY_ID)
  readonly #values: ConfluentEncoder
  /** By id less 1: the amount in cents, or -1 where the row is deleted. */
  readonly #live: number[] = []
  readonly #notes = Array.from({ length: 1_000 }, () => this.#text(60))
  readonly #documents = Array.from({ length: 200 }, (_, i) =>
    JSON.stringify({
      id: i,
      lines: Array.from({ length: 18 }, (_, n) => ({ sku: this.#text(12), quantity: n, price: i / 7 })),
    }),
  )
  /** Bytes of all keys and values. */
  bytes = 0

  constructor(
    readonly shape: Shape,
    readonly events: number,
    readonly partitions: number,
  ) {
    this.#values = new ConfluentEncoder(VALUES[shape], VALUE_IDS[shape])
  }

  #text(length: number): string {
    return Array.from({ length }, () => this.#random.pick(LETTERS)).join('')
  }

  #message(n: number): Message {
    const isNew = n === 0 || this.#random.chance(SHARES.inserts)
    const index = isNew ? this.#live.length : this.#random.integer(0, this.#live.length - 1)
    const isDeleted = !isNew && this.#random.chance(SHARES.deletes)
    const cents = this.#random.integer(100, 9_999_999)
    this.#live[index] = isDeleted ? -1 : cents
    const id = index + 1
    const row = {
      id,
      customer: `customer_${String((id * 7919) % 100_000).padStart(6, '0')}`,
      order_date: new Date(1_672_531_200_000 + id * 150_000).toISOString(),
      total_amount: unscaledBytes(cents),
      status: STATES[n % 5],
      note: this.#notes[n % 1_000],
      created_at: FIRST_DAY + Math.floor((id * 150) / 86_400),
      __deleted: String(isDeleted),
      __timestamp: FIRST_TIMESTAMP + n,
      __log_sequence_number: 1_000_000 + n * 8,
    }
    const value = this.#values.encode(this.shape === 'narrow' ? row : { ...row, ...this.#wideColumns(n) })
    const key = this.#keys.encode({ id })
    this.bytes += key.length + value.length
    return { key, value, partition: id % this.partitions }
  }

  #wideColumns(n: number): object {
    const values = [this.#notes[n % 997]?.slice(0, 12), n * 31, n / 7, n % 9_973]
    const columns = WIDE.map(({ name }, i) => [name, (n + i) % 5 === 0 ? null : values[i % 4]])
    return { document: this.#documents[n % 200], ...Object.fromEntries(columns) }
  }

  /** Makes all messages, and produces them compressed with LZ4. */
  async produce(kafka: Kafka, topic: string): Promise<void> {
    registerCodecs()
    const producer = kafka.producer({ maxInFlightRequests: 2 })
    await producer.connect()
    for (let sent = 0; sent < this.events; sent += CHUNK) {
      const count = Math.min(CHUNK, this.events - sent)
      const messages = Array.from({ length: count }, (_, i) => this.#message(sent + i))
      await producer.send({ topic, messages, compression: CompressionTypes.LZ4, acks: 1 })
    }
    await producer.disconnect()
  }

  get totals(): Totals {
    const totals = { rows: 0, ids: 0, cents: 0 }
    this.#live.forEach((cents, index) => {
      if (cents < 0) return
      totals.rows++
      totals.ids += index + 1
      totals.cents += cents
    })
    return totals
  }
}
