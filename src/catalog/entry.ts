/** A table's entry in a catalog, and what brings it up to date. */

import type { TableInfo } from '../delta/results.js'
import { fieldsOf } from '../delta/schema-json.js'
import { KafkaToDeltaError } from '../errors.js'
import type { ResolvedCatalog } from '../options/types.js'
import type { Catalog, CatalogTable, FoundTable, TablePlace } from './catalog.js'
import { isSamePlace } from './location.js'

/** Properties by which a table remembers what is ours: they tell a reader nothing. */
const OWN = 'kafka2delta.'

/** What of a table its entry is made of. */
export type DescribedTable = Pick<TableInfo, 'schemaJson' | 'partitionColumns' | 'properties'>

/** The entry that a table should have. */
export function entryOf(
  { schema, tableName }: Pick<ResolvedCatalog, 'schema' | 'tableName'>,
  table: { location: string; description: string | null } & DescribedTable,
): CatalogTable {
  const columns = fieldsOf(table.schemaJson).map(({ name, type, nullable, metadata }) => ({
    ...{ name, type, nullable },
    ...(typeof metadata?.comment === 'string' ? { comment: metadata.comment } : {}),
  }))
  return {
    schema,
    name: tableName,
    location: table.location,
    columns,
    partitionColumns: [...table.partitionColumns],
    properties: Object.fromEntries(Object.entries(table.properties).filter(([name]) => !name.startsWith(OWN))),
    ...(table.description === null ? {} : { comment: table.description }),
  }
}

/** What an entry needs: nothing, or to be made, or to be brought up to date. */
export type EntryNeed =
  | { readonly found: FoundTable; readonly need: 'none' | 'update' }
  | { readonly found: null; readonly need: 'create' }

/** @throws CATALOG_CONFLICT where the name has another location, with both */
export function mustBeAt(found: Pick<FoundTable, 'location'>, { schema, name, location }: TablePlace) {
  if (isSamePlace(found.location, location)) return
  throw new KafkaToDeltaError(
    'CATALOG_CONFLICT',
    `the catalog has ${schema}.${name} at ${found.location || 'no location'}, and this table lies at ${location}`,
  )
}

/** @throws CATALOG_CONFLICT where the name has another location, with both */
export async function neededOf(catalog: Catalog, table: CatalogTable, signal: AbortSignal): Promise<EntryNeed> {
  const found = await catalog.find(table.schema, table.name, signal)
  if (found === null) return { found, need: 'create' }
  mustBeAt(found, table)
  return { found, need: catalog.matches(table, found) ? 'none' : 'update' }
}

/** Makes an entry, or brings it up to date, by what it needs. */
export async function meetNeed(
  catalog: Catalog,
  table: CatalogTable,
  { found, need }: EntryNeed,
  signal: AbortSignal,
): Promise<void> {
  if (need === 'create') {
    await catalog.ensureSchema(table.schema, signal)
    await catalog.create(table, signal)
  } else if (need === 'update') {
    await catalog.update(table, found, signal)
  }
}

/**
 * Looks at an entry, and does what it needs.
 * @returns what it needed before
 */
export async function syncEntry(
  catalog: Catalog,
  table: CatalogTable,
  signal: AbortSignal,
): Promise<EntryNeed['need']> {
  const needed = await neededOf(catalog, table, signal)
  await meetNeed(catalog, table, needed, signal)
  return needed.need
}
