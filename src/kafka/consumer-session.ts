/** One kafkajs consumer in one group, from its start to its end. After a crash, its keeper makes another. */

import { randomUUID } from 'node:crypto'
import type { Batch, Consumer, Kafka } from 'kafkajs'
import { unlessAborted } from '../waits.js'
import { classify } from './client.js'
import { FetchWait } from './fetch-wait.js'
import { GroupCommits } from './group-commits.js'
import type { Membership } from './membership.js'
import { consumerConfig, groupOf, type SourceOptions } from './options.js'

/** What kafkajs reports of a fetched batch; `fetchedOffset` is not in its types. */
export type FetchedBatch = Batch & { fetchedOffset?: string }

/** A batch that kafkajs passed over by itself: control records, aborted or compacted messages alone. */
export interface SkippedBatch {
  topic: string
  partition: number
  /** Null where a compacted record batch holds nothing from the fetched offset on. */
  firstOffset: string | null
  lastOffset: string
  highWatermark: string
}

export interface SessionHost {
  assigned(assignment: Record<string, number[]>): void
  /** True: the batch was taken, kafkajs may move on behind it. */
  take(batch: FetchedBatch): boolean
  skipped(batch: SkippedBatch): void
  fetched(durationMs: number): void
  delivered(): void
  /** Milliseconds that the next fetch may wait for messages. */
  fetchWaitMs(): number
  /** Kafka answered something. */
  heard(): void
  /** The group knows the member, and has nothing new for it. */
  confirmed(): void
  /** The consumer ended. `mayPass`: kafkajs would begin again. */
  crashed(error: Error, mayPass: boolean): void
  onCommitError(error: unknown): void
}

export class ConsumerSession {
  readonly groupId: string
  #host: SessionHost
  #consumer: Consumer
  #commits: GroupCommits
  readonly #wait: FetchWait
  #topics: string[] = []
  #isClosed = false
  /** Null where kafkajs did not ask. */
  #mayPass: boolean | null = null
  #onBegun: () => void = () => {}
  /** Resolves with the first assignment, or with a crash before it. */
  readonly #begun = new Promise<void>((resolve) => {
    this.#onBegun = resolve
  })

  /** @param membership in a group of many workers; null for a group of this session alone */
  constructor(kafka: Kafka, options: SourceOptions, membership: Membership | null, host: SessionHost) {
    const { retry } = options.consumer
    const group = groupOf(options)
    // A group of its own for each session: the broker holds up a group with a dead member until its session times out.
    this.groupId = membership ? group : `${group}-${randomUUID()}`
    this.#host = host
    // Consumers of many workers have their group in common, also two of one process.
    const waitId = membership ? `${group}-${randomUUID()}` : this.groupId
    this.#consumer = kafka.consumer({
      ...consumerConfig(options, this.groupId),
      ...(membership ? { partitionAssigners: [membership.nextAssigner(waitId)] } : {}),
      retry: {
        ...retry,
        // Asked only for errors that kafkajs takes for passing; it is the source that begins again.
        restartOnFailure: async (error) => {
          this.#mayPass = (await retry?.restartOnFailure?.(error)) ?? true
          return false
        },
      },
    })
    this.#commits = new GroupCommits(this.#consumer, (error) => host.onCommitError(error))
    this.#wait = new FetchWait(waitId, () => host.fetchWaitMs())
    this.#listen()
  }

  /** Connects. */
  connect(): Promise<void> {
    return this.#consumer.connect()
  }

  /** Subscribes and joins the group; the assignment is told to the host, and so is a crash. */
  async run(topics: string[], signal: AbortSignal): Promise<void> {
    this.#topics = topics
    await unlessAborted(this.#consumer.subscribe({ topics, fromBeginning: true }), signal)
    const running = this.#consumer.run({
      autoCommit: false,
      eachBatchAutoResolve: false,
      eachBatch: async ({ batch, resolveOffset }) => {
        if (!this.#isClosed && this.#host.take(batch)) resolveOffset(batch.lastOffset())
      },
    })
    await unlessAborted(Promise.all([running, this.#begun]), signal)
  }

  /** False where kafkajs is between two assignments: the next one seeks anyway. */
  seek(topic: string, partition: number, offset: bigint): boolean {
    try {
      this.#consumer.seek({ topic, partition, offset: offset.toString() })
      return true
    } catch {
      return false
    }
  }

  hold(topic: string, partitions: number[]): void {
    this.#quietly(() => this.#consumer.pause([{ topic, partitions }]))
  }

  resume(topic: string, partitions: number[]): void {
    this.#quietly(() => this.#consumer.resume([{ topic, partitions }]))
  }

  /** `next`: the next offset after what is in the table. */
  noteCommitted(topic: string, partition: number, next: bigint): void {
    this.#commits.note(topic, partition, next)
  }

  /** Tells the group nothing more of a topic. */
  forget(topic: string): void {
    this.#commits.forget(topic)
  }

  /** Tells the group the last offsets. Never rejects, and may take as long as kafkajs retries. */
  async flush(): Promise<void> {
    await this.#commits.close()
  }

  /** Takes nothing more. It stays in the group until the group is joined anew, by the one that takes its place, or {@link close}. */
  retire(): void {
    this.#isClosed = true
    this.#quietly(() => this.#consumer.pause(this.#topics.map((topic) => ({ topic }))))
  }

  /** Stops fetching at once and leaves the group. */
  async close(): Promise<void> {
    this.#isClosed = true
    this.#wait.close()
    await this.#consumer.disconnect()
  }

  #listen(): void {
    const { GROUP_JOIN, HEARTBEAT, CRASH, FETCH, END_BATCH_PROCESS, REQUEST } = this.#consumer.events
    const host = this.#host
    this.#consumer.on(REQUEST, () => host.heard())
    this.#consumer.on(HEARTBEAT, () => {
      if (!this.#isClosed) host.confirmed()
    })
    this.#consumer.on(FETCH, ({ payload }) => host.fetched(payload.duration))
    this.#consumer.on(END_BATCH_PROCESS, ({ payload }) => {
      host.delivered()
      if (payload.batchSize === 0 && !this.#isClosed) host.skipped(payload)
    })
    this.#consumer.on(GROUP_JOIN, ({ payload }) => {
      this.#onBegun()
      if (!this.#isClosed) host.assigned(payload.memberAssignment)
      // A join that was under way when the session was closed.
      else this.#consumer.disconnect().catch(() => {})
    })
    this.#consumer.on(CRASH, ({ payload }) => {
      this.#onBegun()
      if (this.#isClosed) return
      this.#isClosed = true
      // A group's coordinator that no broker can be asked for is final for kafkajs, as when all connections have ended.
      host.crashed(payload.error, this.#mayPass ?? classify(payload.error) === 'KAFKA_UNREACHABLE')
    })
  }

  /** kafkajs throws between two assignments; the next one begins with everything held. */
  #quietly(call: () => void): void {
    try {
      call()
    } catch {
      // said above
    }
  }
}
