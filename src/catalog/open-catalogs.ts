/** The catalogs of a process, each opened once. */

import type { ResolvedCatalogOptions } from '../options/types.js'
import type { Catalog } from './catalog.js'
import { openCatalog } from './open.js'

export class OpenCatalogs {
  readonly #open: (options: ResolvedCatalogOptions) => Promise<Catalog>
  /** By their options. */
  readonly #catalogs = new Map<string, Promise<Catalog>>()

  constructor(open: (options: ResolvedCatalogOptions) => Promise<Catalog> = openCatalog) {
    this.#open = open
  }

  /** One that could not be opened is opened anew by the next call. */
  of(options: ResolvedCatalogOptions): Promise<Catalog> {
    const key = JSON.stringify(options)
    let catalog = this.#catalogs.get(key)
    if (!catalog) {
      catalog = this.#open(options)
      catalog.catch(() => this.#catalogs.delete(key))
      this.#catalogs.set(key, catalog)
    }
    return catalog
  }

  async close(): Promise<void> {
    const opened = [...this.#catalogs.values()]
    this.#catalogs.clear()
    await Promise.allSettled(opened.map(async (catalog) => (await catalog).close()))
  }
}
