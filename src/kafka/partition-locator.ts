/** Finds the position of each partition after an assignment, after a rewind, or when it is uncertain; checks it, and seeks there. */

import { asKafkaToDeltaError } from '../errors.js'
import type { TopicLookup } from './lookup.js'
import type { SourceOptions } from './options.js'
import {
  type DataLoss,
  dataLossError,
  findLoss,
  remadeTopicError,
  type StoredOffsets,
  startingPositions,
  storedPosition,
  type Watermarks,
} from './positions.js'
import type { PartitionState, TopicFeed } from './topic-feed.js'

export interface LocatorContext {
  options: SourceOptions
  storedOffsets(topic: string): Promise<StoredOffsets>
  lookup: TopicLookup
  /** False where there is no assignment to seek in. */
  seek(topic: string, partition: number, offset: bigint): boolean
  /** Changes with every assignment. */
  generation(): number
  onLoss(loss: DataLoss): void
}

interface Target {
  state: PartitionState
  position: bigint
  marks: Watermarks
  /** Whether the table holds an offset of it; null where that was not asked. */
  isStored: boolean | null
  loss: DataLoss | null
  /** It is where the partition was found to start before. */
  isKept: boolean
}

/** What the table says of a topic. */
interface Known {
  /** Null where it was not asked. */
  stored: StoredOffsets | null
  /** The topic is younger than the query. */
  isNewTopic: boolean
}

/** Whether the start that is kept is not the one that was found. */
const isElsewhere = ({ state, position, isStored }: Target, kept: ReadonlyMap<number, bigint>) =>
  isStored === false && kept.get(state.partition) !== position

const NO_STARTS: ReadonlyMap<number, bigint> = new Map()

export class PartitionLocator {
  #context: LocatorContext

  constructor(context: LocatorContext) {
    this.#context = context
  }

  /**
   * Confirms the partitions of a topic that are not. True if none is left; false if the assignment changed
   * meanwhile or more came. Throws DATA_LOSS, OFFSET_MISSING, CONFIG_INVALID, and kafkajs's errors.
   */
  async locate(feed: TopicFeed): Promise<boolean> {
    const pending = [...feed.partitions.values()].filter((state) => !state.confirmed)
    if (pending.length === 0) return true
    const { options, lookup, seek, generation, onLoss } = this.#context
    const before = { generation: generation(), epoch: feed.epoch }
    const stored = pending.some(({ expected }) => expected === null) ? await this.#stored(feed.topic) : null
    // Before the log is asked: its ends are not to be old when reading begins.
    const isNewTopic = stored?.exists === false && ((await options.isNewTopic?.(feed.topic)) ?? false)
    const marks = await lookup.watermarks(feed.topic)
    let targets = await this.#targets(feed, pending, { stored, isNewTopic }, marks)
    const kept = stored && (await this.#keepStarts(feed, targets, stored))
    if (kept && targets.some((target) => isElsewhere(target, kept))) {
      // Another worker was first.
      targets = await this.#targets(feed, pending, { stored: { ...stored, starts: kept }, isNewTopic }, marks)
    }
    // From here on nothing waits: what was found out still holds.
    if (generation() !== before.generation || feed.epoch !== before.epoch) return false

    if (stored) feed.hasTable ||= stored.exists
    for (const target of targets) {
      const { state } = target
      this.#apply(feed, target)
      if (state.expected === null) continue
      // Between two assignments: the next one locates again.
      if (!seek(state.topic, state.partition, state.expected)) return true
      state.confirmed = true
    }
    feed.wasDeleted = false
    for (const { loss } of targets) if (loss) onLoss(loss)
    return [...feed.partitions.values()].every(({ confirmed }) => confirmed)
  }

  async #stored(topic: string): Promise<StoredOffsets> {
    try {
      return await this.#context.storedOffsets(topic)
    } catch (error) {
      throw asKafkaToDeltaError(error, 'INTERNAL', { topic })
    }
  }

