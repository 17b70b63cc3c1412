/**
 * Tombstones whose key does not give the primary key: which row they delete is not known. They do no harm where deletes
 * are messages with values, which such a tombstone only follows.
 */

import { fault } from '../avro/wire.js'
import type { Notes } from './ignored.js'
import type { Plan } from './plan.js'

export class UnkeyedTombstones {
  /** Whether there are schemas of values that tell of deletes, and such that do not. */
  #tells = false
  #lacks = false
  /** Whether a tombstone of a batch before was taken to follow a delete that was not seen. */
  #hasPassed = false
  #passes = false
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
    this.#passes = false
  }

  /**
   * Looks at a tombstone that follows no delete that was seen.
   * @param follows null where the message before it is not known
   * @throws DecodeFault where the tombstone may be the only delete of a row
   */
  check(plan: Plan, follows: boolean | null): void {
    if (this.#lacks || (follows === false && !this.#tells)) fault(plan.reason)
    this.#passes = true
    // Compaction may have taken the delete before it, or the connector tells of deletes by tombstones alone by now.
    if (this.#tells) return
    // Its delete may have been applied before a restart.
    this.#notes.add(
      `${this.#topic}: the first message is a tombstone whose key does not give the primary key: it is taken to follow a ` +
        'delete that was applied before',
    )
  }

  /** Ends a batch: what it noted goes over to the next one. */
  end(): void {
    this.#hasPassed ||= this.#passes
  }
}
