/** Requests that move records: Produce, Fetch, ListOffsets, DeleteRecords, InitProducerId. */

import type { BrokerState, Handler } from './context.js'
import type { AbortedTransaction, PartitionLog } from './partition-log.js'
import { codeOf, KafkaErrorCode, KafkaProtocolError } from './protocol.js'
import { batchSizeAt } from './record-batch.js'
import type { WireReader } from './wire.js'

const LATEST = -1
const EARLIEST = -2
const THROTTLE_MS = 0

interface TopicPart<T> {
  topic: string
  partitions: T[]
}

function readTopics<T>(request: WireReader, partition: (reader: WireReader) => T): TopicPart<T>[] {
  return request.array((reader) => ({ topic: reader.string(), partitions: reader.array(partition) }))
}

function appendRecordSet(log: PartitionLog, records: Buffer): number {
  let baseOffset = -1
  let at = 0
  while (at < records.length) {
    const size = batchSizeAt(records, at)
    if (size === null) {
      throw new KafkaProtocolError(KafkaErrorCode.CORRUPT_MESSAGE, `record batch is cut off at byte ${at}`)
    }
    const offset = log.appendProduced(records.subarray(at, at + size))
    if (baseOffset < 0) baseOffset = offset
    at += size
  }
  return baseOffset
}

export const produce: Handler = (state, request, response) => {
  request.nullableString() // transactional id
  const acks = request.int16()
  request.int32() // timeout
  const topics = readTopics(request, (reader) => ({ partition: reader.int32(), records: reader.bytes() }))
  const results = topics.map(({ topic, partitions }) => ({
    topic,
    partitions: partitions.map(({ partition, records }) => {
      try {
        const log = state.topics.log(topic, partition)
        return { partition, error: 0, baseOffset: appendRecordSet(log, records), logStart: log.logStart }
      } catch (error) {
        state.logger?.warn({ topic, partition, error: String(error) }, 'batch refused')
        return { partition, error: codeOf(error), baseOffset: -1, logStart: -1 }
      }
    }),
  }))
  if (acks === 0) return false
  response.array(results, (writer, { topic, partitions }) => {
    writer.string(topic).array(partitions, (to, part) => {
      to.int32(part.partition).int16(part.error).int64(part.baseOffset).int64(-1).int64(part.logStart)
    })
  })
  response.int32(THROTTLE_MS)
  return undefined
}

interface FetchPartition {
  partition: number
  offset: number
  maxBytes: number
}

interface FetchedPartition {
  partition: number
  error: number
  highWatermark: number
  logStart: number
  aborted: AbortedTransaction[]
  records: Buffer[]
}

interface Fetched {
  topics: TopicPart<FetchedPartition>[]
  bytes: number
  failed: boolean
}

function fetchOnce(
  state: BrokerState,
  topics: TopicPart<FetchPartition>[],
  maxBytes: number,
  readCommitted: boolean,
): Fetched {
  let bytes = 0
  let failed = false
  const fetched = topics.map(({ topic, partitions }) => ({
    topic,
    partitions: partitions.map((wanted): FetchedPartition => {
      const { partition, offset } = wanted
      try {
        const log = state.topics.log(topic, partition)
        // The first batch goes out whatever its size, or a client with small limits would never get on.
        const limit = Math.min(wanted.maxBytes, maxBytes - bytes)
        const records = log.read(offset, limit, bytes === 0)
        for (const batch of records) bytes += batch.length
        const aborted = readCommitted && records.length > 0 ? log.abortedFrom(offset) : []
        return { partition, error: 0, highWatermark: log.nextOffset, logStart: log.logStart, aborted, records }
      } catch (error) {
        failed = true
        return { partition, error: codeOf(error), highWatermark: -1, logStart: -1, aborted: [], records: [] }
      }
    }),
  }))
  return { topics: fetched, bytes, failed }
}

/** Resolves at the next append to one of the partitions, after `ms`, or when the client is gone. */
function waitForAppend(
  state: BrokerState,
  topics: TopicPart<FetchPartition>[],
  ms: number,
  signal: AbortSignal,
): Promise<void> {
  const logs = topics.flatMap(({ topic, partitions }) =>
    partitions.flatMap(({ partition }) => state.topics.get(topic)?.partitions[partition] ?? []),
  )
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer)
      signal.removeEventListener('abort', done)
      for (const log of logs) log.removeWaiter(done)
      resolve()
    }
    const timer = setTimeout(done, ms)
    signal.addEventListener('abort', done)
    for (const log of logs) log.addWaiter(done)
  })
}

