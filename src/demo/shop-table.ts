/** One table of the shop: its rows, and how rows are made, changed and told of. */

import type { Message } from 'kafkajs'
import type { Random } from './random.js'
import { type ChangeMetadata, ConfluentEncoder, type ShopRow, valueRecord } from './shop-encoder.js'
import type { AddedColumn, ShopTable } from './shop-schemas.js'

interface StoredRow {
  row: ShopRow
  timestamp: number
  lsn: number
}

const FIRST_NAMES = ['Ada', 'Émilie', 'Grace', 'Jürgen', 'Kateřina', 'Linus', 'Mei', 'Noor', 'Olu', 'Sofía', '美咲']
const LAST_NAMES = ['Berg', 'Costa', 'Diallo', 'Ferrari', 'Ivanova', 'Kim', 'Nguyen', "O'Neil", 'Rossi', 'Świątek']
const ADJECTIVES = ['blue', 'folding', 'heavy', 'quiet', 'small', 'solar', 'wooden']
const THINGS = ['bike 🚲', 'chair', 'kettle', 'lamp', 'radio', 'table', 'tent']

const DAY_MS = 86_400_000
/** Days from 2022-01-01 to 2024-12-31: 36 months, as many partitions of the orders. */
const FIRST_DAY = 18_993
const LAST_DAY = 20_088

export class ShopTableLife {
  readonly table: ShopTable
  readonly #random: Random
  readonly #decimals: readonly string[]
  readonly #rows = new Map<number, StoredRow>()
  /** Ids of the rows there are, for picking; their places in it. */
  readonly #ids: number[] = []
  readonly #places = new Map<number, number>()
  readonly #deleted: number[] = []
  readonly #columnsSeen = new Set<string>()
  #nextId = 1
  #added: AddedColumn | null = null
  #keys: ConfluentEncoder | null = null
  #values: ConfluentEncoder | null = null

  constructor(table: ShopTable, random: Random) {
    this.table = table
    this.#random = random
    this.#decimals = table.columns.filter(({ type }) => type.startsWith('decimal')).map(({ name }) => name)
  }

  get size(): number {
    return this.#ids.length
  }

  setKeySchema(schema: object, id: number): void {
    this.#keys = new ConfluentEncoder(schema, id)
  }

  /** From here on values are written by this schema, with the added column that it has. */
  setValueSchema(schema: { fields: readonly { name: string }[] }, id: number, added: AddedColumn | null): void {
    this.#values = new ConfluentEncoder(schema, id)
    this.#added = added
    for (const { name } of schema.fields) if (name !== '__deleted') this.#columnsSeen.add(name)
  }

  /** A new row; sometimes under the id of a deleted one. */
  insert(metadata: ChangeMetadata, mayReuse = true): Message {
    const reused = mayReuse && this.#deleted.length > 0 && this.#random.chance(0.05) ? this.#deleted.pop() : undefined
    const id = reused ?? this.#nextId++
    return this.#upsert(this.#newRow(id), metadata)
  }

  /** Changes a row. `moves`: an order's date goes to another month, so that it changes its partition. */
  update(metadata: ChangeMetadata, moves = false): Message {
    const { row } = this.#pick()
    return this.#upsert(this.#changedRow(row, moves), metadata)
  }

