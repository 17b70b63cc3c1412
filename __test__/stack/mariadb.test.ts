/**
 * MariaDB → Debezium → Kafka → Delta tables, ordered by binary log file, position and row: flattened through topics of one
 * partition, and envelopes through topics of three. After each step every table is compared with the source's rows.
 */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'
import { type Connection, createConnection } from 'mysql2/promise'
import { connectorOf } from '../../scripts/stack/connectors.mjs'
import { stop } from '../../scripts/stack/processes.mjs'
import { ENDPOINTS, HOST, PORTS } from '../../scripts/stack/settings.mjs'
import { up } from '../../scripts/stack/stack.mjs'
import { Commands, tamper, told } from './support/commands.js'
import { Replica, type SourceTable } from './support/replica.js'
import { SourceComparison } from './support/source-comparison.js'
import { SourceOracle, type SourceRow } from './support/source-oracle.js'

const id = `k2d_${process.pid}_${Date.now().toString(36)}`
const folder = mkdtempSync(join(tmpdir(), 'kafka2delta-stack-'))

const byMonth = {
  additionalCols: ['YEAR(created_at) AS year', 'MONTH(created_at) AS month'],
  partitionCols: ['year', 'month'],
}

const TABLES: SourceTable[] = [
  { name: `${id}.users`, keys: ['id'] },
  { name: `${id}.orders`, keys: ['id'], options: byMonth },
  { name: `${id}.types`, keys: ['id'] },
  { name: `${id}.composite`, keys: ['a', 'b'] },
  { name: `${id}.copied`, keys: ['id'] },
  { name: `${id}.truncated`, keys: ['id'] },
  { name: `${id}.inc`, keys: ['id'] },
  { name: `${id}.marker`, keys: ['n'] },
]

const SCHEMA = [
  'CREATE TABLE users (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(100) NOT NULL, email VARCHAR(100) UNIQUE NOT NULL, created_at DATE NOT NULL)',
  'CREATE TABLE orders (id INT AUTO_INCREMENT PRIMARY KEY, order_date DATETIME(6) NULL, total_amount DECIMAL(10,2) NOT NULL, created_at DATE NOT NULL)',
  'CREATE TABLE types (id INT PRIMARY KEY, s SMALLINT, i INT, b BIGINT, d DECIMAL(20,4), f FLOAT, db DOUBLE, v VARCHAR(20), tx TEXT, e ENUM("a","b"), dt DATE, tm6 TIME(6), d6 DATETIME(6), d3 DATETIME(3), ts6 TIMESTAMP(6) NULL, bn VARBINARY(10))',
  'CREATE TABLE composite (a INT, b VARCHAR(20), c DECIMAL(6,3), PRIMARY KEY (a, b)) COLLATE utf8mb4_bin',
  'CREATE TABLE copied (id INT PRIMARY KEY, v TEXT, at DATETIME(6))',
  'CREATE TABLE truncated (id INT PRIMARY KEY, v TEXT)',
  'CREATE TABLE inc (id INT PRIMARY KEY, v TEXT)',
  'CREATE TABLE marker (n INT PRIMARY KEY)',
  'CREATE TABLE signals (id VARCHAR(42) PRIMARY KEY, type VARCHAR(32) NOT NULL, data VARCHAR(2048))',
  "INSERT INTO users (name, email, created_at) SELECT CONCAT('Snap ', seq), CONCAT('snap', seq, '@example.com'), DATE '2024-01-01' + INTERVAL seq DAY FROM seq_1_to_50",
  "INSERT INTO orders (order_date, total_amount, created_at) VALUES ('2024-01-01 10:11:12.123456', 12.34, '2024-01-01'), (NULL, -0.01, '1969-12-31')",
  'INSERT INTO types (id) VALUES (1)',
  "INSERT INTO composite VALUES (1, 'x', 2.5), (1, 'y', NULL)",
  "INSERT INTO copied VALUES (0, 'first', '2024-01-01')",
  "INSERT INTO truncated SELECT seq, CONCAT('row ', seq) FROM seq_1_to_20",
  "INSERT INTO inc SELECT seq, CONCAT('v', seq) FROM seq_1_to_25",
  'INSERT INTO marker VALUES (0)',
]

let db: Connection
let other: Connection
let oracle: SourceOracle
let replicas: Replica[]
let comparison: SourceComparison

const openConnection = () =>
  createConnection({
    host: HOST,
    port: PORTS.mariadb,
    user: ENDPOINTS.MARIADB_USER,
    password: ENDPOINTS.MARIADB_PASSWORD,
    timezone: 'Z',
    typeCast: (field) => {
      if (field.name !== 'bn') return field.string()
      const bytes = field.buffer()
      return bytes && `\\x${bytes.toString('hex')}`
    },
  })

