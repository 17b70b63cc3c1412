/** Turns the raw messages of one table into a change batch. */
import { deltaTypeName } from '../arrow/types.js'
import type { Reader } from '../avro/compile.js'
import { type AvroNode, type AvroSchemaJson, parseAvroSchema } from '../avro/schema.js'
import { DecodeFault, fault, HEADER_SIZE, headerProblem, schemaIdOf } from '../avro/wire.js'
import { asKafkaToDeltaError, KafkaToDeltaError } from '../errors.js'
import type { MicroBatch, RawMessage } from '../kafka/micro-batch.js'
import type { SchemaSource } from '../registry/schema-source.js'
import { type BadRecord, type ChangeBatch, Op } from './change-batch.js'
import { jsonKeyToAvro, NEW_KEY_HEADER, OLD_KEY_HEADER } from './keys.js'
import { TableLayout } from './layout.js'
import { type DecodeOptions, type ResolvedOptions, resolveOptions } from './options.js'
import { provenanceOf, SEQ_SIZE } from './order.js'
import { Placeholder } from './placeholder.js'
import { Plan, type SchemaOf } from './plan.js'
import { RowSet } from './row-set.js'

export interface ColumnDescription {
  name: string
  /** In Delta's words: `decimal(10,2)`. */
  deltaType: string
  /** The source's type, with the field's name where the column has another. */
  source: string
}

export interface TableDescription {
  primaryKey: string[]
  columns: ColumnDescription[]
}

/** The id of a message part that is null. */
const NULL = -1
/** The id of a part without a usable header. */
const UNUSABLE = -2
/** What {@link TableDecoder} returns for a message that is no change. */
const IGNORED = -1

const CHAR = { c: 99, d: 100, m: 109, r: 114, t: 116, u: 117 } as const

/** The last delete of a partition, for the tombstone that may follow it. */
interface LastDelete {
  key: Buffer
  seq: Buffer
  epochLow: number
  epochHigh: number
}

/**
 * Decodes the messages of one topic. It remembers the table's columns, so that a batch has every column seen before.
 * One call of `decode` at a time touches the columns; calls may overlap while schemas are looked up.
 */
export class TableDecoder {
  private readonly options: ResolvedOptions
  private readonly layout: TableLayout
  private readonly placeholder: Placeholder
  private readonly schemas = new Map<number, SchemaOf>()
  private readonly plans = new Map<number, Map<number, Plan>>()
  private readonly rowSet = new RowSet()
  private readonly lastDeletes = new Map<number, LastDelete>()
  private oldKeyReaders = new Map<number, Reader | null>()
  private oldKeyVersion = -1

  constructor(
    options: DecodeOptions,
    private readonly source: SchemaSource,
  ) {
    this.options = resolveOptions(options)
    this.layout = new TableLayout(this.options)
    this.placeholder = new Placeholder(this.options.unavailableValuePlaceholder)
  }

  /** The key and columns; null before the first batch that has any. */
  describe(): TableDescription | null {
    const { primaryKey, columns } = this.layout
    if (primaryKey === null) return null
    return {
      primaryKey: [...primaryKey],
      columns: columns.map(({ name, type, source }) => ({ name, deltaType: deltaTypeName(type), source })),
    }
  }

  /**
   * @throws BAD_RECORD with its position, by the option `onBadRecord`
   * @throws SCHEMA_INCOMPATIBLE, SCHEMA_UNSUPPORTED, CONFIG_INVALID; REGISTRY_UNREACHABLE, REGISTRY_AUTH
   */
  async decode(batch: MicroBatch): Promise<ChangeBatch> {
    const ids = this.readHeaders(batch)
    const unknown = await this.loadSchemas(ids)
    // From here on nothing waits: the columns belong to this call.
    this.makePlans(ids, unknown)
    let result = this.decodeRows(batch, ids, unknown, false)
    // A text that is not UTF-8 is found when the columns are complete. Only then is the row worth searching for.
    result ??= this.decodeRows(batch, ids, unknown, true)
    if (result === null) throw new KafkaToDeltaError('INTERNAL', 'a text that is not UTF-8 was not found again')
    return result
  }

