/**
 * Reads writer schemas from a Confluent Schema Registry.
 *
 * The HTTP client is that of @kafkajs/confluent-schema-registry, without its decoder: that parses schemas with avsc,
 * which refuses some that our own reader takes, and decodes to objects.
 */
import { Agent as HttpAgent } from 'node:http'
import { type AgentOptions, Agent as HttpsAgent } from 'node:https'
import { setTimeout as sleep } from 'node:timers/promises'
import createApi, { type SchemaRegistryAPIClient } from '@kafkajs/confluent-schema-registry/dist/api/index.js'
import type { AvroSchemaJson } from '../avro/schema.js'
import { KafkaToDeltaError } from '../errors.js'
import { inlineReferences, type SchemaReference } from './references.js'
import type { SchemaSource } from './schema-source.js'

export interface RegistryOptions {
  url?: string
  /** Several registries of one cluster, tried in turn. */
  urls?: readonly string[]
  /** Basic authentication, or a bearer token. */
  auth?: { readonly username: string; readonly password: string } | { readonly token: string }
  /** PEM texts. */
  tls?: {
    readonly ca?: string
    readonly cert?: string
    readonly key?: string
    readonly passphrase?: string
    readonly rejectUnauthorized?: boolean
  }
  /** Milliseconds for one request. Default 10,000. */
  timeout?: number
  /** Tries of all addresses after the first one. Default 4. */
  retries?: number
  /** Milliseconds before the first of them; each wait is twice the one before. Default 200. */
  firstDelay?: number
}

/** One address, without credentials, and how to reach it. */
interface Endpoint {
  host: string
  agent: HttpAgent | HttpsAgent
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

/** Schemas by id, each looked up once. */
export class RegistrySchemaSource implements SchemaSource {
  private readonly endpoints: Endpoint[]
  private readonly timeout: number
  private readonly retries: number
  private readonly firstDelay: number
  private readonly schemas = new Map<number, Promise<AvroSchemaJson>>()

  /** @throws CONFIG_INVALID for a missing or broken address */
  constructor(options: RegistryOptions) {
    const urls = options.urls ?? (options.url === undefined ? [] : [options.url])
    if (urls.length === 0) throw new KafkaToDeltaError('CONFIG_INVALID', 'the schema registry needs a url')
    this.endpoints = urls.map((url) => endpointOf(url, options))
    this.timeout = options.timeout ?? 10_000
    this.retries = options.retries ?? 4
    this.firstDelay = options.firstDelay ?? 200
  }

  get(id: number): Promise<AvroSchemaJson> {
    const known = this.schemas.get(id)
    if (known !== undefined) return known
    const lookup = this.load(id)
    this.schemas.set(id, lookup)
    // A failure is not remembered: the next batch asks again.
    lookup.catch(() => this.schemas.delete(id))
    return lookup
  }

  /** Closes the connections. */
  close(): void {
    for (const { agent } of this.endpoints) agent.destroy()
  }

  private async load(id: number): Promise<AvroSchemaJson> {
    const what = `schema ${id}`
    const answer = await this.request((api) => api.Schema.find({ id, timeout: this.timeout }), what, id)
    const { schema, references } = readAnswer(answer, what, id)
    if (references.length === 0) return schema
    return inlineReferences(schema, await this.loadReferences(references, id, new Map()))
  }

  /** The definitions of all referenced names, also of the references' own. */
  private async loadReferences(
    references: SchemaReference[],
    id: number,
    found: Map<string, AvroSchemaJson>,
  ): Promise<Map<string, AvroSchemaJson>> {
    for (const { name, subject, version } of references) {
      if (found.has(name)) continue
      const what = `version ${version} of ${subject}, which schema ${id} refers to`
      const find = (api: SchemaRegistryAPIClient) => api.Subject.version({ subject, version, timeout: this.timeout })
      const referred = readAnswer(await this.request(find, what, id), what, id)
      found.set(name, referred.schema)
      await this.loadReferences(referred.references, id, found)
    }
    return found
  }

