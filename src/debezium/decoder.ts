/** Turns the raw messages of one table into a change batch. */

import { deltaTypeName } from '../arrow/types.js'
import { Placeholder } from '../avro/placeholder.js'
import { type AvroNode, type AvroSchemaJson, parseAvroSchema } from '../avro/schema.js'
import { DecodeFault, fault, schemaName, schemaPosition } from '../avro/wire.js'
import { asKafkaToDeltaError, KafkaToDeltaError } from '../errors.js'
import { interleave, type Run } from '../kafka/interleave.js'
import { Message } from '../kafka/message.js'
import { type GivenBatch, inColumns, type MicroBatch, type OffsetRange } from '../kafka/micro-batch.js'
import type { SchemaSource } from '../registry/schema-source.js'
import { Turns } from '../waits.js'
import { type BadRecord, type ChangeBatch, isDelete, Op } from './change-batch.js'
import { Notes, noteUnknownNames } from './ignored.js'
import { KeyUpdates } from './key-updates.js'
import { LastDeletes } from './last-deletes.js'
import { TableLayout } from './layout.js'
import { CHAR, IGNORED, MessageDecoder } from './message-decoder.js'
import {
  type BatchIds,
  isFault,
  NULL_PART,
  problemOf,
  readHeaders,
  timeOf,
  UNUSABLE_PART,
  withNullValues,
} from './messages.js'
import { isMessagePath, MessageColumns, parseMetadataColumns } from './metadata.js'
import { OldKeys } from './old-keys.js'
import { type DecodeOptions, type DecoderSettings, decoderSettings, orderedTopic } from './options.js'
import { type EpochHash, epochOfTimes, isStreamed } from './order.js'
import { Plan, type PlanContext, type SchemaOf } from './plan.js'
import { RowSet } from './row-set.js'
import { Tombstones } from './tombstones.js'
import { UnkeyedTombstones } from './unkeyed.js'

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

/** A way through the messages of a batch. */
interface Pass {
  batch: MicroBatch
  ids: BatchIds
  /** Ids that the registry does not know, with the reason. */
  unknown: Map<number, string>
  /** Each text is looked at by itself. */
  isStrict: boolean
}

interface PassState extends Pass {
  /** By pair of schema ids. */
  plansOf: (Plan | null)[]
  isOrdered: boolean
  badRecords: BadRecord[]
  numIgnored: number
}

/** After so many milliseconds without a batch, the columns' memory is given up. */
const IDLE_MS = 250

/** Messages that are decoded between two looks at the clock. */
const CHUNK = 256

/** The character of `op` for the column `operation`: of deletes always known. */
function operationOf(plan: Plan, op: number): number {
  return isDelete(op) ? CHAR.d : plan.state.op
}

/**
 * Decodes the messages of one topic. It remembers the table's columns, so that a batch has every column seen before.
 * Calls may overlap: they look up schemas side by side, and fill the columns one after another. A long one lets others have
 * their turn in between.
 */
export class TableDecoder {
  /** Told what the columns hold in memory, whenever that has changed. */
  onHeld: (bytes: number) => void = () => {}
  readonly #options: DecoderSettings
  readonly #layout: TableLayout
  readonly #context: PlanContext
  readonly #messageColumns: MessageColumns
  readonly #notes = new Notes()
  readonly #schemas = new Map<number, SchemaOf>()
  readonly #plans = new Map<number, Map<number, Plan>>()
  readonly #rowSet = new RowSet()
  readonly #tombstones = new Tombstones()
  readonly #lastDeletes = new LastDeletes()
  readonly #unkeyed: UnkeyedTombstones
  readonly #messages: MessageDecoder
  /** In a table that topics share, the epoch of timestamps of this one; null where timestamps compare. */
  readonly #timeEpoch: EpochHash | null
  #numCalls = 0
  #idle: NodeJS.Timeout | undefined
  /** Settles when no call has the columns any more. */
  #lastTurn: Promise<void> = Promise.resolve()
  readonly #source: SchemaSource
  readonly #keyUpdates: KeyUpdates
  /** The one that is being decoded. */

