import test from 'ava'
import { KafkaToDeltaError } from '../../src/errors.js'
import { AdaptivePace } from '../../src/kafka/adaptive-pace.js'
import { MemoryBudget } from '../../src/kafka/memory-budget.js'
import { Messages } from '../../src/kafka/messages.js'
import type { RawMessage } from '../../src/kafka/micro-batch.js'
import type { FindPairMember } from '../../src/kafka/paired-messages.js'
import { EMPTY_BATCH_INTERVAL_MS, TopicFeed } from '../../src/kafka/topic-feed.js'
import { LIMITS, sleep } from './support.js'

const message = (offset: number): RawMessage => ({ offset: String(offset), timestamp: '0', key: null, value: null })

function feedWith(
  pace: { processingTime: number | 'adaptive'; maxDelay?: number } | { availableNow: true },
  ends?: Map<number, bigint>,
  adaptive?: AdaptivePace,
) {
  const trigger = 'availableNow' in pace ? pace : { maxDelay: 0, ...pace }
  const feed = new TopicFeed('t', trigger, { ...LIMITS, maxBatchMessages: 10 }, undefined, undefined, adaptive)
  if (ends) feed.ends = ends
  const state = feed.partition(0, false)
  state.expected = 0n
  state.initial = 0n
  state.confirmed = true
  return { feed, state }
}

test('the first batch comes at once, the next one after the interval', async (t) => {
  const { feed, state } = feedWith({ processingTime: 400 })
  const began = Date.now()
  feed.accept(state, 0n, Messages.of([message(0)]), 1n)
  t.is((await feed.next())?.numMessages, 1)
  feed.accept(state, 1n, Messages.of([message(1)]), 2n)
  t.is((await feed.next())?.numMessages, 1)
  t.true(Date.now() - began >= 390)
})

test('an adaptive pace says when the next batch is, but a topic that is behind waits for a large one', async (t) => {
  const pace = new AdaptivePace(() => 0)
  const { feed, state } = feedWith({ processingTime: 'adaptive' }, undefined, pace)
  const took = async (offset: number, high: number) => {
    feed.accept(state, BigInt(offset), Messages.of([message(offset)]), BigInt(high))
    t.is((await feed.next())?.numMessages, 1)
    return Date.now()
  }
  const began = Date.now()
  await took(0, 1)
  t.is(pace.pauseMs, 150)
  pace.noteBatch({}, false)
  t.true((await took(1, 2)) - began >= 300)
  t.true((await took(2, 100)) - began >= 1300)
})

/** A pace that keeps what it is told. */
class Noting extends AdaptivePace {
  readonly late: (boolean | null)[] = []

  override noteBatch(table: object, isLate: boolean | null): void {
    this.late.push(isLate)
    super.noteBatch(table, isLate)
  }
}

test('a table is late where a batch was due by the pace when it asked for it, after a second at least', async (t) => {
  const pace = new Noting(() => 0)
  const { feed, state } = feedWith({ processingTime: 'adaptive' }, undefined, pace)
  const accept = (from: number, to: number) => {
    const messages = Array.from({ length: to - from + 1 }, (_, i) => message(from + i))
    feed.accept(state, BigInt(to), Messages.of(messages), BigInt(to + 1))
  }
  const next = async () => {
    await feed.next()
    // As if it were decoded.
    feed.memory.dropped()
  }
  // What waited before the start was due; so is a full batch at any time: neither says something of the pace.
  accept(0, 0)
  await next()
  accept(1, 10)
  await sleep(200)
  await next()
  // The table waits for it, or asks before it is due.
  const waiting = next()
  accept(11, 11)
  await waiting
  accept(12, 12)
  await next()
  // It is due, but no table that is committed once a second is slow.
  accept(13, 13)
  await sleep(200)
  await next()
  t.deepEqual(pace.late, [null, null, false, false, false])
  accept(14, 14)
  await sleep(1_100)
  await next()
  t.deepEqual(pace.late.slice(5), [true])
})

