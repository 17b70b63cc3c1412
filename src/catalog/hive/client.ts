/** Calls of a Hive metastore, one after the other: the first address that answers, opened anew where a connection has ended. */

import { userInfo } from 'node:os'
import type thrift from 'thrift'
import { KafkaToDeltaError } from '../../errors.js'
import type { HiveCatalogOptions, WithTls } from '../../options/types.js'
import { unlessAborted, within } from '../../waits.js'
import { type Address, type Connection, openConnection } from './connection.js'
import { type Struct, text, texts } from './values.js'

export interface Client {
  /** The user by whose name the metastore knows us. */
  readonly user: string
  /**
   * The struct of the answer: its field 0 is the result, the others are the exceptions that the call declares.
   *
   * @throws CATALOG_UNAVAILABLE where no metastore answers
   * @throws CATALOG_DENIED where it refuses the login
   */
  call(method: string, args: Struct, signal: AbortSignal): Promise<Struct>
  close(): void
}

/** How long a connection and its greeting may take, and how long a call. A create makes folders in the store. */
export interface Patience {
  readonly connectMs: number
  readonly callMs: number
}

export function openClient(library: typeof thrift, options: WithTls<HiveCatalogOptions>, patience: Patience): Client {
  const user = options.auth?.username ?? userInfo().username
  const addresses = options.uri.split(',').map((uri) => addressOf(uri.trim()))
  let connection: Connection | null = null
  let closed = false
  let last: Promise<unknown> = Promise.resolve()

  /** A connection whose metastore has answered once: one that accepts and says nothing makes way for the next. */
  const greeted = async (address: Address): Promise<Connection> => {
    const opened = openConnection(library, address, options)
    connection = opened
    try {
      const greeting = opened.ready.then(() => opened.call('set_ugi', setUgi(user)))
      await within(greeting, patience.connectMs, () => new Error(`it does not answer for ${patience.connectMs} ms`))
      return opened
    } catch (error) {
      opened.close()
      throw error
    }
  }

  const connected = async (signal: AbortSignal): Promise<Connection> => {
    if (connection?.isOpen) return connection
    const failures: string[] = []
    for (const address of addresses) {
      signal.throwIfAborted()
      if (closed) throw new KafkaToDeltaError('CATALOG_UNAVAILABLE', 'the connection to the Hive metastore was closed')
      try {
        return await greeted(address)
      } catch (error) {
        if (error instanceof KafkaToDeltaError) throw error
        failures.push(`${address.host}:${address.port}: ${reason(error)}`)
      }
    }
    throw new KafkaToDeltaError('CATALOG_UNAVAILABLE', `no Hive metastore answers: ${failures.join('; ')}`)
  }

  const callNow = async (method: string, args: Struct, signal: AbortSignal): Promise<Struct> => {
    signal.throwIfAborted()
    const answering = connected(signal).then((open) =>
      within(open.call(method, args), patience.callMs, () => new Error(`no answer for ${patience.callMs} ms`)),
    )
    try {
      return await unlessAborted(answering, signal)
    } catch (error) {
      // An answer that comes later would be taken for that of the next call.
      connection?.close()
      signal.throwIfAborted()
      if (error instanceof KafkaToDeltaError) throw error
      const message = `the Hive metastore fails at ${method}: ${reason(error)}`
      throw new KafkaToDeltaError('CATALOG_UNAVAILABLE', message, { cause: error })
    }
  }

  return {
    user,
    call: (method, args, signal) => {
      const answer = last.then(() => callNow(method, args, signal))
      last = answer.catch(() => {})
      return unlessAborted(answer, signal)
    },
    close: () => {
      closed = true
      connection?.close()
    },
  }
}

const reason = (error: unknown) => (error instanceof Error ? error.message || String(error) : String(error))

function addressOf(uri: string): Address {
  const { hostname, port } = new URL(uri)
  return { host: hostname, port: Number(port) }
}

/** Tells an open metastore by whose name it works. One with a login knows it already, and takes the same name. */
const setUgi = (user: string): Struct =>
  new Map([
    [1, text(user)],
    [2, texts([])],
  ])
