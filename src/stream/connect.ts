/** The systems of a real query: Kafka, the schema registry, the addon. */

import { CatalogKeeper } from '../catalog/keeper.js'
import { DeadLetterSinks } from '../dead-letter/sinks.js'
import { TableDecoder } from '../debezium/decoder.js'
import { KeyUpdates } from '../debezium/key-updates.js'
import type { DecodeOptions } from '../debezium/options.js'
import { engineMemory } from '../delta/memory.js'
import { StartNote } from '../delta/start-note.js'
import { DeltaTable } from '../delta/table.js'
import { KafkaToDeltaError } from '../errors.js'
import { maxMessageBytes } from '../kafka/memory-budget.js'
import { KafkaSource } from '../kafka/source.js'
import { TopicCatalog } from '../kafka/topic-catalog.js'
import type { Logger } from '../log.js'
import { pick } from '../objects.js'
import { DECODER_DEFAULTS, DELTA_DEFAULTS, MAX_UNAVAILABLE_MS } from '../options/defaults.js'
import { openLogins } from '../options/open-logins.js'
import type { ResolvedOptions, ResolvedTable } from '../options/types.js'
import { OWN_COLUMNS } from '../options/write-modes.js'
import { RegistrySchemaSource } from '../registry/registry.js'
import { onAbort } from '../waits.js'
import type { Systems } from './dependencies.js'
import { type MemoryMembership, processMemory } from './process-memory.js'
import { readSparkCheckpoint } from './spark-checkpoint.js'
import { TopicFinder } from './topic-finder.js'
import { VendedTables } from './vended-tables.js'

/** Starting offsets as the source has them. Topics of patterns that they do not name start at the earliest. */
function sourceOffsets({ startingOffsets: starting, tables }: ResolvedOptions) {
  if (typeof starting === 'string' || 'timestamp' in starting) return starting
  if ('sparkCheckpoint' in starting) throw new KafkaToDeltaError('INTERNAL', 'the checkpoint was not read')
  const byPattern = tables.filter(({ pattern }) => pattern !== null)
  return Object.fromEntries([
    ...byPattern.map(({ topic }) => [topic, { '*': -2n }] as const),
    ...[...starting.offsets].map(([topic, offsets]) => [topic, Object.fromEntries(offsets)] as const),
  ])
}

/** A table's options as the decoder has them. */
export function decodeOptions(table: ResolvedTable): DecodeOptions {
  return {
    ...pick(table, DECODER_DEFAULTS),
    topic: table.topic,
    shared: table.shared,
    defaults: table.columnDefaults,
    columns: { ...table.columns },
    excludeColumns: [...table.excludeColumns],
    renameColumns: { ...table.renameColumns },
    metadataColumns: [...table.metadataColumns],
    // Dead letters are taken out of the messages, as they came.
    onBadRecord: table.onBadRecord === 'dead-letter' ? 'skip' : table.onBadRecord,
    ...(table.primaryKey ? { primaryKey: [...table.primaryKey] } : {}),
    ...(table.lsnColName ? { lsnColName: table.lsnColName } : {}),
    ...(table.includeColumns ? { includeColumns: [...table.includeColumns] } : {}),
  }
}

export function openDeltaTable(table: ResolvedTable, signal?: AbortSignal): Promise<DeltaTable> {
  const { storageOptions, additionalCols, partitionCols, tableProperties, indexDir } = table
  return DeltaTable.open({
    ...pick(table, DELTA_DEFAULTS),
    ...pick(table, OWN_COLUMNS),
    ...{ storageOptions, additionalCols, partitionCols, tableProperties, indexDir },
    path: table.uri,
    ...(table.primaryKey ? { primaryKey: table.primaryKey } : {}),
    ...(table.deletes === 'soft' ? { softDeleteColumn: table.softDeleteColName } : {}),
    ...(table.name ? { name: table.name } : {}),
    ...(table.description ? { description: table.description } : {}),
    ...(signal ? { signal } : {}),
  })
}

/** The offsets of a Spark checkpoint, for the topics of the query; partitions that it does not know are newer. */
async function fromCheckpoint({ startingOffsets: starting, tables }: ResolvedOptions, signal?: AbortSignal) {
  if (typeof starting === 'string' || !('sparkCheckpoint' in starting)) return starting
  const found = await readSparkCheckpoint(starting.sparkCheckpoint, starting.storageOptions, signal)
  const offsets = new Map<string, Map<number | '*', bigint>>()
  for (const { topic, pattern } of tables) {
    const of = found.get(topic)
    // A pattern's topic that the job did not know is younger than the checkpoint.
    if (of === undefined && pattern !== null) continue
    if (of === undefined) {
      const known = [...found.keys()].join(', ')
      throw new KafkaToDeltaError(
        'CONFIG_INVALID',
        `the Spark job's checkpoint ${starting.sparkCheckpoint} knows no topic ${topic}, only ${known}: ` +
          'take the topic into a configuration of its own',
        { topic },
      )
    }
    offsets.set(topic, new Map<number | '*', bigint>([...of, ['*', -2n]]))
  }
  return { offsets }
}

