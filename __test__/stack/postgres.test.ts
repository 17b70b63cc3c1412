/**
 * PostgreSQL → Debezium → Kafka → Delta tables, all of them real. Two connectors read the same tables: one flattens
 * changes into topics of one partition and its tables lie in a folder, the other sends envelopes through topics of three
 * partitions and its tables lie on S3, where a second process commits to them, too. After each step every table is compared with the source's rows.
 */

import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import test, { type ExecutionContext } from 'ava'
import type pg from 'pg'
import { connectorOf } from '../../scripts/stack/connectors.mjs'
import { stop } from '../../scripts/stack/processes.mjs'
import { ENDPOINTS } from '../../scripts/stack/settings.mjs'
import { up } from '../../scripts/stack/stack.mjs'
import { DeltaTable } from '../../src/index.js'
import { Commands, remove, tamper, told } from './support/commands.js'
import { createDatabase, dropDatabase, openDatabase, postgresUrl } from './support/postgres.js'
import { Replica, S3_OPTIONS, type SourceTable } from './support/replica.js'
import { SourceComparison } from './support/source-comparison.js'
import { SourceOracle, type SourceRow } from './support/source-oracle.js'

const id = `k2d_${process.pid}_${Date.now().toString(36)}`
const folder = mkdtempSync(join(tmpdir(), 'kafka2delta-stack-'))

const byMonth = {
  additionalCols: ['YEAR(created_at) AS year', 'MONTH(created_at) AS month'],
  partitionCols: ['year', 'month'],
}

const TABLES: SourceTable[] = [
  { name: 'public.users', keys: ['id'] },
  { name: 'public.orders', keys: ['id'], options: byMonth },
  { name: 'public.products', keys: ['id'] },
  { name: 'public.all_types', keys: ['id'] },
  { name: 'public.composite', keys: ['a', 'b'] },
  { name: 'public.toasted', keys: ['id'] },
  { name: 'public.ring', keys: ['id'] },
  { name: 'public.open_tx', keys: ['id'] },
  { name: 'public.copied', keys: ['id'] },
  { name: 'public.truncated', keys: ['id'] },
  { name: 'public.inc', keys: ['id'] },
  { name: 'public.marker', keys: ['n'] },
]

const SCHEMA = `
CREATE TABLE users (id SERIAL PRIMARY KEY, name VARCHAR(100) NOT NULL, email VARCHAR(100) UNIQUE NOT NULL, created_at DATE NOT NULL);
CREATE TABLE orders (id SERIAL PRIMARY KEY, order_date TIMESTAMP DEFAULT CURRENT_TIMESTAMP, total_amount DECIMAL(10,2) NOT NULL, created_at DATE NOT NULL);
CREATE TABLE products (id SERIAL PRIMARY KEY, name VARCHAR(100) NOT NULL, price DECIMAL(10,2) NOT NULL, created_at DATE NOT NULL);
ALTER TABLE users REPLICA IDENTITY FULL; ALTER TABLE orders REPLICA IDENTITY FULL; ALTER TABLE products REPLICA IDENTITY FULL;
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE TABLE all_types (id int PRIMARY KEY, c_smallint smallint, c_int int, c_bigint bigint, c_num numeric(10,2),
  c_num38 numeric(38,10), c_real real, c_double double precision, c_bool boolean, c_text text, c_varchar varchar(20),
  c_char char(5), c_bytea bytea, c_uuid uuid, c_json json, c_jsonb jsonb, c_date date, c_time time,
  c_ts timestamp, c_ts3 timestamp(3), c_tz timestamptz, c_ints int[], c_texts text[], c_enum mood);
CREATE TABLE composite (a int, b text, c numeric(6,3), PRIMARY KEY (a, b));
CREATE TABLE toasted (id int PRIMARY KEY, n int, big text, bin bytea, arr text[]);
ALTER TABLE toasted ALTER big SET STORAGE EXTERNAL, ALTER bin SET STORAGE EXTERNAL, ALTER arr SET STORAGE EXTERNAL;
CREATE TABLE ring (id int PRIMARY KEY, n int, big text);
ALTER TABLE ring ALTER big SET STORAGE EXTERNAL;
CREATE TABLE open_tx (id int PRIMARY KEY, v text);
CREATE TABLE copied (id int PRIMARY KEY, v text, at timestamptz);
CREATE TABLE truncated (id int PRIMARY KEY, v text);
CREATE TABLE inc (id int PRIMARY KEY, v text);
CREATE TABLE marker (n int PRIMARY KEY);
CREATE TABLE signals (id varchar(42) PRIMARY KEY, type varchar(32) NOT NULL, data varchar(2048));
INSERT INTO users (name, email, created_at) SELECT 'Snap ' || i, 'snap' || i || '@example.com', date '2024-01-01' + i FROM generate_series(1, 50) i;
INSERT INTO orders (order_date, total_amount, created_at) SELECT timestamp '2024-01-01 10:11:12.123456' + i * interval '1 day', i * 1.01 - 5, date '2023-12-01' + i FROM generate_series(1, 40) i;
INSERT INTO products (name, price, created_at) VALUES ('Snap product', 99999999.99, '2024-01-01');
INSERT INTO all_types (id, c_int, c_text) VALUES (1, 1, 'snapshot');
INSERT INTO composite VALUES (1, 'x', 2.5), (1, 'y', NULL);
INSERT INTO toasted SELECT i, i, repeat('a' || i, 3000), decode(repeat('63', 3000), 'hex'), array_fill('zz'::text, ARRAY[3000]) FROM generate_series(1, 4) i;
INSERT INTO ring SELECT i, i, repeat('r' || i, 3000) FROM generate_series(1, 4) i;
INSERT INTO open_tx VALUES (1, 'old'), (2, 'old'), (3, 'gone');
INSERT INTO copied VALUES (0, 'first', '2024-01-01');
INSERT INTO truncated SELECT i, 'row ' || i FROM generate_series(1, 20) i;
INSERT INTO inc SELECT i, 'v' || i FROM generate_series(1, 25) i;
INSERT INTO marker VALUES (0);
`

