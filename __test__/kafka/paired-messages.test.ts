import test from 'ava'
import { Messages } from '../../src/kafka/messages.js'
import type { MicroBatch, RawMessage } from '../../src/kafka/micro-batch.js'
import { holdBackUnpaired, type PairMember, type ReadProgress, type Take } from '../../src/kafka/paired-messages.js'
import { TopicQueue } from '../../src/kafka/topic-queue.js'
import { generator, ROUNDS, SEED } from '../helpers/random.js'

const LIMITS = { maxBatchMessages: 50, maxBatchBytes: 100_000, maxQueueBytes: 1_000_000 }

/** A message of which the key says of what it is a half: `<1` is before, `>1` after; `~<1` is the tombstone of `<1`. */
const message = (offset: number, text: string, time = 0): RawMessage => ({
  offset: String(offset),
  timestamp: String(time),
  key: Buffer.from(text.replace('~', '')),
  value: text.startsWith('~') ? null : Buffer.from(text),
})

const pairMemberOf = ({ key, value }: RawMessage): PairMember | null => {
  const [sign, ...pair] = String(key)
  if (sign !== '<' && sign !== '>') return null
  return { side: sign === '<' ? 'before' : 'after', isTombstone: value === null, pair: () => pair.join('') }
}

const queueOf = (limits = LIMITS) => new TopicQueue('t', limits, pairMemberOf)

function push(queue: TopicQueue, partition: number, first: number, keys: readonly string[], time = 0): void {
  const messages = keys.map((key, i) => message(first + i, key, time))
  queue.push({
    partition,
    firstOffset: BigInt(first),
    lastOffset: BigInt(first + keys.length - 1),
    messages: Messages.of(messages),
  })
}

const reach = (...reached: ReadProgress[]) => new Map(reached.map((r, partition) => [partition, r]))
const keysOf = (batch: MicroBatch | null) =>
  batch &&
  Object.fromEntries(
    batch.ranges.map(({ partition, messages }) => [partition, [...messages].map((m) => String(m.key))]),
  )

test('a half waits for the other one, and what comes before it does not', (t) => {
  const queue = queueOf()
  push(queue, 1, 0, ['a', '>1', 'b'])
  push(queue, 0, 0, ['c'])
  t.deepEqual(keysOf(queue.cut(reach('behind', 'end'))), { 1: ['a'], 0: ['c'] })
  t.is(queue.cut(reach('behind', 'end')), null)
  push(queue, 0, 1, ['d', '<1'])
  t.deepEqual(keysOf(queue.cut(reach('end', 'end'))), { 1: ['>1', 'b'], 0: ['d', '<1'] })
})

test('limits do not part them', (t) => {
  const queue = queueOf({ ...LIMITS, maxBatchMessages: 3 })
  push(queue, 0, 0, ['a', '<1', 'b'])
  push(queue, 1, 0, ['>1', 'c'])
  t.deepEqual(keysOf(queue.cut(reach('end', 'end'))), { 0: ['a'] })
  t.deepEqual(keysOf(queue.cut(reach('end', 'end'))), { 0: ['<1', 'b'], 1: ['>1'] })
  t.deepEqual(keysOf(queue.cut(reach('end', 'end'))), { 1: ['c'] })
})

test('the tombstone of a delete that was handed over is not the half of a later update', (t) => {
  const queue = queueOf({ ...LIMITS, maxBatchMessages: 2 })
  push(queue, 0, 0, ['<1', '~<1'])
  push(queue, 1, 0, ['>1'])
  t.deepEqual(keysOf(queue.cut(reach('behind', 'behind'))), { 0: ['<1', '<1'], 1: ['>1'] })
  push(queue, 0, 2, ['a', '<1'])
  push(queue, 1, 1, ['>1'])
  t.deepEqual(keysOf(queue.cut(reach('behind', 'behind'))), { 0: ['a'] })
  t.deepEqual(keysOf(queue.cut(reach('behind', 'behind'))), { 0: ['<1'], 1: ['>1'] })
  push(queue, 0, 4, ['~<1', 'b'])
  push(queue, 1, 2, ['>1'])
  t.deepEqual(keysOf(queue.cut(reach('behind', 'behind'))), { 0: ['<1', 'b'] })
  t.is(queue.cut(reach('behind', 'behind')), null)
})

test('halves in one partition, and topics of one partition, wait for nothing', (t) => {
  const two = queueOf()
  push(two, 0, 0, ['<1', '>1'])
  t.deepEqual(keysOf(two.cut(reach('behind', 'behind'))), { 0: ['<1', '>1'] })
  const one = queueOf()
  push(one, 0, 0, ['<1'])
  t.deepEqual(keysOf(one.cut(reach('behind'))), { 0: ['<1'] })
})

test('a half alone goes where the others were read past its time, or nothing more comes', (t) => {
  const late = queueOf()
  push(late, 0, 0, ['>1'], 5_000)
  push(late, 1, 0, ['a'], 5_500)
  t.deepEqual(keysOf(late.cut(reach('end', 'behind'))), { 1: ['a'] })
  push(late, 1, 1, ['b'], 7_000)
  t.deepEqual(keysOf(late.cut(reach('end', 'behind'))), { 0: ['>1'], 1: ['b'] })
  const last = queueOf()
  push(last, 0, 0, ['>1'])
  t.deepEqual(keysOf(last.cut(reach('done', 'done'))), { 0: ['>1'] })
})

