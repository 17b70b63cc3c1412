/**
 * Every state of a query × what may happen then: told to stop, a signal, Kafka, the registry or the store silent and then
 * told to stop. It ends in time, by itself: a process ends where no connection and no timer is left open.
 */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'
import kafkajs from 'kafkajs'
import { EmbeddedBroker } from '../../src/demo/broker/index.js'
import { within } from '../../src/waits.js'
import { startSilentServer } from '../kafka/support.js'
import { type Child, startChild } from './support/children.js'
import { HttpStore } from './support/http-table.js'
import { SlowServer } from './support/slow-server.js'

const folder = mkdtempSync(join(tmpdir(), 'kafka2delta-ends-'))
test.after.always(() => rmSync(folder, { recursive: true, force: true }))

const TOPIC = 'rows'
/** What is held up answers after so long, where it is not silent. */
const SLOW_MS = 3_000
/** Longer than the end may take. */
const JOIN_MS = 55_000
/** A batch in hand has 10 seconds, Kafka's client 7; the rest is for busy machines. */
const END_MS = 40_000
/** A state is reached within that, or the test has failed: others wait for its place. */
const REACHED_MS = 120_000

interface Stage {
  broker: EmbeddedBroker
  holder: HttpStore
  store: SlowServer
  registry: SlowServer
  child: Child
}

interface State {
  /** Milliseconds that the end may take. Default: {@link END_MS}. */
  endMs?: number
  /** Milliseconds in which a group is joined. */
  joinMs?: number
  /** Default: the table of the topic. */
  tables?: Record<string, object>
  /** Makes it last. */
  prepare?: (stage: Omit<Stage, 'child'>) => void
  /** Resolves when the query is in it. */
  reached: (stage: Stage, tell: () => void) => Promise<void>
}

async function groupIsThere(broker: EmbeddedBroker): Promise<void> {
  const admin = new kafkajs.Kafka({ brokers: broker.brokers, logLevel: kafkajs.logLevel.NOTHING }).admin()
  await admin.connect()
  while ((await admin.listGroups()).groups.length === 0) await sleep(50)
  await admin.disconnect()
}

const atStore = (path: string): State => ({
  prepare: ({ store }) => store.delays.set(path, SLOW_MS),
  reached: ({ store }) => store.reached(path),
})

const STATES: Record<string, State> = {
  starting: atStore('/open'),
  joining: { joinMs: JOIN_MS, reached: ({ broker }) => groupIsThere(broker) },
  locating: atStore('/refresh'),
  'looking into a new topic': {
    tables: { '/(rows|new.*)/': { path: join(folder, '$1') } },
    prepare: ({ registry }) => registry.delays.set('/schemas/ids/8', SLOW_MS),
    reached: async ({ broker, registry, child }) => {
      await child.printed('source is running')
      for (let i = 0; i < 8; i++) {
        const topic = `new${i}`
        broker.createTopic(topic)
        broker.append(topic, 0, [{ key: null, value: Buffer.from([0, 0, 0, 0, 8, 2]) }])
      }
      await registry.reached('/schemas/ids/8')
    },
  },
  'taking a new topic': {
    joinMs: 6_000,
    // kafkajs itself waits for 30 seconds.
    endMs: 25_000,
    tables: { '/(rows|shop\\..*)/': { path: join(folder, '$1') } },
    reached: async ({ broker, child, store }) => {
      await child.printed('source is running')
      const before = store.asked('/open')
      broker.createTopic('shop.new')
      await store.reached('/open', before + 1)
      await sleep(1000)
    },
  },
  waiting: {
    reached: async ({ store, child }) => {
      await child.printed('source is running')
      await store.reached('/commit')
      await sleep(500)
    },
  },
  decoding: {
    prepare: ({ registry }) => registry.delays.set('/schemas/ids/7', SLOW_MS),
    reached: ({ registry }) => registry.reached('/schemas/ids/7'),
  },
  merging: atStore('/write'),
  committing: atStore('/commit'),
  compacting: atStore('/compact'),
  retrying: {
    prepare: ({ holder }) => {
      holder.failing = true
    },
    reached: ({ store }) => store.reached('/write', 3),
  },
  rewinding: {
    prepare: ({ holder, store }) => {
      holder.fence = { [`ends:${TOPIC}:0`]: '-1' }
      holder.onFence = () => store.delays.set('/refresh', SLOW_MS)
    },
    reached: async ({ store }) => {
      await store.reached('/commit')
      await store.reached('/refresh', store.asked('/refresh') + 2)
    },
  },
  stopping: {
    ...atStore('/write'),
    reached: async ({ store, child }, tell) => {
      await store.reached('/write')
      tell()
      await child.printed('finishing the batches in hand')
      await sleep(200)
    },
  },
}

