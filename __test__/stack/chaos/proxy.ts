/** A TCP proxy on the loopback interface that can be slow, silent or broken, between workers and one system. */

import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { pipeline } from 'node:stream/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { HOST } from '../../../scripts/stack/settings.mjs'

export class TcpProxy {
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  port = 0
  #delayMs = 0
  #isCut = false
  /** Resolves when bytes flow again; null while they flow. */
  #silence: { over: Promise<void>; end: () => void } | null = null

  private constructor(private readonly target: number) {
    this.#server = createServer((socket) => this.#connected(socket))
  }

  /** @param target the system's port */
  static async start(target: number): Promise<TcpProxy> {
    const proxy = new TcpProxy(target)
    proxy.#server.listen(0, HOST)
    await once(proxy.#server, 'listening')
    proxy.port = (proxy.#server.address() as AddressInfo).port
    return proxy
  }

  /** Every piece of up to 64 KB waits so long, in both directions. */
  slow(ms: number): void {
    this.#delayMs = ms
  }

  /** Connections are accepted, and nothing comes through any more. */
  silence(): void {
    let end = () => {}
    const over = new Promise<void>((resolve) => {
      end = resolve
    })
    this.#silence ??= { over, end }
  }

  /** Ends all connections, and each new one at once. */
  cut(): void {
    this.#isCut = true
    this.drop()
  }

  /** Ends all connections. */
  drop(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy()
  }

  /** As at the start. What was held back goes on its way. */
  heal(): void {
    this.#delayMs = 0
    this.#isCut = false
    this.#silence?.end()
    this.#silence = null
  }

  async close(): Promise<void> {
    this.cut()
    this.heal()
    this.#server.close()
    await once(this.#server, 'close')
  }

  #connected(client: Socket): void {
    if (this.#isCut) {
      client.resetAndDestroy()
      return
    }
    const system = connect({ host: HOST, port: this.target })
    for (const [from, to] of [
      [client, system],
      [system, client],
    ] as const) {
      this.#sockets.add(from)
      from.on('error', () => {})
      from.once('close', () => this.#sockets.delete(from))
      void this.#carry(from, to)
    }
  }

  async #carry(from: Socket, to: Socket): Promise<void> {
    const held = async function* (this: TcpProxy, pieces: AsyncIterable<Buffer>) {
      for await (const piece of pieces) {
        if (this.#delayMs > 0) await sleep(this.#delayMs)
        await this.#silence?.over
        yield piece
      }
      await this.#silence?.over
    }
    await pipeline(from, held.bind(this), to).catch(() => to.destroy())
  }
}