/** @throws REGISTRY_UNREACHABLE, REGISTRY_AUTH within seconds */
export async function checkRegistry(
  options: Pick<ResolvedOptions, 'schemaRegistry'>,
  signal?: AbortSignal,
): Promise<void> {
  const probe = new RegistrySchemaSource({
    ...options.schemaRegistry,
    retries: 1,
    timeout: 4_000,
    unknownSchemaTimeout: 0,
  })
  const ended = onAbort(signal, () => probe.close())
  try {
    await probe.get(1)
  } catch (error) {
    // Any answer of the registry will do, also that there is no such schema.
    if (error instanceof KafkaToDeltaError && error.code.startsWith('REGISTRY_')) {
      throw new KafkaToDeltaError(error.code, error.message, { cause: error.cause })
    }
  } finally {
    ended()
    probe.close()
  }
}

export function realSystems(options: ResolvedOptions, logger: Logger): Systems {
  for (const { message, remedy } of openLogins(options)) logger.warn({ remedy }, message)
  // The stream tries again by itself, and says what it waits for.
  const schemas = new RegistrySchemaSource({ ...options.schemaRegistry, retries: 0 })
  const deadLetters = new DeadLetterSinks({
    kafka: options.kafka,
    queryName: options.queryName,
    logger: logger.child({ part: 'dead-letter' }),
  })
  const keyUpdates = new KeyUpdates(schemas)
  const hasCatalog = [...options.tables, ...options.patterns.map(({ table }) => table)].some((table) => table.catalog)
  const catalogs = hasCatalog ? new CatalogKeeper({ logger: logger.child({ part: 'catalog' }) }) : undefined
  const vended = new VendedTables({ logger: logger.child({ part: 'catalog' }), open: openDeltaTable })
  const { kafka, queryName } = options
  const catalog = new TopicCatalog({ kafka, queryName, logger: logger.child({ part: 'topics' }) })
  const finder = new TopicFinder(catalog, schemas, logger)
  let membership: MemoryMembership | null = null
  // Before the first table is opened: its index takes part of it.
  const join = () => {
    membership ??= processMemory.join(options.limits.maxMemory)
    return membership
  }
  return {
    startingOffsets: fromCheckpoint,
    topics: (isWanted, signal) => finder.find(isWanted, signal),
    startKeeper: (table, signal) => {
      const { uri, topic } = table
      const storageOptions = async () => (await vended.ofNow(table, signal)).storageOptions
      return new StartNote({ uri, storageOptions, queryName, topic, signal })
    },
    source: (given, storedOffsets, { isNewTopic, sharing, keepStarts } = {}) =>
      new KafkaSource(
        {
          queryName: given.queryName,
          kafka: given.kafka,
          consumer: given.consumer,
          workers: given.workers,
          ...(sharing ? { sharing } : {}),
          topics: given.tables.map(({ topic }) => topic),
          startingOffsets: sourceOffsets(given),
          ...(isNewTopic ? { isNewTopic } : {}),
          ...(keepStarts ? { keepStarts } : {}),
          failOnDataLoss: given.failOnDataLoss,
          trigger: given.trigger,
          triggers: new Map(given.tables.map(({ topic, trigger }) => [topic, trigger])),
          limits: given.limits,
          pairMemberOf: keyUpdates.pairMemberOf,
          budget: join().budget,
          ...('availableNow' in given.trigger ? { maxUnavailableMs: MAX_UNAVAILABLE_MS } : {}),
          logger: logger.child({ part: 'source' }),
        },
        storedOffsets,
      ),
    decoder: (table, { limits }) => {
      const bounded = { ...decodeOptions(table), maxMessageBytes: maxMessageBytes(limits.maxMemory) }
      return new TableDecoder(bounded, schemas, keyUpdates)
    },
    table: (table, signal) => {
      join()
      return vended.open(table, signal)
    },
    deadLetters: ({ deadLetter }) => (deadLetter ? deadLetters.of(deadLetter) : null),
    catalogs,
    engineMemory,
    check: async (signal) => {
      await deadLetters.check(signal)
      await checkRegistry(options, signal)
    },
    close: async () => {
      schemas.close()
      membership?.leave()
      await Promise.all([deadLetters.close(), catalogs?.close(), vended.close()])
    },
  }
}
