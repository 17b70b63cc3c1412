/** What the tests of the decoder share: batches, a second way of decoding, and values read back from Arrow. */

import { readdirSync, readFileSync } from 'node:fs'
import { type Data, DataType, type Table, tableFromIPC, Vector } from 'apache-arrow'
import avsc from 'avsc'
import type { AvroSchemaJson } from '../../src/avro/schema.js'
import type { ChangeBatch } from '../../src/debezium/change-batch.js'
import { TableDecoder } from '../../src/debezium/decoder.js'
import type { DecodeOptions } from '../../src/debezium/options.js'
import { KafkaToDeltaError } from '../../src/errors.js'
import type { Message } from '../../src/kafka/message.js'
import { Messages } from '../../src/kafka/messages.js'
import type { GivenBatch, MicroBatch, OffsetRange, RawMessage } from '../../src/kafka/micro-batch.js'
import type { SchemaSource } from '../../src/registry/schema-source.js'
import { bigLong } from '../helpers/avsc-long.js'

export const FIXTURES = new URL('../fixtures/', import.meta.url).pathname

export function avscType(schema: unknown): avsc.Type {
  return avsc.Type.forSchema(
    schema as never,
    {
      registry: {},
      wrapUnions: 'never',
      typeHook: (json: unknown) =>
        json === 'long' || (json as { type?: unknown } | null)?.type === 'long' ? bigLong : undefined,
    } as never,
  )
}