  /** Keeps the starts that are not kept yet, of a table without commits. Null where there are none. */
  async #keepStarts(feed: TopicFeed, targets: Target[], stored: StoredOffsets) {
    const { keepStarts } = this.#context.options
    const known = stored.starts
    if (stored.exists || !known || !keepStarts) return null
    const due = targets.filter(({ isKept, isStored }) => isStored === false && !isKept)
    if (due.length === 0) return null
    const kept = await keepStarts(feed.topic, new Map(due.map((of) => [of.state.partition, of.position])), known)
    // The note is of the topic that is there now.
    feed.wasDeleted = false
    return kept
  }

  async #targets(
    feed: TopicFeed,
    pending: readonly PartitionState[],
    known: Known,
    marks: Map<number, Watermarks>,
  ): Promise<Target[]> {
    const targets: Target[] = []
    for (const state of pending) {
      const found = marks.get(state.partition)
      if (!found) throw Object.assign(new Error(`no offsets of partition ${state.partition}`), { retriable: true })
      targets.push(await this.#target(feed, state, found, known, marks))
    }
    return targets
  }

  async #target(
    feed: TopicFeed,
    state: PartitionState,
    marks: Watermarks,
    { stored, isNewTopic }: Known,
    allMarks: Map<number, Watermarks>,
  ): Promise<Target> {
    const { options, lookup } = this.#context
    const { topic, partition, expected, initial } = state
    if (expected !== null || !stored) return this.#checked(state, expected ?? marks.low, marks, null)
    const isStored = stored.last.has(partition)
    const starts = (!stored.exists && stored.starts) || NO_STARTS
    const kept = feed.wasDeleted ? undefined : starts.get(partition)
    // Kept starts are those of all partitions that there were: others are new.
    const isNew = state.isNew || isNewTopic || (starts.size > 0 && kept === undefined)
    // A rewind before the table had an offset goes back to where the partition began.
    let position = isStored ? null : (initial ?? (isNew ? marks.low : null))
    if (kept === undefined) position ??= storedPosition(topic, partition, stored, marks)
    else position = options.startingOffsets === 'latest' ? kept : null
    if (position === null) {
      const start = await startingPositions(lookup, topic, options.startingOffsets, options.topics, allMarks)
      position = start(partition)
      // A configuration that has changed since may say more; the end of the log says nothing.
      if (kept !== undefined && (position >= kept || position >= marks.high)) position = kept
    }
    if (isStored && (feed.wasDeleted || (await this.#isRemade(topic, partition, stored, marks)))) {
      if (options.failOnDataLoss) throw remadeTopicError(topic, partition, stored.last.get(partition) as bigint)
      const loss = { topic, partition, expected: position, ...marks, lost: null }
      return { state, position: marks.low, marks, isStored, loss, isKept: false }
    }
    return this.#checked(state, position, marks, isStored, position === kept)
  }

  #checked(
    state: PartitionState,
    position: bigint,
    marks: Watermarks,
    isStored: boolean | null,
    isKept = false,
  ): Target {
    const loss = findLoss(state.topic, state.partition, position, marks)
    if (!loss) return { state, position, marks, isStored, loss, isKept }
    if (this.#context.options.failOnDataLoss) throw dataLossError(loss)
    return { state, position: marks.low, marks, isStored, loss, isKept }
  }

  /** A topic that was made anew and is long again has other records at the old offsets. */
  async #isRemade(topic: string, partition: number, stored: StoredOffsets, marks: Watermarks): Promise<boolean> {
    const record = stored.records?.get(partition)
    if (!record || record.offset < marks.low || record.offset >= marks.high) return false
    const found = await this.#context.lookup.fetch(topic, partition, record.offset)
    const same = found?.all.from(record.offset).at(0)
    return same?.position === record.offset && same.timestamp !== record.timestamp
  }

  #apply(feed: TopicFeed, { state, position, marks, isStored, loss, isKept }: Target): void {
    const wasKnown = state.expected !== null || isStored === true || isKept
    state.high = marks.high
    state.movedAt = performance.now()
    if (isStored !== null) {
      state.recorded = isStored
      if (!isStored) state.initial ??= position
      state.committed = position
    }
    // Ranges join even over what is lost, so that the table's fence finds the offset that it expects.
    if (loss) state.lostFrom = wasKnown && loss.lost !== null ? (state.lostFrom ?? loss.expected) : null
    if (loss && wasKnown) state.resumedAt = position
    const { gap } = state
    state.gap = null
    if (gap && !loss && state.expected !== null) feed.accept(state, gap.last, gap.messages, gap.high)
    else state.expected = position
  }
}
