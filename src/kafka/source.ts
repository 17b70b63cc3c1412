/** The source: a kafkajs consumer that hands over micro-batches per topic, from positions that it has confirmed. */

import { EventEmitter } from 'node:events'
import { asKafkaToDeltaError, KafkaToDeltaError, type Waiting } from '../errors.js'
import { settled, unlessAborted } from '../waits.js'
import { AdaptivePace } from './adaptive-pace.js'
import { connected } from './ask.js'
import { createClient, type KafkaClient, kafkaError } from './client.js'
import { unreadableTopics } from './cluster-check.js'
import { ConsumerKeeper } from './consumer-keeper.js'
import { FetchControl } from './fetch-control.js'
import { Intake } from './intake.js'
import { TopicLookup } from './lookup.js'
import { Membership } from './membership.js'
import { MemoryBudget, type MemoryUse } from './memory-budget.js'
import type { MicroBatch } from './micro-batch.js'
import { checkSourceOptions, consumerConfig, fetchWaits, type SourceOptions, type SourceTrigger } from './options.js'
import { PartitionLocator } from './partition-locator.js'
import { type AssignedPosition, PositionSearch } from './position-search.js'
import type { DataLoss, StoredOffsets, Watermarks } from './positions.js'
import { TopicCheck } from './topic-check.js'
import { type PartitionLag, type PartitionState, TopicFeed } from './topic-feed.js'
import { Watchdog } from './watchdog.js'

/**
 * How long a worker is new, in session timeouts: as long as it takes from the join of an update's worker to the end of the one
 * whose place it takes.
 */
const NEW_SESSIONS = 2

/** Longest wait for the consumer to leave its group, and for the group to be told of offsets. */
const LEAVE_MS = 5_000
const FLUSH_MS = 2_000