for (const trigger of [
  { processingTime: 50, maxDelay: 0 },
  { processingTime: 'adaptive', maxDelay: 1_200 },
] as const)
  test(`a table whose interval is given says nothing of the pace: ${JSON.stringify(trigger)}`, async (t) => {
    const pace = new Noting(() => 0)
    const { feed, state } = feedWith(trigger, undefined, pace)
    for (const offset of [0, 1]) {
      feed.accept(state, BigInt(offset), Messages.of([message(offset)]), BigInt(offset + 1))
      await sleep(1_100 * offset)
      await feed.next()
      feed.memory.dropped()
    }
    t.deepEqual(pace.late, [null, null])
  })

test('what waits in an overloaded process is handed over when the load falls, or memory is short', async (t) => {
  const load = { now: 0, busyMs: 0 }
  const pace = new AdaptivePace(
    () => load.now,
    () => ({ thread: load.busyMs, cpus: 0 }),
  )
  const overload = () => {
    for (; pace.pauseMs < 30_000; load.now += 1_000, load.busyMs += 1_000) pace.noteBatch({}, true)
  }
  const budget = new MemoryBudget(1_000_000_000)
  const trigger = { processingTime: 'adaptive', maxDelay: 0 } as const
  const feed = new TopicFeed('t', trigger, LIMITS, undefined, budget, pace)
  const state = feed.partition(0, false)
  Object.assign(state, { expected: 0n, initial: 0n, confirmed: true })
  const next = (offset: number) => {
    feed.accept(state, BigInt(offset), Messages.of([message(offset)]), BigInt(offset + 1))
    return feed.next()
  }
  await next(0)
  overload()
  const first = next(1)
  load.now += 30_000
  t.is((await first)?.numMessages, 1)
  overload()
  const second = next(2)
  // Another topic's messages; the load stays what it was.
  budget.queues.note({}, 300_000_000)
  t.true(budget.queues.isTight && !feed.queue.fillsBatch && pace.pauseMs === 30_000)
  t.is((await second)?.numMessages, 1)
})

test('few messages wait for others, as long as maxDelay says', async (t) => {
  const { feed, state } = feedWith({ processingTime: 0, maxDelay: 500 })
  const began = Date.now()
  feed.accept(state, 0n, Messages.of([message(0)]), 1n)
  const waiting = feed.next()
  await sleep(100)
  feed.accept(state, 1n, Messages.of([message(1)]), 2n)
  t.is((await waiting)?.numMessages, 2)
  t.true(Date.now() - began >= 490)
  // The next one's time begins when it comes.
  await sleep(600)
  const again = Date.now()
  feed.accept(state, 2n, Messages.of([message(2)]), 3n)
  t.is((await feed.next())?.numMessages, 1)
  t.true(Date.now() - again >= 490)
})

test('many messages of which nothing can be handed over yet are looked at again, also before the first batch', async (t) => {
  // A half of a key update whose other one never comes.
  const isHalf: FindPairMember = ({ position }) =>
    position === 0n ? { side: 'before', isTombstone: false, pair: () => 'a>b' } : null
  const trigger = { processingTime: 0, maxDelay: 0 }
  const feed = new TopicFeed('t', trigger, { ...LIMITS, maxBatchMessages: 5000, maxBatchBytes: 100_000_000 }, isHalf)
  for (const partition of [0, 1]) {
    Object.assign(feed.partition(partition, false), {
      expected: 0n,
      confirmed: true,
      high: partition === 0 ? 1500n : 0n,
    })
  }
  const messages = Messages.of(Array.from({ length: 1500 }, (_, i) => message(i)))
  const next = feed.next()
  feed.accept(feed.partition(0, false), 1499n, messages, 1500n)
  t.is((await next)?.numMessages, 1500)
})

test('many messages do not wait', async (t) => {
  const feed = new TopicFeed('t', { processingTime: 0, maxDelay: 3_600_000 }, { ...LIMITS, maxBatchMessages: 5000 })
  const state = feed.partition(0, false)
  state.expected = 0n
  state.confirmed = true
  const messages = Array.from({ length: 1000 }, (_, i) => message(i))
  feed.accept(state, 998n, Messages.of(messages.slice(0, 999)), 1000n)
  const waiting = feed.next()
  t.is(await Promise.race([waiting, sleep(100).then(() => 'waits')]), 'waits')
  feed.accept(state, 999n, Messages.of(messages.slice(999)), 1000n)
  t.is((await waiting)?.numMessages, 1000)
})

