/**
 * The keys of a table in memory. They are read once; afterwards only what later versions changed is, by the table's change
 * data feed: a look costs what is new.
 */

import type { RecordBatch, Vector } from 'apache-arrow'
import { decimalText, rawValues } from '../arrow/raw-values.js'
import { scanTable, tableChanges } from '../delta/scan.js'
import type { DeltaType } from '../delta/schema-json.js'
import { DeltaTable } from '../delta/table.js'
import { comparable } from '../verify/comparable.js'

/** A key that the topic shows: its values as they are stored, and as a comparison has them. */
export interface LiveKey {
  values: readonly unknown[]
  texts: readonly string[]
  /** Of the key's last message. */
  partition: number
  offset: bigint
}

/** The table's property without which there is no feed. */
export const FEED = { 'delta.enableChangeDataFeed': 'true' }

/** The place of a key's last message, and the metadata columns that hold it. */
export const PLACE_COLUMNS = ['kafka.partition', 'kafka.offset']
const PLACE = ['__kafka_partition', '__kafka_offset']

/** The order in which a comparison reads a table: numbers by their size, texts by their UTF-8 bytes. */
function byKey(a: LiveKey, b: LiveKey): number {
  for (const [i, one] of a.values.entries()) {
    const order = compareValues(one, b.values[i])
    if (order !== 0) return order
  }
  return 0
}

function compareValues(a: unknown, b: unknown): number {
  if (typeof a === 'string') return Buffer.compare(Buffer.from(a), Buffer.from(b as string))
  if (a instanceof Uint8Array) return Buffer.compare(a, b as Uint8Array)
  if (a instanceof Uint32Array) return compareValues(decimalOf(a), decimalOf(b as Uint32Array))
  return (a as number | bigint) < (b as number | bigint) ? -1 : a === b ? 0 : 1
}

/** The unscaled number of a decimal. */
const decimalOf = (words: Uint32Array) => BigInt(decimalText(words, 0))

export class LiveKeys {
  readonly #path: string
  readonly #table: DeltaTable
  readonly #names: readonly string[]
  readonly #stored: ((value: unknown) => string)[]
  readonly #keys = new Map<string, LiveKey>()
  /** The version that was read last. */
  #version: number | null = null

  private constructor(path: string, table: DeltaTable, key: readonly { name: string; type: DeltaType }[]) {
    this.#path = path
    this.#table = table
    this.#names = key.map(({ name }) => name)
    this.#stored = key.map(({ type }) => {
      const how = comparable(type)
      return (value) => how?.stored(value) ?? ''
    })
  }

  /** @param path a table with {@link FEED} and {@link PLACE_COLUMNS}, which the first message makes */
  static async open(path: string, key: readonly { name: string; type: DeltaType }[]): Promise<LiveKeys> {
    return new LiveKeys(path, await DeltaTable.open({ path }), key)
  }

  /** Brings the keys forward to the table's newest version. */
  async refresh(): Promise<void> {
    const { version } = await this.#table.refresh()
    if (version === null || version === this.#version) return
    const columns = [...this.#names, ...PLACE]
    const batches =
      this.#version === null
        ? scanTable(this.#path, { columns, version })
        : tableChanges(this.#path, this.#version + 1, { to: version })
    for await (const batch of batches) this.#take(rawValues(batch))
    this.#version = version
  }

  get(texts: readonly string[]): LiveKey | undefined {
    return this.#keys.get(JSON.stringify(texts))
  }

  /** In no certain order. */
  values(): IterableIterator<LiveKey> {
    return this.#keys.values()
  }

  sorted(): LiveKey[] {
    return [...this.#keys.values()].sort(byKey)
  }

  close(): Promise<void> {
    return this.#table.close()
  }

  #take(rows: RecordBatch): void {
    const keys = this.#names.map((name) => rows.getChild(name) as Vector)
    const [partition, offset] = PLACE.map((name) => rows.getChild(name) as Vector)
    const change = rows.getChild('_change_type')
    for (let row = 0; row < rows.numRows; row++) {
      const type = change?.get(row) ?? 'insert'
      const values = keys.map((key) => key.get(row) as unknown)
      if (type === 'update_preimage' || values.includes(null)) continue
      const texts = values.map((value, i) => this.#stored[i]?.(value) ?? '')
      const text = JSON.stringify(texts)
      if (type === 'delete') this.#keys.delete(text)
      else this.#keys.set(text, { values, texts, partition: partition?.get(row), offset: offset?.get(row) })
    }
  }
}
