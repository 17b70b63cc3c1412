/** Checks the options of a query and fills in the defaults. */

import { resolve } from 'node:path'
import type { ConsumerConfig, Kafka } from 'kafkajs'
import { KafkaToDeltaError } from '../errors.js'
import { pick, withoutUndefined } from '../objects.js'
import { checkCatalogs, resolveCatalog } from './catalogs.js'
import { resolveTls } from './certificates.js'
import {
  checkDeadLetters,
  checkPatterns,
  checkSharedPaths,
  checkUnused,
  checkWorkers,
  checkWriteModes,
} from './checks.js'
import { checkColumnNames } from './column-names.js'
import { defaultMaxMemory, LIMIT_DEFAULTS, MAINTENANCE_DEFAULTS, QUERY_DEFAULTS, TABLE_DEFAULTS } from './defaults.js'
import { OptionsError, optionProblems, prototypeKeys } from './errors.js'
import { isPattern, wholeName } from './patterns.js'
import type { KafkaOptions } from './sasl.js'
import { optionsSchema, type ParsedOptions, type ParsedTable } from './schema.js'
import { withSecretFiles } from './secret.js'
import { tableUri } from './table-uri.js'
import type {
  ResolvedColumn,
  ResolvedDeadLetter,
  ResolvedMaintenance,
  ResolvedOptions,
  ResolvedOwnColumns,
  ResolvedTable,
  ResolvedTrigger,
  StreamOptions,
  TablePattern,
} from './types.js'
import { OWN_COLUMNS, OWN_COLUMNS_OPTIONS, traitsOf } from './write-modes.js'

const isKafka = (value: unknown): value is Kafka =>
  typeof value === 'object' && value !== null && 'consumer' in value && typeof value.consumer === 'function'

function resolveDeadLetter(
  table: ParsedTable,
  query: ParsedOptions,
  baseDir: string | undefined,
): ResolvedDeadLetter | null {
  const place = table.deadLetter ?? query.deadLetter
  const onBadRecord = table.onBadRecord ?? query.onBadRecord ?? TABLE_DEFAULTS.onBadRecord
  if (onBadRecord !== 'dead-letter' || place === undefined) return null
  if (place.path === undefined) return { kind: 'kafka', topic: place.topic as string }
  const inherited = { ...query.storageOptions, ...(table.deadLetter ? table.storageOptions : {}) }
  return {
    kind: 'delta',
    uri: tableUri(place.path, baseDir),
    storageOptions: { ...inherited, ...place.storageOptions },
  }
}

function resolveStart(
  { startingOffsets, storageOptions }: ParsedOptions,
  baseDir?: string,
): ResolvedOptions['startingOffsets'] {
  if (startingOffsets === undefined) return QUERY_DEFAULTS.startingOffsets
  if (typeof startingOffsets === 'string' || !('sparkCheckpoint' in startingOffsets)) return startingOffsets
  const uri = tableUri(startingOffsets.sparkCheckpoint.replace(/^s3[an]:/, 's3:'), baseDir)
  return { sparkCheckpoint: uri, storageOptions: { ...storageOptions } }
}

function resolveKafka({ kafka }: ParsedOptions, baseDir?: string): KafkaOptions {
  const { ssl, sasl } = kafka
  const secured = {
    ...(typeof ssl === 'object' ? { ssl: resolveTls(ssl, 'kafka.ssl', baseDir) } : {}),
    ...(sasl ? { sasl: withSecretFiles(sasl, 'kafka.sasl', baseDir) } : {}),
  }
  return withoutUndefined({ ...kafka, ...secured }) as unknown as KafkaOptions
}

function resolveRegistry({ schemaRegistry }: ParsedOptions, baseDir?: string): ResolvedOptions['schemaRegistry'] {
  const { tls, auth } = schemaRegistry
  const secured = {
    ...(tls ? { tls: resolveTls(tls, 'schemaRegistry.tls', baseDir) } : {}),
    ...(auth ? { auth: withSecretFiles(auth, 'schemaRegistry.auth', baseDir) } : {}),
  }
  return withoutUndefined({ ...schemaRegistry, ...secured }) as ResolvedOptions['schemaRegistry']
}

function resolveMaintenance(table: ParsedTable, query: ParsedOptions): ResolvedMaintenance | null {
  const own = table.maintenance ?? query.maintenance ?? true
  if (own === false) return null
  const given = { ...(typeof query.maintenance === 'object' ? query.maintenance : {}), ...(own === true ? {} : own) }
  return { ...MAINTENANCE_DEFAULTS, ...withoutUndefined(given) }
}

/** The options that have one default, and that a table takes from the query. */
function inheritedOptions(table: ParsedTable, query: ParsedOptions): Pick<ResolvedTable, keyof typeof TABLE_DEFAULTS> {
  const given = (from: ParsedTable | ParsedOptions) => withoutUndefined(pick(from, TABLE_DEFAULTS))
  return { ...TABLE_DEFAULTS, ...given(query), ...given(table) }
}

function resolveOwnColumns(table: ParsedTable, query: ParsedOptions): ResolvedOwnColumns {
  const names = OWN_COLUMNS_OPTIONS.map((option) => {
    const given = withoutUndefined({ ...query[option], ...table[option] })
    return [option, { ...OWN_COLUMNS[option], ...given }] as const
  })
  return Object.fromEntries(names) as ResolvedOwnColumns
}

