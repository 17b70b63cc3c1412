/** A random topic: the changes of a random table as Debezium sends them, from a seed. */

import { avscType, confluent } from '../../debezium/support.js'
import type { Random } from '../../helpers/random.js'
import {
  type Column,
  type Database,
  fieldOf,
  identity,
  namedOnce,
  randomKeyType,
  randomType,
} from './random-columns.js'
import { type Position, RandomLog, SNAPSHOT } from './random-source.js'

export interface TopicMessage {
  partition: number
  /** The place among all messages of the topic: when they were produced. */
  at: number
  key: Buffer | null
  value: Buffer | null
  headers: Record<string, Buffer>
  /** What it does depends on what came before it through other partitions. */
  ordered: boolean
}

type Row = Record<string, unknown>
/** Which fields `add.fields` gives to flattened values. */
type Added = 'all' | 'spark' | 'op' | 'none'

const optional = (name: string, type: unknown) => ({ name, type: ['null', type], default: null })

export class RandomTopic {
  readonly topic: string
  readonly messages: TopicMessage[] = []
  readonly schemas: Record<number, unknown> = {}
  readonly database: Database
  readonly shape: 'flattened' | 'envelope'
  readonly added: Added
  /** The key is null: the table's options name its columns. */
  readonly keyless: boolean
  /** Partitions were added: keys have moved, and only the sequence tells which change came last. */
  readonly rehashes: boolean
  readonly keyNames: string[]
  /** What was done, for whoever looks at a failure. */
  readonly log: string[] = []
  partitions: number
  private keys: Column[]
  private columns: Column[]
  private readonly versions: Column[][] = []
  /** Row versions that are written side by side. */
  private interleaved: Column[][] | null = null
  private readonly source: RandomLog
  private readonly live = new Map<string, Row>()
  /** Keys that may be inserted again. */
  private readonly dead: Row[] = []
  private readonly ids = new Map<string, number>()
  private readonly types = new Map<number, { toBuffer(value: unknown): Buffer }>()
  private readonly leavesOut: boolean
  private readonly jsonHeaders: boolean
  private readonly router: boolean
  private readonly deletedType: unknown
  private readonly tombstones: number
  private truncates: boolean
  /** Rows came from an incremental snapshot. */
  hasIncremental = false
  /** Keys that rows have moved away from are used again. */
  readonly reuses: boolean
  private names = 0

  constructor(
    topic: string,
    private readonly random: Random,
  ) {
    const chance = (p: number) => random.next() < p
    this.topic = topic
    this.database = chance(0.7) ? 'postgres' : 'mysql'
    this.shape = chance(0.55) ? 'flattened' : 'envelope'
    this.added = this.shape === 'envelope' ? 'all' : random.pick<Added>(['all', 'all', 'spark', 'op', 'none'])
    this.keyless = chance(0.12)
    this.partitions = random.pick([1, 1, 1, 2, 3])
    this.rehashes = this.partitions > 1 && this.added === 'all' && !this.keyless && chance(0.3)
    this.leavesOut = this.database === 'postgres' && !this.rehashes && chance(0.7)
    this.router = !this.keyless && chance(0.08)
    this.deletedType = random.pick<unknown>([['null', 'string'], ['null', 'string'], 'string', 'boolean'])
    this.reuses = chance(0.5)
    // A truncate alone in a batch after a restart names no column for the router's part of the key.
    this.truncates = this.shape === 'envelope' && !this.rehashes && !this.router
    this.tombstones = random.pick([0, 0.5, 1])
    this.source = new RandomLog(random, this.database)
    this.keys = Array.from({ length: random.pick([1, 1, 1, 2, 3]) }, (_, i) => {
      return { name: `k${i}`, type: randomKeyType(random), null: 'never' as const }
    })
    this.jsonHeaders = chance(0.7) && this.keys.every(({ type }) => type.json !== undefined)
    this.keyNames = [...this.keys.map(({ name }) => name), ...(this.router ? ['__router'] : [])]
    this.columns = Array.from({ length: 1 + random.below(11) }, () => this.newColumn())
    this.versions.push(this.columns)
    this.generate()
  }

  /** Names of the columns that the table had from the start. */
  get firstColumns(): Set<string> {
    return new Set(this.versions[0]?.map(({ name }) => name))
  }

