/** The names that Hive and Spark have for Delta's types. */

import type { DeltaType } from '../delta/schema-json.js'

/** Spark's `DataType.catalogString`, by the names of the Delta protocol; those that are the same are left out. */
const SPARK: Readonly<Record<string, string>> = { byte: 'tinyint', short: 'smallint', integer: 'int', long: 'bigint' }

/** Hive has one timestamp, without a zone. */
const HIVE: Readonly<Record<string, string>> = { ...SPARK, timestamp_ntz: 'timestamp' }

function named(type: DeltaType, names: Readonly<Record<string, string>>): string {
  if (typeof type === 'string') return Object.hasOwn(names, type) ? (names[type] as string) : type.replace(/\s/g, '')
  const of = (part: DeltaType | undefined) => named(part ?? 'string', names)
  if (type.type === 'array') return `array<${of(type.elementType)}>`
  if (type.type === 'map') return `map<${of(type.keyType)},${of(type.valueType)}>`
  return `struct<${(type.fields ?? []).map((field) => `${field.name}:${of(field.type)}`).join(',')}>`
}

/** As Hive writes a type, in its metastore and in Glue. */
export const hiveTypeName = (type: DeltaType): string => named(type, HIVE)

/** As Spark writes a type in catalogs: `DataType.catalogString`. */
export const sparkTypeName = (type: DeltaType): string => named(type, SPARK)
