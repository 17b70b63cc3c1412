/** Which topics each entry of the configuration takes, which it does not, and which have no table. */

import { KafkaToDeltaError } from '../errors.js'
import { findUnreadable, unreadableTopics } from '../kafka/cluster-check.js'
import { TopicCatalog } from '../kafka/topic-catalog.js'
import { silentLogger } from '../log.js'
import { suggest } from '../options/suggest.js'
import type { ResolvedOptions, ResolvedTable } from '../options/types.js'
import type { SchemaSource } from '../registry/schema-source.js'
import { TableDiscovery } from '../stream/discovery.js'
import type { TableFailure } from '../stream/table-failure.js'
import { TopicFinder } from '../stream/topic-finder.js'
import { type Finding, failure, finding } from './findings.js'
import type { CheckReport, EntryReport } from './report.js'
import { deadLetterTopics } from './rules/config.js'

export interface FoundTopics extends Pick<CheckReport, 'entries' | 'passedOver' | 'findings'> {
  /** Tables whose topics are there. */
  tables: ResolvedTable[]
  /** Topics that are named and cannot be read, and those that patterns take and that can have no table. */
  failures: TableFailure[]
}

/** @throws KAFKA_UNREACHABLE, KAFKA_AUTH */
export async function findTopics(options: ResolvedOptions, schemas: SchemaSource): Promise<FoundTopics> {
  const { kafka, queryName, tables: named, patterns } = options
  const catalog = new TopicCatalog({ kafka, queryName })
  const finder = new TopicFinder(catalog, schemas, silentLogger)
  const discovery = new TableDiscovery(options, (isWanted) => finder.find(isWanted), silentLogger)
  const topics = await catalog.list()
  const there = new Set(topics)
  const taken = patterns.length === 0 ? { tables: [], failures: [] } : await discovery.look()
  const missing = named.filter(({ topic }) => !there.has(topic))
  const unreadable = (await unreadableOf(options, missing)).map((of) => withMeant(of, topics))
  const tables = [...named.filter(({ topic }) => !unreadable.some((of) => of.topic === topic)), ...taken.tables]
  const failures = [...unreadable, ...taken.failures]
  return {
    tables,
    failures,
    entries: entriesOf(options, tables, topics),
    passedOver: [...finder.passedOver].map(([topic, message]) => ({ topic, why: reasonIn(message) })),
    findings: [
      ...noTopics(options, taken.tables),
      ...(tables.length === 0 ? [noTable()] : []),
      ...deadLetterTopics(options, there),
    ],
  }
}

/** What a finder says, without what it says to do. */
const reasonIn = (message: string): string =>
  message.replace(/^passed over by patterns, for it /, '').replace(/:.*$/, '')

async function unreadableOf(options: ResolvedOptions, tables: readonly ResolvedTable[]): Promise<TableFailure[]> {
  if (tables.length === 0) return []
  const found = await findUnreadable(
    options,
    tables.map(({ topic }) => topic),
  )
  return tables.flatMap(({ topic, name, uri }) => {
    const why = found.get(topic)
    if (why === undefined) return []
    const error: KafkaToDeltaError = unreadableTopics([topic], why)
    return [{ topic, table: name ?? uri, error }]
  })
}

/** Of a topic that is not there, the one that was probably meant. */
function withMeant(of: TableFailure, topics: readonly string[]): TableFailure {
  const meant = of.error.code === 'TOPIC_NOT_FOUND' ? suggest(of.topic, topics) : null
  if (meant === null) return of
  const { code, message, position } = of.error
  return { ...of, error: new KafkaToDeltaError(code, `${message}; did you mean ${meant}?`, position) }
}

function entriesOf(
  options: ResolvedOptions,
  tables: readonly ResolvedTable[],
  topics: readonly string[],
): EntryReport[] {
  const there = new Set(tables.map(({ topic }) => topic))
  const named = options.tables.map(({ topic, uri }): EntryReport => {
    return { entry: topic, path: uri, topics: there.has(topic) ? [topic] : [], excluded: [] }
  })
  const byPattern = options.patterns.map(({ source, table, include, exclude }): EntryReport => {
    const isExcluded = (topic: string) => include.test(topic) && exclude.some((pattern) => pattern.test(topic))
    return {
      entry: source,
      path: table.uri,
      topics: tables.filter(({ pattern }) => pattern === source).map(({ topic }) => topic),
      excluded: topics.filter(isExcluded),
    }
  })
  return [...named, ...byPattern]
}

function noTopics({ patterns }: ResolvedOptions, tables: readonly ResolvedTable[]): Finding[] {
  return patterns
    .filter(({ source }) => !tables.some(({ pattern }) => pattern === source))
    .map(({ source }) =>
      finding(
        'PATTERN_TAKES_NOTHING',
        `the pattern ${source} takes no topic`,
        'a pattern stands for whole names, and entries before it come first: compare it with the names of the topics',
      ),
    )
}

const noTable = (): Finding =>
  finding('NO_TABLE', 'no topic has a table: a start is refused', 'correct the names and patterns under tables')

export const failureOf = ({ error }: TableFailure): Finding => failure(error)
