/** Which tables a query has: those of the topics that are named, and of those that patterns take. */

import { asKafkaToDeltaError, KafkaToDeltaError } from '../errors.js'
import type { Logger } from '../log.js'
import { checkSharedPaths } from '../options/checks.js'
import { isTaken, tableByPattern } from '../options/patterns.js'
import type { ResolvedOptions, ResolvedTable } from '../options/types.js'
import type { Systems } from './dependencies.js'
import type { TableFailure } from './table-failure.js'

/** What a look has found. */
export interface Found {
  tables: ResolvedTable[]
  /** Topics that a pattern matches and that can have no table. */
  failures: TableFailure[]
}

export class TableDiscovery {
  readonly #options: ResolvedOptions
  readonly #find: NonNullable<Systems['topics']>
  readonly #logger: Logger
  /** Topics that no pattern takes: those with a table, and those of dead letters. */
  readonly #named: ReadonlySet<string>
  /** Tables that patterns have made, by topic. */
  readonly #taken = new Map<string, ResolvedTable>()
  /** Topics that cannot be taken. */
  readonly #refused = new Set<string>()

  constructor(options: ResolvedOptions, find: NonNullable<Systems['topics']>, logger: Logger) {
    this.#options = options
    this.#find = find
    this.#logger = logger
    const { tables, patterns } = options
    const deadLetters = [...tables, ...patterns.map(({ table }) => table)].flatMap(({ deadLetter }) =>
      deadLetter?.kind === 'kafka' ? [deadLetter.topic] : [],
    )
    this.#named = new Set([...tables.map(({ topic }) => topic), ...deadLetters])
  }

  /** The first look. Throws TOPIC_NOT_FOUND where the query has no table at all. */
  async begin(signal?: AbortSignal): Promise<Found> {
    const { tables, patterns } = this.#options
    const found = await this.look(signal)
    if (tables.length === 0 && found.tables.length === 0) {
      const sources = patterns.map(({ source }) => source).join(', ')
      throw found.failures[0]?.error ?? noTopic(sources)
    }
    for (const { source } of patterns) {
      if (found.tables.some(({ pattern }) => pattern === source)) continue
      this.#logger.warn({ pattern: source }, 'this pattern takes no topic')
    }
    return found
  }

  /** Tables of topics that patterns take and that were not there before. */
  async look(signal?: AbortSignal): Promise<Found> {
    const found: Found = { tables: [], failures: [] }
    for (const topic of await this.#find((name) => this.#isNew(name), signal)) {
      try {
        const table = tableByPattern(this.#options.patterns, topic)
        if (!table) continue
        this.#checkPlace(table)
        this.#taken.set(topic, table)
        found.tables.push(table)
        this.#logger.info({ topic, pattern: table.pattern, path: table.uri }, 'a pattern takes a topic')
      } catch (thrown) {
        const error = asKafkaToDeltaError(thrown, 'CONFIG_INVALID', { topic })
        this.#refused.add(topic)
        found.failures.push({ topic, table: topic, error })
      }
    }
    return found
  }

  hasTaken(topic: string): boolean {
    return this.#taken.has(topic)
  }

  /** The topic counts as new the next time that it is there. */
  forget(topic: string): void {
    this.#taken.delete(topic)
  }

  #isNew(topic: string): boolean {
    if ([this.#named, this.#taken, this.#refused].some((known) => known.has(topic))) return false
    return isTaken(this.#options.patterns, topic)
  }

  /** Throws CONFIG_INVALID where another table, or dead letters, lie where this table would. */
  #checkPlace(table: ResolvedTable): void {
    const others = [...this.#options.tables, ...this.#taken.values()]
    checkSharedPaths([...others, table])
    for (const { deadLetter } of [...others, table]) {
      if (deadLetter?.kind !== 'delta' || deadLetter.uri !== table.uri) continue
      throw new KafkaToDeltaError('CONFIG_INVALID', `dead letters lie at the table's path ${table.uri}`)
    }
  }
}

function noTopic(sources: string): KafkaToDeltaError {
  return new KafkaToDeltaError(
    'TOPIC_NOT_FOUND',
    `Kafka has no topic that ${sources} takes: check the pattern, which stands for whole names, and that the connector ` +
      'has made its topics',
  )
}
