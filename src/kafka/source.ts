/** The source: a kafkajs consumer that hands over micro-batches per topic, from positions that it has confirmed. */

import { EventEmitter } from 'node:events'
import type { Admin, Batch, Kafka } from 'kafkajs'
import { asKafkaToDeltaError, KafkaToDeltaError } from '../errors.js'
import { MAX_UNAVAILABLE_MS } from '../options/defaults.js'
import { settled, within } from '../waits.js'
import { classify, createClient, isTransient, type KafkaClient, kafkaError } from './client.js'
import { checkCluster, connected } from './cluster-check.js'
import { ConsumerSession, type FetchedBatch, type SkippedBatch } from './consumer-session.js'
import type { MicroBatch } from './micro-batch.js'
import { checkSourceOptions, consumerConfig, type SourceOptions } from './options.js'
import { PartitionLocator } from './partition-locator.js'
import { type DataLoss, fetchWatermarks, type StoredOffsets } from './positions.js'
import { PartitionProbe } from './probe.js'
import { type PartitionState, TopicFeed } from './topic-feed.js'
import { Watchdog } from './watchdog.js'

/** Joining the group takes 3 seconds by a broker's default. */
const JOIN_MS = 60_000
/** Longest wait for the consumer to leave its group, and for the group to be told of offsets. */
const LEAVE_MS = 5_000
const FLUSH_MS = 2_000
/** Without a crash for so long, the consumer is healthy again. */
const HEALTHY_MS = 60_000
/** Before another consumer takes the place of one that crashed; doubled each time. */
const RESTART_MS = 300
const MAX_RESTART_MS = 5_000

/** How far a partition is. */
export interface PartitionLag {
  /** The next offset that will be read. */
  position: bigint | null
  /** The next offset after what is in the table. */
  committed: bigint | null
  /** The end of the partition, as last seen. */
  high: bigint | null
  /** Offsets (not messages) between the table and the end; null while unknown. */
  lag: bigint | null
}

export interface KafkaSourceEvents {
  /** Offsets are gone, and the source goes on at the earliest (`failOnDataLoss: false`). */
  dataLoss: [loss: DataLoss]
  /** Positions of partitions are confirmed. */
  assigned: [partitions: { topic: string; partition: number; position: bigint }[]]
  /** The consumer crashed; with `restart` it begins again by itself. */
  crash: [crash: { error: Error; restart: boolean }]
  /** The source cannot go on; every `next` rejects with this. */
  failed: [error: KafkaToDeltaError]
}

/**
 * Reads topics for one query, exactly once if the caller keeps this contract: it stores the last offset of every
 * range of a micro-batch in the commit that holds its rows, calls {@link committed} after it, and {@link rewind}
 * where the table turns out to be elsewhere than the batch expects (its `firstOffset`).
 *
 * What is held in memory is bounded twice: by kafkajs's `maxBytes` (a fetch), and per topic by
 * `limits.maxQueueBytes`. Keys and values are slices of the fetch response, which stays in memory until the last
 * message of it is released: keep no message longer than its batch.
 */
export class KafkaSource extends EventEmitter<KafkaSourceEvents> {
  #options: SourceOptions
  #storedOffsets: (topic: string) => Promise<StoredOffsets>
  #feeds: Map<string, TopicFeed>
  #client: KafkaClient | null = null
  #admin: Admin | null = null
  #session: ConsumerSession | null = null
  #probe: PartitionProbe | null = null
  #locator: PartitionLocator | null = null
  #watchdog: Watchdog | null = null
  /** Counts the assignments. */
  #generation = 0
  #isStarted = false
  #isRunning = false
  #stopping: Promise<void> | null = null
  #error: KafkaToDeltaError | null = null
  #onFailed: ((error: KafkaToDeltaError) => void)[] = []
  #onJoined: () => void = () => {}
  #onLocated: () => void = () => {}
  #restart: NodeJS.Timeout | undefined
  #restartDelay = RESTART_MS
  #firstCrash = 0
  #lastCrash = 0

