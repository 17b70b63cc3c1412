/**
 * Unity Catalog, by its REST interface: the published description (unitycatalog/unitycatalog, `api/all.yaml`).
 *
 * It can create, read and delete a table's entry, and not change it: an entry that is not as the table is, is deleted and
 * created anew. Deleting the entry of an external table leaves its files alone, which is what external means there; rights that
 * were granted on the entry are lost with it.
 */

import { KafkaToDeltaError } from '../errors.js'
import type { UnityCatalogOptions, WithTls } from '../options/types.js'
import type { Catalog, CatalogColumn, CatalogTable, FoundTable } from './catalog.js'
import { sparkField } from './spark-table.js'
import { sparkTypeName } from './type-names.js'
import { UnityClient } from './unity-client.js'
import { askCredentials } from './unity-credentials.js'

/** The server keeps a property in 255 characters: a longer one fails the whole request. */
const MAX_PROPERTY = 255

/** What the description calls `ColumnInfo`. */
interface ColumnInfo {
  name?: string
  type_text?: string
  type_json?: string
  type_name?: string
  type_precision?: number
  type_scale?: number
  position?: number
  comment?: string
  nullable?: boolean
  partition_index?: number
}

/** What the description calls `TableInfo`, as far as it is of use here. */
interface TableInfo {
  table_type?: string
  data_source_format?: string
  storage_location?: string
  columns?: ColumnInfo[]
  comment?: string
  properties?: Record<string, string>
  table_id?: string
}

interface FoundUnityTable extends FoundTable {
  readonly info: TableInfo
}

/** `ColumnTypeName` of Delta's plain types. */
const TYPE_NAMES: Readonly<Record<string, string>> = {
  boolean: 'BOOLEAN',
  byte: 'BYTE',
  short: 'SHORT',
  integer: 'INT',
  long: 'LONG',
  float: 'FLOAT',
  double: 'DOUBLE',
  date: 'DATE',
  timestamp: 'TIMESTAMP',
  timestamp_ntz: 'TIMESTAMP_NTZ',
  string: 'STRING',
  binary: 'BINARY',
  array: 'ARRAY',
  map: 'MAP',
  struct: 'STRUCT',
}

/** Spark's own connector reads columns from `type_json`. */
function columnOf(column: CatalogColumn, position: number, partitionColumns: readonly string[]): ColumnInfo {
  const { name, type, nullable, comment } = column
  const [, precision, scale] = typeof type === 'string' ? (/^decimal\((\d+),\s*(\d+)\)$/.exec(type) ?? []) : []
  const partition = partitionColumns.indexOf(name)
  return {
    name,
    type_text: sparkTypeName(type),
    type_json: JSON.stringify(sparkField(column)),
    type_name: precision ? 'DECIMAL' : (TYPE_NAMES[typeof type === 'string' ? type : type.type] ?? 'STRING'),
    ...(precision ? { type_precision: Number(precision), type_scale: Number(scale) } : {}),
    position,
    nullable,
    ...(comment === undefined ? {} : { comment }),
    ...(partition < 0 ? {} : { partition_index: partition }),
  }
}

const columnsOf = ({ columns, partitionColumns }: CatalogTable) =>
  columns.map((column, position) => columnOf(column, position, partitionColumns))

const propertiesOf = ({ properties }: CatalogTable) =>
  Object.fromEntries(Object.entries(properties).filter(([, value]) => value.length <= MAX_PROPERTY))

const textOf = (columns: readonly ColumnInfo[]) =>
  JSON.stringify(
    columns.map(({ name, type_text, comment = '', partition_index = -1 }) => [
      name,
      type_text,
      comment,
      partition_index,
    ]),
  )

function matches(table: CatalogTable, { info }: FoundUnityTable): boolean {
  const found = [...(info.columns ?? [])].sort((a, b) => (a.position ?? 0) - (b.position ?? 0))
  return (
    info.data_source_format === 'DELTA' &&
    textOf(found) === textOf(columnsOf(table)) &&
    (table.comment === undefined || info.comment === table.comment) &&
    Object.entries(propertiesOf(table)).every(([name, value]) => info.properties?.[name] === value)
  )
}

export async function openUnity(options: WithTls<UnityCatalogOptions>): Promise<Catalog> {
  const client = new UnityClient(options)
  const { catalog } = options
  const path = (kind: 'tables' | 'schemas', ...names: string[]) =>
    `${kind}/${encodeURIComponent([catalog, ...names].join('.'))}`

  async function create(table: CatalogTable, properties: Record<string, string>, signal: AbortSignal): Promise<void> {
    const body = {
      name: table.name,
      catalog_name: catalog,
      schema_name: table.schema,
      table_type: 'EXTERNAL',
      data_source_format: 'DELTA',
      columns: columnsOf(table),
      storage_location: table.location,
      ...(table.comment === undefined ? {} : { comment: table.comment }),
      properties,
    }
    await client.create(`create ${table.schema}.${table.name}`, 'tables', body, signal)
  }

  const look = (schema: string, name: string, signal: AbortSignal) =>
    client.get<TableInfo>(`look for ${schema}.${name}`, path('tables', schema, name), signal)

  return {
    async find(schema, name, signal) {
      const info = await look(schema, name, signal)
      if (info === null) return null
      const columns = (info.columns ?? []).map(({ name: of = '', type_text = '' }) => ({ name: of, type: type_text }))
      const found: FoundUnityTable = {
        location: info.storage_location ?? '',
        columns,
        properties: info.properties ?? {},
        info,
      }
      return found
    },

    async ensureSchema(schema, signal) {
      const doing = `look for the schema ${schema}`
      if ((await client.get(doing, path('schemas', schema), signal)) !== null) return
      await client.create(`create the schema ${schema}`, 'schemas', { name: schema, catalog_name: catalog }, signal)
    },

    create: (table, signal) => create(table, propertiesOf(table), signal),

    async update(table, found, signal) {
      const { info } = found as FoundUnityTable
      const name = `${table.schema}.${table.name}`
      if (info.table_type !== 'EXTERNAL' || info.data_source_format !== 'DELTA') {
        throw new KafkaToDeltaError(
          'CATALOG_CONFLICT',
          `Unity Catalog has ${name} at ${table.location} as a table of the type ${info.table_type}, ` +
            `format ${info.data_source_format}, and not as an external one of Delta: drop that entry`,
        )
      }
      await client.delete(`replace ${name}`, path('tables', table.schema, table.name), signal)
      const comment = table.comment ?? info.comment
      const complete = comment === undefined ? table : { ...table, comment }
      await create(complete, { ...info.properties, ...propertiesOf(table) }, signal)
    },

    matches: (table, found) => matches(table, found as FoundUnityTable),

    credentials: async (table, signal) =>
      askCredentials(client, table, await look(table.schema, table.name, signal), signal),

    async close() {
      client.close()
    },
  }
}
