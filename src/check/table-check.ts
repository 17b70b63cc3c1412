/** Checks one table: its topic, its messages, and the Delta table that they go to. */

import { schemaName } from '../avro/wire.js'
import type { OpenCatalogs } from '../catalog/open-catalogs.js'
import { isVended, withVended } from '../catalog/vended.js'
import { DeltaTable, type TableInfo } from '../delta/table.js'
import { KafkaToDeltaError } from '../errors.js'
import type { StoredOffsets } from '../kafka/positions.js'
import type { TopicState } from '../kafka/topic-state.js'
import type { ResolvedCatalog, ResolvedOptions, ResolvedTable } from '../options/types.js'
import type { RegistrySchemaSource } from '../registry/registry.js'
import { decodeOptions, openDeltaTable } from '../stream/connect.js'
import { Positions } from '../stream/table/positions.js'
import { columnsOf } from './columns.js'
import { type Decoded, decodeSample, decodeSchemas } from './decoded.js'
import { bySeverity, type Finding, failure, finding } from './findings.js'
import { emptyCheck, type TableCheck } from './report.js'
import { entryFindings } from './rules/catalog.js'
import { badRecords, missingKeyColumns, noKey, notAvro, placeholders } from './rules/messages.js'
import { readers, rewrites, tableFindings } from './rules/table.js'
import { SHOWN_SETTINGS, topicFindings } from './rules/topic.js'
import { valueFindings } from './rules/values.js'
import { newestIds, type SchemaIds, shapeOf, type TopicShape } from './shape.js'
import { type Trial, tryChanges } from './trial.js'

/** Milliseconds for opening a table. */
const OPEN_MS = 30_000

export interface TableChecks {
  options: ResolvedOptions
  /** Null where no registry answers: messages and columns are not looked at. */
  schemas: RegistrySchemaSource | null
  /** Whether the store of a table answers. */
  isStoreUp(table: ResolvedTable): boolean
  catalogs: OpenCatalogs
  /** Whether a catalog answers. */
  isCatalogUp(catalog: ResolvedCatalog): boolean
}

/** Never rejects: what fails is a finding. */
export async function checkTable(
  checks: TableChecks,
  table: ResolvedTable,
  state: TopicState | KafkaToDeltaError,
): Promise<TableCheck> {
  const report = emptyCheck(table.topic, table.pattern ?? table.topic, table.name ?? table.uri, table.uri)
  const { findings } = report
  const opened = canOpen(checks, table) ? await openTable(table, checks.catalogs, findings) : null
  const positions = new Positions(checks.options.queryName, table.topic)
  const stored = opened === null ? null : positions.storedOffsets(opened.offsets)
  let after: TableInfo | null = null
  if (opened?.exists && stored) addTable(report, opened, stored, checks.options, table)
  if (state instanceof KafkaToDeltaError) findings.push(failure(state))
  else {
    addTopic(report, state, stored)
    findings.push(...topicFindings({ table, state, stored, now: Date.now() }, checks.options))
    try {
      if (checks.schemas !== null) after = await addMessages(report, checks.schemas, table, state, opened)
    } catch (error) {
      findings.push(failure(error))
    }
  }
  const { catalog } = table
  if (catalog && checks.isCatalogUp(catalog)) {
    findings.push(...(await entryFindings({ ...table, catalog }, after ?? opened, checks.catalogs)))
  }
  report.findings = distinct(findings).sort(bySeverity)
  return report
}

/** A table whose credentials its catalog gives is opened by no others. */
const canOpen = (checks: TableChecks, table: ResolvedTable): boolean =>
  checks.isStoreUp(table) && (table.catalog === null || !isVended(table) || checks.isCatalogUp(table.catalog))

/** With the options of the stream, which are checked by it; null where it cannot be opened so. */
async function openTable(
  configured: ResolvedTable,
  catalogs: OpenCatalogs,
  findings: Finding[],
): Promise<TableInfo | null> {
  const looked = (opened: DeltaTable) => opened.info().finally(() => opened.close())
  let table: ResolvedTable
  try {
    // It gives up by itself.
    table = await withVended(configured, catalogs)
  } catch (error) {
    findings.push(failure(error))
    return null
  }
  const signal = AbortSignal.timeout(OPEN_MS)
  try {
    // No index is read or kept: that would write to indexDir.
    return await looked(await openDeltaTable({ ...table, keyIndex: 'none', indexDir: null }, signal))
  } catch (error) {
    findings.push(failure(error))
  }
  const { uri, storageOptions } = table
  return DeltaTable.open({ path: uri, storageOptions, signal }).then(looked, () => null)
}

function addTable(
  report: TableCheck,
  info: TableInfo,
  stored: StoredOffsets,
  { queryName }: ResolvedOptions,
  table: ResolvedTable,
): void {
  const { version, numRows, sizeBytes, mergeMode, partitionColumns } = info
  report.delta = { version: version ?? 0, rows: numRows, bytes: sizeBytes, mergeMode, partitionColumns }
  report.findings.push(...tableFindings(info, table, queryName, stored))
}

function addTopic(report: TableCheck, { partitions, settings }: TopicState, stored: StoredOffsets | null): void {
  report.partitions = [...partitions].map(([partition, { low, high }]) => {
    const last = stored?.last.get(partition)
    const applied = last === undefined || last < 0n ? null : String(last)
    return { partition, low: String(low), end: String(high), applied }
  })
  if (settings === null) return
  const shown = SHOWN_SETTINGS.flatMap((name) => {
    const value = settings.get(name)
    return value === undefined || value === null ? [] : [[name, value] as const]
  })
  report.settings = Object.fromEntries(shown)
}

