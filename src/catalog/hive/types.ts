/** Types in Hive's words, as far as a metastore takes them. */

import type { DeltaType } from '../../delta/schema-json.js'
import { hiveTypeName, STAND_IN } from '../type-names.js'

/** Older metastores have no room for more. */
const MAX_LENGTH = 4000

export function hiveType(type: DeltaType): string {
  const name = hiveTypeName(type)
  return name.length > MAX_LENGTH ? STAND_IN : name
}
