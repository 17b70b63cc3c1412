/** Types in Hive's words, as far as a metastore takes them. */

import type { DeltaType } from '../../delta/schema-json.js'
import { hiveTypeName } from '../type-names.js'

const KNOWN =
  /^(byte|short|integer|long|float|double|boolean|string|binary|date|timestamp|timestamp_ntz|decimal\(.*\))$/

/** Spark 3.5 parses the types of an entry's columns, and cannot open the table where a struct has a field of another name. */
const PARSABLE = /^[a-zA-Z0-9_]+$/

/** Older metastores have no room for more. */
const MAX_LENGTH = 4000

/** What stands in for a type that Hive has no words for. Readers of Delta take types from the table's log. */
const STAND_IN = 'string'

export function hiveType(type: DeltaType): string {
  if (!isSpeakable(type)) return STAND_IN
  const name = hiveTypeName(type)
  return name.length > MAX_LENGTH ? STAND_IN : name
}

function isSpeakable(type: DeltaType): boolean {
  if (typeof type === 'string') return KNOWN.test(type)
  const { elementType, keyType, valueType, fields } = type
  if (fields) return fields.length > 0 && fields.every((field) => PARSABLE.test(field.name) && isSpeakable(field.type))
  return [elementType, keyType, valueType].every((part) => part === undefined || isSpeakable(part))
}
