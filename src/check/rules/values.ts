/** What the schemas of a topic say of changes and values: what cannot be told, and what is lost. */

import { type AvroField, type AvroNode, withoutNull } from '../../avro/schema.js'
import { meaningOf } from '../../avro/semantic-types.js'
import type { TableDescription } from '../../debezium/decoder.js'
import type { ResolvedTable } from '../../options/types.js'
import { traitsOf } from '../../options/write-modes.js'
import { type Finding, finding } from '../findings.js'
import type { TopicShape } from '../shape.js'

const ADD_FIELDS =
  'PostgreSQL: op,source.ts_ms,source.lsn,source.snapshot,source.sequence; MySQL and MariaDB: ' +
  'op,source.ts_ms,source.snapshot,source.server_id,source.gtid,source.file,source.pos,source.row'

/** Names of columns for a message, not endlessly many. */
const listed = (names: readonly string[]): string =>
  names.length <= 8 ? names.join(', ') : `${names.slice(0, 8).join(', ')} and ${names.length - 8} others`

/** Fields of the row that become columns and are not of the key. */
function stored({ row, settings }: TopicShape, { primaryKey }: TableDescription): AvroField[] {
  const { includeColumns, excludeColumns, renameColumns } = settings
  return row.fields.filter(({ name }) => {
    const column = Object.hasOwn(renameColumns, name) ? (renameColumns[name] as string) : name
    const isKept = !excludeColumns.includes(name) && (includeColumns === undefined || includeColumns.includes(name))
    return isKept && !primaryKey.includes(column)
  })
}

export function formOfValues({ form, value }: TopicShape): Finding | null {
  if (form !== 'other') return null
  return finding(
    'VALUE_NOT_DEBEZIUM',
    `the values are records ${value.connectName ?? value.name}, neither Debezium's envelopes nor flattened by its transform: ` +
      'each message is taken for a row as it is now, and only tombstones delete',
    'check that this topic is the one that Debezium writes, and that its transforms are ExtractNewRecordState alone',
  )
}

/** Flattened values without the field that tells of deletes. */
export function deletes({ form, value, guard }: TopicShape, table: ResolvedTable): Finding | null {
  const { deletedColName, deletes: how } = table
  const tells = value.fields.some(({ name }) => name === deletedColName) || guard.hasOp
  if (form !== 'flattened' || tells || how === 'ignore') return null
  return finding(
    'DELETES_NOT_TOLD',
    `the values have no ${deletedColName}: a delete arrives as a tombstone at best, and with deletes dropped not at all`,
    'set delete.tombstone.handling.mode=rewrite (before Debezium 2.5: delete.handling.mode=rewrite) in the transform ' +
      'ExtractNewRecordState; where the field has another name, say so with deletedColName',
  )
}

/** Positions that order the changes of a key which came through several partitions, and tell repeats in histories. */
export function positions({ guard, form }: TopicShape, table: ResolvedTable, numPartitions: number): Finding | null {
  if (guard.sequence !== null || table.orderGuard === 'off' || form === 'other') return null
  const isHistory = !traitsOf(table.writeMode).equalsSource
  const matters = numPartitions > 1 || isHistory
  const what = isHistory
    ? 'what the connector sends again after a crash is a second version in the history'
    : numPartitions > 1
      ? `changes of a key that came through several of the ${numPartitions} partitions are ordered by the messages' timestamps alone`
      : 'no harm with one partition; with more, changes of a key would be ordered by timestamps alone'
  const remedy =
    form === 'flattened'
      ? `set add.fields in the transform ExtractNewRecordState. ${ADD_FIELDS}`
      : "leave Debezium's field source in the envelope as it is"
  return finding(
    'POSITIONS_MISSING',
    `the values do not say where a change stands in the source's log: ${what}`,
    remedy,
    matters ? 'warning' : 'note',
  )
}

/** Truncates: flattened streams carry none, envelopes only where the connector is told to. */
export function truncates({ form }: TopicShape, { writeMode }: ResolvedTable): Finding | null {
  if (form === 'other' || !traitsOf(writeMode).equalsSource) return null
  return form === 'flattened'
    ? finding(
        'TRUNCATES_NOT_TOLD',
        'flattened values carry no truncate: rows that TRUNCATE removes in the source stay in the table',
        'where tables are truncated, use envelopes with skipped.operations=none; otherwise verify --repair finds such rows',
      )
    : finding(
        'TRUNCATES_NOT_TOLD',
        'truncates are in the stream only with skipped.operations=none, which the messages do not tell',
        'set skipped.operations=none in the connector where tables are truncated',
      )
}

