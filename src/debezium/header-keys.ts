/** Keys in headers: Debezium adds the other key to both messages of an update of a key. */

import { isUtf8 } from 'node:buffer'
import { toAvro } from '../avro/json-to-avro.js'
import { type Loose, parseLoose, parseStruct } from '../avro/loose-json.js'
import { type AvroNode, withoutNull } from '../avro/schema.js'
import { meaningOf } from '../avro/semantic-types.js'
import { DecodeFault, fault } from '../avro/wire.js'

/** Header of the delete of an updated key: the key that the row goes on under. */
export const NEW_KEY_HEADER = '__debezium.newkey'

/** Header of the row that a primary-key update inserts: the key that it had before. */
export const OLD_KEY_HEADER = '__debezium.oldkey'

/**
 * A key in a header that is not Avro, written as Avro of the key's schema.
 * @param field where keys are single values, not records: the field of the struct in the header that has the value
 * @throws DecodeFault where the header is none of the forms that Connect's converters write, or can be read in two ways
 */
export function textKeyToAvro(node: AvroNode, bytes: Buffer, field?: string): Buffer {
  if (!isUtf8(bytes)) fault('it is neither Avro nor a text')
  const text = bytes.toString()
  const isRecord = withoutNull(node)?.kind === 'record'
  return Buffer.from(isRecord ? toAvro(node, structOf(text)) : bareToAvro(node, text, field))
}

function structOf(text: string): Loose {
  return parseStruct(text) ?? withoutSchema(parseLoose(text))
}

/** With `schemas.enable`, the key is the `payload`. A field of a key with that name has no schema beside it. */
function withoutSchema(json: Loose): Loose {
  if (!(json instanceof Map) || json.size !== 2) return json
  const schema = json.get('schema')
  const payload = json.get('payload')
  const isWrapped = schema instanceof Map && typeof schema.get('type') === 'string' && payload !== undefined
  return isWrapped ? payload : json
}

/** Transforms take single values out of the message's key, not out of the header, which has a struct still. */
function bareToAvro(node: AvroNode, text: string, field: string | undefined): number[] {
  let json: Loose | undefined
  try {
    json = structOf(text)
  } catch (error) {
    if (!(error instanceof DecodeFault)) throw error
  }
  if (json instanceof Map) return toAvro(node, memberOf(json, field))
  if (text === 'null' && node.kind === 'union') fault('it may be null, or a text')
  const type = withoutNull(node)
  const isQuoted = typeof json === 'string'
  // `SimpleHeaderConverter` writes a single text without quotes and escapes.
  if (type?.kind === 'string' && isQuoted && text.startsWith('"')) fault('its quotes may be part of the text, or not')
  const isText = type !== null && ['string', 'enum', 'bytes', 'fixed'].includes(type.kind)
  const isRaw = isText && !isQuoted && meaningOf(type).is !== 'decimal'
  return toAvro(node, isRaw ? text : (json ?? null))
}

function memberOf(json: Map<string, Loose>, field: string | undefined): Loose {
  const only = json.size === 1 ? [...json.values()][0] : undefined
  return (
    (field === undefined ? undefined : json.get(field)) ?? only ?? fault('which field of it is the key is not known')
  )
}