type Mode = 'library' | 'command'

const EVENTS: Record<string, { mode: Mode; happen?: (stage: Stage) => void }> = {
  'stop()': { mode: 'library' },
  SIGTERM: { mode: 'command' },
  'Kafka silent': { mode: 'library', happen: ({ broker }) => broker.freeze() },
  'registry silent': {
    mode: 'library',
    happen: ({ registry }) => {
      registry.isSilent = true
    },
  },
  'store silent': {
    mode: 'library',
    happen: ({ store }) => {
      store.isSilent = true
    },
  },
}

const SIGNAL = { library: 'SIGUSR2', command: 'SIGTERM' } as const
const EXIT = { library: 0, command: 143 }

/** Confluent's format: the schema 7, `{id: 1}`. */
const RECORD = Buffer.from([0, 0, 0, 0, 7, 2])
const SCHEMA = { type: 'record', name: 'r', fields: [{ name: 'id', type: 'int' }] }

let numStages = 0

async function setStage(mode: Mode, { prepare, joinMs = 0, tables }: State): Promise<Stage> {
  const broker = await EmbeddedBroker.start({ initialRebalanceDelayMs: joinMs })
  broker.createTopic(TOPIC)
  broker.append(TOPIC, 0, [{ key: RECORD, value: RECORD }])
  const registry = await SlowServer.start((path) =>
    path === '/schemas/ids/7'
      ? { json: { schema: JSON.stringify(SCHEMA) } }
      : { status: 404, json: { error_code: 40403, message: 'no such schema' } },
  )
  const holder = new HttpStore()
  const store = await holder.start()
  prepare?.({ broker, holder, store, registry })
  const config = join(folder, `${++numStages}.yaml`)
  const options = {
    queryName: 'ends',
    kafka: { brokers: broker.brokers },
    schemaRegistry: { url: registry.url },
    tables: tables ?? { [TOPIC]: { path: join(folder, 'table') } },
    trigger: { processingTime: '10 ms' },
  }
  writeFileSync(config, JSON.stringify(options))
  return { broker, holder, store, registry, child: startChild('ends-child.ts', [mode, store.url, config]) }
}

/** What the child ended with; killed, and null, where it does not end. */
async function endOf(child: Child, endMs = END_MS): Promise<number | null> {
  const ended = await Promise.race([child.exit, sleep(endMs, null, { ref: false })])
  if (ended) return ended.code
  child.process.kill('SIGHUP')
  await sleep(500)
  child.process.kill('SIGKILL')
  await child.exit
  return null
}

/** So many children at a time. */
const free = [0, 1, 2, 3]
const waiting: (() => void)[] = []

async function inTurn(run: () => Promise<void>): Promise<void> {
  if (free.pop() === undefined) await new Promise<void>((resolve) => waiting.push(resolve))
  try {
    await run()
  } finally {
    const next = waiting.shift()
    if (next) next()
    else free.push(0)
  }
}

