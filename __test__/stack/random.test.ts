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
import type { TableOptions } from '../../src/index.js'
import { generator, type Random, ROUNDS, SEED } from '../helpers/random.js'
import { createDatabase, dropDatabase, openDatabase } from './support/postgres.js'
import { RandomTable } from './support/random-tables.js'
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

/** What other transactions make of a statement; all else is a fault of the test. */
const EXPECTED = new Set(['40P01', '40001', '42703', '55P03'])

let sessions: pg.Client[]
let oracle: SourceOracle
let replicas: Replica[]
let comparison: SourceComparison

/** Ways to keep a table that make no difference to its rows. */
function randomOptions(table: RandomTable): Partial<TableOptions> {
  const partition = table.columns.find(({ type }) => /^(boolean|date|smallint|numeric\(12,3\))$/.test(type))
  return {
    ...(random.next() < 0.25 ? { mergeMode: 'copy-on-write' as const } : {}),
    ...(random.next() < 0.2 ? { keyIndex: 'none' as const } : {}),
    ...(partition && random.next() < 0.5 ? { partitionCols: [partition.name] } : {}),
  }
}

const sources = (): SourceTable[] => [
  ...tables.map((table) => ({
    name: `public.${table.name}`,
    keys: table.keys.map(({ name }) => name),
    options: randomOptions(table),
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
  for (const table of tables) {
    for (const statement of table.create) await db.query(statement)
    for (let i = 0; i < 20; i++) await db.query(table.change())
    // A topic is made by its first row.
    const keys = table.keys.map(({ name }) => name)
    const first = table.keys.map((key) => key.value())
    await db.query(`INSERT INTO ${table.name} (${keys}) VALUES (${first}) ON CONFLICT DO NOTHING`)
  }
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

/** One transaction: several statements on several tables, parts of it taken back, or all of it. */
async function transaction(session: pg.Client, chance: Random): Promise<void> {
  await session.query('BEGIN')
  try {
    const count = 1 + chance.below(6)
    for (let i = 0; i < count; i++) {
      const back = chance.next() < 0.1
      if (back) await session.query('SAVEPOINT s')
      await session.query(chance.pick(tables).change())
      if (back) await session.query('ROLLBACK TO s')
      if (chance.next() < 0.2) await sleep(chance.below(30))
    }
    await session.query(chance.next() < 0.1 ? 'ROLLBACK' : 'COMMIT')
  } catch (error) {
    await session.query('ROLLBACK')
    if (!EXPECTED.has((error as { code?: string }).code ?? '')) throw error
  }
}

async function alter(session: pg.Client): Promise<string> {
  const statements = random.pick(tables).alter()
  for (const statement of statements) {
    for (let tries = 1; ; tries++) {
      try {
        await session.query(statement)
        break
      } catch (error) {
        if (!EXPECTED.has((error as { code?: string }).code ?? '') || tries === 10) throw error
      }
    }
  }
  return statements[0] as string
}

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
      for (let n = 0; n < 25; n++) await transaction(session, chances[i] as Random)
      if (i === 0) t.log(await alter(session))
      for (let n = 0; n < 25; n++) await transaction(session, chances[i] as Random)
    })
    await Promise.all([...changes, EVENTS[event]?.()])
    await comparison.equal(t)
  })
})