/** Item types of PostgreSQL's arrays that come as plain null where a change leaves them out. */
function isUntellableItem(items: AvroNode): boolean {
  const node = withoutNull(items)
  if (node === null) return false
  if (['float', 'double', 'boolean'].includes(node.kind) || node.connectType === 'int16') return true
  const { is } = meaningOf(node)
  if (is === 'date') return node.connectName === 'org.apache.kafka.connect.data.Date'
  return ['decimal', 'variableDecimal', 'timestamp', 'zonedTimestamp', 'time', 'isoTimestamp'].includes(is)
}

const UNTELLABLE =
  /^io\.debezium\.data\.(Bits|DoubleVector|FloatVector|SparseDoubleVector|geometry\.(Geometry|Geography))$/

/** Bit strings of a few bytes stay in their row, which a change never leaves out. */
const isShort = ({ parameters }: AvroNode): boolean => Number(parameters?.length ?? Number.NaN) <= 64

/** Values that a change leaves out and that arrive as null. */
export function leftOut(shape: TopicShape, description: TableDescription): Finding | null {
  const { source } = shape
  if (source === 'sqlserver') return leftOutOfSqlServer(shape, description)
  if (source !== null && source !== 'postgres') return null
  const names = stored(shape, description).filter(({ type }) => {
    const node = withoutNull(type)
    if (node === null) return false
    if (node.kind === 'array' && !node.connectName) return isUntellableItem(node.items)
    return source === 'postgres' && UNTELLABLE.test(node.connectName ?? '') && !isShort(node)
  })
  if (names.length === 0) return null
  return finding(
    'LEFT_OUT_AS_NULL',
    `of ${listed(names.map(({ name }) => name))}, large values that an update leaves out arrive as NULL, which no reader ` +
      'can tell from a real one',
    'ALTER TABLE … REPLICA IDENTITY FULL in PostgreSQL, where these columns hold values of some 2 KB or more',
  )
}

function leftOutOfSqlServer(shape: TopicShape, description: TableDescription): Finding | null {
  const names = stored(shape, description).filter(({ name, type }) => {
    const node = withoutNull(type)
    return (
      !name.startsWith('__') && (node?.kind === 'string' || node?.kind === 'bytes') && meaningOf(node).is === 'plain'
    )
  })
  if (names.length === 0) return null
  return finding(
    'LEFT_OUT_AS_NULL',
    `of ${listed(names.map(({ name }) => name))}, those that are varchar(max), nvarchar(max) or varbinary(max) arrive as NULL ` +
      'where an update leaves them out, before Debezium 3.6',
    'Debezium 3.6',
  )
}

/** Decimals that Delta has no type for. */
export function decimals(shape: TopicShape, description: TableDescription): Finding | null {
  const texts = new Set(description.columns.filter(({ deltaType }) => deltaType === 'string').map(({ name }) => name))
  const { renameColumns } = shape.settings
  const names = stored(shape, description).filter(({ name, type }) => {
    const node = withoutNull(type)
    const column = Object.hasOwn(renameColumns, name) ? (renameColumns[name] as string) : name
    return node !== null && texts.has(column) && ['decimal', 'variableDecimal'].includes(meaningOf(node).is)
  })
  if (names.length === 0) return null
  return finding(
    'DECIMAL_AS_TEXT',
    `${listed(names.map(({ name }) => name))}: decimals without a fixed scale, or with more digits than Delta's 38, are stored as ` +
      'texts, exactly',
    "columns: {name: {decimal: 'decimal(38,10)'}}, or 'double', stores them as numbers",
  )
}

const ADAPTIVE_PRECISION = 'leave time.precision.mode out (adaptive) in the connector, before the table is made'

/** Times that the connector cuts, or that end early. */
export function timePrecision(shape: TopicShape, description: TableDescription): Finding | null {
  const named = (pattern: RegExp) =>
    stored(shape, description)
      .filter(({ type }) => pattern.test(withoutNull(type)?.connectName ?? ''))
      .map(({ name }) => name)
  const millis = named(/^org\.apache\.kafka\.connect\.data\.(Timestamp|Time)$/)
  const nanos = named(/^io\.debezium\.time\.NanoTimestamp$/)
  if (millis.length > 0) {
    const message = `${listed(millis)}: time.precision.mode=connect cuts times to milliseconds`
    return finding('TIME_PRECISION', message, ADAPTIVE_PRECISION)
  }
  if (nanos.length === 0) return null
  const message = `${listed(nanos)}: nanoseconds end in 2262; later values, as the year 9999 for "never", arrive as infinity`
  return finding('TIME_PRECISION', message, ADAPTIVE_PRECISION)
}

/** All that the schemas of a topic say. */
export function valueFindings(
  shape: TopicShape,
  description: TableDescription | null,
  table: ResolvedTable,
  numPartitions: number,
): Finding[] {
  const found = [
    formOfValues(shape),
    deletes(shape, table),
    positions(shape, table, numPartitions),
    truncates(shape, table),
  ]
  if (description !== null) {
    found.push(leftOut(shape, description), decimals(shape, description), timePrecision(shape, description))
  }
  return found.filter((one) => one !== null)
}
