/**
 * A random topic: the changes of a random table as Debezium sends them, from a seed. The messages stand in the order in
 * which the source made the changes, which is the truth: the table must be what it is at the source.
 */

import type { Random } from '../../helpers/random.js'
import { type Column, identity, randomType } from './random-columns.js'
import { HEADER_FORMS, type HeaderForm, type KeyColumn, randomKeyType } from './random-keys.js'
import { type Added, RandomMessages, type Row, type Union } from './random-messages.js'
import { type Behaviour, type Flavour, type Position, RandomLog } from './random-source.js'

export interface TopicMessage {
  partition: number
  /** When Connect sent it, in milliseconds. */
  time: number
  /** Partitions that the topic had then. */
  partitions: number
  key: Buffer | null
  value: Buffer | null
  /** The value with all that it leaves out. */
  full: Buffer | null
  headers: Record<string, Buffer>
  what: { op: string; key: string; oldKey?: string; leftOut: number; position: string }
}

const FIRST_TIME = 1_750_000_000_000

export class RandomTopic {
  readonly topic: string
  readonly messages: TopicMessage[] = []
  readonly flavour: Flavour
  readonly behaviour: Behaviour
  readonly shape: 'flattened' | 'envelope'
  readonly added: Added
  readonly union: Union
  /** The key is null: the table's options name its columns. */
  readonly keyless: boolean
  /** Partitions are added under way: keys change theirs. */
  readonly grows: boolean
  readonly headerForm: HeaderForm
  /** The program is ended, and started again, after so many of its commits. */
  readonly restarts: number
  /** Positions go back under one name: between partitions they lie. */
  readonly lies: boolean
  /**
   * Partitions are read in the source's order, since something is not to be told otherwise: positions that lie, or values
   * that are left out where the row is still to be read from the partition that its key had before.
   */
  readonly readsInOrder: boolean
  /** Keys that rows have moved away from are used again. */
  readonly reuses: boolean
  /** Texts of keys are stored as values of partition columns. */
  readonly partitionsByKey: boolean
  readonly keyNames: string[]
  /** What was done, for whoever looks at a failure. */
  readonly log: string[] = []
  partitions: number
  /** Rows came from an incremental snapshot. */
  hasIncremental = false
  hasTruncates = false
  private hasBegunAnew = false
  private keys: KeyColumn[]
  private columns: Column[]
  private readonly versions: Column[][] = []
  /** Row versions that are written side by side. */
  private interleaved: Column[][] | null = null
  private readonly source: RandomLog
  private readonly encoder: RandomMessages
  private readonly live = new Map<string, Row>()
  /** The columns that the last message of each row had: of others the table has no value. */
  private readonly sent = new WeakMap<Row, Set<string>>()
  /** Keys that may be inserted again. */
  private readonly dead: Row[] = []
  /** Keys that are never used again: rows that left values out have moved away from them. */
  private readonly gone = new Set<string>()
  private readonly leavesOut: boolean
  private readonly router: boolean
  private readonly tombstones: number
  private names = 0
  private time = FIRST_TIME
  /** The next message has a later timestamp than all before. */
  private gap = false

  constructor(
    topic: string,
    private readonly random: Random,
  ) {
    const chance = (p: number) => random.next() < p
    this.topic = topic
    const beginsAnew = chance(0.2)
    const withPositions = ['postgres', 'postgres', 'mysql', 'mariadb', 'sqlserver', 'oracle'] as const
    this.flavour = random.pick(beginsAnew ? withPositions : [...withPositions, 'none' as const])
    this.behaviour = beginsAnew ? 'back' : random.pick(['rising', 'standing', 'back', 'partial'])
    this.shape = chance(beginsAnew ? 0.3 : 0.5) ? 'flattened' : 'envelope'
    this.added = this.shape === 'envelope' ? 'all' : random.pick<Added>(['all', 'all', 'spark', 'spark', 'op', 'none'])
    this.union = chance(0.1) ? random.pick<Union>(['null first', 'null last']) : 'none'
    this.keyless = chance(0.1)
    this.partitions = random.pick(beginsAnew ? [2, 3] : [1, 1, 2, 2, 3])
    this.grows = !this.keyless && !beginsAnew && chance(0.25)
    this.headerForm = random.pick(HEADER_FORMS)
    this.restarts = random.pick([0, 0.15, 0.6])
    this.lies = beginsAnew || (this.behaviour === 'back' && !this.grows && chance(0.6))
    this.leavesOut = !this.grows && chance(0.7)
    this.readsInOrder = this.lies
    this.router = !this.keyless && chance(0.08)
    this.reuses = chance(0.6)
    this.partitionsByKey = chance(0.2)
    this.tombstones = random.pick([0, 0.5, 1])
    this.source = new RandomLog(random, this.flavour, this.behaviour)
    this.keys = Array.from({ length: random.pick([1, 1, 1, 2, 3]) }, (_, i) => {
      return { name: `k${i}`, type: randomKeyType(random), null: 'never' as const }
    })
    this.keyNames = [...this.keys.map(({ name }) => name), ...(this.router ? ['__router'] : [])]
    const { flavour, shape, added, union, keyless, router, headerForm } = this
    const deletedType = random.pick<unknown>([['null', 'string'], ['null', 'string'], 'string', 'boolean'])
    const sourceFields = this.source.fields
    this.encoder = new RandomMessages(
      { topic, flavour, shape, added, keyless, router, headerForm, deletedType, sourceFields, union },
      random,
    )
    this.columns = Array.from({ length: 1 + random.below(random.pick([3, 9])) }, () => this.newColumn())
    this.versions.push(this.columns)
    this.generate()
  }