  /** Throws CONFIG_INVALID. Connects to nothing. */
  constructor(options: SourceOptions, storedOffsets: (topic: string) => Promise<StoredOffsets>) {
    super()
    checkSourceOptions(options)
    consumerConfig(options, 'check')
    this.#options = options
    this.#storedOffsets = storedOffsets
    const { topics, trigger, limits, pairMemberOf } = options
    this.#feeds = new Map(topics.map((topic) => [topic, new TopicFeed(topic, trigger, limits, pairMemberOf)]))
  }

  /**
   * Connects, joins a group of its own, and resolves when the position of every partition is confirmed. Rejects
   * with KAFKA_UNREACHABLE within about 10 seconds, KAFKA_AUTH, TOPIC_NOT_FOUND, DATA_LOSS, OFFSET_MISSING,
   * CONFIG_INVALID, what `storedOffsets` rejects with, and CANCELLED if it is stopped meanwhile.
   */
  async start(): Promise<void> {
    if (this.#isStarted) throw new KafkaToDeltaError('INTERNAL', 'the source was started already')
    this.#isStarted = true
    const failure = new Promise<never>((_, reject) => this.#onFailed.push(reject))
    failure.catch(() => {})
    try {
      await Promise.race([this.#start(), failure])
    } catch (error) {
      const cause = this.#error ?? asKafkaToDeltaError(error, 'KAFKA_UNREACHABLE')
      this.#fail(cause)
      await this.stop()
      throw cause
    }
  }

  /**
   * The next micro-batch of a topic, when the trigger or the limits say so. Null at the end: `availableNow` is
   * done, or the source is stopped. After a {@link rewind} it may have batches again. Rejects with the cause if
   * the source failed. One call per topic at a time.
   */
  async next(topic: string): Promise<MicroBatch | null> {
    return this.#feed(topic).next()
  }

  /** The batch is in the table: its memory counts as free, paused partitions go on, the group is told. */
  committed(batch: MicroBatch): void {
    const feed = this.#feed(batch.topic)
    if (!feed.queue.committed(batch)) return
    for (const { partition, lastOffset } of batch.ranges) {
      const state = feed.partitions.get(partition)
      if (state) state.committed = lastOffset + 1n
      this.#session?.noteCommitted(batch.topic, partition, lastOffset + 1n)
    }
    this.#holdOrResume(feed)
    feed.wake()
  }

  /**
   * After a fence: drops all that is queued or handed over of the topic, reads the stored offsets and seeks there.
   * Batches handed over before are not to be committed any more.
   */
  async rewind(topic: string): Promise<void> {
    const feed = this.#feed(topic)
    if (this.#error) throw this.#error
    feed.reset()
    this.#holdOrResume(feed)
    await this.#locate(feed)
    if (this.#error) throw this.#error
  }

  /** Reads nothing more of a topic whose table cannot go on; the others do. `next` gives null for it. */
  close(topic: string): void {
    const feed = this.#feed(topic)
    feed.close()
    this.#holdOrResume(feed)
  }

  /** How far each partition of a topic is, by what was last seen: no request. */
  lag(topic: string): Map<number, PartitionLag> {
    const result = new Map<number, PartitionLag>()
    for (const { partition, expected, committed, high } of this.#feed(topic).partitions.values()) {
      const lag = high !== null && committed !== null ? (high > committed ? high - committed : 0n) : null
      result.set(partition, { position: expected, committed, high, lag })
    }
    return result
  }

  /** The end of each partition as it is now: the offset after the last that can be read. */
  async fetchEnds(topic: string): Promise<Map<number, bigint>> {
    this.#feed(topic)
    try {
      const marks = await this.#watermarks(topic)
      return new Map([...marks].map(([partition, { high }]) => [partition, high]))
    } catch (error) {
      throw this.#kafkaError(error, `cannot read the offsets of ${topic}`)
    }
  }

  /**
   * Stops reading at once and leaves the group. `next` gives null, before it at most one batch of skipped offsets.
   * What was not committed is read again at the next start. Never rejects, and takes some seconds at most.
   */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop()
    return this.#stopping
  }

  async #start(): Promise<void> {
    const { queryName, logger, topics } = this.#options
    await checkCluster(this.#options)
    this.#throwIfStopping()

    this.#client = createClient(this.#options.kafka, queryName, logger)
    const { kafka, redact } = this.#client
    this.#probe = new PartitionProbe(kafka)
    this.#admin = kafka.admin()
    const admin = this.#admin
    await connected(admin.connect(), 'cannot connect to Kafka', redact)
    await connected(this.#captureEnds(), 'cannot read the offsets of the topics', redact)
    this.#throwIfStopping()

    this.#locator = new PartitionLocator({
      options: this.#options,
      storedOffsets: this.#storedOffsets,
      admin,
      seek: (topic, partition, offset) => this.#session?.seek(topic, partition, offset) ?? false,
      probe: this.#probe,
      generation: () => this.#generation,
      onLoss: (loss) => this.emit('dataLoss', loss),
    })
    this.#watchdog = this.#makeWatchdog()
    const joined = new Promise<void>((resolve) => {
      this.#onJoined = resolve
    })
    const located = new Promise<void>((resolve) => {
      this.#onLocated = resolve
    })
    const session = this.#makeSession(kafka)
    await connected(session.connect(), 'cannot connect to Kafka', redact)
    const tooLong = () =>
      new KafkaToDeltaError('KAFKA_UNREACHABLE', `${session.groupId}: the group could not be joined in ${JOIN_MS} ms`)
    await within(Promise.all([session.run(), joined]), JOIN_MS, tooLong)
    await located
    this.#throwIfStopping()
    this.#isRunning = true
    this.#watchdog.start()
    logger?.info({ groupId: session.groupId, topics }, 'source is running')
  }

  #makeWatchdog(): Watchdog {
    const host = {
      feeds: () => this.#feeds.values(),
      watermarks: (topic: string) => this.#watermarks(topic),
      skipEmpty: (topic: string, partition: number, from: bigint) => this.#skipEmpty(topic, partition, from),
      misplaced: (state: PartitionState) => this.#misplaced(state),
      skipTo: (state: PartitionState, next: bigint) => this.#skipTo(state, next),
      onError: (error: unknown) => this.#log('debug', error, 'the log could not be asked for its end'),
    }
    return new Watchdog(host, consumerConfig(this.#options, 'any').maxWaitTimeInMs ?? 0)
  }

  #makeSession(kafka: Kafka): ConsumerSession {
    const session: ConsumerSession = new ConsumerSession(kafka, this.#options, {
      assigned: (assignment) => void this.#assigned(assignment),
      take: (batch) => this.#take(batch),
      skipped: (batch) => this.#skipped(batch),
      fetched: (durationMs) => this.#watchdog?.fetched(durationMs),
      delivered: () => this.#watchdog?.delivered(),
      crashed: (error, mayPass) => this.#crashed(error, mayPass),
      onCommitError: (error) => this.#log('debug', error, 'the consumer group was not told of offsets'),
    })
    this.#session = session
    return session
  }

  async #captureEnds(): Promise<void> {
    const isNow = 'availableNow' in this.#options.trigger
    if (!isNow) return
    await Promise.all(
      [...this.#feeds.values()].map(async (feed) => {
        const marks = await this.#watermarks(feed.topic)
        feed.ends = new Map([...marks].map(([partition, { high }]) => [partition, high]))
      }),
    )
  }

  /** Takes over an assignment. Nothing is fetched of a partition until its position is confirmed. */
  async #assigned(assignment: Record<string, number[]>): Promise<void> {
    const generation = ++this.#generation
    this.#onJoined()
    for (const feed of this.#feeds.values()) {
      const ids = new Set(Object.hasOwn(assignment, feed.topic) ? assignment[feed.topic] : [])
      for (const id of feed.partitions.keys()) {
        if (ids.has(id)) continue
        feed.queue.dropPartition(id)
        feed.partitions.delete(id)
      }
      for (const id of ids) {
        const state = feed.partition(id, this.#isRunning)
        state.confirmed = false
        state.paused = false
      }
      this.#holdOrResume(feed)
    }
    await Promise.all([...this.#feeds.values()].map((feed) => this.#locate(feed)))
    if (generation !== this.#generation || this.#error || this.#stopping) return
    const positions = [...this.#feeds.values()].flatMap((feed) =>
      [...feed.partitions.values()].map(({ topic, partition, expected }) => ({
        topic,
        partition,
        position: expected ?? 0n,
      })),
    )
    this.#onLocated()
    this.emit('assigned', positions)
  }

  /** Confirms the positions of a topic's partitions; fails the source where that is impossible. */
  #locate(feed: TopicFeed): Promise<void> {
    feed.locating ??= this.#keepLocating(feed)
    return feed.locating
  }

  async #keepLocating(feed: TopicFeed): Promise<void> {
    await null // so that `locating` is set before it is cleared
    let failingSince = 0
    while (!this.#stopping && !this.#error && !feed.isClosed) {
      try {
        if (await this.#locator?.locate(feed)) break
        failingSince = 0
      } catch (error) {
        failingSince ||= Date.now()
        if (error instanceof KafkaToDeltaError || !isTransient(error) || this.#hasLasted(failingSince)) {
          this.#fail(this.#kafkaError(error, `cannot find the position in ${feed.topic}`))
          break
        }
        await new Promise((resolve) => setTimeout(resolve, 300))
      }
    }
    feed.locating = null
    this.#holdOrResume(feed)
    feed.wake()
  }

  /** A fetched batch: checks its position and enqueues it. Waits for nothing. */
  #take(batch: FetchedBatch): boolean {
    const state = this.#feeds.get(batch.topic)?.partitions.get(batch.partition)
    if (!state?.confirmed || state.expected === null || this.#stopping) return false
    const last = BigInt(batch.lastOffset())
    const high = BigInt(batch.highWatermark)
    // The broker answers a fetch below or above the log with an error, upon which kafkajs goes elsewhere without
    // a word. A fetch of the very offset that was expected therefore proves the position; a message that begins
    // later then only shows that the offsets between are empty: compacted, or transaction markers.
    const fetched = BigInt(batch.fetchedOffset ?? batch.firstOffset() ?? last)
    if (fetched === state.expected) {
      this.#accept(state, last, batch.messages, high)
      return true
    }
    const isGap = batch.fetchedOffset === undefined && fetched > state.expected
    state.gap = isGap ? { last, messages: batch.messages, high } : null
    this.#misplaced(state)
    return false
  }

  #skipped(batch: SkippedBatch): void {
    const state = this.#feeds.get(batch.topic)?.partitions.get(batch.partition)
    if (!state?.confirmed || state.expected === null || this.#stopping) return
    const last = BigInt(batch.lastOffset)
    const high = BigInt(batch.highWatermark)
    const first = batch.firstOffset === null ? last : BigInt(batch.firstOffset)
    if (first <= state.expected && last >= state.expected) {
      this.#accept(state, last, [], high)
      return
    }
    state.gap = first > state.expected ? { last, messages: [], high } : null
    this.#misplaced(state)
  }

  #accept(state: PartitionState, last: bigint, messages: Batch['messages'], high: bigint): void {
    const feed = this.#feed(state.topic)
    feed.accept(state, last, messages, high)
    this.#holdOrResume(feed)
  }

  /** The consumer is not where it should be: hold the partition, look at the log, seek again. */
  #misplaced(state: PartitionState): void {
    const feed = this.#feed(state.topic)
    state.confirmed = false
    this.#holdOrResume(feed)
    void this.#locate(feed)
  }

  #skipTo(state: PartitionState, next: bigint): void {
    const { topic, partition, expected } = state
    if (!this.#session?.seek(topic, partition, next)) return
    this.#options.logger?.info({ topic, partition, from: String(expected), to: String(next) }, 'skipped empty offsets')
    this.#accept(state, next - 1n, [], state.high ?? next)
  }

  async #skipEmpty(topic: string, partition: number, from: bigint): Promise<bigint> {
    const isStopped = () => this.#stopping !== null || this.#error !== null
    return (await this.#probe?.skipEmpty(topic, partition, from, isStopped)) ?? from
  }

  /** Tells kafkajs which partitions of a topic to fetch. */
  #holdOrResume(feed: TopicFeed): void {
    const hold: number[] = []
    const resume: number[] = []
    for (const state of feed.partitions.values()) {
      const isHeld = feed.isHeld(state)
      if (isHeld === state.paused) continue
      state.paused = isHeld
      ;(isHeld ? hold : resume).push(state.partition)
      if (!isHeld) state.movedAt = Date.now()
    }
    if (hold.length > 0) this.#session?.hold(feed.topic, hold)
    if (resume.length > 0) this.#session?.resume(feed.topic, resume)
  }

