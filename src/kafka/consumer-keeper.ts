/** Keeps a consumer running: another one takes the place of one that crashed, or that hears nothing from Kafka. */

import type { Kafka } from 'kafkajs'
import { KafkaToDeltaError, type Waiting } from '../errors.js'
import { within } from '../waits.js'
import { connected } from './ask.js'
import { classify, isTopicDenied, isTransient, type KafkaClient, kafkaError } from './client.js'
import { ConsumerSession, type SessionHost } from './consumer-session.js'
import type { Membership } from './membership.js'
import { consumerConfig, type SourceOptions } from './options.js'

/** Joining the group takes 3 seconds by a broker's default. */
const JOIN_MS = 60_000
/** Without a crash for so long, the consumer is healthy again. */
const HEALTHY_MS = 60_000
/** Before another consumer takes the place of one that crashed; doubled each time. */
const RESTART_MS = 300
const MAX_RESTART_MS = 5_000
/** A consumer asks several times a second: after so long without an answer, it is said. */
const QUIET_MS = 10_000
/** And after so long it is given up: kafkajs itself waits 30 seconds for an answer, and at some places for ever. */
const SILENT_MS = 90_000
const LISTEN_EVERY_MS = 5_000

export interface KeeperHost extends Omit<SessionHost, 'crashed' | 'heard'> {
  /** What the next consumer is to read; none: there is no next one. */
  topics(): string[]
  /** Kafka said that one of the topics does not exist, or may not be read: which ones are read is to be decided anew. */
  topicAmiss(): Promise<void>
  crashed(crash: { error: Error; restart: boolean }): void
  /** The consumer is let go of: another one takes its place. */
  replaced(): void
  /** It cannot go on. */
  failed(error: KafkaToDeltaError): void
}

export class ConsumerKeeper {
  readonly #client: KafkaClient
  readonly #options: SourceOptions
  readonly #membership: Membership | null
  readonly #host: KeeperHost
  /** How long Kafka may be away. */
  readonly #maxUnavailableMs: number
  readonly #silentMs: number
  readonly #joinMs: number
  readonly #ending = new AbortController()
  #session: ConsumerSession | null = null
  #restart: NodeJS.Timeout | undefined
  /** The start of a consumer that is under way. */
  #beginning: Promise<void> = Promise.resolve()
  #listening: NodeJS.Timeout | undefined
  #restartDelay = RESTART_MS
  #firstCrash = 0
  #lastCrash = 0
  #isTopicAmiss = false
  /** Kafka has let this user in. */
  #hasJoined = false
  #failure: Waiting | null = null
  #lastHeard = Date.now()

  /** @param membership in a group of many workers; null where each consumer has a group of its own */
  constructor(client: KafkaClient, options: SourceOptions, membership: Membership | null, host: KeeperHost) {
    this.#client = client
    this.#options = options
    this.#membership = membership
    this.#host = host
    this.#maxUnavailableMs = options.maxUnavailableMs ?? Number.POSITIVE_INFINITY
    const { sessionTimeout = 0, rebalanceTimeout = 0 } = consumerConfig(options, 'any')
    this.#silentMs = Math.max(SILENT_MS, 2 * sessionTimeout)
    // A group waits for members that it has not heard of for a while.
    this.#joinMs = membership ? JOIN_MS + Math.max(sessionTimeout, rebalanceTimeout) : JOIN_MS
  }

  get session(): ConsumerSession | null {
    return this.#session
  }

