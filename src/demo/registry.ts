/** A schema registry inside of the process, as far as Confluent's clients need it: for the demo and for tests. */

import { createHash } from 'node:crypto'
import { appendFileSync, existsSync, readFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface EmbeddedRegistryOptions {
  /** Default: a free one. */
  port?: number
  /** Keeps the schemas in this file, and starts with what it holds. Default: memory only. */
  dataFile?: string
  /** Clients must send this user and password (HTTP basic authentication). Default: nothing asked for. */
  credentials?: { user: string; password: string }
}

interface SubjectVersion {
  version: number
  id: number
}

/** One line of the data file. */
interface DataLine {
  id?: number
  schema?: string
  subject?: string
  version?: number
  compatibility?: string
}

interface Fault {
  status: number
  body: string
  left: number
}

/** An answer that is an error, with Confluent's error code. */
class RegistryError extends Error {
  readonly status: number
  readonly code: number

  constructor(status: number, code: number, message: string) {
    super(message)
    this.status = status
    this.code = code
  }
}

const HOST = '127.0.0.1'
const GLOBAL = ''
const CONTENT_TYPE = 'application/vnd.schemaregistry.v1+json'
const MAX_BODY_BYTES = 4 * 1024 * 1024

export class EmbeddedRegistry {
  readonly #schemas = new Map<number, string>()
  /** Schema text → id, of the schemas that were registered or set last. */
  readonly #ids = new Map<string, number>()
  readonly #subjects = new Map<string, SubjectVersion[]>()
  readonly #compatibility = new Map<string, string>([[GLOBAL, 'NONE']])
  readonly #dataFile: string | null
  readonly #authorization: string | null
  #server: Server | null = null
  #port: number
  #fault: Fault | null = null
  #hanging = false
  readonly #held = new Set<ServerResponse>()
  #requests = 0

  private constructor(options: EmbeddedRegistryOptions) {
    this.#port = options.port ?? 0
    this.#dataFile = options.dataFile ?? null
    const { credentials } = options
    this.#authorization = credentials
      ? `Basic ${Buffer.from(`${credentials.user}:${credentials.password}`).toString('base64')}`
      : null
    if (this.#dataFile !== null && existsSync(this.#dataFile)) {
      for (const text of readFileSync(this.#dataFile, 'utf8').split('\n')) {
        let line: DataLine
        try {
          line = JSON.parse(text)
        } catch {
          // The end, or a line that a killed process did not finish.
          continue
        }
        this.#apply(line)
      }
    }
  }

  /** Starts a registry on the loopback interface. Rejects where the port is taken. */
  static async start(options: EmbeddedRegistryOptions = {}): Promise<EmbeddedRegistry> {
    const registry = new EmbeddedRegistry(options)
    const server = createServer((request, response) => {
      registry.#serve(request, response).catch((error) => registry.#fail(response, error))
    })
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(registry.#port, HOST, () => {
        server.off('error', reject)
        resolve()
      })
    })
    registry.#server = server
    registry.#port = (server.address() as AddressInfo).port
    return registry
  }

  get url(): string {
    return `http://${HOST}:${this.#port}`
  }

  /** Requests that came so far, also those that were answered with a fault. */
  get requests(): number {
    return this.#requests
  }

  async close(): Promise<void> {
    const server = this.#server
    this.#server = null
    if (!server) return
    server.closeAllConnections()
    await new Promise<void>((resolve) => server.close(() => resolve()))
  }

  /** Puts a schema at a fixed id, and under a subject where one is named. Replaces what was at the id. */
  setSchema(id: number, schema: string | object, subject?: string): void {
    const text = typeof schema === 'string' ? schema : JSON.stringify(schema)
    this.#record({ id, schema: text })
    if (subject !== undefined) this.#addVersion(subject, id)
  }

  /** Ids of all schemas. */
  get ids(): number[] {
    return [...this.#schemas.keys()].sort((a, b) => a - b)
  }

  /** Answers the next `times` requests with this status and body; without `times`, all until {@link recover}. */
  failWith(status: number, body: string | object, times = Number.POSITIVE_INFINITY): void {
    this.#fault = { status, body: typeof body === 'string' ? body : JSON.stringify(body), left: times }
  }

  /** Takes requests and never answers them, until {@link recover}. */
  hang(): void {
    this.#hanging = true
  }

  /** Ends all faults. Connections of requests that were left hanging are cut. */
  recover(): void {
    this.#fault = null
    this.#hanging = false
    for (const response of this.#held) response.destroy()
    this.#held.clear()
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.#requests++
    const body = await readBody(request)
    if (this.#hanging) {
      this.#held.add(response)
      response.on('close', () => this.#held.delete(response))
      return
    }
    if (this.#fault && this.#fault.left > 0) {
      this.#fault.left--
      response.writeHead(this.#fault.status, { 'content-type': CONTENT_TYPE }).end(this.#fault.body)
      return
    }
    if (this.#authorization !== null && request.headers.authorization !== this.#authorization) {
      throw new RegistryError(401, 40101, 'Unauthorized')
    }
    const url = new URL(request.url ?? '/', this.url)
    const path = url.pathname
      .split('/')
      .filter((part) => part !== '')
      .map(decodePart)
    const answer = this.#route(request.method ?? 'GET', path, body, url.searchParams)
    response.writeHead(200, { 'content-type': CONTENT_TYPE }).end(JSON.stringify(answer))
  }

  #fail(response: ServerResponse, error: unknown): void {
    if (response.headersSent) {
      response.destroy()
      return
    }
    const known = error instanceof RegistryError
    response
      .writeHead(known ? error.status : 500, { 'content-type': CONTENT_TYPE })
      .end(JSON.stringify({ error_code: known ? error.code : 50001, message: String((error as Error).message) }))
  }

  #route(method: string, path: string[], body: string, query: URLSearchParams): unknown {
    const [first, second, third, fourth, ...rest] = path
    if (rest.length === 0) {
      if (method === 'GET' && path.length === 0) return {}
      if (method === 'GET' && first === 'schemas') {
        if (second === 'types') return ['AVRO']
        if (second === 'guids' && third !== undefined && fourth === undefined) return this.#schemaByGuid(third)
        if (second === 'ids' && third !== undefined) return this.#schemaById(third, fourth)
      }
      if (first === 'subjects') return this.#routeSubjects(method, path, body)
      if (first === 'config' && third === undefined) return this.#routeConfig(method, second ?? GLOBAL, body, query)
      if (first === 'mode' && method === 'GET') return { mode: 'READWRITE' }
    }
    throw new RegistryError(404, 404, `HTTP 404 Not Found: ${method} /${path.join('/')}`)
  }

  #routeSubjects(method: string, path: string[], body: string): unknown {
    const [, subject, kind, version, detail] = path
    if (method === 'GET' && subject === undefined) return [...this.#subjects.keys()].sort()
    if (subject === undefined) throw new RegistryError(405, 405, 'HTTP 405 Method Not Allowed')
    if (method === 'POST' && kind === undefined) return this.#lookUp(subject, readSchema(body))
    if (kind === 'versions') {
      if (method === 'POST' && version === undefined) return { id: this.#register(subject, readSchema(body)) }
      if (method === 'GET' && version === undefined) return this.#versions(subject).map((known) => known.version)
      if (method === 'GET' && version !== undefined) {
        const found = this.#describe(subject, this.#version(subject, version))
        return detail === 'schema' ? JSON.parse(found.schema) : found
      }
    }
    throw new RegistryError(404, 404, `HTTP 404 Not Found: ${method} /${path.join('/')}`)
  }

  #routeConfig(method: string, subject: string, body: string, query: URLSearchParams): unknown {
    if (method === 'PUT') {
      const compatibility = String(readJson(body).compatibility ?? '')
      if (!/^(NONE|(BACKWARD|FORWARD|FULL)(_TRANSITIVE)?)$/.test(compatibility)) {
        throw new RegistryError(422, 42203, `Invalid compatibility level ${JSON.stringify(compatibility)}`)
      }
      this.#record({ subject, compatibility })
      return { compatibility }
    }
    if (method !== 'GET') throw new RegistryError(405, 405, 'HTTP 405 Method Not Allowed')
    const own = this.#compatibility.get(subject)
    if (own !== undefined) return { compatibilityLevel: own }
    if (query.get('defaultToGlobal') === 'true') return { compatibilityLevel: this.#compatibility.get(GLOBAL) }
    throw new RegistryError(404, 40408, `Subject '${subject}' does not have subject-level compatibility configured`)
  }

  /** The GUID of a schema's text, as `GET /schemas/guids/{guid}` knows it. */
  static guidOf(schema: string): string {
    const hex = createHash('md5').update(schema).digest('hex')
    return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-')
  }

  #schemaByGuid(guid: string): unknown {
    const schema = [...this.#schemas.values()].find((text) => EmbeddedRegistry.guidOf(text) === guid)
    if (schema === undefined) throw new RegistryError(404, 40403, `Schema ${guid} not found`)
    return { schema, guid }
  }

  #schemaById(idText: string, detail: string | undefined): unknown {
    const id = Number(idText)
    const schema = this.#schemas.get(id)
    if (schema === undefined) throw new RegistryError(404, 40403, `Schema ${idText} not found`)
    if (detail === 'schema') return JSON.parse(schema)
    const uses = [...this.#subjects].flatMap(([subject, versions]) =>
      versions.filter((known) => known.id === id).map(({ version }) => ({ subject, version })),
    )
    if (detail === 'versions') return uses
    if (detail === 'subjects') return uses.map(({ subject }) => subject)
    if (detail !== undefined) throw new RegistryError(404, 404, 'HTTP 404 Not Found')
    return { schema }
  }

  #versions(subject: string): SubjectVersion[] {
    const versions = this.#subjects.get(subject)
    if (!versions) throw new RegistryError(404, 40401, `Subject '${subject}' not found.`)
    return versions
  }

  #version(subject: string, version: string): SubjectVersion {
    const versions = this.#versions(subject)
    const found =
      version === 'latest' || version === '-1'
        ? versions.at(-1)
        : versions.find((known) => known.version === Number(version))
    if (!found) throw new RegistryError(404, 40402, `Version ${version} not found.`)
    return found
  }

  #describe(subject: string, { id, version }: SubjectVersion) {
    return { subject, version, id, schema: this.#schemas.get(id) ?? '' }
  }

  #lookUp(subject: string, schema: string): unknown {
    const id = this.#ids.get(schema)
    const found = this.#versions(subject).find((known) => known.id === id)
    if (!found) throw new RegistryError(404, 40403, 'Schema not found')
    return this.#describe(subject, found)
  }

  #register(subject: string, schema: string): number {
    let id = this.#ids.get(schema)
    if (id === undefined) {
      id = Math.max(0, ...this.#schemas.keys()) + 1
      this.#record({ id, schema })
    }
    this.#addVersion(subject, id)
    return id
  }

  /** A schema that the subject has already keeps its version. */
  #addVersion(subject: string, id: number): void {
    const versions = this.#subjects.get(subject) ?? []
    if (versions.some((known) => known.id === id)) return
    this.#record({ subject, id, version: (versions.at(-1)?.version ?? 0) + 1 })
  }

  #record(line: DataLine): void {
    this.#apply(line)
    if (this.#dataFile !== null) appendFileSync(this.#dataFile, `${JSON.stringify(line)}\n`)
  }

  #apply({ id, schema, subject, version, compatibility }: DataLine): void {
    if (id !== undefined && schema !== undefined) {
      const before = this.#schemas.get(id)
      if (before !== undefined && this.#ids.get(before) === id) this.#ids.delete(before)
      this.#schemas.set(id, schema)
      this.#ids.set(schema, id)
    } else if (id !== undefined && subject !== undefined && version !== undefined) {
      this.#subjects.set(subject, [...(this.#subjects.get(subject) ?? []), { id, version }])
    } else if (subject !== undefined && compatibility !== undefined) {
      this.#compatibility.set(subject, compatibility)
    }
  }
}

function decodePart(part: string): string {
  try {
    return decodeURIComponent(part)
  } catch {
    throw new RegistryError(400, 400, `bad path: ${part}`)
  }
}

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of request) {
    size += chunk.length
    if (size > MAX_BODY_BYTES) throw new RegistryError(413, 413, 'body too large')
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}

function readJson(body: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(body)
    if (typeof value === 'object' && value !== null) return value as Record<string, unknown>
  } catch {
    // Answered below.
  }
  throw new RegistryError(400, 400, 'the body is no JSON object')
}

/** The schema in a request, as compact JSON text: so the same schema is found whatever its white space. */
function readSchema(body: string): string {
  const { schema, schemaType } = readJson(body)
  if (schemaType !== undefined && schemaType !== 'AVRO') throw new RegistryError(422, 42201, 'only AVRO is kept here')
  try {
    if (typeof schema === 'string') return JSON.stringify(JSON.parse(schema))
  } catch {
    // Answered below.
  }
  throw new RegistryError(422, 42201, 'Invalid schema: no JSON text')
}
