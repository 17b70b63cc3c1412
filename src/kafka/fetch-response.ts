/**
 * Reads answers to fetches of the versions 4 to 11 (https://kafka.apache.org/protocol#The_Messages_Fetch). They become what
 * kafkajs makes of them, but for the messages.
 */

export const FIRST_VERSION = 4
export const LAST_VERSION = 11

export interface AbortedTransaction {
  producerId: string
  firstOffset: string
}

/** @typeParam M what the record set of a partition was read to */
export interface DecodedPartition<M> {
  partition: number
  errorCode: number
  highWatermark: string
  lastStableOffset: string
  /** kafkajs's name of the log's first offset; from version 5 on. */
  lastStartOffset?: string
  abortedTransactions: AbortedTransaction[]
  /** From version 11 on. */
  preferredReadReplica?: number
  messages: M
}

export interface DecodedFetch<M> {
  throttleTime: number
  /** What the client is to wait before it asks again. */
  clientSideThrottleTime?: number
  errorCode?: number
  sessionId?: number
  responses: { topicName: string; partitions: DecodedPartition<M>[] }[]
}

/** The fields of an answer, one after another. A Buffer throws where one lies beyond its end. */
class Fields {
  readonly bytes: Buffer
  #pos = 0

  constructor(bytes: Buffer) {
    this.bytes = bytes
  }

  int16(): number {
    this.#pos += 2
    return this.bytes.readInt16BE(this.#pos - 2)
  }

  int32(): number {
    this.#pos += 4
    return this.bytes.readInt32BE(this.#pos - 4)
  }

  int64(): string {
    this.#pos += 8
    return String(this.bytes.readBigInt64BE(this.#pos - 8))
  }

  text(): string {
    const length = this.int16()
    if (length < 0) return ''
    return this.#take(length).toString()
  }

  /** The bytes of a record set; none where it is cut off. */
  records(): Buffer {
    const length = this.int32()
    return this.#take(length > this.bytes.length - this.#pos ? 0 : Math.max(0, length))
  }

  list<T>(read: () => T): T[] {
    return Array.from({ length: Math.max(0, this.int32()) }, read)
  }

  #take(length: number): Buffer {
    const start = this.#pos
    if (length > this.bytes.length - start) throw new RangeError('the answer to a fetch is cut off')
    this.#pos += length
    return this.bytes.subarray(start, this.#pos)
  }
}

/**
 * @param read reads a record set: batches, or for an old topic a set of messages
 * @throws where the bytes are no such answer, and what `read` throws
 */
export async function readFetchResponse<M>(
  bytes: Buffer,
  version: number,
  read: (records: Buffer) => Promise<M>,
): Promise<DecodedFetch<M>> {
  const fields = new Fields(bytes)
  const throttleTime = fields.int32()
  // Since version 8 the broker does not wait: the client is to.
  const throttle = version >= 8 ? { throttleTime: 0, clientSideThrottleTime: throttleTime } : { throttleTime }
  const session = version >= 7 ? { errorCode: fields.int16(), sessionId: fields.int32() } : {}
  const topics = fields.list(() => ({
    topicName: fields.text(),
    partitions: fields.list(() => readPartition(fields, version)),
  }))
  const responses: DecodedFetch<M>['responses'] = []
  for (const { topicName, partitions } of topics) {
    const decoded: DecodedPartition<M>[] = []
    for (const partition of partitions) {
      const where = `${topicName}, partition ${partition.partition}`
      decoded.push({ ...partition, messages: await read(partition.messages).catch((error) => corrupt(where, error)) })
    }
    responses.push({ topicName, partitions: decoded })
  }
  return { ...throttle, ...session, responses }
}

function readPartition(fields: Fields, version: number): DecodedPartition<Buffer> {
  return {
    partition: fields.int32(),
    errorCode: fields.int16(),
    highWatermark: fields.int64(),
    lastStableOffset: fields.int64(),
    ...(version >= 5 ? { lastStartOffset: fields.int64() } : {}),
    abortedTransactions: fields.list(() => ({ producerId: fields.int64(), firstOffset: fields.int64() })),
    ...(version >= 11 ? { preferredReadReplica: fields.int32() } : {}),
    messages: fields.records(),
  }
}

function corrupt(where: string, error: Error): never {
  // Without a cause: kafkajs and what tells of its errors take the innermost one, which does not know the place.
  throw new Error(`${where}: what was fetched cannot be read: ${error.message}`)
}