  /** All versions of all columns by name. */
  get columnHistory(): Map<string, Column[]> {
    const history = new Map<string, Column[]>()
    for (const column of this.versions.flat()) {
      history.set(column.name, [...(history.get(column.name) ?? []), column])
    }
    return history
  }

  private newColumn(): Column {
    const { random } = this
    const nulls = random.pick(['never', 'first', 'first', 'last'] as const)
    return { name: `c${this.names++}`, type: randomType(random, this.database), null: nulls }
  }

  // --- schemas ------------------------------------------------------------------------------------

  private encode(schema: unknown, value: unknown): Buffer {
    const text = JSON.stringify(schema)
    let id = this.ids.get(text)
    if (id === undefined) {
      id = this.ids.size + 1
      this.ids.set(text, id)
      this.schemas[id] = schema
      this.types.set(id, avscType(schema))
    }
    return confluent(id, (this.types.get(id) as { toBuffer(value: unknown): Buffer }).toBuffer(value))
  }

  private keySchema(): unknown {
    const once = namedOnce()
    const fields = this.keys.map((column) => fieldOf(column, once))
    if (this.router) fields.push({ name: '__router', type: 'string' })
    return { type: 'record', name: 'Key', namespace: this.topic, fields }
  }

  private encodeKey(row: Row): Buffer | null {
    if (this.keyless) return null
    const value = Object.fromEntries(this.keys.map(({ name, type }) => [name, type.avro(row[name])]))
    return this.encode(this.keySchema(), { ...value, __router: row.__router })
  }

  private sourceFields(): [name: string, type: unknown][] {
    const snapshot = ['snapshot', SNAPSHOT] as [string, unknown]
    if (this.database === 'postgres') return [snapshot, ['lsn', 'long'], ['sequence', 'string'], ['txId', 'long']]
    return [snapshot, ['file', 'string'], ['pos', 'long'], ['row', 'int'], ['server_id', 'long']]
  }

  private addedFields(op: string, position: Position): [field: object, value: unknown][] {
    const own = position as unknown as Record<string, unknown>
    switch (this.added) {
      case 'none':
        return []
      case 'op':
        return [[optional('__op', 'string'), op]]
      case 'spark': {
        const lsn = this.database === 'postgres' ? position.lsn : null
        return [
          [optional('__timestamp', 'long'), position.ts_ms],
          [optional('__log_sequence_number', 'long'), lsn],
        ]
      }
      case 'all':
        return [
          [optional('__op', 'string'), op],
          [optional('__source_ts_ms', 'long'), position.ts_ms],
          ...this.sourceFields().map(
            ([name, type]) => [optional(`__source_${name}`, type), own[name]] as [object, unknown],
          ),
        ]
    }
  }

  private rowFields(version: readonly Column[], once = namedOnce()): object[] {
    return [...this.keys, ...version].map((column) => fieldOf(column, once))
  }

  /** The row as one version of the table has it; values that do not fit there are given anew. */
  private written(row: Row, version: readonly Column[], leftOut: Set<string>, madeUp: boolean): Row {
    const { random } = this
    const out: Row = {}
    for (const { name, type } of this.keys) out[name] = type.avro(row[name])
    for (const { name, type, null: nulls } of version) {
      if (madeUp) {
        out[name] = nulls === 'never' ? type.avro(type.madeUp) : null
        continue
      }
      const known = row[name]
      if (known === undefined || (known === null ? nulls === 'never' : !type.fits(known))) {
        row[name] = nulls !== 'never' && random.next() < 0.25 ? null : type.make(random)
      }
      out[name] = leftOut.has(name) ? type.leftOut : row[name] === null ? null : type.avro(row[name])
    }
    return out
  }

