/** A login by SASL PLAIN, as Thrift's TSaslTransport has it: a metastore with LDAP or a list of users asks for it. */

import { once } from 'node:events'
import type { Socket } from 'node:net'
import { KafkaToDeltaError } from '../../errors.js'

const STATUS = { start: 1, ok: 2, bad: 3, error: 4, complete: 5 } as const

/** Above any answer to a login: what is longer comes from a server that is no metastore. */
const MAX_ANSWER_BYTES = 64 << 10

/** @throws CATALOG_DENIED where the metastore refuses the user or the password */
export async function logIn(socket: Socket, username: string, password: string): Promise<void> {
  socket.write(Buffer.concat([message(STATUS.start, 'PLAIN'), message(STATUS.ok, `\0${username}\0${password}`)]))
  const head = await read(socket, 5)
  const [status, length] = [head.readUInt8(0), head.readUInt32BE(1)]
  if (length > MAX_ANSWER_BYTES)
    throw new Error('it answers a login with no word of SASL: does it speak TLS, or know no logins?')
  const payload = (await read(socket, length)).toString()
  if (status === STATUS.complete || status === STATUS.ok) return
  throw new KafkaToDeltaError('CATALOG_DENIED', `the Hive metastore refuses the login of ${username}: ${payload}`)
}

function message(status: number, payload: string): Buffer {
  const head = Buffer.alloc(5)
  head.writeUInt8(status, 0)
  head.writeUInt32BE(Buffer.byteLength(payload), 1)
  return Buffer.concat([head, Buffer.from(payload)])
}

async function read(socket: Socket, size: number): Promise<Buffer> {
  while (size > 0) {
    const bytes = socket.read(size) as Buffer | null
    if (bytes?.length === size) return bytes
    if (bytes || socket.readableEnded || socket.destroyed) throw new Error('it closed the connection during the login')
    await once(socket, 'readable')
  }
  return Buffer.alloc(0)
}
