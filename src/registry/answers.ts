/** What an answer of a schema registry means: a schema, or an error that says what to check. */

import type { AvroSchemaJson } from '../avro/schema.js'
import { guidOf, schemaName, schemaPosition } from '../avro/wire.js'
import { KafkaToDeltaError } from '../errors.js'
import type { Answer, Failure } from './endpoint.js'
import type { SchemaReference } from './references.js'

/** What a registry answers, not yet looked at. */
export interface SchemaBody {
  schema: string
  /** Of a subject's version. */
  id?: unknown
  schemaType?: unknown
  references?: unknown
}

interface SchemaAnswer {
  schema: AvroSchemaJson
  references: SchemaReference[]
}

/** The body, where it is what a registry answers. */
export function bodyOf(answer: Answer): SchemaBody | null {
  const data = answer.data() as Partial<SchemaBody> | null
  return typeof data === 'object' && data !== null && typeof data.schema === 'string' ? (data as SchemaBody) : null
}

/** @throws BAD_RECORD, SCHEMA_UNSUPPORTED for what is no Avro schema */
export function readAnswer(body: SchemaBody, what: string, id: number): SchemaAnswer {
  const { schemaType, references } = body
  if (schemaType !== undefined && schemaType !== null && schemaType !== 'AVRO') {
    throw new KafkaToDeltaError(
      'BAD_RECORD',
      `${what} is a ${String(schemaType)} schema, not Avro: set key.converter and value.converter of the connector to ` +
        'io.confluent.connect.avro.AvroConverter',
      schemaPosition(id),
    )
  }
  let schema: AvroSchemaJson
  try {
    schema = JSON.parse(body.schema) as AvroSchemaJson
  } catch (error) {
    throw new KafkaToDeltaError(
      'SCHEMA_UNSUPPORTED',
      `${what}: its text is not JSON, so it is no Avro schema: register the schema anew`,
      { ...schemaPosition(id), cause: error },
    )
  }
  return { schema, references: Array.isArray(references) ? (references as SchemaReference[]) : [] }
}

/** A success without a schema, such as the page of a proxy. */
export function noSchema(answer: Answer): Failure {
  return { status: answer.status(), network: false, fromRegistry: false, message: NO_SCHEMA }
}

const NO_SCHEMA = 'the answer holds no schema: is schemaRegistry.url the address of a schema registry?'

export function errorOf(failure: Failure, host: string, what: string, id: number): KafkaToDeltaError {
  const { status, message } = failure
  if (failure.network) {
    return new KafkaToDeltaError(
      'REGISTRY_UNREACHABLE',
      `the schema registry ${host} does not answer: ${message}`,
      schemaPosition(id),
    )
  }
  if (status === 401 || status === 403) {
    return new KafkaToDeltaError(
      'REGISTRY_AUTH',
      `the schema registry ${host} refuses us (status ${status}): check schemaRegistry.auth`,
      schemaPosition(id),
    )
  }
  if (status === 404 && failure.fromRegistry) {
    return new UnknownSchemaError(id, host, what)
  }
  const hint =
    status === 404 && guidOf(id) !== null
      ? ': it does not look up schemas by GUID, as those of Confluent Platform 8 do'
      : status === 404
        ? ': is schemaRegistry.url the address of a schema registry?'
        : `: ${message}`
  return new KafkaToDeltaError(
    'REGISTRY_UNREACHABLE',
    `the schema registry ${host} answers with status ${status} for ${what}${hint}`,
    schemaPosition(id),
  )
}

export function isUnknown(error: unknown): boolean {
  return error instanceof UnknownSchemaError
}

/** BAD_RECORD: the registry has no such schema, or not yet. */
class UnknownSchemaError extends KafkaToDeltaError {
  constructor(id: number, host: string, what: string) {
    super(
      'BAD_RECORD',
      `unknown schema id ${schemaName(id)}: the schema registry ${host} has no ${what}`,
      schemaPosition(id),
    )
  }
}
