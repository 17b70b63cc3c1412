// biome-ignore-all lint/suspicious/noExplicitAny: options and sources are made wrong on purpose
import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'
import { isOffset } from '../../src/delta/offset-entries.js'
import { KafkaToDeltaError } from '../../src/errors.js'
import { Messages } from '../../src/kafka/messages.js'
import type { StreamingQueryProgress } from '../../src/stream/progress.js'
import { type FakeDecoder, FakeStorage, type FakeTable, startFake } from './fakes.js'

const numbered = (from: number, to: number, keys = 5) =>
  Array.from({ length: to - from }, (_, i) => `k${(from + i) % keys}=${from + i}`)

const availableNow = { trigger: { availableNow: true } } as const

test('availableNow applies what is there, in batches, and ends', async (t) => {
  const { query, tables, source } = await startFake({
    topics: { a: [numbered(0, 25), numbered(100, 107)], b: [numbered(0, 3)] },
    options: { ...availableNow, limits: { maxBatchMessages: 10 } },
  })
  t.true(await query.awaitTermination())
  t.false(query.isActive)
  t.is(query.status.message, 'Stopped')
  const a = tables.get('a') as FakeTable
  t.deepEqual(
    new Map([...a.storage.offsets].filter(([appId]) => isOffset(appId))),
    new Map([
      ['q:a:0', 24n],
      ['q:a:1', 6n],
    ]),
  )
  t.is(a.storage.applied.length, 32)
  t.deepEqual(
    a.merges.map(({ offsets }) =>
      offsets.filter(({ appId }) => isOffset(appId)).map(({ expected, last }) => [expected, last]),
    ),
    [
      [
        [null, 9n],
        [null, 6n],
      ],
      [[9n, 19n]],
      [[19n, 24n]],
    ],
  )
  t.true(a.closed && source.stopped)
  t.is(source.committedBatches.length, 4)
  t.deepEqual(
    source.peaks.map(([messages, peak]) => peak / messages),
    [1000, 1000, 1000, 1000],
  )
})

test('progress tells positions, counts and times, as plain values', async (t) => {
  const { query } = await startFake({ topics: { a: [numbered(0, 4)] }, options: availableNow })
  const seen: StreamingQueryProgress[] = []
  query.on('progress', (progress) => seen.push(progress))
  await query.awaitTermination()
  t.is(seen.length, 1)
  t.like(seen[0], {
    name: 'q',
    topic: 'a',
    table: '/lake/a',
    batchId: 0,
    version: 0,
    numInputRows: 4,
    numRowsUpserted: 4,
    numDroppedStale: 0,
    widenedColumns: [],
    lag: 0,
    offsets: { 0: { start: '0', end: '3' } },
  })
  t.deepEqual(query.lastProgress, seen[0] as StreamingQueryProgress)
  t.deepEqual(JSON.parse(JSON.stringify(seen[0])), seen[0])
})

test('only the last hundred progress entries are kept', async (t) => {
  const { query } = await startFake({
    topics: { a: [numbered(0, 130)] },
    options: { ...availableNow, limits: { maxBatchMessages: 1 } },
  })
  await query.awaitTermination()
  t.is(query.recentProgress.length, 100)
  t.is(query.recentProgress[0]?.batchId, 30)
})

test('a running query applies what arrives; processAllAvailable waits for it', async (t) => {
  const { query, source, tables } = await startFake({ topics: { a: [[]] } })
  await query.processAllAvailable()
  t.true(query.isActive)
  for (let i = 0; i < 5; i++) {
    source.produce('a', 0, `k=${i}`)
    await query.processAllAvailable()
    t.is(tables.get('a')?.storage.rows.get('k'), String(i))
  }
  t.false(await query.awaitTermination(10))
  await query.stop()
  t.true(await query.awaitTermination())
})

