/** Decodes single messages to rows. */

import type { Reader } from '../avro/reader-compiler.js'
import { DecodeFault, fault } from '../avro/wire.js'
import type { Message } from '../kafka/message.js'
import { isDelete, Op } from './change-batch.js'
import type { LastDeletes } from './last-deletes.js'
import type { TableLayout } from './layout.js'
import { deleteOf, isFault, readAll } from './messages.js'
import type { OldKeys } from './old-keys.js'
import type { DecoderSettings } from './options.js'
import type { Plan } from './plan.js'
import { payloadStart } from './schema-ids.js'
import type { UnkeyedTombstones } from './unkeyed.js'

/** Instead of an op: the message is no change. */
export const IGNORED = -1

export const CHAR = { c: 99, d: 100, m: 109, r: 114, t: 116, u: 117 } as const

const SHARED_TRUNCATE =
  'a truncate of a table that several topics share (shared: true): which rows are of this topic is not known'

export class MessageDecoder {
  readonly #layout: TableLayout
  readonly #options: DecoderSettings
  readonly #lastDeletes: LastDeletes
  readonly #unkeyed: UnkeyedTombstones
  readonly #oldKeys: OldKeys
  /** Whether there are tombstones that are ignored where they follow a delete of their key. */
  ignoresRepeats = false

  constructor(
    layout: TableLayout,
    options: DecoderSettings,
    lastDeletes: LastDeletes,
    unkeyed: UnkeyedTombstones,
    oldKeys: OldKeys,
  ) {
    this.#layout = layout
    this.#options = options
    this.#lastDeletes = lastDeletes
    this.#unkeyed = unkeyed
    this.#oldKeys = oldKeys
  }

  /** Notes what the schemas of a plan tell of the topic's deletes. */
  learn(plan: Plan): void {
    this.#unkeyed.learn(plan)
    this.ignoresRepeats ||= this.#ignoresRepeatsOf(plan)
  }