  get schemas(): Record<number, unknown> {
    return this.encoder.schemas
  }

  /** What a failure is told with. */
  get description(): object {
    const { flavour, behaviour, shape, added, union, partitions, keyless, grows, headerForm, lies, reuses, restarts } =
      this
    return { flavour, behaviour, shape, added, union, partitions, keyless, grows, headerForm, lies, reuses, restarts }
  }

  /** The types of the key columns at the start. */
  get keyTypes(): [name: string, kind: string][] {
    return this.keys.map(({ name, type }) => [name, type.kind])
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
    return { name: `c${this.names++}`, type: randomType(random, this.flavour), null: nulls }
  }

  // --- messages -----------------------------------------------------------------------------------

  private partitionOf(key: Buffer | null): number {
    if (key === null) return this.keyless ? 0 : this.random.below(this.partitions)
    let hash = 7
    for (const byte of key.subarray(5)) hash = (Math.imul(hash, 31) + byte) | 0
    return Math.abs(hash) % this.partitions
  }

  private send(message: Omit<TopicMessage, 'partition' | 'time' | 'partitions'>): void {
    const { random } = this
    this.time += this.gap ? 1 : random.next() < 0.6 ? 0 : random.below(random.next() < 0.05 ? 3000 : 20)
    this.gap = false
    const { time, partitions } = this
    this.messages.push({ ...message, partition: this.partitionOf(message.key), time, partitions })
  }

  private keyId(row: Row): string {
    return identity(this.keyNames.map((name) => row[name]))
  }

  private keyOf(row: Row): Buffer | null {
    return this.keyless ? null : this.encoder.key(this.keys, row)
  }

  private newKey(): Row | null {
    const { random } = this
    if (this.dead.length > 0 && random.next() < 0.4) {
      const row = this.dead.splice(random.below(this.dead.length), 1)[0] as Row
      return this.live.has(this.keyId(row)) ? null : row
    }
    const row: Row = Object.fromEntries(this.keys.map(({ name, type }) => [name, type.make(random)]))
    if (this.router) row.__router = random.pick(['shard1', 'shard2'])
    // Readers of Delta tables take an empty text in a partition column for null.
    if (this.partitionsByKey) for (const { name } of this.keys) if (row[name] === '') row[name] = 'not empty'
    return this.live.has(this.keyId(row)) || this.gone.has(this.keyId(row)) ? null : row
  }

  private keyOnly(row: Row): Row {
    return Object.fromEntries(this.keyNames.map((name) => [name, row[name]]))
  }

  private write(
    op: string,
    rows: { before?: Row | null; after?: Row | null },
    position: Position,
    more: { leftOut?: ReadonlySet<string>; headers?: Record<string, Buffer>; oldKey?: Row } = {},
  ): void {
    const { before = null, after = null } = rows
    const { leftOut = new Set<string>(), headers = {}, oldKey } = more
    const row = after ?? before
    const version = this.interleaved === null ? this.columns : this.random.pick(this.interleaved)
    const key = row === null ? null : this.keyOf(row)
    const encoded = this.encoder.value(op, this.keys, { before, after, version, position, leftOut })
    const { ts_ms: _, ...own } = position
    const what = {
      op,
      key: row === null ? '' : this.keyId(row),
      leftOut: leftOut.size,
      position: Object.values(own)
        .filter((part) => part !== null)
        .join(' '),
    }
    this.send({ key, ...encoded, headers, what: oldKey ? { ...what, oldKey: this.keyId(oldKey) } : what })
    if (after === null) return
    this.live.set(this.keyId(after), after)
    this.sent.set(after, new Set(version.map(({ name }) => name)))
  }

  private tombstone(row: Row, headers: Record<string, Buffer> = {}): void {
    const what = { op: 'tombstone', key: this.keyId(row), leftOut: 0, position: '' }
    this.send({ key: this.keyOf(row), value: this.encoder.tombstone(), full: null, headers, what })
  }