test.before(async (t) => {
  t.timeout(600_000)
  oracle = SourceOracle.start()
  await up(['kafka', 'registry', 'mariadb', 'connect'])
  db = await openConnection()
  other = await openConnection()
  await db.query(`CREATE DATABASE ${id} CHARACTER SET utf8mb4`)
  for (const connection of [db, other]) await connection.query(`USE ${id}`)
  for (const statement of SCHEMA) await db.query(statement)
  replicas = ['flattened', 'envelope'].map((shape, i) => {
    const prefix = `${id}_${shape}`
    const variables = {
      MARIADB_DB: id,
      TOPIC_PREFIX: prefix,
      SERVER_ID: String(20_000 + i + (process.pid % 10_000)),
      TABLES: [...TABLES.map(({ name }) => name), `${id}.signals`].join(','),
    }
    const config = {
      'poll.interval.ms': '50',
      'signal.data.collection': `${id}.signals`,
      'topic.creation.default.partitions': shape === 'envelope' ? '3' : '1',
      // A truncate goes through one partition: in a topic of several it does not reach the snapshot's rows in the others.
      'topic.creation.groups': 'one',
      'topic.creation.one.include': '.*truncated',
      'topic.creation.one.partitions': '1',
      'topic.creation.one.replication.factor': '1',
    }
    const connector = connectorOf(`mariadb-${shape}`, variables, { config })
    return new Replica(prefix, connector, join(folder, shape), TABLES)
  })
  comparison = new SourceComparison({
    query: async (statement) => (await db.query(statement))[0] as SourceRow[],
    oracle,
    replicas,
    tables: TABLES.map(({ name }) => name),
    marker: `${id}.marker`,
    folder,
  })
  for (const replica of replicas) await replica.connect()
  for (const replica of replicas) await replica.start()
})

test.after.always(async () => {
  for (const replica of replicas ?? []) await replica.stop().catch(() => {})
  await oracle?.close()
  await db?.query(`DROP DATABASE ${id}`)
  await other?.end()
  await db?.end()
  rmSync(folder, { recursive: true, force: true })
})

/** A step: statements, or what else changes the source, then the comparison. */
function step(title: string, change: string[] | (() => Promise<unknown>), after?: (t: ExecutionContext) => unknown) {
  test.serial(title, async (t) => {
    t.timeout(240_000)
    if (Array.isArray(change)) for (const statement of change) await db.query(statement)
    else await change()
    await comparison.equal(t)
    await after?.(t)
  })
}

step('snapshot', [])

step('inserts, updates, deletes, of several rows', [
  "INSERT INTO users (name, email, created_at) SELECT CONCAT('New é 🎉 ', seq), CONCAT('new', seq, '@example.com'), DATE '2025-01-01' + INTERVAL seq DAY FROM seq_1_to_10",
  "UPDATE users SET name = CONCAT(name, ' v2') WHERE id <= 20",
  'DELETE FROM users WHERE id IN (2, 4)',
  "REPLACE INTO users (id, name, email, created_at) VALUES (1, 'replaced', 'snap1@example.com', '2024-01-01')",
  'UPDATE users SET id = 1000 WHERE id = 9',
])

step('a transaction of several rows', [
  'BEGIN',
  "INSERT INTO users (id, name, email, created_at) VALUES (500, 'tx', 'tx@example.com', '2024-01-01'), (501, 'tx2', 'tx2@example.com', '2024-01-01')",
  "UPDATE users SET name = 'tx step 2' WHERE id = 500",
  'DELETE FROM users WHERE id = 501',
  'COMMIT',
])

step('a column is added, and another binary log begins', [
  'ALTER TABLE users ADD COLUMN phone VARCHAR(20)',
  "INSERT INTO users (name, email, created_at, phone) VALUES ('Frank', 'frank@example.com', '2024-04-06', '123')",
  'FLUSH BINARY LOGS',
  "UPDATE users SET name = 'after rotation' WHERE id <= 5",
])

step('types', [
  "INSERT INTO types VALUES (2, -32768, 2147483647, -9223372036854775808, 1234567890123456.7891, 1.5, 2.718281828459045, 'text é 🎉', '', 'b', '2024-02-29', '-838:59:58.999999', '2024-02-29 13:14:15.123456', '1969-12-31 23:59:59.999', '2024-02-29 13:14:15.123456', x'00ff10')",
  'UPDATE types SET v = NULL, i = 7 WHERE id = 2',
])

step(
  'a column is dropped: it stays, and is null in new rows',
  [
    'ALTER TABLE users DROP COLUMN phone',
    "INSERT INTO users (name, email, created_at) VALUES ('Henry', 'henry@example.com', '2024-02-08')",
  ],
  (t) => comparison.phoneIsKept(t, `${id}.users`),
)

step(
  'partitioned by year and month',
  [
    "INSERT INTO orders (total_amount, created_at) SELECT seq, DATE '1969-11-15' + INTERVAL seq * 20 DAY FROM seq_1_to_30",
    'UPDATE orders SET created_at = created_at + INTERVAL 1 YEAR WHERE id % 5 = 0',
  ],
  (t) => comparison.areByMonth(t, `${id}.orders`),
)