  /** Deletes a row: what is left of it, and its tombstone where those are wanted. */
  delete(metadata: ChangeMetadata, tombstone: boolean): Message[] {
    const id = this.#pick().row.id as number
    const messages = [this.#deletion(id, metadata)]
    if (tombstone) messages.push(this.#tombstone(id, metadata))
    return messages
  }

  /** Gives a row a new key: a delete and an insert with one LSN, as Debezium sends it. */
  changeKey(metadata: ChangeMetadata, tombstone: boolean): Message[] {
    const { row } = this.#pick()
    const oldId = row.id as number
    const newId = this.#nextId++
    const headers = (name: string, id: number) => ({ [`__debezium.${name}`]: JSON.stringify({ id }) })
    const moved = { ...this.#withAdded(row), id: newId }
    const messages = [{ ...this.#deletion(oldId, metadata), headers: headers('newkey', newId) }]
    if (tombstone) messages.push({ ...this.#tombstone(oldId, metadata), headers: headers('newkey', newId) })
    messages.push({ ...this.#upsert(moved, metadata), headers: headers('oldkey', oldId) })
    return messages
  }

  /** The rows as the topic tells them, with null for columns that a row was written without. */
  truth(): Map<string, Record<string, unknown>> {
    const columns = this.table.columns.filter(({ name }) => this.#columnsSeen.has(name))
    const rows = new Map<string, Record<string, unknown>>()
    for (const [id, { row, timestamp, lsn }] of this.#rows) {
      const record: Record<string, unknown> = {}
      for (const { name } of columns) record[name] = row[name] ?? null
      for (const name of this.#decimals) record[name] = decimalText(row[name] as number)
      record.__timestamp = BigInt(timestamp)
      record.__log_sequence_number = BigInt(lsn)
      rows.set(String(id), record)
    }
    return rows
  }

  #key(id: number): Buffer {
    if (!this.#keys) throw new Error(`${this.table.name} has no key schema yet`)
    return this.#keys.encode({ id })
  }

  #value(row: ShopRow, metadata: ChangeMetadata): Buffer {
    if (!this.#values) throw new Error(`${this.table.name} has no value schema yet`)
    return this.#values.encode(valueRecord(row, this.#decimals, metadata))
  }

  #upsert(row: ShopRow, metadata: ChangeMetadata): Message {
    const id = row.id as number
    if (!this.#places.has(id)) this.#places.set(id, this.#ids.push(id) - 1)
    this.#rows.set(id, { row, timestamp: metadata.timestamp, lsn: metadata.lsn })
    return { key: this.#key(id), value: this.#value(row, metadata), timestamp: String(metadata.timestamp) }
  }

  #deletion(id: number, metadata: ChangeMetadata): Message {
    const place = this.#places.get(id)
    const last = this.#ids.pop()
    if (place === undefined || last === undefined) throw new Error(`${this.table.name} has no row ${id}`)
    if (last !== id) {
      this.#ids[place] = last
      this.#places.set(last, place)
    }
    this.#places.delete(id)
    this.#rows.delete(id)
    this.#deleted.push(id)
    const value = this.#value(this.#madeUpRow(id), { ...metadata, deleted: true })
    return { key: this.#key(id), value, timestamp: String(metadata.timestamp) }
  }

  #tombstone(id: number, metadata: ChangeMetadata): Message {
    return { key: this.#key(id), value: null, timestamp: String(metadata.timestamp) }
  }

  /** Any row, but half of the time one of the newest tenth: fresh rows change most. */
  #pick(): StoredRow {
    const last = this.#ids.length - 1
    const from = this.#random.chance(0.5) ? Math.floor(last * 0.9) : 0
    const stored = this.#rows.get(this.#ids[this.#random.integer(from, last)] as number)
    if (!stored) throw new Error(`${this.table.name} has no rows`)
    return stored
  }

  #newRow(id: number): ShopRow {
    const random = this.#random
    const day = random.integer(FIRST_DAY, LAST_DAY)
    if (this.table.name === 'users') {
      const name = `${random.pick(FIRST_NAMES)} ${random.pick(LAST_NAMES)}`
      return this.#withAdded({ id, name, email: `user${id}@example.com`, created_at: day })
    }
    if (this.table.name === 'products') {
      const name = `${random.pick(ADJECTIVES)} ${random.pick(THINGS)}`
      return { id, name, price: random.integer(1, 99_999), created_at: day }
    }
    return { id, order_date: this.#orderDate(day), total_amount: this.#amount(), created_at: day }
  }

  #changedRow(row: ShopRow, moves: boolean): ShopRow {
    const random = this.#random
    if (this.table.name === 'users') {
      const changed = this.#withAdded(row)
      if (random.chance(0.5)) changed.email = `user${row.id}.v${random.integer(2, 999)}@example.com`
      else changed.name = `${random.pick(FIRST_NAMES)} ${random.pick(LAST_NAMES)}`
      return changed
    }
    if (this.table.name === 'products') return { ...row, price: random.integer(1, 99_999) }
    if (!moves) return { ...row, total_amount: this.#amount() }
    const day = otherMonth(row.created_at as number, random)
    return { ...row, order_date: this.#orderDate(day), created_at: day }
  }

  /** A user with the columns that there are now: the added one, and no dropped one. */
  #withAdded(row: ShopRow): ShopRow {
    if (this.table.name !== 'users') return { ...row }
    const { id = null, name = null, email = null, created_at = null } = row
    const current: ShopRow = { id, name, email, created_at }
    if (this.#added === null) return current
    const known = row[this.#added]
    if (known !== undefined && known !== null) current[this.#added] = known
    else if (this.#random.chance(0.2)) current[this.#added] = null
    else if (this.#added === 'points') current.points = this.#random.integer(0, 10_000)
    else current.phone_number = `+49 30 ${this.#random.integer(100_000, 999_999)}`
    return current
  }

  /** What the connector knows of a deleted row under default replica identity: the key; the rest it makes up. */
  #madeUpRow(id: number): ShopRow {
    if (this.table.name === 'users') {
      const row: ShopRow = { id, name: '', email: '', created_at: 0 }
      if (this.#added) row[this.#added] = null
      return row
    }
    if (this.table.name === 'products') return { id, name: '', price: 0, created_at: 0 }
    return { id, order_date: 0, total_amount: 0, created_at: 0 }
  }

  #orderDate(day: number): number | null {
    return this.#random.chance(0.02) ? null : day * DAY_MS + this.#random.integer(0, DAY_MS - 1)
  }

  /** Mostly a price; now and then a refund or the largest that decimal(10,2) holds. */
  #amount(): number {
    const kind = this.#random.next()
    if (kind < 0.001) return 9_999_999_999
    return kind < 0.05 ? -this.#random.integer(1, 50_000) : this.#random.integer(100, 500_000)
  }
}

function otherMonth(day: number, random: Random): number {
  const month = (of: number) => new Date(of * DAY_MS).toISOString().slice(0, 7)
  for (;;) {
    const other = random.integer(FIRST_DAY, LAST_DAY)
    if (month(other) !== month(day)) return other
  }
}

/** A decimal of scale 2 as text: -5 → `-0.05`. */
function decimalText(unscaled: number): string {
  const digits = String(Math.abs(unscaled)).padStart(3, '0')
  return `${unscaled < 0 ? '-' : ''}${digits.slice(0, -2)}.${digits.slice(-2)}`
}
