/** What the newest schemas of a topic say: the form of its values, its key, and what tells of order and deletes. */

import { type AvroNode, type AvroRecord, parseAvroSchema, withoutNull } from '../avro/schema.js'
import { envelopeShape } from '../debezium/envelope.js'
import { flattenedShape, type Guard } from '../debezium/flattened.js'
import { type DecodeOptions, type DecoderSettings, decoderSettings } from '../debezium/options.js'
import type { SequenceKind } from '../debezium/order.js'
import { messageSchemaId } from '../debezium/schema-ids.js'
import type { Message } from '../kafka/message.js'
import type { OffsetRange } from '../kafka/micro-batch.js'
import type { SchemaSource } from '../registry/schema-source.js'

/** Numbers of the schemas as messages name them; null where there is none. */
export interface SchemaIds {
  key: number | null
  value: number | null
}

export interface TopicShape {
  form: 'flattened' | 'envelope' | 'other'
  key: AvroNode | null
  /** The record of the values. */
  value: AvroRecord
  /** The row within it. */
  row: AvroRecord
  guard: Guard
  /** Fields of a flattened value that tell of the change. */
  companions: ReadonlySet<string>
  /** The kind of the source, as far as the schema tells it. */
  source: SequenceKind | null
  settings: DecoderSettings
}

/** The ids of the newest message that has a value. */
export function newestIds(ranges: readonly OffsetRange[]): SchemaIds {
  let newest: Message | null = null
  for (const { messages } of ranges) {
    const last = [...messages].findLast(({ value }) => value !== null)
    if (last && (newest === null || last.time >= newest.time)) newest = last
  }
  const idOf = (message: Message, part: 'key' | 'value') => {
    const id = message[part] === null ? -1 : messageSchemaId(message, part)
    return id < 0 ? null : id
  }
  return newest === null ? { key: null, value: null } : { key: idOf(newest, 'key'), value: idOf(newest, 'value') }
}

/**
 * Null where the values are no records.
 * @throws what the registry does; SCHEMA_UNSUPPORTED
 */
export async function shapeOf(
  { key, value }: SchemaIds,
  options: DecodeOptions,
  schemas: SchemaSource,
): Promise<TopicShape | null> {
  if (value === null) return null
  const parsed = async (id: number) => parseAvroSchema(await schemas.get(id))
  const record = withoutNull(await parsed(value))
  if (record?.kind !== 'record') return null
  const settings = decoderSettings(options)
  const keyNode = key === null ? null : await parsed(key)
  const envelope = envelopeShape(record, [], settings)
  if (envelope !== null && typeof envelope !== 'string') {
    const { guard, after } = envelope
    const of = { key: keyNode, value: record, row: after, guard, companions: new Set<string>(), settings }
    return { ...of, form: 'envelope', source: sourceOf(record) ?? guard.sequence?.kind ?? null }
  }
  const { guard, companions } = flattenedShape(record, settings)
  const source = guard.sequence?.kind ?? (hasLsn(record) ? 'postgres' : null)
  const form = typeof envelope === 'string' || !isDebeziums(record, companions, settings) ? 'other' : 'flattened'
  return { form, key: keyNode, value: record, row: record, guard, companions, source, settings }
}

const SOURCES: Readonly<Record<string, SequenceKind>> = {
  postgresql: 'postgres',
  mysql: 'mysql',
  mariadb: 'mysql',
  sqlserver: 'sqlserver',
  oracle: 'oracle',
}

/** By the name of the record `source` in an envelope. */
function sourceOf(envelope: AvroRecord): SequenceKind | null {
  const field = envelope.fields.find(({ name }) => name === 'source')
  const record = field === undefined ? null : withoutNull(field.type)
  const [, connector] = /^io\.debezium\.connector\.(\w+)\.Source$/.exec(record?.connectName ?? '') ?? []
  return connector !== undefined && Object.hasOwn(SOURCES, connector) ? (SOURCES[connector] as SequenceKind) : null
}

const hasLsn = ({ fields }: AvroRecord) =>
  fields.some(({ name }) => name === '__lsn' || name === '__source_lsn' || name === '__log_sequence_number')

/** Whether a record is a row that Debezium has flattened: it has one of the transform's fields, or Debezium's name. */
function isDebeziums(record: AvroRecord, companions: ReadonlySet<string>, settings: DecoderSettings): boolean {
  const names = record.fields.map(({ name }) => name)
  if (companions.size > 0 || names.includes(settings.deletedColName)) return true
  return /\.Value$/.test(record.connectName ?? record.name)
}
