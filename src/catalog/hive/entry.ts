/**
 * A table's entry in a Hive metastore: that of Spark (spark-table.ts), but for its columns and its location. Spark writes one
 * column `col` and a folder that is none, and reads neither; here they are the table's, for whatever else lists tables.
 */

import { KafkaToDeltaError } from '../../errors.js'
import type { CatalogTable, FoundTable } from '../catalog.js'
import { isDelta, isSchemaParameter, SPARK_STORAGE, serdeParameters, sparkParameters } from '../spark-table.js'
import { hiveType } from './types.js'
import {
  bool,
  i32,
  type Struct,
  struct,
  structOf,
  structs,
  structsOf,
  text,
  textMap,
  textMapOf,
  textOf,
  texts,
} from './values.js'

/** Fields of the structs Table, StorageDescriptor, SerDeInfo and FieldSchema that are used here, by their ids. */
const TABLE = { name: 1, database: 2, owner: 3, storage: 7, partitionKeys: 8, parameters: 9, type: 12 } as const
const STORAGE = {
  columns: 1,
  location: 2,
  inputFormat: 3,
  outputFormat: 4,
  compressed: 5,
  numBuckets: 6,
  serde: 7,
  bucketColumns: 8,
  sortColumns: 9,
  parameters: 10,
} as const
const SERDE = { library: 2, parameters: 3 } as const
const COLUMN = { name: 1, type: 2, comment: 3 } as const

/** What the metastore's database has room for. Of longer properties nothing is written: cut ones would be wrong. */
const MAX = { name: 256, value: 4000, columnComment: 256 } as const

/** Keys that Spark and Hive keep for themselves: a table's own properties do not stand in for them. */
const RESERVED = /^(spark\.sql\.|EXTERNAL$|comment$|transient_)/

export interface HiveTable extends FoundTable {
  readonly columns: readonly { name: string; type: string; comment: string | null }[]
  /** The struct Table, whole. */
  readonly entry: Struct
}

/** @throws CATALOG_CONFLICT where the entry is none of a Delta table */
export function foundTable(entry: Struct): HiveTable {
  const storage = structOf(entry, TABLE.storage)
  const properties = textMapOf(entry, TABLE.parameters)
  const path = textMapOf(structOf(storage, STORAGE.serde), SERDE.parameters).path
  const location = path ?? textOf(storage, STORAGE.location) ?? ''
  if (!isDelta(properties)) {
    const name = `${textOf(entry, TABLE.database)}.${textOf(entry, TABLE.name)}`
    const kind = textOf(entry, TABLE.type) ?? 'table'
    const where = location ? ` at ${location}` : ''
    throw new KafkaToDeltaError(
      'CATALOG_CONFLICT',
      `${name} is no Delta table in the Hive metastore, but a ${kind}${where}`,
    )
  }
  const columns = structsOf(storage, STORAGE.columns).map((column) => ({
    name: textOf(column, COLUMN.name) ?? '',
    type: textOf(column, COLUMN.type) ?? '',
    comment: textOf(column, COLUMN.comment),
  }))
  return { location, columns, properties, entry }
}

export function newEntry(table: CatalogTable, owner: string): Struct {
  const serde: Struct = new Map([
    [SERDE.library, text(SPARK_STORAGE.serializationLibrary)],
    [SERDE.parameters, textMap(serdeParameters(table))],
  ])
  const storage: Struct = new Map([
    [STORAGE.columns, columnsOf(table)],
    [STORAGE.location, text(table.location)],
    [STORAGE.inputFormat, text(SPARK_STORAGE.inputFormat)],
    [STORAGE.outputFormat, text(SPARK_STORAGE.outputFormat)],
    [STORAGE.compressed, bool(false)],
    [STORAGE.numBuckets, i32(-1)],
    [STORAGE.serde, struct(serde)],
    [STORAGE.bucketColumns, texts([])],
    [STORAGE.sortColumns, structs([])],
    [STORAGE.parameters, textMap({})],
  ])
  return new Map([
    [TABLE.name, text(table.name)],
    [TABLE.database, text(table.schema)],
    [TABLE.owner, text(owner)],
    [TABLE.storage, struct(storage)],
    // The columns that the table is partitioned by stand among the others: partitions are in the log, not in the metastore.
    [TABLE.partitionKeys, structs([])],
    [TABLE.parameters, textMap(parametersOf(table))],
    [TABLE.type, text('EXTERNAL_TABLE')],
  ])
}

/** The entry with the table's columns, comment and properties, and all else as it was. */
export function updatedEntry(table: CatalogTable, entry: Struct): Struct {
  const storage = new Map(structOf(entry, TABLE.storage)).set(STORAGE.columns, columnsOf(table))
  const parameters = updatedParameters(table, textMapOf(entry, TABLE.parameters))
  return new Map(entry).set(TABLE.storage, struct(storage)).set(TABLE.parameters, textMap(parameters))
}

/** Whether {@link updatedEntry} would change nothing. */
export function isUpToDate(table: CatalogTable, found: HiveTable): boolean {
  const columns = found.columns.map(({ name, type, comment }) => [name.toLowerCase(), type, comment || null])
  if (JSON.stringify(columns) !== JSON.stringify(columnsAsText(table))) return false
  const parameters = updatedParameters(table, found.properties)
  const names = Object.keys(parameters)
  return (
    names.length === Object.keys(found.properties).length &&
    names.every((name) => found.properties[name] === parameters[name])
  )
}

function updatedParameters(table: CatalogTable, found: Readonly<Record<string, string>>): Record<string, string> {
  const kept = Object.entries(found).filter(([name]) => name !== 'comment' && !isSchemaParameter(name))
  // Whose the files are stays as it is: those of a managed table are the metastore's.
  const { EXTERNAL: _, 'spark.sql.sources.provider': provider = '', ...ours } = parametersOf(table)
  return { 'spark.sql.sources.provider': provider, ...Object.fromEntries(kept), ...ours }
}

/** Name, type and comment of each column. The metastore has names in small letters. */
function columnsAsText({ columns }: CatalogTable): [string, string, string | null][] {
  return columns.map(({ name, type, comment }) => [name.toLowerCase(), hiveType(type), shortened(comment)])
}

function columnsOf(table: CatalogTable) {
  const columns = columnsAsText(table).map(([name, type, comment]): Struct => {
    const column: Struct = new Map([
      [COLUMN.name, text(name)],
      [COLUMN.type, text(type)],
    ])
    return comment === null ? column : column.set(COLUMN.comment, text(comment))
  })
  return structs(columns)
}

function shortened(comment: string | undefined): string | null {
  if (!comment) return null
  return comment.length > MAX.columnComment ? `${comment.slice(0, MAX.columnComment - 1)}…` : comment
}

function parametersOf(table: CatalogTable): Record<string, string> {
  const own = Object.entries(table.properties).filter(
    ([name, value]) => !RESERVED.test(name) && name.length <= MAX.name && value.length <= MAX.value,
  )
  const comment = table.comment ? { comment: table.comment.slice(0, MAX.value) } : {}
  return { ...sparkParameters({ ...table, properties: Object.fromEntries(own) }), ...comment }
}
