/**
 * The deletes that tombstones follow. A tombstone tells nothing of itself: among the changes of other partitions it stands
 * where the delete of its key before it stands.
 */

import type { Message } from '../kafka/message.js'
import { SEQ_SIZE, type Sequences } from './order.js'

/** A delete of an earlier batch. */
interface PastDelete {
  key: Buffer
  offset: bigint
  timestamp: number
  /** None where the delete had none. */
  sequence: { seq: Buffer; epochLow: number; epochHigh: number } | null
}

/** The last change of a partition, where it is a delete: its message and its row. */
type LastDelete = { message: Message; row: number } | null

export class Tombstones {
  /** By partition. */
  readonly #past = new Map<number, PastDelete>()
  readonly #last = new Map<number, LastDelete>()

  /** Begins a batch, or the same one again. */
  begin(): void {
    this.#last.clear()
  }

  /** Notes a change that was decoded. */
  follow(partition: number, message: Message, row: number, isDelete: boolean): void {
    this.#last.set(partition, isDelete ? { message: message.still(), row } : null)
  }

  /** Gives the row of a tombstone the order of the delete before it. Where the stream went back, that may be another's. */
  copyOrder(partition: number, { key, position }: Message, row: number, out: Sequences): void {
    if (key === null) return
    const last = this.#last.get(partition)
    if (last) {
      if (last.message.key?.equals(key)) out.copy(last.row, row)
      return
    }
    const past = last === undefined ? this.#past.get(partition) : undefined
    if (past?.key.equals(key) !== true || position <= past.offset) return
    out.setTimestamp(row, past.timestamp)
    if (past.sequence !== null) out.set(row, past.sequence.seq, past.sequence.epochLow, past.sequence.epochHigh)
  }

  /** Ends a batch: what it noted goes over to the next one. */
  end({ bytes, epochs, valid, timestamps }: Sequences): void {
    for (const [partition, last] of this.#last) {
      const key = last?.message.key ?? null
      if (last === null || key === null) {
        this.#past.delete(partition)
        continue
      }
      const { row, message } = last
      const seq = Buffer.from(bytes.subarray(row * SEQ_SIZE, (row + 1) * SEQ_SIZE))
      const epoch = { epochLow: epochs[row * 2] as number, epochHigh: epochs[row * 2 + 1] as number }
      this.#past.set(partition, {
        key: Buffer.from(key),
        offset: message.position,
        timestamp: timestamps[row] as number,
        sequence: valid[row] === 1 ? { seq, ...epoch } : null,
      })
    }
    // A message keeps all that was fetched with it, and the next batch may be long in coming.
    this.#last.clear()
  }
}