test('patience ends', (t) => {
  const half = {
    side: 'after' as const,
    isTombstone: false,
    pair: () => '1',
    offset: 0n,
    time: 0,
    blockedSince: null as number | null,
  }
  const takes = new Map<number, Take>([
    [0, { halves: [half], time: 0, isAll: true }],
    [1, { halves: [], time: Number.NEGATIVE_INFINITY, isAll: true }],
  ])
  const plan = (holds: ReadonlyMap<number, bigint>) =>
    holds.has(0) ? new Map(takes).set(0, { halves: [], time: 0, isAll: false }) : takes
  const held = (reached: ReadProgress, now: number) =>
    holdBackUnpaired(plan, reach('end', reached), { monotonic: now, wall: now }).holds.has(0)
  // The other half may be on its way while the partition's leader is elected.
  t.true(held('end', 1_000))
  t.true(held('end', 10_999))
  t.false(held('end', 11_000))
  half.blockedSince = null
  t.true(held('end', 1_000_000))
  t.true(held('end', 1_000_900))
  t.false(held('end', 1_001_000))
  t.true(held('behind', 1_009_000))
  t.false(held('behind', 1_010_000))
})

test('a queue that is full of what waits lets it go', (t) => {
  const queue = queueOf({ ...LIMITS, maxQueueBytes: 100 })
  push(queue, 0, 0, ['>1', 'a', 'b'])
  t.true(queue.isFull)
  t.deepEqual(keysOf(queue.cut(reach('behind', 'behind'))), { 0: ['>1', 'a', 'b'] })
})

test('a half whose other one comes after a loss goes alone', (t) => {
  const queue = queueOf({ ...LIMITS, maxBatchMessages: 2 })
  push(queue, 0, 0, ['>1'])
  push(queue, 1, 0, ['a'])
  queue.push({
    partition: 1,
    firstOffset: 1n,
    lastOffset: 9n,
    messages: Messages.of([message(9, '<1')]),
    resumedAt: 9n,
  })
  t.deepEqual(keysOf(queue.cut(reach('end', 'end'))), { 1: ['a'] })
  t.deepEqual(keysOf(queue.cut(reach('end', 'end'))), { 0: ['>1'], 1: ['<1'] })
  push(queue, 0, 1, ['>2', 'b'])
  queue.push({ partition: 0, firstOffset: 3n, lastOffset: 9n, messages: Messages.of([message(9, 'c')]), resumedAt: 9n })
  t.deepEqual(keysOf(queue.cut(reach('done', 'done'))), { 0: ['>2', 'b'] })
  t.deepEqual(keysOf(queue.cut(reach('done', 'done'))), { 0: ['c'] })
})

test('halves that have lost their others, one beside the next, keep nothing waiting', (t) => {
  const queue = queueOf({ ...LIMITS, maxBatchMessages: 10_000 })
  for (let i = 0; i < 1000; i++) push(queue, i % 2, i >> 1, [`>${i}`], i)
  let left = 1000
  for (let cuts = 0; left > 0 && cuts < 1000; cuts++) {
    left -= queue.cut(reach('done', 'done'))?.numMessages ?? 0
  }
  t.is(left, 0)
})

test(`random traffic: pairs stay together, nothing is lost or changes places (SEED=${SEED})`, (t) => {
  const random = generator(SEED)
  for (let round = 0; round < 300 * ROUNDS; round++) {
    const partitions = 2 + random.below(3)
    const logs: { key: string; time: number }[][] = Array.from({ length: partitions }, () => [])
    let time = 0
    for (let i = 0; i < 200; i++) {
      time += random.below(random.next() < 0.05 ? 5_000 : 20)
      if (random.next() < 0.6) random.pick(logs).push({ key: `${i}`, time })
      else for (const sign of '<>') random.pick(logs).push({ key: `${sign}${i}`, time: time++ })
    }
    const queue = queueOf({ ...LIMITS, maxBatchMessages: 1 + random.below(60) })
    const read = logs.map(() => 0)
    const got: string[][] = logs.map(() => [])
    const batchOf = new Map<string, number>()
    const states = () => reach(...logs.map((log, p): ReadProgress => (read[p] === log.length ? 'done' : 'behind')))
    for (let step = 0; got.some((keys, p) => keys.length < (logs[p]?.length ?? 0)); step++) {
      t.true(step < 5_000, `SEED=${SEED} round ${round} does not end`)
      const p = random.below(partitions)
      const first = read[p] as number
      const fetched = (logs[p] ?? []).slice(first, first + 1 + random.below(40))
      if (fetched.length > 0 && random.next() < 0.5) {
        const messages = fetched.map(({ key, time }, i) => message(first + i, key, time))
        queue.push({
          partition: p,
          firstOffset: BigInt(first),
          lastOffset: BigInt(first + fetched.length - 1),
          messages: Messages.of(messages),
        })
        read[p] = first + fetched.length
      }
      if (random.next() < 0.5) continue
      const batch = queue.cut(states())
      for (const { partition, messages } of batch?.ranges ?? []) {
        for (const { key } of messages) {
          got[partition]?.push(String(key))
          batchOf.set(String(key), step)
        }
      }
      if (batch) queue.committed(batch)
    }
    t.deepEqual(
      got,
      logs.map((log) => log.map(({ key }) => key)),
    )
    const partitionOf = (key: string) => logs.findIndex((log) => log.some((entry) => entry.key === key))
    for (const [key, batch] of batchOf) {
      const other = key.replace('<', '>')
      // In one partition, they follow each other anyway.
      if (other === key || partitionOf(key) === partitionOf(other)) continue
      t.is(batchOf.get(other), batch, `SEED=${SEED} round ${round}: ${key}`)
    }
  }
})
