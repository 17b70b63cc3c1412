/** All consumer groups of the broker and their committed offsets. */

import { appendFileSync, existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { ConsumerGroup } from './group.js'
import { KafkaErrorCode, KafkaProtocolError } from './protocol.js'

export interface CommittedOffset {
  topic: string
  partition: number
  /** The next offset to read. */
  offset: number
  metadata: string | null
}

/** One line of the offsets file; without `topic` the whole group's offsets go, without `offset` a topic's. */
interface OffsetLine {
  group?: string
  topic?: string
  partition?: number
  offset?: number
  metadata?: string | null
}

export class GroupCoordinator {
  readonly #groups = new Map<string, ConsumerGroup>()
  readonly #offsets = new Map<string, Map<string, CommittedOffset>>()
  readonly #file: string | null
  readonly #initialDelayMs: number
  /** Whether no group may be used. */
  isDenied = false

  /** @param dataDir where committed offsets are kept; those that are there are loaded */
  constructor(dataDir: string | null, initialDelayMs: number) {
    this.#initialDelayMs = initialDelayMs
    this.#file = dataDir === null ? null : join(dataDir, 'offsets.jsonl')
    if (this.#file === null || !existsSync(this.#file)) return
    for (const text of readFileSync(this.#file, 'utf8').split('\n')) {
      let line: OffsetLine
      try {
        line = JSON.parse(text)
      } catch {
        // The end, or a line that a killed process did not finish.
        continue
      }
      this.#apply(line)
    }
  }

  /** The group, made where it does not exist. */
  group(id: string): ConsumerGroup {
    if (this.isDenied) throw new KafkaProtocolError(KafkaErrorCode.GROUP_AUTHORIZATION_FAILED, 'it is denied')
    if (id === '') throw new KafkaProtocolError(KafkaErrorCode.INVALID_GROUP_ID, 'the group id is empty')
    let group = this.#groups.get(id)
    if (!group) {
      group = new ConsumerGroup(id, this.#initialDelayMs)
      this.#groups.set(id, group)
    }
    return group
  }

  find(id: string): ConsumerGroup | undefined {
    return this.#groups.get(id)
  }

  /** Ids of the groups that have members or offsets. */
  get ids(): string[] {
    return [...new Set([...this.#groups.keys(), ...this.#offsets.keys()])].sort()
  }

  commit(groupId: string, offset: CommittedOffset): void {
    this.#record({ group: groupId, ...offset })
  }

  committed(groupId: string, topic: string, partition: number): CommittedOffset | undefined {
    return this.#offsets.get(groupId)?.get(`${topic}/${partition}`)
  }

  allCommitted(groupId: string): CommittedOffset[] {
    return [...(this.#offsets.get(groupId)?.values() ?? [])]
  }

  delete(groupId: string): void {
    const group = this.#groups.get(groupId)
    if (!group && !this.#offsets.has(groupId)) {
      throw new KafkaProtocolError(KafkaErrorCode.GROUP_ID_NOT_FOUND, `no group ${groupId}`)
    }
    if (group && group.members.length > 0) {
      throw new KafkaProtocolError(KafkaErrorCode.NON_EMPTY_GROUP, `group ${groupId} has members`)
    }
    group?.close()
    this.#groups.delete(groupId)
    this.#record({ group: groupId })
  }

  /** Forgets what groups committed for a topic that was deleted. */
  forgetTopic(topic: string): void {
    this.#record({ topic })
  }

  close(): void {
    for (const group of this.#groups.values()) group.close()
  }

  #record(line: OffsetLine): void {
    this.#apply(line)
    if (this.#file !== null) appendFileSync(this.#file, `${JSON.stringify(line)}\n`)
  }

  #apply(line: OffsetLine): void {
    const { group, topic, partition, offset } = line
    if (group === undefined) {
      for (const offsets of this.#offsets.values()) {
        for (const [key, committed] of offsets) if (committed.topic === topic) offsets.delete(key)
      }
    } else if (topic === undefined || partition === undefined || offset === undefined) {
      this.#offsets.delete(group)
    } else {
      const offsets = this.#offsets.get(group) ?? new Map<string, CommittedOffset>()
      offsets.set(`${topic}/${partition}`, { topic, partition, offset, metadata: line.metadata ?? null })
      this.#offsets.set(group, offsets)
    }
  }
}
