/**
 * Messages of two partitions that tell of one change together, such as the delete and the insert that the update of a
 * primary key becomes: what the second one leaves out stands in what came before the first. Both go into one micro-batch,
 * with all that came before them in either partition.
 */

import type { Message } from './message.js'

/** A message that belongs to a pair. */
export interface PairMember {
  side: 'before' | 'after'
  /** A tombstone is a half of its own only where no delete with a value comes before it. */
  isTombstone: boolean
  /** Names the pair: the same text for both messages, or null as long as it is not known. */
  pair(): string | null
}

/** Tells which pair a message belongs to; null if it belongs to none. The message is moved on afterwards. */
export type FindPairMember = (message: Message) => PairMember | null

/** A message of a pair that waits in the queue. */
export interface PairedMessage extends PairMember {
  offset: bigint
  /** Milliseconds since 1970. */
  time: number
  /** When the partition that the other message must come from ran dry. Milliseconds since 1970. */
  blockedSince: number | null
}

/**
 * Maps each message of a pair to the other one. The messages of a partition are given in the order of their offsets. If a key
 * was updated to another one several times, the first delete goes with the first row that was sent after it. The tombstone
 * of a delete has the delete's headers, and tells of no other update.
 */
export function matchPairs<T extends PairMember & { time: number }>(halves: Iterable<T>): Map<T, T> {
  const before = new Map<string, T[]>()
  const after: [string, T][] = []
  for (const half of halves) {
    const pair = half.pair()
    if (pair === null) continue
    if (half.side === 'after') after.push([pair, half])
    else if (before.has(pair)) before.get(pair)?.push(half)
    else before.set(pair, [half])
  }
  for (const [pair, deletes] of before) {
    const withValues = deletes.filter(({ isTombstone }) => !isTombstone)
    if (withValues.length > 0) before.set(pair, withValues)
  }
  const matches = new Map<T, T>()
  for (const [pair, half] of after) {
    const other = before.get(pair)?.[0]
    if (other === undefined || other.time > half.time) continue
    before.get(pair)?.shift()
    matches.set(half, other)
    matches.set(other, half)
  }
  return matches
}

/** What the next micro-batch would take from a partition. */
export interface Take {
  halves: readonly PairedMessage[]
  /** The time of the last message that was taken of the partition, now or before. */
  time: number
  /** Nothing is left in the queue. */
  isAll: boolean
}

/** How a partition stands with its log: nothing comes any more (availableNow), its end was read, or there is more. */
export type ReadProgress = 'done' | 'end' | 'behind'

export interface BatchEnds {
  /** Before which offset a partition has to end; one that is not named ends where it likes. */
  holds: Map<number, bigint>
  /** Some half waits for messages that are not in the queue yet. */
  isExpecting: boolean
}

/** Milliseconds between the two halves of a change at most: they are sent one after the other. */
const MAX_PAIR_GAP_MS = 1_000

/** How long a half waits for a partition of which nothing more comes. Milliseconds. */
const PAIR_TIMEOUT_MS = 10_000

/** The same at the end of a partition, for a half from before that time: the other one would be there. Milliseconds. */
const OLD_PAIR_TIMEOUT_MS = 1_000
const OLD_MS = 60_000

/** The time in milliseconds, by a clock that nobody sets, and since 1970. */
export interface Now {
  monotonic: number
  wall: number
}

/** Stop after this many rounds: many unpaired messages would otherwise shrink the batch forever. */
const MAX_ROUNDS = 100

/**
 * Where a micro-batch has to end so that no half is parted from its other one. A half of which the other one is not found
 * waits until every other partition was read past its time, or has nothing more: the other one may be lost (compaction).
 * @param plan what would be taken with such ends
 */
export function holdBackUnpaired(
  plan: (holds: ReadonlyMap<number, bigint>) => ReadonlyMap<number, Take>,
  reach: ReadonlyMap<number, ReadProgress>,
  now: Now,
): BatchEnds {
  const holds = new Map<number, bigint>()
  let isExpecting = false
  for (let round = 0; round < MAX_ROUNDS; round++) {
    const takes = plan(holds)
    const matches = matchPairs([...takes.values()].flatMap(({ halves }) => halves))
    let isSettled = true
    for (const [partition, { halves }] of takes) {
      for (const half of halves) {
        const waits = matches.has(half) ? null : whatFor(half, partition, takes, reach, now)
        if (waits === null) continue
        isExpecting ||= waits === 'more'
        holds.set(partition, half.offset)
        isSettled = false
        break
      }
    }
    if (isSettled) return { holds, isExpecting }
  }
  return { holds: new Map(), isExpecting: false }
}

/** `queued`: for what a later micro-batch takes, `more`: for what was not read yet. Null: for nothing any more. */
function whatFor(
  half: PairedMessage,
  own: number,
  takes: ReadonlyMap<number, Take>,
  reach: ReadonlyMap<number, ReadProgress>,
  now: Now,
): 'queued' | 'more' | null {
  let waits: 'queued' | null = null
  for (const [partition, reached] of reach) {
    const take = takes.get(partition)
    if (partition === own || (take && take.time > half.time + MAX_PAIR_GAP_MS)) continue
    if (take && !take.isAll) {
      waits = 'queued'
      continue
    }
    if (reached === 'done') continue
    half.blockedSince ??= now.monotonic
    const isOld = reached === 'end' && now.wall - half.time >= OLD_MS
    if (now.monotonic - half.blockedSince < (isOld ? OLD_PAIR_TIMEOUT_MS : PAIR_TIMEOUT_MS)) return 'more'
  }
  return waits
}
