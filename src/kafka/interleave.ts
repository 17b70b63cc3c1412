/**
 * The order in which the messages of several partitions are applied: that of their timestamps, since Connect stamps them
 * as it sends, in the source's order. Within a partition the order of the offsets stays.
 *
 * Both messages of a key update follow one another at the source, so they do here: all that precedes either of them in its
 * partition comes before, all that follows comes after. Timestamps alone would not tell, since many changes share one.
 */

import { Message } from './message.js'
import type { Messages } from './messages.js'
import type { OffsetRange } from './micro-batch.js'
import { type FindPairMember, matchPairs, type PairMember } from './paired-messages.js'

/** Messages `from` to `to` (exclusive) of the range with the number `range`. */
export interface Run {
  range: number
  from: number
  to: number
}

/** How far the messages of a range are placed. */
interface Head {
  range: number
  messages: Messages
  next: number
  /** Of the next message. */
  time: number
  /** By index of a message: the message of another range that it goes with. */
  partners: Map<number, Partner>
}

interface Partner {
  head: Head
  index: number
  side: PairMember['side']
}

const timeAt = (messages: Messages, index: number): number =>
  index < messages.length ? messages.timeAt(index) : Number.NaN

/** @param pairMemberOf tells the messages that go together */
export function interleave(ranges: readonly OffsetRange[], pairMemberOf: FindPairMember): Run[] {
  const runs: Run[] = []
  let heads: Head[] = ranges
    .map(({ messages }, range) => ({ range, messages, next: 0, time: timeAt(messages, 0), partners: new Map() }))
    .filter(({ messages }) => messages.length > 0)
  if (heads.length > 1) findPartners(heads, pairMemberOf)
  const place = (head: Head) => {
    const last = runs.at(-1)
    if (last?.range === head.range) last.to++
    else runs.push({ range: head.range, from: head.next, to: head.next + 1 })
    head.next++
    head.time = timeAt(head.messages, head.next)
    if (head.next === head.messages.length) heads = heads.filter((other) => other !== head)
  }
  while (heads.length > 1) {
    const head = earliest(heads, isFree) ?? parted(heads)
    const partner = head.partners.get(head.next)
    if (partner === undefined) place(head)
    else if (partner.side === 'before') placePair(partner.head, head, place)
    else placePair(head, partner.head, place)
  }
  for (const { range, next, messages } of heads) {
    const last = runs.at(-1)
    if (last?.range === range) last.to = messages.length
    else runs.push({ range, from: next, to: messages.length })
  }
  return runs
}

/** The head with the lowest time, of those that are wanted; of several the first. */
function earliest(heads: readonly Head[], isWanted: (head: Head) => boolean): Head | null {
  let found: Head | null = null
  for (const head of heads) {
    if ((found === null || head.time < found.time) && isWanted(head)) found = head
  }
  return found
}

/** Whether nothing has to come before the head's next message. */
function isFree(head: Head): boolean {
  const partner = head.partners.get(head.next)
  return partner === undefined || partner.head.next === partner.index
}

/** Pairs that wait for one another in a circle were no pairs: the earliest one is given up. */
function parted(heads: readonly Head[]): Head {
  const head = earliest(heads, () => true) as Head
  const partner = head.partners.get(head.next)
  partner?.head.partners.delete(partner.index)
  head.partners.delete(head.next)
  return head
}

/** The delete of the old key, its tombstone, and the row of the new one. */
function placePair(before: Head, after: Head, place: (head: Head) => void): void {
  const key = before.messages.at(before.next)?.key ?? null
  place(before)
  const next = before.messages.at(before.next)
  if (next?.value === null && key !== null && next.key?.equals(key)) place(before)
  place(after)
}

/** Finds the messages of different ranges that go together. Within a partition the order of the offsets stays. */
function findPartners(heads: readonly Head[], pairMemberOf: FindPairMember): void {
  const halves: (PairMember & { head: Head; index: number; time: number })[] = []
  const message = new Message()
  for (const head of heads) {
    for (let index = 0; index < head.messages.length; index++) {
      if (!head.messages.hasHeadersAt(index)) continue
      const half = pairMemberOf(message.moveTo(head.messages, index))
      if (half !== null) halves.push({ ...half, head, index, time: message.time })
    }
  }
  if (halves.length === 0) return
  for (const [half, other] of matchPairs(halves)) {
    if (half.head !== other.head) half.head.partners.set(half.index, other)
  }
}
