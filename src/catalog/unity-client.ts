/** Requests to a Unity Catalog server, with a login that is renewed. */

import { once } from 'node:events'
import { request as httpRequest, type IncomingMessage } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { text as textOf } from 'node:stream/consumers'
import { KafkaToDeltaError } from '../errors.js'
import { type IssuedToken, TokenError, TokenSource } from '../logins/tokens.js'
import type { UnityCatalogOptions, WithTls } from '../options/types.js'
import { unlessAborted } from '../waits.js'
import { secretNow } from './secret-now.js'

/** As the published description has it. */
const BASE = 'api/2.1/unity-catalog/'

/** As Databricks has them: the open source server takes tokens alone. */
const TOKEN_PATH = 'oidc/v1/token'
const SCOPE = 'all-apis'

type ClientCredentials = Extract<NonNullable<UnityCatalogOptions['auth']>, { clientId: string }>

interface Answer {
  status: number
  /** Parsed; null where it is no JSON. */
  body: unknown
}

/** Milliseconds that a token may take: as long as a look at an entry, which mostly gives up before. */
const TOKEN_MS = 60_000

interface Request {
  method: 'GET' | 'POST' | 'DELETE'
  headers?: Record<string, string>
  body?: string
}

const withSlash = (url: string) => (url.endsWith('/') ? url : `${url}/`)

/** The server's own words. */
function wordsOf({ status, body }: Answer): string {
  const { message, error_description } = (typeof body === 'object' && body !== null ? body : {}) as Record<
    string,
    unknown
  >
  const words = [message, error_description].find((one) => typeof one === 'string' && one !== '')
  return words === undefined ? `status ${status}` : `${words} (status ${status})`
}

const errorCodeOf = ({ body }: Answer): string => {
  const code = (body as { error_code?: unknown } | null)?.error_code
  return typeof code === 'string' ? code : ''
}

export class UnityClient {
  readonly #options: WithTls<UnityCatalogOptions>
  readonly #closing = new AbortController()
  /** Null where none are asked for. */
  readonly #tokens: TokenSource | null

  constructor(options: WithTls<UnityCatalogOptions>) {
    this.#options = options
    const { auth } = options
    this.#tokens =
      auth && 'clientId' in auth ? new TokenSource(() => this.#issue(auth), 'the token endpoint', TOKEN_MS) : null
  }

  /** What is there; null where there is no such thing. */
  async get<T>(doing: string, path: string, signal: AbortSignal): Promise<T | null> {
    const answer = await this.#ask(doing, path, { method: 'GET' }, signal)
    if (answer.status === 404 && answer.body !== null) return null
    return this.#mustBeOk(doing, answer) as T
  }

  /** Makes a thing. One that is there already is left as it is. */
  async create(doing: string, path: string, body: object, signal: AbortSignal): Promise<void> {
    const answer = await this.#post(doing, path, body, signal)
    if (/ALREADY_EXISTS/.test(errorCodeOf(answer))) return
    this.#mustBeOk(doing, answer)
  }

  /** Asks for something that is made for us. */
  async post<T>(doing: string, path: string, body: object, signal: AbortSignal): Promise<T> {
    return this.#mustBeOk(doing, await this.#post(doing, path, body, signal)) as T
  }

  /** Takes a thing away, if it is there. */
  async delete(doing: string, path: string, signal: AbortSignal): Promise<void> {
    const answer = await this.#ask(doing, path, { method: 'DELETE' }, signal)
    if (answer.status === 404 && answer.body !== null) return
    this.#mustBeOk(doing, answer)
  }

  close(): void {
    this.#closing.abort(new Error('the catalog was closed'))
  }

  #post(doing: string, path: string, body: object, signal: AbortSignal): Promise<Answer> {
    const headers = { 'content-type': 'application/json' }
    return this.#ask(doing, path, { method: 'POST', headers, body: JSON.stringify(body) }, signal)
  }

