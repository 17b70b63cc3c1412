/** Names of columns that options make: those that Delta's own writers refuse would lock them out of the table. */

import { OptionsError } from './errors.js'
import { computedName, type ParsedOptions } from './schema.js'
import type { ResolvedTable } from './types.js'
import { type OwnColumnsOption, traitsOf } from './write-modes.js'

/** What Spark and delta-rs take in no column name, unless the table maps its columns' names. */
const REFUSED = /[ ,;{}()\n\t=]/

type NamingOption = 'renameColumns' | 'additionalCols' | 'metadataColumns' | 'softDeleteColName' | OwnColumnsOption

function namesOf(table: ResolvedTable): [NamingOption, string[]][] {
  const { ownColumns } = traitsOf(table.writeMode)
  const named = table.metadataColumns.map((spec) => spec.slice(spec.indexOf(':') + 1).trim())
  return [
    ['renameColumns', Object.values(table.renameColumns)],
    ['additionalCols', table.additionalCols.map((expression) => computedName(expression) ?? '')],
    ['metadataColumns', named],
    ['softDeleteColName', table.deletes === 'soft' ? [table.softDeleteColName] : []],
    ...(ownColumns === null ? [] : [[ownColumns, Object.values(table[ownColumns])] satisfies [NamingOption, string[]]]),
  ]
}

/** @throws CONFIG_INVALID with every such name */
export function checkColumnNames(tables: readonly ResolvedTable[], options: ParsedOptions): void {
  const problems = tables.flatMap((table) =>
    namesOf(table).flatMap(([option, names]) =>
      names
        .filter((name) => name === '' || REFUSED.test(name))
        .map((name) => ({
          path: options.tables[table.topic]?.[option] === undefined ? [option] : ['tables', table.topic, option],
          message:
            name === ''
              ? 'gives a column an empty name'
              : `names a column ${JSON.stringify(name)}: Delta tables take no space, tab, line break or any of ` +
                ',;{}()= in a name; use _ instead',
          atKey: false,
        })),
    ),
  )
  if (problems.length > 0) throw new OptionsError(problems)
}