  /** Why nothing is read: Kafka fails, or does not answer. Null where it does. */
  get waitingFor(): Waiting | null {
    if (this.#failure) return this.#failure
    const quiet = Date.now() - this.#lastHeard
    if (this.#session === null || quiet < QUIET_MS) return null
    const message = `Kafka has not answered for ${Math.round(quiet / 1000)} seconds`
    return { code: 'KAFKA_UNREACHABLE', message, since: new Date(this.#lastHeard).toISOString(), attempts: 0 }
  }

  /** Resolves when the group is joined. */
  async start(): Promise<void> {
    this.#listening = setInterval(() => this.#listen(), LISTEN_EVERY_MS).unref()
    this.#beginning = this.#begin()
    await this.#beginning
  }

  /** Has another consumer take the place of this one: kafkajs takes no topics while it runs. */
  async renew(): Promise<void> {
    await this.#beginning.catch(() => {})
    // After a crash, the next consumer asks for the topics anyway.
    if (this.#restart !== undefined || this.#ending.signal.aborted) return
    const before = this.#session
    const leave = () => before?.close().catch(() => {})
    // A group that loses the member before it has the next one gives its tables to others.
    if (this.#membership) before?.retire()
    else void leave()
    this.#session = null
    this.#host.replaced()
    await this.#beginAgain()
    if (this.#membership) void leave()
  }

  /** Leaves the group. */
  async close(): Promise<void> {
    this.#ending.abort(new KafkaToDeltaError('CANCELLED', 'the source was stopped'))
    clearTimeout(this.#restart)
    clearInterval(this.#listening)
    await this.#session?.close()
  }

  async #begin(): Promise<void> {
    const { signal } = this.#ending
    const session = this.#makeSession(this.#client.kafka)
    await connected(session.connect(), 'cannot connect to Kafka', this.#client.redact, signal)
    const tooLong = () =>
      new KafkaToDeltaError(
        'KAFKA_UNREACHABLE',
        `${session.groupId}: the group could not be joined in ${this.#joinMs} ms`,
      )
    await within(session.run(this.#host.topics(), signal), this.#joinMs, tooLong)
  }

  #makeSession(kafka: Kafka): ConsumerSession {
    const session: ConsumerSession = new ConsumerSession(kafka, this.#options, this.#membership, {
      ...this.#host,
      heard: () => {
        if (session === this.#session) this.#lastHeard = Date.now()
      },
      assigned: (assignment) => {
        this.#failure = null
        this.#hasJoined = true
        this.#host.assigned(assignment)
      },
      crashed: (error, mayPass) => {
        if (session === this.#session) this.#crashed(error, mayPass)
      },
    })
    this.#session = session
    this.#lastHeard = Date.now()
    return session
  }

  #crashed(error: Error, mayPass: boolean): void {
    if (this.#ending.signal.aborted) return
    const now = Date.now()
    if (now - this.#lastCrash > HEALTHY_MS) {
      this.#firstCrash = now
      this.#restartDelay = RESTART_MS
    }
    this.#lastCrash = now
    const code = error instanceof KafkaToDeltaError ? error.code : classify(error)
    this.#isTopicAmiss ||= code === 'TOPIC_NOT_FOUND' || isTopicDenied(error)
    const { message, cause } = kafkaError(error, 'the consumer stopped by itself', this.#client.redact)
    // Credentials expire and are renewed, and brokers ask others whether they are right.
    const mayHelp = this.#isTopicAmiss || (code === 'KAFKA_AUTH' ? this.#hasJoined : mayPass)
    const restart = mayHelp && now - this.#firstCrash <= this.#maxUnavailableMs
    const text = restart ? 'the consumer crashed and begins again' : 'the consumer crashed'
    this.#options.logger?.warn({ error: message }, text)
    this.#host.crashed({ error, restart })
    if (!restart) {
      const known = code === 'KAFKA_AUTH' ? code : 'KAFKA_CONSUMER_CRASHED'
      const isOurs = error instanceof KafkaToDeltaError && !error.canRetry
      this.#host.failed(isOurs ? error : new KafkaToDeltaError(known, message, { cause }))
      return
    }
    this.#session?.close().catch(() => {})
    this.#session = null
    const { since, attempts } = this.#failure ?? { since: new Date(now).toISOString(), attempts: 0 }
    this.#failure = { code: code ?? 'KAFKA_CONSUMER_CRASHED', message, since, attempts: attempts + 1 }
    this.#restart = setTimeout(() => {
      this.#restart = undefined
      void this.#beginAgain()
    }, this.#restartDelay)
    this.#restartDelay = Math.min(this.#restartDelay * 2, MAX_RESTART_MS)
  }

  /** Never rejects. */
  #beginAgain(): Promise<void> {
    this.#beginning = this.#tryToBegin()
    return this.#beginning
  }

  async #tryToBegin(): Promise<void> {
    try {
      if (this.#isTopicAmiss) await this.#host.topicAmiss()
      this.#isTopicAmiss = false
      if (!this.#ending.signal.aborted && this.#host.topics().length > 0) await this.#begin()
    } catch (error) {
      this.#crashed(error as Error, isTransient(error))
    }
  }

  #listen(): void {
    if (this.#session === null || this.#failure !== null || Date.now() - this.#lastHeard < this.#silentMs) return
    const error = new Error(`Kafka has not answered for ${this.#silentMs / 1000} seconds`)
    this.#crashed(Object.assign(error, { name: 'KafkaJSRequestTimeoutError' }), true)
  }
}