export const fetch: Handler = async (state, request, response, { signal }) => {
  request.int32() // replica id
  const maxWaitMs = request.int32()
  const minBytes = request.int32()
  const maxBytes = request.int32()
  const readCommitted = request.int8() === 1
  request.int32() // session id: no fetch sessions here
  request.int32() // session epoch
  const topics = readTopics(request, (reader): FetchPartition => {
    const partition = reader.int32()
    reader.int32() // leader epoch
    const offset = reader.int64()
    reader.int64() // log start of a follower
    return { partition, offset, maxBytes: reader.int32() }
  })
  const deadline = Date.now() + maxWaitMs
  let result = fetchOnce(state, topics, maxBytes, readCommitted)
  while (result.bytes < minBytes && !result.failed && !signal.aborted) {
    const left = deadline - Date.now()
    if (left <= 0) break
    await waitForAppend(state, topics, left, signal)
    result = fetchOnce(state, topics, maxBytes, readCommitted)
  }
  response.int32(THROTTLE_MS).int16(0).int32(0)
  response.array(result.topics, (writer, { topic, partitions }) => {
    writer.string(topic).array(partitions, (to, part) => {
      to.int32(part.partition).int16(part.error)
      to.int64(part.highWatermark).int64(part.highWatermark).int64(part.logStart)
      to.array(part.aborted, (item, { producerId, firstOffset }) => {
        item.int64(producerId).int64(firstOffset)
      })
      to.int32(-1).blocks(part.records)
    })
  })
  return undefined
}

export const listOffsets: Handler = (state, request, response) => {
  request.int32() // replica id
  request.int8() // isolation level: transactions here end where they begin
  const topics = readTopics(request, (reader) => ({ partition: reader.int32(), timestamp: reader.int64() }))
  response.int32(THROTTLE_MS)
  response.array(topics, (writer, { topic, partitions }) => {
    writer.string(topic).array(partitions, (to, { partition, timestamp }) => {
      let found = { offset: -1, timestamp: -1 }
      let error = 0
      try {
        const log = state.topics.log(topic, partition)
        if (timestamp === LATEST) found = { offset: log.nextOffset, timestamp: -1 }
        else if (timestamp === EARLIEST) found = { offset: log.logStart, timestamp: -1 }
        else found = log.findByTimestamp(timestamp) ?? found
      } catch (failure) {
        error = codeOf(failure)
      }
      to.int32(partition).int16(error).int64(found.timestamp).int64(found.offset)
    })
  })
  return undefined
}

export const deleteRecords: Handler = (state, request, response) => {
  const topics = readTopics(request, (reader) => ({ partition: reader.int32(), offset: reader.int64() }))
  request.int32() // timeout
  response.int32(THROTTLE_MS)
  response.array(topics, (writer, { topic, partitions }) => {
    writer.string(topic).array(partitions, (to, { partition, offset }) => {
      try {
        const log = state.topics.log(topic, partition)
        const target = offset === -1 ? log.nextOffset : offset
        if (target < 0 || target > log.nextOffset) {
          throw new KafkaProtocolError(KafkaErrorCode.OFFSET_OUT_OF_RANGE, `offset ${target}`)
        }
        log.moveLogStart(target)
        const saved = state.topics.get(topic)
        if (saved) state.topics.save(saved)
        to.int32(partition).int64(log.logStart).int16(0)
      } catch (error) {
        to.int32(partition).int64(-1).int16(codeOf(error))
      }
    })
  })
  return undefined
}

export const initProducerId: Handler = (state, request, response) => {
  const transactionalId = request.nullableString()
  request.int32() // transaction timeout
  if (transactionalId !== null) {
    // Transactions are appended by the broker's own method only.
    response.int32(THROTTLE_MS).int16(KafkaErrorCode.INVALID_REQUEST).int64(-1).int16(-1)
    return undefined
  }
  response
    .int32(THROTTLE_MS)
    .int16(0)
    .int64(state.nextProducerId++)
    .int16(0)
  return undefined
}
