/**
 * Every type of PostgreSQL and MariaDB through Debezium into Delta tables, which `verify` then finds equal; and what is
 * damaged there, which a repair makes again as the stream has written it, byte by byte.
 */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Int32, Table, Uint8, type Vector, vectorFromArray } from 'apache-arrow'
import test from 'ava'
import { type Connection, createConnection } from 'mysql2/promise'
import type pg from 'pg'
import { type Connector, connectorOf } from '../../scripts/stack/connectors.mjs'
import { ENDPOINTS, HOST, PORTS } from '../../scripts/stack/settings.mjs'
import { up } from '../../scripts/stack/stack.mjs'
import { rawValues } from '../../src/arrow/raw-values.js'
import { DeltaTable, scanTable, type TableOptions } from '../../src/index.js'
import { readTable } from '../helpers/read.js'
import { Commands } from './support/commands.js'
import { createDatabase, dropDatabase, openDatabase, postgresUrl } from './support/postgres.js'
import { Replica } from './support/replica.js'
import * as typed from './support/typed-tables.js'

const id = `k2d_${process.pid}_${Date.now().toString(36)}`
const folder = mkdtempSync(join(tmpdir(), 'kafka2delta-types-'))
const mariadb = `mysql://${ENDPOINTS.MARIADB_USER}:${ENDPOINTS.MARIADB_PASSWORD}@${HOST}:${PORTS.mariadb}`

/** Names and forms by the options: what is stored is not what the source calls it. */
const chosen = (columns: TableOptions['columns']): Partial<TableOptions> => ({
  columns: { c_int: { type: 'string' }, c_date: { type: 'string' }, ...columns },
  columnDefaults: { smallIntegers: true, timestampNtz: true, time: 'string' },
  renameColumns: { c_varchar: 'name', c_text: 'c_varchar', id: 'key' },
  excludeColumns: ['c_char'],
  additionalCols: ['upper(name) AS c_char', 'length(c_varchar) AS size'],
})

const BEYOND: Partial<TableOptions> = {
  columnDefaults: { outOfRange: 'null' },
  columns: Object.fromEntries(['date', 'ts', 'tz'].map((name) => [`c_clamp_${name}`, { outOfRange: 'clamp' }])),
}

interface System {
  name: string
  /** With the folder of its topics. */
  schema: string
  source: string
  columns: Parameters<typeof typed.tableOf>[1]
  odd: Parameters<typeof typed.tableOf>[1]
  run(statement: string): Promise<unknown>
  replica: Replica
  commands: Commands
  options: Partial<TableOptions>
}

const systems = new Map<string, System>()
let db: pg.Client
let other: Connection

async function filled(
  { name, schema, source, columns, odd, run, options }: Omit<System, 'replica' | 'commands'>,
  connector: (prefix: string, tables: string) => Connector,
): Promise<void> {
  const tables = [
    { ...typed.tableOf('types', columns), table: 'types' },
    { ...typed.tableOf('chosen', columns), table: 'chosen' },
    { ...typed.tableOf('odd', odd), table: 'odd' },
    ...(name === 'postgres' ? [{ ...typed.tableOf('beyond', typed.POSTGRES_BEYOND), table: 'beyond' }] : []),
    {
      create: 'CREATE TABLE marker (n int PRIMARY KEY)',
      insert: (n: number) => `INSERT INTO marker VALUES (${n})`,
      table: 'marker',
    },
  ]
  for (const { create } of tables) await run(create)
  // Rows of the snapshot, and the same as streamed ones.
  for (const { insert } of tables) await run(insert(1))
  const prefix = `${id}_${name}`
  const replicated = tables.map(({ table }) => ({
    name: `${schema}.${table}`,
    keys: [table === 'marker' ? 'n' : 'id'],
    options: table === 'chosen' ? options : table === 'beyond' ? BEYOND : {},
  }))
  const all = replicated.map((one) => one.name).join(',')
  const replica = new Replica(prefix, connector(prefix, all), join(folder, name), replicated)
  await replica.connect()
  await replica.start()
  for (const { insert } of tables) await run(insert(101))
  const commands = new Commands(source, folder)
  systems.set(name, { name, schema, source, columns, odd, run, replica, commands, options })
}