  private value(op: string, before: Row | null, after: Row | null, position: Position, leftOut: Set<string>): Buffer {
    const { random, topic } = this
    const version = this.interleaved === null ? this.columns : random.pick(this.interleaved)
    if (this.shape === 'flattened') {
      const added = this.addedFields(op, position)
      const fields = [
        ...this.rowFields(version),
        { name: '__deleted', type: this.deletedType, ...(Array.isArray(this.deletedType) ? { default: null } : {}) },
        ...added.map(([field]) => field),
      ]
      const schema = { type: 'record', name: 'Value', namespace: topic, fields }
      const deleted = op === 'd'
      const madeUp = deleted && random.next() < 0.7
      const row = this.written((deleted ? before : after) as Row, version, leftOut, madeUp)
      const metadata = Object.fromEntries(added.map(([field, value]) => [(field as { name: string }).name, value]))
      return this.encode(schema, {
        ...row,
        __deleted: this.deletedType === 'boolean' ? deleted : String(deleted),
        ...metadata,
      })
    }
    const rowSchema = { type: 'record', name: 'Value', namespace: topic, fields: this.rowFields(version) }
    const source = {
      type: 'record',
      name: 'Source',
      namespace: `io.debezium.connector.${this.database}`,
      fields: [
        { name: 'version', type: 'string' },
        { name: 'connector', type: 'string' },
        { name: 'name', type: 'string' },
        { name: 'ts_ms', type: 'long' },
        { name: 'db', type: 'string' },
        ...this.sourceFields().map(([name, type]) =>
          name === 'snapshot' ? { name, type: [type, 'null'], default: 'false' } : optional(name, type),
        ),
      ],
    }
    const schema = {
      type: 'record',
      name: 'Envelope',
      namespace: topic,
      fields: [
        optional('before', rowSchema),
        optional('after', `${topic}.Value`),
        { name: 'source', type: source },
        optional('transaction', 'string'),
        { name: 'op', type: 'string' },
        optional('ts_ms', 'long'),
      ],
    }
    const connector = this.database === 'postgres' ? 'postgresql' : 'mysql'
    // Without full replica identity, `before` has the key alone, or is not there at all.
    const full = this.keyless
    const old = before !== null && (full || op === 'd' || random.next() < 0.4) ? before : null
    return this.encode(schema, {
      before: old && this.written(old, version, new Set(), !full && random.next() < 0.7),
      after: after && this.written(after, version, leftOut, false),
      source: { version: '3', connector, name: 'srv', db: 'db', ...position },
      transaction: null,
      op,
      ts_ms: position.ts_ms + 5n,
    })
  }

  // --- messages -----------------------------------------------------------------------------------

  private partitionOf(key: Buffer | null): number {
    if (key === null) return this.keyless ? 0 : this.random.below(this.partitions)
    let hash = 7
    for (const byte of key.subarray(5)) hash = (Math.imul(hash, 31) + byte) | 0
    return Math.abs(hash) % this.partitions
  }

  private send(key: Buffer | null, value: Buffer | null, headers: Record<string, Buffer> = {}, ordered = false): void {
    // A key that is written with another schema may go to another partition: so would it with Kafka.
    const partition = this.partitionOf(key)
    this.messages.push({ partition, at: this.messages.length, key, value, headers, ordered })
  }

  private keyId(row: Row): string {
    return identity(this.keyNames.map((name) => row[name]))
  }

  private newKey(): Row | null {
    const { random } = this
    if (this.dead.length > 0 && random.next() < 0.4) {
      const row = this.dead.splice(random.below(this.dead.length), 1)[0] as Row
      return this.live.has(this.keyId(row)) ? null : row
    }
    const row: Row = Object.fromEntries(this.keys.map(({ name, type }) => [name, type.make(random)]))
    if (this.router) row.__router = random.pick(['shard1', 'shard2'])
    return this.live.has(this.keyId(row)) || this.gone.has(this.keyId(row)) ? null : row
  }

  /** Keys that are never used again: rows that left values out have moved away from them. */
  private readonly gone = new Set<string>()

  private keyOnly(row: Row): Row {
    return Object.fromEntries(this.keyNames.map((name) => [name, row[name]]))
  }

  private upsert(
    op: string,
    row: Row,
    position: Position,
    before: Row | null,
    leftOut = new Set<string>(),
    headers = {},
  ) {
    const ordered = leftOut.size > 0 && '__debezium.oldkey' in headers
    // A truncate that comes through another partition leaves rows of snapshots, which have no sequence.
    if (op === 'r') this.truncates &&= this.partitions === 1
    this.send(this.encodeKey(row), this.value(op, before, row, position, leftOut), headers, ordered)
    this.live.set(this.keyId(row), row)
  }

