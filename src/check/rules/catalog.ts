/** What a run would do in the catalog of a table. */

import type { OpenCatalogs } from '../../catalog/open-catalogs.js'
import { reportEntry } from '../../catalog/report.js'
import type { TableInfo } from '../../delta/table.js'
import type { ErrorCode } from '../../errors.js'
import { KafkaToDeltaError } from '../../errors.js'
import type { ResolvedCatalog, ResolvedTable } from '../../options/types.js'
import { type Finding, failure, finding } from '../findings.js'

/** @param after the table as it would be; null where that is not known */
export async function entryFindings(
  table: ResolvedTable & { catalog: ResolvedCatalog },
  after: TableInfo | null,
  catalogs: OpenCatalogs,
): Promise<Finding[]> {
  const info = after?.schemaJson ? after : null
  const { error, need, name, location } = await reportEntry(table, info, catalogs)
  if (error) return [failure(new KafkaToDeltaError(error.code as ErrorCode, error.message))]
  if (need === null || need === 'none') return []
  const what = need === 'create' ? `would be created at ${location}` : 'would be brought up to date'
  return [finding('CATALOG_ENTRY', `in the catalog ${name} ${what}`, 'nothing: a run does it, and catalog sync')]
}
