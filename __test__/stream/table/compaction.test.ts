import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'
import type { CompactOptions, CompactResult } from '../../../src/delta/table.js'
import { KafkaToDeltaError } from '../../../src/errors.js'
import { silentLogger } from '../../../src/log.js'
import type { CompactionStep } from '../../../src/stream/progress.js'
import { Compaction } from '../../../src/stream/table/compaction.js'
import { type FakeTable, startFake } from '../fakes.js'

const step: CompactResult = {
  version: 7,
  filesRemoved: 8,
  filesAdded: 1,
  rows: 100,
  rowsCarriedOver: 0,
  bytesRead: 1000,
  bytesWritten: 900,
  duration: 1,
}

const options = { minFiles: 4, maxBytes: 1000, deletedShare: 0.5, maxLag: 10 }

/** A compaction with `due` steps; what it was asked for and told. */
function makeCompaction({
  due = 0,
  lag = () => 0 as number | null,
  fail = [] as Error[],
  quietMs = 60_000,
  finishMs = 10_000,
} = {}) {
  const asked: CompactOptions[] = []
  const steps: CompactResult[] = []
  let left = due
  const compaction = new Compaction({
    options,
    lag,
    logger: silentLogger,
    quietMs,
    finishMs,
    onStep: (result) => steps.push(result),
    compact: async (given) => {
      asked.push(given)
      const error = fail.shift()
      if (error) throw error
      return left-- > 0 ? step : null
    },
  })
  const more = (steps: number) => {
    left = steps
  }
  return { compaction, asked, steps, more }
}

async function until(condition: () => boolean): Promise<void> {
  for (let i = 0; i < 2_000 && !condition(); i++) await sleep(2)
}

test('a commit starts steps until nothing is due, with the options', async (t) => {
  const { compaction, asked, steps } = makeCompaction({ due: 3 })
  compaction.noteCommit()
  compaction.noteCommit()
  await until(() => asked.length === 4)
  t.is(steps.length, 3)
  t.like(asked[0], { minFiles: 4, maxBytes: 1000, deletedShare: 0.5 })
  // The next commits find the pause.
  await sleep(10)
  compaction.noteCommit()
  await sleep(10)
  t.is(asked.length, 4)
  await compaction.stop()
})

test('a table that falls quiet is looked at until nothing is due, and then not any more', async (t) => {
  const { compaction, asked, steps, more } = makeCompaction({ quietMs: 1_100 })
  compaction.noteCommit()
  await until(() => asked.length === 1)
  more(1)
  const quiet = async (looks: number) => {
    for (let i = 0; i < 1_000 && asked.length < looks; i++) await sleep(10)
  }
  // What is due once it is quiet, and what became due by that.
  await quiet(4)
  t.is(steps.length, 1)
  t.is(asked.length, 4)
  await sleep(3_000)
  t.is(asked.length, 4)
  compaction.noteCommit()
  await quiet(6)
  t.is(asked.length, 6)
  await compaction.stop()
})

test('no step while the stream is behind', async (t) => {
  let lag = 11
  const { compaction, asked } = makeCompaction({ due: 1, lag: () => lag })
  compaction.noteCommit()
  await sleep(10)
  t.is(asked.length, 0)
  lag = 10
  compaction.noteCommit()
  await until(() => asked.length === 2)
  t.is(asked.length, 2)
  await compaction.stop()
})

test('a step that fails is tried later, and never rejects', async (t) => {
  const { compaction, asked } = makeCompaction({
    due: 1,
    fail: [new KafkaToDeltaError('STORAGE', 'refused'), new Error('odd')],
  })
  compaction.noteCommit()
  await until(() => asked.length === 1)
  await sleep(10)
  compaction.noteCommit()
  await sleep(10)
  t.is(asked.length, 1)
  // At the end nothing waits; the second failure is told in the log, too.
  await t.notThrowsAsync(compaction.finish())
  t.is(asked.length, 2)
  await compaction.stop()
})

test('the end of a run begins no step after a while, also where steps were under way beside the stream', async (t) => {
  const { compaction, steps, more } = makeCompaction({ due: 1_000_000, finishMs: 300 })
  compaction.noteCommit()
  await until(() => steps.length > 0)
  await compaction.finish()
  more(0)
  t.true(steps.length > 1)
  const { length } = steps
  await sleep(50)
  t.is(steps.length, length)
})

test('stop ends the step under way', async (t) => {
  let stopped = false
  const compaction = new Compaction({
    options,
    lag: () => null,
    logger: silentLogger,
    onStep: () => t.fail(),
    compact: ({ signal }) =>
      new Promise((_resolve, reject) => {
        signal?.addEventListener('abort', () => {
          stopped = true
          reject(signal.reason)
        })
      }),
  })
  compaction.noteCommit()
  await sleep(5)
  await compaction.stop()
  t.true(stopped)
  compaction.noteCommit()
})

test('a query compacts beside its batches, tells of it, and does all that is due when it ends by itself', async (t) => {
  let left = 3
  const seen: CompactionStep[] = []
  const { query } = await startFake({
    topics: { a: [['k=1', 'k=2', 'k=3']] },
    options: { trigger: { availableNow: true }, limits: { maxBatchMessages: 1 }, maintenance: { minFiles: 3 } },
    prepare: ({ tables }) => {
      const table = tables.get('a') as FakeTable
      table.compact = async ({ minFiles }) => {
        t.is(minFiles, 3)
        return left-- > 0 ? step : null
      }
    },
  })
  query.on('compaction', (event) => seen.push(event))
  await query.awaitTermination()
  t.is(seen.length, 3)
  t.like(seen[0], { name: 'q', topic: 'a', table: '/lake/a', path: '/lake/a', version: 7, filesRemoved: 8 })
})

test('maintenance: false leaves files as they are', async (t) => {
  const { query } = await startFake({
    topics: { a: [['k=1']] },
    options: { trigger: { availableNow: true }, maintenance: false },
    prepare: ({ tables }) => {
      const table = tables.get('a') as FakeTable
      table.compact = async () => t.fail() as never
    },
  })
  await query.awaitTermination()
  t.pass()
})

test('a stop ends the compaction at the end of what there was to apply', async (t) => {
  let signal: AbortSignal | undefined
  const { query } = await startFake({
    topics: { a: [['k=1']] },
    options: { trigger: { availableNow: true } },
    prepare: ({ tables }) => {
      ;(tables.get('a') as FakeTable).compact = (given) => {
        signal = given.signal
        return new Promise((_, reject) => signal?.addEventListener('abort', () => reject(new Error('stopped'))))
      }
    },
  })
  await until(() => signal !== undefined)
  t.false(await query.awaitTermination(20))
  const began = Date.now()
  await query.stop()
  // Not only when a batch in hand would have had its time.
  t.true(Date.now() - began < 8_000)
  t.true(signal?.aborted)
  t.is(query.exception, null)
})

test('a batch that the store does not take in time after a stop is left for the next start', async (t) => {
  const { query, source, tables } = await startFake({
    topics: { a: [[]] },
    prepare: ({ tables }) => {
      const a = tables.get('a') as FakeTable
      a.beforeCommit = () => new Promise(() => {})
      a.close = () => new Promise(() => {})
    },
  })
  source.produce('a', 0, 'k=1')
  await until(() => query.status.isTriggerActive)
  const began = Date.now()
  await query.stop()
  t.true(Date.now() - began >= 9_000 && Date.now() - began < 25_000, `${Date.now() - began} ms`)
  t.is(query.exception, null)
  t.is(tables.get('a')?.merges.length, 0)
})
