/** Tables of PostgreSQL and MariaDB beside Delta tables, compared by hashes of chunks: with the results of their rows. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { type Connection, createConnection } from 'mysql2/promise'
import type pg from 'pg'
import { ENDPOINTS, HOST, PORTS } from '../../scripts/stack/settings.mjs'
import { up } from '../../scripts/stack/stack.mjs'
import type { DeltaType } from '../../src/delta/schema-json.js'
import { openSource } from '../../src/verify/sources/index.js'
import type { SourceRow, SourceTable } from '../../src/verify/sources/source.js'
import { generator, ROUNDS, SEED } from '../helpers/random.js'
import { byRowsOf, HashedPair, type Row, short } from './support/hashed-pair.js'
import { MARIADB, MARIADB_TYPES, POSTGRES, POSTGRES_TYPES } from './support/hashed-tables.js'
import { createDatabase, dropDatabase, openDatabase, postgresUrl } from './support/postgres.js'

const id = `k2d_${process.pid}_${Date.now().toString(36)}`
const folder = mkdtempSync(join(tmpdir(), 'kafka2delta-hashes-'))
const mariadb = `mysql://${ENDPOINTS.MARIADB_USER}:${ENDPOINTS.MARIADB_PASSWORD}@${HOST}:${PORTS.mariadb}`

let db: pg.Client
let other: Connection
const pairs: HashedPair[] = []

test.before(async (t) => {
  t.timeout(600_000)
  await up(['postgres', 'mariadb'])
  await createDatabase(id)
  db = await openDatabase(id)
  for (const statement of POSTGRES) await db.query(statement)
  other = await createConnection({ uri: mariadb, timezone: 'Z', charset: 'utf8mb4' })
  await other.query(`CREATE DATABASE ${id} CHARACTER SET utf8mb4`)
  await other.query(`USE ${id}`)
  for (const statement of MARIADB) await other.query(statement)
})

test.after.always(async () => {
  for (const { source } of pairs) await source.close()
  await db?.end()
  await dropDatabase(id)
  await other?.query(`DROP DATABASE ${id}`)
  await other?.end()
  rmSync(folder, { recursive: true, force: true })
})

let folders = 0

async function pairOf(
  system: string,
  table: string,
  types: Record<string, DeltaType>,
  key: string[],
  forms: Record<string, string> = {},
): Promise<HashedPair> {
  const source = await (system === 'PostgreSQL'
    ? openSource(postgresUrl(id), `public.${table}`)
    : openSource(`${mariadb}/${id}`, `${id}.${table}`))
  const pair = new HashedPair(source, join(folder, String(++folders)), types, key, forms)
  pairs.push(pair)
  await pair.fill()
  return pair
}

const TABLES = [
  ...POSTGRES_TYPES.map((table) => ({ system: 'PostgreSQL', ...table })),
  ...MARIADB_TYPES.map((table) => ({ system: 'MariaDB', ...table })),
]
const named = (pair: HashedPair, row: Row) => pair.primaryKey.map((name) => row[name]).join(' ')

for (const { system, table, types, key } of TABLES) {
  test(`${system}, ${table}: equal tables, and each way to differ`, async (t) => {
    t.timeout(120_000)
    const pair = await pairOf(system, table, types, key)
    const chunks = Math.ceil(pair.rows.length / 5)
    const equal = async () =>
      t.like(await pair.verified(t), { differences: [], notCompared: [], chunks, chunksRead: 0 })
    await equal()
    const row = pair.rows[7] as Row
    await pair.write([row], 'delete')
    const removed = await pair.verified(t)
    t.is(removed.chunksRead, 1)
    t.deepEqual(
      short(removed).map((text) => text.split(' ')[0]),
      ['missing'],
    )
    // Looked at again, it is still missing.
    t.is((await pair.verified(t, { settle: 1 })).differences.length, 1)
    await pair.write([row])
    await equal()
    const names = Object.keys(types).filter((name) => !key.includes(name))
    const other = (row: Row, name: string) =>
      pair.rows.map((one) => one[name] ?? null).find((text) => text !== row[name])
    // The last row is in no chunk with an end.
    for (const one of [row, pair.rows.at(-1) as Row]) {
      const name = names.at(-1) as string
      await pair.write([{ ...one, [name]: other(one, name) ?? null }])
      const changed = await pair.verified(t)
      t.is(changed.chunksRead, 1)
      t.deepEqual(short(changed), [`different ${changed.differences[0]?.key.join(' ')} ${name}`])
      await pair.write([one])
    }
    // A value of each column, in a row of its own.
    const changed = names.slice(0, pair.rows.length).map((name, i) => {
      const one = pair.rows[i] as Row
      return { ...one, [name]: other(one, name) ?? null }
    })
    await pair.write(changed)
    const found = (await pair.verified(t)).differences.map(({ columns }) =>
      columns?.map((column) => column.name).join(),
    )
    t.deepEqual(found.sort(), names.slice(0, pair.rows.length).sort())
    await pair.write(pair.rows.slice(0, names.length))
    await equal()
  })
}

test(`random differences are found, and no others (SEED=${SEED})`, async (t) => {
  t.timeout(240_000 * ROUNDS)
  const random = generator(SEED)
  for (const { system, table, types, key } of TABLES) {
    const pair = await pairOf(system, table, types, key)
    const columns = Object.keys(types).filter((name) => !key.includes(name))
    for (let round = 0; round < 3 * ROUNDS; round++) {
      const changed = new Map<Row, Row>()
      const removed = new Set<Row>()
      for (let i = random.below(8); i >= 0; i--) {
        const row = random.pick(pair.rows)
        if (random.below(5) === 0 && !changed.has(row)) removed.add(row)
        if (removed.has(row)) continue
        const name = random.pick(columns)
        const value = random.pick(pair.rows)[name] ?? null
        changed.set(row, { ...(changed.get(row) ?? row), [name]: value })
      }
      const expected = [...removed].map((row) => named(pair, row))
      for (const [row, now] of changed) {
        if (columns.some((name) => now[name] !== row[name])) expected.push(named(pair, row))
      }
      await pair.write([...changed.values()])
      if (removed.size > 0) await pair.write([...removed], 'delete')
      const chunkRows = 1 + random.below(20)
      const result = await pair.verified(t, { chunkRows })
      t.is(result.chunks, Math.ceil(pair.rows.length / chunkRows))
      t.is(result.differences.length, expected.length, `${system} ${table}: ${expected.join(', ')}`)
      t.true(result.chunksRead <= expected.length, `${result.chunksRead} chunks for ${expected.length}`)
      const lost = result.differences.filter(({ kind }) => kind === 'missing')
      t.is(lost.length, removed.size)
      await pair.write([...changed.keys(), ...removed])
    }
  }
})

const SIMPLE: Record<string, DeltaType> = { id: 'integer', v: 'string' }

async function simple(t: ExecutionContext, system: string, table: string): Promise<HashedPair> {
  const pair = await pairOf(system, table, SIMPLE, ['id'])
  t.is(pair.rows.length, 100)
  return pair
}

for (const system of ['PostgreSQL', 'MariaDB']) {
  test(`${system}: rows too many, before, between and after those of the source`, async (t) => {
    const pair = await simple(t, system, 'simple')
    await pair.write([-5, 25, 1000].map((n) => ({ id: String(n), v: 'x' })).map((row) => row))
    // 25 is there at the source, and differs.
    const result = await pair.verified(t)
    t.deepEqual(short(result), ['different 25 v', 'extra -5', 'extra 1000'])
    t.is(result.chunksRead, 3)
  })

  test(`${system}: null is not the empty text`, async (t) => {
    const pair = await simple(t, system, 'simple')
    const [row] = pair.rows as [Row]
    await pair.write([{ ...row, v: '' }])
    t.deepEqual(short(await pair.verified(t)), [`different ${row.id} v`])
    t.is(row.v, null)
  })

  test(`${system}: more ranges differ than one query asks for`, async (t) => {
    const pair = await simple(t, system, 'simple')
    await pair.write(pair.rows.filter((_, i) => i % 2 === 0).map((row) => ({ ...row, v: `${row.v} changed` })))
    const result = await pair.verified(t, { chunkRows: 1 })
    t.is(result.differences.length, 50)
    t.true(result.chunksRead > 50 && result.chunksRead < 100, String(result.chunksRead))
    // An error ends what the database still has to tell.
    const error = await t.throwsAsync(pair.verification({ chunkRows: 5, maxDifferences: 3 }).run())
    t.like(error, { code: 'SOURCE_DIFFERS' })
    t.is((await pair.verified(t)).differences.length, 50)
  })

  test(`${system}: an empty source, an empty table`, async (t) => {
    const pair = await pairOf(system, 'nothing', SIMPLE, ['id'])
    await pair.write([{ id: '1', v: 'x' }])
    t.deepEqual(short(await pair.verified(t)), ['extra 1'])
    await pair.write([{ id: '1', v: 'x' }], 'delete')
    t.like(await pair.verified(t), { differences: [], chunks: 0, chunksRead: 0 })
    const full = await simple(t, system, 'simple')
    await full.write(full.rows, 'delete')
    t.is((await full.verified(t)).differences.length, 100)
  })

  test(`${system}: hashes and rows are of one moment`, async (t) => {
    const pair = await simple(t, system, 'moment')
    const hashed = await pair.source.hashed?.(pair.selection, 10)
    if (!hashed) throw new Error('not hashed')
    const chunks = []
    for await (const chunk of hashed.chunks()) {
      chunks.push(chunk)
      if (chunks.length !== 1) continue
      const change = "UPDATE moment SET v = 'later' WHERE id <= 50"
      await (system === 'PostgreSQL' ? db.query(change) : other.query(change))
    }
    t.is(chunks.length, 10)
    const rows: SourceRow[] = []
    for await (const read of hashed.rows(chunks.slice(1, 3))) rows.push(...read)
    await hashed.end()
    t.deepEqual(
      rows.map((row) => row[0]),
      Array.from({ length: 20 }, (_, i) => String(i + 11)),
    )
    t.false(rows.some((row) => row[1] === 'later'))
  })

  test(`${system}: more rows change on both sides while they are compared than may differ`, async (t) => {
    const pair = await simple(t, system, 'busy')
    const plain = byRowsOf(pair.source)
    const source: SourceTable = {
      ...plain,
      async *rows(selection, fetchSize) {
        let chunks = 0
        for await (const chunk of plain.rows(selection, fetchSize)) {
          if (chunks++ === 0) {
            // What is compared is as of before.
            const change = "UPDATE busy SET v = CONCAT('new ', id)"
            await (system === 'PostgreSQL' ? db.query(change) : other.query(change))
            await pair.write(pair.rows.map(({ id }) => ({ id: id as string, v: `new ${id}` })))
          }
          yield chunk
        }
      },
    }
    const options = { chunkRows: 30, maxDifferences: 40, settle: 5000 }
    t.like(await pair.verification(options, source).run(), { differences: [], settled: 100 })
  })

  test(`${system}: what cannot be hashed is compared by its rows`, async (t) => {
    const times = await pairOf(system, 'unhashed', { id: 'integer', v: 'integer' }, ['id'], { v: 'milliseconds' })
    t.like(await times.verified(t), { differences: [], chunksRead: 2, chunks: 2 })
    // A key that is not unique.
    const pair = await pairOf(system, 'simple', SIMPLE, ['id'])
    const byText = { ...pair.selection, key: [1] }
    t.is(await pair.source.hashed?.(byText, 10), null)
  })
}

test('keys with quotes and backslashes, whatever the server takes backslashes for', async (t) => {
  const [[{ mode }]] = (await other.query('SELECT @@GLOBAL.sql_mode AS mode')) as unknown as [[{ mode: string }]]
  const keys = ["a'b", "a\\'b", "z')) OR 1=1 -- ", '\\', "'", '"', 'ordinary']
  for (const escapes of ['', 'NO_BACKSLASH_ESCAPES', 'NO_BACKSLASH_ESCAPES,ANSI_QUOTES,PAD_CHAR_TO_FULL_LENGTH']) {
    await other.query('CREATE OR REPLACE TABLE quoted (k VARCHAR(40) COLLATE utf8mb4_bin PRIMARY KEY, v CHAR(9))')
    for (const key of keys) await other.execute('INSERT INTO quoted VALUES (?, ?)', [key, 'v'])
    await other.query(`SET GLOBAL sql_mode = '${escapes}'`)
    try {
      const pair = await pairOf('MariaDB', 'quoted', { k: 'string', v: 'string' }, ['k'])
      const verified = (chunkRows: number, settle = 0) => pair.verified(t, { chunkRows, settle })
      t.deepEqual((await verified(2)).differences, [])
      // Each of them ends a range.
      for (const row of pair.rows) {
        await pair.write([{ ...row, v: 'other' }])
        t.deepEqual(short(await verified(1)), [`different ${row.k} v`])
        await pair.write([row])
      }
      await pair.write(pair.rows, 'delete')
      t.deepEqual(short(await verified(1)), keys.map((key) => `missing ${key}`).sort())
      const rows = await pair.source.rowsOf(pair.selection, [["z')) OR 1=1 -- "]])
      t.deepEqual(rows, [["z')) OR 1=1 -- ", 'v']])
    } finally {
      await other.query(`SET GLOBAL sql_mode = '${mode}'`)
    }
  }
})

test('keys that the source cannot have are no errors there', async (t) => {
  const pair = await pairOf('PostgreSQL', 'char_key', { k: 'string', u: 'string', v: 'decimal(6,3)' }, ['k'])
  await pair.write([{ k: 'a\0b', u: null, v: null }])
  t.deepEqual(short(await pair.verified(t, { settle: 1 })), ['extra a\0b'])
  const big = await pairOf('PostgreSQL', 'simple', { id: 'long', v: 'string' }, ['id'])
  await big.write([{ id: '9007199254740993', v: null }])
  t.deepEqual(short(await big.verified(t, { settle: 1 })), ['extra 9007199254740993'])
})

test('PostgreSQL: values that the Delta table cannot hold are not compared, the others are', async (t) => {
  const pair = await pairOf('PostgreSQL', 'odd', { id: 'integer', d: 'date', ts: 'timestamp', n: 'decimal(10,2)' }, [
    'id',
  ])
  const result = await pair.verified(t)
  t.deepEqual(result.notCompared.toSorted(), ['d', 'n', 'ts'])
  t.deepEqual(result.differences, [])
  t.like(result, { chunks: 4, chunksRead: 1 })
})