  constructor(options: DecodeOptions, source: SchemaSource, keyUpdates = new KeyUpdates(source)) {
    this.#source = source
    this.#keyUpdates = keyUpdates
    this.#options = decoderSettings(options)
    const topic = orderedTopic(this.#options)
    this.#timeEpoch = topic === null ? null : epochOfTimes(topic)
    this.#layout = new TableLayout(this.#options)
    const placeholder = new Placeholder(this.#options.unavailableValuePlaceholder)
    const metadata = parseMetadataColumns(this.#options)
    this.#messageColumns = new MessageColumns(metadata, this.#layout, this.#options)
    this.#unkeyed = new UnkeyedTombstones(options.topic, this.#notes)
    const oldKeys = new OldKeys(this.#layout, this.#plans, this.#options, this.#notes)
    this.#messages = new MessageDecoder(this.#layout, this.#options, this.#lastDeletes, this.#unkeyed, oldKeys)
    this.#context = {
      layout: this.#layout,
      options: this.#options,
      placeholder,
      metadata,
      messageColumns: this.#messageColumns,
    }
  }

  /** The key and columns; null before the first batch that has any. */
  describe(): TableDescription | null {
    const { primaryKey, columns } = this.#layout
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
  async decode(given: GivenBatch): Promise<ChangeBatch> {
    const columns = inColumns(given)
    const ids = readHeaders(columns, this.#options)
    const unknown = await this.#loadSchemas(ids)
    const batch = withNullValues(columns, ids, this.#schemas)
    if (batch.numPartitions > 1) await this.#keyUpdates.load(ids.pairs.map(([keyId]) => keyId))
    return this.#inTurn(async () => {
      this.#makePlans(ids, unknown)
      const pass = (isStrict: boolean) => this.#decodeRows({ batch, ids, unknown, isStrict })
      // A text that is not UTF-8 is found when the columns are complete. Only then is the row worth searching for.
      const result = (await pass(false)) ?? (await pass(true))
      if (result === null) throw new KafkaToDeltaError('INTERNAL', 'a text that is not UTF-8 was not found again')
      return result
    })
  }

  /** Gives up the columns' memory, unless a call has them. They keep it for the next batch; an idle table keeps none. */
  release(): void {
    if (this.#numCalls > 0) return
    this.#layout.release()
    this.#rowSet.release()
    this.onHeld(0)
  }

  /** The columns belong to one call at a time. */
  async #inTurn<T>(work: () => Promise<T>): Promise<T> {
    this.#numCalls++
    clearTimeout(this.#idle)
    const turn = this.#lastTurn.then(work).finally(() => {
      this.#numCalls--
      this.onHeld(this.#layout.heldBytes + this.#rowSet.heldBytes)
      this.#idle = setTimeout(() => this.release(), IDLE_MS)
      this.#idle.unref()
    })
    this.#lastTurn = turn.then(
      () => {},
      () => {},
    )
    return turn
  }

  /** Looks the schemas up. Those that the registry does not know are returned, with the reason. */
  async #loadSchemas(ids: BatchIds): Promise<Map<number, string>> {
    const unknown = new Map<number, string>()
    await Promise.all(
      [...ids.schemas].map(async (id) => {
        if (this.#schemas.has(id)) return
        let json: AvroSchemaJson
        try {
          json = await this.#source.get(id)
        } catch (error) {
          if (error instanceof KafkaToDeltaError && error.code === 'BAD_RECORD') {
            unknown.set(id, error.message)
            return
          }
          throw asKafkaToDeltaError(error, 'REGISTRY_UNREACHABLE', {
            topic: this.#options.topic,
            ...schemaPosition(id),
          })
        }
        this.#schemas.set(id, { id, node: this.#parse(json, id) })
      }),
    )
    return unknown
  }

  #parse(json: AvroSchemaJson, id: number): AvroNode {
    try {
      return parseAvroSchema(json)
    } catch (error) {
      const { message } = error as Error
      throw new KafkaToDeltaError('SCHEMA_UNSUPPORTED', `schema ${schemaName(id)}: ${message}`, {
        topic: this.#options.topic,
        ...schemaPosition(id),
        cause: error,
      })
    }
  }

  #makePlans(ids: BatchIds, unknown: Map<number, string>): void {
    const pairs = [...ids.pairs, ...[...ids.otherKeySchemas].map((id) => [id, NULL_PART] as const)]
    for (const [keyId, valueId] of pairs) {
      if (keyId === UNUSABLE_PART || valueId === UNUSABLE_PART || unknown.has(keyId) || unknown.has(valueId)) continue
      const known = this.#plans.get(keyId)
      if (known?.has(valueId)) continue
      const schemaOf = (id: number) => (id === NULL_PART ? null : (this.#schemas.get(id) ?? null))
      const plan = new Plan(schemaOf(keyId), schemaOf(valueId), this.#context)
      this.#note(plan)
      this.#messages.learn(plan)
      if (known === undefined) this.#plans.set(keyId, new Map([[valueId, plan]]))
      else known.set(valueId, plan)
    }
    if (this.#layout.fields.size > 0) noteUnknownNames(this.#options, this.#layout.fields, this.#notes)
  }

  #note(plan: Plan): void {
    const { topic } = this.#options
    if (plan.ownTopic !== null) {
      this.#notes.add(`${topic} holds ${plan.ownTopic}, which change no row: they are ignored`)
    }
    const ofEvents = this.#context.metadata.filter(({ path }) => !isMessagePath(path))
    if (plan.kind === 'flattened' && ofEvents.length > 0) {
      const names = ofEvents.map(({ path }) => path).join(', ')
      this.#notes.add(
        `${topic}: metadataColumns names ${names}, but the values are flattened: name them in the connector's add.fields`,
      )
    }
  }

  /** Null where a text is not UTF-8, unless the pass is strict: then the rows are bad records. */
  async #decodeRows({ batch, ids, unknown, isStrict }: Pass): Promise<ChangeBatch | null> {
    const rowSet = this.#rowSet
    const state = this.#begin(batch, ids, unknown, isStrict)
    const turns = new Turns()
    for (const { range, from, to } of this.#runs(batch)) {
      for (let at = from; at < to; at += CHUNK) {
        this.#decodeChunk(state, range, at, Math.min(to, at + CHUNK))
        if (turns.isLong) await turns.next()
      }
    }
    const { mode } = this.#options
    const ofTheChange = mode.equalsSource ? [] : this.#layout.columnsOfTheChange()
    const ipc = rowSet.rows === 0 ? null : await rowSet.finish(this.#layout, ofTheChange, turns)
    if (ipc === null && rowSet.rows > 0) return null
    this.#tombstones.end(rowSet.sequences)
    const lastDeletes = this.#lastDeletes.end(batch.ranges)
    this.#unkeyed.end()
    const primaryKey = [...(this.#layout.primaryKey ?? [])]
    // What a truncate holds back in other partitions is kept in the table.
    const holdsBack = rowSet.hasTruncates && batch.numPartitions > 1 && primaryKey.length > 0
    const onlyRemoves = !rowSet.hasUpserts && !holdsBack && !mode.rowPerChange
    const { numIgnored, badRecords } = state
    const notes = this.#notes.take()
    const changes = { ipc, numRows: rowSet.rows, onlyRemoves, primaryKey, numIgnored, badRecords, notes }
    // What the table knows of a delete stays known while no message comes that tells whether that counts.
    const isKept = this.#messages.ignoresRepeats || batch.ranges.some(({ afterDelete }) => afterDelete !== undefined)
    return isKept ? { ...changes, lastDeletes } : changes
  }

  /** Makes the columns ready for the rows of a batch. */
  #begin(batch: MicroBatch, ids: BatchIds, unknown: Map<number, string>, isStrict: boolean): PassState {
    const layout = this.#layout
    for (const [keyId, valueId] of ids.pairs) this.#plans.get(keyId)?.get(valueId)?.prepare()
    const plansOf = ids.pairs.map(([keyId, valueId]) => this.#plans.get(keyId)?.get(valueId) ?? null)
    const splits = plansOf.some((plan) => plan?.movedKey != null)
    if ((ids.hasOtherKeys || splits) && layout.primaryKey !== null) layout.oldKeyBuilder()
    // An update of a key that the connector does not know of becomes two rows.
    const capacity = splits ? 2 * ids.count : ids.count
    layout.reset(capacity)
    this.#messageColumns.prepare(batch.topic)
    const { orderGuard, mode } = this.#options
    const isOrdered = orderGuard === 'auto' && (batch.numPartitions > 1 || !mode.equalsSource)
    this.#rowSet.reset(capacity, isOrdered ? batch.numPartitions : null, mode.needsTime)
    this.#tombstones.begin()
    this.#lastDeletes.begin(batch.ranges)
    this.#unkeyed.begin()
    return { batch, ids, unknown, isStrict, plansOf, isOrdered, badRecords: [], numIgnored: 0 }
  }

  /** Decodes messages of a range, `from` to `to` (exclusive). */
  #decodeChunk(state: PassState, rangeAt: number, from: number, to: number): void {
    const { batch, ids, plansOf } = state
    const { partition, messages } = batch.ranges[rangeAt] as OffsetRange
    const first = ids.firsts[rangeAt] as number
    // Not for longer than the batch: it keeps all that it stands in.
    const message = new Message()
    for (let at = from; at < to; at++) {
      message.moveTo(messages, at)
      const pair = ids.pairOf[first + at] as number
      const plan = plansOf[pair] ?? null
      const row = this.#rowSet.rows
      try {
        if (plan === null || plan.kind === 'bad') {
          const [keyId, valueId] = ids.pairs[pair] as [number, number]
          fault(plan?.reason ?? problemOf(message, keyId, valueId, state.unknown, this.#options))
        }
        if (!this.#decodeSurely(state, plan, partition, message, row)) state.numIgnored++
      } catch (error) {
        const bad = this.#badRecord(error, partition, message)
        this.#clear(plan, row)
        state.badRecords.push(bad)
      }
    }
  }

  /** Clears what was read of a message. */
  #clear(plan: Plan | null, row: number): void {
    if (plan?.movedKey == null) this.#layout.clear(row)
    else this.#layout.truncate(row, row + 2)
    this.#rowSet.sequences.clear(row)
    this.#rowSet.sequences.clear(row + 1)
  }

  /**
   * As {@link #decodeChange}. What is wrong with a message is told by its own bytes: beyond the end of one that is cut off, its
   * neighbour would be read, and be blamed.
   */
  #decodeSurely(state: PassState, plan: Plan, partition: number, message: Message, row: number): boolean {
    try {
      return this.#decodeChange(state, plan, partition, message, row)
    } catch (error) {
      if (!isFault(error)) throw error
      this.#clear(plan, row)
      return this.#decodeChange(state, plan, partition, message.apart(), row)
    }
  }

  /** Decodes a message to one row, or two. False where it is no change. */
  #decodeChange(state: PassState, plan: Plan, partition: number, message: Message, row: number): boolean {
    const { isStrict, isOrdered } = state
    const layout = this.#layout
    const rowSet = this.#rowSet
    if (isStrict) layout.mark()
    const op = this.#messages.decode(plan, partition, message, row)
    if (op === IGNORED) return false
    const movedOp = plan.movedKey === null ? IGNORED : this.#messages.splitUpdate(plan, message, row, op)
    const rows = movedOp === IGNORED ? 1 : 2
    const broken = isStrict ? layout.brokenTextSinceMark(row, row + rows) : null
    if (broken !== null) fault('a text is not valid UTF-8', broken)
    if (isOrdered) this.#writeOrder(plan, partition, message, row, rows, isDelete(op))
    this.#writeMessageColumns(row, op, partition, message, operationOf(plan, op))
    if (rows === 2) this.#writeMessageColumns(row + 1, movedOp, partition, message, CHAR.d)
    if (rowSet.wantsTimes) {
      const time = timeOf(plan.kind === 'tombstone' ? null : plan.state, message)
      rowSet.setTime(row, time)
      if (rows === 2) rowSet.setTime(row + 1, time)
    }
    rowSet.add(op, partition)
    if (rows === 2) rowSet.add(movedOp, partition)
    return true
  }

  /** Of changes that are rows, or whose row stays. */
  #writeMessageColumns(row: number, op: number, partition: number, message: Message, operation: number): void {
    const { rowPerChange } = this.#options.mode
    if (!rowPerChange && (op === Op.delete || op === Op.moved || op === Op.truncate)) return
    this.#messageColumns.write(row, partition, message, operation, isDelete(op))
  }

  /** The order in which the messages are applied. */
  #runs({ ranges }: MicroBatch): Run[] {
    if (this.#options.orderGuard === 'auto') return interleave(ranges, this.#keyUpdates.pairMemberOf)
    return ranges.map(({ messages }, range) => ({ range, from: 0, to: messages.length }))
  }

  /** Writes where the change stands among those of other partitions. */
  #writeOrder(plan: Plan, partition: number, message: Message, row: number, rows: number, isDeleted: boolean): void {
    const { sequences } = this.#rowSet
    const epoch = this.#timeEpoch
    if (epoch === null) sequences.setTimestamp(row, message.time)
    if (plan.kind === 'tombstone') this.#tombstones.copyOrder(partition, message, row, sequences)
    else {
      const { state, shape } = plan
      const { valueBytes } = message
      const isProven = shape !== null && isStreamed(valueBytes, state, shape.guard.hasOp, shape.guard.hasSnapshot)
      if (isProven) shape.guard.sequence?.read(valueBytes, state, sequences, row)
    }
    // A sequence tells of repeats in histories, which a timestamp does not.
    if (epoch !== null && this.#options.mode.equalsSource) {
      sequences.setTimeAsSequence(row, message.time, epoch)
    }
    if (rows === 2) sequences.copy(row, row + 1)
    this.#tombstones.follow(partition, message, row, isDeleted)
  }

  /** By the option, the record to hand on, or the error that stops the batch. */
  #badRecord(error: unknown, partition: number, message: Message): BadRecord {
    if (!isFault(error)) throw error
    const { topic, onBadRecord } = this.#options
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
