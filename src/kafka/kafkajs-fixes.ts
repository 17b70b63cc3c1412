/**
 * Three defects of kafkajs 2.2.4 (its last release) that are mended in the loaded module.
 * The patches leave alone what is not as they expect it.
 */

import { createRequire } from 'node:module'

const require = createRequire(import.meta.url)
const DONE = Symbol.for('kafka2delta.kafkajsFixes')

type Prototype = Record<string | symbol, unknown>

interface RequestQueueState {
  pending: unknown[]
  throttledUntil: number
  rejectAll(error: Error): void
}

interface FetchedMessage {
  offset: string
  key: Buffer | null
  isControlRecord: boolean
  batchContext?: { producerId: string; inTransaction: boolean }
}

interface FetchedPartition {
  abortedTransactions?: { producerId: string; firstOffset: string }[]
  messages: FetchedMessage[]
}

function prototypeOf(path: string): Prototype | null {
  try {
    return (require(path) as { prototype: Prototype }).prototype
  } catch {
    return null
  }
}

/**
 * An idle connection arms a timer with a negative delay again and again: each one costs a wake-up per
 * millisecond and, on Node 24, a TimeoutNegativeWarning (kafkajs#1751). Nothing waits then: no timer is needed.
 */
function stopIdleTimers(): void {
  const prototype = prototypeOf('kafkajs/src/network/requestQueue')
  const original = prototype?.scheduleCheckPendingRequests
  if (!prototype || typeof original !== 'function') return
  prototype.scheduleCheckPendingRequests = function (this: RequestQueueState): void {
    if (this.pending.length === 0 && this.throttledUntil <= Date.now()) return
    original.call(this)
  }
}

/** Milliseconds that a connection waits for answers when it is closed. */
const DISCONNECT_MS = 500

/**
 * A connection that is being closed waits for the answers that are due, and looks no more whether they are overdue: with
 * a broker that does not answer, `disconnect()` took for ever, and so did a crashed consumer before it said so.
 */
function endDisconnects(): void {
  const prototype = prototypeOf('kafkajs/src/network/requestQueue')
  const original = prototype?.waitForPendingRequests
  if (!prototype || typeof original !== 'function') return
  prototype.waitForPendingRequests = async function (this: RequestQueueState): Promise<void> {
    const error = Object.assign(new Error('the connection was closed'), { name: 'KafkaJSConnectionError' })
    const timer = setTimeout(() => this.rejectAll(error), DISCONNECT_MS)
    await original.call(this)
    clearTimeout(timer)
  }
}

/** Marks the messages of aborted transactions as control records: kafkajs counts those as scanned and hides them. */
export function hideAborted(partition: FetchedPartition): void {
  const { abortedTransactions, messages } = partition
  if (!abortedTransactions || abortedTransactions.length === 0) return
  const starts = abortedTransactions
    .map(({ producerId, firstOffset }) => ({ producerId, first: BigInt(firstOffset) }))
    .sort((a, b) => (a.first < b.first ? -1 : a.first > b.first ? 1 : 0))
  const aborted = new Set<string>()
  let next = 0
  for (const message of messages) {
    const context = message.batchContext
    if (!context) return
    const offset = BigInt(message.offset)
    for (let start = starts[next]; start && start.first <= offset; start = starts[++next]) aborted.add(start.producerId)
    if (message.isControlRecord) {
      // Of the markers, only the abort (version 0, type 0) ends an aborted transaction.
      if (message.key && message.key.length >= 4 && message.key.readInt16BE(2) === 0) aborted.delete(context.producerId)
    } else if (context.inTransaction && aborted.has(context.producerId)) {
      message.isControlRecord = true
    }
  }
  partition.abortedTransactions = []
}

/**
 * kafkajs takes the broker's list of aborted transactions as sorted by their start, and moves on by one of them
 * per message. The list is sorted by their end: where transactions of several producers overlap, or a fetch
 * begins within two of them, aborted messages were handed on.
 */
function filterAborted(): void {
  const prototype = prototypeOf('kafkajs/src/broker')
  const original = prototype?.fetch
  if (!prototype || typeof original !== 'function') return
  prototype.fetch = async function (this: unknown, ...args: unknown[]): Promise<unknown> {
    const result = (await original.apply(this, args)) as { responses?: { partitions?: FetchedPartition[] }[] }
    for (const { partitions } of result?.responses ?? [])
      for (const partition of partitions ?? []) hideAborted(partition)
    return result
  }
}

/** Mends the kafkajs that this package loads; once for a process. */
export function fixKafkajs(): void {
  const marks = globalThis as unknown as Record<symbol, boolean>
  if (marks[DONE]) return
  marks[DONE] = true
  stopIdleTimers()
  endDisconnects()
  filterAborted()
}
