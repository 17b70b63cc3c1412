/** The table of a configuration, opened for a repair: what `verify --repair` and `resync` have in common. */

import type { DeltaTable } from '../delta/table.js'
import type { ResolvedTable } from '../options/types.js'
import { traitsOf } from '../options/write-modes.js'
import { openDeltaTable } from '../stream/connect.js'
import { invalid } from './flags.js'

/** @throws CONFIG_INVALID for a table that holds more than the rows as they are now */
export function mustBeComparable({ writeMode }: ResolvedTable): void {
  if (traitsOf(writeMode).equalsSource) return
  throw invalid(
    `a table with writeMode ${writeMode} holds what its source table was, and is not to be compared with it`,
  )
}

/** @throws CONFIG_INVALID for a table that is more, or less, than its source table */
export function mustBeRepairable({ writeMode, deletes, shared }: ResolvedTable): void {
  if (traitsOf(writeMode).equalsSource && deletes === 'hard' && !shared) return
  throw invalid('a repair is for tables that equal one source table: not with writeMode, deletes or shared')
}

/**
 * For a few keys, looking through the files' key columns costs less than an index of all; with an index a commit is sooner
 * made, once it is there.
 */
export function openForRepair(table: ResolvedTable, indexed = false): Promise<DeltaTable> {
  const keyIndex = indexed ? table.keyIndex : 'none'
  return openDeltaTable({ ...table, keyIndex, indexDir: null, onMissingValue: 'null' })
}
