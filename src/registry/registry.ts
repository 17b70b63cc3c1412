/**
 * Reads writer schemas from a Confluent Schema Registry.
 *
 * The HTTP client is that of @kafkajs/confluent-schema-registry, without its decoder: that parses schemas with avsc,
 * which refuses some that our own reader takes, and decodes to objects.
 */

import { setMaxListeners } from 'node:events'
import { Agent as HttpAgent } from 'node:http'
import { type AgentOptions, Agent as HttpsAgent } from 'node:https'
import { setTimeout as sleep } from 'node:timers/promises'
import createApi, { type SchemaRegistryAPIClient } from '@kafkajs/confluent-schema-registry/dist/api/index.js'
import type { AvroSchemaJson } from '../avro/schema.js'
import { guidOf, schemaName, schemaPosition } from '../avro/wire.js'
import { KafkaToDeltaError } from '../errors.js'
import { withoutUndefined } from '../objects.js'
import { REGISTRY_DEFAULTS } from '../options/defaults.js'
import type { SchemaRegistryOptions } from '../options/types.js'
import { inlineReferences, type SchemaReference } from './references.js'
import type { SchemaSource } from './schema-source.js'

/** How to reach the registry, and how long to try. */
export interface RegistryOptions extends Omit<SchemaRegistryOptions, 'unknownSchemaTimeout'> {
  /** Milliseconds for one request. */
  timeout?: number
  /** Tries of all addresses after the first one. */
  retries?: number
  /** Milliseconds before the first of them; each wait is twice the one before. */
  firstDelay?: number
  /**
   * Milliseconds in which an unknown id is asked for again: registries replicate, and a message may be faster than its
   * schema.
   */
  unknownSchemaTimeout?: number
  /** Milliseconds after which an id that was unknown is asked for again, should it come again. */
  unknownSchemaExpiry?: number
}

/** One address, without credentials, and how to reach it. */
interface Endpoint {
  host: string
  /** Of one request: its connection ends with it, whatever state it is in. */
  agent: () => HttpAgent | HttpsAgent
  /** The header `Authorization`. */
  authorization: string | null
}

/** The part of the client's answer that is read here. */
interface Answer {
  status(): number
  success(): boolean
  data(): unknown
  error(): Error | null
  responseData: unknown
}

/** What a registry answers, not yet looked at. */
interface SchemaBody {
  schema: string
  schemaType?: unknown
  references?: unknown
}

interface SchemaAnswer {
  schema: AvroSchemaJson
  references: SchemaReference[]
}

/** What a request that failed says. */
interface Failure {
  status: number
  /** True where nothing answered. */
  network: boolean
  message: string
  /** Whether the answer is the registry's own: JSON with an error code. */
  fromRegistry: boolean
}

const RETRIED_STATUS = new Set([408, 425, 429])

/** Requests at a time. */
const MAX_REQUESTS = 8

/** Unknown ids that are asked for again at a time: bytes that are no Avro can look like any id. */
const MAX_PATIENT = 100

/** Unknown ids that are remembered. */
const MAX_UNKNOWN = 10_000

/** Milliseconds between two requests for an unknown id: at first, and at most. */
const UNKNOWN_DELAY = { first: 100, max: 1_000 }

/** Schemas by id, each looked up once. */
export class RegistrySchemaSource implements SchemaSource {
  readonly #endpoints: Endpoint[]
  readonly #timeout: number
  readonly #retries: number
  readonly #firstDelay: number
  readonly #unknownTimeout: number
  readonly #unknownExpiry: number
  readonly #schemas = new Map<number, Promise<AvroSchemaJson>>()
  /** Ids that the registry did not know, with what was said, and until when that is believed. */
  readonly #unknown = new Map<number, { error: KafkaToDeltaError; until: number }>()
  readonly #slots = new Slots(MAX_REQUESTS)
  readonly #closing = new AbortController()
  #numPatient = 0

