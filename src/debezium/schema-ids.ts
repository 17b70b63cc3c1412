/** Where a message names the schemas of its key and value: before each payload, or in record headers. */

import { headerProblem, prefixSize, schemaIdOf } from '../avro/wire.js'
import type { RawMessage } from '../kafka/micro-batch.js'

export type Part = 'key' | 'value'

/** A header by its name; the names are the message's own, and none is one of Object's. */
export function headerOf({ headers }: RawMessage, name: string): NonNullable<RawMessage['headers']>[string] {
  return headers !== undefined && Object.hasOwn(headers, name) ? headers[name] : undefined
}

export function headerBytes(message: RawMessage, name: string): Buffer | null {
  const header = headerOf(message, name)
  const value = Array.isArray(header) ? header[header.length - 1] : header
  if (value === undefined || value === null) return null
  return typeof value === 'string' ? Buffer.from(value) : value
}

/** Headers of Confluent's `HeaderSchemaIdSerializer`. Where one is there, the payload has no prefix. */
const ID_HEADER = { key: '__key_schema_id', value: '__value_schema_id' } as const

const APICURIO = {
  key: ['apicurio.key.globalId', 'apicurio.key.contentId', 'apicurio.key.contentHash'],
  value: ['apicurio.value.globalId', 'apicurio.value.contentId', 'apicurio.value.contentHash'],
} as const

function apicurioHeader(message: RawMessage, part: Part): string | undefined {
  return APICURIO[part].find((name) => headerOf(message, name) !== undefined)
}

/** The number of the schema of a part that is not null; -1 where it names none ({@link idProblem} says why). */
export function messageSchemaId(message: RawMessage, part: Part): number {
  const own = headerBytes(message, ID_HEADER[part])
  if (own !== null) return schemaIdOf(own)
  if (apicurioHeader(message, part) !== undefined) return -1
  return schemaIdOf(message[part] as Buffer)
}

/** Where the Avro payload of a part begins. */
export function payloadStart(message: RawMessage, part: Part): number {
  return headerBytes(message, ID_HEADER[part]) === null ? prefixSize(message[part] as Buffer) : 0
}

/** Why a part names no schema, and the converter setting that mends it. */
export function idProblem(message: RawMessage, part: Part): string {
  if (headerBytes(message, ID_HEADER[part]) !== null) {
    return `the header ${ID_HEADER[part]} holds no schema id: neither a byte 1 and a GUID, nor a byte 0 and an id`
  }
  const apicurio = apicurioHeader(message, part)
  if (apicurio !== undefined) {
    return (
      `the schema of the ${part} is named by Apicurio's header ${apicurio}: set ` +
      `${part}.converter.apicurio.registry.headers.enabled=false and ` +
      `${part}.converter.apicurio.registry.as-confluent=true in the connector`
    )
  }
  return headerProblem(message[part] as Buffer, part)
}
