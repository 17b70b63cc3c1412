import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'
import { KafkaToDeltaError } from '../../src/errors.js'
import type { StreamingQueryProgress } from '../../src/stream/progress.js'
import { FakeDeadLetters, FakeStorage, type FakeTable, startFake } from './fakes.js'

const toDeadLetters = {
  onBadRecord: 'dead-letter',
  deadLetter: { path: '/lake/dead' },
  trigger: { availableNow: true },
} as const

const positions = (deadLetters: FakeDeadLetters) => [...deadLetters.letters.keys()].sort()

test('bad records are written before the commit, and told of in the progress', async (t) => {
  const deadLetters = new FakeDeadLetters()
  const order: string[] = []
  deadLetters.beforeWrite = () => void order.push('letters')
  const { query, tables } = await startFake({
    topics: { a: [['k=1', 'k=bad', 'k=2'], ['j=bad']] },
    options: toDeadLetters,
    deadLetters,
    prepare: ({ tables }) => {
      ;(tables.get('a') as FakeTable).beforeCommit = () => void order.push('commit')
    },
  })
  await query.awaitTermination()
  t.deepEqual(order, ['letters', 'commit'])
  t.deepEqual(positions(deadLetters), ['a:0:1', 'a:1:0'])
  t.like(deadLetters.letters.get('a:0:1'), { queryName: 'q', reason: 'no header', key: Buffer.from('k') })
  t.deepEqual(tables.get('a')?.storage.applied, ['k=1', 'k=2'])
  t.like(query.lastProgress, { numBadRecords: 2, deadLetter: 'dead' })
  t.is(query.status.tables.a?.numBadRecords, 2)
})

test('a table may have another answer to bad records than the query', async (t) => {
  const deadLetters = new FakeDeadLetters()
  const { query } = await startFake({
    topics: { a: [['k=bad']], b: [['k=bad']] },
    options: {
      ...toDeadLetters,
      tables: { a: { path: '/lake/a' }, b: { path: '/lake/b', onBadRecord: 'skip' } },
    },
    deadLetters,
  })
  await query.awaitTermination()
  t.deepEqual(positions(deadLetters), ['a:0:0'])
  t.is(query.status.tables.b?.numBadRecords, 1)
})

test('a batch of bad records alone advances the offsets, with a commit that tells of them', async (t) => {
  const deadLetters = new FakeDeadLetters()
  const { query, tables } = await startFake({
    topics: { a: [['k=1', 'k=bad', 'k=bad']] },
    options: { ...toDeadLetters, limits: { maxBatchMessages: 1 } },
    deadLetters,
  })
  const seen: StreamingQueryProgress[] = []
  query.on('progress', (progress) => seen.push(progress))
  await query.awaitTermination()
  t.deepEqual(
    tables.get('a')?.merges.map(({ rows, offsets }) => [rows, offsets[0]?.last]),
    [
      [1, 0n],
      [0, 1n],
      [0, 2n],
    ],
  )
  t.deepEqual(
    seen.map((progress) => [progress.numBadRecords, progress.deadLetter]),
    [
      [0, null],
      [1, 'dead'],
      [1, 'dead'],
    ],
  )
})

test('without a table the bad records are written again at the next start; the first row commits their positions', async (t) => {
  const deadLetters = new FakeDeadLetters()
  const topics = { a: [['k=bad', 'k=bad'] as (string | null)[]] }
  const storages = new Map([['a', new FakeStorage()]])
  for (const expected of [1, 2]) {
    const { query } = await startFake({ topics, storages, options: toDeadLetters, deadLetters })
    await query.awaitTermination()
    t.is(deadLetters.writes.length, expected)
    t.is(query.status.tables.a?.numBadRecords, 2)
  }
  topics.a[0]?.push('k=1')
  await (await startFake({ topics, storages, options: toDeadLetters, deadLetters })).query.awaitTermination()
  t.is(storages.get('a')?.offsets.get('q:a:0'), 2n)
  t.deepEqual(positions(deadLetters), ['a:0:0', 'a:0:1'])
})

test('without a table the source is freed of what it holds, and goes on', async (t) => {
  const { query, source } = await startFake({
    topics: { a: [Array.from({ length: 40 }, () => 'k=bad')] },
    options: {
      ...toDeadLetters,
      limits: { maxBatchMessages: 2, maxBatchBytes: 1024, maxQueueBytes: 16 * 1024 },
    },
    deadLetters: new FakeDeadLetters(),
  })
  await query.awaitTermination()
  t.true(source.committedBatches.length >= 15, `${source.committedBatches.length} batches`)
})

