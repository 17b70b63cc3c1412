/** The other keys of the halves of key updates, from the headers that Debezium adds. */

import type { Reader } from '../avro/reader-compiler.js'
import { DecodeFault, fault, prefixSize, schemaIdOf, schemaName } from '../avro/wire.js'
import type { Message } from '../kafka/message.js'
import { NEW_KEY_HEADER, OLD_KEY_HEADER, textKeyToAvro } from './header-keys.js'
import type { Notes } from './ignored.js'
import type { TableLayout } from './layout.js'
import { isFault, NULL_PART, readAll } from './messages.js'
import type { DecoderSettings } from './options.js'
import type { Plan } from './plan.js'

const REMEDY =
  'set header.converter=org.apache.kafka.connect.json.JsonConverter, or io.confluent.connect.avro.AvroConverter, in the ' +
  'connector'

export class OldKeys {
  /** By schema id; null where such keys do not give all key columns. */
  #readers = new Map<number, Reader | null>()
  #version = -1
  readonly #layout: TableLayout
  readonly #plans: ReadonlyMap<number, ReadonlyMap<number, Plan>>
  readonly #options: DecoderSettings
  readonly #notes: Notes

  constructor(
    layout: TableLayout,
    plans: ReadonlyMap<number, ReadonlyMap<number, Plan>>,
    options: DecoderSettings,
    notes: Notes,
  ) {
    this.#layout = layout
    this.#plans = plans
    this.#options = options
    this.#notes = notes
  }

  /** Reads the key that a delete's row has from now on. Where that cannot be read, the update is told by its old key alone. */
  readNew(plan: Plan, message: Message, row: number): void {
    this.#readHeader(plan, message, NEW_KEY_HEADER, row)
  }

  /** Reads the key that a row, which was read before, had. It has to be readable where the row leaves values out. */
  read(plan: Plan, message: Message, row: number): void {
    const problem = this.#readHeader(plan, message, OLD_KEY_HEADER, row)
    if (problem === null || !this.#layout.leavesOut(row)) return
    const { topic, onBadRecord } = this.#options
    const reason = `the old key in the header ${OLD_KEY_HEADER} cannot be read: ${problem}`
    if (onBadRecord === 'fail') {
      throw new DecodeFault(`${reason}; the values that the row leaves out are in the row of that key: ${REMEDY}`)
    }
    this.#notes.add(`${topic}: values that rows leave out are missing, since ${reason}: ${REMEDY}`)
  }

  /** Why the header cannot be read, and the row is cleared; null where it can, or is not there. */
  #readHeader(plan: Plan, message: Message, name: string, row: number): string | null {
    // The builder is there where a message of the batch has one of these headers.
    const isThere = this.#layout.oldKey !== null && message.hasHeaders
    const bytes = isThere ? (message.header(name) ?? null) : null
    if (bytes === null) return null
    try {
      this.#readKey(plan, bytes, row)
      return null
    } catch (error) {
      if (!isFault(error)) throw error
      this.#layout.oldKeyBuilder().clear(row)
      return error.message
    }
  }

  #readKey(plan: Plan, bytes: Buffer, row: number): void {
    const id = schemaIdOf(bytes)
    const reader = this.#readerOf(plan, id)
    if (reader === null) return
    if (id >= 0) readAll(reader, bytes, prefixSize(bytes), bytes.length, row)
    else if (plan.key !== null) {
      const key = textKeyToAvro(plan.key.node, bytes, plan.key.fields[0]?.field)
      readAll(reader, key, 0, key.length, row)
    }
    this.#layout.oldKeyBuilder().valid[row] = 1
  }

  /** @param id -1 for keys as text, which have the schema of the message's own key */
  #readerOf(plan: Plan, id: number): Reader | null {
    if (this.#version !== this.#layout.version) {
      this.#readers = new Map()
      this.#version = this.#layout.version
    }
    if (id < 0 && plan.key === null) return null
    const ownId = plan.key?.schemaId ?? NULL_PART
    const keyId = id >= 0 ? id : ownId
    let reader = this.#readers.get(keyId)
    if (reader === undefined) {
      const from = keyId === ownId ? plan : this.#plans.get(keyId)?.get(NULL_PART)
      reader = (from ?? fault(`its schema id ${schemaName(keyId)} is not known`)).oldKeyReader()
      this.#readers.set(keyId, reader)
    }
    return reader
  }
}
