/** The dead letters of a query: one sink for each place that its tables name. */

import type { Kafka } from 'kafkajs'
import type { Logger } from '../log.js'
import type { KafkaOptions } from '../options/sasl.js'
import type { ResolvedDeadLetter } from '../options/types.js'
import type { DeadLetterSink } from './dead-letter.js'
import { DeltaDeadLetters } from './delta-sink.js'
import { KafkaDeadLetters } from './kafka-sink.js'

export interface DeadLetterContext {
  kafka: KafkaOptions | Kafka
  queryName: string
  logger: Logger
}

export class DeadLetterSinks {
  readonly #context: DeadLetterContext
  readonly #sinks = new Map<string, DeadLetterSink>()

  constructor(context: DeadLetterContext) {
    this.#context = context
  }

  /** The sink of a place; tables that name the same place share it. */
  of(place: ResolvedDeadLetter): DeadLetterSink {
    const id = JSON.stringify(place)
    const known = this.#sinks.get(id)
    if (known) return known
    const sink = this.#make(place)
    this.#sinks.set(id, sink)
    return sink
  }

  /** Looks at every place that was asked for. */
  async check(signal?: AbortSignal): Promise<void> {
    await Promise.all([...this.#sinks.values()].map((sink) => sink.check(signal)))
  }

  /** Closes all; rejects with the first error, after the last was closed. */
  async close(): Promise<void> {
    const results = await Promise.allSettled([...this.#sinks.values()].map((sink) => sink.close()))
    const failed = results.find((result) => result.status === 'rejected')
    if (failed) throw failed.reason
  }

  #make(place: ResolvedDeadLetter): DeadLetterSink {
    const { kafka, queryName, logger } = this.#context
    if (place.kind === 'delta') return new DeltaDeadLetters(place, logger)
    return new KafkaDeadLetters({ kafka, queryName, topic: place.topic, logger })
  }
}