for (const [name, state] of Object.entries(STATES)) {
  for (const [event, { mode, happen }] of Object.entries(EVENTS)) {
    test(`${name}, ${event}: it ends in time, and nothing is left open`, async (t) => {
      t.timeout(600_000)
      await inTurn(async () => {
        const stage = await setStage(mode, state)
        const { child, broker, store, registry, holder } = stage
        const tell = () => child.process.kill(SIGNAL[mode])
        try {
          const notReached = () => new Error(`not reached: ${child.output()}`)
          await within(Promise.race([state.reached(stage, tell), child.exit]), REACHED_MS, notReached)
          happen?.(stage)
          await sleep(100)
          const began = Date.now()
          tell()
          t.is(await endOf(child, state.endMs), EXIT[mode], child.output())
          t.log(`${Date.now() - began} ms`)
          // What was being written is finished, where the store answers.
          if (name === 'merging' || name === 'committing') t.is(holder.version, event === 'store silent' ? -1 : 0)
        } finally {
          child.process.kill('SIGKILL')
          await broker.close()
          store.close()
          registry.close()
        }
      })
    })
  }
}

test.serial('run with a broker that never answers: an error and exit code 3 in ten seconds', async (t) => {
  const { port } = await startSilentServer(t)
  const holder = new HttpStore()
  const store = await holder.start()
  t.teardown(() => store.close())
  const config = join(folder, 'silent.yaml')
  const options = {
    queryName: 'ends',
    kafka: { brokers: [`127.0.0.1:${port}`] },
    schemaRegistry: { url: store.url },
    tables: { [TOPIC]: { path: join(folder, 'table') } },
  }
  writeFileSync(config, JSON.stringify(options))
  const child = startChild('ends-child.ts', ['command', store.url, config])
  await store.reached('/open')
  const began = Date.now()
  t.is(await endOf(child), 3, child.output())
  t.true(Date.now() - began < 10_000, `${Date.now() - began} ms`)
  t.regex(child.output(), /KAFKA_UNREACHABLE: cannot connect to Kafka: no answer in 7 seconds/)
})

test.serial('run, while the addon opens a table in a store that never answers: a signal ends it', async (t) => {
  const { port, connections } = await startSilentServer(t)
  // While Kafka is waited for, tables are opened.
  const others = await startSilentServer(t)
  const config = join(folder, 'silent-store.yaml')
  const storageOptions = {
    endpoint: `http://127.0.0.1:${port}`,
    allow_http: 'true',
    access_key_id: 'a',
    secret_access_key: 'b',
    region: 'us-east-1',
  }
  const options = {
    queryName: 'ends',
    kafka: { brokers: [`127.0.0.1:${others.port}`] },
    schemaRegistry: { url: 'http://127.0.0.1:1' },
    tables: { [TOPIC]: { path: 's3://bucket/table', storageOptions } },
  }
  writeFileSync(config, JSON.stringify(options))
  const child = startChild('../../../src/cli/main.ts', ['run', '-c', config])
  while (connections() === 0) await Promise.race([sleep(50), child.exit])
  const began = Date.now()
  child.process.kill('SIGTERM')
  t.is(await endOf(child), 143, child.output())
  t.true(Date.now() - began < 10_000, `${Date.now() - began} ms`)
})

test.serial('a merge into a store that takes no file: an abort ends it, and the process', async (t) => {
  let puts = 0
  const store = createServer((request, response) => {
    request.resume()
    if (request.method === 'PUT') {
      puts++
      return
    }
    const isList = request.url?.includes('list-type=2')
    response.writeHead(isList ? 200 : 404, { 'content-type': 'application/xml' })
    response.end(isList ? '<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>' : '<Error/>')
  })
  t.teardown(() => {
    store.closeAllConnections()
    store.close()
  })
  await new Promise<void>((resolve) => store.listen(0, '127.0.0.1', resolve))
  const { port } = store.address() as AddressInfo
  const child = startChild('aborted-merge.ts', [`http://127.0.0.1:${port}`])
  t.is(await endOf(child), 0, child.output())
  t.regex(child.output(), /through/)
  t.true(puts > 0)
})