test('the next batch is decoded while one is merged, and no more than one', async (t) => {
  let release: () => void = () => {}
  const held = new Promise<void>((resolve) => {
    release = resolve
  })
  const { query, decoders, tables, source } = await startFake({
    topics: { a: [numbered(0, 10)] },
    options: { ...availableNow, limits: { maxBatchMessages: 1 } },
    prepare: ({ tables }) => {
      const a = tables.get('a') as FakeTable
      a.beforeCommit = () => held
    },
  })
  await sleep(30)
  t.is(decoders.get('a')?.decoded, 2)
  t.is(tables.get('a')?.merges.length, 0)
  source.memory.queued = 300
  decoders.get('a')?.onHeld?.(40)
  // Two rows, as FakeDecoder writes them.
  t.deepEqual(query.status.memory, { limit: 1000, queued: 300, decoding: 40, merging: 24, indexes: 64, compaction: 32 })
  t.true(query.status.isTriggerActive)
  release()
  await query.awaitTermination()
  t.is(tables.get('a')?.merges.length, 10)
})

test('stop commits the batch in hand, and a restart goes on after it: nothing lost, nothing twice', async (t) => {
  const topics = { a: [numbered(0, 50)] }
  const storages = new Map([['a', new FakeStorage()]])
  let starts = 0
  while ((storages.get('a') as FakeStorage).applied.length < 50) {
    if (++starts > 60) return t.fail('makes no progress')
    const { query } = await startFake({
      topics,
      storages,
      options: { limits: { maxBatchMessages: 3 } },
      prepare: ({ tables }) => {
        ;(tables.get('a') as FakeTable).beforeCommit = () => sleep(2)
      },
    })
    await sleep(starts % 4)
    await query.stop()
    t.is(query.exception, null)
  }
  t.deepEqual(storages.get('a')?.applied, topics.a[0])
  t.true(starts > 1)
  return
})

test('an outage is retried, within bounds where the run has an end', async (t) => {
  let failures = 3
  const { query, tables } = await startFake({
    topics: { a: [numbered(0, 4)] },
    options: availableNow,
    prepare: ({ tables, decoders }) => {
      ;(tables.get('a') as FakeTable).beforeCommit = () => {
        if (failures-- > 0) throw new KafkaToDeltaError('STORAGE', 'down')
      }
      let registry = 2
      const decoder = decoders.get('a')
      if (decoder)
        decoder.beforeDecode = () => {
          if (registry-- > 0) throw new KafkaToDeltaError('REGISTRY_UNREACHABLE', 'down')
        }
    },
  })
  await query.awaitTermination()
  t.is(tables.get('a')?.storage.applied.length, 4)

  const broken = await startFake({
    topics: { a: [numbered(0, 4)] },
    options: availableNow,
    prepare: ({ tables }) => {
      ;(tables.get('a') as FakeTable).beforeCommit = () => {
        throw new KafkaToDeltaError('STORAGE', 'down for good')
      }
    },
  })
  const error = await t.throwsAsync(broken.query.awaitTermination(), { instanceOf: KafkaToDeltaError })
  t.is(error?.code, 'STORAGE')
  t.is(broken.query.exception, error as KafkaToDeltaError)
})

