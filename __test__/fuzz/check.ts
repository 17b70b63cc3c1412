/** Decodes good and broken messages side by side, and says what is wrong with the outcome. */

import { isUtf8 } from 'node:buffer'
import { type Data, DataType, type Table } from 'apache-arrow'
import type avsc from 'avsc'
import { TableDecoder } from '../../src/debezium/decoder.js'
import type { DecodeOptions } from '../../src/debezium/options.js'
import { batchOf, decodeWith, schemaSource, type TestMessage } from '../debezium/support.js'
import { wrappedType } from '../helpers/avsc-long.js'
import { difference, Malformed, Outside, type Reference, reference } from '../helpers/reference.js'

/** A topic's schemas, and how it is decoded. */
export interface Subject {
  name: string
  schemas: Record<number, unknown>
  options?: Partial<DecodeOptions>
}

/** A message, and whether it is as its writer wrote it. */
export interface Probe {
  message: TestMessage
  intact: boolean
}

/** Bytes of memory that a batch of a few hundred small messages may take beyond their own size. */
const MEMORY = 256 * 1024 * 1024
/** Milliseconds that it may take on a busy machine. */
const TIME = 10_000

const OFFSET_COLUMN = '__fuzz_at'
const TRUNCATE = 2
const DELETES = [1, 4, 5, 6]
const CONTROL = ['_op', '_part', '_seq', '_epoch', '_old_key', '_left_out', OFFSET_COLUMN]

/** Reads values by avsc; one per subject. */
export class SecondReader {
  private readonly types = new Map<number, avsc.Type>()
  private readonly columns = new Map<number, Map<string, Reference> | null>()

  constructor(readonly subject: Subject) {}

  /** The value of a message by its header's schema; undefined where avsc refuses it. */
  read(bytes: Buffer): Record<string, unknown> | undefined {
    const id = bytes.readInt32BE(1)
    let type = this.types.get(id)
    if (type === undefined) {
      type = wrappedType(parsed(this.subject.schemas[id]))
      this.types.set(id, type)
    }
    try {
      return type.fromBuffer(bytes.subarray(5)) as Record<string, unknown>
    } catch {
      return undefined
    }
  }

  /** What the row's columns must be, by name. */
  row(
    bytes: Buffer,
  ): { row: Record<string, unknown>; references: Map<string, Reference>; deleted: boolean } | undefined {
    const value = this.read(bytes)
    if (value === undefined) return undefined
    const schema = parsed(this.subject.schemas[bytes.readInt32BE(1)])
    const names = new Map()
    const all = reference(schema, this.subject.options?.defaults, names)
    if (all === undefined) return undefined
    const after = value.after === undefined ? value : Object.values((value.after ?? {}) as object)[0]
    const rowSchema = value.after === undefined ? schema : afterSchema(schema)
    const references = new Map<string, Reference>()
    for (const { name, type } of rowSchema.fields) {
      const options = { ...this.subject.options?.defaults, ...this.subject.options?.columns?.[name] }
      references.set(name, reference(type, options, names))
    }
    const flag = value.__deleted
    const text = typeof flag === 'object' && flag !== null ? Object.values(flag)[0] : flag
    const op = typeof value.op === 'string' ? value.op : ''
    return { row: (after ?? {}) as Record<string, unknown>, references, deleted: String(text) === 'true' || op === 'd' }
  }
}

interface RecordJson {
  fields: { name: string; type: unknown }[]
}

function parsed(schema: unknown): RecordJson {
  return (typeof schema === 'string' ? JSON.parse(schema) : schema) as RecordJson
}

/** The record of the rows of an envelope: `before` defines it, `after` names it. */
function afterSchema(envelope: RecordJson): RecordJson {
  const find = (name: string) => envelope.fields.find((field) => field.name === name)?.type as unknown[]
  const record = [...find('before'), ...find('after')].find((branch) => typeof branch === 'object' && branch !== null)
  return record as RecordJson
}

/**
 * Decodes the probes as one batch. Returns what is wrong, or null, and how many were refused and taken.
 * @param expected rows of the intact messages, by their place; filled in where it is empty
 */
