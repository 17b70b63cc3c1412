/** The tables that this worker has of a query whose tables many workers share: opened as they come, closed as they go. */

import { asKafkaToDeltaError, KafkaToDeltaError } from '../errors.js'
import type { StoredOffsets } from '../kafka/positions.js'
import type { KnownTable, Sharing, TopicMoves } from '../kafka/sharing.js'
import type { Logger } from '../log.js'
import type { ResolvedOptions, ResolvedTable } from '../options/types.js'
import { loadOf } from '../workers/load.js'
import type { OpenTables } from './open-tables.js'
import type { StreamingQueryProgress } from './progress.js'
import type { TableLoop } from './table/loop.js'
import type { TableFailure } from './table-failure.js'

/** Milliseconds in which a batch in hand of a table that goes is to be committed. The fence decides whether it is. */
const GIVE_UP_MS = 5_000

/** In which a rate of messages falls to a third where none come. */
const RATE_MS = 60_000

/** The query that runs the tables. */
export interface TablesHost {
  /** Runs a table until its end. Never rejects. */
  begin(loop: TableLoop): Promise<void>
  /** A table that was begun is another worker's. */
  forget(loop: TableLoop): void
  failed(failure: TableFailure): void
  /** A topic that a pattern has taken was deleted. */
  deleted(topic: string, error: KafkaToDeltaError): void
  moved(moves: TopicMoves): void
}

interface Held {
  readonly table: ResolvedTable
  /** Aborted when the table goes. */
  readonly leaving: AbortController
  opening: Promise<TableLoop>
  loop: TableLoop | null
  running: Promise<void>
  /** Of messages, in a second. */
  rate: number
  rateAt: number
  indexBytes: number
}