test('a running query waits out an outage of whatever length, and says so; what does not heal ends its table', async (t) => {
  for (const code of ['STORAGE', 'REGISTRY_UNREACHABLE', 'KAFKA_UNREACHABLE', 'COMMIT_CONFLICT'] as const) {
    let failures = 0
    let isOver = false
    const fail = () => {
      if (isOver) return
      failures++
      throw new KafkaToDeltaError(code, 'down')
    }
    const { query, tables, source } = await startFake({
      topics: { a: [[]], b: [[]] },
      prepare: ({ tables, decoders }) => {
        if (code === 'REGISTRY_UNREACHABLE') (decoders.get('a') as FakeDecoder).beforeDecode = fail
        else (tables.get('a') as FakeTable).beforeCommit = fail
      },
    })
    source.produce('a', 0, 'k=1')
    while (failures < 50) await sleep(2)
    t.true(query.isActive)
    t.like(query.status.tables.a, { state: code === 'REGISTRY_UNREACHABLE' ? 'waiting' : 'merging', error: null })
    t.like(query.status.tables.a?.waitingFor, { code, message: 'down' })
    t.true((query.status.tables.a?.waitingFor?.attempts ?? 0) > 40)
    isOver = true
    await query.processAllAvailable()
    t.deepEqual(tables.get('a')?.storage.applied, ['k=1'])
    t.is(query.status.tables.a?.waitingFor, null)
    await query.stop()
  }
  const { query, source } = await startFake({
    topics: { a: [[]] },
    prepare: ({ tables }) => {
      ;(tables.get('a') as FakeTable).beforeCommit = () => {
        throw new KafkaToDeltaError('STORAGE_DENIED', 'no rights')
      }
    },
  })
  source.produce('a', 0, 'k=1')
  await t.throwsAsync(query.awaitTermination(), { code: 'STORAGE_DENIED' })
  t.like(query.status.tables.a, { state: 'ended', error: { code: 'STORAGE_DENIED', message: 'no rights' } })
})

for (const [what, before] of [
  ['after the first commit', 1],
  ['before it, where nothing may be read any more either', 0],
] as const) {
  test(`a store that refuses us is waited for: ${what}`, async (t) => {
    let refused = false
    let failures = 0
    const refuse = () => {
      if (!refused) return
      failures++
      throw new KafkaToDeltaError('STORAGE_DENIED', 'the token has expired')
    }
    const { query, tables, source } = await startFake({
      topics: { a: [[]], b: [[]] },
      prepare: ({ tables }) => {
        const a = tables.get('a') as FakeTable
        const info = a.info.bind(a)
        a.beforeCommit = refuse
        a.refresh = async () => {
          refuse()
          return info()
        }
      },
    })
    for (let i = 0; i < before; i++) source.produce('a', 0, 'k=0')
    await query.processAllAvailable()
    refused = true
    source.produce('a', 0, 'k=1')
    source.produce('b', 0, 'k=1')
    while (failures < 50) await sleep(2)
    t.like(query.status.tables.a?.waitingFor, { code: 'STORAGE_DENIED', message: 'the token has expired' })
    t.is(query.exception, null)
    refused = false
    await query.processAllAvailable()
    t.is(tables.get('a')?.storage.applied.at(-1), 'k=1')
    // A stop leaves the batch for the next start.
    refused = true
    source.produce('a', 0, 'k=2')
    while (query.status.tables.a?.waitingFor === null) await sleep(2)
    await query.stop()
    t.true(await query.awaitTermination())
  })
}

test('a registry that refuses us is waited for', async (t) => {
  let failures = 0
  const { query, tables, source } = await startFake({
    topics: { a: [[]] },
    prepare: ({ decoders }) => {
      ;(decoders.get('a') as FakeDecoder).beforeDecode = () => {
        if (++failures < 50) throw new KafkaToDeltaError('REGISTRY_AUTH', 'refused')
      }
    },
  })
  source.produce('a', 0, 'k=1')
  await query.processAllAvailable()
  t.deepEqual(tables.get('a')?.storage.applied, ['k=1'])
  await query.stop()
})

test('a commit whose answer was lost is not done again', async (t) => {
  let lost = 1
  const { query, tables, source } = await startFake({
    topics: { a: [numbered(0, 9)] },
    options: { ...availableNow, limits: { maxBatchMessages: 3 } },
    prepare: ({ tables }) => {
      ;(tables.get('a') as FakeTable).afterCommit = () => {
        if (lost-- > 0) throw new KafkaToDeltaError('STORAGE', 'connection reset')
      }
    },
  })
  await query.awaitTermination()
  t.is(tables.get('a')?.storage.applied.length, 9)
  t.deepEqual(source.rewinds, [])
})

