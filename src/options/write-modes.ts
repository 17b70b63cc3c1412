/** The write modes, and what is done differently in one of them. The engine has its own part in `merge/modes`. */

/** Names of the columns that write modes add to a table, by the option that gives them other ones. */
export const OWN_COLUMNS = {
  scd2Columns: { validFrom: '__valid_from', validTo: '__valid_to', isCurrent: '__is_current' },
} as const

export type OwnColumnsOption = keyof typeof OWN_COLUMNS

export const OWN_COLUMNS_OPTIONS = Object.keys(OWN_COLUMNS) as OwnColumnsOption[]

/** What the program asks of a mode. */
export interface WriteModeTraits {
  /** The table equals its source's as it is now. Otherwise it holds what was before, too, and the order of all changes counts. */
  readonly equalsSource: boolean
  /** Each change is a row, a delete and a truncate, too. */
  readonly rowPerChange: boolean
  /** Rows that the table has are replaced or removed; for that they are looked up by their keys. */
  readonly replacesRows: boolean
  /** Rows tell of times: a change needs its own. */
  readonly needsTime: boolean
  /** The option that names the columns that the mode adds to a table; null where it adds none. */
  readonly ownColumns: OwnColumnsOption | null
  /** The `metadataColumns` that a table has where its options name none. */
  readonly metadataColumns: readonly string[]
}

export const WRITE_MODES = {
  upsert: {
    equalsSource: true,
    rowPerChange: false,
    replacesRows: true,
    needsTime: false,
    ownColumns: null,
    metadataColumns: [],
  },
  append: {
    equalsSource: false,
    rowPerChange: true,
    replacesRows: false,
    needsTime: false,
    ownColumns: null,
    metadataColumns: ['operation', 'kafka.partition', 'kafka.offset', 'kafka.timestamp'],
  },
  scd2: {
    equalsSource: false,
    rowPerChange: false,
    replacesRows: true,
    needsTime: true,
    ownColumns: 'scd2Columns',
    metadataColumns: [],
  },
} as const satisfies Record<string, WriteModeTraits>

export type WriteMode = keyof typeof WRITE_MODES

export const WRITE_MODE_NAMES = Object.keys(WRITE_MODES) as [WriteMode, ...WriteMode[]]

export const traitsOf = (mode: WriteMode): WriteModeTraits => WRITE_MODES[mode]