  async #ask(doing: string, path: string, request: Request, signal: AbortSignal): Promise<Answer> {
    const url = new URL(`${BASE}${path}`, withSlash(this.#options.url))
    const ask = (token: string | null) => {
      const login = token === null ? {} : { authorization: `Bearer ${token}` }
      return this.#send(doing, url, { ...request, headers: { ...request.headers, ...login } }, signal)
    }
    if (this.#tokens === null) return ask(this.#givenToken)
    const token = await unlessAborted(currentToken(this.#tokens), signal)
    const answer = await ask(token)
    // A token may be taken back before its end.
    if (answer.status !== 401) return answer
    this.#tokens.refused(token)
    return ask(await unlessAborted(currentToken(this.#tokens), signal))
  }

  #mustBeOk(doing: string, answer: Answer): unknown {
    const { status, body } = answer
    if (status >= 200 && status < 300 && body !== null) return body
    const isDenied = status === 401 || status === 403
    throw new KafkaToDeltaError(
      isDenied ? 'CATALOG_DENIED' : 'CATALOG_UNAVAILABLE',
      `cannot ${doing} in Unity Catalog: ${body === null && status < 400 ? 'the answer is no JSON' : wordsOf(answer)}`,
    )
  }

  get #givenToken(): string | null {
    const { auth } = this.#options
    return auth && 'token' in auth ? secretNow(auth.token, 'token') : null
  }

  /** OAuth 2.0's client credentials (RFC 6749, 4.4), over the TLS that the catalog has. */
  async #issue({ clientId, clientSecret, tokenUrl, scope = SCOPE }: ClientCredentials): Promise<IssuedToken> {
    const url = new URL(tokenUrl ?? new URL(TOKEN_PATH, withSlash(this.#options.url)))
    const login = [clientId, secretNow(clientSecret, 'clientSecret')].map(encodeURIComponent).join(':')
    const headers = {
      authorization: `Basic ${Buffer.from(login).toString('base64')}`,
      'content-type': 'application/x-www-form-urlencoded',
    }
    const body = new URLSearchParams({ grant_type: 'client_credentials', scope }).toString()
    const answer = await this.#send('get a token', url, { method: 'POST', headers, body }, this.#closing.signal)
    const { access_token: value, expires_in: seconds } = (answer.body ?? {}) as {
      access_token?: string
      expires_in?: number
    }
    if (answer.status !== 200 || typeof value !== 'string') throw new TokenError(wordsOf(answer), isRefusal(answer))
    return { value, lifetime: seconds === undefined ? null : Number(seconds) * 1000 }
  }

  /** One request, on a connection of its own: a catalog is asked rarely. */
  async #send(doing: string, url: URL, { method, headers = {}, body }: Request, signal: AbortSignal): Promise<Answer> {
    const { tls } = this.#options
    const both = AbortSignal.any([signal, this.#closing.signal])
    try {
      const options = { method, headers, signal: both, agent: false as const }
      const sent = url.protocol === 'https:' ? httpsRequest(url, { ...options, ...tls }) : httpRequest(url, options)
      sent.end(body)
      const [answer] = (await once(sent, 'response')) as [IncomingMessage]
      const text = await textOf(answer)
      return { status: answer.statusCode ?? 0, body: parsed(text) }
    } catch (error) {
      const why = (error as Error).message || (error as NodeJS.ErrnoException).code
      throw new KafkaToDeltaError('CATALOG_UNAVAILABLE', `cannot ${doing} in Unity Catalog: ${why}`, { cause: error })
    }
  }
}

const isRefusal = ({ status }: Answer): boolean => status >= 400 && status < 500

async function currentToken(tokens: TokenSource): Promise<string> {
  try {
    return await tokens.get()
  } catch (error) {
    if (!(error instanceof TokenError)) throw error
    const code = error.isRefusal ? 'CATALOG_DENIED' : 'CATALOG_UNAVAILABLE'
    throw new KafkaToDeltaError(code, `cannot get a token for Unity Catalog: ${error.message}`)
  }
}

/** Of a page of HTML, or nothing: null. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text === '' ? '{}' : text)
  } catch {
    return null
  }
}
