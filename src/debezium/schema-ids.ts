/** Where a message names the schemas of its key and value: before each payload, or in record headers. */

import { headerProblem, prefixSize, schemaIdOf } from '../avro/wire.js'
import type { Message } from '../kafka/message.js'

export type Part = 'key' | 'value'

/** Headers of Confluent's `HeaderSchemaIdSerializer`. Where one is there, the payload has no prefix. */
const ID_HEADER = { key: '__key_schema_id', value: '__value_schema_id' } as const

const APICURIO = {
  key: ['apicurio.key.globalId', 'apicurio.key.contentId', 'apicurio.key.contentHash'],
  value: ['apicurio.value.globalId', 'apicurio.value.contentId', 'apicurio.value.contentHash'],
} as const

function apicurioHeader(message: Message, part: Part): string | undefined {
  return message.hasHeaders ? APICURIO[part].find((name) => message.header(name) !== undefined) : undefined
}

/** What the header says that names the schema of a part. */
const idHeader = (message: Message, part: Part): Buffer | null =>
  message.hasHeaders ? (message.header(ID_HEADER[part]) ?? null) : null

/** The number of the schema of a part that is not null; -1 where it names none ({@link idProblem} says why). */
export function messageSchemaId(message: Message, part: Part): number {
  const own = idHeader(message, part)
  if (own !== null) return schemaIdOf(own)
  if (apicurioHeader(message, part) !== undefined) return -1
  if (part === 'key') return schemaIdOf(message.keyBytes, message.keyStart, message.keyEnd)
  return schemaIdOf(message.valueBytes, message.valueStart, message.valueEnd)
}

/** Where the Avro payload of a part begins in the bytes that the part lies in. */
export function payloadStart(message: Message, part: Part): number {
  const { keyBytes, keyStart, keyEnd, valueBytes, valueStart, valueEnd } = message
  const start = part === 'key' ? keyStart : valueStart
  if (idHeader(message, part) !== null) return start
  return start + (part === 'key' ? prefixSize(keyBytes, start, keyEnd) : prefixSize(valueBytes, start, valueEnd))
}

/** Why a part names no schema, and the converter setting that mends it. */
export function idProblem(message: Message, part: Part): string {
  if (idHeader(message, part) !== null) {
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
