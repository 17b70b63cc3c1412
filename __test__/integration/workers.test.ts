/** Many workers on one query: they join, leave, are killed and stand still; each message is applied once. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'
import { EmbeddedBroker } from '../../src/demo/broker/index.js'
import { EmbeddedRegistry } from '../../src/demo/registry.js'
import { type StreamingQuery, streamToDelta } from '../../src/index.js'
import type { TopicMoves } from '../../src/kafka/sharing.js'
import { silentLogger } from '../../src/log.js'
import { resolveOptions } from '../../src/options/resolve.js'
import type { StreamOptions } from '../../src/options/types.js'
import { realSystems } from '../../src/stream/connect.js'
import { startQuery } from '../../src/stream/start.js'
import { type Child, startChild } from './support/children.js'
import { SharedTopics } from './support/shared-topics.js'

const NUM_TABLES = 12
const SESSION_MS = 3_000

/** A broker, topics with changes that keep coming, and a lake. */
async function world(t: ExecutionContext) {
  const folder = mkdtempSync(join(tmpdir(), 'kafka2delta-workers-'))
  const broker = await EmbeddedBroker.start({ initialRebalanceDelayMs: 100 })
  const registry = await EmbeddedRegistry.start()
  const topics = new SharedTopics(broker, registry, join(folder, 'lake'), NUM_TABLES)
  const producing = new AbortController()
  const producer = (async () => {
    while (!producing.signal.aborted) {
      topics.sendToAll(2)
      await sleep(30)
    }
  })()
  const stopProducing = async () => {
    producing.abort()
    await producer
  }
  t.teardown(async () => {
    await stopProducing()
    await broker.close()
    await registry.close()
    rmSync(folder, { recursive: true, force: true })
  })
  const options = (): StreamOptions => ({
    queryName: 'shared',
    kafka: { brokers: broker.brokers, retry: { initialRetryTime: 50, maxRetryTime: 500, retries: 5 } },
    consumer: { sessionTimeout: SESSION_MS, heartbeatInterval: 200, rebalanceTimeout: 10_000 },
    schemaRegistry: { url: registry.url },
    workers: 'many',
    trigger: { processingTime: 100 },
    indexDir: join(folder, 'index'),
    tables: topics.tables(),
  })
  return { topics, options, stopProducing }
}

interface Worker {
  query: StreamingQuery
  moves: TopicMoves[]
}

async function startWorker(t: ExecutionContext, options: StreamOptions): Promise<Worker> {
  const query = await streamToDelta(options)
  t.teardown(() => query.stop())
  const moves: TopicMoves[] = []
  query.on('tablesMoved', (moved) => moves.push(moved))
  return { query, moves }
}

const numOf = ({ query }: Worker) => Object.keys(query.status.tables).length
const numLost = (workers: Worker[]) => workers.flatMap(({ moves }) => moves.flatMap(({ lost }) => lost)).length

async function until(t: ExecutionContext, what: string, is: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 60_000
  while (!(await is())) {
    if (Date.now() > deadline) t.fail(`not within a minute: ${what}`)
    await sleep(50)
  }
}

const spread = (t: ExecutionContext, workers: Worker[], ...sizes: number[]) =>
  until(t, `tables are spread as ${sizes}`, () => `${workers.map(numOf)}` === `${sizes}`)

test.serial('workers join and leave: tables move as few as need be, and each message is applied once', async (t) => {
  t.timeout(180_000)
  const { topics, options, stopProducing } = await world(t)
  const a = await startWorker(t, options())
  await spread(t, [a], 12)
  const b = await startWorker(t, options())
  await spread(t, [a, b], 6, 6)
  t.is(numLost([a, b]), 6)
  t.is(a.query.status.numTablesElsewhere, 6)
  const c = await startWorker(t, options())
  await spread(t, [a, b, c], 4, 4, 4)
  t.is(numLost([a, b, c]), 6 + 4)
  await b.query.stop()
  await spread(t, [a, c], 6, 6)
  t.is(numLost([a, c]), 6 + 2)
  await stopProducing()
  await until(t, 'all tables are whole', () => topics.areWhole())
  for (const { query } of [a, b, c]) t.is(query.exception, null)
  t.log(`${topics.numMessages} messages`)
})

