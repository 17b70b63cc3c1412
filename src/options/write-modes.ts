/** The write modes, and what is done differently in one of them. The engine has its own part in `merge/modes`. */

import { CHANGELOG_COLUMNS } from './defaults.js'

/** What the program asks of a mode. */
export interface WriteModeTraits {
  /** The table equals its source's as it is now. Otherwise it holds what was before, too, and the order of all changes counts. */
  readonly equalsSource: boolean
  /** Each change is a row, a delete and a truncate, too. */
  readonly rowPerChange: boolean
  /** Rows that the table has are replaced or removed; for that they are looked up by their keys. */
  readonly replacesRows: boolean
  /** Rows tell from when to when they were the current ones: a change needs its time. */
  readonly hasVersions: boolean
  /** The `metadataColumns` that a table has where its options name none. */
  readonly metadataColumns: readonly string[]
}

export const WRITE_MODES = {
  upsert: { equalsSource: true, rowPerChange: false, replacesRows: true, hasVersions: false, metadataColumns: [] },
  append: {
    equalsSource: false,
    rowPerChange: true,
    replacesRows: false,
    hasVersions: false,
    metadataColumns: CHANGELOG_COLUMNS,
  },
  scd2: { equalsSource: false, rowPerChange: false, replacesRows: true, hasVersions: true, metadataColumns: [] },
} as const satisfies Record<string, WriteModeTraits>

export type WriteMode = keyof typeof WRITE_MODES

export const WRITE_MODE_NAMES = Object.keys(WRITE_MODES) as [WriteMode, ...WriteMode[]]

export const traitsOf = (mode: WriteMode): WriteModeTraits => WRITE_MODES[mode]
