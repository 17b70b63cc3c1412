/** Updates of a primary key: Debezium sends the delete of the old key and the new key's row, each with the other's key. */

import type { AvroNode, AvroSchemaJson } from '../avro/schema.js'
import { parseAvroSchema } from '../avro/schema.js'
import { prefixSize, schemaIdOf } from '../avro/wire.js'
import type { Message } from '../kafka/message.js'
import type { FindPairMember, PairMember } from '../kafka/paired-messages.js'
import type { SchemaSource } from '../registry/schema-source.js'
import { NEW_KEY_HEADER, OLD_KEY_HEADER, textKeyToAvro } from './header-keys.js'
import { messageSchemaId, payloadStart } from './schema-ids.js'

export class KeyUpdates {
  /** By id. Null: not there yet, or not to be had. */
  readonly #schemas = new Map<number, AvroNode | null>()
  readonly #registry: SchemaSource

  constructor(registry: SchemaSource) {
    this.#registry = registry
  }

  /** Both halves have the old and the new key as their pair. */
  readonly pairMemberOf: FindPairMember = (message) => {
    if (!message.hasHeaders) return null
    const oldKey = message.header(OLD_KEY_HEADER)
    if (oldKey !== undefined) return this.#half(message.still(), 'after', oldKey)
    const newKey = message.header(NEW_KEY_HEADER)
    return newKey === undefined ? null : this.#half(message.still(), 'before', newKey)
  }

  /** Looks the schemas of keys up, so that all pairs are known. One that the registry does not know is left out. */
  async load(ids: Iterable<number>): Promise<void> {
    await Promise.all([...new Set(ids)].filter((id) => id >= 0).map((id) => this.#find(id)))
  }

  #half(message: Message, side: PairMember['side'], header: Buffer | null): PairMember {
    let pair: string | null = null
    // Known soon, where the schema is.
    const find = () => {
      if (pair !== null || !message.hasKey) return pair
      try {
        const other = this.#otherKey(messageSchemaId(message, 'key'), header)
        if (other === null) return null
        const { keyBytes, keyEnd } = message
        const keys = [keyBytes.toString('hex', payloadStart(message, 'key'), keyEnd), other.toString('hex')]
        pair = (side === 'before' ? keys : keys.reverse()).join('>')
      } catch {
        // The decoder says what is wrong with it.
      }
      return pair
    }
    find()
    return { side, isTombstone: isTombstone(message), pair: find }
  }

  /** The other key as Avro, without what names its schema; null where that is not known yet. */
  #otherKey(ownId: number, bytes: Buffer | null): Buffer | null {
    if (bytes === null) return null
    if (schemaIdOf(bytes) >= 0) return bytes.subarray(prefixSize(bytes))
    const node = this.#schema(ownId)
    return node && textKeyToAvro(node, bytes)
  }

  #schema(id: number): AvroNode | null {
    if (id < 0) return null
    const known = this.#schemas.get(id)
    if (known !== undefined) return known
    this.#schemas.set(id, null)
    void this.#find(id)
    return null
  }

  async #find(id: number): Promise<void> {
    if (this.#schemas.get(id)) return
    let schema: AvroSchemaJson
    try {
      schema = await this.#registry.get(id)
    } catch {
      // Asked for again by the next one.
      this.#schemas.delete(id)
      return
    }
    try {
      this.#schemas.set(id, parseAvroSchema(schema))
    } catch {
      // The decoder says what is wrong with it.
    }
  }
}

/** Of a delete, and what follows it: one byte can be no row, but a null in a union, whose schema need not be known. */
function isTombstone(message: Message): boolean {
  return !message.hasValue || message.valueEnd === payloadStart(message, 'value') + 1
}
