/** Has the connections of our own clients read what they fetch as columns; those of others stay as they are. */

import { createRequire } from 'node:module'
import { decompress } from './codecs.js'
import { FIRST_VERSION, LAST_VERSION, readFetchResponse } from './fetch-response.js'
import { packRecords } from './pack-records.js'
import type { RawMessage } from './raw-message.js'
import { FetchedRecords, MAGIC, magicOf, readRecordBatches } from './record-batches.js'

const require = createRequire(import.meta.url)

/** The functions by which our clients make their sockets: a connection is known by its own. */
const ours = new WeakSet<object>()

/** @param socketFactory of a client whose fetches are read as columns */
export function readAsColumns<T extends object>(socketFactory: T): T {
  ours.add(socketFactory)
  return socketFactory
}

/** What kafkajs sends, as far as it counts. */
interface Sent {
  request: { apiName?: string; apiVersion?: number }
  response: { decode(payload: Buffer): Promise<unknown> }
}

/** The request with a decoder of ours, where it is a fetch of our own client. */
export function withOwnDecoder<T extends Sent>(connection: { socketFactory?: object }, sent: T): T {
  const { apiName, apiVersion = 0 } = sent.request
  if (apiName !== 'Fetch' || apiVersion < FIRST_VERSION || apiVersion > LAST_VERSION) return sent
  if (!connection.socketFactory || !ours.has(connection.socketFactory)) return sent
  const decode = (payload: Buffer) => readFetchResponse(payload, apiVersion, readRecordSet)
  return { ...sent, response: { ...sent.response, decode } }
}

const NOTHING = new FetchedRecords(packRecords([]), [])

/** Reads the record set of a partition. */
export async function readRecordSet(bytes: Buffer): Promise<FetchedRecords> {
  if (bytes.length === 0) return NOTHING
  const magic = magicOf(bytes)
  return magic === null || magic === MAGIC ? readRecordBatches(bytes, decompress) : readOldSet(bytes)
}

type ReadSet = (decoder: unknown, size: number) => Promise<RawMessage[]>

/** Topics with an old `message.format.version` have sets of messages without batches: kafkajs reads those. */
async function readOldSet(bytes: Buffer): Promise<FetchedRecords> {
  const Decoder = require('kafkajs/src/protocol/decoder') as new (bytes: Buffer) => unknown
  const readSet = require('kafkajs/src/protocol/messageSet/decoder') as ReadSet
  const records = packRecords(await readSet(new Decoder(bytes), bytes.length))
  const last = records.offsets.at(-1)
  const of = { from: 0, to: records.length, producerId: -1n, isTransactional: false, isControl: false }
  return new FetchedRecords(records, last === undefined ? [] : [{ last, ...of }])
}
