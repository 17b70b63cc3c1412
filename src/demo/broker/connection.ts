/** One client's connection: cuts the stream into requests and answers them in their order. */

import type { Socket } from 'node:net'
import type { BrokerState, Handler, RequestContext } from './context.js'
import * as admin from './handlers-admin.js'
import * as data from './handlers-data.js'
import * as groups from './handlers-groups.js'
import { APIS, type ApiName, KafkaErrorCode } from './protocol.js'
import { WireError, WireReader, WireWriter } from './wire.js'

const HANDLERS: Record<Exclude<ApiName, 'ApiVersions'>, Handler> = {
  Produce: data.produce,
  Fetch: data.fetch,
  ListOffsets: data.listOffsets,
  DeleteRecords: data.deleteRecords,
  InitProducerId: data.initProducerId,
  Metadata: admin.metadata,
  CreateTopics: admin.createTopics,
  DeleteTopics: admin.deleteTopics,
  CreatePartitions: admin.createPartitions,
  DescribeConfigs: admin.describeConfigs,
  SaslHandshake: admin.saslHandshake,
  SaslAuthenticate: admin.saslAuthenticate,
  FindCoordinator: groups.findCoordinator,
  JoinGroup: groups.joinGroup,
  SyncGroup: groups.syncGroup,
  Heartbeat: groups.heartbeat,
  LeaveGroup: groups.leaveGroup,
  OffsetCommit: groups.offsetCommit,
  OffsetFetch: groups.offsetFetch,
  ListGroups: groups.listGroups,
  DescribeGroups: groups.describeGroups,
  DeleteGroups: groups.deleteGroups,
}

const NAMES = new Map(Object.entries(APIS).map(([name, { key }]) => [key as number, name as ApiName]))
const BEFORE_AUTHENTICATION: ReadonlySet<ApiName> = new Set(['ApiVersions', 'SaslHandshake', 'SaslAuthenticate'])
/** As Kafka's `socket.request.max.bytes`. */
const MAX_REQUEST_BYTES = 100 * 1024 * 1024

/** Serves a client until its connection ends. Bytes that are no Kafka requests end it. */
export function serveConnection(state: BrokerState, socket: Socket): void {
  const closed = new AbortController()
  const session = { authenticated: state.users === null }
  const clientHost = `/${socket.remoteAddress ?? ''}`
  let chunks: Buffer[] = []
  let buffered = 0
  // One request at a time, as Kafka does it: answers keep their order.
  let queue: Promise<void> = Promise.resolve()

  const fail = (error: unknown) => {
    state.logger?.warn({ error: String(error) }, 'connection ended: bad request')
    socket.destroy()
  }

  const take = (length: number): Buffer => {
    const all = chunks.length === 1 && chunks[0] ? chunks[0] : Buffer.concat(chunks)
    chunks = all.length > length ? [all.subarray(length)] : []
    buffered = all.length - length
    return all.subarray(0, length)
  }

  let wanted: number | null = null
  socket.on('data', (chunk: Buffer) => {
    chunks.push(chunk)
    buffered += chunk.length
    for (;;) {
      if (wanted === null) {
        if (buffered < 4) return
        wanted = take(4).readInt32BE(0)
        if (wanted < 8 || wanted > MAX_REQUEST_BYTES) {
          fail(new WireError(`request of ${wanted} bytes`))
          return
        }
      }
      if (buffered < wanted) return
      const frame = take(wanted)
      wanted = null
      queue = queue.then(() => answer(frame)).catch(fail)
    }
  })
  socket.on('error', (error) => state.logger?.debug({ error: String(error) }, 'connection failed'))
  socket.on('close', () => closed.abort())
  socket.setNoDelay(true)

  const answer = async (frame: Buffer): Promise<void> => {
    if (closed.signal.aborted) return
    const request = new WireReader(frame)
    const key = request.int16()
    const version = request.int16()
    const correlationId = request.int32()
    const name = NAMES.get(key)
    const response = new WireWriter()
    response.int32(correlationId)
    if (name === 'ApiVersions') {
      // A version above ours is answered in the oldest form, so that the client can try a lower one.
      const supported = version >= 0 && version <= APIS.ApiVersions.version
      const error = supported ? 0 : KafkaErrorCode.UNSUPPORTED_VERSION
      admin.writeApiVersions(response, error, supported && version > 0)
      send(response)
      return
    }
    if (name === undefined || version !== APIS[name].version) {
      throw new WireError(`request ${name ?? key} in version ${version} is not served`)
    }
    if (!session.authenticated && !BEFORE_AUTHENTICATION.has(name)) {
      throw new WireError(`${name} before authentication`)
    }
    const context: RequestContext = {
      clientId: request.nullableString() ?? '',
      clientHost,
      session,
      signal: closed.signal,
    }
    const answered = await HANDLERS[name](state, request, response, context)
    if (answered !== false) send(response)
  }

  const send = (response: WireWriter) => {
    if (closed.signal.aborted || socket.destroyed) return
    const length = Buffer.allocUnsafe(4)
    length.writeInt32BE(response.size, 0)
    socket.cork()
    socket.write(length)
    for (const part of response.parts()) socket.write(part)
    socket.uncork()
  }
}
