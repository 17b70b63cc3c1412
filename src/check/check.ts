/**
 * Looks at everything that a configuration names: systems, topics, messages, tables. It reads, and writes nothing but a
 * scratch folder of its own: no topic, no group, no offset, no table.
 */

import { OpenCatalogs } from '../catalog/open-catalogs.js'
import { isVended } from '../catalog/vended.js'
import { asKafkaToDeltaError, type KafkaToDeltaError } from '../errors.js'
import { groupOf } from '../kafka/options.js'
import { withLookup } from '../kafka/topic-catalog.js'
import { eachTopicState } from '../kafka/topic-state.js'
import { isTaken } from '../options/patterns.js'
import type { ResolvedCatalog, ResolvedOptions, ResolvedTable } from '../options/types.js'
import { RegistrySchemaSource } from '../registry/registry.js'
import { type Finding, failure } from './findings.js'
import { type CheckReport, emptyCheck, type TableCheck } from './report.js'
import { nestedPaths, unencryptedLogins } from './rules/config.js'
import { askBrokers, askCatalogs, askRegistries, askStores, catalogName, type StorePlace, storeOf } from './systems.js'
import { checkTable } from './table-check.js'
import { type FoundTopics, failureOf, findTopics } from './topics.js'

/** The newest messages that are read of a topic. */
const NUM_MESSAGES = 100

export interface CheckOptions {
  /** Whether the newest messages are read. Default: true. */
  sample?: boolean
  /** Which tables are checked. Default: all. */
  isWanted?: (table: { topic: string; name: string | null; uri: string }) => boolean
}

/** Never rejects: what could not be asked is told in the report. */
export async function check(
  options: ResolvedOptions,
  { sample = true, isWanted }: CheckOptions = {},
): Promise<CheckReport> {
  const { retries, timeout } = { retries: 1, timeout: 5_000 }
  const schemas = new RegistrySchemaSource({ ...options.schemaRegistry, retries, timeout, unknownSchemaTimeout: 0 })
  const catalogs = new OpenCatalogs()
  try {
    const systems = await Promise.all([
      askBrokers(options),
      askRegistries(options),
      askStores(placesOf(options)),
      askCatalogs(entriesOf(options), catalogs),
    ])
    const report: CheckReport = {
      query: options.queryName,
      systems: systems.flat(),
      ...{ entries: [], passedOver: [], tables: [], findings: unencryptedLogins(options) },
    }
    await addTopics(report, options, { schemas, catalogs }, sample, isWanted ?? (() => true))
    for (const system of report.systems) if (!system.ok) system.detail ??= UNCHECKED[system.kind]
    return report
  } finally {
    schemas.close()
    await catalogs.close()
  }
}

/** What is not looked at where a system does not answer. */
const UNCHECKED = {
  broker: null,
  registry: 'messages and columns were not looked at',
  store: 'its tables were not looked at',
  catalog: 'its entries were not looked at',
} as const

/** Entries of tables; those of patterns have references in their names, for which a catalog has no table. */
const entriesOf = ({ tables, patterns }: ResolvedOptions): ResolvedCatalog[] =>
  [...tables, ...patterns.map(({ table }) => table)].flatMap(({ catalog }) => catalog ?? [])

interface Sources {
  schemas: RegistrySchemaSource
  catalogs: OpenCatalogs
}

/**
 * Tables and dead letters; of a pattern's path what comes before the first reference to its groups. Tables that have credentials
 * of their own by a catalog are left out: each is opened later.
 */
function placesOf({ tables, patterns }: ResolvedOptions): StorePlace[] {
  const all = [...tables, ...patterns.map(({ table }) => ({ ...table, uri: firstPart(table.uri) }))]
  return all.flatMap(({ uri, storageOptions, deadLetter, catalog }) => [
    ...(isVended({ catalog }) ? [] : [{ uri, storageOptions }]),
    ...(deadLetter?.kind === 'delta' ? [deadLetter] : []),
  ])
}

