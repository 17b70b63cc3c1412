/** A Kafka broker inside of the process: for the demo and for tests. Never for data that matters. */

import { mkdirSync } from 'node:fs'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { serveConnection } from './connection.js'
import type { BrokerState } from './context.js'
import { type CommittedOffset, GroupCoordinator } from './group-coordinator.js'
import type { BrokerLogger } from './protocol.js'
import { type BrokerRecord, buildBatch, buildControlBatch, buildEmptyBatch } from './record-batch.js'
import { TopicStore } from './topics.js'

export interface EmbeddedBrokerOptions {
  /** Default: a free one. */
  port?: number
  /** Keeps topics and committed offsets in this folder, and starts with what it holds. Default: memory only. */
  dataDir?: string
  /** Whether asking for an unknown topic creates it. Default: false. */
  autoCreateTopics?: boolean
  /** Partitions of a topic that is created without a number. Default: 1. */
  defaultPartitions?: number
  /** How long an empty group waits for more members at its first join, in milliseconds. Default: 0. */
  initialRebalanceDelayMs?: number
  /** User → password: clients must authenticate (SASL PLAIN). Default: no authentication. */
  users?: Record<string, string>
  logger?: BrokerLogger
}

/** Offsets of a partition: the first that can be read, and the one that the next record gets. */
export interface PartitionOffsets {
  low: number
  high: number
}

const HOST = '127.0.0.1'

export class EmbeddedBroker {
  readonly #state: BrokerState
  readonly #sockets = new Set<Socket>()
  #server: Server | null = null
  #isFrozen = false
  /** Ends a `refuse` early. */
  #endRefusal: (() => void) | null = null

  private constructor(state: BrokerState) {
    this.#state = state
  }

  /** Starts a broker on the loopback interface. Rejects where the port is taken or the folder cannot be written. */
  static async start(options: EmbeddedBrokerOptions = {}): Promise<EmbeddedBroker> {
    const dataDir = options.dataDir ?? null
    if (dataDir !== null) mkdirSync(dataDir, { recursive: true })
    const broker = new EmbeddedBroker({
      topics: new TopicStore(dataDir),
      groups: new GroupCoordinator(dataDir, options.initialRebalanceDelayMs ?? 0),
      host: HOST,
      port: options.port ?? 0,
      autoCreateTopics: options.autoCreateTopics ?? false,
      defaultPartitions: options.defaultPartitions ?? 1,
      users: options.users ? new Map(Object.entries(options.users)) : null,
      logger: options.logger ?? null,
      // Other ids than those of a former run, whose batches may be in the logs.
      nextProducerId: Date.now(),
    })
    await broker.resumeListening()
    return broker
  }

  /** What clients connect to. */
  get brokers(): string[] {
    return [`${HOST}:${this.#state.port}`]
  }

  get port(): number {
    return this.#state.port
  }

  /** Whether a topic's last partition has no leader. */
  setLeaderless(name: string, isLeaderless: boolean): void {
    const topic = this.#state.topics.get(name)
    if (topic) topic.isLeaderless = isLeaderless
  }