export async function check(
  subject: Subject,
  probes: Probe[],
  expected: Map<number, Record<string, unknown>>,
  reader: SecondReader,
): Promise<{ wrong: string | null; bad: number; taken: number }> {
  const decoder = new TableDecoder(
    {
      topic: 'fuzz',
      onBadRecord: 'collect',
      metadataColumns: ['kafka.offset:fuzz_at'],
      ...subject.options,
    },
    schemaSource(subject.schemas),
  )
  const messages = probes.map(({ message }, i) => ({ ...message, partition: 0, offset: String(i) }))
  const memory = process.memoryUsage()
  const start = process.cpuUsage()
  const { batch, rows, table } = await decodeWith(decoder, batchOf('fuzz', messages))
  const { user, system } = process.cpuUsage(start)
  const now = process.memoryUsage()
  const result = { wrong: null as string | null, bad: batch.badRecords.length, taken: 0 }
  const fail = (what: string) => {
    result.wrong ??= what
    return result
  }
  if (user + system > TIME * 1000) return fail(`it took ${(user + system) / 1000} ms`)
  if (now.arrayBuffers - memory.arrayBuffers > MEMORY) return fail('it took more memory than the messages warrant')
  if (table !== null) {
    const invalid = invalidArrow(table)
    if (invalid !== null) return fail(`the Arrow stream is not valid: ${invalid}`)
  }
  const types = new Map(decoder.describe()?.columns.map((column) => [column.name, column.deltaType]))
  const bad = new Map(batch.badRecords.map((record) => [Number(record.offset), record]))
  const found = new Map<number, Record<string, unknown>>()
  for (const row of rows) if (row[OFFSET_COLUMN] !== null) found.set(Number(row[OFFSET_COLUMN]), row)
  // Truncates and deletes have no values, this one neither.
  const empty = rows.filter((row) => row[OFFSET_COLUMN] === null)
  if (empty.some((row) => row._op !== TRUNCATE && !DELETES.includes(row._op as number)))
    return fail('a row of no message')
  if (found.size + empty.length !== rows.length) return fail('two rows of one message')
  if (rows.length + bad.size + batch.numIgnored !== probes.length)
    return fail('a message is neither row nor bad record')
  for (const [i, { message, intact }] of probes.entries()) {
    const record = bad.get(i)
    const row = found.get(i)
    if (record !== undefined) {
      if (intact && !expected.has(-1 - i)) return fail(`message ${i} is intact but refused: ${record.reason}`)
      if (record.topic !== 'fuzz' || record.partition !== 0 || record.reason === '') return fail('no position')
      if (row !== undefined) return fail(`message ${i} is a bad record and a row`)
      if (!same(record.value, message.value) || !same(record.key, message.key))
        return fail('the raw bytes are not kept')
      continue
    }
    if (row === undefined) continue
    result.taken++
    const stored = intact ? expected.get(i) : undefined
    if (stored !== undefined) {
      const different = difference(stored, withoutOrder(row))
      if (different !== null) return fail(`the intact message ${i} changed: ${different}`)
    }
    const value = message.value
    if (value == null || DELETES.includes(row._op as number)) continue
    const second = reader.row(value)
    if (second === undefined) return fail(`message ${i} is taken, but avsc refuses it: ${value.toString('base64')}`)
    const different = compare(second, row, types, message.key == null ? undefined : reader.read(message.key))
    if (different !== null) return fail(`message ${i}: ${different}: ${value.toString('base64')}`)
  }
  return result
}

/** A row without what depends on the messages before it. */
export function withoutOrder(row: Record<string, unknown>): Record<string, unknown> {
  const { _seq, _epoch, _part, _old_key, [OFFSET_COLUMN]: _, ...rest } = row
  return rest
}