test.serial('topics that a pattern takes are shared, and those that appear while workers run', async (t) => {
  t.timeout(180_000)
  const { topics, options, stopProducing } = await world(t)
  const startLooking = async () => {
    const tables = {
      '/t\\d*[02468]/': { path: topics.pathOf('$0'), writeMode: 'append' },
      '/(t\\d*[13579])/': { path: topics.pathOf('$1') },
    }
    const resolved = resolveOptions({ ...options(), tables })
    const systems = realSystems(resolved, silentLogger)
    const query = await startQuery({ options: resolved, systems, logger: silentLogger, lookEveryMs: 300 })
    t.teardown(() => query.stop())
    const worker: Worker = { query, moves: [] }
    query.on('tablesMoved', (moved) => worker.moves.push(moved))
    return worker
  }
  const a = await startLooking()
  await spread(t, [a], 12)
  const b = await startLooking()
  await spread(t, [a, b], 6, 6)
  // Both see them at times of their own.
  for (const topic of ['t13', 't15', 't17']) topics.add(topic)
  await until(t, 'each new topic has a worker', () => numOf(a) + numOf(b) === 15)
  await stopProducing()
  await until(t, 'all tables are whole', () => topics.areWhole())
  for (const { query } of [a, b]) t.is(query.exception, null)
})

const told = (child: Child, event: string) =>
  child
    .output()
    .split('\n')
    .filter((line) => line.startsWith(`{"event":"${event}"`))
    .map((line) => JSON.parse(line) as { at: number; topic: string; gained: string[]; lost: string[] })

test.serial('of a worker that is killed, another one takes the tables', async (t) => {
  t.timeout(180_000)
  const { topics, options, stopProducing } = await world(t)
  const child = startChild('worker-child.ts', [JSON.stringify(options())])
  t.teardown(() => void child.process.kill('SIGKILL'))
  await child.printed('committed')
  const a = await startWorker(t, options())
  await spread(t, [a], 6)
  await until(t, 'both commit', () => told(child, 'moved').length > 0 && a.query.lastProgress !== null)
  child.process.kill('SIGKILL')
  await child.exit
  const killed = Date.now()
  await spread(t, [a], 12)
  t.log(`taken over after ${Date.now() - killed} ms`)
  await stopProducing()
  await until(t, 'all tables are whole', () => topics.areWhole())
  t.is(a.query.exception, null)
})

test.serial('a worker that stood still for too long gives up what it had: its late commits are fenced', async (t) => {
  t.timeout(180_000)
  const { topics, options, stopProducing } = await world(t)
  // Messages wait in it for most of the time.
  const slow = { ...options(), trigger: { processingTime: 1_000 } }
  const child = startChild('worker-child.ts', [JSON.stringify(slow)])
  t.teardown(() => void child.process.kill('SIGKILL'))
  await child.printed('committed')
  const a = await startWorker(t, options())
  await spread(t, [a], 6)
  await sleep(1_000)
  const commits = told(child, 'committed').length
  child.process.kill('SIGSTOP')
  await spread(t, [a], 12)
  const committed = new Set<string>()
  a.query.on('progress', ({ topic }) => committed.add(topic))
  await until(t, 'the other one has gone on with all tables', () => committed.size === NUM_TABLES)
  child.process.kill('SIGCONT')
  // It joins again, as one that has nothing newer than the other.
  await spread(t, [a], 6)
  await until(t, 'it commits again', () => told(child, 'committed').length > commits)
  t.regex(child.output(), /"fences":1|was left to its worker/)
  t.deepEqual(told(child, 'failed'), [])
  await stopProducing()
  await until(t, 'all tables are whole', () => topics.areWhole())
  child.process.kill('SIGTERM')
  t.is((await child.exit).code, 0, child.output())
  await spread(t, [a], 12)
  t.is(a.query.exception, null)
})