test('a fenced batch is dropped, and the stream goes on after what the other worker stored', async (t) => {
  let other = 1
  const { query, tables, source } = await startFake({
    topics: { a: [numbered(0, 12)] },
    options: { ...availableNow, limits: { maxBatchMessages: 3 } },
    prepare: ({ tables }) => {
      const a = tables.get('a') as FakeTable
      a.beforeCommit = () => {
        if (other-- !== 1) return
        // Another worker applies offsets 0 to 4 just before us.
        for (const text of numbered(0, 5)) a.storage.applied.push(text)
        a.storage.offsets.set('q:a:0', 4n)
        a.storage.exists = true
      }
    },
  })
  await query.awaitTermination()
  t.deepEqual(tables.get('a')?.storage.applied, numbered(0, 12))
  t.deepEqual(source.rewinds, ['a'])
})

test('what a fence dropped is read again at once, though no message comes any more', async (t) => {
  for (const isIgnored of [false, true]) {
    let other = 1
    const { query, tables, source } = await startFake({
      // Positions of ignored messages are committed after a while, or at the stop: the fence comes with the last row.
      topics: { a: [[...(isIgnored ? ['h=ignore'] : []), ...numbered(0, 12)]] },
      options: { limits: { maxBatchMessages: 100 } },
      prepare: ({ tables }) => {
        const a = tables.get('a') as FakeTable
        a.beforeCommit = async () => {
          if (other-- !== 1) return
          // The loop waits for the next batch by now.
          await sleep(20)
          for (const text of numbered(0, 5)) a.storage.applied.push(text)
          a.storage.offsets.set('q:a:0', isIgnored ? 5n : 4n)
          a.storage.exists = true
        }
      },
    })
    await query.processAllAvailable()
    t.deepEqual(tables.get('a')?.storage.applied, numbered(0, 12))
    t.deepEqual(source.rewinds, ['a'])
    await query.stop()
  }
})

test('two workers on one table: each message is applied once', async (t) => {
  const topics = { a: [numbered(0, 200)] }
  const storages = new Map([['a', new FakeStorage()]])
  const world = {
    topics,
    storages,
    options: { limits: { maxBatchMessages: 7 } },
    prepare: ({ tables }: { tables: Map<string, FakeTable> }) => {
      ;(tables.get('a') as FakeTable).beforeCommit = () => sleep(Math.random() * 3)
    },
  }
  const queries = await Promise.all([startFake(world), startFake(world)])
  // One may give up, since the other one is always there first; it must not have written anything twice.
  await Promise.allSettled(queries.map(({ query }) => query.processAllAvailable()))
  await Promise.all(queries.map(({ query }) => query.stop()))
  t.deepEqual(storages.get('a')?.applied, topics.a[0])
  for (const { query } of queries) t.true(query.exception === null || query.exception.code === 'FENCED')
})

test('a failed table stops alone; the query tells, and rejects at the end', async (t) => {
  const { query, source, tables } = await startFake({
    topics: { a: [[]], b: [[]] },
    prepare: ({ tables }) => {
      ;(tables.get('a') as FakeTable).beforeCommit = () => {
        throw new KafkaToDeltaError('SCHEMA_INCOMPATIBLE', 'int to text', { column: 'x' })
      }
    },
  })
  const failed: string[] = []
  query.on('tableFailed', ({ topic, error }) => failed.push(`${topic} ${error.code}`))
  source.produce('a', 0, 'k=1')
  while (query.exception === null) await sleep(2)
  source.produce('b', 0, 'k=1')
  while (tables.get('b')?.merges.length !== 1) await sleep(2)
  t.deepEqual(failed, ['a SCHEMA_INCOMPATIBLE'])
  t.true(query.isActive)
  t.is(query.status.tables.a?.state, 'ended')
  t.deepEqual(source.closed, ['a'])
  await t.throwsAsync(query.processAllAvailable(), { message: 'int to text' })
  await query.stop()
  const error = await t.throwsAsync(query.awaitTermination(), { instanceOf: KafkaToDeltaError })
  t.is(error?.position.column, 'x')
})

