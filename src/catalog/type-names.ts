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

/** Types of Delta that Hive has words for. */
const KNOWN =
  /^(byte|short|integer|long|float|double|boolean|string|binary|date|timestamp|timestamp_ntz|decimal\(.*\))$/

/** Spark 3.5 parses the types of an entry's columns, and cannot open the table where a struct has a field of another name. */
const PARSABLE = /^[a-zA-Z0-9_]+$/

/** What stands in for a type that Hive has no words for. Readers of Delta take types from the table's log. */
export const STAND_IN = 'string'

function isSpeakable(type: DeltaType): boolean {
  if (typeof type === 'string') return KNOWN.test(type)
  const { elementType, keyType, valueType, fields } = type
  if (fields) return fields.length > 0 && fields.every((field) => PARSABLE.test(field.name) && isSpeakable(field.type))
  return [elementType, keyType, valueType].every((part) => part === undefined || isSpeakable(part))
}

/** As Hive writes a type, in its metastore and in Glue; a text where Hive has no words for it. */
export const hiveTypeName = (type: DeltaType): string => (isSpeakable(type) ? named(type, HIVE) : STAND_IN)

/** As Spark writes a type in catalogs: `DataType.catalogString`. */
export const sparkTypeName = (type: DeltaType): string => named(type, SPARK)
