/** What the type of a column does not tell of its values, and must stay the same as long as the table lives. */

import { type AvroNode, describeAvro, withoutNull } from '../avro/schema.js'
import { columnTypeOf, meaningOf, numberOfUnion, type TimeUnit } from '../avro/semantic-types.js'
import type { ResolvedColumn } from '../options/types.js'

/**
 * By path below the column ('' is the column itself): the unit of its numbers, the form of texts that are made of other
 * values, what a member of a union is, or {@link PLAIN}. Values of other types than numbers and texts have none.
 */
export type Forms = Map<string, string>

/** Of numbers and texts that are stored as they are. A table remembers them, too: a unit would be as new to it. */
const PLAIN = 'plain'

/** Types that no values of another form have: a change is one of the type, too. */
const UNMISTAKABLE = ['boolean', 'binary', 'date', 'timestamp']

const UNITS: Record<TimeUnit, string> = { ms: 'milliseconds', us: 'microseconds', ns: 'nanoseconds' }

const DURATIONS: Record<string, string> = {
  'io.debezium.time.MicroDuration': UNITS.us,
  'io.debezium.time.NanoDuration': UNITS.ns,
}

/** The forms of a column of `node`, whose type {@link columnTypeOf} has found to be possible. */
export function formsOf(node: AvroNode, options: ResolvedColumn, path = '', found: Forms = new Map()): Forms {
  const only = withoutNull(node)
  if (only !== null && only !== node) return formsOf(only, options, path, found)
  switch (node.kind) {
    case 'array':
      return formsOf(node.items, options, `${path}[]`, found)
    case 'map':
      return formsOf(node.values, options, `${path}{}`, found)
    case 'union': {
      if (numberOfUnion(node.branches) !== null) return found.set(path, PLAIN)
      const members = node.branches.filter((branch) => branch.kind !== 'null')
      for (const [i, member] of members.entries()) {
        formsOf(member, options, `${path}.member${i}`, found)
        found.set(`${path}.member${i}`, describeAvro(member))
      }
      return found
    }
    case 'record':
      if (meaningOf(node).is !== 'plain') break
      for (const { name, type } of node.fields) formsOf(type, options, `${path}.${name}`, found)
      return found
  }
  const form = formOf(node, options, path)
  return form === null ? found : found.set(path, form)
}

function formOf(node: AvroNode, options: ResolvedColumn, path: string): string | null {
  const meaning = meaningOf(node)
  const kind = meaning.is === 'structured' ? meaning.kind : meaning.is
  const asText = options.type === 'string'
  switch (kind) {
    case 'time':
      if (asText || options.time === 'string') return 'HH:MM:SS.ffffff'
      return UNITS[meaning.is === 'time' ? meaning.unit : 'ns']
    case 'date':
      return asText ? 'yyyy-MM-dd' : null
    case 'timestamp':
      return asText ? 'yyyy-MM-dd HH:mm:ss' : null
    default:
      return DURATIONS[node.connectName ?? ''] ?? plainForm(node, options, path)
  }
}

function plainForm(node: AvroNode, options: ResolvedColumn, path: string): string | null {
  return UNMISTAKABLE.includes(columnTypeOf(node, options, path).kind) ? null : PLAIN
}

/** The first path that has another form in `next` than in `known`. */
export function otherForm(known: Forms, next: Forms): { path: string; before: string; now: string } | null {
  for (const [path, now] of next) {
    const before = known.get(path)
    if (before !== undefined && before !== now) return { path, before: inWords(before), now: inWords(now) }
  }
  return null
}

function inWords(form: string): string {
  return form === PLAIN ? 'plain values' : form
}