test('a letter that cannot be written is tried again, and then stops the table: nothing is committed', async (t) => {
  const deadLetters = new FakeDeadLetters()
  let failures = 2
  deadLetters.beforeWrite = () => {
    if (failures-- > 0) throw new KafkaToDeltaError('STORAGE', 'no space')
  }
  const topics = { a: [['k=1', 'k=bad']], b: [['k=1']] }
  const first = await startFake({ topics, options: toDeadLetters, deadLetters })
  await first.query.awaitTermination()
  t.deepEqual(positions(deadLetters), ['a:0:1'])

  failures = Number.POSITIVE_INFINITY
  const second = await startFake({ topics, options: toDeadLetters, deadLetters })
  const error = await t.throwsAsync(second.query.awaitTermination(), { instanceOf: KafkaToDeltaError })
  t.is(error?.code, 'STORAGE')
  t.is(second.tables.get('a')?.merges.length, 0)
  t.is(second.tables.get('b')?.merges.length, 1)
  t.is(second.query.status.tables.a?.numBadRecords, 0)
})

test('a crash between the letters and the commit writes them again, to the same place', async (t) => {
  const deadLetters = new FakeDeadLetters()
  const topics = { a: [['k=1', 'k=bad', 'k=2', 'k=bad']] }
  const storages = new Map([['a', new FakeStorage()]])
  const crashed = await startFake({
    topics,
    storages,
    options: toDeadLetters,
    deadLetters,
    prepare: ({ tables }) => {
      ;(tables.get('a') as FakeTable).beforeCommit = () => {
        throw new KafkaToDeltaError('INTERNAL', 'crash')
      }
    },
  })
  await t.throwsAsync(crashed.query.awaitTermination(), { message: 'crash' })
  t.is(deadLetters.writes.length, 1)
  const again = await startFake({ topics, storages, options: toDeadLetters, deadLetters })
  await again.query.awaitTermination()
  t.deepEqual(deadLetters.writes, [
    ['1', '3'],
    ['1', '3'],
  ])
  t.deepEqual(storages.get('a')?.applied, ['k=1', 'k=2'])
})

test('a fenced writer of letters goes back to what the table holds, and gives up in the end', async (t) => {
  const deadLetters = new FakeDeadLetters()
  let fences = 2
  deadLetters.beforeWrite = () => {
    if (fences-- > 0) throw new KafkaToDeltaError('FENCED', 'another one')
  }
  const topics = { a: [['k=1', 'k=bad']] }
  const { query, source, tables } = await startFake({ topics, options: toDeadLetters, deadLetters })
  await query.awaitTermination()
  t.deepEqual(source.rewinds, ['a', 'a'])
  t.deepEqual(tables.get('a')?.storage.applied, ['k=1'])
  t.is(query.status.tables.a?.numBadRecords, 1)

  fences = Number.POSITIVE_INFINITY
  const lost = await startFake({ topics, options: toDeadLetters, deadLetters })
  const error = await t.throwsAsync(lost.query.awaitTermination(), { instanceOf: KafkaToDeltaError })
  t.is(error?.code, 'FENCED')
})

test('the status says what a table waits for, and stop does not wait for it', async (t) => {
  const deadLetters = new FakeDeadLetters()
  const { query, source, decoders } = await startFake({
    topics: { a: [[]] },
    options: { ...toDeadLetters, trigger: { processingTime: 0 } },
    deadLetters,
    policies: { retries: 1e6, firstDelay: 5, maxDelay: 5 },
  })
  deadLetters.beforeWrite = () => {
    throw new KafkaToDeltaError('KAFKA_UNREACHABLE', 'no broker')
  }
  source.produce('a', 0, 'k=bad')
  while ((query.status.tables.a?.waitingFor?.attempts ?? 0) < 2) await sleep(2)
  t.like(query.status.tables.a?.waitingFor, { code: 'KAFKA_UNREACHABLE', message: 'no broker' })
  t.is(query.status.message, 'Trying again, a: no broker')
  t.deepEqual(JSON.parse(JSON.stringify(query.status)), query.status)
  deadLetters.beforeWrite = null
  while (query.status.tables.a?.numBadRecords !== 1) await sleep(2)
  t.falsy(query.status.tables.a?.waitingFor)
  t.is(query.status.message, 'Waiting for data to arrive')

  const decoder = decoders.get('a')
  if (decoder) {
    decoder.beforeDecode = () => {
      throw new KafkaToDeltaError('REGISTRY_UNREACHABLE', 'registry is down')
    }
  }
  source.produce('a', 0, 'k=1')
  while (!query.status.tables.a?.waitingFor) await sleep(2)
  await query.stop()
  t.is(query.exception, null)
})

test('dead letters that are refused are waited for where their place was allowed before', async (t) => {
  for (const wasAllowed of [true, false]) {
    const deadLetters = new FakeDeadLetters()
    const { query, source } = await startFake({
      topics: { a: [[]] },
      options: { onBadRecord: 'dead-letter', deadLetter: { path: '/lake/dead' } },
      deadLetters,
    })
    if (wasAllowed) {
      source.produce('a', 0, 'k=bad')
      await query.processAllAvailable()
    }
    let failures = 0
    deadLetters.beforeWrite = () => {
      if (++failures < 20) throw new KafkaToDeltaError('STORAGE_DENIED', 'refused')
    }
    source.produce('a', 0, 'k=bad')
    if (wasAllowed) {
      await query.processAllAvailable()
      t.is(failures, 20)
      await query.stop()
    } else await t.throwsAsync(query.awaitTermination(), { code: 'STORAGE_DENIED' })
  }
})
