/** The topics of the broker, and their folder where they are kept on disk. */

import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { PartitionLog } from './partition-log.js'
import { KafkaErrorCode, KafkaProtocolError } from './protocol.js'

export interface Topic {
  name: string
  partitions: PartitionLog[]
  /** As given at creation. */
  configs: Map<string, string>
  /** Its last partition has no leader. */
  isLeaderless?: boolean
}

interface TopicFile {
  name: string
  partitions: number
  configs: Record<string, string>
  logStarts: number[]
}

const TOPIC_FILE = 'topic.json'
/** Far above any test; a mistyped count must not open a million files. */
const MAX_PARTITIONS = 1000

export class TopicStore {
  readonly #topics = new Map<string, Topic>()
  readonly #folder: string | null

  /** @param dataDir where to keep the topics; those that are there are loaded */
  constructor(dataDir: string | null) {
    this.#folder = dataDir === null ? null : join(dataDir, 'topics')
    if (this.#folder === null) return
    mkdirSync(this.#folder, { recursive: true })
    for (const entry of readdirSync(this.#folder, { withFileTypes: true })) {
      const file = join(this.#folder, entry.name, TOPIC_FILE)
      if (!entry.isDirectory() || !existsSync(file)) continue
      const saved = JSON.parse(readFileSync(file, 'utf8')) as TopicFile
      const topic: Topic = { name: saved.name, partitions: [], configs: new Map(Object.entries(saved.configs)) }
      for (let i = 0; i < saved.partitions; i++) {
        topic.partitions.push(new PartitionLog(this.#logFile(saved.name, i), saved.logStarts[i] ?? 0))
      }
      this.#topics.set(saved.name, topic)
    }
  }

  get names(): string[] {
    return [...this.#topics.keys()].sort()
  }

  get(name: string): Topic | undefined {
    return this.#topics.get(name)
  }

  /** A partition's log. Throws UNKNOWN_TOPIC_OR_PARTITION. */
  log(name: string, partition: number): PartitionLog {
    const log = this.#topics.get(name)?.partitions[partition]
    if (!log) {
      throw new KafkaProtocolError(KafkaErrorCode.UNKNOWN_TOPIC_OR_PARTITION, `no partition ${partition} of ${name}`)
    }
    return log
  }

  /** Whether a topic of this name and size could be created; throws where not. */
  validate(name: string, partitions: number): void {
    if (!/^[A-Za-z0-9._-]{1,249}$/.test(name) || name === '.' || name === '..') {
      throw new KafkaProtocolError(KafkaErrorCode.INVALID_TOPIC, `${JSON.stringify(name)} is no topic name`)
    }
    if (this.#topics.has(name)) {
      throw new KafkaProtocolError(KafkaErrorCode.TOPIC_ALREADY_EXISTS, `Topic '${name}' already exists.`)
    }
    if (partitions < 1 || partitions > MAX_PARTITIONS) {
      throw new KafkaProtocolError(KafkaErrorCode.INVALID_PARTITIONS, `${partitions} partitions`)
    }
  }

  create(name: string, partitions: number, configs: Map<string, string> = new Map()): Topic {
    this.validate(name, partitions)
    const topic: Topic = { name, partitions: [], configs }
    if (this.#folder !== null) {
      // What a process left that died while it deleted the topic.
      rmSync(join(this.#folder, name), { recursive: true, force: true })
      mkdirSync(join(this.#folder, name))
    }
    for (let i = 0; i < partitions; i++) topic.partitions.push(new PartitionLog(this.#logFile(name, i)))
    this.#topics.set(name, topic)
    this.save(topic)
    return topic
  }

  /** Adds partitions up to `count`. */
  grow(name: string, count: number): void {
    const topic = this.#topics.get(name)
    if (!topic) throw new KafkaProtocolError(KafkaErrorCode.UNKNOWN_TOPIC_OR_PARTITION, `no topic ${name}`)
    if (count <= topic.partitions.length || count > MAX_PARTITIONS) {
      throw new KafkaProtocolError(
        KafkaErrorCode.INVALID_PARTITIONS,
        `Topic has ${topic.partitions.length} partitions, ${count} asked for`,
      )
    }
    for (let i = topic.partitions.length; i < count; i++) {
      topic.partitions.push(new PartitionLog(this.#logFile(name, i)))
    }
    this.save(topic)
  }

  delete(name: string): void {
    const topic = this.#topics.get(name)
    if (!topic) throw new KafkaProtocolError(KafkaErrorCode.UNKNOWN_TOPIC_OR_PARTITION, `no topic ${name}`)
    this.#topics.delete(name)
    // First what makes it a topic: half of one must not come back.
    if (this.#folder !== null) rmSync(join(this.#folder, name, TOPIC_FILE), { force: true })
    for (const log of topic.partitions) log.delete()
    if (this.#folder !== null) rmSync(join(this.#folder, name), { recursive: true, force: true })
  }

  /** Writes what is known of a topic but its records: after a change of its partitions or log starts. */
  save(topic: Topic): void {
    if (this.#folder === null) return
    const file = join(this.#folder, topic.name, TOPIC_FILE)
    const saved: TopicFile = {
      name: topic.name,
      partitions: topic.partitions.length,
      configs: Object.fromEntries(topic.configs),
      logStarts: topic.partitions.map((log) => log.logStart),
    }
    writeFileSync(`${file}.new`, JSON.stringify(saved))
    renameSync(`${file}.new`, file)
  }

  close(): void {
    for (const topic of this.#topics.values()) for (const log of topic.partitions) log.close()
  }

  #logFile(topic: string, partition: number): string | null {
    return this.#folder === null ? null : join(this.#folder, topic, `${partition}.log`)
  }
}
