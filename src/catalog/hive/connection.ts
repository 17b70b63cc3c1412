/** One connection to a Hive metastore: one call at a time, and none after a failure. */

import { once } from 'node:events'
import { connect as connectPlain, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import type thrift from 'thrift'
import type { HiveCatalogOptions, WithTls } from '../../options/types.js'
import { secretNow } from '../secret-now.js'
import { logIn } from './login.js'
import { readStruct, type Struct, textOf, writeStruct } from './values.js'

export interface Address {
  host: string
  port: number
}

export interface Connection {
  /** Resolves when calls can be made. */
  readonly ready: Promise<void>
  readonly isOpen: boolean
  /** The struct of the answer: its field 0 is the result, the others are the exceptions that the call declares. */
  call(method: string, args: Struct): Promise<Struct>
  close(): void
}

const MESSAGE = { call: 1, reply: 2 } as const

/** Far above what a table with thousands of columns has; without a limit a server that is none could fill the memory. */
const MAX_ANSWER_BYTES = 64 << 20

interface Waiting {
  resolve(answer: Struct): void
  reject(error: unknown): void
}

export function openConnection(
  library: typeof thrift,
  address: Address,
  { auth, tls }: Pick<WithTls<HiveCatalogOptions>, 'auth' | 'tls'>,
): Connection {
  // After a login each message has its length before it.
  const Transport = auth?.password === undefined ? library.TBufferedTransport : library.TFramedTransport
  const to = { ...address, noDelay: true }
  const socket = tls ? connectTls({ ...to, ...tls }) : connectPlain(to)
  let waiting: Waiting | null = null
  let sequence = 0

  const answered = (settle: (call: Waiting) => void) => {
    if (waiting) settle(waiting)
    waiting = null
  }
  const fail = (error: unknown) => {
    socket.destroy()
    answered((call) => call.reject(error))
  }
  const receive = Transport.receiver(
    (transport) => {
      const answer = answerOf(library, transport, sequence)
      if (answer === null) return
      transport.commitPosition()
      answered((call) => ('error' in answer ? call.reject(answer.error) : call.resolve(answer.result)))
    },
    0,
    MAX_ANSWER_BYTES,
  )
  const listen = () =>
    socket.on('data', (data) => {
      try {
        receive(data)
      } catch (error) {
        fail(error)
      }
    })
  socket.on('error', fail)
  socket.on('close', () => fail(new Error('it closed the connection without an answer')))
  const ready = accepted(socket, tls ? 'secureConnect' : 'connect', auth).then(listen)
  // Whoever waits for it may have given up.
  ready.catch(() => {})

  return {
    ready: ready.then(() => {}),
    get isOpen() {
      return !socket.destroyed && !socket.readableEnded
    },
    call: (method, args) =>
      new Promise((resolve, reject) => {
        if (socket.destroyed) return reject(new Error('the connection is closed'))
        waiting = { resolve, reject }
        const protocol = new library.TBinaryProtocol(
          new Transport(undefined, (bytes) => socket.write(bytes)),
          true,
          true,
        )
        protocol.writeMessageBegin(method, MESSAGE.call, ++sequence)
        writeStruct(protocol, args)
        protocol.writeMessageEnd()
        protocol.flush()
      }),
    close: () => fail(new Error('the connection was closed')),
  }
}

async function accepted(socket: Socket, event: string, auth: HiveCatalogOptions['auth']): Promise<void> {
  await once(socket, event)
  if (auth?.password !== undefined) await logIn(socket, auth.username, secretNow(auth.password, 'password'))
}

/** The answer that has come; null where it has not come whole. */
function answerOf(
  library: typeof thrift,
  transport: thrift.Transport,
  sequence: number,
): { result: Struct } | { error: Error } | null {
  try {
    const protocol = new library.TBinaryProtocol(transport, true, true)
    const { mtype, rseqid } = protocol.readMessageBegin()
    const result = readStruct(protocol)
    if (rseqid !== sequence) throw new Error(`it answers call ${rseqid}, and was asked call ${sequence}`)
    return mtype === MESSAGE.reply ? { result } : { error: new Error(textOf(result, 1) ?? 'it refuses the call') }
  } catch (error) {
    if ((error as Error).name !== 'InputBufferUnderrunError') throw error
    transport.rollbackPosition()
    return null
  }
}