test('a full batch waits for no interval', async (t) => {
  const { feed, state } = feedWith({ processingTime: 3_600_000 })
  feed.accept(state, 0n, Messages.of([message(0)]), 1n)
  t.is((await feed.next())?.numMessages, 1)
  const messages = Array.from({ length: 10 }, (_, i) => message(i + 1))
  feed.accept(state, 10n, Messages.of(messages), 11n)
  t.is((await feed.next())?.numMessages, 10)
})

test('a call of next at a time', async (t) => {
  const { feed } = feedWith({ processingTime: 0 })
  const first = feed.next()
  t.like(await t.throwsAsync(feed.next()), { code: 'INTERNAL' })
  feed.stop()
  t.is(await first, null)
})

test('skipped offsets are handed over alone after a while, once the table exists', async (t) => {
  const { feed, state } = feedWith({ processingTime: 0 })
  feed.hasTable = true
  const began = Date.now()
  feed.accept(state, 4n, Messages.none, 5n)
  feed.accept(state, 9n, Messages.none, 10n)
  const batch = await feed.next()
  t.true(Date.now() - began >= EMPTY_BATCH_INTERVAL_MS - 50)
  t.like(batch?.ranges[0], { firstOffset: 0n, lastOffset: 9n })
})

test('skipped offsets wait for messages where there is no table yet', async (t) => {
  const { feed, state } = feedWith({ availableNow: true }, new Map([[0, 5n]]))
  feed.accept(state, 4n, Messages.none, 5n)
  t.is(await feed.next(), null)
})

test('skipped offsets are handed over when the source stops', async (t) => {
  const { feed, state } = feedWith({ processingTime: 60_000 })
  feed.accept(state, 0n, Messages.of([message(0)]), 1n)
  t.is((await feed.next())?.numMessages, 1)
  feed.accept(state, 4n, Messages.none, 5n)
  feed.accept(state, 5n, Messages.of([message(5)]), 6n)
  const waiting = feed.next()
  feed.stop()
  t.like((await waiting)?.ranges, [{ firstOffset: 1n, lastOffset: 4n, messages: Messages.none }])
  t.is(await feed.next(), null)
})

test('a failure reaches the waiting call and those after it', async (t) => {
  const { feed } = feedWith({ processingTime: 0 })
  const waiting = feed.next()
  feed.fail(new KafkaToDeltaError('INTERNAL', 'gone'))
  await t.throwsAsync(waiting, { message: 'gone' })
  await t.throwsAsync(feed.next(), { message: 'gone' })
})

test('availableNow drops what lies beyond its end', async (t) => {
  const { feed, state } = feedWith({ availableNow: true }, new Map([[0, 3n]]))
  feed.accept(state, 9n, Messages.of([1, 2, 3, 8].map(message)), 10n)
  const batch = await feed.next()
  t.like(batch?.ranges[0], { firstOffset: 0n, lastOffset: 2n })
  t.deepEqual(
    [...(batch?.ranges[0]?.messages ?? [])].map(({ offset }) => offset),
    ['1', '2'],
  )
  t.is(await feed.next(), null)
})

test('the first batch with messages records where quiet partitions start, once', async (t) => {
  const { feed, state } = feedWith({ processingTime: 0 })
  const quiet = feed.partition(1, false)
  quiet.expected = 70n
  quiet.initial = 70n
  quiet.confirmed = true
  feed.accept(state, 0n, Messages.of([message(0)]), 1n)
  t.like((await feed.next())?.ranges[1], { partition: 1, firstOffset: 70n, lastOffset: 69n, messages: Messages.none })
  feed.accept(state, 1n, Messages.of([message(1)]), 2n)
  t.is((await feed.next())?.ranges.length, 1)
  await sleep(0)
})
