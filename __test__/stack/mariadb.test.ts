/** MariaDB → Debezium → Kafka → Delta tables, ordered by binary log file, position and row; flattened and as envelopes. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { type Connection, createConnection } from 'mysql2/promise'
import { connectorOf } from '../../scripts/stack/connectors.mjs'
import { ENDPOINTS, HOST, PORTS } from '../../scripts/stack/settings.mjs'
import { up } from '../../scripts/stack/stack.mjs'
import type { Output } from '../../src/cli/output.js'
import { verify } from '../../src/cli/verify.js'
import { oraclePython } from '../integration/support/oracle.js'
import { Replica, type SourceTable } from './support/replica.js'
import { SourceOracle, type SourceRow } from './support/source-oracle.js'

const id = `k2d_${process.pid}_${Date.now().toString(36)}`
const folder = mkdtempSync(join(tmpdir(), 'kafka2delta-stack-'))

const TABLES: SourceTable[] = [
  { name: `${id}.users`, keys: ['id'] },
  { name: `${id}.orders`, keys: ['id'] },
  { name: `${id}.types`, keys: ['id'] },
  { name: `${id}.marker`, keys: ['n'] },
]

const SCHEMA = [
  'CREATE TABLE users (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(100) NOT NULL, email VARCHAR(100) UNIQUE NOT NULL, created_at DATE NOT NULL)',
  'CREATE TABLE orders (id INT AUTO_INCREMENT PRIMARY KEY, order_date DATETIME(6) NULL, total_amount DECIMAL(10,2) NOT NULL, created_at DATE NOT NULL)',
  'CREATE TABLE types (id INT PRIMARY KEY, s SMALLINT, i INT, b BIGINT, d DECIMAL(20,4), f FLOAT, db DOUBLE, v VARCHAR(20), tx TEXT, e ENUM("a","b"), dt DATE, tm6 TIME(6), d6 DATETIME(6), d3 DATETIME(3), ts6 TIMESTAMP(6) NULL, bn VARBINARY(10))',
  'CREATE TABLE marker (n INT PRIMARY KEY)',
  "INSERT INTO users (name, email, created_at) SELECT CONCAT('Snap ', seq), CONCAT('snap', seq, '@example.com'), DATE '2024-01-01' + INTERVAL seq DAY FROM seq_1_to_50",
  "INSERT INTO orders (order_date, total_amount, created_at) VALUES ('2024-01-01 10:11:12.123456', 12.34, '2024-01-01'), (NULL, -0.01, '1969-12-31')",
  'INSERT INTO types (id) VALUES (1)',
  'INSERT INTO marker VALUES (0)',
]

let db: Connection
let oracle: SourceOracle
let replicas: Replica[]
let marker = 0

test.before(async (t) => {
  t.timeout(600_000)
  const python = oraclePython()
  if (python === null) throw new Error('needs Python: run it with `npm run test:stack`')
  await up(['kafka', 'registry', 'mariadb', 'connect'])
  oracle = new SourceOracle(python)
  db = await createConnection({
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
  await db.query(`CREATE DATABASE ${id} CHARACTER SET utf8mb4`)
  await db.query(`USE ${id}`)
  for (const statement of SCHEMA) await db.query(statement)
  replicas = ['flattened', 'envelope'].map((shape, i) => {
    const prefix = `${id}_${shape}`
    const variables = {
      MARIADB_DB: id,
      TOPIC_PREFIX: prefix,
      SERVER_ID: String(20_000 + i + (process.pid % 10_000)),
      TABLES: TABLES.map(({ name }) => name).join(','),
    }
    const connector = connectorOf(`mariadb-${shape}`, variables, { config: { 'poll.interval.ms': '50' } })
    return new Replica(prefix, connector, join(folder, shape), TABLES)
  })
  for (const replica of replicas) await replica.connect()
  for (const replica of replicas) await replica.start()
})

test.after.always(async () => {
  for (const replica of replicas ?? []) await replica.stop().catch(() => {})
  await oracle?.close()
  await db?.query(`DROP DATABASE ${id}`)
  await db?.end()
  rmSync(folder, { recursive: true, force: true })
})

async function equal(t: ExecutionContext, except: string[] = []): Promise<void> {
  marker++
  await db.query(`INSERT INTO marker VALUES (${marker})`)
  let rows = 0
  for (const replica of replicas) await replica.untilMarked(`${id}.marker`, marker)
  for (const { name } of TABLES) {
    const [source] = await db.query(`SELECT * FROM ${name}`)
    for (const replica of replicas) {
      if (replica === replicas[0] && except.includes(name)) continue
      const result = await replica.compare(oracle, name, source as SourceRow[], join(folder, 'rows.jsonl'))
      t.deepEqual(result.differences, [])
      rows += result.rows
    }
  }
  t.log(`${rows} rows compared`)
}

function step(title: string, statements: string[], except: string[] = []): void {
  test.serial(title, async (t) => {
    t.timeout(240_000)
    for (const statement of statements) await db.query(statement)
    await equal(t, except)
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

step('one statement of 20,000 rows', [
  "INSERT INTO orders (order_date, total_amount, created_at) SELECT '2024-05-05 05:05:05.999999', seq, '2024-05-05' FROM seq_1_to_20000",
  'UPDATE orders SET total_amount = total_amount + 0.01 WHERE id % 3 = 0',
])

test.serial('verify finds nothing', async (t) => {
  t.timeout(120_000)
  const { MARIADB_USER: user, MARIADB_PASSWORD: password } = ENDPOINTS
  for (const replica of replicas) {
    for (const { name } of TABLES) {
      let printed = ''
      const write = (text: string) => {
        printed += text
      }
      const output = { stdout: { write } } as unknown as Output
      const source = `mysql://${user}:${password}@${HOST}:${PORTS.mariadb}/${id}`
      const flags = { source, sourceTable: name, chunkRows: 3000, settle: '2 seconds' }
      t.is(await verify(replica.uri(name), flags, output), 0, printed)
      t.regex(printed, /: equal/)
      t.notRegex(printed, /not compared/)
    }
  }
})

step(
  'a truncate: envelopes carry it',
  ['TRUNCATE orders', "INSERT INTO orders (total_amount, created_at) VALUES (5, '2024-05-05')"],
  [`${id}.orders`],
)