test('a topic that failed during the start ends its table alone, and is told', async (t) => {
  const { query, source, tables } = await startFake({
    topics: { a: [[]], b: [[]] },
    source: (source) => {
      const next = source.next.bind(source)
      source.next = async (topic) => {
        if (topic === 'b') throw new KafkaToDeltaError('DATA_LOSS', 'gone', { topic })
        return next(topic)
      }
    },
  })
  const failed: unknown[] = []
  query.on('tableFailed', ({ topic, error }) => failed.push([topic, error.code, error.position.topic]))
  while (query.exception === null) await sleep(2)
  source.produce('a', 0, 'k=1')
  while (tables.get('a')?.merges.length !== 1) await sleep(2)
  t.deepEqual(failed, [['b', 'DATA_LOSS', 'b']])
  t.like(query.status.tables, { a: { error: null }, b: { state: 'ended', error: { code: 'DATA_LOSS' } } })
  await query.stop()
})

test('processAllAvailable tells why a table failed while Kafka was asked, whatever Kafka’s client says of it', async (t) => {
  const failing = (tables: Map<string, FakeTable>) => {
    ;(tables.get('a') as FakeTable).beforeCommit = () => {
      throw new KafkaToDeltaError('SCHEMA_INCOMPATIBLE', 'positions began anew')
    }
  }
  const gone = () => new KafkaToDeltaError('KAFKA_UNREACHABLE', 'Topic metadata not loaded')
  for (const topics of [{ a: [[]] }, { a: [[]], b: [[]] }] as Record<string, string[][]>[]) {
    for (const answer of ['rejects', 'never'] as const) {
      const { query, source } = await startFake({ topics, prepare: ({ tables }) => failing(tables as never) })
      source.fetchEnds = () =>
        new Promise((_, reject) => {
          if (answer === 'rejects') query.on('tableFailed', () => reject(gone()))
        })
      const waiting = query.processAllAvailable()
      source.produce('a', 0, 'k=1')
      await t.throwsAsync(waiting, { code: 'SCHEMA_INCOMPATIBLE' })
      await t.throwsAsync(query.processAllAvailable(), { code: 'SCHEMA_INCOMPATIBLE' })
      await query.stop()
      await t.throwsAsync(query.processAllAvailable(), { code: 'SCHEMA_INCOMPATIBLE' })
    }
  }
  // Stopped by its user: nothing went wrong.
  const { query, source } = await startFake({ topics: { a: [[]] } })
  source.fetchEnds = async () => {
    await query.stop()
    throw gone()
  }
  await t.notThrowsAsync(query.processAllAvailable())
  // Kafka does not answer, and no table has failed.
  const running = await startFake({ topics: { a: [[]] } })
  running.source.fetchEnds = async () => {
    throw gone()
  }
  await t.throwsAsync(running.query.processAllAvailable(), { code: 'KAFKA_UNREACHABLE' })
  await running.query.stop()
})

test('bad records: fail with the position and commit nothing of the batch, or skip', async (t) => {
  const topics = { a: [['k=1', 'k=bad', 'k=2']] }
  const failing = await startFake({ topics, options: availableNow })
  const error = await t.throwsAsync(failing.query.awaitTermination(), { instanceOf: KafkaToDeltaError })
  t.is(error?.code, 'BAD_RECORD')
  t.is(error?.message, 'a, partition 0, offset 1: no header')
  t.deepEqual(error?.position, { topic: 'a', partition: 0, offset: '1' })
  t.is(failing.tables.get('a')?.merges.length, 0)

  const skipping = await startFake({ topics, options: { ...availableNow, onBadRecord: 'skip' } })
  await skipping.query.awaitTermination()
  t.deepEqual(skipping.tables.get('a')?.storage.applied, ['k=1', 'k=2'])
  t.is(skipping.query.lastProgress?.numBadRecords, 1)
  t.is(skipping.query.lastProgress?.deadLetter, null)
})

