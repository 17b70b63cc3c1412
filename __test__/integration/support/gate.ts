/** A way to a server on this machine that can be cut: the server itself goes on, and keeps what it has. */

import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'

export class Gate {
  readonly #target: number
  readonly #sockets = new Set<Socket>()
  #server: Server | null = null
  #port = 0

  /** Open at once. @param target the server's port */
  static async to(target: number): Promise<Gate> {
    const gate = new Gate(target)
    await gate.open()
    return gate
  }

  private constructor(target: number) {
    this.#target = target
  }

  /** The same, however often it was cut. */
  get port(): number {
    return this.#port
  }

  async open(): Promise<void> {
    const server = createServer((socket) => this.#through(socket))
    server.listen(this.#port, '127.0.0.1')
    await once(server, 'listening')
    this.#port = (server.address() as AddressInfo).port
    this.#server = server
  }

  /** Ends all connections, and refuses new ones. */
  async cut(): Promise<void> {
    const server = this.#server
    this.#server = null
    if (server === null) return
    const closed = once(server, 'close')
    server.close()
    for (const socket of this.#sockets) socket.destroy()
    await closed
  }

  #through(socket: Socket): void {
    const onward = connect(this.#target, '127.0.0.1')
    for (const [one, other] of [
      [socket, onward],
      [onward, socket],
    ] as const) {
      this.#sockets.add(one)
      one.on('error', () => other.destroy())
      one.on('close', () => {
        this.#sockets.delete(one)
        other.destroy()
      })
      one.pipe(other)
    }
  }
}
