/** Where tables lie, as catalogs write it. */

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
