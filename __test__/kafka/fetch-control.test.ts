import test from 'ava'
import { FetchControl } from '../../src/kafka/fetch-control.js'
import { MemoryBudget } from '../../src/kafka/memory-budget.js'
import { TopicFeed } from '../../src/kafka/topic-feed.js'
import { LIMITS } from './support.js'

const TRIGGER = { processingTime: 0, maxDelay: 0 }

test('a fetch waits for long where nothing else is to be fetched, and not where partitions are about to go on', (t) => {
  const budget = new MemoryBudget()
  const feeds = ['a', 'b'].map((topic) => new TopicFeed(topic, TRIGGER, LIMITS, undefined, budget))
  const [a, b] = feeds as [TopicFeed, TopicFeed]
  const control = new FetchControl(budget.queues, {
    feeds: () => feeds,
    session: () => null,
    logger: undefined,
    waits: { busyMs: 250, idleMs: 1000 },
  })
  for (const feed of feeds) {
    feed.ends = new Map([[0, 5n]])
    const state = feed.partition(0, false)
    state.expected = 0n
    control.update(feed)
  }
  // Their positions are searched.
  t.is(control.waitMs, 250)
  for (const feed of feeds) for (const state of feed.partitions.values()) state.confirmed = true
  for (const feed of feeds) control.update(feed)
  t.is(control.waitMs, 1000)
  const state = a.partition(0, false)
  state.confirmed = false
  control.update(a)
  t.is(control.waitMs, 250)
  // Neither goes on: one was read to its end, of the other nothing more is read.
  state.confirmed = true
  state.expected = 5n
  control.update(a)
  b.close()
  control.update(b)
  t.true(state.paused && b.partition(0, false).paused)
  t.is(control.waitMs, 1000)
  control.close()
})