export interface KafkaSourceEvents {
  /** Offsets are gone, and the source goes on at the earliest (`failOnDataLoss: false`). */
  dataLoss: [loss: DataLoss]
  /** Positions of partitions are confirmed. */
  assigned: [partitions: AssignedPosition[]]
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
 * What is held in memory is bounded by kafkajs's `maxBytes` (a fetch), per topic by `limits.maxQueueBytes`, and for all topics
 * together by {@link MemoryBudget}, which {@link decoded} and {@link noteColumns} tell what batches become. Messages
 * are columns over what was fetched, which stays in memory until the last of them is released: keep no message longer than
 * its batch.
 */
export class KafkaSource extends EventEmitter<KafkaSourceEvents> {
  #options: SourceOptions
  #storedOffsets: (topic: string) => Promise<StoredOffsets>
  #feeds: Map<string, TopicFeed>
  #client: KafkaClient | null = null
  readonly #budget: MemoryBudget
  readonly #fetching: FetchControl
  readonly #check: TopicCheck
  readonly #search: PositionSearch
  readonly #intake: Intake
  /** In a group of many workers. */
  readonly #membership: Membership | null
  readonly #newMs: number
  #noLongerNew: NodeJS.Timeout | undefined
  readonly #triggers: Map<string, SourceTrigger>
  readonly #pace = new AdaptivePace()
  /** Topics that were added while running. */
  readonly #added = new Set<string>()
  #keeper: ConsumerKeeper | null = null
  #lookup: TopicLookup | null = null
  #locator: PartitionLocator | null = null
  #watchdog: Watchdog | null = null
  #isStarted = false
  #wasAssigned = false
  #isRunning = false
  /** Aborted when the source stops or fails. */
  readonly #ending = new AbortController()
  #stopping: Promise<void> | null = null
  #error: KafkaToDeltaError | null = null
  #onLocated: () => void = () => {}
  #onBacklog: (messages: ReadonlyMap<string, bigint>) => void = () => {}
  readonly #backlog = new Promise<ReadonlyMap<string, bigint>>((resolve) => {
    this.#onBacklog = resolve
  })

  /** Throws CONFIG_INVALID. Connects to nothing. */
  constructor(options: SourceOptions, storedOffsets: (topic: string) => Promise<StoredOffsets>) {
    super()
    checkSourceOptions(options)
    this.#options = options
    const { sessionTimeout = 0 } = consumerConfig(options, 'any')
    this.#newMs = NEW_SESSIONS * sessionTimeout
    this.#membership = options.sharing ? new Membership(options.sharing, this.#newMs, options.logger) : null
    this.#triggers = new Map(options.triggers)
    this.#budget = options.budget ?? new MemoryBudget(options.limits.maxMemory)
    this.#fetching = new FetchControl(this.#budget.queues, {
      feeds: () => this.#feeds.values(),
      session: () => this.#keeper?.session,
      logger: options.logger,
      waits: fetchWaits(options),
    })
    this.#storedOffsets = storedOffsets
    this.#check = new TopicCheck({
      options,
      storedOffsets,
      lookup: () => this.#lookup,
      // Whose tables hold something of a topic is known once they are given to a worker.
      isRunning: () => this.#wasAssigned || this.#membership !== null,
      isClosed: (topic) => this.#feeds.get(topic)?.isClosed ?? true,
      signal: this.#ending.signal,
    })
    this.#search = this.#makeSearch()
    this.#intake = new Intake({
      feed: (topic) => this.#feeds.get(topic),
      seek: (topic, partition, offset) => this.#seek(topic, partition, offset),
      changed: (feed) => this.#fetching.update(feed),
      locate: (feed) => this.#search.locate(feed),
      signal: this.#ending.signal,
      logger: options.logger,
    })
    this.#feeds = new Map(options.topics.map((topic) => [topic, this.#newFeed(topic)]))
  }

  /**
   * Connects, joins its group, and resolves when the position of every partition is confirmed. Each topic is read as
   * soon as its own are: {@link located}. One whose position cannot be found is left out, and its `next` rejects. Rejects where that are all of them, with
   * KAFKA_UNREACHABLE within about 10 seconds, KAFKA_AUTH, TOPIC_NOT_FOUND, DATA_LOSS, OFFSET_MISSING, CONFIG_INVALID,
   * what `storedOffsets` rejects with, and CANCELLED at once if it is stopped meanwhile.
   */
  async start(): Promise<void> {
    if (this.#isStarted) throw new KafkaToDeltaError('INTERNAL', 'the source was started already')
    this.#isStarted = true
    try {
      await this.#start()
    } catch (error) {
      const cause = this.#error ?? asKafkaToDeltaError(error, 'KAFKA_UNREACHABLE')
      this.#fail(cause)
      await this.stop()
      throw cause
    }
  }

  /** Resolves when a topic is read, true; or when it is known that it will not be, false: `next` says why. */
  located(topic: string): Promise<boolean> {
    return this.#feed(topic).located
  }

  /** Messages in each topic when the source started; of none where Kafka did not tell. */
  backlog(): Promise<ReadonlyMap<string, bigint>> {
    return this.#backlog
  }

  /** Why nothing is read: Kafka fails, and is waited for. Null where it does not. */
  get waitingFor(): Waiting | null {
    return this.#keeper?.waitingFor ?? null
  }

  /**
   * The next micro-batch of a topic, when the trigger or the limits say so. Null at the end: `availableNow` is
   * done, or the source is stopped. After a {@link rewind} it may have batches again. Rejects with the cause if
   * the source failed. One call per topic at a time.
   */
  async next(topic: string): Promise<MicroBatch | null> {
    return this.#feed(topic).next()
  }

  /** The batch is decoded, to `bytes` that it holds until it is committed; its messages are held no longer. */
  decoded(batch: MicroBatch, bytes: number): void {
    const feed = this.#feed(batch.topic)
    feed.queue.decoded(batch, bytes)
    this.#fetching.update(feed)
  }

  /** The batch was merged, for which the engine held so much at a time: the next ones of the table are expected to. */
  merged(batch: MicroBatch, peakBytes: number): void {
    this.#feed(batch.topic).queue.merged(batch, peakBytes)
  }

  /** What the columns that a topic's batches are decoded into hold now, in bytes. */
  noteColumns(topic: string, bytes: number): void {
    this.#feed(topic).memory.noteColumns(bytes)
  }

  /** The batch is in the table: its memory counts as free, paused partitions go on, the group is told. */
  committed(batch: MicroBatch): void {
    const feed = this.#feed(batch.topic)
    if (!feed.queue.committed(batch)) return
    for (const { partition, lastOffset } of batch.ranges) {
      const state = feed.partitions.get(partition)
      if (state) state.committed = lastOffset + 1n
      this.#keeper?.session?.noteCommitted(batch.topic, partition, lastOffset + 1n)
    }
    this.#fetching.update(feed)
    feed.wake()
  }

  /**
   * After a fence: drops all that is queued or handed over of the topic, reads the stored offsets and seeks there. A call
   * of {@link next} that waits gives null at once: nothing may come any more that would answer it.
   * Batches handed over before are not to be committed any more.
   */
  async rewind(topic: string): Promise<void> {
    const feed = this.#feed(topic)
    if (this.#error) throw this.#error
    feed.reset()
    this.#fetching.update(feed)
    if (this.#membership) await unlessAborted(this.#membership.nextWord(), this.#ending.signal)
    // Else it is another worker's by now.
    if (this.#feeds.get(topic) === feed) await this.#search.locate(feed)
    if (this.#error) throw this.#error
  }

  /** Reads nothing more of a topic whose table cannot go on; the others do. `next` gives null for it. */
  close(topic: string): void {
    const feed = this.#feed(topic)
    feed.close()
    this.#fetching.update(feed)
  }

  /**
   * Reads further topics, from the beginning where the table has nothing of them. All topics pause while the consumer joins
   * its group anew: some 3 seconds by a broker's default. A topic that had failed is read again.
   */
  async add(topics: ReadonlyMap<string, SourceTrigger>): Promise<void> {
    for (const [topic, trigger] of topics) {
      this.#triggers.set(topic, trigger)
      this.#added.add(topic)
      const feed = this.#newFeed(topic)
      feed.wasDeleted = this.#feeds.get(topic)?.error?.code === 'TOPIC_NOT_FOUND'
      this.#feeds.set(topic, feed)
    }
    await this.#keeper?.renew()
  }

  #newFeed(topic: string): TopicFeed {
    const trigger = this.#triggers.get(topic) ?? this.#options.trigger
    const { limits, pairMemberOf } = this.#options
    return new TopicFeed(topic, trigger, limits, pairMemberOf, this.#budget, this.#pace)
  }

  /** What all topics of the budget hold in memory. */
  get memory(): MemoryUse {
    return this.#budget.use
  }

  /** How far each partition of a topic is, by what was last seen: no request. */
  lag(topic: string): Map<number, PartitionLag> {
    return this.#feed(topic).lag()
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
    const { signal } = this.#ending
    signal.throwIfAborted()
    await this.#leaveOutUnreadable()
    this.#mustHaveTopics()
    this.#client = createClient(this.#options.kafka, queryName, logger)
    const { kafka, redact } = this.#client
    this.#lookup = new TopicLookup(kafka)
    await connected(this.#lookup.connect(), 'cannot connect to Kafka', redact, signal)
    const backlog = this.#captureBacklog()
    if (this.#isNow) await connected(backlog, 'cannot read the offsets of the topics', redact, signal)
    this.#locator = new PartitionLocator({
      options: this.#options,
      storedOffsets: this.#storedOffsets,
      lookup: this.#lookup,
      seek: (topic, partition, offset) => this.#seek(topic, partition, offset),
      generation: () => this.#search.generation,
      onLoss: (loss) => this.emit('dataLoss', loss),
    })
    this.#watchdog = this.#makeWatchdog(this.#lookup)
    const located = new Promise<void>((resolve) => {
      this.#onLocated = resolve
    })
    this.#keeper = this.#makeKeeper(this.#client)
    await this.#keeper.start()
    // Topics are read although others wait for their tables.
    this.#watchdog.start()
    await unlessAborted(located, signal)
    this.#mustHaveTopics()
    this.#isRunning = true
    if (this.#membership) this.#askForPartLater(this.#membership)
    logger?.info({ groupId: this.#keeper.session?.groupId, topics }, 'source is running')
  }

  #makeSearch(): PositionSearch {
    return new PositionSearch({
      options: this.#options,
      feeds: () => this.#feeds.values(),
      locator: () => this.#locator,
      isRunning: () => this.#isRunning,
      areNew: (feed) =>
        this.#wasAssigned && (!this.#membership || feed.partitions.size > 0 || this.#added.has(feed.topic)),
      signal: this.#ending.signal,
      failed: (feed, error) => {
        // Else it is another worker's by now, or this one ends.
        const isLeft = error instanceof KafkaToDeltaError && error.code === 'CANCELLED'
        if (this.#feeds.get(feed.topic) !== feed || (this.#membership && isLeft)) return
        this.#failTopic(feed, this.#kafkaError(error, `cannot find the position in ${feed.topic}`))
      },
      failedOnce: ({ topic }, error) => this.#log('debug', error, `the position in ${topic} could not be found yet`),
      changed: (feed) => this.#fetching.update(feed),
    })
  }

  #makeWatchdog(lookup: TopicLookup): Watchdog {
    const host = {
      feeds: () => this.#feeds.values(),
      watermarks: (topic: string) => lookup.watermarks(topic),
      skipEmpty: (topic: string, partition: number, from: bigint) =>
        lookup.skipEmpty(topic, partition, from, () => this.#ending.signal.aborted),
      misplaced: (state: PartitionState) => this.#intake.misplaced(state),
      skipTo: (state: PartitionState, next: bigint) => this.#intake.skipTo(state, next),
      onError: (error: unknown) => this.#log('debug', error, 'the log could not be asked for its end'),
    }
    return new Watchdog(host, fetchWaits(this.#options).busyMs)
  }

  #makeKeeper(client: KafkaClient): ConsumerKeeper {
    return new ConsumerKeeper(client, this.#options, this.#membership, {
      topics: () => this.#openFeeds.map(({ topic }) => topic),
      topicAmiss: () => this.#leaveOutUnreadable(),
      assigned: (assignment) => void this.#assigned(assignment),
      confirmed: () => this.#membership?.confirmed(),
      take: (batch) => this.#intake.take(batch),
      skipped: (batch) => this.#intake.skipped(batch),
      fetched: (durationMs) => this.#watchdog?.fetched(durationMs),
      delivered: () => this.#watchdog?.delivered(),
      fetchWaitMs: () => this.#fetching.waitMs,
      crashed: (crash) => this.#crashed(crash),
      replaced: () => this.#search.unconfirm(),
      failed: (error) => this.#fail(error),
      onCommitError: (error) => this.#log('debug', error, 'the consumer group was not told of offsets'),
    })
  }

  /** Throws where no topic is left to be read. */
  #mustHaveTopics(): void {
    const feeds = [...this.#feeds.values()]
    if (feeds.every(({ error }) => error !== null)) throw feeds[0]?.error
  }

  /** Topics that are read. */
  get #openFeeds(): TopicFeed[] {
    return [...this.#feeds.values()].filter(({ isClosed }) => !isClosed)
  }

  /** A topic that was deleted, or that may no longer be read, stops its own table alone. */
  async #leaveOutUnreadable(): Promise<void> {
    const unreadable = await this.#check.unreadable(this.#openFeeds.map(({ topic }) => topic))
    for (const [topic, why] of unreadable) this.#failTopic(this.#feed(topic), unreadableTopics([topic], why))
  }

  get #isNow(): boolean {
    return 'availableNow' in this.#options.trigger
  }

  /** What the topics hold; with `availableNow`, that is what is read, and it rejects where no topic tells. */
  async #captureBacklog(): Promise<void> {
    const isNow = this.#isNow
    const failed = new Map<TopicFeed, unknown>()
    const backlog = new Map<string, bigint>()
    const feeds = this.#openFeeds
    await Promise.all(
      feeds.map(async (feed) => {
        try {
          const marks = await this.#watermarks(feed.topic)
          if (isNow) feed.ends = new Map([...marks].map(([partition, { high }]) => [partition, high]))
          backlog.set(
            feed.topic,
            [...marks.values()].reduce((sum, { low, high }) => sum + high - low, 0n),
          )
        } catch (error) {
          failed.set(feed, error)
        }
      }),
    )
    this.#onBacklog(backlog)
    if (!isNow) return
    for (const [feed, error] of failed) {
      if (failed.size === feeds.length) throw error
      this.#failTopic(feed, this.#kafkaError(error, `cannot read the offsets of ${feed.topic}`))
    }
  }

  /** Topics that another worker has now are forgotten; those that came begin after what their tables hold. */
  #share(membership: Membership, assignment: Record<string, number[]>): void {
    const moves = membership.assigned(assignment)
    // Their tables are stopped first: nothing asks for more of them.
    this.#options.sharing?.moved(moves)
    for (const topic of [...moves.lost, ...moves.gained]) {
      const feed = this.#feeds.get(topic)
      const isFresh = feed?.partitions.size === 0 && !feed.isClosed
      // A topic that is not there any more is not subscribed to.
      if (!feed || isFresh || (feed.error && moves.lost.includes(topic))) continue
      feed.close()
      this.#feeds.set(topic, this.#newFeed(topic))
      this.#keeper?.session?.forget(topic)
    }
  }

  /** A worker that joined others has what they left. Once it is new no longer, tables of those that stay may come to it. */
  #askForPartLater(membership: Membership): void {
    this.#noLongerNew = setTimeout(() => {
      this.#askForPart(membership).catch((error) => {
        this.#log('debug', error, 'the members of the group could not be counted yet')
        if (!this.#ending.signal.aborted) this.#askForPartLater(membership)
      })
    }, this.#newMs).unref()
  }

  async #askForPart(membership: Membership): Promise<void> {
    const groupId = this.#keeper?.session?.groupId
    if (!groupId || !this.#lookup) throw new Error('the consumer begins again')
    const numMembers = await this.#lookup.numMembers(groupId)
    if (membership.hasTooFew(numMembers)) await this.#keeper?.renew()
  }

  async #assigned(assignment: Record<string, number[]>): Promise<void> {
    if (this.#membership) this.#share(this.#membership, assignment)
    const located = this.#search.assigned(assignment)
    this.#wasAssigned = true
    const positions = await located
    if (positions === null) return
    this.#onLocated()
    this.emit('assigned', positions)
  }

  #crashed(crash: { error: Error; restart: boolean }): void {
    if (this.#ending.signal.aborted) return
    this.#search.unconfirm()
    this.emit('crash', crash)
  }

  /** Nothing more is read of this topic; the others go on. */
  #failTopic(feed: TopicFeed, error: KafkaToDeltaError): void {
    const { code, message } = error
    this.#options.logger?.error({ topic: feed.topic, code }, message)
    feed.fail(error)
    this.#fetching.update(feed)
    if (this.#membership && !this.#membership.owns(feed.topic)) this.#options.sharing?.unreadable(feed.topic, error)
  }

  #fail(error: KafkaToDeltaError): void {
    if (this.#ending.signal.aborted) return
    this.#error = error
    for (const feed of this.#feeds.values()) feed.fail(error)
    this.#ending.abort(error)
    this.emit('failed', error)
    void this.stop()
  }

  async #stop(): Promise<void> {
    this.#ending.abort(new KafkaToDeltaError('CANCELLED', 'the source was stopped'))
    this.#onBacklog(new Map())
    this.#watchdog?.stop()
    clearTimeout(this.#noLongerNew)
    this.#fetching.close()
    for (const feed of this.#feeds.values()) feed.stop()
    const session = this.#keeper?.session
    // Once the source failed, the consumer may hang on what failed: the group is not told.
    if (session && !this.#error) await settled(session.flush(), FLUSH_MS)
    const closing = [this.#keeper?.close(), this.#lookup?.close()]
    const isClosed = (await this.#client?.close(closing.filter(isSet), LEAVE_MS)) ?? true
    if (!isClosed) this.#options.logger?.warn({}, 'Kafka did not answer in time: the connections were cut')
    for (const feed of this.#feeds.values()) feed.memory.close()
  }

  #feed(topic: string): TopicFeed {
    const feed = this.#feeds.get(topic)
    if (!feed) throw new KafkaToDeltaError('INTERNAL', `the topic ${topic} is not consumed`, { topic })
    return feed
  }

  /** False where there is no assignment to seek in. */
  #seek(topic: string, partition: number, offset: bigint): boolean {
    return this.#keeper?.session?.seek(topic, partition, offset) ?? false
  }

  #watermarks(topic: string): Promise<Map<number, Watermarks>> {
    if (!this.#lookup) throw new KafkaToDeltaError('INTERNAL', 'the source is not started')
    return this.#lookup.watermarks(topic)
  }

  #kafkaError(error: unknown, doing: string): KafkaToDeltaError {
    return kafkaError(error, doing, this.#client?.redact ?? ((text) => text))
  }

  #log(level: 'debug' | 'warn', error: unknown, message: string): void {
    this.#options.logger?.[level]({ error: this.#kafkaError(error, 'Kafka').message }, message)
  }
}

const isSet = <T>(value: T | undefined): value is T => value !== undefined