/** The rows of messages that are intact, by their place; of those refused, the place is below zero. */
export async function pristine(
  subject: Subject,
  messages: TestMessage[],
): Promise<Map<number, Record<string, unknown>>> {
  const decoder = new TableDecoder(
    { topic: 'fuzz', onBadRecord: 'skip', metadataColumns: ['kafka.offset:fuzz_at'], ...subject.options },
    schemaSource(subject.schemas),
  )
  const placed = messages.map((message, i) => ({ ...message, partition: 0, offset: String(i) }))
  const { rows, batch } = await decodeWith(decoder, batchOf('fuzz', placed))
  const expected = new Map<number, Record<string, unknown>>()
  for (const row of rows) {
    if (row[OFFSET_COLUMN] !== null) expected.set(Number(row[OFFSET_COLUMN]), withoutOrder(row))
  }
  for (const record of batch.badRecords) expected.set(-1 - Number(record.offset), {})
  return expected
}

function same(a: Buffer | null, b: Buffer | null | undefined): boolean {
  return a === null || b == null ? a === (b ?? null) : a.equals(b)
}

function compare(
  { row: value, references, deleted }: NonNullable<ReturnType<SecondReader['row']>>,
  row: Record<string, unknown>,
  types: Map<string, string>,
  key: Record<string, unknown> | undefined,
): string | null {
  if (deleted) return 'a delete is taken for an upsert'
  const leftOut = (row._left_out ?? {}) as Record<string, unknown>
  for (const [name, of] of references) {
    if (!(name in row) || CONTROL.includes(name) || leftOut[name] === true || (key !== undefined && name in key))
      continue
    // Another schema made the column wider: what does not fit is bounded by the wider type.
    if (types.get(name) !== of.type) continue
    try {
      const different = difference(of.convert(value[name]), row[name], name)
      if (different !== null) return different
    } catch (error) {
      if (error instanceof Outside || error instanceof Malformed) return `${name} is taken, but is ${error.message}`
      throw error
    }
  }
  return null
}

/** What a reader of the Arrow columns could stumble over; null where all is well. */
export function invalidArrow(table: Table): string | null {
  for (const [i, field] of table.schema.fields.entries()) {
    const column = table.getChildAt(i)
    if (column === null || column.data.length !== 1) return `${field.name} is not in one piece`
    const found = invalidData(column.data[0] as Data, field.name)
    if (found !== null) return found
    if (!field.nullable && column.nullCount > 0) return `${field.name} has nulls`
  }
  return null
}

function invalidData(data: Data, path: string): string | null {
  const { type, length } = data
  let nulls = 0
  for (let i = 0; i < length; i++) if (!data.getValid(i)) nulls++
  if (nulls !== data.nullCount) return `${path} has ${nulls} nulls and says ${data.nullCount}`
  if (DataType.isUtf8(type) || DataType.isBinary(type) || DataType.isList(type) || DataType.isMap(type)) {
    const offsets = data.valueOffsets as Int32Array
    if (offsets.length < length + 1 && length > 0) return `${path} has ${offsets.length} offsets for ${length} rows`
    for (let i = 0; i < length; i++) {
      if ((offsets[i + 1] as number) < (offsets[i] as number)) return `the offsets of ${path} go back at ${i}`
    }
    const room = DataType.isUtf8(type) || DataType.isBinary(type) ? data.values.length : data.children[0]?.length
    if (length > 0 && (offsets[length] as number) > (room ?? 0)) return `the offsets of ${path} point beyond its end`
    if (DataType.isUtf8(type)) {
      for (let i = 0; i < length; i++) {
        if (!isUtf8(data.values.subarray(offsets[i], offsets[i + 1]))) return `${path} has a text that is not UTF-8`
      }
    }
  } else if (data.values !== undefined && data.values !== null && !DataType.isStruct(type)) {
    const stride = DataType.isDecimal(type) ? 4 : DataType.isFixedSizeBinary(type) ? type.byteWidth : 1
    const needed = DataType.isBool(type) ? Math.ceil(length / 8) : length * stride
    if (data.values.length < needed) return `${path} has ${data.values.length} values for ${length} rows`
  }
  for (const [i, child] of data.children.entries()) {
    const name = (type.children[i] as { name: string }).name
    if (DataType.isStruct(type) && child.length < length) return `${path}.${name} is too short`
    const found = invalidData(child, `${path}.${name}`)
    if (found !== null) return found
    if (!(type.children[i] as { nullable: boolean }).nullable && child.nullCount > 0) return `${path}.${name} has nulls`
  }
  return null
}
