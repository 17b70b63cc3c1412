/** Topics by pattern: keys of `tables` between slashes, and the tables of the topics that they take. */

import { KafkaToDeltaError } from '../errors.js'
import type { ResolvedTable, TablePattern } from './types.js'

/** Whether a key of `tables` is a pattern: a regular expression between slashes, which are in no topic's name. */
export const isPattern = (key: string): boolean => key.length > 2 && key.startsWith('/') && key.endsWith('/')

/** The regular expression of a pattern, for the whole name. Throws SyntaxError. */
export const wholeName = (pattern: string): RegExp => new RegExp(`^(?:${pattern.slice(1, -1)})$`)

/** `$1` and `$<name>` are what the pattern's groups hold, `$0` is the topic, and `$$` is a dollar sign. */
const REFERENCE = /\$(?:\$|(\d{1,2})|<([^>]*)>)/g

/** Whether a text is another one for other topics. */
export const hasReference = (template: string): boolean =>
  [...template.matchAll(REFERENCE)].some(([reference]) => reference !== '$$')

/** The first reference to a group that the pattern does not have. */
export function unknownReference(template: string, pattern: RegExp): string | null {
  const groups = new RegExp(`${pattern.source}|`).exec('') as RegExpExecArray
  for (const [reference, number, name] of template.matchAll(REFERENCE)) {
    if (number !== undefined && Number(number) >= groups.length) return reference
    if (name !== undefined && !Object.hasOwn(groups.groups ?? {}, name)) return reference
  }
  return null
}

function filled(template: string, match: RegExpExecArray): string {
  return template.replace(REFERENCE, (reference, number?: string, name?: string) => {
    if (number !== undefined) return match[Number(number)] ?? ''
    if (name !== undefined) return match.groups?.[name] ?? ''
    return reference === '$$' ? '$' : reference
  })
}

/**
 * The path of a topic's table. A topic's name has no slash, so that only a part which becomes empty, `.` or `..` would
 * lead out of the folder that the pattern names.
 */
function filledUri(template: string, match: RegExpExecArray): string {
  return template
    .split('/')
    .map((part) => {
      const result = filled(part, match)
      if (result === part || !['', '.', '..'].includes(result)) return result
      const path = JSON.stringify(template)
      throw new KafkaToDeltaError(
        'CONFIG_INVALID',
        `the topic's name makes "${result}" of the part "${part}" of ${path}`,
      )
    })
    .join('/')
}

function taken({ include, exclude }: TablePattern, topic: string): RegExpExecArray | null {
  const match = include.exec(topic)
  return exclude.some((pattern) => pattern.test(topic)) ? null : match
}

/** Whether one of the patterns takes the topic, whatever becomes of its path. */
export const isTaken = (patterns: readonly TablePattern[], topic: string): boolean =>
  patterns.some((pattern) => taken(pattern, topic) !== null)

/** The table of a topic that a pattern takes; null where it does not. Throws CONFIG_INVALID for a name that is no path. */
function tableOf(pattern: TablePattern, topic: string): ResolvedTable | null {
  const match = taken(pattern, topic)
  if (match === null) return null
  const { table } = pattern
  const { catalog } = table
  const text = (template: string | null) => (template === null ? null : filled(template, match) || null)
  return {
    ...table,
    topic,
    uri: filledUri(table.uri, match),
    name: text(table.name),
    description: text(table.description),
    catalog: catalog && {
      ...catalog,
      schema: filled(catalog.schema, match),
      tableName: filled(catalog.tableName, match),
    },
  }
}

/** The table of a topic, by the first of the patterns that takes it; null where none does. */
export function tableByPattern(patterns: readonly TablePattern[], topic: string): ResolvedTable | null {
  for (const pattern of patterns) {
    const table = tableOf(pattern, topic)
    if (table) return table
  }
  return null
}