test('a bad record stops its table alone', async (t) => {
  const { query, source, tables } = await startFake({ topics: { a: [['k=bad']], b: [[]] } })
  while (query.exception === null) await sleep(2)
  source.produce('b', 0, 'k=1')
  while (tables.get('b')?.merges.length !== 1) await sleep(2)
  t.is(tables.get('a')?.merges.length, 0)
  await query.stop()
})

test('positions that only ignored messages moved are committed with the next rows, or at the end', async (t) => {
  const topics = { a: [['k=1', 'h=ignore', null, 'h=ignore', 'k=2', 'h=ignore', null]] }
  const { query, tables } = await startFake({ topics, options: { ...availableNow, limits: { maxBatchMessages: 1 } } })
  await query.awaitTermination()
  const a = tables.get('a') as FakeTable
  t.deepEqual(
    a.merges.map(({ rows, offsets }) => [rows, offsets[0]?.expected, offsets[0]?.last]),
    [
      [1, null, 0n],
      [1, 0n, 4n],
      [0, 4n, 6n],
    ],
  )
  // Without any row there is no table, and nowhere to keep positions.
  const empty = await startFake({ topics: { a: [['h=ignore']] }, options: availableNow })
  await empty.query.awaitTermination()
  t.is(empty.tables.get('a')?.merges.length, 0)
})

test('changes that only remove rows make no table: their positions go with the first rows', async (t) => {
  const storages = new Map([['a', new FakeStorage()]])
  const start = async (topics: Record<string, (string | null)[][]>) => {
    const { query, tables } = await startFake({ topics, storages, options: availableNow })
    await query.awaitTermination()
    return (tables.get('a') as FakeTable).merges
  }
  const removals = ['k=gone', 'h=gone']
  t.is((await start({ a: [removals, ['m=gone']] })).length, 0)
  const merges = await start({ a: [[...removals, 'k=1', 'h=2', 'h=gone'], ['m=gone']] })
  t.is(merges.length, 1)
  const storage = storages.get('a') as FakeStorage
  t.deepEqual([...storage.rows], [['k', '1']])
  t.is(storage.offsets.get('q:a:0'), 4n)
  t.is(storage.offsets.get('q:a:1'), 0n)
  // Where there is a table they are applied.
  t.is((await start({ a: [[...removals, 'k=1', 'h=2', 'h=gone', 'k=gone'], ['m=gone']] })).length, 1)
  t.is(storage.rows.size, 0)
})

test('a consumer that breaks down ends the query with its error', async (t) => {
  const { query, source } = await startFake({ topics: { a: [[]], b: [[]] } })
  source.emit('failed', new KafkaToDeltaError('KAFKA_CONSUMER_CRASHED', 'gone'))
  const error = await t.throwsAsync(query.awaitTermination(), { instanceOf: KafkaToDeltaError })
  t.is(error?.code, 'KAFKA_CONSUMER_CRASHED')
  t.true(source.stopped)
})