/** Schemas from memory; an id that is not there is unknown to the registry. */
export function schemaSource(schemas: Record<number, unknown>): SchemaSource {
  return {
    get: async (id) => {
      const schema = schemas[id]
      if (schema === undefined) throw new KafkaToDeltaError('BAD_RECORD', `unknown schema id ${id}`)
      return (typeof schema === 'string' && /^[[{]/.test(schema) ? JSON.parse(schema) : schema) as AvroSchemaJson
    },
  }
}

/** A payload behind Confluent's header. */
export function confluent(id: number, payload: Uint8Array): Buffer {
  const header = Buffer.alloc(5)
  header.writeInt32BE(id, 1)
  return Buffer.concat([header, payload])
}

export function encode(id: number, schema: unknown, value: unknown): Buffer {
  return confluent(id, avscType(schema).toBuffer(value))
}

/** A message by itself. */
export const messageOf = (raw: RawMessage): Message => Messages.of([raw]).at(0) as Message

export type TestMessage = Partial<RawMessage> & { partition?: number }

/** @param atLeast partitions that the topic has, also where the messages are of fewer */
export function batchOf(topic: string, messages: TestMessage[], atLeast = 1): MicroBatch<RawMessage[]> {
  const ranges = new Map<number, OffsetRange<RawMessage[]>>()
  for (const { partition = 0, ...message } of messages) {
    let range = ranges.get(partition)
    if (range === undefined) {
      range = { partition, firstOffset: 0n, lastOffset: 0n, messages: [] }
      ranges.set(partition, range)
    }
    const offset = String(range.messages.length)
    range.messages.push({ offset, timestamp: '0', key: null, value: null, ...message })
    range.lastOffset = BigInt(offset)
  }
  const numPartitions = Math.max(atLeast, ...messages.map(({ partition = 0 }) => partition + 1))
  return { topic, ranges: [...ranges.values()], numMessages: messages.length, numPartitions, numBytes: 0 }
}

/** A batch of partition 0 that begins at the offset. */
export function batchAt(first: number, messages: TestMessage[]): MicroBatch<RawMessage[]> {
  const placed = messages.map((message, i) => ({ ...message, offset: String(first + i) }))
  const batch = batchOf('t', placed)
  const [range] = batch.ranges
  if (range) Object.assign(range, { firstOffset: BigInt(first), lastOffset: BigInt(first + messages.length - 1) })
  return batch
}

export interface Decoded {
  batch: ChangeBatch
  table: Table | null
  /** Rows as plain objects, see {@link plain}. */
  rows: Record<string, unknown>[]
  decoder: TableDecoder
}

export async function decodeAll(
  options: DecodeOptions,
  schemas: Record<number, unknown>,
  messages: TestMessage[],
  numPartitions = 1,
): Promise<Decoded> {
  const decoder = new TableDecoder(options, schemaSource(schemas))
  return decodeWith(decoder, batchOf(options.topic, messages, numPartitions))
}

export async function decodeWith(decoder: TableDecoder, input: GivenBatch): Promise<Decoded> {
  const batch = await decoder.decode(input)
  const table = batch.ipc === null ? null : tableFromIPC(batch.ipc)
  return { batch, table, rows: table === null ? [] : rowsOf(table), decoder }
}

export function rowsOf(table: Table): Record<string, unknown>[] {
  const columns = table.schema.fields.map((field, i) => [field.name, table.getChildAt(i) as Vector] as const)
  return Array.from({ length: table.numRows }, (_, row) =>
    Object.fromEntries(columns.map(([name, vector]) => [name, plainAt(vector.data[0] as Data, row)])),
  )
}

/**
 * A value as plain data: bytes as hex, 64-bit numbers and timestamps (microseconds) as BigInt, dates as days, decimals as
 * text without zeros at the end of the fraction. Read from Arrow's buffers, since its getters round.
 */
export function plainAt(data: Data, row: number): unknown {
  if (!data.getValid(row)) return null
  const { type } = data
  if (DataType.isBool(type)) return !!((((data.values as Uint8Array)[row >> 3] as number) >> (row & 7)) & 1)
  if (DataType.isUtf8(type) || DataType.isLargeUtf8(type)) return Buffer.from(bytesAt(data, row)).toString('utf8')
  if (DataType.isBinary(type) || DataType.isLargeBinary(type)) return Buffer.from(bytesAt(data, row)).toString('hex')
  if (DataType.isUtf8View(type)) return new Vector([data]).get(row)
  if (DataType.isBinaryView(type)) return Buffer.from(new Vector([data]).get(row) as Uint8Array).toString('hex')
  if (DataType.isFixedSizeBinary(type)) {
    const size = type.byteWidth
    return Buffer.from(data.values.subarray(row * size, (row + 1) * size)).toString('hex')
  }
  if (DataType.isDecimal(type)) {
    const words = data.values as Uint32Array
    let value = 0n
    for (let i = 3; i >= 0; i--) value = (value << 32n) | BigInt(words[row * 4 + i] as number)
    return decimalText(BigInt.asIntN(128, value), type.scale)
  }
  if (DataType.isList(type) || DataType.isMap(type)) {
    const [from, to] = [data.valueOffsets[row] as number, data.valueOffsets[row + 1] as number]
    return Array.from({ length: to - from }, (_, i) => plainAt(data.children[0] as Data, from + i))
  }
  if (DataType.isStruct(type)) {
    return Object.fromEntries(type.children.map((field, i) => [field.name, plainAt(data.children[i] as Data, row)]))
  }
  return (data.values as Int32Array)[row]
}

/** Digits without zeros at the end of the fraction. */
export function decimalText(unscaled: bigint, scale: number): string {
  const digits = (unscaled < 0n ? -unscaled : unscaled).toString().padStart(scale + 1, '0')
  const fraction = digits.slice(digits.length - scale).replace(/0+$/, '')
  const text = digits.slice(0, digits.length - scale) + (scale === 0 || fraction === '' ? '' : `.${fraction}`)
  return unscaled < 0n ? `-${text}` : text
}

function bytesAt(data: Data, row: number): Uint8Array {
  return data.values.subarray(Number(data.valueOffsets[row]), Number(data.valueOffsets[row + 1]))
}

interface FixtureLine {
  partition: number
  offset: number | string
  timestamp: number | string
  key_b64: string | null
  value_b64: string | null
  headers?: Record<string, string>
}

/** The topics of a set of captured messages. */
export function fixtureTopics(set: string): string[] {
  return readdirSync(`${FIXTURES}${set}`)
    .filter((file) => file.endsWith('.jsonl'))
    .map((file) => file.slice(0, -'.jsonl'.length))
    .sort()
}

export function fixtureSchemas(set: string): Record<number, unknown> {
  return JSON.parse(readFileSync(`${FIXTURES}${set}/schemas.json`, 'utf8')) as Record<number, unknown>
}

export function fixtureMessages(set: string, topic: string): (TestMessage & RawMessage)[] {
  const bytes = (text: string | null) => (text === null ? null : Buffer.from(text, 'base64'))
  const lines = readFileSync(`${FIXTURES}${set}/${topic}.jsonl`, 'utf8').trim().split('\n')
  return lines.map((line) => {
    const json = JSON.parse(line) as FixtureLine
    const headers = Object.entries(json.headers ?? {}).map(([name, value]) => [name, Buffer.from(value, 'base64')])
    return {
      partition: json.partition,
      offset: String(json.offset),
      timestamp: String(json.timestamp),
      key: bytes(json.key_b64),
      value: bytes(json.value_b64),
      headers: Object.fromEntries(headers) as Record<string, Buffer>,
    }
  })
}
