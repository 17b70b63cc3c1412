/**
 * Random tables under random transactions of several sessions, changed in their columns, while the systems between them
 * and the Delta tables are killed: PostgreSQL → Debezium → Kafka → Delta. After each round every table is compared with
 * the source's rows. `SEED` gives the same tables and statements again, not the same interleaving; `ROUNDS` makes more.
 */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'
import type pg from 'pg'
import { connectorOf, restartConnector } from '../../scripts/stack/connectors.mjs'
import { stop } from '../../scripts/stack/processes.mjs'
import { ENDPOINTS } from '../../scripts/stack/settings.mjs'
import { type Part, up } from '../../scripts/stack/stack.mjs'
import { generator, type Random, ROUNDS, SEED } from '../helpers/random.js'
import { createDatabase, dropDatabase, openDatabase } from './support/postgres.js'
import { RandomTable } from './support/random-tables.js'
import { alter, createRandomTable, randomOptions, transaction } from './support/random-transactions.js'
import { Replica, type SourceTable } from './support/replica.js'
import { SourceComparison } from './support/source-comparison.js'
import { SourceOracle } from './support/source-oracle.js'
import { StreamProcess } from './support/stream-process.js'

const random = generator(SEED)
const id = `k2d_${process.pid}_${Date.now().toString(36)}`
const folder = mkdtempSync(join(tmpdir(), 'kafka2delta-stack-'))
const SESSIONS = 3
const TABLES = 5
const tables = Array.from({ length: TABLES }, (_, i) => new RandomTable(`t${i}`, random))

let sessions: pg.Client[]
let oracle: SourceOracle
let replicas: Replica[]
let comparison: SourceComparison

const sources = (): SourceTable[] => [
  ...tables.map((table) => ({
    name: `public.${table.name}`,
    keys: table.keys.map(({ name }) => name),
    options: randomOptions(table, random),
  })),
  { name: 'public.marker', keys: ['n'] },
]

test.before(async (t) => {
  t.timeout(600_000)
  oracle = SourceOracle.start()
  await up(['kafka', 'registry', 'postgres', 's3', 'connect'])
  await createDatabase(id)
  sessions = await Promise.all(Array.from({ length: SESSIONS }, () => openDatabase(id)))
  const [db] = sessions as [pg.Client]
  await db.query('CREATE TABLE marker (n int PRIMARY KEY); INSERT INTO marker VALUES (0)')
  for (const table of tables) await createRandomTable(db, table, 20)
  const connector = (shape: string, partitions: number, config: Record<string, string> = {}) =>
    connectorOf(
      `postgres-${shape}`,
      {
        POSTGRES_DB: id,
        TOPIC_PREFIX: `${id}_${shape}`,
        SLOT_NAME: `${id}_${shape}`,
        TABLES: sources()
          .map(({ name }) => name)
          .join(','),
      },
      { config: { 'topic.creation.default.partitions': String(partitions), 'poll.interval.ms': '50', ...config } },
    )
  replicas = [
    new Replica(`${id}_flattened`, connector('flattened', 1), join(folder, 'lake'), sources(), StreamProcess.start),
    new Replica(
      `${id}_envelope`,
      // Topics of the connector's own, which the pattern has to pass over.
      connector('envelope', 3, { 'provide.transaction.metadata': 'true', 'heartbeat.interval.ms': '500' }),
      `s3://${ENDPOINTS.S3_BUCKET}/${id}`,
      sources(),
      StreamProcess.start,
      true,
    ),
  ]
  comparison = new SourceComparison({
    query: async (statement) => (await db.query(statement)).rows,
    oracle,
    replicas,
    tables: tables.map(({ name }) => `public.${name}`),
    marker: 'public.marker',
    folder,
    note: `SEED=${SEED}`,
  })
  for (const replica of replicas) await replica.connect()
  for (const replica of replicas) await replica.start()
})

test.after.always(async () => {
  await up(['kafka', 'registry', 's3', 'connect']).catch(() => {})
  for (const replica of replicas ?? []) await replica.stop().catch(() => {})
  await oracle?.close()
  for (const session of sessions ?? []) await session.end()
  await dropDatabase(id)
  rmSync(folder, { recursive: true, force: true })
})

/** What happens beside the transactions. */
const EVENTS: Record<string, () => Promise<unknown>> = {
  nothing: async () => {},
  'the streams restart': () => Promise.all(replicas.map((replica) => replica.restart())),
  'the streams are killed, and killed again': async () => {
    for (let i = 0; i < 4; i++) {
      await sleep(random.below(1000))
      await Promise.all(replicas.map((replica) => replica.restart('kill')))
    }
  },
  'Connect is killed': () => killed('connect'),
  'Kafka is killed': () => killed('kafka'),
  'the registry is killed': async () => {
    await killed('registry')
    // A schema that could not be registered ends Connect's task.
    for (const { prefix } of replicas) await restartConnector(prefix)
  },
  'the S3 server is killed': () => killed('s3'),
}

async function killed(part: Part): Promise<void> {
  await stop(part, 'SIGKILL')
  await sleep(random.below(2000))
  await up([part])
}

test.serial(`snapshot (SEED=${SEED})`, async (t) => {
  t.timeout(240_000)
  await comparison.equal(t)
})

const events = [
  ...Object.keys(EVENTS),
  ...Array.from({ length: (ROUNDS - 1) * 6 }, () => random.pick(Object.keys(EVENTS))),
]

events.forEach((event, round) => {
  test.serial(`round ${round + 1}: ${event} (SEED=${SEED})`, async (t) => {
    t.timeout(300_000)
    const chances = sessions.map((_, i) => generator(SEED + 1000 * (round + 1) + i))
    const changes = sessions.map(async (session, i) => {
      for (let n = 0; n < 25; n++) await transaction(session, chances[i] as Random, tables)
      if (i === 0) t.log(await alter(session, random.pick(tables)))
      for (let n = 0; n < 25; n++) await transaction(session, chances[i] as Random, tables)
    })
    await Promise.all([...changes, EVENTS[event]?.()])
    await comparison.equal(t)
  })
})