test('offsets that are left out are an error unless loss is allowed', async (t) => {
  const storages = () => {
    const storage = new FakeStorage()
    storage.exists = true
    storage.offsets.set('q:a:0', 1n)
    return new Map([['a', storage]])
  }
  const topics = { a: [['k=0', 'k=1', 'k=2', 'k=3', 'k=4']] }
  // The source starts two offsets too late.
  const skipTwo = (source: { topics: unknown }) => {
    const next = (source as any).next.bind(source)
    let first = true
    ;(source as any).next = async (topic: string) => {
      const batch = await next(topic)
      if (batch && first) {
        first = false
        batch.ranges[0].firstOffset += 2n
        batch.ranges[0].messages = batch.ranges[0].messages.slice(2)
      }
      return batch
    }
  }
  const strict = await startFake({ topics, storages: storages(), options: availableNow, source: skipTwo })
  const error = await t.throwsAsync(strict.query.awaitTermination(), { instanceOf: KafkaToDeltaError })
  t.is(error?.code, 'DATA_LOSS')
  t.is(error?.position.offset, '2')

  const lax = await startFake({
    topics,
    storages: storages(),
    options: { ...availableNow, failOnDataLoss: false },
    source: skipTwo,
  })
  await lax.query.awaitTermination()
  t.deepEqual(lax.tables.get('a')?.storage.applied, ['k=4'])
})

test('messages that come again are applied once', async (t) => {
  const again = (source: { topics: unknown }) => {
    const next = (source as any).next.bind(source)
    let last: any = null
    ;(source as any).next = async (topic: string) => {
      const batch = await next(topic)
      if (!batch) return batch
      const range = batch.ranges[0]
      const copy = { ...range }
      if (last) {
        range.firstOffset = last.firstOffset
        range.messages = Messages.joined([last.messages, range.messages])
      }
      last = copy
      return batch
    }
  }
  const { query, tables } = await startFake({
    topics: { a: [numbered(0, 12)] },
    options: { ...availableNow, limits: { maxBatchMessages: 3 } },
    source: again,
  })
  await query.awaitTermination()
  t.deepEqual(tables.get('a')?.storage.applied, numbered(0, 12))
})

test('a start that fails closes what was opened', async (t) => {
  let opened: Map<string, FakeTable> = new Map()
  await t.throwsAsync(
    startFake({
      topics: { a: [[]] },
      prepare: ({ tables }) => {
        opened = tables
      },
      source: (source) => {
        source.start = async () => {
          await source.located('a')
          throw new KafkaToDeltaError('KAFKA_UNREACHABLE', 'no broker')
        }
      },
    }),
    { message: 'no broker' },
  )
  t.true(opened.get('a')?.closed)
})

for (const code of ['TABLE_UNSUPPORTED', 'TABLE_CORRUPT', 'CONFIG_INVALID', 'EXPRESSION_INVALID'] as const) {
  const isAlone = !/INVALID/.test(code)
  test(`a table that cannot be opened, ${code}: ${isAlone ? 'it fails alone' : 'the start is refused'}`, async (t) => {
    const start = (topics: string[]) =>
      startFake({
        topics: Object.fromEntries(topics.map((topic) => [topic, [numbered(0, 3)]])),
        options: { ...availableNow, startingOffsets: { a: { 0: -2 }, b: { 0: -2 } } },
        prepare: ({ tables }) => {
          const get = tables.get.bind(tables)
          tables.get = (topic) => {
            if (topic === 'b') throw new KafkaToDeltaError(code, 'amiss')
            return get(topic)
          }
        },
      })
    await t.throwsAsync(start(['b']), { code })
    if (!isAlone) {
      await t.throwsAsync(start(['a', 'b']), { code })
      return
    }
    const { query, tables, source } = await start(['a', 'b'])
    t.deepEqual(source.closed, ['b'])
    await t.throwsAsync(query.awaitTermination(), { code })
    t.deepEqual(tables.get('a')?.storage.applied, numbered(0, 3))
    t.like(query.status.tables.b, { state: 'ended', error: { code } })
  })
}

test('a listener that throws does not stop the tables', async (t) => {
  const { query, tables } = await startFake({
    topics: { a: [numbered(0, 4)] },
    options: { ...availableNow, limits: { maxBatchMessages: 1 } },
  })
  query.on('progress', () => {
    throw new Error('mine')
  })
  await query.awaitTermination()
  t.is(tables.get('a')?.merges.length, 4)
})
