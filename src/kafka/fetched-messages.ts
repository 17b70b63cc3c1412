/** What a fetch brought of a partition, as kafkajs is given it, and as it is taken from kafkajs. */

import type { AbortedTransaction } from './fetch-response.js'
import { Messages } from './messages.js'
import type { RawMessage } from './raw-message.js'
import type { FetchedRecords, RecordBatch } from './record-batches.js'
import type { Records } from './records.js'

/**
 * What kafkajs takes for one message. It asks no more of messages than their offsets, and whether they are control records,
 * which it counts as scanned and hides. So it steps over batches that compaction has emptied, at which it stands still where
 * it reads them itself (kafkajs#1072).
 */
export class FetchedPortion {
  /** The last offset that it stands for. */
  readonly offset: string
  readonly isControlRecord: boolean
  readonly key = null
  /** Those that a reader may see. */
  readonly messages: Messages
  /** With those of aborted transactions, and the marks that end transactions. */
  readonly all: Messages

  constructor(offset: string, messages: Messages, all: Messages) {
    this.offset = offset
    this.isControlRecord = messages.length === 0
    this.messages = messages
    this.all = all
  }
}

/** What was fetched from an offset on; nothing where no batch was. The first portion says where the fetch began. */
export function portionsOf(
  { records, batches }: FetchedRecords,
  aborted: readonly AbortedTransaction[],
  fetchOffset: string,
): FetchedPortion[] {
  const last = batches.at(-1)?.last
  if (last === undefined) return []
  const from = BigInt(fetchOffset)
  const visible = visibleBatches(records, batches, aborted).map((batch) => ({ records, ...batch }))
  return [
    new FetchedPortion(fetchOffset, Messages.none, Messages.none),
    new FetchedPortion(
      String(last < from ? from : last),
      new Messages(visible).from(from),
      new Messages([{ records, from: 0, to: records.length }]).from(from),
    ),
  ]
}

/** Batches that a reader may see: of no aborted transaction, and no marks. Those that follow one another are one. */
function visibleBatches(
  records: Records,
  batches: readonly RecordBatch[],
  aborted: readonly AbortedTransaction[],
): { from: number; to: number }[] {
  // The broker lists them by their end.
  const starts = aborted
    .map(({ producerId, firstOffset }) => ({ producerId: BigInt(producerId), first: BigInt(firstOffset) }))
    .sort((a, b) => (a.first < b.first ? -1 : a.first > b.first ? 1 : 0))
  const aborting = new Set<bigint>()
  const visible: { from: number; to: number }[] = []
  let next = 0
  for (const batch of batches) {
    const { producerId, last, from, to } = batch
    for (let start = starts[next]; start && start.first <= last; start = starts[++next]) aborting.add(start.producerId)
    if (batch.isControl) {
      if (isAbort(records, batch)) aborting.delete(producerId)
    } else if (!batch.isTransactional || !aborting.has(producerId)) {
      const before = visible.at(-1)
      if (before?.to === from) before.to = to
      else visible.push({ from, to })
    }
  }
  return visible
}

/** Of the marks, only the abort (version 0, type 0) ends an aborted transaction. */
function isAbort(records: Records, { from, to }: RecordBatch): boolean {
  const key = new Messages([{ records, from, to }]).at(0)?.key ?? null
  return key !== null && key.length >= 4 && key.readInt16BE(2) === 0
}

/** The messages of a batch of kafkajs, which has read them itself where a `Kafka` is not ours. */
export function messagesOf(given: readonly (RawMessage | FetchedPortion)[]): Messages {
  const portions = given.filter((one) => one instanceof FetchedPortion)
  if (portions.length > 0) return Messages.joined(portions.map(({ messages }) => messages))
  return Messages.of(given as readonly RawMessage[])
}