  private delete(row: Row, position: Position, headers: Record<string, Buffer> = {}): void {
    const { random } = this
    this.live.delete(this.keyId(row))
    if (!this.keyless && random.next() < 0.05) this.tombstone(row, headers)
    this.write('d', { before: row }, position, { headers })
    if (this.keyless) return
    if (random.next() < this.tombstones) this.tombstone(row, headers)
    if (random.next() < 0.05) this.tombstone(row, headers)
  }

  private pickLive(): Row | null {
    return this.live.size === 0 ? null : this.random.pick([...this.live.values()])
  }

  private leftOutOf(row: Row): Set<string> {
    if (!this.leavesOut) return new Set()
    const versions = this.interleaved?.flat() ?? this.columns
    const sent = this.sent.get(row)
    const able = this.columns.filter(({ name, type }) => {
      const isKnown = sent?.has(name) === true && row[name] !== null
      return isKnown && type.leftOut !== undefined && versions.every((c) => c.name !== name || c.type === type)
    })
    return new Set(able.filter(() => this.random.next() < 0.5).map(({ name }) => name))
  }

  private update(row: Row, position: Position): void {
    const { random } = this
    const before = { ...row }
    const leftOut = this.leftOutOf(row)
    for (const { name, type, null: nulls } of this.columns) {
      if (leftOut.has(name) || random.next() < 0.5) continue
      row[name] = nulls !== 'never' && random.next() < 0.2 ? null : type.make(random)
    }
    this.write('u', { before, after: row }, position, { leftOut })
  }

  private changeKey(row: Row, position: Position): void {
    const { random } = this
    const key = this.newKey()
    if (key === null) return
    // What the new row leaves out may be only just set.
    if (random.next() < 0.4) this.update(row, position)
    if (this.keyless) {
      // The connector does not know: only an envelope with the row before tells.
      if (this.shape === 'flattened') return
      const next = { ...row, ...key }
      this.live.delete(this.keyId(row))
      this.write('u', { before: row, after: next }, position)
      return
    }
    // Where the router adds a field, it stays the same.
    const next: Row = { ...row, ...key, ...(this.router ? { __router: row.__router } : {}) }
    if (this.live.has(this.keyId(next))) return
    const leftOut = this.leftOutOf(row)
    if (leftOut.size > 0 && !this.reuses) this.gone.add(this.keyId(row))
    else this.dead.push(this.keyOnly(row))
    const header = (other: Row) => this.encoder.header(this.keys, other)
    this.delete(row, position, { '__debezium.newkey': header(next) })
    for (const { name, type } of this.columns) {
      if (!leftOut.has(name) && random.next() < 0.2) next[name] = type.make(random)
    }
    const headers = { '__debezium.oldkey': header(row) }
    this.write('c', { after: next }, position, { leftOut, headers, oldKey: row })
  }

  private transaction(): void {
    const { random } = this
    for (const position of this.source.transaction(1 + random.below(5))) {
      const row = this.pickLive()
      const dice = random.next()
      if (row === null || dice < 0.3) {
        const key = this.newKey()
        if (key !== null) this.write('c', { after: key }, position)
      } else if (dice < 0.62) this.update(row, position)
      else if (dice < 0.78) {
        this.delete(row, position)
        this.dead.push(this.keyOnly(row))
      } else this.changeKey(row, position)
    }
  }

  private snapshot(rows: number): void {
    for (let i = 0; i < rows; i++) {
      const key = this.newKey()
      const kind = i === 0 ? 'first' : i === rows - 1 ? 'last' : 'true'
      if (key !== null) this.write('r', { after: key }, this.source.snapshot(kind))
    }
  }

  /** Sends the end of the topic again, as a connector does after a crash. */
  private repeat(): void {
    const { random, messages } = this
    for (let count = 1 + random.below(Math.min(40, messages.length)); count > 0; count = Math.floor(count / 2)) {
      const tail = messages.slice(-count)
      if (!this.canRepeat(tail)) continue
      this.log.push(`${messages.length}: the last ${count} again`)
      // What truncates and moved keys meet again is told apart by its time.
      this.gap = this.partitions > 1
      for (const message of tail) {
        if (message.what.op === 't') this.gap = true
        this.send(message)
        if (message.what.op === 't') this.gap = true
      }
      return
    }
  }

  /**
   * Whether the repeat heals itself. A key update whose old key was used again afterwards takes the wrong values when it
   * comes again, unless its new key's row is there: nothing in the topic tells. Nor does anything tell that positions lie
   * which began anew after a truncate, when that comes again through another partition: see {@link canTruncate}.
   */
  private canRepeat(tail: readonly TopicMessage[]): boolean {
    if (this.partitions > 1 && this.hasBegunAnew && tail.some(({ what }) => what.op === 't')) return false
    return tail.every(({ what: { oldKey, key, leftOut } }, i) => {
      if (oldKey === undefined || leftOut === 0) return true
      const isReused = tail.slice(i + 1).some(({ what }) => what.key === oldKey && !'d tombstone'.includes(what.op))
      const isRemade = tail.slice(0, i).some(({ what }) => what.key === key && 'd tombstone'.includes(what.op))
      return !isReused && !isRemade
    })
  }