let db: pg.Client
let other: pg.Client
let oracle: SourceOracle
let replicas: Replica[]
let otherWriter: ChildProcess
let otherWriterSays: Promise<string>
let comparison: SourceComparison

test.before(async (t) => {
  t.timeout(600_000)
  oracle = SourceOracle.start()
  await up(['kafka', 'registry', 'postgres', 's3', 'connect'])
  await createDatabase(id)
  db = await openDatabase(id)
  other = await openDatabase(id)
  await db.query(SCHEMA)
  const connector = (shape: string, prefix: string, config: Record<string, string>) =>
    connectorOf(
      `postgres-${shape}`,
      {
        POSTGRES_DB: id,
        TOPIC_PREFIX: prefix,
        SLOT_NAME: prefix,
        TABLES: [...TABLES.map(({ name }) => name), 'public.signals'].join(','),
      },
      { config: { 'signal.data.collection': 'public.signals', 'poll.interval.ms': '50', ...config } },
    )
  const [flat, envelope] = [`${id}_flat`, `${id}_env`]
  replicas = [
    new Replica(flat, connector('flattened', flat, {}), join(folder, 'lake'), TABLES),
    new Replica(
      envelope,
      connector('envelope', envelope, {
        'topic.creation.default.partitions': '3',
        // A truncate goes through one partition: in a topic of several it does not reach the snapshot's rows in the others.
        'topic.creation.groups': 'one',
        'topic.creation.one.include': '.*truncated',
        'topic.creation.one.partitions': '1',
        'topic.creation.one.replication.factor': '1',
      }),
      `s3://${ENDPOINTS.S3_BUCKET}/${id}`,
      TABLES,
    ),
  ]
  comparison = new SourceComparison({
    query: async (statement) => (await db.query(statement)).rows,
    oracle,
    replicas,
    tables: TABLES.map(({ name }) => name),
    marker: 'public.marker',
    folder,
  })
  // The flattening connector finds its slot; a transaction that began after it is open across the snapshot.
  await db.query(`CREATE PUBLICATION ${flat} FOR TABLE ${TABLES.map(({ name }) => name).join(', ')}, public.signals`)
  await db.query(`SELECT pg_create_logical_replication_slot('${flat}', 'pgoutput')`)
  await other.query('BEGIN')
  await other.query("UPDATE open_tx SET v = 'new' WHERE id = 1")
  await other.query('DELETE FROM open_tx WHERE id = 3')
  await other.query("INSERT INTO open_tx VALUES (4, 'unseen by the snapshot')")
  // So that the snapshot's LSN is above the open transaction's.
  await db.query('CREATE TABLE filler AS SELECT generate_series(1, 1000)')
  await replicas[0]?.connect()
  await replicas[0]?.start()
  await other.query('COMMIT')
  await replicas[1]?.connect()
  await replicas[1]?.start()
  const script = fileURLToPath(new URL('other-writer.mjs', import.meta.url))
  const uris = TABLES.map(({ name }) => (replicas[1] as Replica).uri(name))
  otherWriter = spawn(process.execPath, ['--import=tsx', script, JSON.stringify(S3_OPTIONS), 'other-writer', ...uris], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  otherWriterSays = text(otherWriter.stdout as NonNullable<ChildProcess['stdout']>)
})

test.after.always(async () => {
  otherWriter?.kill('SIGKILL')
  for (const replica of replicas ?? []) await replica.stop().catch(() => {})
  await oracle?.close()
  await other?.end()
  await db?.end()
  await dropDatabase(id)
  rmSync(folder, { recursive: true, force: true })
})

/** A step: changes, then the comparison. */
function step(title: string, change: (t: ExecutionContext) => Promise<unknown>, after?: typeof change): void {
  test.serial(title, async (t) => {
    t.timeout(240_000)
    await change(t)
    await comparison.equal(t)
    await after?.(t)
  })
}

const sql =
  (...statements: string[]) =>
  async () => {
    for (const statement of statements) await db.query(statement)
  }

step('snapshot, with a transaction that was open across it', sql())

step(
  'ten inserts',
  sql(
    "INSERT INTO users (name, email, created_at) SELECT 'New ' || i || ' é 🎉', 'new' || i || '@example.com', date '2025-01-01' + i FROM generate_series(1, 10) i",
  ),
)

step(
  'updates of a few rows',
  sql(
    "UPDATE users SET name = name || ' v2' WHERE id <= 3",
    'UPDATE orders SET total_amount = total_amount + 1 WHERE id % 7 = 0',
    "UPDATE products SET price = 0.01, name = ''",
    'UPDATE users SET name = name WHERE id = 5',
  ),
)

step(
  'deletes, and a deleted key inserted again',
  sql(
    'DELETE FROM users WHERE id IN (4, 6, 8)',
    'DELETE FROM orders WHERE id < 4',
    "INSERT INTO users VALUES (4, 'again', 'again@example.com', '2024-04-04')",
  ),
)

step(
  'a column is added',
  sql(
    'ALTER TABLE users ADD COLUMN phone VARCHAR',
    "INSERT INTO users (name, email, created_at, phone) VALUES ('Frank', 'frank@example.com', '2024-04-06', '123')",
    "UPDATE users SET phone = '555' WHERE id = 1",
  ),
)

step(
  'a column is dropped: it stays, and is null in new rows',
  sql(
    'ALTER TABLE users DROP COLUMN phone',
    "INSERT INTO users (name, email, created_at) VALUES ('Henry', 'henry@example.com', '2024-02-08')",
  ),
  (t) => comparison.phoneIsKept(t, 'public.users'),
)

step(
  'partitioned by year and month',
  sql(
    "INSERT INTO orders (total_amount, created_at) SELECT i, date '1969-11-15' + i * 20 FROM generate_series(1, 30) i",
    "UPDATE orders SET created_at = created_at + interval '1 year' WHERE id % 5 = 0",
  ),
  (t) => comparison.areByMonth(t, 'public.orders'),
)

step('a transaction of several rows, some of them twice', async () => {
  await db.query('BEGIN')
  await db.query(
    "INSERT INTO users (id, name, email, created_at) VALUES (500, 'tx', 'tx@example.com', '2024-01-01'), (501, 'tx2', 'tx2@example.com', '2024-01-01')",
  )
  await db.query("UPDATE users SET name = 'tx step 2' WHERE id = 500")
  await db.query("SAVEPOINT s; UPDATE users SET name = 'never seen' WHERE id = 500; ROLLBACK TO s")
  await db.query(
    "DELETE FROM users WHERE id = 501; INSERT INTO users VALUES (501, 'tx2 again', 'tx2@example.com', '2024-01-01')",
  )
  await db.query('DELETE FROM users WHERE id = 500')
  await db.query('COMMIT')
})

step('transactions that overlap: the first to write is the last to commit', async () => {
  for (let i = 10; i < 20; i += 2) {
    await other.query('BEGIN')
    await other.query(`UPDATE users SET name = 'early LSN, late commit' WHERE id = ${i}`)
    await db.query(`UPDATE users SET name = 'late LSN, early commit' WHERE id = ${i + 1}`)
    await other.query(`UPDATE users SET name = 'early LSN, late commit, step 2' WHERE id = ${i}`)
    await other.query('COMMIT')
    await db.query(`UPDATE users SET name = name || ', then once more' WHERE id = ${i}`)
  }
})

step(
  'all types',
  sql(
    `INSERT INTO all_types VALUES (2, 32767, 2147483646, 9223372036854775807, 12345678.90, 1234567890123456789012345678.0123456789,
      1.5, 2.718281828459045, true, 'text é 🎉', 'varchar', 'ab', '\\x00ff10', '11111111-2222-3333-4444-555555555555',
      '{"a": 1,  "b": [1,2]}', '{"b": [1,2], "a": 1}', '2024-02-29', '13:14:15.123456', '2024-02-29 13:14:15.123456',
      '2024-02-29 13:14:15.123', '2024-02-29 13:14:15.123456+02', '{1,NULL,3}', '{a,NULL,"c d"}', 'happy')`,
    `INSERT INTO all_types VALUES (3, -32768, -2147483648, -9223372036854775808, -0.01, -0.0000000001, -1e-30, -1e300, false, '', '', '',
      '\\x', '00000000-0000-0000-0000-000000000000', 'null', '[]', '1969-12-31', '00:00:00', '1969-12-31 23:59:59.999999',
      '1582-10-04 00:00:00', '9999-12-31 23:59:59.999999+00', '{}', '{}', 'sad')`,
    'INSERT INTO all_types (id) VALUES (4)',
    "UPDATE all_types SET c_text = 'new', c_num = NULL WHERE id = 2",
  ),
)

step(
  'composite keys, and parts of them updated',
  sql(
    "INSERT INTO composite SELECT i, 'k' || i % 3, i FROM generate_series(2, 30) i",
    "UPDATE composite SET b = b || ' moved' WHERE a < 5",
    'DELETE FROM composite WHERE a > 25',
    "UPDATE composite SET a = a + 100 WHERE b = 'k1'",
  ),
)

step(
  'values that are left out since they did not change (TOAST, default replica identity)',
  sql(
    'UPDATE toasted SET n = n + 10',
    "UPDATE toasted SET big = repeat('d', 5000) WHERE id = 2",
    'UPDATE toasted SET big = NULL WHERE id = 3; UPDATE toasted SET n = 7 WHERE id = 3',
  ),
)

step(
  'keys are updated, of rows with values left out, too',
  sql(
    'UPDATE users SET id = 1000 WHERE id = 20',
    'UPDATE toasted SET id = 11 WHERE id = 1',
    'UPDATE toasted SET id = id + 20 WHERE id IN (2, 4)',
    'BEGIN; UPDATE ring SET id = 99 WHERE id = 3; UPDATE ring SET id = 3, n = 8 WHERE id = 99; COMMIT',
  ),
)

step(
  'COPY of 100,000 rows, many of which share an LSN',
  sql('COPY copied FROM PROGRAM \'seq 1 100000 | sed "s/.*/&,row &,2024-01-01 00:00:00.&/"\' (FORMAT csv)'),
)

step('an incremental snapshot beside changes', async () => {
  const data = JSON.stringify({ 'data-collections': ['public.inc'], type: 'incremental' })
  await db.query("UPDATE inc SET v = 'before' WHERE id = 2")
  await db.query("INSERT INTO signals VALUES ('s1', 'execute-snapshot', $1)", [data])
  for (let i = 3; i < 9; i++) {
    await db.query(`UPDATE inc SET v = 'beside' WHERE id = ${i}`)
    await sleep(100)
  }
  await db.query('DELETE FROM inc WHERE id = 9')
  await sleep(3000)
})

const commands = new Commands(postgresUrl(id), folder)

test.serial('verify finds nothing', async (t) => {
  t.timeout(240_000)
  for (const replica of replicas) {
    let rows = 0
    for (const { name } of TABLES) {
      const { code, result } = await commands.verified(replica, name)
      t.deepEqual(result.differences, [], name)
      t.deepEqual(result.notCompared, [], name)
      t.is(code, 0)
      rows += result.rows
    }
    t.true(rows > 100_000)
    t.log(`${replica.prefix}: ${rows} rows`)
  }
})

test.serial('verify finds a changed row, a removed one and an added one', async (t) => {
  t.timeout(120_000)
  for (const replica of replicas) {
    await tamper(replica, 'public.copied', 777, 50_000, 100_001)
    const { code, result } = await commands.verified(replica, 'public.copied')
    t.is(code, 1)
    t.deepEqual(told(result), [
      ['different', '777', 'v', 'at'],
      ['extra', '100001'],
      ['missing', '50000'],
    ])
  }
  // The source's next changes of these rows mend them, or a repair does.
  await db.query("UPDATE copied SET v = v || ' again' WHERE id IN (777, 50000)")
  await comparison.untilThrough()
})

test.serial('verify --repair: one commit beside the stream', async (t) => {
  t.timeout(240_000)
  const beside = setInterval(() => void other.query("UPDATE copied SET v = 'beside' WHERE id = 5"), 150)
  try {
    for (const replica of replicas) {
      const { code, result } = await commands.verified(replica, 'public.copied', true)
      t.is(code, 0)
      t.like(result.repaired, { upserted: 0, deleted: 1 })
      t.is(typeof result.messagesBehind, 'number')
    }
    // Values of every type, texts that are left out, a computed partition.
    for (const replica of replicas) {
      for (const { name, keys } of TABLES.filter(({ name }) => /all_types|toasted|orders|composite/.test(name))) {
        const { rows } = await db.query(`SELECT ${keys.join(', ')} FROM ${name} ORDER BY 1 LIMIT 3`)
        const typed = ({ b, ...numbers }: Record<string, string>) => ({
          ...Object.fromEntries(Object.entries(numbers).map(([key, value]) => [key, Number(value)])),
          ...(b === undefined ? {} : { b }),
        })
        await remove(replica, name, rows.map(typed))
        const { code, result } = await commands.verified(replica, name, true)
        t.is(code, 0, name)
        t.true((result.repaired?.upserted ?? 0) > 0, name)
      }
    }
  } finally {
    clearInterval(beside)
  }
  await comparison.equal(t)
})

test.serial('a truncate: envelopes carry it, flattened topics cannot', async (t) => {
  t.timeout(120_000)
  await db.query("TRUNCATE truncated; INSERT INTO truncated VALUES (2, 'after'), (70, 'after')")
  comparison.lost.add('public.truncated')
  await comparison.equal(t)
  const source = (await db.query('SELECT * FROM truncated')).rows as SourceRow[]
  const result = await replicas[0]?.compare(oracle, 'public.truncated', source, join(folder, 'rows.jsonl'))
  const verdict = await commands.verified(replicas[0] as Replica, 'public.truncated')
  t.is(verdict.result.differences.filter(({ kind }) => kind === 'extra').length, 19)
  // Of at most 30 that are told.
  t.is(result?.differences.filter((text) => text.includes('not at the source')).length, 30)
  // A new snapshot, by a signal, shows what there is.
  const signal = { 'data-collections': ['public.truncated'], type: 'blocking' }
  await db.query("INSERT INTO signals VALUES ('s2', 'execute-snapshot', $1)", [JSON.stringify(signal)])
  await sleep(2000)
  await comparison.untilThrough()
  const removed = await commands.resynced(replicas[0] as Replica, 'public.truncated')
  t.like(removed, { upserted: 0, deleted: 19, rows: 2 })
  comparison.lost.delete('public.truncated')
  await comparison.equal(t)
})

step('Connect is killed: changes are sent again', async () => {
  for (let i = 21; i < 26; i++) await db.query(`UPDATE users SET name = 'kill ' || id WHERE id = ${i}`)
  await sleep(500)
  await stop('connect', 'SIGKILL')
  await db.query("UPDATE users SET name = 'while it was down' WHERE id IN (21, 30)")
  await db.query('DELETE FROM users WHERE id = 22')
  await up(['connect'])
})

test.serial('the second process lost no commit, and took none', async (t) => {
  t.timeout(120_000)
  otherWriter.stdin?.end()
  const done: Record<string, { positions: number; compactions: number }> = JSON.parse(await otherWriterSays)
  const sum = { positions: 0, compactions: 0 }
  for (const [uri, { positions, compactions }] of Object.entries(done)) {
    const table = await DeltaTable.open({ path: uri, storageOptions: S3_OPTIONS })
    t.is((await table.offsets()).get('other-writer'), BigInt(positions), uri)
    await table.close()
    sum.positions += positions
    sum.compactions += compactions
  }
  t.true(sum.positions > 100)
  t.true(sum.compactions > 20)
  t.log(`${sum.positions} commits of positions and ${sum.compactions} compactions by a second process`)
  await comparison.equal(t)
})

test.serial('all rows compared', (t) => {
  t.true(comparison.rows > 400_000)
  t.log(`${comparison.rows} rows compared`)
})