  private delete(row: Row, position: Position, headers = {}): void {
    const { random } = this
    const key = this.encodeKey(row)
    this.live.delete(this.keyId(row))
    const tombstone = () => this.send(key, null, headers)
    if (key !== null && !this.rehashes && random.next() < 0.05) tombstone()
    this.send(key, this.value('d', row, null, position, new Set()), headers)
    if (random.next() < this.tombstones) tombstone()
    if (random.next() < 0.05) tombstone()
  }

  private header(row: Row): Buffer {
    if (!this.jsonHeaders) return this.encodeKey(row) as Buffer
    const key: Row = Object.fromEntries(this.keys.map(({ name, type }) => [name, type.json?.(row[name])]))
    if (this.router) key.__router = row.__router
    // Numbers of 64 bits are written in full.
    const text = JSON.stringify(key, (_, value) => (typeof value === 'bigint' ? `\u0001${value}\u0001` : value))
    const json = text.replaceAll(/"\\u0001(-?\d+)\\u0001"/g, '$1')
    return Buffer.from(this.random.next() < 0.1 ? `{"schema":{"type":"struct"},"payload":${json}}` : json)
  }

  private pickLive(): Row | null {
    return this.live.size === 0 ? null : this.random.pick([...this.live.values()])
  }

  private leftOutOf(row: Row): Set<string> {
    if (!this.leavesOut) return new Set()
    const able = this.columns.filter(({ name, type }) => type.leftOut !== undefined && row[name] !== undefined)
    return new Set(able.filter(({ name }) => row[name] !== null && this.random.next() < 0.5).map(({ name }) => name))
  }

  private update(row: Row, position: Position): void {
    const { random } = this
    const before = { ...row }
    const leftOut = this.leftOutOf(row)
    for (const { name, type, null: nulls } of this.columns) {
      if (leftOut.has(name) || random.next() < 0.5) continue
      row[name] = nulls !== 'never' && random.next() < 0.2 ? null : type.make(random)
    }
    this.upsert('u', row, position, before, leftOut)
  }

  private changeKey(row: Row, position: Position): void {
    const { random } = this
    const key = this.newKey()
    if (key === null) return
    if (this.keyless) {
      // The connector does not know: only an envelope with the row before tells.
      if (this.shape === 'flattened' || this.database === 'mysql') return
      const next = { ...row, ...key }
      this.live.delete(this.keyId(row))
      this.upsert('u', next, position, row, new Set())
      return
    }
    // Where the router adds a field, it stays the same.
    const next: Row = { ...row, ...key, ...(this.router ? { __router: row.__router } : {}) }
    if (this.live.has(this.keyId(next))) return
    const leftOut = this.leftOutOf(row)
    if (leftOut.size > 0 && !this.reuses) this.gone.add(this.keyId(row))
    else this.dead.push(this.keyOnly(row))
    this.delete(row, position, { '__debezium.newkey': this.header(next) })
    for (const { name, type } of this.columns) {
      if (!leftOut.has(name) && random.next() < 0.2) next[name] = type.make(random)
    }
    this.upsert('c', next, position, null, leftOut, { '__debezium.oldkey': this.header(row) })
  }

  private transaction(): void {
    const { random } = this
    for (const position of this.source.transaction(1 + random.below(5))) {
      const row = this.pickLive()
      const dice = random.next()
      if (row === null || dice < 0.3) {
        const key = this.newKey()
        if (key !== null) this.upsert('c', key, position, null)
      } else if (dice < 0.68) this.update(row, position)
      else if (dice < 0.88) {
        this.delete(row, position)
        this.dead.push(this.keyOnly(row))
      } else if (!this.rehashes) this.changeKey(row, position)
    }
  }

  private snapshot(rows: number): void {
    for (let i = 0; i < rows; i++) {
      const key = this.newKey()
      const kind = i === 0 ? 'first' : i === rows - 1 ? 'last' : 'true'
      if (key !== null) this.upsert('r', key, this.source.snapshot(kind), null)
    }
  }

  /** Sends the end of the topic again, as a connector does after a crash. */
  private repeat(): void {
    const { random, messages } = this
    const again = messages.slice(-(1 + random.below(Math.min(40, messages.length))))
    for (const message of again) messages.push({ ...message, at: messages.length })
    this.log.push(`${messages.length}: the last ${again.length} again`)
  }

