/** Keeps the entries of tables in their catalogs as the tables are: beside the stream, never on the way of a commit. */

import { setImmediate as nextTurn } from 'node:timers/promises'
import { asKafkaToDeltaError, KafkaToDeltaError, type Waiting } from '../errors.js'
import type { Logger } from '../log.js'
import { entryKey, nameProblem } from '../options/catalogs.js'
import type { ResolvedCatalog, ResolvedCatalogOptions, ResolvedTable } from '../options/types.js'
import { settled, within } from '../waits.js'
import type { Catalog, CatalogTable } from './catalog.js'
import { type DescribedTable, type EntryNeed, entryOf, syncEntry } from './entry.js'
import { locationOf } from './location.js'
import { OpenCatalogs } from './open-catalogs.js'

/** What of a table its entry is made of, beside what the table itself says. */
export type RegisteredTable = Pick<ResolvedTable, 'topic' | 'uri' | 'description' | 'storageOptions' | 'catalog'>

/** How a table's entry stands. Only plain values. */
export interface EntryStatus {
  /** `schema.table` */
  name: string
  /** `pending`: it is not known yet whether the entry is right. `failing`: it could not be brought up to date so far. */
  state: 'pending' | 'registered' | 'failing'
  /** Why it is failing; null where it is not. */
  error: Waiting | null
}

/** Milliseconds. */
export interface KeeperPace {
  /** Before the second try; each wait is twice the one before. */
  firstDelay: number
  /** The longest wait where the catalog is down. */
  maxDelay: number
  /** Where somebody has to act first: it is looked whether they did. */
  refusedDelay: number
  /** One look at an entry, with what is done about it. */
  timeout: number
  /** At the end, for entries that are not up to date yet. */
  grace: number
}

const PACE: KeeperPace = { firstDelay: 1_000, maxDelay: 60_000, refusedDelay: 300_000, timeout: 60_000, grace: 5_000 }

/** Entries that are looked at at a time: catalogs are asked for all tables at a start. */
const MAX_AT_A_TIME = 4

interface Entry {
  readonly catalog: ResolvedCatalog
  readonly topic: string
  wanted: CatalogTable
  /** {@link wanted}, to be compared: a status asks for each table. */
  text: string
  /** The text that the entry was brought to; null where that is not known. */
  done: string | null
  error: Waiting | null
  timer: NodeJS.Timeout | null
  /** It is looked at, or is going to be. */
  isDue: boolean
}

const SAID: Record<EntryNeed['need'], string> = {
  none: 'the table is in its catalog as it is',
  create: 'the table was entered into its catalog',
  update: "the table's entry in its catalog was brought up to date",
}

/** Names that a pattern makes of a topic are known only then. */
export function mustBeNames({ options, schema, tableName }: ResolvedCatalog): void {
  for (const [option, name] of Object.entries({ schema, tableName })) {
    const problem = nameProblem(options.type, name)
    if (problem) throw new KafkaToDeltaError('CONFIG_INVALID', `${option} ${problem}`)
  }
}

export interface KeeperOptions {
  logger: Logger
  open?: (options: ResolvedCatalogOptions) => Promise<Catalog>
  pace?: Partial<KeeperPace>
}

export class CatalogKeeper {
  readonly #logger: Logger
  readonly #pace: KeeperPace
  readonly #catalogs: OpenCatalogs
  /** By catalog and name. */
  readonly #entries = new Map<string, Entry>()
  readonly #due: Entry[] = []
  readonly #working = new Set<Promise<void>>()
  readonly #ending = new AbortController()
  #isOver = false

  constructor({ logger, open, pace = {} }: KeeperOptions) {
    this.#logger = logger
    this.#pace = { ...PACE, ...pace }
    this.#catalogs = new OpenCatalogs(open)
  }

