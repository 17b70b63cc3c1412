/** A server of Thrift that answers as a test says, and logs in by SASL PLAIN where it has a password. */

import { once } from 'node:events'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import thrift from 'thrift'
import { readStruct, type Struct, writeStruct } from '../../../src/catalog/hive/values.js'

/** What a call is answered with; null: with nothing. */
export type Answer = (method: string, args: Struct) => Struct | null

export interface FakeMetastore {
  readonly uri: string
  /** The methods that were called, with the number of the connection. */
  readonly calls: string[]
  answer: Answer
  /** Ends all connections. */
  hangUp(): void
  close(): Promise<void>
}

export async function fakeMetastore(answer: Answer = () => new Map(), password?: string): Promise<FakeMetastore> {
  const sockets = new Set<Socket>()
  let connections = 0
  const server = createServer((socket) => {
    const connection = ++connections
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
    socket.on('error', () => {})
    const Transport = password === undefined ? thrift.TBufferedTransport : thrift.TFramedTransport
    const receive = Transport.receiver((transport) => {
      const input = new thrift.TBinaryProtocol(transport, true, true)
      const { fname, rseqid } = input.readMessageBegin()
      const args = readStruct(input)
      transport.commitPosition()
      metastore.calls.push(`${connection} ${fname}`)
      const result = metastore.answer(fname, args)
      if (result === null) return
      const output = new thrift.TBinaryProtocol(new Transport(undefined, (bytes) => socket.write(bytes)), true, true)
      output.writeMessageBegin(fname, 2, rseqid)
      writeStruct(output, result)
      output.writeMessageEnd()
      output.flush()
    })
    if (password === undefined) socket.on('data', receive)
    else socket.once('data', (data) => logIn(socket, data, password) && socket.on('data', receive))
  })
  const metastore: FakeMetastore = {
    uri: `thrift://127.0.0.1:${await listen(server)}`,
    calls: [],
    answer,
    hangUp: () => {
      for (const socket of sockets) socket.destroy()
    },
    close: async () => {
      metastore.hangUp()
      server.close()
      await once(server, 'close')
    },
  }
  return metastore
}

/** Takes both messages of a login, which come together. */
function logIn(socket: Socket, data: Buffer, password: string): boolean {
  const isRight = data.toString('latin1').endsWith(`\0${password}`)
  const text = isRight ? '' : 'wrong password'
  const head = Buffer.from([isRight ? 5 : 3, 0, 0, 0, text.length])
  socket.write(Buffer.concat([head, Buffer.from(text)]))
  return isRight
}

export async function listen(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}
