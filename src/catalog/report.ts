/** How the entries of tables stand in their catalogs, for people who ask. */

import type { TableInfo } from '../delta/results.js'
import { asKafkaToDeltaError } from '../errors.js'
import type { ResolvedCatalog, ResolvedTable } from '../options/types.js'
import type { CatalogTable, FoundTable } from './catalog.js'
import { type EntryNeed, entryOf, meetNeed, mustBeAt, neededOf } from './entry.js'
import { mustBeNames } from './keeper.js'
import { locationOf } from './location.js'
import type { OpenCatalogs } from './open-catalogs.js'

/** Milliseconds for what is asked of a catalog about one table. */
const ANSWER_MS = 30_000

/** One table's entry. Only plain values. */
export interface EntryReport {
  topic: string
  /** The kind of the catalog. */
  catalog: ResolvedCatalog['options']['type']
  /** `schema.table` */
  name: string
  /** Where the table lies. */
  location: string
  /** What the entry needs, or needed before it was made so; null where that is not known. */
  need: EntryNeed['need'] | null
  /** What the catalog has; null where it has no entry, or was not asked. */
  found: FoundTable | null
  /** What the entry should be; null where there is no table yet. */
  wanted: CatalogTable | null
  /** Why it could not be looked at, or not be made so. */
  error: { code: string; message: string } | null
}

type Reported = Pick<ResolvedTable, 'topic' | 'uri' | 'description' | 'storageOptions'> & { catalog: ResolvedCatalog }

/**
 * Looks at a table's entry, and with `mends` brings it up to date. Never rejects.
 * @param info what the table is; null where there is none yet
 */
export async function reportEntry(
  table: Reported,
  info: Pick<TableInfo, 'schemaJson' | 'partitionColumns' | 'properties'> | null,
  catalogs: OpenCatalogs,
  { mends = false, signal = AbortSignal.timeout(ANSWER_MS) } = {},
): Promise<EntryReport> {
  const { catalog, topic, uri, description, storageOptions } = table
  const location = locationOf(uri, catalog.options.type, storageOptions)
  const name = `${catalog.schema}.${catalog.tableName}`
  const report: EntryReport = {
    ...{ topic, catalog: catalog.options.type, name, location },
    ...{ need: null, found: null, wanted: null, error: null },
  }
  try {
    mustBeNames(catalog)
    const opened = await catalogs.of(catalog.options)
    if (info === null) {
      report.found = await opened.find(catalog.schema, catalog.tableName, signal)
      if (report.found) mustBeAt(report.found, { schema: catalog.schema, name: catalog.tableName, location })
      return report
    }
    const wanted = entryOf(catalog, { ...info, location, description })
    report.wanted = wanted
    const needed = await neededOf(opened, wanted, signal)
    Object.assign(report, needed)
    if (mends) await meetNeed(opened, wanted, needed, signal)
  } catch (thrown) {
    const { code, message } = asKafkaToDeltaError(thrown, 'CATALOG_UNAVAILABLE')
    report.error = { code, message }
  }
  return report
}