export class WorkerTables implements Sharing {
  readonly #options: ResolvedOptions
  readonly #opened: OpenTables
  readonly #logger: Logger
  /** All tables, by topic. */
  readonly #known = new Map<string, ResolvedTable>()
  readonly #held = new Map<string, Held>()
  /** Tables that go, by topic: they are not opened again before they are closed. */
  readonly #going = new Map<string, Promise<void>>()
  /** Of tables that came during the start. */
  readonly #failures: TableFailure[] = []
  #host: TablesHost | null = null
  /** Tables are begun as they come. */
  #isRunning = false
  #end: () => void = () => {}
  readonly #ended = new Promise<void>((resolve) => {
    this.#end = resolve
  })
  #isStopped = false

  constructor(options: ResolvedOptions, opened: OpenTables, logger: Logger) {
    this.#options = options
    this.#opened = opened
    this.#logger = logger
    this.know(options.tables)
  }

  /** Further tables. */
  know(tables: readonly ResolvedTable[]): void {
    for (const table of tables) this.#known.set(table.topic, table)
  }

  /** Tables, by their paths, that this worker does not have. */
  get numElsewhere(): number {
    const here = new Set([...this.#held.values()].map(({ table }) => table.uri))
    return new Set([...this.#known.values()].map(({ uri }) => uri).filter((uri) => !here.has(uri))).size
  }

  /** Tables that are open. */
  get loops(): TableLoop[] {
    return [...this.#held.values()].flatMap(({ loop }) => (loop ? [loop] : []))
  }

  /** Whether the table of a loop is another worker's by now. */
  isLost(loop: TableLoop): boolean {
    return this.#held.get(loop.topic)?.loop !== loop
  }

  /** Begins the tables that came during the start, and those that come from now on, until {@link stop}. */
  async run(host: TablesHost): Promise<void> {
    this.#host = host
    this.#isRunning = true
    for (const failure of this.#failures) host.failed(failure)
    for (const held of this.#held.values()) this.#begin(held)
    await this.#ended
    await Promise.all(this.#going.values())
  }

  /** Takes no more tables. */
  stop(): void {
    this.#isStopped = true
    for (const { leaving } of this.#held.values()) leaving.abort(goneError())
    this.#end()
  }

  /** What the table of a topic holds: it is opened first. */
  async storedOffsets(topic: string): Promise<StoredOffsets> {
    const held = this.#held.get(topic)
    if (!held) throw goneError(topic)
    return (await held.opening).storedOffsets()
  }

  tables(): KnownTable[] {
    const byPath = new Map<string, { topics: string[]; load: number | null }>()
    for (const { topic, uri } of this.#known.values()) {
      const table = byPath.get(uri) ?? { topics: [], load: null }
      byPath.set(uri, table)
      table.topics.push(topic)
      const held = this.#held.get(topic)
      if (held) table.load = (table.load ?? 0) + loadOfTopic(held)
    }
    return [...byPath].map(([path, table]) => ({ path, ...table }))
  }

  moved(moves: TopicMoves): void {
    if (this.#isStopped) return
    for (const topic of moves.lost) this.#giveUp(topic)
    for (const topic of moves.gained) this.#take(topic)
    if (moves.lost.length + moves.gained.length === 0) return
    const { size } = this.#held
    this.#logger.info({ ...moves, topics: size, elsewhere: this.numElsewhere }, 'topics came to this worker, or went')
    this.#host?.moved(moves)
  }

  unreadable(topic: string, error: Error): void {
    this.#host?.deleted(topic, asKafkaToDeltaError(error))
  }

  /** A commit of one of the tables. */
  noteProgress({ topic, numInputRows, indexBytes }: StreamingQueryProgress): void {
    const held = this.#held.get(topic)
    if (!held) return
    held.rate = rateNow(held) + (numInputRows * 1000) / RATE_MS
    held.rateAt = Date.now()
    held.indexBytes = indexBytes
  }

  #take(topic: string): void {
    const table = this.#known.get(topic)
    if (!table) return
    const leaving = new AbortController()
    const before = this.#going.get(topic)
    const opening = this.#open(table, before, leaving.signal)
    const figures = { rate: 0, rateAt: Date.now(), indexBytes: 0 }
    const held: Held = { table, leaving, opening, loop: null, running: Promise.resolve(), ...figures }
    this.#held.set(topic, held)
    // In one go: who asks for the offsets finds the table begun.
    held.opening = opening.then((loop) => {
      if (leaving.signal.aborted) throw leaving.signal.reason
      held.loop = loop
      this.#begin(held)
      return loop
    })
    held.opening.catch((error) => this.#openingFailed(held, asKafkaToDeltaError(error)))
  }

  /** Where systems fail, a worker that runs waits for them, and a start does not. */
  async #open(table: ResolvedTable, before: Promise<void> | undefined, signal: AbortSignal): Promise<TableLoop> {
    await before
    return this.#opened.openOne(table, this.#options, signal)
  }

  #openingFailed({ table, leaving }: Held, error: KafkaToDeltaError): void {
    if (leaving.signal.aborted) return
    const failure = { topic: table.topic, table: table.name ?? table.uri, error }
    if (this.#isRunning) this.#host?.failed(failure)
    else this.#failures.push(failure)
  }

  #begin(held: Held): void {
    if (this.#isRunning && this.#host && held.loop) held.running = this.#host.begin(held.loop)
  }

  #giveUp(topic: string): void {
    const held = this.#held.get(topic)
    if (!held) return
    this.#held.delete(topic)
    held.leaving.abort(goneError(topic))
    held.loop?.stop(GIVE_UP_MS)
    const gone = this.#close(topic, held).finally(() => {
      if (this.#going.get(topic) === gone) this.#going.delete(topic)
    })
    this.#going.set(topic, gone)
  }

  /** Saves the index, where it is kept, and gives the memory back. */
  async #close(topic: string, held: Held): Promise<void> {
    await held.opening.catch(() => {})
    await held.running
    try {
      await this.#opened.close(topic)
    } catch (error) {
      this.#logger.warn({ err: error, topic }, 'a table that went to another worker could not be closed')
    }
    if (held.loop) this.#host?.forget(held.loop)
  }
}

const goneError = (topic?: string) =>
  new KafkaToDeltaError('CANCELLED', 'the table went to another worker', topic === undefined ? {} : { topic })

const rateNow = ({ rate, rateAt }: Held) => rate * Math.exp((rateAt - Date.now()) / RATE_MS)

function loadOfTopic(held: Held): number {
  const { loop, indexBytes } = held
  return loadOf({ messagesPerSecond: rateNow(held), lag: loop?.lag() ?? 0, indexBytes })
}