  private readHeaders(batch: MicroBatch): BatchIds {
    let count = 0
    for (const range of batch.ranges) count += range.messages.length
    const ids = new BatchIds(count)
    let at = 0
    for (const range of batch.ranges) {
      for (const message of range.messages) {
        const { key, value, headers } = message
        let keyId = key === null ? NULL : schemaIdOf(key)
        // A key that is not Avro does no harm where the option names key columns that the value has.
        if (keyId === -1 && key !== null) keyId = this.options.primaryKey === undefined ? UNUSABLE : NULL
        let valueId = value === null ? NULL : schemaIdOf(value)
        if (valueId === -1 && value !== null) valueId = UNUSABLE
        ids.set(at++, keyId, valueId)
        if (headers !== undefined && headers[OLD_KEY_HEADER] !== undefined) {
          ids.hasOldKeys = true
          const id = schemaIdOf(headerBytes(message, OLD_KEY_HEADER) ?? Buffer.alloc(0))
          if (id > 0) ids.schemas.add(id)
        }
      }
    }
    return ids
  }

  /** Looks the schemas up. Those that the registry does not know are returned, with the reason. */
  private async loadSchemas(ids: BatchIds): Promise<Map<number, string>> {
    const unknown = new Map<number, string>()
    await Promise.all(
      [...ids.schemas].map(async (id) => {
        if (this.schemas.has(id)) return
        let json: AvroSchemaJson
        try {
          json = await this.source.get(id)
        } catch (error) {
          if (error instanceof KafkaToDeltaError && error.code === 'BAD_RECORD') {
            unknown.set(id, error.message)
            return
          }
          throw asKafkaToDeltaError(error, 'REGISTRY_UNREACHABLE', { topic: this.options.topic, schemaId: id })
        }
        this.schemas.set(id, { id, node: this.parse(json, id) })
      }),
    )
    return unknown
  }

  private parse(json: AvroSchemaJson, id: number): AvroNode {
    try {
      return parseAvroSchema(json)
    } catch (error) {
      const { message } = error as Error
      throw new KafkaToDeltaError('SCHEMA_UNSUPPORTED', `schema ${id}: ${message}`, {
        topic: this.options.topic,
        schemaId: id,
        cause: error,
      })
    }
  }

  private makePlans(ids: BatchIds, unknown: Map<number, string>): void {
    for (const [keyId, valueId] of ids.pairs) {
      if (keyId === UNUSABLE || valueId === UNUSABLE || unknown.has(keyId) || unknown.has(valueId)) continue
      const known = this.plans.get(keyId)
      if (known?.has(valueId)) continue
      const schemaOf = (id: number) => (id === NULL ? null : (this.schemas.get(id) ?? null))
      const plan = new Plan(schemaOf(keyId), schemaOf(valueId), this.layout, this.options, this.placeholder)
      if (known === undefined) this.plans.set(keyId, new Map([[valueId, plan]]))
      else known.set(valueId, plan)
    }
  }