  /**
   * Whether a tombstone that follows a delete of its key is to be ignored: in a changelog it would be one more row, and where
   * its key is not the table's alone, another row may have that by then. Elsewhere it deletes what the delete did.
   */
  #ignoresRepeatsOf(plan: Plan): boolean {
    return this.#options.mode.rowPerChange || this.#options.shared || !plan.keyIsPrimaryKey
  }

  /** Decodes one message to the row; returns its {@link Op}, or IGNORED with the row untouched. */
  decode(plan: Plan, partition: number, message: Message, row: number): number {
    const follows = plan.kind === 'tombstone' ? this.#lastDeletes.precedes(partition, message.key) : false
    if (follows && this.#ignoresRepeatsOf(plan)) return IGNORED
    // What cannot be decoded is no delete.
    this.#lastDeletes.noteOther(partition)
    const op = this.#decodeKind(plan, message, row, follows)
    if (isDelete(op)) this.#lastDeletes.noteDelete(partition, message)
    return op
  }

  #decodeKind(plan: Plan, message: Message, row: number, follows: boolean | null): number {
    switch (plan.kind) {
      case 'flattened':
        return this.#decodeFlattened(plan, message, row)
      case 'envelope':
        return this.#decodeEnvelope(plan, message, row)
      case 'tombstone':
        if (this.#options.deletes === 'ignore') return IGNORED
        if (plan.reason !== '') {
          this.#unkeyed.check(plan, follows)
          return IGNORED
        }
        this.#leaveUnknown(plan, row)
        this.#readKey(plan, message, row)
        // The delete before it told the new key of an update already: it would be another update. Where rows stay, the delete
        // before it took the row, even if that is not known.
        if (follows === true || (follows === null && this.#options.deletes === 'soft')) return this.#opOfDelete(message)
        return this.#deleteOf(plan, message, row)
      default:
        return IGNORED
    }
  }

  #decodeFlattened(plan: Plan, message: Message, row: number): number {
    const { state } = plan
    const { valueBytes, valueEnd } = message
    state.reset()
    try {
      readAll(plan.readValue as Reader, valueBytes, plan.recordStart(message), valueEnd, row)
    } catch (error) {
      // Of a deleted row only the key counts: its other values may be made up.
      if (!isFault(error)) throw error
      this.#layout.clear(row)
      state.reset()
      readAll(plan.readDelete, valueBytes, plan.recordStart(message), valueEnd, row)
      if (state.deleted === 0 && state.op !== CHAR.d) throw error
    }
    plan.bareKey?.check(message, plan.recordStart(message))
    if (state.deleted === 0 && state.op !== CHAR.d) {
      this.#readKey(plan, message, row)
      this.#oldKeys.read(plan, message, row)
      return Op.upsert
    }
    if (this.#options.deletes === 'ignore') {
      this.#layout.clear(row)
      return IGNORED
    }
    if (!this.#options.mode.rowPerChange) this.#leaveUnknown(plan, row)
    this.#readKey(plan, message, row)
    return this.#deleteOf(plan, message, row)
  }

  /** The op of a delete. That of an updated key tells the new one, too. */
  #deleteOf(plan: Plan, message: Message, row: number): number {
    this.#oldKeys.readNew(plan, message, row)
    return this.#opOfDelete(message)
  }

  #opOfDelete(message: Message): number {
    return deleteOf(message, this.#options.deletes === 'soft')
  }

  /** Of a delete: nothing else counts than its key, and where its row stays, what the change says of itself. */
  #leaveUnknown(plan: Plan, row: number): void {
    const soft = this.#options.deletes === 'soft'
    for (const column of plan.unknownToDelete) {
      column.clear(row)
      if (soft) column.leave(row)
    }
  }

  #decodeEnvelope(plan: Plan, message: Message, row: number): number {
    const { state } = plan
    state.reset()
    readAll(plan.readValue as Reader, message.valueBytes, plan.recordStart(message), message.valueEnd, row)
    switch (state.op) {
      case CHAR.c:
      case CHAR.r:
      case CHAR.u:
        if (plan.reason !== '') fault(plan.reason)
        if (state.afterAt < 0)
          fault(`the event has the operation ${String.fromCharCode(state.op)}, but no row after it`)
        plan.bareKey?.check(message, state.afterAt)
        this.#readKey(plan, message, row)
        this.#oldKeys.read(plan, message, row)
        return Op.upsert
      case CHAR.d:
        if (plan.reason !== '') fault(plan.reason)
        if (this.#options.deletes === 'ignore') {
          this.#layout.clear(row)
          return IGNORED
        }
        if (plan.keyIsInValue && state.beforeAt < 0) {
          fault('a delete whose key is neither in the message’s key nor in the row before it')
        }
        this.#deleteBefore(plan, message, row)
        return this.#deleteOf(plan, message, row)
      case CHAR.t:
        this.#layout.clear(row)
        if (this.#options.deletes === 'ignore') return IGNORED
        if (this.#options.shared) fault(SHARED_TRUNCATE)
        return Op.truncate
      case CHAR.m:
        this.#layout.clear(row)
        return IGNORED
      default:
        return fault('the event has an operation that is none of c, r, u, d, t, m')
    }
  }

  /** The row, which holds what the event says of itself, becomes the delete of the row before. */
  #deleteBefore(plan: Plan, message: Message, row: number): void {
    const { valueBytes, valueEnd } = message
    this.#leaveUnknown(plan, row)
    for (const column of plan.keyColumns) column.clear(row)
    if (plan.readBefore !== null && plan.state.beforeAt >= 0) {
      plan.readBefore(valueBytes, plan.state.beforeAt, valueEnd, row)
    } else if (plan.keyIsInValue) plan.readBeforeKey?.(valueBytes, plan.state.beforeAt, valueEnd, row)
    this.#readKey(plan, message, row)
  }

  /**
   * An update of key columns that are not in the message's key: the connector does not know that the key changed, and
   * sends no delete of the old one. Returns the op of that delete, made at `row + 1`; IGNORED where the key is the same.
   */
  splitUpdate(plan: Plan, message: Message, row: number, op: number): number {
    const { state, movedKey } = plan
    const { keyBytes, keyEnd, valueBytes, valueEnd } = message
    if (movedKey === null || isDelete(op) || state.op !== CHAR.u || state.beforeAt < 0) return IGNORED
    const { before, after, readOldKey, readOldKeyOfKey } = movedKey
    const spans = after.find(valueBytes, state.afterAt, valueEnd)
    if (before.find(valueBytes, state.beforeAt, valueEnd).equals(spans, valueBytes)) return IGNORED
    readOldKey(valueBytes, state.beforeAt, valueEnd, row)
    if (readOldKeyOfKey !== null) readAll(readOldKeyOfKey, keyBytes, payloadStart(message, 'key'), keyEnd, row)
    this.#layout.oldKeyBuilder().valid[row] = 1
    const { deletes } = this.#options
    if (deletes === 'ignore') return IGNORED
    readAll(plan.readValue as Reader, valueBytes, plan.recordStart(message), valueEnd, row + 1)
    this.#deleteBefore(plan, message, row + 1)
    return deletes === 'soft' ? Op.softMoved : Op.moved
  }

  #readKey(plan: Plan, message: Message, row: number): void {
    if (plan.readKey === null) return
    try {
      readAll(plan.readKey, message.keyBytes, payloadStart(message, 'key'), message.keyEnd, row)
    } catch (error) {
      throw isFault(error) ? new DecodeFault(`in the key, ${error.message}`, (error as DecodeFault).column) : error
    }
  }
}
