/** What options of several tables, or several options of one, must not say together. */

import { type OptionProblem, OptionsError } from './errors.js'
import { hasReference, isPattern, unknownReference, wholeName } from './patterns.js'
import type { ParsedOptions, ParsedTable } from './schema.js'
import type { ResolvedTable } from './types.js'
import { OWN_COLUMNS_OPTIONS, type OwnColumnsOption, traitsOf, WRITE_MODE_NAMES } from './write-modes.js'

/** What tables at one path must have in common: the table has it once. */
const COMMON = [
  'partitionCols',
  'additionalCols',
  'deletes',
  'softDeleteColName',
  'writeMode',
  ...OWN_COLUMNS_OPTIONS,
  'mergeMode',
] as const

/** What fills the path and names of a pattern's tables comes from its groups; nothing else has topics to exclude. */
export function checkPatterns({ tables }: ParsedOptions): void {
  const problems: OptionProblem[] = []
  for (const [key, table] of Object.entries(tables)) {
    const refuse = (option: string, message: string) =>
      problems.push({ path: ['tables', key, option], message, atKey: false })
    if (!isPattern(key)) {
      if (table.exclude) refuse('exclude', 'has no effect on one topic: it is of a pattern, /…/')
      continue
    }
    for (const option of ['path', 'schema', 'tableName', 'description'] as const) {
      const unknown = unknownReference(table[option] ?? '', wholeName(key))
      if (unknown) refuse(option, `names ${unknown}, and the pattern has no such group`)
    }
    if (!hasReference(table.path) && !table.shared) {
      refuse(
        'path',
        'is one for all topics of the pattern: use $1 or $<name> for what its groups hold, or $0 for the topic',
      )
    }
  }
  if (problems.length > 0) throw new OptionsError(problems)
}

/**
 * Two topics with one path are a mistake, unless both say `shared`. Where the path of a pattern's tables is made of their
 * topics' names, only these tell: discovery checks them.
 */
export function checkSharedPaths(tables: readonly ResolvedTable[]): void {
  const firstOf = new Map<string, ResolvedTable>()
  for (const table of tables) {
    const { uri, topic } = table
    if (isPattern(topic) && hasReference(uri)) continue
    const other = firstOf.get(uri)
    if (other === undefined) {
      firstOf.set(uri, table)
      continue
    }
    const refuse = (option: string, message: string) => {
      throw new OptionsError([{ path: ['tables', topic, option], message, atKey: false }])
    }
    const name = JSON.stringify(other.topic)
    if (!table.shared || !other.shared) {
      refuse(
        'path',
        `topic ${name} is written to ${JSON.stringify(uri)} too; give each topic a path of its own, or say shared: true ` +
          'in both where no key is in both topics',
      )
    }
    const differs = COMMON.find((option) => JSON.stringify(table[option]) !== JSON.stringify(other[option]))
    if (differs)
      refuse(differs, `is not what topic ${name} has for the same path; topics that share a table have it in common`)
  }
}

/** Dead letters need a place, and the place needs `onBadRecord`; it must differ from every table path and topic of the query. */
export function checkDeadLetters(tables: readonly ResolvedTable[], options: ParsedOptions): void {
  const problems: OptionProblem[] = []
  const refuse = (path: string[], message: string) => problems.push({ path, message, atKey: false })
  for (const { topic, onBadRecord, deadLetter } of tables) {
    const own = options.tables[topic]
    const at = own?.deadLetter ? ['tables', topic, 'deadLetter'] : ['deadLetter']
    if (onBadRecord === 'dead-letter' && deadLetter === null) {
      const path = own?.onBadRecord ? ['tables', topic, 'onBadRecord'] : ['onBadRecord']
      refuse(path, '"dead-letter" needs deadLetter: {path: …} for a Delta table or {topic: …} for a Kafka topic')
    } else if (own?.deadLetter && deadLetter === null) {
      refuse(at, 'has no effect unless onBadRecord is "dead-letter"')
    }
    if (deadLetter?.kind === 'delta' && tables.some(({ uri }) => uri === deadLetter.uri)) {
      refuse([...at, 'path'], 'is the path of a table; give dead letters a path of their own')
    }
    if (deadLetter?.kind === 'kafka' && tables.some((table) => table.topic === deadLetter.topic)) {
      refuse([...at, 'topic'], 'is a topic that this query reads; give dead letters a topic of their own')
    }
  }
  if (options.deadLetter && tables.every(({ onBadRecord }) => onBadRecord !== 'dead-letter')) {
    refuse(['deadLetter'], 'has no effect unless onBadRecord is "dead-letter"')
  }
  const distinct = new Map(problems.map((problem) => [JSON.stringify([problem.path, problem.message]), problem]))
  if (distinct.size > 0) throw new OptionsError([...distinct.values()])
}

type Unused = readonly [
  option: keyof ParsedTable & keyof ParsedOptions,
  why: string,
  uses: (table: ResolvedTable) => boolean,
]

const looksUp = ({ writeMode }: ResolvedTable) => traitsOf(writeMode).replacesRows
const hasIndex = (table: ResolvedTable) => table.keyIndex !== 'none' && looksUp(table)