  /** Asks each address in turn, again after a wait where none answered. */
  private async request(
    send: (api: SchemaRegistryAPIClient) => Promise<unknown>,
    what: string,
    id: number,
  ): Promise<Answer> {
    let last: KafkaToDeltaError | null = null
    for (let attempt = 0; attempt <= this.retries; attempt++) {
      if (attempt > 0) await sleep(this.firstDelay * 2 ** (attempt - 1) * (0.75 + Math.random() * 0.5))
      for (const endpoint of this.endpoints) {
        const result = await this.ask(endpoint, send)
        if (!('fromRegistry' in result)) return result
        const error = errorOf(result, endpoint.host, what, id)
        if (error.code !== 'REGISTRY_UNREACHABLE') throw error
        last = error
        const retried = result.network || result.status >= 500 || RETRIED_STATUS.has(result.status)
        if (!retried && this.endpoints.length === 1) throw error
      }
    }
    throw last ?? new KafkaToDeltaError('INTERNAL', 'no schema registry was asked')
  }

  private async ask(
    endpoint: Endpoint,
    send: (api: SchemaRegistryAPIClient) => Promise<unknown>,
  ): Promise<Answer | Failure> {
    let failure: Failure | null = null
    const api = createApi.default({
      host: endpoint.host,
      agent: endpoint.agent as HttpAgent,
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
    const late = async (): Promise<Failure> => {
      await sleep(this.timeout + 1000, undefined, { signal: timer.signal })
      return { status: 0, network: true, fromRegistry: false, message: `no answer within ${this.timeout} ms` }
    }
    const asked = send(api).then(
      (response) => failure ?? (response as Answer),
      (error: Error) => failure ?? { status: 0, network: true, fromRegistry: false, message: error.message },
    )
    try {
      // The client waits for ever for an answer that breaks off.
      return await Promise.race([asked, late().catch(() => asked)])
    } finally {
      timer.abort()
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
  const settings: AgentOptions = { keepAlive: true, maxSockets: 8 }
  const agent = parsed.protocol === 'https:' ? new HttpsAgent({ ...settings, ...options.tls }) : new HttpAgent(settings)
  return {
    host: `${parsed.origin}${parsed.pathname.replace(/\/+$/, '')}`,
    agent,
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
    fromRegistry: typeof body.error_code === 'number',
    message: typeof body.message === 'string' ? body.message : `status ${answer.status()}`,
  }
}

function errorOf(failure: Failure, host: string, what: string, id: number): KafkaToDeltaError {
  const { status, message } = failure
  if (failure.network) {
    return new KafkaToDeltaError('REGISTRY_UNREACHABLE', `the schema registry ${host} does not answer: ${message}`, {
      schemaId: id,
    })
  }
  if (status === 401 || status === 403) {
    return new KafkaToDeltaError(
      'REGISTRY_AUTH',
      `the schema registry ${host} refuses us (status ${status}): check schemaRegistry.auth`,
      { schemaId: id },
    )
  }
  if (status === 404 && failure.fromRegistry) {
    return new KafkaToDeltaError('BAD_RECORD', `unknown schema id ${id}: the schema registry ${host} has no ${what}`, {
      schemaId: id,
    })
  }
  const hint = status === 404 ? ': is schemaRegistry.url the address of a schema registry?' : `: ${message}`
  return new KafkaToDeltaError(
    'REGISTRY_UNREACHABLE',
    `the schema registry ${host} answers with status ${status} for ${what}${hint}`,
    { schemaId: id },
  )
}

function readAnswer(answer: Answer, what: string, id: number): SchemaAnswer {
  const unsupported = (why: string, cause?: unknown): never => {
    throw new KafkaToDeltaError('SCHEMA_UNSUPPORTED', `${what}: ${why}`, { schemaId: id, cause })
  }
  const data = answer.data() as { schema?: unknown; schemaType?: unknown; references?: unknown } | null
  if (typeof data !== 'object' || data === null || typeof data.schema !== 'string') {
    return unsupported('the schema registry’s answer is not a schema')
  }
  if (data.schemaType !== undefined && data.schemaType !== null && data.schemaType !== 'AVRO') {
    return unsupported(
      `it is a ${String(data.schemaType)} schema: set the converters to io.confluent.connect.avro.AvroConverter`,
    )
  }
  let schema: AvroSchemaJson
  try {
    schema = JSON.parse(data.schema) as AvroSchemaJson
  } catch (error) {
    return unsupported('its text is not JSON', error)
  }
  return { schema, references: Array.isArray(data.references) ? (data.references as SchemaReference[]) : [] }
}