/** A path up to the first part that is another one for other topics. */
function firstPart(uri: string): string {
  const parts = uri.split('/')
  const at = parts.findIndex((part) => part.includes('$'))
  return at < 0 ? uri : parts.slice(0, at + 1).join('/')
}

async function addTopics(
  report: CheckReport,
  options: ResolvedOptions,
  sources: Sources,
  sample: boolean,
  isWanted: NonNullable<CheckOptions['isWanted']>,
): Promise<void> {
  let found: FoundTopics
  try {
    found = await findTopics(options, sources.schemas)
  } catch (error) {
    addUnlessKnown(report, failure(error))
    return
  }
  report.entries = found.entries
  report.passedOver = found.passedOver
  report.findings.push(...found.findings, ...nestedPaths(found.tables), ...(await groupRights(options)))
  const failed = found.failures.map((of): TableCheck => {
    const entry = options.patterns.find((pattern) => isTaken([pattern], of.topic))?.source ?? of.topic
    return { ...emptyCheck(of.topic, entry, of.table, ''), findings: [failureOf(of)] }
  })
  const wanted = found.tables.filter(isWanted)
  report.tables = [
    ...failed.filter(({ topic, table }) => isWanted({ topic, name: table, uri: table })),
    ...(await checkAll(report, options, sources, wanted, sample)),
  ].sort((a, b) => (a.topic < b.topic ? -1 : 1))
}

async function checkAll(
  report: CheckReport,
  options: ResolvedOptions,
  { schemas, catalogs }: Sources,
  tables: readonly ResolvedTable[],
  sample: boolean,
): Promise<TableCheck[]> {
  const { kafka, queryName } = options
  const byTopic = new Map(tables.map((table) => [table.topic, table]))
  const checked: TableCheck[] = []
  const isUp = (kind: string) => report.systems.some((system) => system.kind === kind && system.ok)
  const failed = (of: string) => report.systems.filter(({ kind, ok }) => kind === of && !ok).map(({ name }) => name)
  const failedStores = failed('store')
  const checks = {
    options,
    schemas: isUp('registry') ? schemas : null,
    isStoreUp: ({ uri }: ResolvedTable) => !failedStores.includes(storeOf(uri)),
    catalogs,
    isCatalogUp: ({ options: of }: ResolvedCatalog) => !failed('catalog').includes(catalogName(of)),
  }
  const numMessages = sample && checks.schemas !== null ? NUM_MESSAGES : 0
  try {
    await eachTopicState({ kafka, queryName }, [...byTopic.keys()], numMessages, async (topic, state) => {
      checked.push(await checkTable(checks, byTopic.get(topic) as ResolvedTable, state))
    })
  } catch (error) {
    addUnlessKnown(report, failure(error))
  }
  return checked
}

/** An outage that a system's own line tells already is not told twice. */
function addUnlessKnown(report: CheckReport, found: Finding): void {
  const isKnown = report.systems.some(
    (system) => system.finding?.severity === 'error' && system.finding.code === found.code,
  )
  if (!isKnown) report.findings.push(found)
}

/** Whether this user may use the consumer groups that a run makes. */
async function groupRights(options: ResolvedOptions): Promise<Finding[]> {
  const { kafka, queryName, workers } = options
  const group = groupOf(options)
  try {
    const doing = 'cannot ask for the rights on the consumer group'
    const isDenied = await withLookup({ kafka, queryName }, doing, undefined, (lookup) =>
      lookup.isGroupDenied(workers === 'many' ? group : `${group}-check`),
    )
    return isDenied ? [failure(groupDenied(group, workers))] : []
  } catch (error) {
    return [failure(error, 'warning')]
  }
}

function groupDenied(group: string, workers: ResolvedOptions['workers']): KafkaToDeltaError {
  const message =
    workers === 'many'
      ? `Kafka does not let this user use the consumer group ${group}: give it the operation Read on it`
      : `Kafka does not let this user use consumer groups whose names begin with ${group}-: give it the operation Read on them, ` +
        'as a prefixed resource'
  return asKafkaToDeltaError(new Error(message), 'KAFKA_AUTH')
}
