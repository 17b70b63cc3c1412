/** Opens the catalog that the options name. Each kind is loaded only where it is used. */

import type { ResolvedCatalogOptions } from '../options/types.js'
import type { Catalog } from './catalog.js'

type Open<K extends ResolvedCatalogOptions['type']> = (
  options: Extract<ResolvedCatalogOptions, { type: K }>,
) => Promise<Catalog>

const KINDS: { readonly [K in ResolvedCatalogOptions['type']]: () => Promise<Open<K>> } = {
  unity: async () => (await import('./unity.js')).openUnity,
  glue: async () => (await import('./glue.js')).openGlue,
  hive: async () => (await import('./hive/hive.js')).openHive,
}

/** @throws CATALOG_UNAVAILABLE where a package that the kind needs is not installed */
export async function openCatalog(options: ResolvedCatalogOptions): Promise<Catalog> {
  const load = KINDS[options.type] as () => Promise<Open<ResolvedCatalogOptions['type']>>
  return (await load())(options)
}
