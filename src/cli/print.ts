/** How commands write their results. */

import { formatTable } from '../terminal/format.js'
import type { Output } from '../terminal/output.js'

/** JSON of a result; offsets exceed what JSON numbers hold and become text. */
export const json = (value: unknown): string =>
  `${JSON.stringify(value, (_key, entry) => (typeof entry === 'bigint' ? String(entry) : entry))}\n`

/** Rows in columns; those whose numbers are in `right` stand to the right. */
export const lines = (output: Output, rows: readonly (readonly string[])[], right?: ReadonlySet<number>): void => {
  for (const line of formatTable(rows, right)) output.stdout.write(`${line}\n`)
}
