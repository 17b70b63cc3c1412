/**
 * An external Delta table as Spark keeps it in a Hive metastore, and in Glue, which speaks for one:
 * `HiveExternalCatalog.createDataSourceTable` and `tableMetaToTableProps` (apache/spark, sql/hive) write these. Trino reads the same:
 * its `HiveMetastoreBackedDeltaLakeMetastore` (trinodb/trino, plugin/trino-delta-lake) takes a table for one of Delta by
 * `spark.sql.sources.provider`, and its place from `path` among the serde's parameters.
 */

import type { CatalogColumn, CatalogTable } from './catalog.js'

const PROVIDER = 'spark.sql.sources.provider'
const SCHEMA = 'spark.sql.sources.schema'

/** Spark's `spark.sql.sources.schemaStringLengthThreshold`: a longer text is cut into parts (`splitLargeTableProp`). */
const MAX_LENGTH = 4_000

/** Of the storage descriptor. Spark has no format of Hive's for Delta, and Trino (`DELTA_STORAGE_FORMAT`) writes the same. */
export const SPARK_STORAGE = {
  inputFormat: 'org.apache.hadoop.mapred.SequenceFileInputFormat',
  outputFormat: 'org.apache.hadoop.hive.ql.io.HiveSequenceFileOutputFormat',
  serializationLibrary: 'org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe',
} as const

/** Of the serde. */
export const serdeParameters = ({ location }: CatalogTable): Record<string, string> => ({
  path: location,
  'serialization.format': '1',
})

/** A column as Spark's `StructField.json` has it. */
export const sparkField = ({ name, type, nullable, comment }: CatalogColumn): object => ({
  ...{ name, type, nullable },
  metadata: comment === undefined ? {} : { comment },
})

/** Spark's own JSON of the columns: {@link CatalogTable.partitionColumns} are columns as others, since Delta's log has partitions. */
const schemaText = ({ columns }: CatalogTable): string =>
  JSON.stringify({ type: 'struct', fields: columns.map(sparkField) })

/** Parameters of the table by which Spark and Trino know it. */
export function sparkParameters(table: CatalogTable): Record<string, string> {
  const text = schemaText(table)
  const parts = text.match(new RegExp(`.{1,${MAX_LENGTH}}`, 'gs')) ?? []
  const schema =
    parts.length <= 1
      ? { [SCHEMA]: text }
      : {
          [`${SCHEMA}.numParts`]: String(parts.length),
          ...Object.fromEntries(parts.map((part, i) => [`${SCHEMA}.part.${i}`, part])),
        }
  return { ...table.properties, EXTERNAL: 'TRUE', [PROVIDER]: 'delta', ...schema }
}

/** Whether a parameter is one of the schema's, which a schema of another length does not have. */
export const isSchemaParameter = (name: string): boolean => name === SCHEMA || name.startsWith(`${SCHEMA}.`)

/** Whether an entry is a Delta table's: Trino compares without case, too. */
export const isDelta = (parameters: Readonly<Record<string, string>>): boolean =>
  parameters[PROVIDER]?.toLowerCase() === 'delta' || parameters.table_type?.toLowerCase() === 'delta'
