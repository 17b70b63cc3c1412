/** Records that could not be applied, with all that is needed to find, mend and send them again. */

import { guidOf } from '../avro/wire.js'
import type { BadRecord } from '../debezium/change-batch.js'
import { messageSchemaId } from '../debezium/schema-ids.js'
import { type ErrorCode, KafkaToDeltaError } from '../errors.js'
import type { Message } from '../kafka/message.js'
import type { MicroBatch } from '../kafka/micro-batch.js'

/** One header of a message. Names may come more than once. */
export interface DeadLetterHeader {
  name: string
  value: Buffer | null
}

export interface DeadLetter {
  /** Where the record is: topic, partition, offset (decimal text). */
  topic: string
  partition: number
  offset: string
  /** The record's own time, milliseconds since 1970 as decimal text; null where it has none. */
  timestamp: string | null
  /** The bytes as they came. */
  key: Buffer | null
  value: Buffer | null
  headers: DeadLetterHeader[]
  /** What is wrong with it. */
  reason: string
  code: ErrorCode
  queryName: string
  /** The ids in the header of Confluent's format, where there is one. */
  keySchemaId: number | null
  valueSchemaId: number | null
}

/** Where the dead letters of a table go. */
export interface DeadLetterSink {
  /** For people: a path, or `topic <name>`. Without secrets. */
  readonly target: string
  /** Looks whether letters can be written at all, as far as that is known before there is one. `signal` ends the look. */
  check(signal?: AbortSignal): Promise<void>
  /**
   * Writes the letters of a batch; resolves when they are stored for good. May be called again with letters that were
   * written before: each is stored once.
   *
   * @param signal ends the waiting for a system that does not answer, some seconds after it was aborted
   * @throws STORAGE, COMMIT_CONFLICT, KAFKA_UNREACHABLE, which may be tried again; FENCED where another process
   *   with the same query writes them; others
   */
  write(letters: readonly DeadLetter[], signal?: AbortSignal): Promise<void>
  /** Lets go of what {@link write} opened. */
  close(): Promise<void>
}

/**
 * Takes the bad records of a batch out of its messages, in the batch's order. They keep no more of the batch than their own
 * bytes.
 */
export function collectDeadLetters(
  batch: MicroBatch,
  badRecords: readonly BadRecord[],
  queryName: string,
): DeadLetter[] {
  if (badRecords.length === 0) return []
  const reasons = new Map<string, string>()
  for (const { partition, offset, reason } of badRecords) reasons.set(`${partition}:${offset}`, reason)
  const letters: DeadLetter[] = []
  for (const { partition, messages } of batch.ranges) {
    for (const message of messages) {
      const { offset, key, value } = message
      const reason = reasons.get(`${partition}:${offset}`)
      if (reason === undefined) continue
      letters.push({
        topic: batch.topic,
        partition,
        offset,
        timestamp: timeOf(message),
        key: copyOf(key),
        value: copyOf(value),
        headers: headersOf(message),
        reason,
        code: 'BAD_RECORD',
        queryName,
        keySchemaId: schemaIdIn(message, 'key'),
        valueSchemaId: schemaIdIn(message, 'value'),
      })
    }
  }
  if (letters.length !== reasons.size) {
    throw new KafkaToDeltaError('INTERNAL', 'a bad record is not in the batch that it came from', {
      topic: batch.topic,
    })
  }
  return letters
}

function copyOf(bytes: Buffer | null): Buffer | null {
  if (bytes === null) return null
  const copy = Buffer.allocUnsafeSlow(bytes.length)
  bytes.copy(copy)
  return copy
}

function timeOf({ timestamp }: Message): string | null {
  // -1: the message has no time.
  return /^\d+$/.test(timestamp) ? timestamp : null
}

/** A GUID is no id: it stays in the letter's headers, or before its payload. */
function schemaIdIn(message: Message, part: 'key' | 'value'): number | null {
  const id = message[part] === null ? -1 : messageSchemaId(message, part)
  return id >= 0 && guidOf(id) === null ? id : null
}

function headersOf({ headers }: Message): DeadLetterHeader[] {
  return Object.entries(headers).flatMap(([name, given]) =>
    (Array.isArray(given) ? given : [given]).map((value) => ({ name, value: copyOf(value) })),
  )
}

const LETTER_OVERHEAD = 200

/** Bytes that a letter takes, about. */
export function letterBytes({ key, value, headers, reason }: DeadLetter): number {
  let bytes = LETTER_OVERHEAD + (key?.length ?? 0) + (value?.length ?? 0) + reason.length
  for (const header of headers) bytes += header.name.length + (header.value?.length ?? 0)
  return bytes
}

/** Cuts letters, in their order, into groups of at most so many letters and bytes; a larger one is alone. */
export function* inGroups(
  letters: readonly DeadLetter[],
  maxLetters: number,
  maxBytes: number,
): Generator<DeadLetter[]> {
  let group: DeadLetter[] = []
  let held = 0
  for (const letter of letters) {
    const bytes = letterBytes(letter)
    if (group.length > 0 && (group.length >= maxLetters || held + bytes > maxBytes)) {
      yield group
      group = []
      held = 0
    }
    group.push(letter)
    held += bytes
  }
  if (group.length > 0) yield group
}