  /** Gives users other passwords, or none, and ends all connections. */
  setUsers(users: Record<string, string>): void {
    this.#state.users = new Map(Object.entries(users))
    for (const socket of this.#sockets) socket.destroy()
  }

  /** Whether nobody may use a consumer group. */
  denyGroups(isDenied: boolean): void {
    this.#state.groups.isDenied = isDenied
  }

  /** Ends all connections and closes the logs. */
  async close(): Promise<void> {
    await this.stopListening()
    this.#state.groups.close()
    this.#state.topics.close()
  }

  // Topics and records

  get topics(): { name: string; partitions: number }[] {
    return this.#state.topics.names.map((name) => ({
      name,
      partitions: this.#state.topics.get(name)?.partitions.length ?? 0,
    }))
  }

  createTopic(name: string, partitions = 1, configs: Record<string, string> = {}): void {
    this.#state.topics.create(name, partitions, new Map(Object.entries(configs)))
  }

  deleteTopic(name: string): void {
    this.#state.topics.delete(name)
    this.#state.groups.forgetTopic(name)
  }

  /** Adds partitions up to `count`. */
  addPartitions(name: string, count: number): void {
    this.#state.topics.grow(name, count)
  }

  offsets(topic: string, partition: number): PartitionOffsets {
    const log = this.#state.topics.log(topic, partition)
    return { low: log.logStart, high: log.nextOffset }
  }

  /**
   * Appends records as one batch, each at its own offset where it names one: gaps are kept.
   * Returns the first and the last offset. Throws where an offset is taken.
   */
  append(topic: string, partition: number, records: readonly BrokerRecord[]): { first: number; last: number } {
    const log = this.#state.topics.log(topic, partition)
    const { baseOffset, lastOffset } = log.appendAt(buildBatch(records, log.nextOffset))
    return { first: baseOffset, last: lastOffset }
  }

  /** Appends a batch that covers `count` offsets and holds no record, as compaction leaves it. Returns its offsets. */
  appendEmptyBatch(topic: string, partition: number, count: number): { first: number; last: number } {
    const log = this.#state.topics.log(topic, partition)
    const { baseOffset, lastOffset } = log.appendAt(buildEmptyBatch(log.nextOffset, count))
    return { first: baseOffset, last: lastOffset }
  }

  /**
   * Appends the records of one transaction and the control record that ends it, which takes an offset too.
   * Returns the offsets of the first record and of the control record.
   */
  appendTransaction(
    topic: string,
    partition: number,
    records: readonly BrokerRecord[],
    outcome: 'commit' | 'abort',
  ): { first: number; last: number } {
    const log = this.#state.topics.log(topic, partition)
    const producerId = this.#state.nextProducerId++
    const { baseOffset } = log.appendAt(buildBatch(records, log.nextOffset, { producerId }))
    const { lastOffset } = log.appendAt(buildControlBatch(log.nextOffset, producerId, outcome))
    return { first: baseOffset, last: lastOffset }
  }

  /** Moves the first offset that can be read forward: what lies before is lost. It may be beyond the end. */
  setLogStart(topic: string, partition: number, offset: number): void {
    this.#state.topics.log(topic, partition).moveLogStart(offset)
    const saved = this.#state.topics.get(topic)
    if (saved) this.#state.topics.save(saved)
  }

  // Groups

  /** The offsets that a group has committed. */
  committed(groupId: string): CommittedOffset[] {
    return this.#state.groups.allCommitted(groupId)
  }

  /** Ids of the members that a group has now. */
  members(groupId: string): string[] {
    return this.#state.groups.find(groupId)?.members.map((member) => member.memberId) ?? []
  }

  // Faults

  /** Open connections. */
  get connections(): number {
    return this.#sockets.size
  }

  /** Ends all connections at once; new ones are accepted. */
  dropConnections(): void {
    for (const socket of this.#sockets) socket.destroy()
  }

  /** Accepts connections and answers no request, as a process that was stopped, until {@link thaw}. */
  freeze(): void {
    this.#isFrozen = true
    for (const socket of this.#sockets) socket.pause()
  }

  /** Answers again, also what was asked meanwhile. */
  thaw(): void {
    this.#isFrozen = false
    for (const socket of this.#sockets) socket.resume()
  }

  /** Ends all connections and refuses new ones, until {@link resumeListening}. */
  async stopListening(): Promise<void> {
    this.#endRefusal?.()
    const server = this.#server
    this.#server = null
    this.dropConnections()
    if (server) await new Promise<void>((resolve) => server.close(() => resolve()))
  }

  /** Listens again, on the same port. */
  async resumeListening(): Promise<void> {
    if (this.#server) return
    const server = createServer((socket) => {
      this.#sockets.add(socket)
      socket.on('close', () => this.#sockets.delete(socket))
      serveConnection(this.#state, socket)
      if (this.#isFrozen) socket.pause()
    })
    this.#server = server
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(this.#state.port, HOST, () => {
        server.off('error', reject)
        resolve()
      })
    })
    this.#state.port = (server.address() as AddressInfo).port
  }

  /**
   * Ends all connections and refuses new ones for `ms` milliseconds. Resolves when it listens again,
   * or when it was told to stop in the meantime.
   */
  async refuse(ms: number): Promise<void> {
    await this.stopListening()
    const goesOn = await new Promise<boolean>((resolve) => {
      const end = (again: boolean) => {
        clearTimeout(timer)
        this.#endRefusal = null
        resolve(again)
      }
      const timer = setTimeout(() => end(true), ms)
      this.#endRefusal = () => end(false)
    })
    if (goesOn) await this.resumeListening()
  }
}
