/** The tables of a query by topic, in the order in which they were named or found. */

import type { ResolvedTable } from '../options/types.js'
import type { TableLoop } from './table/loop.js'
import type { TableFailure } from './table-failure.js'

type Place = { opening: ResolvedTable } | { loop: TableLoop } | { failure: TableFailure }

export class QueryTables {
  readonly #places = new Map<string, Place>()

  /** These are being opened. */
  constructor(tables: readonly ResolvedTable[]) {
    for (const table of tables) this.#places.set(table.topic, { opening: table })
  }

  /** A table is open, perhaps in place of one that was. */
  opened(loop: TableLoop): void {
    this.#places.set(loop.topic, { loop })
  }

  /** A topic has no table. */
  failed(failure: TableFailure): void {
    this.#places.set(failure.topic, { failure })
  }

  /** A table is another worker's. */
  forget(loop: TableLoop): void {
    if (this.loopOf(loop.topic) === loop) this.#places.delete(loop.topic)
  }

  /** What the function that is meant for it makes of each. */
  map<T>(of: {
    opening: (table: ResolvedTable) => T
    loop: (loop: TableLoop) => T
    failure: (failure: TableFailure) => T
  }): T[] {
    return [...this.#places.values()].map((place) => {
      if ('opening' in place) return of.opening(place.opening)
      return 'loop' in place ? of.loop(place.loop) : of.failure(place.failure)
    })
  }

  /** Of those that are open. */
  get loops(): TableLoop[] {
    return [...this.#places.values()].flatMap((place) => ('loop' in place ? [place.loop] : []))
  }

  /** Topics whose tables are not open yet. */
  get opening(): string[] {
    return [...this.#places.values()].flatMap((place) => ('opening' in place ? [place.opening.topic] : []))
  }

  loopOf(topic: string): TableLoop | null {
    const place = this.#places.get(topic)
    return place && 'loop' in place ? place.loop : null
  }

  has(topic: string): boolean {
    return this.#places.has(topic)
  }
}
