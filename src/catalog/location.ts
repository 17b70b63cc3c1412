/** Where tables lie, as catalogs write it. */

import type { CatalogOptions } from '../options/types.js'

/** Schemes that stand for the same store: Hadoop has names of its own for S3. */
const SCHEMES: Readonly<Record<string, string>> = { s3a: 's3', s3n: 's3', abfs: 'abfss', wasb: 'abfss', wasbs: 'abfss' }

/** A location in one form: `file:/x`, `file:///x` and `/x/` are the same folder, `s3a://b/x` is `s3://b/x`. */
function plain(location: string): string {
  const [, scheme = 'file', rest = location] = /^([a-z][a-z0-9+.-]*):(.*)$/is.exec(location) ?? []
  const name = scheme.toLowerCase()
  // A local URL has no host: what it begins with is of no account.
  const path = name === 'file' ? rest.replace(/^\/*/, '/') : rest.replace(/^\/*/, '//')
  return `${SCHEMES[name] ?? name}:${path.replace(/\/+$/, '')}`
}

/** Whether two locations are one place. */
export const isSamePlace = (one: string, other: string): boolean => plain(one) === plain(other)

/** The Azure account that the engine takes from the options of the store. */
const ACCOUNT = /^(azure_storage_)?account_name$/i

/**
 * A table's location as readers of the catalog take it: a URL. Spark's Hadoop knows S3 as `s3a`; services of AWS, and Unity Catalog,
 * know it as `s3`; Trino takes both. Azure's containers have the account in their URL.
 */
export function locationOf(
  uri: string,
  type: CatalogOptions['type'],
  storageOptions: Readonly<Record<string, string>>,
  env: Readonly<Record<string, string | undefined>> = process.env,
): string {
  const [, scheme = '', rest = ''] = /^([a-z][a-z0-9+.-]+):\/\/(.*)$/i.exec(uri) ?? []
  // As Hadoop's `Path` writes and reads it: nothing is escaped.
  if (scheme === '') return `file://${uri.replaceAll('\\', '/').replace(/^\/*/, '/')}`
  if (/^s3[an]?$/i.test(scheme)) return `${type === 'hive' ? 's3a' : 's3'}://${rest}`
  if (!/^(az|azure|adl)$/i.test(scheme)) return uri
  const given = Object.entries(storageOptions).find(([name]) => ACCOUNT.test(name))?.[1]
  const account = given ?? env.AZURE_STORAGE_ACCOUNT_NAME
  const [container = '', ...path] = rest.split('/')
  return account ? [`abfss://${container}@${account}.dfs.core.windows.net`, ...path].join('/') : uri
}