  /** The consumer ended: another one takes its place where that may help, and has not failed for too long. */
  #crashed(error: Error, mayPass: boolean): void {
    if (this.#stopping || this.#error) return
    const now = Date.now()
    if (now - this.#lastCrash > HEALTHY_MS) {
      this.#firstCrash = now
      this.#restartDelay = RESTART_MS
    }
    this.#lastCrash = now
    const code = classify(error)
    const restart = mayPass && code !== 'KAFKA_AUTH' && !this.#hasLasted(this.#firstCrash)
    this.#log('warn', error, restart ? 'the consumer crashed and begins again' : 'the consumer crashed')
    this.emit('crash', { error, restart })
    if (!restart) {
      const known = code === 'KAFKA_AUTH' || code === 'TOPIC_NOT_FOUND' ? code : 'KAFKA_CONSUMER_CRASHED'
      const { message, cause } = this.#kafkaError(error, 'the consumer stopped by itself')
      this.#fail(new KafkaToDeltaError(known, message, { cause }))
      return
    }
    // What a former session had located does not hold for the next one.
    this.#generation++
    for (const feed of this.#feeds.values()) for (const state of feed.partitions.values()) state.confirmed = false
    this.#restart = setTimeout(() => void this.#runAgain(), this.#restartDelay)
    this.#restartDelay = Math.min(this.#restartDelay * 2, MAX_RESTART_MS)
  }

  async #runAgain(): Promise<void> {
    if (!this.#client || this.#stopping || this.#error) return
    const former = this.#session
    former?.close().catch(() => {})
    const session = this.#makeSession(this.#client.kafka)
    try {
      await session.connect()
      if (this.#stopping) await session.close()
      else await session.run()
    } catch (error) {
      session.close().catch(() => {})
      if (this.#session === session) this.#crashed(error as Error, isTransient(error))
    }
  }

  #hasLasted(since: number): boolean {
    return Date.now() - since > (this.#options.maxUnavailableMs ?? MAX_UNAVAILABLE_MS)
  }

  #fail(error: KafkaToDeltaError): void {
    if (this.#error || this.#stopping) return
    this.#error = error
    for (const feed of this.#feeds.values()) feed.fail(error)
    for (const reject of this.#onFailed) reject(error)
    this.emit('failed', error)
    void this.stop()
  }

  async #stop(): Promise<void> {
    this.#watchdog?.stop()
    clearTimeout(this.#restart)
    for (const feed of this.#feeds.values()) feed.stop()
    const cancelled = new KafkaToDeltaError('CANCELLED', 'the source was stopped')
    if (!this.#isRunning) for (const reject of this.#onFailed) reject(cancelled)
    // Once the source failed, the consumer may hang on what failed: the group is not told.
    if (this.#session && !this.#error) await settled(this.#session.flush(), FLUSH_MS)
    const closing = [this.#session?.close(), this.#admin?.disconnect(), this.#probe?.close()]
    const isClosed = await settled(Promise.allSettled(closing), LEAVE_MS)
    if (!isClosed) this.#options.logger?.warn({}, 'Kafka did not answer in time: the connections were cut')
    this.#client?.destroySockets()
  }

  #feed(topic: string): TopicFeed {
    const feed = this.#feeds.get(topic)
    if (!feed) throw new KafkaToDeltaError('INTERNAL', `the topic ${topic} is not consumed`, { topic })
    return feed
  }

  #watermarks(topic: string) {
    if (!this.#admin) throw new KafkaToDeltaError('INTERNAL', 'the source is not started')
    return fetchWatermarks(this.#admin, topic)
  }

  #kafkaError(error: unknown, doing: string): KafkaToDeltaError {
    return kafkaError(error, doing, this.#client?.redact ?? ((text) => text))
  }

  #log(level: 'debug' | 'warn', error: unknown, message: string): void {
    this.#options.logger?.[level]({ error: this.#kafkaError(error, 'Kafka').message }, message)
  }

  #throwIfStopping(): void {
    if (this.#stopping) throw new KafkaToDeltaError('CANCELLED', 'the source was stopped')
  }
}
