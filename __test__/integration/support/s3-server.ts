/**
 * A store with S3's interface, in memory, that fails as it is told: what object_store asks of S3, with small files (no
 * uploads in parts), conditional writes and pages of lists. It takes any signature.
 */

import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

/** An answer of S3 that is an error; or none: the connection is reset, or nothing comes. */
export type StoreFault = { status: number; code: string; message?: string } | 'reset' | 'silent'

export interface StoreRequest {
  method: string
  /** Without the bucket. */
  key: string
}

interface StoredFile {
  body: Buffer
  modified: Date
}

const escaped = (text: string) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')

export class S3Server {
  readonly #server: Server
  readonly files = new Map<string, StoredFile>()
  readonly requests: StoreRequest[] = []
  /** What becomes of a request; null where it is answered. */
  failing: (request: StoreRequest) => StoreFault | null = () => null
  /** Whether a write is done and the connection reset instead of an answer. */
  lost: (request: StoreRequest) => boolean = () => false

  private constructor() {
    this.#server = createServer((request, response) => void this.#handle(request, response))
  }

  static async start(): Promise<S3Server> {
    const server = new S3Server()
    server.#server.listen(0, '127.0.0.1')
    await once(server.#server, 'listening')
    return server
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  /** Options of tables at `s3://lake/…`. The client itself tries again only for as long as `more` says. */
  storageOptions(more: Record<string, string> = {}): Record<string, string> {
    const credentials = { access_key_id: 'key', secret_access_key: 'secret', region: 'us-east-1' }
    return { endpoint: this.url, allow_http: 'true', ...credentials, ...more }
  }

  close(): void {
    this.#server.closeAllConnections()
    this.#server.close()
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    const body = Buffer.concat(chunks)
    const url = new URL(request.url ?? '/', 'http://store')
    const key = decodeURIComponent(url.pathname).split('/').slice(2).join('/')
    const method = request.method ?? 'GET'
    const asked = { method, key: key || (url.searchParams.get('prefix') ?? '') }
    this.requests.push(asked)
    const fault = this.failing(asked)
    if (fault === 'silent') return
    if (fault === 'reset') {
      request.socket.resetAndDestroy()
      return
    }
    if (fault) {
      this.#error(response, fault.status, fault.code, fault.message ?? fault.code)
      return
    }
    if (this.lost(asked) && !(request.headers['if-none-match'] === '*' && this.files.has(key))) {
      this.files.set(key, { body, modified: new Date() })
      request.socket.resetAndDestroy()
      return
    }
    if (url.searchParams.has('list-type')) this.#list(response, url.searchParams)
    else if (method === 'POST' && url.searchParams.has('delete')) this.#deleteAll(response, body.toString())
    else if (method === 'PUT') this.#put(request, response, key, body)
    else if (method === 'DELETE') {
      this.files.delete(key)
      response.writeHead(204).end()
    } else this.#get(request, response, key)
  }

  #error(response: ServerResponse, status: number, code: string, message: string): void {
    const xml = `<?xml version="1.0"?><Error><Code>${code}</Code><Message>${message}</Message></Error>`
    response.writeHead(status, { 'content-type': 'application/xml' }).end(xml)
  }

  #put(request: IncomingMessage, response: ServerResponse, key: string, body: Buffer): void {
    if (request.headers['if-none-match'] === '*' && this.files.has(key)) {
      this.#error(response, 412, 'PreconditionFailed', 'it is there')
      return
    }
    this.files.set(key, { body, modified: new Date() })
    response.writeHead(200, { etag: `"${body.length}"` }).end()
  }

  #get(request: IncomingMessage, response: ServerResponse, key: string): void {
    const file = this.files.get(key)
    if (!file) {
      this.#error(response, 404, 'NoSuchKey', 'it is not there')
      return
    }
    const { body, modified } = file
    const headers = { etag: `"${body.length}"`, 'last-modified': modified.toUTCString(), 'accept-ranges': 'bytes' }
    const [, from = '', to = ''] = /bytes=(\d*)-(\d*)/.exec(request.headers.range ?? '') ?? []
    if (from === '' && to === '') {
      response.writeHead(200, { ...headers, 'content-length': body.length })
      response.end(request.method === 'HEAD' ? undefined : body)
      return
    }
    const start = from === '' ? Math.max(0, body.length - Number(to)) : Number(from)
    const end = from === '' || to === '' ? body.length - 1 : Math.min(body.length - 1, Number(to))
    const range = `bytes ${start}-${end}/${body.length}`
    response.writeHead(206, { ...headers, 'content-range': range, 'content-length': end - start + 1 })
    response.end(body.subarray(start, end + 1))
  }

  #deleteAll(response: ServerResponse, body: string): void {
    const keys = [...body.matchAll(/<Key>([^<]*)<\/Key>/g)].map(([, key = '']) => key)
    for (const key of keys) this.files.delete(key)
    const deleted = keys.map((key) => `<Deleted><Key>${key}</Key></Deleted>`).join('')
    response.writeHead(200, { 'content-type': 'application/xml' }).end(`<DeleteResult>${deleted}</DeleteResult>`)
  }

  #list(response: ServerResponse, query: URLSearchParams): void {
    const [prefix, delimiter] = [query.get('prefix') ?? '', query.get('delimiter')]
    const after = query.get('start-after') ?? ''
    const folders = new Set<string>()
    const found: string[] = []
    for (const key of [...this.files.keys()].sort()) {
      if (!key.startsWith(prefix) || key <= after) continue
      const end = delimiter ? key.indexOf(delimiter, prefix.length) : -1
      if (end >= 0) folders.add(key.slice(0, end + 1))
      else found.push(key)
    }
    const contents = found.map((key) => {
      const { body, modified } = this.files.get(key) as StoredFile
      const about = `<LastModified>${modified.toISOString()}</LastModified><ETag>"${body.length}"</ETag>`
      return `<Contents><Key>${escaped(key)}</Key>${about}<Size>${body.length}</Size></Contents>`
    })
    const prefixes = [...folders].map((name) => `<CommonPrefixes><Prefix>${escaped(name)}</Prefix></CommonPrefixes>`)
    const list = `<IsTruncated>false</IsTruncated>${contents.join('')}${prefixes.join('')}`
    response.writeHead(200, { 'content-type': 'application/xml' }).end(`<ListBucketResult>${list}</ListBucketResult>`)
  }
}