step('transactions that overlap: the first to write is the last to commit', async () => {
  for (let i = 10; i < 20; i += 2) {
    await other.query('BEGIN')
    await other.query(`UPDATE users SET name = 'early, committed late' WHERE id = ${i}`)
    await db.query(`UPDATE users SET name = 'late, committed early' WHERE id = ${i + 1}`)
    await other.query(`UPDATE users SET name = 'early, committed late, step 2' WHERE id = ${i}`)
    await other.query('COMMIT')
    await db.query(`UPDATE users SET name = CONCAT(name, ', then once more') WHERE id = ${i}`)
  }
})

step('composite keys, and parts of them updated', [
  "INSERT INTO composite SELECT seq, CONCAT('k', seq % 3), seq FROM seq_2_to_30",
  "UPDATE composite SET b = CONCAT(b, ' moved') WHERE a < 5",
  'DELETE FROM composite WHERE a > 25',
  "UPDATE composite SET a = a + 100 WHERE b = 'k1'",
])

step('one statement of 20,000 rows, which share a position', [
  "INSERT INTO copied SELECT seq, CONCAT('row ', seq), '2024-05-05 05:05:05.999999' FROM seq_1_to_20000",
  "UPDATE copied SET v = CONCAT(v, ' again') WHERE id % 3 = 0",
])

const signal = (name: string, type: string, table: string) =>
  db.query('INSERT INTO signals VALUES (?, ?, ?)', [
    name,
    'execute-snapshot',
    JSON.stringify({ 'data-collections': [`${id}.${table}`], type }),
  ])

step('an incremental snapshot beside changes', async () => {
  await db.query("UPDATE inc SET v = 'before' WHERE id = 2")
  await signal('s1', 'incremental', 'inc')
  for (let i = 3; i < 9; i++) {
    await db.query(`UPDATE inc SET v = 'beside' WHERE id = ${i}`)
    await sleep(100)
  }
  await db.query('DELETE FROM inc WHERE id = 9')
  await sleep(3000)
})

const { MARIADB_USER: user, MARIADB_PASSWORD: password } = ENDPOINTS
const commands = new Commands(`mysql://${user}:${password}@${HOST}:${PORTS.mariadb}/${id}`, folder)

test.serial('verify finds nothing', async (t) => {
  t.timeout(120_000)
  for (const replica of replicas) {
    for (const { name } of TABLES) {
      const { code, result } = await commands.verified(replica, name)
      t.deepEqual(result.differences, [], name)
      t.deepEqual(result.notCompared, [], name)
      t.is(code, 0)
    }
  }
})

test.serial('verify finds a changed row, a removed one and an added one, and repairs them', async (t) => {
  t.timeout(120_000)
  for (const replica of replicas) {
    await tamper(replica, `${id}.copied`, 777, 5000, 20_001)
    const { code, result } = await commands.verified(replica, `${id}.copied`)
    t.is(code, 1)
    t.deepEqual(told(result), [
      ['different', '777', 'v', 'at'],
      ['extra', '20001'],
      ['missing', '5000'],
    ])
    const repaired = await commands.verified(replica, `${id}.copied`, true)
    t.like(repaired.result.repaired, { upserted: 2, deleted: 1 })
  }
  await comparison.equal(t)
})

test.serial('a truncate: envelopes carry it, flattened topics cannot', async (t) => {
  t.timeout(120_000)
  await db.query('TRUNCATE truncated')
  await db.query("INSERT INTO truncated VALUES (2, 'after'), (70, 'after')")
  comparison.lost.add(`${id}.truncated`)
  await comparison.equal(t)
  const [flattened] = replicas as [Replica]
  const verdict = await commands.verified(flattened, `${id}.truncated`)
  t.is(verdict.result.differences.filter(({ kind }) => kind === 'extra').length, 19)
  // A new snapshot, by a signal, shows what there is.
  await signal('s2', 'blocking', 'truncated')
  await sleep(2000)
  await comparison.untilThrough()
  const removed = await commands.resynced(flattened, `${id}.truncated`)
  t.like(removed, { upserted: 0, deleted: 19, rows: 2 })
  comparison.lost.clear()
  await comparison.equal(t)
})

step('Connect is killed: changes are sent again', async () => {
  for (let i = 21; i < 26; i++) await db.query(`UPDATE users SET name = CONCAT('kill ', id) WHERE id = ${i}`)
  await sleep(500)
  await stop('connect', 'SIGKILL')
  await db.query("UPDATE users SET name = 'while it was down' WHERE id IN (21, 30)")
  await db.query('DELETE FROM users WHERE id = 22')
  await up(['connect'])
})

test.serial('all rows compared', (t) => {
  t.true(comparison.rows > 100_000)
  t.log(`${comparison.rows} rows compared`)
})
