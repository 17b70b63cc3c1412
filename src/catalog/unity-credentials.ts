/** Credentials that Unity Catalog gives for a table's files, as options of the object store. */

import { KafkaToDeltaError } from '../errors.js'
import type { TablePlace, VendedCredentials } from './catalog.js'
import { mustBeAt } from './entry.js'
import type { UnityClient } from './unity-client.js'

/** What the description calls `TemporaryCredentials`. */
interface TemporaryCredentials {
  aws_temp_credentials?: { access_key_id?: string; secret_access_key?: string; session_token?: string }
  azure_user_delegation_sas?: { sas_token?: string }
  gcp_oauth_token?: { oauth_token?: string }
  /** Milliseconds since 1970. */
  expiration_time?: number
}

/** Options by the names that the engine's stores have; null where there are none of that cloud. */
function optionsOf({
  aws_temp_credentials: aws,
  azure_user_delegation_sas: azure,
}: TemporaryCredentials): Record<string, string> | null {
  if (aws?.access_key_id && aws.secret_access_key) {
    return {
      AWS_ACCESS_KEY_ID: aws.access_key_id,
      AWS_SECRET_ACCESS_KEY: aws.secret_access_key,
      ...(aws.session_token ? { AWS_SESSION_TOKEN: aws.session_token } : {}),
    }
  }
  return azure?.sas_token ? { AZURE_STORAGE_SAS_TOKEN: azure.sas_token } : null
}

/** What to ask: for a table that has its entry by its id, for another one by the place where it is to be made. */
function requestFor({ location }: TablePlace, info: { table_id?: string } | null): [path: string, body: object] {
  return info?.table_id
    ? ['temporary-table-credentials', { table_id: info.table_id, operation: 'READ_WRITE' }]
    : ['temporary-path-credentials', { url: location, operation: 'PATH_CREATE_TABLE' }]
}

/**
 * @param info the table's entry; null where there is none
 * @throws CATALOG_CONFLICT where the entry has another location: its credentials are not those of this table
 */
export async function askCredentials(
  client: UnityClient,
  table: TablePlace,
  info: { table_id?: string; storage_location?: string } | null,
  signal: AbortSignal,
): Promise<VendedCredentials> {
  if (info) mustBeAt({ location: info.storage_location ?? '' }, table)
  const name = `${table.schema}.${table.name}`
  const [path, body] = requestFor(table, info)
  const given = await client.post<TemporaryCredentials>(`get credentials for ${name}`, path, body, signal)
  const options = optionsOf(given)
  if (options === null) {
    const what = given.gcp_oauth_token ? 'a token of Google Cloud, which the store cannot take' : 'none for S3 or Azure'
    throw new KafkaToDeltaError('CATALOG_DENIED', `Unity Catalog gives ${name} no credentials of use: ${what}`)
  }
  return { options, expires: given.expiration_time ? new Date(given.expiration_time) : null }
}
