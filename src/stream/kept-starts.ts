/**
 * Where a topic starts, as long as its table holds no offsets. What `latest` says, or a time after the last message, is another
 * position at each start: changes that came while nothing ran would be passed over. It is kept beside the table, therefore.
 */

import type { ResolvedOptions } from '../options/types.js'
import type { StartKeeper } from './dependencies.js'

type Starts = ReadonlyMap<number, bigint>

/** Whether a topic's start depends on when it is worked out. */
export function startsAtMoment(topic: string, starting: ResolvedOptions['startingOffsets']): boolean {
  if (typeof starting === 'string') return starting === 'latest'
  if (!('offsets' in starting)) return 'timestamp' in starting
  return [...(starting.offsets.get(topic)?.values() ?? [])].includes(-1n)
}

export class KeptStarts {
  readonly #keeper: StartKeeper
  readonly #retried: <T>(operation: () => Promise<T>) => Promise<T>
  #first: Promise<Starts> | null = null
  #now: Starts | null = null

  /** @param retried runs an operation on the store until it succeeds, or fails for good */
  constructor(keeper: StartKeeper, retried: <T>(operation: () => Promise<T>) => Promise<T>) {
    this.#keeper = keeper
    this.#retried = retried
  }

  /** What is kept, by partition. */
  async read(): Promise<Starts> {
    return this.#now ?? this.#atFirst()
  }

  async keep(starts: Starts, known: Starts): Promise<Starts> {
    this.#now = await this.#retried(() => this.#keeper.keep(starts, known))
    return this.#now
  }

  /** Whether something was kept before this run. */
  async wasKept(): Promise<boolean> {
    return (await this.#atFirst()).size > 0
  }

  #atFirst(): Promise<Starts> {
    if (!this.#first) {
      const reading = this.#retried(() => this.#keeper.read())
      this.#first = reading
      reading.catch(() => {
        this.#first = null
      })
    }
    return this.#first
  }
}
