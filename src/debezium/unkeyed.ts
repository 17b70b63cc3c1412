/**
 * Tombstones whose key does not give the primary key: which row they delete is not known. They do no harm where deletes
 * are messages with values, which such a tombstone only follows.
 */

import { fault } from '../avro/wire.js'
import type { RawMessage } from '../kafka/micro-batch.js'
import type { Notes } from './ignored.js'
import type { Plan } from './plan.js'

/** What a partition's last change was. */
type Last = { deleted: Buffer | null } | 'no delete'

export class UnkeyedTombstones {
  /** Whether there are schemas of values that tell of deletes, and such that do not. */
  #tells = false
  #lacks = false
  /** Whether a tombstone of a batch before was taken to follow a delete that was not seen. */
  #hasPassed = false
  #passes = false
  /** By partition, before the batch. */
  readonly #past = new Map<number, Last>()
  readonly #last = new Map<number, Last>()
  readonly #topic: string
  readonly #notes: Notes

  constructor(topic: string, notes: Notes) {
    this.#topic = topic
    this.#notes = notes
  }

  learn(plan: Plan): void {
    if (plan.deletesHaveValues) this.#tells = true
    else if (plan.kind === 'flattened') this.#lacks = true
    if (!this.#lacks || !this.#hasPassed) return
    this.#notes.add(
      `${this.#topic}: a tombstone that was passed over was a delete, as the values now show: its row may still be in the table ` +
        '(kafka2delta verify --repair removes it)',
    )
  }

  /** Begins a batch, or the same one again. */
  begin(): void {
    this.#last.clear()
    this.#passes = false
  }

  /** Notes a message that is no such tombstone. */
  follow(partition: number, { key }: RawMessage, isDelete: boolean): void {
    this.#last.set(partition, isDelete ? { deleted: key } : 'no delete')
  }

  /** @throws DecodeFault where the tombstone may be the only delete of a row */
  check(plan: Plan, partition: number, { key }: RawMessage): void {
    const last = this.#last.get(partition) ?? this.#past.get(partition)
    const follows = last !== undefined && last !== 'no delete' && sameKey(last.deleted, key)
    if (follows) return
    if (this.#tells && !this.#lacks) {
      // Compaction may have taken the delete before it, or the connector tells of deletes by tombstones alone by now.
      this.#passes = true
      return
    }
    if (last === undefined && !this.#lacks) {
      // Its delete may have been applied before a restart.
      this.#notes.add(
        `${this.#topic}: the first message is a tombstone whose key does not give the primary key: it is taken to follow a ` +
          'delete that was applied before',
      )
      this.#last.set(partition, 'no delete')
      this.#passes = true
      return
    }
    fault(plan.reason)
  }

  /** Ends a batch: what it noted goes over to the next one. */
  end(): void {
    this.#hasPassed ||= this.#passes
    for (const [partition, last] of this.#last) {
      const copy = last !== 'no delete' && last.deleted !== null ? { deleted: Buffer.from(last.deleted) } : last
      this.#past.set(partition, copy)
    }
    // A message keeps all that was fetched with it, and the next batch may be long in coming.
    this.#last.clear()
  }
}

function sameKey(one: Buffer | null, other: Buffer | null): boolean {
  return one === null || other === null ? one === other : one.equals(other)
}
