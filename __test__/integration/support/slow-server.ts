/** An HTTP server that answers late, or not at all, and tells when it was asked for something. */

import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

export interface Answer {
  status?: number
  json: unknown
}

export class SlowServer {
  readonly #server: Server
  readonly #asked = new Map<string, number>()
  #heard: (() => void)[] = []
  /** Milliseconds before the answer, by path. */
  readonly delays = new Map<string, number>()
  /** It answers nothing any more, also not what was asked before. */
  isSilent = false

  private constructor(answer: (path: string, body: string) => Answer) {
    this.#server = createServer(async (request, response) => {
      let body = ''
      for await (const chunk of request) body += chunk
      const path = request.url ?? ''
      this.#asked.set(path, this.asked(path) + 1)
      for (const heard of this.#heard.splice(0)) heard()
      await sleep(this.delays.get(path) ?? 0, undefined, { ref: false })
      if (this.isSilent) return
      const { status = 200, json } = answer(path, body)
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(json))
    })
  }

  static async start(answer: (path: string, body: string) => Answer): Promise<SlowServer> {
    const server = new SlowServer(answer)
    server.#server.listen(0, '127.0.0.1')
    await once(server.#server, 'listening')
    return server
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  /** How often a path was asked for. */
  asked(path: string): number {
    return this.#asked.get(path) ?? 0
  }

  /** Resolves when a path was asked for so often. */
  async reached(path: string, times = 1): Promise<void> {
    while (this.asked(path) < times) await new Promise<void>((resolve) => this.#heard.push(resolve))
  }

  close(): void {
    this.#server.closeAllConnections()
    this.#server.close()
  }
}
