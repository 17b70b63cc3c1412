/**
 * AWS Glue's data catalog, by AWS's own client, which is loaded only here.
 *
 * An entry is what Spark writes into a Hive metastore (spark-table.ts): with Glue as its metastore Spark reads it so, and Trino too.
 * `table_type: DELTA` is what Athena writes for `CREATE EXTERNAL TABLE … TBLPROPERTIES ('table_type' = 'DELTA')` and knows its own
 * native Delta tables by (Athena user guide, "Query Linux Foundation Delta Lake tables").
 */

import type { Column, Database, GlueClient, Table, TableInput } from '@aws-sdk/client-glue'
import { KafkaToDeltaError } from '../errors.js'
import type { GlueCatalogOptions } from '../options/types.js'
import type { Catalog, CatalogTable, FoundTable } from './catalog.js'
import { isDelta, isSchemaParameter, SPARK_STORAGE, serdeParameters, sparkParameters } from './spark-table.js'
import { hiveTypeName } from './type-names.js'

/** Glue takes no longer ones (API reference, `Column` and `TableInput`). */
const MAX_COMMENT = 255
const MAX_DESCRIPTION = 2048

interface FoundGlueTable extends FoundTable {
  readonly table: Table
}

const short = (text: string | undefined, length: number) =>
  text === undefined || text.length <= length ? text : `${text.slice(0, length - 1)}…`

const columnsOf = ({ columns }: CatalogTable): Column[] =>
  columns.map(({ name, type, comment }) => ({
    Name: name,
    Type: hiveTypeName(type),
    ...(comment === undefined ? {} : { Comment: short(comment, MAX_COMMENT) }),
  }))

const parametersOf = (table: CatalogTable) => ({ ...sparkParameters(table), table_type: 'DELTA' })

/** An entry, with what others have put into the one that is there. */
function inputOf(table: CatalogTable, found: Table | null): TableInput {
  const kept = Object.entries(found?.Parameters ?? {}).filter(([name]) => !isSchemaParameter(name))
  const description = short(table.comment, MAX_DESCRIPTION) ?? found?.Description
  return {
    Name: table.name.toLowerCase(),
    TableType: 'EXTERNAL_TABLE',
    Parameters: { ...Object.fromEntries(kept), ...parametersOf(table) },
    ...(description ? { Description: description } : {}),
    ...(found?.Owner ? { Owner: found.Owner } : {}),
    ...(found?.Retention === undefined ? {} : { Retention: found.Retention }),
    PartitionKeys: [],
    StorageDescriptor: {
      Columns: columnsOf(table),
      Location: table.location,
      InputFormat: SPARK_STORAGE.inputFormat,
      OutputFormat: SPARK_STORAGE.outputFormat,
      SerdeInfo: { SerializationLibrary: SPARK_STORAGE.serializationLibrary, Parameters: serdeParameters(table) },
    },
  }
}

function foundOf(table: Table): FoundGlueTable {
  const { StorageDescriptor: storage, PartitionKeys = [] } = table
  const columns = [...(storage?.Columns ?? []), ...PartitionKeys]
  return {
    location: storage?.SerdeInfo?.Parameters?.path ?? storage?.Location ?? '',
    columns: columns.map(({ Name = '', Type = '' }) => ({ name: Name, type: Type })),
    properties: table.Parameters ?? {},
    table,
  }
}

const textOf = (columns: readonly Column[]) =>
  JSON.stringify(columns.map(({ Name, Type, Comment }) => [Name, Type, Comment ?? '']))

function matches(table: CatalogTable, { table: found }: FoundGlueTable): boolean {
  const wanted = inputOf(table, found)
  const parameters = Object.entries(found.Parameters ?? {})
  return (
    parameters.length === Object.keys(wanted.Parameters ?? {}).length &&
    parameters.every(([name, value]) => wanted.Parameters?.[name] === value) &&
    textOf(found.StorageDescriptor?.Columns ?? []) === textOf(columnsOf(table)) &&
    (found.PartitionKeys ?? []).length === 0 &&
    found.StorageDescriptor?.SerdeInfo?.Parameters?.path === table.location &&
    (found.Description ?? '') === (wanted.Description ?? '')
  )
}

/** Names of errors by which AWS refuses credentials or rights; `CredentialsProviderError` is the client's own: it found none. */
const DENIED =
  /AccessDenied|UnrecognizedClient|InvalidSignature|IncompleteSignature|ExpiredToken|InvalidClientTokenId|MissingAuthenticationToken|CredentialsProvider|Forbidden/

