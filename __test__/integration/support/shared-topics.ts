/** Topics whose tables many workers share, and whether each message is in its table once. */

import { join } from 'node:path'
import type { EmbeddedBroker } from '../../../src/demo/broker/index.js'
import type { EmbeddedRegistry } from '../../../src/demo/registry.js'
import { ConfluentEncoder } from '../../../src/demo/shop-encoder.js'
import type { StreamOptions } from '../../../src/options/types.js'
import { readRows } from '../../helpers/read.js'

const [KEY_ID, VALUE_ID] = [1, 2]
const KEY = { type: 'record', name: 'Key', fields: [{ name: 'id', type: 'int' }] }
const VALUE = {
  type: 'record',
  name: 'Value',
  fields: [
    { name: 'id', type: 'int' },
    { name: 'n', type: 'int' },
  ],
}
const NUM_KEYS = 50

/** Every second table is a history, which would show a message that is applied twice; the others are kept equal, by an index. */
const isHistory = (topic: string) => Number(topic.slice(1)) % 2 === 0

export class SharedTopics {
  readonly names: string[]
  readonly #broker: EmbeddedBroker
  readonly #partitions: number
  readonly #lake: string
  /** Messages of each topic. */
  readonly #counts = new Map<string, number>()
  readonly #keys = new ConfluentEncoder(KEY, KEY_ID)
  readonly #values = new ConfluentEncoder(VALUE, VALUE_ID)

  constructor(broker: EmbeddedBroker, registry: EmbeddedRegistry, lake: string, numTopics: number, partitions = 2) {
    this.#broker = broker
    this.#partitions = partitions
    this.#lake = lake
    this.names = []
    registry.setSchema(KEY_ID, KEY)
    registry.setSchema(VALUE_ID, VALUE)
    for (let i = 0; i < numTopics; i++) this.add(`t${i}`)
  }

  add(topic: string): void {
    this.#broker.createTopic(topic, this.#partitions)
    this.names.push(topic)
    this.#counts.set(topic, 0)
  }

  get numMessages(): number {
    return [...this.#counts.values()].reduce((sum, count) => sum + count, 0)
  }

  tables(): StreamOptions['tables'] {
    const table = (topic: string) => ({
      path: this.pathOf(topic),
      ...(isHistory(topic) ? { writeMode: 'append' as const } : {}),
    })
    return Object.fromEntries(this.names.map((topic) => [topic, table(topic)]))
  }

  pathOf(topic: string): string {
    return join(this.#lake, topic)
  }

  /** A key stays in its partition. */
  send(topic: string, count = 1): void {
    for (let i = 0; i < count; i++) {
      const n = this.#counts.get(topic) ?? 0
      this.#counts.set(topic, n + 1)
      const id = n % NUM_KEYS
      const record = { key: this.#keys.encode({ id }), value: this.#values.encode({ id, n }), timestamp: Date.now() }
      this.#broker.append(topic, id % this.#partitions, [record])
    }
  }

  sendToAll(count = 1): void {
    for (const topic of this.names) this.send(topic, count)
  }

  /** What of the tables is not as it should be; nothing where all is. */
  async differences(): Promise<string[]> {
    const found: string[] = []
    for (const [topic, count] of this.#counts) {
      const rows = await readRows(this.pathOf(topic), { columns: ['id', 'n'], orderBy: ['n'] })
      const numbers = rows.map(({ n }) => Number(n)).join()
      const first = isHistory(topic) ? 0 : Math.max(0, count - NUM_KEYS)
      const expected = Array.from({ length: count - first }, (_, i) => first + i).join()
      if (numbers !== expected) found.push(`${topic}: ${rows.length} rows of ${count - first}, or others`)
    }
    return found
  }

  /** Whether all tables hold all messages, by their own numbers. */
  async areWhole(): Promise<boolean> {
    return (await this.differences().catch(() => ['not made yet'])).length === 0
  }
}
