/**
 * Captures the fixture sets of Debezium 3: `node scripts/capture/debezium-3.mjs SET...`, with the stack's kafka, registry,
 * postgres (with PostGIS) and connect running. Sets of vectors need a PostgreSQL with pgvector: VECTOR_POSTGRES is its URL.
 */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import { ROOT } from '../lib/paths.mjs'
import { main, Problem } from '../lib/process.mjs'
import { connectorOf, connectorStatus, deleteConnector, putConnector } from '../stack/connectors.mjs'
import { ENDPOINTS, HOST, PORTS } from '../stack/settings.mjs'
import { capture, untilQuiet, writeSource } from './topics.mjs'

const { POSTGRES_USER: user, POSTGRES_PASSWORD: password } = ENDPOINTS
const STACK = `postgres://${user}:${password}@${HOST}:${PORTS.postgres}`
const VECTORS = process.env.VECTOR_POSTGRES ?? STACK

const TABLES = ['times', 'by_time', 'far', 'far_nanos', 'arrays', 'moved', 'places', 'others']
const without = (name) => TABLES.filter((table) => table !== name)
const of = (mode) => ({ 'time.precision.mode': mode })
const PARTITIONS = { 'topic.creation.default.partitions': '3' }

const SETS = {
  'debezium-3': { prefix: 'd3', shape: 'flattened', config: {} },
  'debezium-3-connect': { prefix: 'd3con', shape: 'flattened', config: of('connect') },
  'debezium-3-isostring': { prefix: 'd3iso', shape: 'flattened', config: of('isostring') },
  'debezium-3-nanoseconds': {
    prefix: 'd3nano',
    shape: 'envelope',
    config: { ...of('nanoseconds'), ...PARTITIONS, 'hstore.handling.mode': 'map' },
    // What is beyond nanoseconds ends the connector.
    tables: without('far'),
  },
  'debezium-3-structured': {
    prefix: 'd3str',
    shape: 'envelope',
    config: { ...of('structured'), ...PARTITIONS },
    tables: TABLES,
  },
  'debezium-3-vectors': {
    prefix: 'd3vec',
    shape: 'envelope',
    config: {},
    server: VECTORS,
    script: 'vectors.sql',
    tables: ['vectors'],
  },
}

/** Columns of which no value is lost on the way, whatever the mode. Flattened topics carry no truncate. */
const SOURCE = {
  flattened: { moved: ['id', 'n', 'big', 'bin', 'j', 'ta'] },
  envelope: { moved: ['id', 'n', 'big', 'bin', 'j', 'ta'], far_nanos: ['id', 'what'] },
}

/** Values as the text that the database writes. */
const texts = { getTypeParser: () => (value) => value }

async function opened(url, database) {
  const client = new pg.Client({ connectionString: `${url}/${database}`, types: texts })
  await client.connect()
  await client.query("SET TimeZone = 'UTC'")
  return client
}

function statements(script) {
  const text = readFileSync(fileURLToPath(new URL(script, import.meta.url)), 'utf8')
  return text
    .split('-- after the snapshot\n')
    .map((part) => part.split(/;\n(?! {2}LOOP)/).filter((sql) => sql.trim() !== ''))
}

/** A database of its own for one script, and the sets that are captured from it side by side. */
async function captureFrom(script, server, sets) {
  const database = `capture_${Date.now()}`
  const admin = await opened(server, 'postgres')
  await admin.query(`CREATE DATABASE ${database}`)
  const db = await opened(server, database)
  const [before, after] = statements(script)
  for (const sql of before) await db.query(sql)
  const { hostname, port } = new URL(server)
  for (const { prefix, shape, config, tables = TABLES } of sets) {
    const names = tables.map((table) => `public.${table}`).join(',')
    // Connect remembers positions by the connector's name.
    const slot = `${database}_${prefix}`
    const variables = { POSTGRES_HOST: hostname, POSTGRES_PORT: port, POSTGRES_DB: database }
    const connector = connectorOf(
      `postgres-${shape}`,
      { ...variables, TOPIC_PREFIX: prefix, SLOT_NAME: slot, TABLES: names },
      { name: slot, config: { 'poll.interval.ms': '50', ...config } },
    )
    await putConnector(connector)
    const active = 'SELECT FROM pg_replication_slots WHERE slot_name = $1 AND active'
    const until = Date.now() + 60_000
    while ((await db.query(active, [slot])).rowCount === 0) {
      if (Date.now() > until) throw new Problem(`${prefix}: ${JSON.stringify(await connectorStatus(slot))}`)
      await sleep(300)
    }
  }
  const all = new RegExp(`^(${sets.map(({ prefix }) => prefix).join('|')})\\.`)
  await untilQuiet(all)
  for (const sql of after) await db.query(sql).catch((error) => console.log(`${error.message}: ${sql.slice(0, 200)}`))
  await untilQuiet(all)
  for (const { name, prefix, shape, tables = TABLES } of sets) {
    const connector = `${database}_${prefix}`
    const [task] = (await connectorStatus(connector)).tasks
    console.log(`${name}: ${task.state} ${task.trace?.slice(0, 1500) ?? ''}`)
    await deleteConnector(connector)
    const folder = join(ROOT, '__test__', 'fixtures', name)
    await capture(new RegExp(`^${prefix}\\.`), folder)
    for (const [table, columns] of Object.entries(SOURCE[shape])) {
      if (!tables.includes(table)) continue
      const { rows } = await db.query(`SELECT * FROM ${table} ORDER BY 1`)
      writeSource(folder, table, columns, rows)
    }
  }
  await db.end()
  await sleep(2000)
  await admin.query(`DROP DATABASE ${database} WITH (FORCE)`).catch((error) => console.log(error.message))
  await admin.end()
}

await main(async () => {
  const groups = new Map()
  for (const name of process.argv.slice(2)) {
    const set = SETS[name]
    if (!set) throw new Problem(`there is no set ${name}: ${Object.keys(SETS).join(', ')}`)
    const { script = 'debezium-3.sql', server = STACK } = set
    const key = `${script} ${server}`
    groups.set(key, [...(groups.get(key) ?? []), { name, script, server, ...set }])
  }
  for (const sets of groups.values()) await captureFrom(sets[0].script, sets[0].server, sets)
})