interface AwsError extends Error {
  $metadata?: { httpStatusCode?: number }
}

function toOurs(thrown: unknown, doing: string): KafkaToDeltaError {
  const error = thrown as AwsError
  const status = error.$metadata?.httpStatusCode ?? 0
  const isDenied = DENIED.test(error.name) || status === 401 || status === 403
  const code = /Region is missing/.test(error.message)
    ? 'CONFIG_INVALID'
    : isDenied
      ? 'CATALOG_DENIED'
      : 'CATALOG_UNAVAILABLE'
  const why = error.message && error.message !== 'UnknownError' ? error.message : `${error.name} ${status || ''}`.trim()
  return new KafkaToDeltaError(code, `cannot ${doing} in Glue: ${why}`, { cause: thrown })
}

async function load(): Promise<typeof import('@aws-sdk/client-glue')> {
  try {
    return await import('@aws-sdk/client-glue')
  } catch (error) {
    throw new KafkaToDeltaError(
      'CATALOG_UNAVAILABLE',
      'a catalog of the type glue needs the package @aws-sdk/client-glue: npm install @aws-sdk/client-glue',
      { cause: error },
    )
  }
}

/** What {@link GlueClient} answers; null where it knows no such thing. */
async function orNull<T>(doing: string, call: Promise<T>, isNothing: string): Promise<T | null> {
  try {
    return await call
  } catch (error) {
    if ((error as Error).name === isNothing) return null
    throw toOurs(error, doing)
  }
}

/** @throws CATALOG_UNAVAILABLE where AWS's client is not installed */
export async function openGlue({ region, endpoint, catalogId }: GlueCatalogOptions): Promise<Catalog> {
  const aws = await load()
  const client: GlueClient = new aws.GlueClient({
    maxAttempts: 2,
    ...(region === undefined ? {} : { region }),
    ...(endpoint === undefined ? {} : { endpoint }),
  })
  const of = catalogId === undefined ? {} : { CatalogId: catalogId }
  const databaseOf = (schema: string) => schema.toLowerCase()

  async function findSchema(schema: string, abortSignal: AbortSignal): Promise<Database | null> {
    const command = new aws.GetDatabaseCommand({ ...of, Name: databaseOf(schema) })
    const doing = `look for the database ${schema}`
    return (await orNull(doing, client.send(command, { abortSignal }), 'EntityNotFoundException'))?.Database ?? null
  }

  return {
    async find(schema, name, abortSignal) {
      const command = new aws.GetTableCommand({ ...of, DatabaseName: databaseOf(schema), Name: name.toLowerCase() })
      const doing = `look for ${schema}.${name}`
      const found = await orNull(doing, client.send(command, { abortSignal }), 'EntityNotFoundException')
      return found?.Table ? foundOf(found.Table) : null
    },

    async ensureSchema(schema, abortSignal) {
      if (await findSchema(schema, abortSignal)) return
      const command = new aws.CreateDatabaseCommand({ ...of, DatabaseInput: { Name: databaseOf(schema) } })
      const doing = `create the database ${schema}`
      await orNull(doing, client.send(command, { abortSignal }), 'AlreadyExistsException')
    },

    async create(table, abortSignal) {
      const [DatabaseName, TableInput] = [databaseOf(table.schema), inputOf(table, null)]
      const command = new aws.CreateTableCommand({ ...of, DatabaseName, TableInput })
      const doing = `create ${table.schema}.${table.name}`
      await orNull(doing, client.send(command, { abortSignal }), 'AlreadyExistsException')
    },

    async update(table, found, abortSignal) {
      const { table: before } = found as FoundGlueTable
      const name = `${table.schema}.${table.name}`
      if (!isDelta(before.Parameters ?? {})) {
        throw new KafkaToDeltaError(
          'CATALOG_CONFLICT',
          `Glue has ${name} at ${table.location} as another table than one of Delta: drop that entry`,
        )
      }
      const TableInput = inputOf(table, before)
      const command = new aws.UpdateTableCommand({ ...of, DatabaseName: databaseOf(table.schema), TableInput })
      await orNull(`update ${name}`, client.send(command, { abortSignal }), 'EntityNotFoundException')
    },

    matches: (table, found) => matches(table, found as FoundGlueTable),

    async close() {
      client.destroy()
    },
  }
}