  private truncate(): void {
    const [position] = this.source.transaction(1)
    this.log.push(`${this.messages.length}: truncate`)
    this.send(null, this.value('t', null, null, position as Position, new Set()), {}, true)
    for (const row of this.live.values()) this.dead.push(this.keyOnly(row))
    this.live.clear()
  }

  private evolve(): void {
    const { random, log, messages } = this
    const columns = [...this.columns]
    const at = random.below(columns.length)
    const column = columns[at] as Column
    const what = random.pick(['add', 'add', 'drop', 'back', 'null', 'order', 'widen', 'widen', 'rename', 'key', 'both'])
    if (what === 'add') columns.splice(random.below(columns.length + 1), 0, this.newColumn())
    else if (what === 'drop' && columns.length > 1) columns.splice(at, 1)
    else if (what === 'back') columns.splice(0, columns.length, ...random.pick(this.versions))
    else if (what === 'null') columns[at] = { ...column, null: random.pick(['never', 'first', 'last']) }
    else if (what === 'order') columns.sort(() => random.next() - 0.5)
    else if (what === 'widen') {
      const able = columns.filter(({ type }) => type.wider !== undefined)
      const chosen = able.length > 0 ? random.pick(able) : null
      if (chosen !== null) columns[columns.indexOf(chosen)] = { ...chosen, type: chosen.type.wider?.() ?? chosen.type }
    } else if (what === 'rename') {
      const name = `c${this.names++}`
      columns[at] = { ...column, name }
      for (const row of this.live.values()) row[name] = row[column.name]
    } else if (what === 'key') {
      // Bytes of a widened key may be hashed to another partition, which only a sequence tells apart.
      if (this.partitions > 1 || this.keyless || random.next() < 0.5) return
      this.keys = this.keys.map((key) => ({ ...key, type: key.type.wider?.() ?? key.type }))
    } else if (what === 'both') {
      this.interleaved = this.interleaved === null ? [this.columns, random.pick(this.versions)] : null
      log.push(`${messages.length}: ${this.interleaved === null ? 'one version' : 'two versions side by side'}`)
      return
    }
    this.columns = columns
    this.versions.push(columns)
    log.push(`${messages.length}: ${what} → ${columns.map((c) => `${c.name} ${c.type.kind} ${c.null}`).join(', ')}`)
  }

  private generate(): void {
    const { random, log } = this
    const steps = 5 + random.below(35)
    // A snapshot's rows have no sequence: where keys move later, they must all be read before.
    if (!this.rehashes) this.snapshot(random.below(12))
    const grows = this.rehashes ? random.below(steps) : -1
    for (let step = 0; step < steps; step++) {
      if (step === grows) {
        this.partitions++
        log.push(`${this.messages.length}: ${this.partitions} partitions`)
      }
      const dice = random.next()
      if (dice < 0.62) this.transaction()
      else if (dice < 0.76) this.evolve()
      else if (dice < 0.83 && this.messages.length > 0 && !this.rehashes) this.repeat()
      else if (dice < 0.88 && !this.rehashes) {
        for (let i = random.below(4); i >= 0; i--) {
          const row = this.pickLive()
          if (row !== null) this.upsert('r', row, this.source.snapshot('incremental'), null)
          this.hasIncremental = true
        }
      } else if (dice < 0.9 && !this.rehashes) {
        log.push(`${this.messages.length}: a snapshot of all rows`)
        for (const row of this.live.values()) this.upsert('r', row, this.source.snapshot('true'), null)
      } else if (dice < 0.93 && this.database === 'mysql' && !this.rehashes) {
        this.source.failOver()
        log.push(`${this.messages.length}: fail over`)
      } else if (dice < 0.96 && this.truncates) this.truncate()
      else if (dice < 0.98 && this.shape === 'envelope') {
        const [position] = this.source.transaction(1)
        this.send(null, this.value('m', null, null, position as Position, new Set()))
      } else if (!this.keyless && !this.rehashes) {
        const row = this.pickLive()
        if (row === null) continue
        this.send(this.encodeKey(row), null)
        this.live.delete(this.keyId(row))
        this.dead.push(this.keyOnly(row))
      }
    }
  }
}