test.before(async (t) => {
  t.timeout(600_000)
  await up(['kafka', 'registry', 'postgres', 'mariadb', 'connect'])
  await createDatabase(id)
  db = await openDatabase(id)
  for (const statement of typed.POSTGRES_PREPARE) await db.query(statement)
  other = await createConnection({ uri: mariadb, timezone: 'Z', charset: 'utf8mb4' })
  await other.query(`CREATE DATABASE ${id} CHARACTER SET utf8mb4`)
  await other.query(`USE ${id}`)
  await other.query("SET sql_mode = ''")
  await filled(
    {
      name: 'postgres',
      schema: 'public',
      source: postgresUrl(id),
      columns: typed.POSTGRES_COLUMNS,
      odd: typed.POSTGRES_ODD,
      run: (statement) => db.query(statement),
      options: chosen({ c_num: { type: 'string' }, c_any: { decimal: 'double' }, c_bool: { type: 'string' } }),
    },
    (prefix, tables) =>
      connectorOf(
        'postgres-flattened',
        { POSTGRES_DB: id, TOPIC_PREFIX: prefix, SLOT_NAME: prefix, TABLES: tables },
        { config: { 'poll.interval.ms': '50' } },
      ),
  )
  await filled(
    {
      name: 'mariadb',
      schema: id,
      source: `${mariadb}/${id}`,
      columns: typed.MARIADB_COLUMNS,
      odd: typed.MARIADB_ODD,
      run: (statement) => other.query(statement),
      options: chosen({ c_dec: { type: 'string' } }),
    },
    (prefix, tables) =>
      connectorOf(
        'mariadb-flattened',
        { MARIADB_DB: id, TOPIC_PREFIX: prefix, SERVER_ID: String(40_000 + (process.pid % 10_000)), TABLES: tables },
        { config: { 'poll.interval.ms': '50' } },
      ),
  )
})

test.after.always(async () => {
  for (const { replica } of systems.values()) await replica.stop().catch(() => {})
  await db?.end()
  await dropDatabase(id)
  await other?.query(`DROP DATABASE ${id}`)
  await other?.end()
  rmSync(folder, { recursive: true, force: true })
})

async function systemOf(name: string): Promise<System> {
  const system = systems.get(name) as System
  await system.replica.untilMarked(`${system.schema}.marker`, 101)
  return system
}

const asText = (_: string, value: unknown): unknown => {
  if (typeof value === 'bigint' || Object.is(value, -0)) return `${value}${typeof value === 'number' ? ' below' : ''}`
  return ArrayBuffer.isView(value)
    ? Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('hex')
    : value
}

/** A table's rows as texts, without what tells of their changes, by key. */
async function storedRows(uri: string): Promise<Map<number, string>> {
  const { fields } = await scanTable(uri).schema()
  const names = fields.map(({ name }) => name).filter((name) => !name.startsWith('__'))
  const rows = new Map<number, string>()
  for await (const batch of scanTable(uri, { columns: names })) {
    const columns = rawValues(batch)
    const keys = columns.getChildAt(0) as Vector
    for (let row = 0; row < columns.numRows; row++) {
      const values = names.map((name, i) => [name, columns.getChildAt(i)?.get(row)] as const)
      rows.set(keys.get(row), JSON.stringify(Object.fromEntries(values), asText))
    }
  }
  return rows
}

/** Rows that are otherwise, or in one of both alone. */
const otherRows = (one: Map<number, string>, other: Map<number, string>) =>
  [...new Set([...one.keys(), ...other.keys()])]
    .filter((key) => one.get(key) !== other.get(key))
    .map((key) => [one.get(key), other.get(key)])

/** Rows with those keys that `change` makes of the given ones, written behind the stream's back. */
async function written(
  uri: string,
  key: string,
  ids: readonly number[],
  additionalCols: readonly string[],
  change: { keys(ids: number[]): number[]; only?: readonly string[]; op?: number },
): Promise<void> {
  const table = await DeltaTable.open({ path: uri, additionalCols: [...additionalCols] })
  const computed = additionalCols.map((expression) => expression.split(' AS ')[1])
  const names = (await scanTable(uri).schema()).fields.map(({ name }) => name)
  const columns = change.only ?? names.filter((name) => !computed.includes(name))
  const rows = await readTable(uri, { columns, where: `${key} IN (${ids.join(', ')})` })
  const keys = [...(rows.getChild(key) as Vector)] as number[]
  const vectors = Object.fromEntries(columns.map((name) => [name, rows.getChild(name) as Vector]))
  const _op = vectorFromArray(
    keys.map(() => change.op ?? 0),
    new Uint8(),
  )
  await table.merge(new Table({ ...vectors, [key]: vectorFromArray(change.keys(keys), new Int32()), _op }), {
    primaryKey: [key],
  })
  await table.close()
}