  /** Null where a text is not UTF-8, unless `strict`: then the rows are bad records. */
  private decodeRows(
    batch: MicroBatch,
    ids: BatchIds,
    unknown: Map<number, string>,
    strict: boolean,
  ): ChangeBatch | null {
    const { layout, rowSet } = this
    for (const [keyId, valueId] of ids.pairs) this.plans.get(keyId)?.get(valueId)?.prepare()
    if (ids.hasOldKeys && layout.primaryKey !== null) layout.oldKeyBuilder()
    layout.reset(ids.count)
    const plansOf = ids.pairs.map(([keyId, valueId]) => this.plans.get(keyId)?.get(valueId) ?? null)
    rowSet.reset(
      ids.count,
      plansOf.some((plan) => plan?.shape?.guard.sequence != null),
    )
    const badRecords: BadRecord[] = []
    let numIgnored = 0
    let at = 0
    for (const { partition, messages } of batch.ranges) {
      let deleted = (this.lastDeletes.get(partition) ?? null) as LastDelete | null
      let deletedRow = -1
      let deletedKey = null as Buffer | null
      for (const message of messages) {
        const pair = ids.pairOf[at++] as number
        const plan = plansOf[pair] ?? null
        const row = rowSet.rows
        try {
          if (plan === null || plan.kind === 'bad') {
            const [keyId, valueId] = ids.pairs[pair] as [number, number]
            fault(plan?.reason ?? problemOf(message, keyId, valueId, unknown))
          }
          if (strict) layout.mark()
          const op = this.decodeMessage(plan, message, row)
          if (op === IGNORED) {
            numIgnored++
            continue
          }
          if (strict && !layout.utf8SinceMark(row)) fault('a text is not valid UTF-8')
          if (plan.kind === 'tombstone' && message.key !== null) {
            if (deletedRow >= 0 && deletedKey?.equals(message.key)) this.copySequence(deletedRow, row)
            else if (deleted?.key.equals(message.key)) {
              if (rowSet.sequences.valid.length === 0) rowSet.sequences.reset(ids.count)
              rowSet.sequences.set(row, deleted.seq, deleted.epochLow, deleted.epochHigh)
            }
          }
          deleted = null
          const remembers = (op === Op.delete || op === Op.moved) && rowSet.sequences.valid[row] === 1
          deletedRow = remembers ? row : -1
          deletedKey = remembers ? message.key : null
          rowSet.add(op, partition)
        } catch (error) {
          const bad = this.badRecord(error, partition, message)
          layout.clear(row)
          rowSet.sequences.clear(row)
          badRecords.push(bad)
        }
      }
      if (deletedRow >= 0 && deletedKey !== null) this.remember(partition, deletedKey, deletedRow)
      else if (deleted === null) this.lastDeletes.delete(partition)
    }
    const ipc = rowSet.rows === 0 ? null : rowSet.finish(layout)
    if (ipc === null && rowSet.rows > 0) return null
    return { ipc, numRows: rowSet.rows, primaryKey: [...(layout.primaryKey ?? [])], numIgnored, badRecords }
  }

  private copySequence(from: number, to: number): void {
    const { bytes, epochs } = this.rowSet.sequences
    const seq = bytes.subarray(from * SEQ_SIZE, (from + 1) * SEQ_SIZE)
    this.rowSet.sequences.set(to, seq, epochs[from * 2] as number, epochs[from * 2 + 1] as number)
  }

  private remember(partition: number, key: Buffer, row: number): void {
    const { bytes, epochs } = this.rowSet.sequences
    this.lastDeletes.set(partition, {
      key: Buffer.from(key),
      seq: Buffer.from(bytes.subarray(row * SEQ_SIZE, (row + 1) * SEQ_SIZE)),
      epochLow: epochs[row * 2] as number,
      epochHigh: epochs[row * 2 + 1] as number,
    })
  }

  /** Decodes one message to the row; returns its {@link Op}, or IGNORED with the row untouched. */
  private decodeMessage(plan: Plan, message: RawMessage, row: number): number {
    switch (plan.kind) {
      case 'flattened':
        return this.decodeFlattened(plan, message, row)
      case 'envelope':
        return this.decodeEnvelope(plan, message, row)
      case 'tombstone':
        if (this.options.deletes === 'ignore') return IGNORED
        this.readKey(plan, message, row)
        return deleteOf(message)
      default:
        return IGNORED
    }
  }

