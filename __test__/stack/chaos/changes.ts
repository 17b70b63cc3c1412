/** The source's side of a seed: random tables, and sessions that change them until they are told to pause. */

import { setTimeout as sleep } from 'node:timers/promises'
import type pg from 'pg'
import type { TableOptions } from '../../../src/index.js'
import { generator, type Random } from '../../helpers/random.js'
import { RandomTable } from '../support/random-tables.js'
import { alter, createRandomTable, randomOptions, transaction } from '../support/random-transactions.js'
import { SHAPES, type Shape, type World } from './world.js'

/** Milliseconds between two transactions of a session. */
const PAUSE_MS = 120

/** Of the first session's transactions, those before which a table's columns change. */
const ALTER_SHARE = 0.015

/** Of the tables, those whose changes hold all values. */
const WHOLE_SHARE = 0.4

/** Connect may take so long for the topics of new tables. */
const TOPICS_MS = 180_000

/** A table of the source and its topic. */
export interface ChaosTable {
  shape: Shape
  /** Without its schema. */
  name: string
  topic: string
  keys: readonly string[]
  /** Its changes leave no values out. */
  isWhole: boolean
  options: Partial<TableOptions>
}

export class Changes {
  readonly tables: ChaosTable[] = []
  numTransactions = 0
  numAlters = 0
  readonly #random: Random
  #changed: RandomTable[] = []
  #isPaused = true
  #running: Promise<void>[] = []
  #numTables = 0
  #marker = 0
  #runs = 0

  constructor(
    private readonly world: World,
    private readonly seed: number,
    private readonly note: (text: string) => void,
  ) {
    this.#random = generator(seed)
  }

  /** What the names of the seed's tables begin with. */
  get prefix(): string {
    return `s${this.seed}_`
  }

  async create(): Promise<void> {
    for (const shape of SHAPES) {
      const name = `${this.prefix}marker_${shape}_p1`
      await this.world.db.query(`CREATE TABLE ${shape}.${name} (n int PRIMARY KEY)`)
      this.tables.push({ shape, name, topic: this.#topic(shape, name), keys: ['n'], isWhole: true, options: {} })
    }
    await this.mark()
    const count = 4 + this.#random.below(3)
    for (let i = 0; i < count; i++) await this.addTable()
    await this.#haveTopics()
  }

  /** A worker whose topic is named and not there would stop its table. */
  async #haveTopics(): Promise<void> {
    const until = Date.now() + TOPICS_MS
    for (let looks = 1; ; looks++) {
      const known = new Set(await this.world.admin((admin) => admin.listTopics()))
      const missing = this.tables.filter(({ topic }) => !known.has(topic))
      if (missing.length === 0) return
      if (Date.now() > until) throw new Error(`no topics ${missing.map(({ topic }) => topic).join(', ')}`)
      if (looks % 10 === 0) await this.world.restartFailedTasks()
      await sleep(300)
    }
  }

  #topic(shape: Shape, name: string): string {
    return `${this.world.prefix(shape)}.${shape}.${name}`
  }

  /** One more table; later ones have no options of their own, since a pattern takes them. */
  async addTable(): Promise<ChaosTable> {
    const isFirst = this.#isPaused
    const shape = this.#random.pick(SHAPES)
    const name = `${this.prefix}t${this.#numTables++}_p${1 + this.#random.below(3)}`
    const random = generator(this.seed * 31 + this.#numTables)
    const table = new RandomTable(`${shape}.${name}`, random)
    const options = isFirst ? randomOptions(table, random) : {}
    await createRandomTable(this.world.db, table, 5)
    const isWhole = this.#random.next() < WHOLE_SHARE
    if (isWhole) await this.world.db.query(`ALTER TABLE ${table.name} REPLICA IDENTITY FULL`)
    const keys = table.keys.map((key) => key.name)
    const added = { shape, name, topic: this.#topic(shape, name), keys, isWhole, options }
    this.tables.push(added)
    this.#changed.push(table)
    return added
  }

  /** Tables that random transactions change. */
  get random(): ChaosTable[] {
    return this.tables.filter((table) => !this.markers.includes(table))
  }

  /** A row in each table of marks. Returns its number. */
  async mark(): Promise<number> {
    this.#marker++
    for (const { shape, name } of this.markers) {
      await this.world.db.query(`INSERT INTO ${shape}.${name} VALUES (${this.#marker})`)
    }
    return this.#marker
  }

  get markers(): ChaosTable[] {
    return this.tables.filter(({ name }) => /_marker_/.test(name))
  }

  /** Begins, or goes on after a pause. */
  run(): void {
    this.#isPaused = false
    this.#runs++
    this.#running = this.world.sessions.map((session, i) => {
      const running = this.#session(session, i, generator(this.seed * 1000 + 10 * this.#runs + i))
      // It is heard of at the next pause.
      running.catch(() => {})
      return running
    })
  }

  /** Resolves when no transaction is open; rejects where one failed. */
  async pause(): Promise<void> {
    this.#isPaused = true
    await Promise.all(this.#running)
    this.#running = []
  }

  async #session(session: pg.Client, number: number, chance: Random): Promise<void> {
    while (!this.#isPaused) {
      if (number === 0 && chance.next() < ALTER_SHARE) {
        this.numAlters++
        this.note(await alter(session, chance.pick(this.#changed)))
      }
      await transaction(session, chance, this.#changed)
      this.numTransactions++
      await sleep(chance.below(PAUSE_MS))
    }
  }

  /** Takes the tables away: later seeds need not carry them. */
  async drop(): Promise<void> {
    for (const { shape, name } of this.tables) await this.world.db.query(`DROP TABLE IF EXISTS ${shape}.${name}`)
  }
}
