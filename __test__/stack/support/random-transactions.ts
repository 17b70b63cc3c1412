/** Transactions of several sessions on random tables, and ways to keep such a table. */

import { setTimeout as sleep } from 'node:timers/promises'
import type pg from 'pg'
import type { TableOptions } from '../../../src/index.js'
import type { Random } from '../../helpers/random.js'
import type { RandomTable } from './random-tables.js'

/** What other transactions make of a statement; all else is a fault of the test. */
const EXPECTED = new Set(['40P01', '40001', '42703', '55P03'])

const isExpected = (error: unknown) => EXPECTED.has((error as { code?: string }).code ?? '')

/** Ways to keep a table that make no difference to its rows. */
export function randomOptions(table: RandomTable, random: Random): Partial<TableOptions> {
  const partition = table.columns.find(({ type }) => /^(boolean|date|smallint|numeric\(12,3\))$/.test(type))
  return {
    ...(random.next() < 0.25
      ? { mergeMode: 'copy-on-write' as const, ...(random.next() < 0.5 ? { maintenance: false as const } : {}) }
      : {}),
    ...(random.next() < 0.2 ? { keyIndex: 'none' as const } : {}),
    ...(partition && random.next() < 0.5 ? { partitionCols: [partition.name] } : {}),
  }
}

/** A table with some rows: a topic is made by its first row. */
export async function createRandomTable(session: pg.Client, table: RandomTable, changes: number): Promise<void> {
  for (const statement of table.create) await session.query(statement)
  for (let i = 0; i < changes; i++) await session.query(table.change())
  const keys = table.keys.map(({ name }) => name)
  const first = table.keys.map((key) => key.value())
  await session.query(`INSERT INTO ${table.name} (${keys}) VALUES (${first}) ON CONFLICT DO NOTHING`)
}

/** One transaction: several statements on several tables, parts of it taken back, or all of it. */
export async function transaction(session: pg.Client, chance: Random, tables: readonly RandomTable[]): Promise<void> {
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
    if (!isExpected(error)) throw error
  }
}

/** Changes a table's columns. Returns the first statement. */
export async function alter(session: pg.Client, table: RandomTable): Promise<string> {
  const statements = table.alter()
  for (const statement of statements) {
    for (let tries = 1; ; tries++) {
      try {
        await session.query(statement)
        break
      } catch (error) {
        if (!isExpected(error) || tries === 10) throw error
      }
    }
  }
  return statements[0] as string
}