  private decodeFlattened(plan: Plan, message: RawMessage, row: number): number {
    const { state } = plan
    const value = message.value as Buffer
    state.reset()
    try {
      readAll(plan.readValue as Reader, value, row)
    } catch (error) {
      // Of a deleted row only the key counts: its other values may be made up.
      if (!isFault(error) || plan.keyIsInValue) throw error
      this.layout.clear(row)
      state.reset()
      readAll(plan.readState, value, row)
      if (state.deleted === 0 && state.op !== CHAR.d) throw error
    }
    if (state.deleted === 0 && state.op !== CHAR.d) {
      this.readKey(plan, message, row)
      this.readOldKey(plan, message, row)
      return this.order(plan, value, row) ? Op.incremental : Op.upsert
    }
    if (this.options.deletes === 'ignore') {
      this.layout.clear(row)
      return IGNORED
    }
    for (const column of plan.nonKey) column.clear(row)
    this.readKey(plan, message, row)
    this.order(plan, value, row)
    return deleteOf(message)
  }

  private decodeEnvelope(plan: Plan, message: RawMessage, row: number): number {
    const { state } = plan
    const value = message.value as Buffer
    state.reset()
    readAll(plan.readValue as Reader, value, row)
    switch (state.op) {
      case CHAR.c:
      case CHAR.r:
      case CHAR.u:
        if (plan.reason !== '') fault(plan.reason)
        if (!state.hasAfter) fault(`the event has the operation ${String.fromCharCode(state.op)}, but no row after it`)
        this.readKey(plan, message, row)
        this.readOldKey(plan, message, row)
        return this.order(plan, value, row) ? Op.incremental : Op.upsert
      case CHAR.d:
        if (plan.reason !== '') fault(plan.reason)
        this.layout.clear(row)
        if (this.options.deletes === 'ignore') return IGNORED
        if (plan.keyIsInValue) {
          if (state.beforeAt < 0) fault('a delete whose key is neither in the message’s key nor in the row before it')
          plan.readBeforeKey?.(value, state.beforeAt, value.length, row)
        }
        this.readKey(plan, message, row)
        this.order(plan, value, row)
        return deleteOf(message)
      case CHAR.t:
        this.layout.clear(row)
        this.order(plan, value, row)
        return Op.truncate
      case CHAR.m:
        this.layout.clear(row)
        return IGNORED
      default:
        return fault('the event has an operation that is none of c, r, u, d, t, m')
    }
  }

  private readKey(plan: Plan, message: RawMessage, row: number): void {
    if (plan.readKey === null) return
    try {
      readAll(plan.readKey, message.key as Buffer, row)
    } catch (error) {
      throw isFault(error) ? new DecodeFault(`in the key, ${error.message}`, (error as DecodeFault).column) : error
    }
  }

  /** Writes `_seq` where it is proven. Returns whether the row is of an incremental snapshot. */
  private order(plan: Plan, value: Buffer, row: number): boolean {
    const guard = plan.shape?.guard
    if (guard === undefined) return false
    const { sequence } = guard
    if (sequence?.kind === 'lsn') {
      sequence.read(value, plan.state, this.rowSet.sequences, row)
      return false
    }
    const provenance = provenanceOf(value, plan.state, guard.hasOp, guard.hasSnapshot)
    if (sequence !== null && provenance === 'streaming') sequence.read(value, plan.state, this.rowSet.sequences, row)
    return provenance === 'incremental'
  }

  /** The key that a row had before a primary-key update, from the header: Avro, or JSON. */
  private readOldKey(plan: Plan, message: RawMessage, row: number): void {
    if (message.headers === undefined || message.headers[OLD_KEY_HEADER] === undefined) return
    const bytes = headerBytes(message, OLD_KEY_HEADER)
    if (bytes === null) return
    if (this.oldKeyVersion !== this.layout.version) {
      this.oldKeyReaders = new Map()
      this.oldKeyVersion = this.layout.version
    }
    const avroId = schemaIdOf(bytes)
    let from = plan
    let payload = bytes
    if (avroId > 0) {
      const schema = this.schemas.get(avroId) ?? fault(`the old key in the header has the unknown schema id ${avroId}`)
      if (avroId !== plan.key?.schemaId) {
        from = new Plan(schema, null, this.layout, this.options, this.placeholder)
      }
    } else {
      if (plan.key === null) return
      const avro = jsonKeyToAvro(plan.key.node, bytes.toString('utf8'))
      payload = Buffer.concat([Buffer.alloc(HEADER_SIZE), avro])
    }
    const cacheId = avroId > 0 ? avroId : (plan.key?.schemaId ?? NULL)
    let reader = this.oldKeyReaders.get(cacheId)
    if (reader === undefined) {
      reader = from.oldKeyReader()
      this.oldKeyReaders.set(cacheId, reader)
    }
    if (reader === null) return
    readAll(reader, payload, row)
    this.layout.oldKeyBuilder().valid[row] = 1
  }

