/**
 * Captures MariaDB's fixture sets of Debezium 3: `node scripts/capture/debezium-3-mariadb.mjs SET...`, with the stack's kafka,
 * registry, mariadb and connect running. MARIADB_PORT is another server's.
 */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { createConnection } from 'mysql2/promise'
import { ROOT } from '../lib/paths.mjs'
import { main, Problem } from '../lib/process.mjs'
import { connectorOf, connectorStatus, deleteConnector, putConnector } from '../stack/connectors.mjs'
import { ENDPOINTS, HOST, PORTS } from '../stack/settings.mjs'
import { capture, untilQuiet, writeSource } from './topics.mjs'

const port = Number(process.env.MARIADB_PORT ?? PORTS.mariadb)
const TABLES = ['users', 'counted', 'truncated', 'by_time', 'types']
const PARTITIONS = { 'topic.creation.default.partitions': '3' }
const MYSQL = { 'connector.class': 'io.debezium.connector.mysql.MySqlConnector', 'database.ssl.mode': 'disabled' }

/** Of which nothing is lost on the way. Flattened topics carry no truncate. */
const SOURCE = { flattened: ['users', 'counted'], envelope: ['users', 'counted', 'truncated'] }

const SETS = {
  'debezium-3-mariadb': { prefix: 'd3my', shape: 'flattened', config: {} },
  'debezium-3-mariadb-envelope': {
    prefix: 'd3myenv',
    shape: 'envelope',
    // Not isostring: the connector ends at the first TIME that it streams.
    config: { 'time.precision.mode': 'nanoseconds', 'bigint.unsigned.handling.mode': 'precise', ...PARTITIONS },
  },
  // From MariaDB 11.4, where the position stands still within a transaction.
  'debezium-3-mariadb-11': { prefix: 'd3my11', shape: 'envelope', config: PARTITIONS },
  // Connect with DEBEZIUM_MYSQL_VERSION=3.6.1.Final, and a MariaDB 11.4 that calls itself MySQL (--version=8.0.36).
  'debezium-3-mysql': { prefix: 'd3mysql', shape: 'envelope', config: { ...PARTITIONS, ...MYSQL } },
}

await main(async () => {
  const sets = process.argv.slice(2).map((name) => ({ name, ...SETS[name] }))
  if (sets.some(({ prefix }) => !prefix)) throw new Problem(`sets: ${Object.keys(SETS).join(', ')}`)
  const database = `capture_${Date.now()}`
  const { MARIADB_USER: user, MARIADB_PASSWORD: password } = ENDPOINTS
  const db = await createConnection({
    host: HOST,
    port,
    user,
    password,
    timezone: 'Z',
    charset: 'utf8mb4',
    typeCast: (field) => field.string(),
  })
  await db.query(`CREATE DATABASE ${database} CHARACTER SET utf8mb4`)
  await db.query(`USE ${database}`)
  const script = readFileSync(fileURLToPath(new URL('mariadb.sql', import.meta.url)), 'utf8')
  // MySQL has no such type.
  const text = sets.some(({ prefix }) => prefix === 'd3mysql') ? script.replace('u UUID', 'u CHAR(36)') : script
  const [before, after] = text
    .split('-- after the snapshot\n')
    .map((part) => part.split(/;\n/).filter((sql) => sql.trim()))
  for (const sql of before) await db.query(sql)
  for (const [i, { prefix, shape, config }] of sets.entries()) {
    const variables = {
      MARIADB_PORT: String(port),
      MARIADB_DB: database,
      TOPIC_PREFIX: prefix,
      SERVER_ID: String(30_000 + i),
      TABLES: TABLES.map((table) => `${database}.${table}`).join(','),
    }
    const name = `${database}_${prefix}`
    const own = { 'schema.history.internal.kafka.topic': `_schema_history_${name}`, 'poll.interval.ms': '50' }
    // The same topics whatever the database of this run is called.
    const route = {
      'transforms.unwrapped.type': 'org.apache.kafka.connect.transforms.RegexRouter',
      'transforms.unwrapped.regex': `${prefix}\\.${database}\\.(.*)`,
      'transforms.unwrapped.replacement': `${prefix}.shop.$1`,
    }
    const connector = connectorOf(`mariadb-${shape}`, variables, { name, config: { ...own, ...config, ...route } })
    connector.config.transforms = connector.config.transforms ? `${connector.config.transforms},unwrapped` : 'unwrapped'
    await putConnector(connector)
  }
  const all = new RegExp(`^(${sets.map(({ prefix }) => prefix).join('|')})\\.`)
  await sleep(6000)
  await untilQuiet(all)
  for (const sql of after) await db.query(sql).catch((error) => console.log(`${error.message}: ${sql.slice(0, 200)}`))
  await sleep(2000)
  await untilQuiet(all)
  for (const { name, prefix, shape } of sets) {
    const [task] = (await connectorStatus(`${database}_${prefix}`)).tasks
    console.log(`${name}: ${task.state} ${task.trace?.slice(0, 3000) ?? ''}`)
    await deleteConnector(`${database}_${prefix}`)
    const folder = join(ROOT, '__test__', 'fixtures', name)
    await capture(new RegExp(`^${prefix}\\.`), folder)
    for (const table of SOURCE[shape]) {
      const [rows, fields] = await db.query(`SELECT * FROM ${table} ORDER BY 1`)
      const columns = fields.map((field) => field.name)
      writeSource(folder, table, columns, rows)
    }
  }
  await db.query(`DROP DATABASE ${database}`)
  await db.end()
})