  /** @throws CONFIG_INVALID for a missing or broken address */
  constructor(options: RegistryOptions) {
    const urls = options.urls ?? (options.url === undefined ? [] : [options.url])
    if (urls.length === 0) throw new KafkaToDeltaError('CONFIG_INVALID', 'the schema registry needs a url')
    this.#endpoints = urls.map((url) => endpointOf(url, options))
    const read = { ...REGISTRY_DEFAULTS, ...withoutUndefined(options) }
    this.#timeout = read.timeout
    this.#retries = read.retries
    this.#firstDelay = read.firstDelay
    this.#unknownTimeout = read.unknownSchemaTimeout
    this.#unknownExpiry = read.unknownSchemaExpiry
    // Each request under way listens.
    setMaxListeners(0, this.#closing.signal)
  }

  get(id: number): Promise<AvroSchemaJson> {
    const known = this.#schemas.get(id)
    if (known !== undefined) return known
    const unknown = this.#unknown.get(id)
    if (unknown !== undefined && performance.now() < unknown.until) return Promise.reject(unknown.error)
    // It was waited for once: later, one look is enough.
    const lookup = unknown === undefined ? this.#loadPatiently(id) : this.#load(id)
    this.#schemas.set(id, lookup)
    lookup.then(
      () => this.#unknown.delete(id),
      (error: KafkaToDeltaError) => {
        // What an id stands for never changes, but it may not be there yet; all else may be the registry's state.
        if (isUnknown(error)) this.#rememberUnknown(id, error)
        if (isUnknown(error) || error.code !== 'BAD_RECORD') this.#schemas.delete(id)
      },
    )
    return lookup
  }

  /** Ends the lookups under way with CANCELLED, and their connections. */
  close(): void {
    this.#closing.abort()
  }

  /** Asks for an unknown id again until the timeout has passed. */
  async #loadPatiently(id: number): Promise<AvroSchemaJson> {
    const until = performance.now() + this.#unknownTimeout
    let delay = UNKNOWN_DELAY.first
    let waits = false
    try {
      for (;;) {
        try {
          return await this.#load(id)
        } catch (error) {
          const left = until - performance.now()
          if (!isUnknown(error) || left <= 0) throw error
          if (!waits && this.#numPatient >= MAX_PATIENT) throw error
          if (!waits) this.#numPatient++
          waits = true
          await this.#sleep(Math.min(delay, left))
          delay = Math.min(UNKNOWN_DELAY.max, delay * 2)
        }
      }
    } finally {
      if (waits) this.#numPatient--
    }
  }

  #rememberUnknown(id: number, error: KafkaToDeltaError): void {
    this.#unknown.delete(id)
    this.#unknown.set(id, { error, until: performance.now() + this.#unknownExpiry })
    const oldest = this.#unknown.keys().next()
    if (this.#unknown.size > MAX_UNKNOWN && !oldest.done) this.#unknown.delete(oldest.value)
  }

  async #sleep(ms: number): Promise<void> {
    await sleep(ms, undefined, { signal: this.#closing.signal }).catch(() => {
      throw closed()
    })
  }

  async #load(id: number): Promise<AvroSchemaJson> {
    const what = `schema ${schemaName(id)}`
    const guid = guidOf(id)
    // The client has no request of its own for GUIDs.
    const query = guid === null ? { id } : ({ path: `/schemas/guids/${guid}` } as unknown as { id: number })
    const answer = await this.#request((api) => api.Schema.find({ ...query, timeout: this.#timeout }), what, id)
    const { schema, references } = readAnswer(answer, what, id)
    if (references.length === 0) return schema
    return inlineReferences(schema, await this.#loadReferences(references, id, new Map()))
  }