/** Names of columns that other write modes do not add. */
const ownColumnsUnused = OWN_COLUMNS_OPTIONS.map((option): Unused => {
  const modes = WRITE_MODE_NAMES.filter((mode) => traitsOf(mode).ownColumns === option)
  const why = `has no effect unless writeMode is ${modes.map((mode) => `"${mode}"`).join(' or ')}`
  return [option, why, ({ writeMode }) => modes.includes(writeMode)]
})

/** Options that need another one. */
const UNUSED: readonly Unused[] = [
  ['softDeleteColName', 'has no effect unless deletes is "soft"', ({ deletes }) => deletes === 'soft'],
  ...ownColumnsUnused,
  ['keyIndex', 'has no effect with writeMode "append", which has no key index', looksUp],
  ['indexMemory', 'has no effect with keyIndex "none" or writeMode "append": there is no key index', hasIndex],
  ['rememberedKeys', 'has no effect with writeMode "append", which looks up no key', looksUp],
  ['onMissingValue', 'has no effect with writeMode "append", which looks up no key', looksUp],
  ['indexDir', 'has no effect with keyIndex "none" or writeMode "append": there is no key index', hasIndex],
]

/** A table's own option is of use to it; one of the query, to some table that does not say otherwise. */
export function checkUnused(tables: readonly ResolvedTable[], options: ParsedOptions): void {
  const problems: OptionProblem[] = []
  for (const [option, message, uses] of UNUSED) {
    const heirs = tables.filter(({ topic }) => options.tables[topic]?.[option] === undefined)
    for (const table of tables) {
      if (heirs.includes(table) || uses(table)) continue
      problems.push({ path: ['tables', table.topic, option], message, atKey: false })
    }
    if (options[option] !== undefined && heirs.length > 0 && !heirs.some(uses)) {
      problems.push({ path: [option], message, atKey: false })
    }
  }
  problems.push(...unusedOfConnections(options))
  if (problems.length > 0) throw new OptionsError(problems)
}

function unusedOfConnections({ kafka, schemaRegistry }: ParsedOptions): OptionProblem[] {
  const problems: OptionProblem[] = []
  const refuse = (path: string[], message: string) => problems.push({ path, message, atKey: false })
  if (kafka.requestTimeout !== undefined && kafka.enforceRequestTimeout === false) {
    refuse(['kafka', 'requestTimeout'], 'has no effect while enforceRequestTimeout is false')
  }
  for (const option of ['authenticationTimeout', 'reauthenticationThreshold'] as const) {
    if (kafka[option] !== undefined && !kafka.sasl) refuse(['kafka', option], 'has no effect without kafka.sasl')
  }
  const urls = (schemaRegistry.urls ?? [schemaRegistry.url ?? '']).map((url) => new URL(url))
  if (schemaRegistry.tls && urls.every(({ protocol }) => protocol !== 'https:')) {
    refuse(['schemaRegistry', 'tls'], 'has no effect unless the url begins with https')
  }
  if (schemaRegistry.auth && urls.some(({ username }) => username !== '')) {
    refuse(['schemaRegistry', 'auth'], 'is given beside the user in the url: leave one of them out')
  }
  const { cert, key, passphrase } = schemaRegistry.tls ?? {}
  if ((cert === undefined) !== (key === undefined)) {
    refuse(['schemaRegistry', 'tls', cert === undefined ? 'key' : 'cert'], 'has no effect alone: give cert and key')
  } else if (passphrase !== undefined && key === undefined) {
    refuse(['schemaRegistry', 'tls', 'passphrase'], 'has no effect without a key')
  }
  return problems
}

/** What one process can do alone, and many cannot. */
export function checkWorkers({ workers, trigger, startingOffsets }: ParsedOptions): void {
  const problems: OptionProblem[] = []
  const refuse = (option: string, message: string) => problems.push({ path: [option], message, atKey: false })
  if (workers !== 'many') return
  if (trigger && 'availableNow' in trigger) {
    refuse('trigger', '{availableNow: true} has an end, which many workers do not find together; leave workers out')
  }
  if (startingOffsets === 'latest') {
    refuse(
      'startingOffsets',
      '"latest" is another offset for each worker that a table comes to; give a time, {timestamp: "2026-01-31T00:00:00Z"}',
    )
  }
  if (problems.length > 0) throw new OptionsError(problems)
}

/** Options that a mode has no use for are a misunderstanding. */
export function checkWriteModes(tables: readonly ResolvedTable[], options: ParsedOptions): void {
  const problems: OptionProblem[] = []
  for (const table of tables) {
    const { topic, writeMode, deletes } = table
    const own = options.tables[topic]
    const refuse = (option: 'deletes' | 'mergeMode' | OwnColumnsOption, message: string) =>
      problems.push({ path: own?.[option] ? ['tables', topic, option] : [option], message, atKey: false })
    const { equalsSource, replacesRows, ownColumns } = traitsOf(writeMode)
    if (!equalsSource && deletes === 'soft') {
      refuse('deletes', `"soft" marks rows of a table that is kept equal; with writeMode ${writeMode} all rows stay`)
    }
    if (ownColumns !== null) {
      const names = Object.values(table[ownColumns]).map((name) => name.toLowerCase())
      if (new Set(names).size < names.length) refuse(ownColumns, 'names one column twice')
    }
    if (!replacesRows && (own?.mergeMode ?? options.mergeMode)) {
      refuse('mergeMode', `has no effect with writeMode "${writeMode}", which replaces no rows`)
    }
  }
  if (problems.length > 0) throw new OptionsError(problems)
}
