/** The catalogs of a query: how its tables' entries are named, and what options must not say of them together. */

import { resolveTls } from './certificates.js'
import { type OptionProblem, OptionsError } from './errors.js'
import { hasReference } from './patterns.js'
import type { ParsedOptions, ParsedTable } from './schema.js'
import { withSecretFiles } from './secret.js'
import type { CatalogOptions, ResolvedCatalog, ResolvedCatalogOptions, ResolvedTable } from './types.js'

/** Null where the table is registered nowhere. A name that lacks is told by {@link checkCatalogs}. */
export function resolveCatalog(
  table: ParsedTable,
  query: ParsedOptions,
  baseDir: string | undefined,
): ResolvedCatalog | null {
  const given = table.catalog ?? query.catalog
  if (given === undefined || given.type === 'none') return null
  const secured = {
    ...given,
    ...('tls' in given && given.tls ? { tls: resolveTls(given.tls, 'catalog.tls', baseDir) } : {}),
    ...('auth' in given && given.auth ? { auth: withSecretFiles(given.auth, 'catalog.auth', baseDir) } : {}),
  }
  return { options: secured as ResolvedCatalogOptions, schema: table.schema ?? '', tableName: table.tableName ?? '' }
}

/**
 * Hive's names are letters, digits and underscores (Spark's `SessionCatalog` refuses others), and Athena takes no other ones from
 * Glue. Unity Catalog refuses dots, slashes, spaces and control characters.
 */
const NAMES: { readonly [K in CatalogOptions['type']]: { readonly form: RegExp; readonly words: string } } = {
  hive: { form: /^\w+$/, words: 'letters, digits and underscores' },
  glue: { form: /^\w+$/, words: 'letters, digits and underscores' },
  unity: { form: /^[^\s./\p{Cc}]+$/u, words: 'no dots, slashes, spaces and control characters' },
}

/** Why a name cannot stand in the catalog; null where it can. */
export function nameProblem(type: CatalogOptions['type'], name: string): string | null {
  const { form, words } = NAMES[type]
  if (name === '') return 'must be given: the catalog has tables by schema and name'
  return form.test(name) ? null : `is no name of the catalog, which takes ${words}: ${JSON.stringify(name)}`
}

/** The place that an entry stands for: case does not count there. */
export const entryKey = ({ options, schema, tableName }: ResolvedCatalog): string =>
  JSON.stringify([options, schema.toLowerCase(), tableName.toLowerCase()])

/** Every table of a catalog has a name there, and no two paths have the same. */
export function checkCatalogs(tables: readonly ResolvedTable[], options: ParsedOptions): void {
  const problems: OptionProblem[] = []
  const byEntry = new Map<string, ResolvedTable>()
  for (const table of tables) {
    const { topic, catalog } = table
    if (catalog === null) continue
    const refuse = (option: string, message: string) =>
      problems.push({ path: ['tables', topic, option], message, atKey: false })
    for (const option of ['schema', 'tableName'] as const) {
      const problem = hasReference(catalog[option]) ? null : nameProblem(catalog.options.type, catalog[option])
      if (problem) refuse(option, problem)
    }
    if (catalog.tableName === '' || hasReference(`${catalog.schema}.${catalog.tableName}`)) continue
    const other = byEntry.get(entryKey(catalog))
    if (other && other.uri !== table.uri) {
      refuse(
        'tableName',
        `names the same table of the catalog as topic ${JSON.stringify(other.topic)}, which has another path`,
      )
    }
    byEntry.set(entryKey(catalog), table)
  }
  if (options.catalog?.type === 'none') {
    problems.push({
      path: ['catalog', 'type'],
      message: '"none" is for tables that stand in no catalog, where the query has one',
      atKey: false,
    })
  } else if (options.catalog && Object.values(options.tables).every(({ catalog }) => catalog !== undefined)) {
    problems.push({ path: ['catalog'], message: 'has no effect: every table says its own', atKey: false })
  }
  if (problems.length > 0) throw new OptionsError(problems)
}
