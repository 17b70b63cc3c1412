/** Takes the batches of a topic and turns them into changes. */

import { performance } from 'node:perf_hooks'
import { collectDeadLetters, type DeadLetter } from '../../dead-letter/dead-letter.js'
import type { BadRecord, ChangeBatch } from '../../debezium/change-batch.js'
import { KafkaToDeltaError } from '../../errors.js'
import { Messages } from '../../kafka/messages.js'
import type { MicroBatch } from '../../kafka/micro-batch.js'
import type { StreamSource } from '../dependencies.js'
import type { TableParts } from './parts.js'
import { type BatchRange, batchRange } from './positions.js'

export interface Decoded {
  /** As the source gave it, without its messages. */
  original: MicroBatch
  ranges: BatchRange[]
  numMessages: number
  numBytes: number
  /** Without its bad records' bytes: those are in `letters`. */
  changes: ChangeBatch
  /** What is written to the dead letters before the batch is committed. */
  letters: DeadLetter[]
  /** Milliseconds. */
  wait: number
  decode: number
}

export class BatchReader {
  readonly #parts: TableParts

  constructor(parts: TableParts) {
    this.#parts = parts
    const { decoder } = parts.options
    decoder.onHeld = (bytes) => parts.lag.source?.noteColumns(parts.label.topic, bytes)
  }

  /** The next batch that has something new, decoded. Null at the end. */
  async next(source: StreamSource): Promise<Decoded | null> {
    const { flow, lifetime, label } = this.#parts
    for (;;) {
      const begun = performance.now()
      flow.asked()
      // What follows a fence is dropped as a whole: its positions are not those of the table.
      if (flow.mustRewind || lifetime.isStopping) return null
      const original = await source.next(label.topic)
      if (original === null || flow.mustRewind || lifetime.isStopping) return null
      const batch = this.#parts.positions.accept(original, !this.#parts.options.query.failOnDataLoss)
      if (batch === null) {
        await source.committed(original)
        continue
      }
      flow.taken()
      const arrived = performance.now()
      const decoded = await this.#decode(batch)
      // The columns hold all that is needed; the messages' memory is free from here on.
      for (const range of original.ranges) range.messages = Messages.none
      source.decoded(original, heldBytes(decoded))
      return { original, ...decoded, wait: arrived - begun, decode: performance.now() - arrived }
    }
  }

  async #decode(batch: MicroBatch): Promise<Omit<Decoded, 'original' | 'wait' | 'decode'>> {
    const { options, label, retries } = this.#parts
    const { query, table, decoder, deadLetters, logger } = options
    // The start has asked the registry.
    const changes = await retries.run(
      () => decoder.decode(batch),
      () => true,
    )
    const { badRecords } = changes
    for (const note of changes.notes ?? []) logger.info({ ...label }, note)
    const bad = badRecords[0]
    if (bad && table.onBadRecord === 'fail') throw badRecordError(bad, badRecords.length)
    if (bad) {
      const details = { numBadRecords: badRecords.length, deadLetter: deadLetters?.target ?? null }
      logger.warn({ ...positionOf(bad), ...details }, bad.reason)
    }
    return {
      ranges: batch.ranges.map((range) => batchRange(range, changes.lastDeletes)),
      numMessages: batch.numMessages,
      numBytes: batch.numBytes,
      changes,
      letters: deadLetters ? collectDeadLetters(batch, badRecords, query.queryName) : [],
    }
  }
}

/** What a batch holds until it is committed. */
function heldBytes({ changes, letters }: Pick<Decoded, 'changes' | 'letters'>): number {
  const ofLetters = letters.reduce((sum, { key, value }) => sum + (key?.length ?? 0) + (value?.length ?? 0), 0)
  return ofLetters + (changes.ipc?.byteLength ?? 0)
}

const positionOf = ({ topic, partition, offset }: BadRecord) => ({ topic, partition, offset })

function badRecordError(bad: BadRecord, count: number): KafkaToDeltaError {
  const more = count > 1 ? ` (and ${count - 1} more in this batch)` : ''
  const { topic, partition, offset, reason } = bad
  return new KafkaToDeltaError(
    'BAD_RECORD',
    `${topic}, partition ${partition}, offset ${offset}: ${reason}${more}`,
    positionOf(bad),
  )
}