  /** By the option, the record to hand on, or the error that stops the batch. */
  private badRecord(error: unknown, partition: number, message: RawMessage): BadRecord {
    if (!isFault(error)) throw error
    const { topic, onBadRecord } = this.options
    const { offset, key, value } = message
    const column = error instanceof DecodeFault ? error.column : undefined
    const cause = error instanceof DecodeFault ? error.message : 'its values are nested too deeply'
    const reason = column === undefined ? cause : `column ${column}: ${cause}`
    if (onBadRecord === 'fail') {
      throw new KafkaToDeltaError('BAD_RECORD', `${topic}, partition ${partition}, offset ${offset}: ${reason}`, {
        topic,
        partition,
        offset,
        ...(column === undefined ? {} : { column }),
      })
    }
    const raw = onBadRecord === 'collect' ? { key, value } : { key: null, value: null }
    return { topic, partition, offset, reason, ...raw }
  }
}

/** The schema ids of a batch's messages, as pairs of key and value. */
class BatchIds {
  readonly pairs: [number, number][] = []
  /** By message: the index of its pair. */
  readonly pairOf: Uint32Array
  readonly schemas = new Set<number>()
  hasOldKeys = false
  private readonly indexes = new Map<string, number>()
  private last = -1

  constructor(readonly count: number) {
    this.pairOf = new Uint32Array(count)
  }

  set(at: number, keyId: number, valueId: number): void {
    const last = this.pairs[this.last]
    if (last === undefined || last[0] !== keyId || last[1] !== valueId) {
      const name = `${keyId},${valueId}`
      this.last = this.indexes.get(name) ?? this.pairs.push([keyId, valueId]) - 1
      this.indexes.set(name, this.last)
      if (keyId > 0) this.schemas.add(keyId)
      if (valueId > 0) this.schemas.add(valueId)
    }
    this.pairOf[at] = this.last
  }
}

/** A message's own fault, or the stack that its depth used up. */
function isFault(error: unknown): error is Error {
  return error instanceof DecodeFault || (error instanceof RangeError && /call stack/i.test(error.message))
}

/** Reads a message's payload to its end. */
function readAll(read: Reader, bytes: Buffer, row: number): void {
  const end = bytes.length
  const pos = read(bytes, HEADER_SIZE, end, row)
  if (pos !== end) {
    fault(
      pos > end ? 'the message ends before its value does' : `${end - pos} bytes are left over after the last field`,
    )
  }
}

function problemOf(message: RawMessage, keyId: number, valueId: number, unknown: Map<number, string>): string {
  const { key, value } = message
  if (value !== null && valueId === UNUSABLE) return headerProblem(value, 'value')
  if (key !== null && keyId === UNUSABLE) return headerProblem(key, 'key')
  return unknown.get(valueId) ?? unknown.get(keyId) ?? 'the message cannot be decoded'
}

function headerBytes(message: RawMessage, name: string): Buffer | null {
  const header = message.headers?.[name]
  const value = Array.isArray(header) ? header[header.length - 1] : header
  if (value === undefined) return null
  return typeof value === 'string' ? Buffer.from(value) : value
}

/** A key update deletes the old key, whose row goes on under the new one. */
function deleteOf(message: RawMessage): number {
  return message.headers?.[NEW_KEY_HEADER] === undefined ? Op.delete : Op.moved
}