  /**
   * A truncate alone in a batch after a restart names no column for the router's part of the key. Positions of other
   * partitions that lie say nothing of what a truncate takes.
   */
  private get canTruncate(): boolean {
    return this.shape === 'envelope' && !this.router && (this.partitions === 1 || !this.hasBegunAnew)
  }

  private truncate(): void {
    const [position] = this.source.transaction(1)
    this.hasTruncates = true
    this.log.push(`${this.messages.length}: truncate`)
    this.gap = true
    this.write('t', {}, position as Position)
    this.gap = true
    for (const row of this.live.values()) this.dead.push(this.keyOnly(row))
    this.live.clear()
    if (this.lies && this.random.next() < 0.5) this.beginAnew()
  }

  private beginAnew(): void {
    this.source.beginAnew()
    this.hasBegunAnew = true
    this.log.push(`${this.messages.length}: the source begins anew`)
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
      const able = columns.filter(({ type }) => type.wider !== undefined || type.grow !== undefined)
      const chosen = able.length > 0 ? random.pick(able) : null
      if (chosen !== null) {
        const type = chosen.type.grow?.(random) ?? chosen.type.wider?.() ?? chosen.type
        columns[columns.indexOf(chosen)] = { ...chosen, type }
      }
    } else if (what === 'rename') {
      const name = `c${this.names++}`
      columns[at] = { ...column, name }
      for (const row of this.live.values()) row[name] = row[column.name]
    } else if (what === 'key') {
      if (this.keyless || this.partitionsByKey || random.next() < 0.5) return
      this.keys = this.keys.map((key) => ({ ...key, type: key.type.wider?.() ?? key.type }))
      // The bytes of a widened key may belong to another partition.
      this.gap = true
    } else if (what === 'both') {
      this.interleaved = this.interleaved === null ? [this.columns, random.pick(this.versions)] : null
      log.push(`${messages.length}: ${this.interleaved === null ? 'one version' : 'two versions side by side'}`)
      return
    }
    this.columns = columns
    this.versions.push(columns)
    log.push(`${messages.length}: ${what} → ${columns.map((c) => `${c.name} ${c.type.kind} ${c.null}`).join(', ')}`)
  }

  private grow(): void {
    this.partitions++
    this.gap = true
    this.log.push(`${this.messages.length}: ${this.partitions} partitions`)
  }

  private begin(): void {
    const { random } = this
    if (!this.keyless && random.next() < 0.15) {
      for (let i = random.below(3); i >= 0; i--) {
        const key = this.newKey()
        if (key !== null) this.tombstone(key)
      }
    }
    if (this.canTruncate && random.next() < 0.08) this.truncate()
    if (random.next() < 0.7) this.snapshot(random.below(12))
  }

  private generate(): void {
    const { random, log } = this
    this.begin()
    const steps = 5 + random.below(random.pick([8, 30]))
    const grows = this.grows ? random.below(steps) : -1
    for (let step = 0; step < steps; step++) {
      if (step === grows) this.grow()
      const dice = random.next()
      if (dice < 0.6) this.transaction()
      else if (dice < 0.72) this.evolve()
      else if (dice < 0.8 && this.messages.length > 0) this.repeat()
      else if (dice < 0.84) {
        for (let i = random.below(4); i >= 0; i--) {
          const row = this.pickLive()
          if (row !== null) this.write('r', { after: row }, this.source.snapshot('incremental'))
          this.hasIncremental = true
        }
      } else if (dice < 0.86) {
        log.push(`${this.messages.length}: a snapshot of all rows`)
        for (const row of this.live.values()) this.write('r', { after: row }, this.source.snapshot('true'))
      } else if (dice < 0.89 && this.flavour.startsWith('m')) {
        this.source.failOver()
        log.push(`${this.messages.length}: fail over`)
      } else if (dice < 0.92 && this.lies) this.beginAnew()
      else if (dice < (this.lies ? 0.96 : 0.945) && this.canTruncate) this.truncate()
      else if (dice < 0.965 && this.shape === 'envelope') {
        const [position] = this.source.transaction(1)
        this.write('m', {}, position as Position)
      } else if (!this.keyless) {
        const row = this.pickLive()
        if (row === null) continue
        this.tombstone(row)
        this.live.delete(this.keyId(row))
        this.dead.push(this.keyOnly(row))
      }
    }
  }
}