  /** A table is as `described`: its entry is brought there, if it is not. Returns at once. */
  note(table: RegisteredTable, described: DescribedTable): void {
    const { catalog, topic, uri, description, storageOptions } = table
    if (catalog === null || this.#isOver || described.schemaJson === null) return
    const location = locationOf(uri, catalog.options.type, storageOptions)
    const wanted = entryOf(catalog, { ...described, location, description })
    const [key, text] = [entryKey(catalog), JSON.stringify(wanted)]
    const known = this.#entries.get(key)
    const entry = known ?? { catalog, topic, wanted, text, done: null, error: null, timer: null, isDue: false }
    Object.assign(entry, { wanted, text })
    this.#entries.set(key, entry)
    if (entry.done !== text) this.#look(entry)
  }

  /** Null for a table that stands in no catalog. Before the table's first commit there is nothing to register. */
  statusOf({ catalog }: Pick<ResolvedTable, 'catalog'>): EntryStatus | null {
    if (catalog === null) return null
    const entry = this.#entries.get(entryKey(catalog))
    const isRight = entry !== undefined && entry.done === entry.text
    return {
      name: `${catalog.schema}.${catalog.tableName}`,
      state: entry?.error ? 'failing' : isRight ? 'registered' : 'pending',
      error: entry?.error ?? null,
    }
  }

  /** Waits a little for entries that are not up to date, and closes the catalogs. What is left is done by the next start. */
  async close(): Promise<void> {
    this.#isOver = true
    for (const { timer } of this.#entries.values()) if (timer) clearTimeout(timer)
    await settled(this.#idle(), this.#pace.grace)
    this.#ending.abort(new Error('the query has ended'))
    await settled(Promise.all(this.#working), this.#pace.grace)
    await this.#catalogs.close()
  }

  async #idle(): Promise<void> {
    while (this.#working.size > 0) await Promise.all(this.#working)
  }

  #look(entry: Entry): void {
    if (entry.timer) clearTimeout(entry.timer)
    entry.timer = null
    if (entry.isDue) return
    entry.isDue = true
    this.#due.push(entry)
    if (this.#working.size >= MAX_AT_A_TIME) return
    const working = this.#work().finally(() => this.#working.delete(working))
    this.#working.add(working)
  }

  async #work(): Promise<void> {
    // The table's commit goes first.
    await nextTurn()
    for (let entry = this.#due.shift(); entry && !this.#ending.signal.aborted; entry = this.#due.shift()) {
      entry.isDue = false
      await this.#bringUpToDate(entry)
    }
  }

  /** Never rejects. */
  async #bringUpToDate(entry: Entry): Promise<void> {
    const { wanted, text, catalog, topic } = entry
    const name = `${wanted.schema}.${wanted.name}`
    const label = { topic, catalog: catalog.options.type, entry: name }
    try {
      const did = await this.#sync(catalog, wanted)
      entry.done = text
      if (did !== 'none' || entry.error) this.#logger.info(label, SAID[did])
      entry.error = null
      // It changed again meanwhile.
      if (entry.text !== text) this.#look(entry)
    } catch (thrown) {
      if (this.#ending.signal.aborted) return
      this.#failed(entry, asKafkaToDeltaError(thrown, 'CATALOG_UNAVAILABLE', { table: name }), label)
    }
  }

  async #sync(catalog: ResolvedCatalog, wanted: CatalogTable) {
    const timeout = new AbortController()
    const signal = AbortSignal.any([this.#ending.signal, timeout.signal])
    const ms = this.#pace.timeout
    const timedOut = () => {
      const error = new KafkaToDeltaError('CATALOG_UNAVAILABLE', `the catalog has not answered for ${ms / 1000} s`)
      timeout.abort(error)
      return error
    }
    mustBeNames(catalog)
    return within(
      this.#catalogs.of(catalog.options).then((opened) => syncEntry(opened, wanted, signal)),
      ms,
      timedOut,
    )
  }

  #failed(entry: Entry, error: KafkaToDeltaError, label: object): void {
    const { code, message } = error
    const attempts = (entry.error?.attempts ?? 0) + 1
    const since = entry.error?.since ?? new Date().toISOString()
    const isKnown = entry.error?.message === message
    entry.error = { code, message, since, attempts }
    entry.done = null
    const { firstDelay, maxDelay, refusedDelay } = this.#pace
    const delayMs = error.canRetry ? Math.min(maxDelay, firstDelay * 2 ** (attempts - 1)) : refusedDelay
    const level = isKnown ? 'debug' : 'warn'
    this.#logger[level]({ ...label, code, attempts, delayMs }, `the table is not in its catalog as it is: ${message}`)
    if (this.#isOver) return
    entry.timer = setTimeout(() => this.#look(entry), delayMs).unref()
  }
}