  /** The definitions of all referenced names, also of the references' own. */
  async #loadReferences(
    references: SchemaReference[],
    id: number,
    found: Map<string, AvroSchemaJson>,
  ): Promise<Map<string, AvroSchemaJson>> {
    for (const { name, subject, version } of references) {
      if (found.has(name)) continue
      const what = `version ${version} of ${subject}, which schema ${schemaName(id)} refers to`
      const find = (api: SchemaRegistryAPIClient) => api.Subject.version({ subject, version, timeout: this.#timeout })
      const referred = readAnswer(await this.#request(find, what, id), what, id)
      found.set(name, referred.schema)
      await this.#loadReferences(referred.references, id, found)
    }
    return found
  }

  /** Asks each address in turn, again after a wait where none answered. */
  async #request(
    send: (api: SchemaRegistryAPIClient) => Promise<unknown>,
    what: string,
    id: number,
  ): Promise<SchemaBody> {
    let last: KafkaToDeltaError | null = null
    for (let attempt = 0; attempt <= this.#retries; attempt++) {
      let unknown: KafkaToDeltaError | null = null
      if (attempt > 0) await this.#sleep(this.#firstDelay * 2 ** (attempt - 1) * (0.75 + Math.random() * 0.5))
      for (const endpoint of this.#endpoints) {
        const result = await this.#slots.run(() => this.#ask(endpoint, send))
        const body = 'fromRegistry' in result ? null : bodyOf(result)
        if (body !== null) return body
        const failure = 'fromRegistry' in result ? result : noSchema(result)
        const error = errorOf(failure, endpoint.host, what, id)
        if (isUnknown(error)) {
          // Another one may know it already.
          unknown = error
          continue
        }
        if (error.code !== 'REGISTRY_UNREACHABLE') throw error
        last = error
        const retried = failure.network || failure.status >= 500 || RETRIED_STATUS.has(failure.status)
        if (!retried && this.#endpoints.length === 1) throw error
      }
      if (unknown !== null) throw unknown
    }
    throw last ?? new KafkaToDeltaError('INTERNAL', 'no schema registry was asked')
  }

  async #ask(endpoint: Endpoint, send: (api: SchemaRegistryAPIClient) => Promise<unknown>): Promise<Answer | Failure> {
    if (this.#closing.signal.aborted) throw closed()
    let failure: Failure | null = null
    const agent = endpoint.agent()
    const api = createApi.default({
      host: endpoint.host,
      agent: agent as HttpAgent,
      clientId: 'kafka2delta',
      // The client turns every failure into one kind of error; this hook sees the answer itself.
      retry: {
        retries: 1,
        validateRetry: (response) => {
          const answer = response as unknown as Answer
          if (!answer.success()) failure = failureOf(answer)
          return false
        },
      },
      middlewares: [
        () => ({
          request: async (request) =>
            endpoint.authorization === null
              ? request
              : request.enhance({ headers: { Authorization: endpoint.authorization } }),
        }),
      ],
    })
    const timer = new AbortController()
    const signal = AbortSignal.any([timer.signal, this.#closing.signal])
    const late = async (): Promise<Failure> => {
      await sleep(this.#timeout, undefined, { signal })
      return { status: 0, network: true, fromRegistry: false, message: `no whole answer within ${this.#timeout} ms` }
    }
    const asked = send(api).then(
      (response) => failure ?? (response as Answer),
      (error: Error) => failure ?? { status: 0, network: true, fromRegistry: false, message: error.message },
    )
    try {
      // The client waits for ever for an answer that breaks off, or comes byte by byte.
      return await Promise.race([asked, late()])
    } catch {
      throw closed()
    } finally {
      timer.abort()
      agent.destroy()
      // The client asks once more by itself where a connection ends.
      Object.assign(agent, { createConnection: refuseConnection })
    }
  }
}

function endpointOf(url: string, options: RegistryOptions): Endpoint {
  let parsed: URL
  try {
    parsed = new URL(url)
  } catch {
    // The text may hold a password: it is not repeated.
    throw new KafkaToDeltaError(
      'CONFIG_INVALID',
      'the schema registry’s url is not a URL such as http://localhost:8081',
    )
  }
  if (parsed.protocol !== 'http:' && parsed.protocol !== 'https:') {
    throw new KafkaToDeltaError(
      'CONFIG_INVALID',
      `the schema registry’s url has the protocol ${parsed.protocol}, not http or https`,
    )
  }
  const { username, password } = parsed
  const auth =
    options.auth ??
    (username === '' ? null : { username: decodeURIComponent(username), password: decodeURIComponent(password) })
  const tls: AgentOptions = options.tls ?? {}
  return {
    host: `${parsed.origin}${parsed.pathname.replace(/\/+$/, '')}`,
    // Schemas are asked for rarely: no connection is kept.
    agent: () => (parsed.protocol === 'https:' ? new HttpsAgent(tls) : new HttpAgent()),
    authorization:
      auth === null
        ? null
        : 'token' in auth
          ? `Bearer ${auth.token}`
          : `Basic ${Buffer.from(`${auth.username}:${auth.password}`).toString('base64')}`,
  }
}

function failureOf(answer: Answer): Failure {
  const error = answer.error()
  if (error !== null) {
    const code = (error as NodeJS.ErrnoException).code
    return {
      status: 0,
      network: true,
      fromRegistry: false,
      message: error.message || (code ?? 'the connection failed'),
    }
  }
  const data = answer.data()
  // The client reads a property of the body of every error: it must not be null.
  if (data === null) answer.responseData = ''
  const body = (typeof data === 'object' && data !== null ? data : {}) as { error_code?: unknown; message?: unknown }
  return {
    status: answer.status(),
    network: false,
    fromRegistry: typeof body.error_code === 'number' && !isServletError(body),
    message: typeof body.message === 'string' ? body.message : `status ${answer.status()}`,
  }
}

/** What a registry's web server says of a path that it does not have. */
function isServletError({ error_code, message }: { error_code?: unknown; message?: unknown }): boolean {
  return error_code === 404 && typeof message === 'string' && message.startsWith('HTTP 404')
}

/** A success without a schema, such as the page of a proxy. */
function noSchema(answer: Answer): Failure {
  return { status: answer.status(), network: false, fromRegistry: false, message: NO_SCHEMA }
}

const NO_SCHEMA = 'the answer holds no schema: is schemaRegistry.url the address of a schema registry?'

function isUnknown(error: unknown): boolean {
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

function closed(): KafkaToDeltaError {
  return new KafkaToDeltaError('CANCELLED', 'the schema registry’s client was closed')
}

function refuseConnection(_options: unknown, made: (error: Error) => void): void {
  made(new Error('the request was given up'))
}

/** Lets so many run at a time, the others in order. */
class Slots {
  readonly #waiting: (() => void)[] = []
  #free: number

  constructor(free: number) {
    this.#free = free
  }

  async run<T>(operation: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free--
    else await new Promise<void>((resolve) => this.#waiting.push(resolve))
    try {
      return await operation()
    } finally {
      const next = this.#waiting.shift()
      if (next) next()
      else this.#free++
    }
  }
}

function errorOf(failure: Failure, host: string, what: string, id: number): KafkaToDeltaError {
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

/** The body, where it is what a registry answers. */
function bodyOf(answer: Answer): SchemaBody | null {
  const data = answer.data() as Partial<SchemaBody> | null
  return typeof data === 'object' && data !== null && typeof data.schema === 'string' ? (data as SchemaBody) : null
}

function readAnswer(body: SchemaBody, what: string, id: number): SchemaAnswer {
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
