/** A batch's messages before they are decoded: their schema ids, their headers, and what is wrong with them. */

import type { Reader } from '../avro/reader-compiler.js'
import { type AvroNode, branchOf } from '../avro/schema.js'
import { DecodeFault, fault, headerProblem, schemaIdOf } from '../avro/wire.js'
import { Message } from '../kafka/message.js'
import type { MicroBatch } from '../kafka/micro-batch.js'
import { Op } from './change-batch.js'
import { NEW_KEY_HEADER, OLD_KEY_HEADER } from './header-keys.js'
import type { DecoderSettings } from './options.js'
import { NUMBERS, type RowState } from './row-state.js'
import { idProblem, messageSchemaId, payloadStart } from './schema-ids.js'

/** The id of a message part that is null. */
export const NULL_PART = -1
/** The id of a part without a usable header. */
export const UNUSABLE_PART = -2

/** The schema ids of a batch's messages, as pairs of key and value. */
export class BatchIds {
  readonly pairs: [number, number][] = []
  /** By message: the index of its pair. */
  readonly pairOf: Uint32Array
  /** By range: the index of its first message. */
  readonly firsts: number[] = []
  readonly schemas = new Set<number>()
  /** Whether there are halves of key updates. */
  hasOtherKeys = false
  /** Ids of key schemas in their headers. */
  readonly otherKeySchemas = new Set<number>()
  readonly #indexes = new Map<string, number>()
  #last = -1
  readonly count: number

  constructor(count: number) {
    this.count = count
    this.pairOf = new Uint32Array(count)
  }

  set(at: number, keyId: number, valueId: number): void {
    const last = this.pairs[this.#last]
    if (last === undefined || last[0] !== keyId || last[1] !== valueId) {
      const name = `${keyId},${valueId}`
      this.#last = this.#indexes.get(name) ?? this.pairs.push([keyId, valueId]) - 1
      this.#indexes.set(name, this.#last)
      if (keyId >= 0) this.schemas.add(keyId)
      if (valueId >= 0) this.schemas.add(valueId)
    }
    this.pairOf[at] = this.#last
  }
}

type HeaderOptions = Pick<DecoderSettings, 'primaryKey' | 'maxMessageBytes'>

const isTooLarge = ({ size }: Message, { maxMessageBytes }: HeaderOptions): boolean => size > maxMessageBytes

/** Reads the schema ids of a batch's messages. */
export function readHeaders(batch: MicroBatch, options: HeaderOptions): BatchIds {
  let count = 0
  for (const range of batch.ranges) count += range.messages.length
  const ids = new BatchIds(count)
  let at = 0
  const message = new Message()
  for (const { messages } of batch.ranges) {
    ids.firsts.push(at)
    for (let i = 0; i < messages.length; i++) {
      const { hasKey, hasValue } = message.moveTo(messages, i)
      let keyId = hasKey ? messageSchemaId(message, 'key') : NULL_PART
      // A key that is not Avro does no harm where the option names key columns that the value has.
      if (keyId === -1 && hasKey) keyId = options.primaryKey === undefined ? UNUSABLE_PART : NULL_PART
      let valueId = hasValue ? messageSchemaId(message, 'value') : NULL_PART
      if (valueId === -1 && hasValue) valueId = UNUSABLE_PART
      if (isTooLarge(message, options)) {
        keyId = UNUSABLE_PART
        valueId = UNUSABLE_PART
      }
      ids.set(at++, keyId, valueId)
      const otherKey = message.hasHeaders
        ? (message.header(OLD_KEY_HEADER) ?? message.header(NEW_KEY_HEADER))
        : undefined
      if (otherKey !== undefined) {
        ids.hasOtherKeys = true
        const id = otherKey === null ? -1 : schemaIdOf(otherKey)
        if (id >= 0) {
          ids.schemas.add(id)
          ids.otherKeySchemas.add(id)
        }
      }
    }
  }
  return ids
}

/**
 * The batch with null in place of values that are null in a union: such a value is a tombstone like any other, and its pair
 * becomes that of one.
 */
export function withNullValues(
  batch: MicroBatch,
  ids: BatchIds,
  schemas: ReadonlyMap<number, { node: AvroNode }>,
): MicroBatch {
  const nulls = ids.pairs.map(([, valueId]) => {
    const schema = schemas.get(valueId)
    return schema === undefined ? -1 : branchOf(schema.node, 'null')
  })
  if (nulls.every((branch) => branch < 0)) return batch
  const message = new Message()
  const ranges = batch.ranges.map((range, i) => {
    const first = ids.firsts[i] as number
    const messages = range.messages.withNulls((index) => {
      const at = first + index
      const branch = nulls[ids.pairOf[at] as number] as number
      if (branch < 0) return false
      const start = payloadStart(message.moveTo(range.messages, index), 'value')
      if (message.valueEnd !== start + 1 || message.valueBytes[start] !== 2 * branch) return false
      const [keyId] = ids.pairs[ids.pairOf[at] as number] as [number, number]
      ids.set(at, keyId, NULL_PART)
      return true
    })
    return { ...range, messages }
  })
  return { ...batch, ranges }
}

/** A message's own fault, or the stack that its depth used up. */
export function isFault(error: unknown): error is Error {
  return error instanceof DecodeFault || (error instanceof RangeError && /call stack/i.test(error.message))
}

/** Reads a payload, from `start` to `end`. */
export function readAll(read: Reader, bytes: Buffer, start: number, end: number, row: number): void {
  const pos = read(bytes, start, end, row)
  if (pos !== end) {
    fault(
      pos > end ? 'the message ends before its value does' : `${end - pos} bytes are left over after the last field`,
    )
  }
}

export function problemOf(
  message: Message,
  keyId: number,
  valueId: number,
  unknown: Map<number, string>,
  options: HeaderOptions,
): string {
  const { key, value } = message
  if (isTooLarge(message, options)) {
    return `its ${message.size} bytes are more than a message may have, which are ${options.maxMessageBytes}: an eighth of limits.maxMemory`
  }
  if (value !== null && valueId === UNUSABLE_PART) return idProblem(message, 'value')
  if (key !== null && keyId === UNUSABLE_PART) return idProblem(message, 'key')
  for (const [id, bytes, part] of [
    [valueId, value, 'value'],
    [keyId, key, 'key'],
  ] as const) {
    // An 8-byte id of Apicurio's looks like the id 0.
    if (id === 0 && bytes !== null && unknown.has(0)) return `${unknown.get(0)}; or ${headerProblem(bytes, part)}`
  }
  return unknown.get(valueId) ?? unknown.get(keyId) ?? 'the message cannot be decoded'
}

/** A key update deletes the old key, whose row goes on under the new one. */
export function deleteOf(message: Message, soft: boolean): number {
  const moved = message.hasHeaders && message.header(NEW_KEY_HEADER) !== undefined
  return soft ? (moved ? Op.softMoved : Op.softDelete) : moved ? Op.moved : Op.delete
}

const TS_MS = NUMBERS.indexOf('ts_ms')

/** Milliseconds beyond which a time is none. */
const MAX_TIME = 1e15

/** When the source made the change, else when Kafka took it, in microseconds since 1970; null where neither is known. */
export function timeOf(state: RowState | null, { time }: Message): bigint | null {
  if (state?.hasNumber[TS_MS] === 1) {
    const low = BigInt((state.numberLow[TS_MS] as number) >>> 0)
    return ((BigInt(state.numberHigh[TS_MS] as number) << 32n) | low) * 1000n
  }
  return time >= 0 && time < MAX_TIME ? BigInt(time) * 1000n : null
}
