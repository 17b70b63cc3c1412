/**
 * What a scheduler and Prometheus ask a worker: `/healthz` (the process does its work: restart it otherwise), `/readyz`
 * (every table gets its changes), `/status` (JSON) and `/metrics`.
 */

import { once } from 'node:events'
import { createServer, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { KafkaToDeltaError } from '../errors.js'
import type { StreamingQuery } from '../stream/index.js'
import { Metrics } from './metrics.js'

export interface HttpAddress {
  /** Undefined: all addresses of the machine. */
  host?: string
  /** 0: any that is free. */
  port: number
}

/** `8080`, `:8080`, `127.0.0.1:8080`, `[::1]:8080`; null for anything else. */
export function parseHttpAddress(text: string): HttpAddress | null {
  const found = /^(?:(?<v6>\[[\da-f:.]+\])?(?<host>[^:[\]]*):)?(?<port>\d{1,5})$/i.exec(text.trim())?.groups
  const port = Number(found?.port)
  if (!found || !(port <= 65_535) || (found.v6 && found.host)) return null
  const host = found.v6 ? found.v6.slice(1, -1) : found.host
  return host ? { host, port } : { port }
}

interface Answer {
  status: number
  type: string
  body: string
}

const text = (status: number, body: string): Answer => ({
  status,
  type: 'text/plain; charset=utf-8',
  body: `${body}\n`,
})

export class HttpServer {
  readonly #server: Server
  readonly #metrics = new Metrics()
  #query: StreamingQuery | null = null
  /** The last start or query has ended with it. */
  #failure: KafkaToDeltaError | null = null

  private constructor() {
    this.#server = createServer((request, response) => {
      const path = (request.url ?? '').split('?', 1)[0]
      if (request.method !== 'GET' && request.method !== 'HEAD') return send(response, text(405, 'GET alone'))
      this.#answer(path ?? '').then(
        (answer) => send(response, answer),
        (error) => send(response, text(500, String(error))),
      )
    })
    this.#server.headersTimeout = 10_000
    this.#server.requestTimeout = 10_000
  }

  /** @throws CONFIG_INVALID where the address cannot be listened on */
  static async listen({ host, port }: HttpAddress): Promise<HttpServer> {
    const http = new HttpServer()
    http.#server.listen(port, host)
    try {
      await once(http.#server, 'listening')
    } catch (error) {
      const where = `${host ?? ''}:${port}`
      throw new KafkaToDeltaError('CONFIG_INVALID', `--http ${where}: ${(error as Error).message}`, { cause: error })
    }
    return http
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  /** The query has started. */
  watch(query: StreamingQuery): void {
    this.#query = query
    this.#metrics.watch(query)
    query.on('terminated', ({ exception }) => {
      this.#failure = exception
    })
  }

  /** Ends all connections: what asks is not waited for. */
  async close(): Promise<void> {
    const closed = once(this.#server, 'close')
    this.#server.close()
    this.#server.closeAllConnections()
    await closed
  }

  async #answer(path: string): Promise<Answer> {
    switch (path) {
      case '/healthz':
        return this.#health()
      case '/readyz':
        return this.#readiness()
      case '/metrics':
        return { status: 200, type: this.#metrics.contentType, body: await this.#metrics.text() }
      case '/status':
        return { status: 200, type: 'application/json', body: `${JSON.stringify(this.#status())}\n` }
      default:
        return text(404, 'there are /healthz, /readyz, /status and /metrics')
    }
  }

  /** A start that waits for its systems is healthy; so is a query of which one table failed: the others go on. */
  #health(): Answer {
    if (this.#failure) return text(503, this.#failure.message)
    const query = this.#query
    if (query === null) return text(200, 'starting')
    return query.isActive ? text(200, ['ok', ...troubles(query)].join('\n')) : text(503, 'stopped')
  }

  #readiness(): Answer {
    const query = this.#query
    if (query === null) return text(503, 'starting')
    if (!query.isActive) return text(503, 'stopped')
    if (query.exception) return text(503, query.exception.message)
    const found = [...troubles(query), ...starting(query)]
    return found.length > 0 ? text(503, found.join('\n')) : text(200, 'ok')
  }

  #status() {
    const query = this.#query
    if (query === null) return { state: 'starting' }
    const error = query.exception
    return {
      state: query.isActive ? 'running' : 'stopped',
      name: query.name,
      error: error && { code: error.code, message: error.message },
      ...query.status,
      lastProgress: query.lastProgress,
    }
  }
}

/** What a restart does not help: tables that wait for a system, and those that an error stopped. */
function troubles(query: StreamingQuery): string[] {
  return Object.entries(query.status.tables).flatMap(([topic, { error, waitingFor }]) => {
    if (error) return [`${topic} was stopped by ${error.code}: ${error.message}`]
    return waitingFor ? [`${topic} waits since ${waitingFor.since}: ${waitingFor.message}`] : []
  })
}

/** Tables that are being opened, or whose topics are not read yet. */
function starting(query: StreamingQuery): string[] {
  const tables = Object.entries(query.status.tables)
  return tables.flatMap(([topic, { state, waitingFor }]) =>
    state === 'starting' && !waitingFor ? [`${topic} is starting`] : [],
  )
}

function send(response: ServerResponse, { status, type, body }: Answer): void {
  response.writeHead(status, { 'content-type': type, 'cache-control': 'no-store' })
  response.end(response.req.method === 'HEAD' ? undefined : body)
}
