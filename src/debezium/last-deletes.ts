/**
 * Whether the last message of a partition was a delete, by which a tombstone is known that only follows one. What a batch
 * ends with is known to the next one, and after a restart from the table, which keeps the hash of the key.
 */

import { createHash } from 'node:crypto'
import type { Message } from '../kafka/message.js'
import type { OffsetRange } from '../kafka/micro-batch.js'

/** The last message of a batch before. */
interface Past {
  offset: bigint
  /** The hash of the key where it was a delete. */
  deleted: bigint | null
}

export class LastDeletes {
  /** By partition, before the batch. None where it is not known. */
  readonly #past = new Map<number, Past>()
  /** Of the batch. Null: no delete. */
  readonly #last = new Map<number, { key: Buffer | null } | null>()

  /** Begins a batch, or the same one again. */
  begin(ranges: readonly OffsetRange[]): void {
    this.#last.clear()
    for (const { partition, firstOffset, resumedAt, afterDelete } of ranges) {
      const before = firstOffset - 1n
      if (afterDelete !== undefined) this.#past.set(partition, { offset: before, deleted: afterDelete })
      // The stream went back or on, or the topic was made anew: the message before is another one.
      else if (this.#past.get(partition)?.offset !== before || resumedAt !== undefined) this.#past.delete(partition)
    }
  }

  noteDelete(partition: number, { key }: Message): void {
    this.#last.set(partition, { key })
  }

  noteOther(partition: number): void {
    this.#last.set(partition, null)
  }

  /** Whether the message before was a delete of the key; null where that is not known. */
  precedes(partition: number, key: Buffer | null): boolean | null {
    const last = this.#last.get(partition)
    if (last === undefined) {
      const past = this.#past.get(partition)
      return past === undefined ? null : past.deleted === hashOf(key)
    }
    if (last === null) return false
    return key === null || last.key === null ? key === last.key : key.equals(last.key)
  }

  /** Ends a batch. Returns the partitions that end with a delete, with the hash of its key. */
  end(ranges: readonly OffsetRange[]): Map<number, bigint> {
    const found = new Map<number, bigint>()
    for (const { partition, lastOffset: offset } of ranges) {
      const last = this.#last.get(partition)
      const deleted = last === undefined ? this.#past.get(partition)?.deleted : last && hashOf(last.key)
      if (deleted !== undefined) this.#past.set(partition, { offset, deleted })
      if (deleted != null) found.set(partition, deleted)
    }
    // A key keeps all that was fetched with it, and the next batch may be long in coming.
    this.#last.clear()
    return found
  }
}

/** 48 bits: also readers of the log that take numbers for doubles keep them. */
function hashOf(key: Buffer | null): bigint {
  if (key === null) return 0n
  return BigInt(createHash('sha256').update(key).digest().readUIntBE(0, 6))
}
