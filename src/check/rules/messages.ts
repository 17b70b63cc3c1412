/** What is wrong with the messages of a topic. */

import { withoutNull } from '../../avro/schema.js'
import type { BadRecord } from '../../debezium/change-batch.js'
import { idProblem, messageSchemaId } from '../../debezium/schema-ids.js'
import { KafkaToDeltaError } from '../../errors.js'
import type { Message } from '../../kafka/message.js'
import type { OffsetRange } from '../../kafka/micro-batch.js'
import { DECODER_DEFAULTS } from '../../options/defaults.js'
import type { ResolvedTable } from '../../options/types.js'
import { formatCount } from '../../terminal/format.js'
import { type Finding, failure, finding } from '../findings.js'
import type { TopicShape } from '../shape.js'

/** Reasons of bad records that are told; the others are counted. */
const MAX_REASONS = 3

export interface Sample {
  ranges: readonly OffsetRange[]
  badRecords: readonly BadRecord[]
}

/** A topic whose messages have no key, though the table names none; null otherwise. */
export function noKey({ ranges }: Sample, { primaryKey, writeMode }: ResolvedTable): Finding | null {
  const messages = ranges.flatMap(({ messages }) => [...messages])
  if (primaryKey !== null || messages.length === 0 || messages.some(({ key }) => key !== null)) return null
  return finding(
    'NO_KEY',
    `none of the ${formatCount(messages.length)} newest messages has a key, and the table names no primaryKey` +
      (writeMode === 'append' ? ', which a changelog needs as well' : ''),
    "name the row's key columns with the option primaryKey, or give the messages a key: a primary key in the source's " +
      'table, or message.key.columns in the connector',
  )
}

/** Key columns of the options that neither key nor value has. */
export function missingKeyColumns(shape: TopicShape, { primaryKey }: ResolvedTable): Finding | null {
  const keyRecord = shape.key === null ? null : withoutNull(shape.key)
  // A bare key stands for the one column that the option names.
  if (primaryKey === null || (keyRecord !== null && keyRecord.kind !== 'record' && primaryKey.length === 1)) return null
  const { renameColumns } = shape.settings
  const fields = [...shape.row.fields, ...(keyRecord?.kind === 'record' ? keyRecord.fields : [])]
  const names = new Set(
    fields.flatMap(({ name }) => [name, Object.hasOwn(renameColumns, name) ? renameColumns[name] : name]),
  )
  const missing = primaryKey.filter((name) => !names.has(name))
  if (missing.length === 0) return null
  return finding(
    'KEY_COLUMN_MISSING',
    `primaryKey names ${missing.join(', ')}, which neither the key nor the value has; there are ` +
      [...new Set(fields.map(({ name }) => name))].join(', '),
    'correct the names in primaryKey, or leave it out where the messages have a key',
  )
}

/** Messages that are no Avro behind Confluent's header, by the reason that a run gives. */
export function notAvro({ ranges }: Sample): Finding[] {
  const reasons = new Map<string, number>()
  let count = 0
  for (const message of ranges.flatMap(({ messages }) => [...messages])) {
    count++
    for (const part of ['key', 'value'] as const) {
      if (message[part] === null || messageSchemaId(message, part) >= 0) continue
      const reason = idProblem(message, part)
      reasons.set(reason, (reasons.get(reason) ?? 0) + 1)
    }
  }
  return [...reasons].map(([reason, bad]) =>
    finding(
      'NOT_AVRO',
      `${formatCount(bad)} of the ${formatCount(count)} newest messages: ${reason}`,
      'set the converter so, and let the connector write the topic anew (a new topic, or a snapshot); messages that are ' +
        'there already stay as they are: onBadRecord skip or dead-letter goes on without them',
    ),
  )
}

const hasIds = (message: Message) =>
  (['key', 'value'] as const).every((part) => message[part] === null || messageSchemaId(message, part) >= 0)

/** Bad values of one column are of one kind. */
const kindOf = ({ reason }: BadRecord): string => /^column [^:]*:/.exec(reason)?.[0] ?? reason

const OUT_OF_RANGE =
  "columns: {name: {outOfRange: 'null'}}, or 'clamp', stores such values so; onBadRecord: skip leaves the rows out"

/** Messages that cannot be applied, beside those that {@link notAvro} and {@link noKey} tell of. */
export function badRecords({ ranges, badRecords: bad }: Sample, table: ResolvedTable): Finding[] {
  const messages = new Map<string, Message>()
  for (const { partition, messages: of } of ranges)
    for (const one of of) messages.set(`${partition}:${one.offset}`, one)
  const byReason = new Map<string, BadRecord[]>()
  for (const record of bad) {
    const message = messages.get(`${record.partition}:${record.offset}`)
    if (message && (!hasIds(message) || (message.key === null && table.primaryKey === null))) continue
    const kind = kindOf(record)
    byReason.set(kind, [...(byReason.get(kind) ?? []), record])
  }
  const severity = table.onBadRecord === 'fail' ? 'error' : 'warning'
  const told = [...byReason.values()].slice(0, MAX_REASONS).map((records) => {
    const [{ partition, offset, reason }] = records as [BadRecord]
    const text =
      `${formatCount(records.length)} of the ${formatCount(messages.size)} newest messages cannot be applied, the first at ` +
      `partition ${partition}, offset ${offset}: ${reason}`
    const found = failure(new KafkaToDeltaError('BAD_RECORD', text), severity)
    return / lies outside /.test(reason) ? { ...found, remedy: OUT_OF_RANGE } : found
  })
  const rest = byReason.size - told.length
  return rest > 0
    ? [
        ...told,
        failure(
          new KafkaToDeltaError('BAD_RECORD', `others cannot be applied for ${formatCount(rest)} more reasons`),
          severity,
        ),
      ]
    : told
}

/** Debezium's own placeholder in messages, where the options name another one: it would be stored as data. */
export function placeholders(
  { ranges }: Sample,
  { unavailableValuePlaceholder: named }: ResolvedTable,
): Finding | null {
  const usual = DECODER_DEFAULTS.unavailableValuePlaceholder
  if (named === usual) return null
  const bytes = Buffer.from(usual)
  const count = ranges.flatMap(({ messages }) => [...messages]).filter(({ value }) => value?.includes(bytes)).length
  if (count === 0) return null
  return finding(
    'PLACEHOLDER_STORED',
    `${formatCount(count)} of the newest messages hold ${usual}, and unavailableValuePlaceholder is ` +
      `${JSON.stringify(named)}: left-out values would be stored as that text`,
    "set unavailableValuePlaceholder to the connector's unavailable.value.placeholder, or leave both out",
  )
}