/** A pace that is given in part is filled up by the query's, or by the defaults. */
function resolveTrigger({ trigger }: ParsedOptions, own: ParsedTable['trigger'] = {}): ResolvedTrigger {
  if (trigger && 'availableNow' in trigger) return trigger
  return { ...QUERY_DEFAULTS.trigger, ...withoutUndefined(trigger ?? {}), ...withoutUndefined(own) }
}

function resolveTable(
  topic: string,
  table: ParsedTable,
  query: ParsedOptions,
  baseDir: string | undefined,
): ResolvedTable {
  const indexDir = table.indexDir ?? query.indexDir
  const inherited = inheritedOptions(table, query)
  return {
    ...inherited,
    ...resolveOwnColumns(table, query),
    topic,
    pattern: isPattern(topic) ? topic : null,
    uri: tableUri(table.path, baseDir),
    name: [table.schema, table.tableName].filter(Boolean).join('.') || null,
    description: table.description ?? null,
    primaryKey: table.primaryKey ?? null,
    additionalCols: table.additionalCols ?? [],
    partitionCols: table.partitionCols ?? [],
    columns: (table.columns ?? {}) as Record<string, ResolvedColumn>,
    lsnColName: table.lsnColName ?? query.lsnColName ?? null,
    columnDefaults: withoutUndefined({ ...query.columnDefaults, ...table.columnDefaults }) as ResolvedColumn,
    metadataColumns: table.metadataColumns ?? query.metadataColumns ?? traitsOf(inherited.writeMode).metadataColumns,
    indexDir: indexDir === undefined ? null : resolve(baseDir ?? process.cwd(), indexDir),
    maintenance: resolveMaintenance(table, query),
    includeColumns: table.includeColumns ?? null,
    excludeColumns: table.excludeColumns ?? [],
    renameColumns: table.renameColumns ?? {},
    shared: table.shared ?? false,
    deadLetter: resolveDeadLetter(table, query, baseDir),
    catalog: resolveCatalog(table, query, baseDir),
    trigger: resolveTrigger(query, table.trigger),
    tableProperties: { ...query.tableProperties, ...table.tableProperties },
    storageOptions: { ...query.storageOptions, ...table.storageOptions },
  }
}

const literal = (topic: string): RegExp => new RegExp(`^${topic.replace(/[.]/g, '\\.')}$`)

function resolvePattern(source: string, table: ParsedTable, resolved: ResolvedTable): TablePattern {
  const exclude = (table.exclude ?? []).map((topic) => (isPattern(topic) ? wholeName(topic) : literal(topic)))
  return { source, include: wholeName(source), exclude, table: resolved }
}

/**
 * Checks options and fills in the defaults.
 *
 * @param input {@link StreamOptions}, or what a configuration file holds: nothing is taken for granted
 * @param baseDir what relative table paths count from; default: the working directory
 * @throws CONFIG_INVALID as an {@link OptionsError}, with every problem and where it is
 */
export function resolveOptions(input: unknown, baseDir?: string): ResolvedOptions {
  if (typeof input !== 'object' || input === null || Array.isArray(input)) {
    throw new KafkaToDeltaError('CONFIG_INVALID', 'the options must be an object')
  }
  const given = (input as { kafka?: unknown }).kafka
  const instance = isKafka(given) ? given : null
  // An instance was checked by KafkaJS; a valid stand-in lets the schema check all else.
  const checked = instance ? { ...input, kafka: { brokers: ['instance:0'] } } : input
  const hidden = prototypeKeys(checked)
  if (hidden.length > 0) throw new OptionsError(hidden)
  const result = optionsSchema.safeParse(checked)
  if (!result.success) throw new OptionsError(optionProblems(result.error, optionsSchema, checked))
  const options = result.data
  checkPatterns(options)
  const all = Object.entries(options.tables).map(([topic, table]) => resolveTable(topic, table, options, baseDir))
  checkSharedPaths(all)
  checkDeadLetters(all, options)
  checkCatalogs(all, options)
  checkWriteModes(all, options)
  checkUnused(all, options)
  checkWorkers(options)
  checkColumnNames(all, options)
  const patterns = all
    .filter(({ topic }) => isPattern(topic))
    .map((table) => resolvePattern(table.topic, options.tables[table.topic] as ParsedTable, table))
  return {
    queryName: options.queryName,
    kafka: instance ?? resolveKafka(options, baseDir),
    consumer: withoutUndefined(options.consumer ?? {}) as Partial<ConsumerConfig>,
    schemaRegistry: resolveRegistry(options, baseDir),
    tables: all.filter(({ topic }) => !isPattern(topic)),
    patterns,
    startingOffsets: resolveStart(options, baseDir),
    failOnDataLoss: options.failOnDataLoss ?? QUERY_DEFAULTS.failOnDataLoss,
    trigger: resolveTrigger(options),
    workers: options.workers ?? QUERY_DEFAULTS.workers,
    limits: { ...LIMIT_DEFAULTS, maxMemory: defaultMaxMemory(), ...withoutUndefined(options.limits ?? {}) },
  }
}