const NOT_COMPARED: Record<string, string[]> = { postgres: [], mariadb: ['c_float'] }

for (const name of ['postgres', 'mariadb']) {
  for (const table of ['types', 'chosen', ...(name === 'postgres' ? ['beyond'] : [])]) {
    test.serial(`${name}: ${table} are equal, and equal again after a repair of each kind of damage`, async (t) => {
      t.timeout(240_000)
      const { replica, schema, commands, options } = await systemOf(name)
      const uri = replica.uri(`${schema}.${table}`)
      const verified = async (repair = false) => {
        const { result } = await commands.configured(replica, `${schema}.${table}`, { repair })
        // Of a FLOAT, a snapshot has six digits.
        t.deepEqual(result.notCompared, NOT_COMPARED[name])
        return result
      }
      t.deepEqual((await verified()).differences, [])
      const [key, computed] = table === 'chosen' ? ['key', options.additionalCols ?? []] : ['id', []]
      const before = await storedRows(uri)
      const ids = ([...before.keys()] as number[]).filter((id) => name === 'postgres' || id > 100).sort((a, b) => a - b)
      const [gone, emptied, mixed] = [0, 1, 2].map((rest) => ids.filter((id) => id % 3 === rest)) as [
        number[],
        number[],
        number[],
      ]
      await written(uri, key, gone, computed, { keys: (found) => found, op: 1, only: [key] })
      await written(uri, key, emptied, computed, { keys: (found) => found, only: [key] })
      // Each row has the values of the next one.
      await written(uri, key, mixed, computed, { keys: (found) => [...found.slice(1), found[0] as number] })
      await written(uri, key, mixed.slice(0, 1), computed, { keys: () => [9999] })
      t.true(otherRows(await storedRows(uri), before).length > ids.length - 2)
      const { differences, repaired } = await verified(true)
      const kinds = (kind: string) => differences.filter((one) => one.kind === kind).length
      // The rows of nulls were empty before.
      t.is(kinds('missing'), gone.length)
      t.true(kinds('different') >= emptied.length + mixed.length - 2)
      t.deepEqual([kinds('extra'), repaired?.deleted], [1, 1])
      t.deepEqual(otherRows(await storedRows(uri), before), [])
      t.deepEqual((await verified()).differences, [])
    })
  }

  test.serial(`${name}: types that are not compared are never written`, async (t) => {
    t.timeout(120_000)
    const { replica, schema, commands, odd } = await systemOf(name)
    const uri = replica.uri(`${schema}.odd`)
    const unknown = Object.keys(odd).filter((column) => column !== 'c_v')
    const verified = async (repair = false) => (await commands.configured(replica, `${schema}.odd`, { repair })).result
    const equal = await verified()
    t.deepEqual([equal.differences, equal.notCompared.toSorted()], [[], unknown.toSorted()])
    const before = await storedRows(uri)
    // Rows that are there keep what they hold.
    await written(uri, 'id', [101], [], {
      keys: (found) => found,
      only: Object.keys(odd)
        .concat('id')
        .filter((column) => column !== 'c_v'),
    })
    t.like((await verified(true)).repaired, { upserted: 1, deleted: 0 })
    t.deepEqual(otherRows(await storedRows(uri), before), [])
    // New ones would lack it.
    await written(uri, 'id', [101], [], { keys: (found) => found, op: 1, only: ['id'] })
    const damaged = await storedRows(uri)
    const error = await t.throwsAsync(verified(true), { code: 'CONFIG_INVALID' } as never)
    for (const column of unknown) t.true(error?.message.includes(column), column)
    t.deepEqual(otherRows(await storedRows(uri), damaged), [])
  })
}
