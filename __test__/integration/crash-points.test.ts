/**
 * A worker that is killed between any two of its steps: what the table holds then, and that the next worker goes on after it.
 * The table of docs/failures.md has the same steps. The requests to the store within a merge, a compaction and a clean-up are
 * those of the engine's crash_points.rs, and of the simulation, in which workers are killed between any two of them.
 */

import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'
import { tableHistory } from '../../src/delta/table.js'
import { EmbeddedBroker } from '../../src/demo/broker/index.js'
import { EmbeddedRegistry } from '../../src/demo/registry.js'
import { type StreamOptions, streamToDelta } from '../../src/index.js'
import { startChild } from './support/children.js'
import { SharedTopics } from './support/shared-topics.js'

/** Messages of a batch. */
const BATCH = 10
const BATCHES = 4

/** By the step after which the worker ends: whether its second batch is in the table, as the document says it. */
const STEPS = {
  consumed: ['a batch was taken from the queue', 'not committed'],
  decoded: ['it was decoded', 'not committed'],
  committed: ['its commit was answered', 'committed'],
  'group told': ["the group's offsets were told", 'committed'],
  compacted: ['a step of compaction ended', 'committed'],
  closing: ['a table is about to be closed', 'committed'],
  closed: ['the index was saved', 'committed'],
} as const

/** By the step of the hand-over of a table at which a worker ends: the one that gives it away, or that takes it. */
const HAND_OVER = {
  closing: ['the worker that gives a table away is about to close it', 'gives'],
  closed: ['the worker that gives a table away has closed it', 'gives'],
  opening: ['the worker that takes a table is about to open it', 'takes'],
  opened: ['the worker that takes a table has opened it', 'takes'],
} as const

async function world(t: ExecutionContext, numTopics: number) {
  const folder = mkdtempSync(join(tmpdir(), 'kafka2delta-crash-'))
  const broker = await EmbeddedBroker.start({ initialRebalanceDelayMs: 100 })
  const registry = await EmbeddedRegistry.start()
  const topics = new SharedTopics(broker, registry, join(folder, 'lake'), numTopics, 1)
  t.teardown(async () => {
    await broker.close()
    await registry.close()
    rmSync(folder, { recursive: true, force: true })
  })
  const options: StreamOptions = {
    queryName: 'crash',
    kafka: { brokers: broker.brokers, retry: { initialRetryTime: 50, maxRetryTime: 500, retries: 5 } },
    schemaRegistry: { url: registry.url },
    trigger: { processingTime: 20 },
    maintenance: { minFiles: 2 },
    indexDir: join(folder, 'index'),
    tables: topics.tables(),
    limits: { maxBatchMessages: BATCH },
  }
  return { topics, options }
}

const rowsOf = async (path: string): Promise<number> => {
  const history = await tableHistory(path, { limit: 1000 }).catch(() => [])
  return history.filter(({ operation }) => operation !== 'OPTIMIZE').length
}

for (const [point, [step, stands]] of Object.entries(STEPS)) {
  test.serial(`kill -9 when ${step}: ${stands}, and the next worker goes on`, async (t) => {
    t.timeout(120_000)
    const { topics, options } = await world(t, 2)
    topics.sendToAll(BATCHES * BATCH)
    // What comes at an end comes where all is applied. So does compaction: beside a stream it may find nothing to do yet.
    const isEnd = point.startsWith('clos')
    const hasEnd = isEnd || point === 'compacted'
    const given = hasEnd ? { ...options, trigger: { availableNow: true } } : options
    // Two tables arrive: the second time at the latest, one of them has its second batch.
    const times = hasEnd ? '1' : '3'
    const child = startChild('crash-child.ts', [point, times, JSON.stringify(given)])
    t.teardown(() => void child.process.kill('SIGKILL'))
    t.is((await child.exit).signal, 'SIGKILL', child.output())
    t.regex(child.output(), new RegExp(`ends at: ${point}`))
    const commits = await Promise.all(topics.names.map((topic) => rowsOf(topics.pathOf(topic))))
    const most = commits.reduce((sum, count) => sum + count, 0)
    t.log(`${commits} commits`)
    if (stands === 'committed') t.true(most >= (isEnd ? 2 * BATCHES : Number(times)), child.output())
    else t.true(most < 3, child.output())
    const next = startChild('stream-child.ts', [JSON.stringify({ ...options, trigger: { availableNow: true } })])
    t.is((await next.exit).code, 0, next.output())
    t.deepEqual(await topics.differences(), [])
  })
}

for (const [point, [step, who]] of Object.entries(HAND_OVER)) {
  test.serial(`kill -9 when ${step}: another worker has it`, async (t) => {
    t.timeout(180_000)
    const { topics, options } = await world(t, 4)
    const many: StreamOptions = {
      ...options,
      workers: 'many',
      consumer: { sessionTimeout: 3_000, heartbeatInterval: 200, rebalanceTimeout: 10_000 },
    }
    topics.sendToAll(BATCH)
    const start = async () => {
      const query = await streamToDelta(many)
      t.teardown(() => query.stop())
      return query
    }
    const startKilled = () => startChild('crash-child.ts', [point, '1', JSON.stringify(many)])
    let killed: ReturnType<typeof startKilled>
    let other: Awaited<ReturnType<typeof start>>
    if (who === 'gives') {
      killed = startKilled()
      await killed.printed('committed')
      other = await start()
    } else {
      other = await start()
      await other.processAllAvailable()
      killed = startKilled()
    }
    t.teardown(() => void killed.process.kill('SIGKILL'))
    topics.sendToAll(BATCH)
    t.is((await killed.exit).signal, 'SIGKILL', killed.output())
    t.regex(killed.output(), new RegExp(`ends at: ${point}`))
    topics.sendToAll(BATCH)
    const deadline = Date.now() + 90_000
    while (!(await topics.areWhole()) && Date.now() < deadline) await sleep(100)
    t.deepEqual(await topics.differences(), [])
    t.is(other.exception, null)
  })
}

test('docs/failures.md has these steps, and no others', (t) => {
  const document = readFileSync(new URL('../../docs/failures.md', import.meta.url), 'utf8')
  const part = document.split('<!-- crash points of a worker -->')[1]?.split('<!--')[0] ?? ''
  const rows = part
    .split('\n')
    .filter((line) => line.startsWith('|'))
    .slice(2)
  const told = rows.map((row) =>
    row
      .split('|')
      .slice(1, 3)
      .map((cell) => cell.trim()),
  )
  const handed = Object.values(HAND_OVER).map(([step]) => [step, 'as before'])
  t.deepEqual(told, [...Object.values(STEPS).map((pair) => [...pair]), ...handed])
})