/** Schemas, columns, and what a run would say of the newest messages. Gives the table as it would be; null where that is not known. */
async function addMessages(
  report: TableCheck,
  schemas: RegistrySchemaSource,
  table: ResolvedTable,
  state: TopicState,
  info: TableInfo | null,
): Promise<TableInfo | null> {
  const { findings } = report
  const sample = { ranges: state.newest, badRecords: [] as Decoded['badRecords'] }
  findings.push(
    ...[noKey(sample, table), placeholders(sample, table)].filter((one) => one !== null),
    ...notAvro(sample),
  )
  const sampled = newestIds(state.newest)
  const registered = await registeredIds(table.topic, schemas)
  const ids = sampled.value === null ? registered : sampled
  findings.push(...newerSchema(sampled, registered))
  report.keySchema = ids.key === null ? null : schemaName(ids.key)
  report.valueSchema = ids.value === null ? null : schemaName(ids.value)
  const decode = decodeOptions(table)
  const numPartitions = state.partitions.size
  const decoded = await (state.newest.length > 0
    ? decodeSample(decode, schemas, state.newest, numPartitions)
    : decodeSchemas(decode, schemas, ids, numPartitions))
  const count = state.newest.reduce((sum, { messages }) => sum + messages.length, 0)
  if (count > 0) report.sample = { messages: count, bad: decoded.badRecords.length }
  // What cannot be decoded is told already.
  const shape = await shapeOf(ids, decode, schemas).catch((error) => {
    if (decoded.error !== null || decoded.badRecords.length > 0) return null
    throw error
  })
  addShape(report, shape, decoded, table, numPartitions)
  if (decoded.error !== null) findings.push(failure(decoded.error))
  const isKeyMissing = findings.some(({ code }) => code === 'KEY_COLUMN_MISSING')
  if (!isKeyMissing) findings.push(...badRecords({ ...sample, badRecords: decoded.badRecords }, table))
  findings.push(...decoded.notes.filter(isOfOptions).map(unknownColumn))
  return addColumns(report, table, info, decoded)
}

/** What the table's columns are, and become. */
async function addColumns(
  report: TableCheck,
  table: ResolvedTable,
  info: TableInfo | null,
  decoded: Decoded,
): Promise<TableInfo | null> {
  const { findings } = report
  const trial = await tried(table, info, decoded, findings)
  report.columns = columnsOf(decoded.description, info?.schemaJson ?? null, trial?.schemaJson ?? null)
  if (info?.exists) findings.push(...rewrites(report.columns, info, table))
  const readable = info?.exists ? info : trial?.info
  const refused = readable ? readers(readable) : null
  if (refused) findings.push(refused)
  if (trial === null) return null
  // The trial's table has the properties that it needs alone.
  return info?.exists ? { ...trial.info, properties: info.properties } : trial.info
}

function addShape(
  report: TableCheck,
  shape: TopicShape | null,
  { description }: Decoded,
  table: ResolvedTable,
  numPartitions: number,
): void {
  report.primaryKey = description?.primaryKey ?? []
  if (shape === null) return
  report.form = shape.form
  const missing = missingKeyColumns(shape, table)
  report.findings.push(...(missing ? [missing] : []), ...valueFindings(shape, description, table, numPartitions))
}

/** The ids of the subjects that Confluent's converter names by the topic; messages may have others. */
async function registeredIds(topic: string, schemas: RegistrySchemaSource): Promise<SchemaIds> {
  const [key, value] = await Promise.all([schemas.newest(`${topic}-key`), schemas.newest(`${topic}-value`)])
  return { key, value }
}

function newerSchema(sampled: SchemaIds, registered: SchemaIds): Finding[] {
  const { value } = registered
  if (sampled.value === null || value === null || value === sampled.value) return []
  return [
    finding(
      'SCHEMA_NEWER',
      `the newest message has the schema ${schemaName(sampled.value)}, and the registry's newest one of this topic is ${value}: ` +
        'changes of that schema have not come yet, or the subject was written to by hand',
      'nothing, if a column was just added or dropped in the source',
    ),
  ]
}

const isOfOptions = (note: string): boolean => / names .*which no field of its messages has so far/.test(note)

const unknownColumn = (note: string): Finding =>
  finding('UNKNOWN_COLUMN', note, 'correct the name: it is that of a field of the messages, before renameColumns')

/** What the engine says of the changes; null where there is nothing to try. */
async function tried(
  table: ResolvedTable,
  info: TableInfo | null,
  { changes }: Decoded,
  findings: Finding[],
): Promise<Trial | null> {
  if (changes === null) return null
  try {
    const trial = await tryChanges(table, info, changes)
    for (const note of trial?.result.notes ?? []) {
      findings.push(
        finding('COLUMN_MISSING', note, 'correct the name, or drop the option; a later schema may bring the column'),
      )
    }
    return trial
  } catch (error) {
    findings.push(failure(error))
    return null
  }
}

/** A table that cannot be opened may fail the trial for the same reason. */
function distinct(findings: readonly Finding[]): Finding[] {
  return [...new Map(findings.map((found) => [JSON.stringify([found.code, found.message]), found])).values()]
}
