/**
 * One address of a schema registry, and one request to it.
 *
 * The HTTP client is that of @kafkajs/confluent-schema-registry, without its decoder: that parses schemas with avsc,
 * which refuses some that our own reader takes, and decodes to objects.
 */

import { Agent as HttpAgent } from 'node:http'
import { type AgentOptions, Agent as HttpsAgent } from 'node:https'
import createApi, { type SchemaRegistryAPIClient } from '@kafkajs/confluent-schema-registry/dist/api/index.js'
import { KafkaToDeltaError } from '../errors.js'
import type { ResolvedRegistry } from '../options/types.js'
import { unlessAborted, within } from '../waits.js'
import { loginOf, type RegistryLogin } from './login.js'

/** One address, without credentials, and how to reach it. */
export interface Endpoint {
  host: string
  /** Of one request: its connection ends with it, whatever state it is in. */
  agent: () => HttpAgent | HttpsAgent
  login: RegistryLogin
}

type Send = (api: SchemaRegistryAPIClient) => Promise<unknown>

/** The part of the client's answer that is read here. */
export interface Answer {
  status(): number
  success(): boolean
  data(): unknown
  error(): Error | null
  responseData: unknown
}

/** What a request that failed says. */
export interface Failure {
  status: number
  /** True where nothing answered. */
  network: boolean
  message: string
  /** Whether the answer is the registry's own: JSON with an error code. */
  fromRegistry: boolean
}

/** @throws CONFIG_INVALID for a broken address */
export function endpointOf(url: string, options: Pick<ResolvedRegistry, 'auth' | 'tls'>): Endpoint {
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
  const user =
    username === '' ? null : { username: decodeURIComponent(username), password: decodeURIComponent(password) }
  const tls: AgentOptions = options.tls ?? {}
  return {
    host: `${parsed.origin}${parsed.pathname.replace(/\/+$/, '')}`,
    // Schemas are asked for rarely: no connection is kept.
    agent: () => (parsed.protocol === 'https:' ? new HttpsAgent(tls) : new HttpAgent()),
    login: loginOf(options.auth, user),
  }
}

/**
 * Asks an endpoint, once; once more where it refuses a token, and another one can be had.
 * @param closing ends the request and its connection
 * @throws CANCELLED where `closing` was aborted; REGISTRY_AUTH and REGISTRY_UNREACHABLE where there is no token to log in with
 */
export async function ask(
  endpoint: Endpoint,
  send: Send,
  timeout: number,
  closing: AbortSignal,
): Promise<Answer | Failure> {
  if (closing.aborted) throw closed()
  const headers = await endpoint.login.headers()
  const answer = await askOnce(endpoint, headers, send, timeout, closing)
  const isRefused = 'fromRegistry' in answer && answer.status === 401
  if (!isRefused || !endpoint.login.refused(headers)) return answer
  return askOnce(endpoint, await endpoint.login.headers(), send, timeout, closing)
}

async function askOnce(
  endpoint: Endpoint,
  headers: Readonly<Record<string, string>>,
  send: Send,
  timeout: number,
  closing: AbortSignal,
): Promise<Answer | Failure> {
  if (closing.aborted) throw closed()
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
    middlewares: [() => ({ request: async (request) => request.enhance({ headers }) })],
  })
  const asked = send(api).then(
    (response) => failure ?? (response as Answer),
    (error: Error) => failure ?? noAnswer(error),
  )
  const late = () => new Error(`no whole answer within ${timeout} ms`)
  try {
    // The client waits for ever for an answer that breaks off, or comes byte by byte.
    return await within(unlessAborted(asked, closing), timeout, late)
  } catch (error) {
    if (closing.aborted) throw closed()
    return noAnswer(error as Error)
  } finally {
    agent.destroy()
    // The client asks once more by itself where a connection ends.
    Object.assign(agent, { createConnection: refuseConnection })
  }
}

const noAnswer = ({ message }: Error): Failure => ({ status: 0, network: true, fromRegistry: false, message })

function failureOf(answer: Answer): Failure {
  const error = answer.error()
  if (error !== null) {
    const code = (error as NodeJS.ErrnoException).code
    return {
      status: 0,
      network: true,
      fromRegistry: false,
      message: error.message.trim() || (code ?? 'the connection failed'),
    }
  }
  const data = answer.data()
  // The client reads a property of the body of every error: it must not be null.
  if (data === null) answer.responseData = ''
  const body = (typeof data === 'object' && data !== null ? data : {}) as { error_code?: unknown; message?: unknown }
  return {
    status: answer.status(),
    network: false,
    fromRegistry: isOfRegistry(body.error_code),
    message: typeof body.message === 'string' ? body.message : `status ${answer.status()}`,
  }
}

/**
 * Whether the registry itself says that it has no such thing: 40401 to 40403 in Confluent's API reference, "Errors". Web
 * servers, also the registry's own, say 404 of a path that they do not have.
 */
const isOfRegistry = (code: unknown): boolean => typeof code === 'number' && Math.floor(code / 100) === 404

/** What waits for an answer of a client that was closed ends with this. */
export function closed(): KafkaToDeltaError {
  return new KafkaToDeltaError('CANCELLED', 'the schema registry’s client was closed')
}

function refuseConnection(_options: unknown, made: (error: Error) => void): void {
  made(new Error('the request was given up'))
}
