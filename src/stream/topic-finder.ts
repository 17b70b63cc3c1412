/** Finds topics that may hold the rows of a table, for patterns. */

import { isOwnMessage, kindByName } from '../debezium/own-topics.js'
import { asKafkaToDeltaError } from '../errors.js'
import type { RawMessage } from '../kafka/micro-batch.js'
import type { TopicCatalog } from '../kafka/topic-catalog.js'
import type { Logger } from '../log.js'
import type { SchemaSource } from '../registry/schema-source.js'
import { unlessAborted } from '../waits.js'

export class TopicFinder {
  readonly #catalog: Pick<TopicCatalog, 'list' | 'firstMessages'>
  readonly #schemas: SchemaSource
  readonly #logger: Logger
  /** By topic, whether it holds rows, where its name does not tell. */
  readonly #holdsRows = new Map<string, boolean>()
  /** Topics that are not empty, but in which no message was found. */
  readonly #unseen = new Set<string>()
  /** Topics that were passed over, and why, as said last. */
  readonly passedOver = new Map<string, string>()

  constructor(catalog: Pick<TopicCatalog, 'list' | 'firstMessages'>, schemas: SchemaSource, logger: Logger) {
    this.#catalog = catalog
    this.#schemas = schemas
    this.#logger = logger
  }

  /**
   * The topics of the cluster that are wanted and not Debezium's own. One whose name may be Debezium's own waits until a
   * message tells what it holds.
   */
  async find(isWanted: (topic: string) => boolean, signal?: AbortSignal): Promise<string[]> {
    const wanted = (await this.#catalog.list(signal)).filter((topic) => isWanted(topic) && this.#isReadable(topic))
    await this.#lookInto(
      wanted.filter((topic) => kindByName(topic) === 'unknown' && !this.#holdsRows.has(topic)),
      signal,
    )
    return wanted.filter((topic) => {
      const kind = kindByName(topic)
      if (kind === 'rows') return true
      const holdsRows = this.#holdsRows.get(topic)
      if (kind === 'unknown' && holdsRows) return true
      const isUnseen = holdsRows === undefined && this.#unseen.has(topic)
      const nothing = isUnseen ? 'no message that could be found, though its log is not empty' : 'nothing yet'
      const why =
        kind === 'signals' ? 'signals to a connector' : holdsRows === false ? "Debezium's own messages" : nothing
      const level = kind === 'unknown' && isUnseen ? 'warn' : 'info'
      this.#tell(topic, `passed over by patterns, for it holds ${why}: name it in tables to take it`, level)
      return false
    })
  }

  /** KafkaJS keeps topics in plain objects: see the names of topics in the options. */
  #isReadable(topic: string): boolean {
    if (!(topic in {})) return true
    this.#tell(
      topic,
      'passed over by patterns, for its name is one that every JavaScript object has: KafkaJS cannot read it',
    )
    return false
  }

  async #lookInto(topics: readonly string[], signal?: AbortSignal): Promise<void> {
    for (const [topic, message] of await this.#catalog.firstMessages(topics, signal)) {
      if (message === 'unseen') this.#unseen.add(topic)
      else this.#unseen.delete(topic)
      if (message === null || message === 'unseen') continue
      this.#holdsRows.set(topic, !(await this.#isOwn(message, signal)))
    }
  }

  /** A registry that does not answer tells nothing of a topic: it is asked again at the next look. */
  async #isOwn(message: RawMessage, signal?: AbortSignal): Promise<boolean> {
    try {
      return await unlessAborted(isOwnMessage(message, this.#schemas), signal)
    } catch (error) {
      if (signal?.aborted || asKafkaToDeltaError(error).code.startsWith('REGISTRY_')) throw error
      // What cannot be read as Avro is for the table to say.
      return false
    }
  }

  #tell(topic: string, message: string, level: 'info' | 'warn' = 'info'): void {
    if (this.passedOver.get(topic) === message) return
    this.passedOver.set(topic, message)
    this.#logger[level]({ topic }, message)
  }
}
