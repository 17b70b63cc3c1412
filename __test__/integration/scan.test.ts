/** Reading tables back: columns, conditions, versions, the change data feed, and deleting by a condition. */

import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  Bool,
  DateDay,
  Decimal,
  Float64,
  Int32,
  Int64,
  makeData,
  makeVector,
  Table,
  TimestampMicrosecond,
  Utf8,
  vectorFromArray,
} from 'apache-arrow'
import test, { type ExecutionContext } from 'ava'
import { DeltaTable, scanTable, tableChanges } from '../../src/delta/index.js'
import { generator, SEED } from '../helpers/random.js'
import { readRows, readTable } from '../helpers/read.js'

const folder = mkdtempSync(join(tmpdir(), 'kafka2delta-scan-'))
test.after.always(() => rmSync(folder, { recursive: true, force: true }))

interface Row {
  id: bigint
  /** The partition. */
  part: string | null
  n: number | null
  text: string | null
  real: number | null
  /** Cents. */
  price: bigint | null
  /** Days since 1970. */
  day: number | null
  /** Microseconds since 1970. */
  at: bigint | null
  flag: boolean | null
}

const nulls = (values: readonly unknown[]) => {
  const bits = new Uint8Array(Math.ceil(values.length / 8))
  values.forEach((value, i) => {
    if (value !== null) bits[i >> 3] = (bits[i >> 3] as number) | (1 << (i & 7))
  })
  return { nullBitmap: bits, nullCount: values.filter((value) => value === null).length, length: values.length }
}

function arrowOf(rows: readonly Row[]): Table {
  const column = <K extends keyof Row>(name: K) => rows.map((row) => row[name])
  const longs = (values: readonly (bigint | null)[]) => BigInt64Array.from(values, (value) => value ?? 0n)
  const price = column('price')
  const words = new BigInt64Array(2 * rows.length)
  price.forEach((value, i) => {
    words[2 * i] = value ?? 0n
    words[2 * i + 1] = (value ?? 0n) < 0n ? -1n : 0n
  })
  const data = (type: unknown, values: readonly unknown[], stored: unknown) =>
    makeVector(makeData({ type, ...nulls(values), data: stored } as never) as never)
  return new Table({
    id: vectorFromArray(column('id'), new Int64()),
    part: vectorFromArray(column('part'), new Utf8()),
    n: vectorFromArray(column('n'), new Int32()),
    text: vectorFromArray(column('text'), new Utf8()),
    real: vectorFromArray(column('real'), new Float64()),
    price: data(new Decimal(2, 12, 128), price, new Uint32Array(words.buffer)),
    day: data(
      new DateDay(),
      column('day'),
      Int32Array.from(column('day'), (value) => value ?? 0),
    ),
    at: data(new TimestampMicrosecond('UTC'), column('at'), longs(column('at'))),
    flag: vectorFromArray(column('flag'), new Bool()),
  })
}

const TEXTS = ['', 'a', 'b', 'é', "it's", 'a\\b', 'zz', '🎉']
const DAY_MICROS = 86_400_000_000n

/** A condition in Spark SQL, and the same in JavaScript; null is neither true nor false. */
interface Condition {
  sql: string
  test(row: Row): boolean | null
}

const quoted = (text: string) => `'${text.replaceAll(/['\\]/g, '\\$&')}'`
const dayText = (days: number) => new Date(days * 86_400_000).toISOString().slice(0, 10)
const cents = (value: bigint) =>
  `${value < 0n ? '-' : ''}${(value < 0n ? -value : value) / 100n}.${String((value < 0n ? -value : value) % 100n).padStart(2, '0')}`
const utf8 = (text: string) => Buffer.from(text)

function conditions(seed: number) {
  const random = generator(seed)
  const maybe = <T>(value: () => T): T | null => (random.below(6) === 0 ? null : value())
  const row = (id: number): Row => ({
    id: BigInt(id),
    part: maybe(() => random.pick(['x', 'y', "o'z"])),
    n: maybe(() => random.below(2000) - 1000),
    text: maybe(() => random.pick(TEXTS)),
    real: maybe(() => random.pick([Number.NaN, -1.5, 0, 2.5, 1e300, Number.POSITIVE_INFINITY])),
    price: maybe(() => BigInt(random.below(100_000) - 50_000)),
    day: maybe(() => random.below(40_000) - 10_000),
    at: maybe(() => BigInt(random.below(40_000) - 10_000) * DAY_MICROS + BigInt(random.below(1_000_000))),
    flag: maybe(() => random.below(2) === 1),
  })
  /** Spark takes NaN for the largest number, and for equal to itself. */
  const order = (a: unknown, b: unknown): number => {
    if (typeof a === 'string') return Buffer.compare(utf8(a), utf8(b as string))
    if (Number.isNaN(a) || Number.isNaN(b)) return Number(Number.isNaN(a)) - Number(Number.isNaN(b))
    return (a as number) < (b as number) ? -1 : a === b ? 0 : 1
  }
  const literals: { [K in keyof Row]: () => [string, unknown] } = {
    id: () => {
      const value = random.below(400)
      return [String(value), BigInt(value)]
    },
    part: () => {
      const value = random.pick(['x', 'y', "o'z", 'none'])
      return [quoted(value), value]
    },
    n: () => {
      const value = random.below(2400) - 1200
      return [String(value), value]
    },
    text: () => {
      const value = random.pick(TEXTS)
      return [quoted(value), value]
    },
    real: () =>
      random.pick([
        ['2.5', 2.5],
        ["double('NaN')", Number.NaN],
        ['0', 0],
        ['1e300', 1e300],
      ]),
    price: () => {
      const value = BigInt(random.below(120_000) - 60_000)
      return [cents(value), value]
    },
    day: () => {
      const value = random.below(50_000) - 15_000
      return [`DATE '${dayText(value)}'`, value]
    },
    at: () => {
      const value = random.below(50_000) - 15_000
      return [`TIMESTAMP '${dayText(value)} 00:00:00'`, BigInt(value) * DAY_MICROS]
    },
    flag: () =>
      random.pick([
        ['true', true],
        ['false', false],
      ]),
  }
  const names = Object.keys(literals) as (keyof Row)[]
  const OPS: [string, (order: number) => boolean][] = [
    ['=', (o) => o === 0],
    ['<>', (o) => o !== 0],
    ['<', (o) => o < 0],
    ['<=', (o) => o <= 0],
    ['>', (o) => o > 0],
    ['>=', (o) => o >= 0],
  ]
  const leaf = (): Condition => {
    const name = random.pick(names)
    // Names are found whatever their case.
    const written = random.below(4) === 0 ? name.toUpperCase() : name
    switch (random.below(5)) {
      case 0:
        return { sql: `${written} IS NULL`, test: (row) => row[name] === null }
      case 1:
        return { sql: `${written} IS NOT NULL`, test: (row) => row[name] !== null }
      case 2: {
        const list = Array.from({ length: 1 + random.below(4) }, literals[name])
        const isIn = (row: Row) => (row[name] === null ? null : list.some(([, value]) => order(row[name], value) === 0))
        return { sql: `${written} IN (${list.map(([sql]) => sql).join(', ')})`, test: isIn }
      }
      default: {
        const [op, holds] = random.pick(OPS)
        const [sql, value] = literals[name]()
        const turned: Record<string, string> = { '<': '>', '<=': '>=', '>': '<', '>=': '<=' }
        const text = random.below(4) === 0 ? `${sql} ${turned[op] ?? op} ${written}` : `${written} ${op} ${sql}`
        return { sql: text, test: (row) => (row[name] === null ? null : holds(order(row[name], value))) }
      }
    }
  }
  const condition = (depth: number): Condition => {
    const kind = depth === 0 ? 3 : random.below(5)
    if (kind > 2) return leaf()
    const [a, b] = [condition(depth - 1), condition(depth - 1)]
    if (kind === 2) {
      return {
        sql: `NOT (${a.sql})`,
        test: (row) => {
          const one = a.test(row)
          return one === null ? null : !one
        },
      }
    }
    const decides = kind === 0
    return {
      sql: `(${a.sql}) ${decides ? 'OR' : 'AND'} (${b.sql})`,
      test: (row) => {
        const both = [a.test(row), b.test(row)]
        return both.includes(decides) ? decides : both.includes(null) ? null : !decides
      },
    }
  }
  return { random, row, condition }
}

const ids = (rows: readonly object[]) => rows.map((row) => Number((row as { id: unknown }).id)).sort((a, b) => a - b)

for (const mergeMode of ['merge-on-read', 'copy-on-write'] as const) {
  test.serial(`${mergeMode}: conditions find the rows that they are true for (SEED=${SEED})`, async (t) => {
    const { random, row, condition } = conditions(SEED)
    const path = join(folder, `conditions-${mergeMode}`)
    const table = await DeltaTable.open({ path, primaryKey: ['id'], partitionCols: ['part'], mergeMode })
    const rows = new Map<number, Row>()
    for (let commit = 0; commit < 12; commit++) {
      const batch = new Map(Array.from({ length: 60 }, () => random.below(400)).map((id) => [id, row(id)]))
      for (const [id, one] of batch) rows.set(id, one)
      await table.merge(arrowOf([...batch.values()]))
    }
    for (let i = 0; i < 300; i++) {
      const { sql, test } = condition(3)
      const expected = ids([...rows.values()].filter((one) => test(one) === true))
      const columns = random.pick([['id'], ['n', 'id', 'part'], ['id', 'price', 'at', 'flag', 'text']])
      t.deepEqual(ids(await readRows(path, { columns, where: sql })), expected, sql)
    }
    // Conditions delete what they find.
    for (let i = 0; i < 20; i++) {
      const { sql, test } = condition(2)
      const gone = [...rows].filter(([, one]) => test(one) === true)
      const { numRowsDeleted } = await table.deleteWhere(sql)
      t.is(numRowsDeleted, gone.length, sql)
      for (const [id] of gone) rows.delete(id)
      t.deepEqual(ids(await readRows(path, { columns: ['id'] })), ids([...rows.values()]), sql)
      // What was deleted may come again: the key index knows that it is gone.
      const again = gone.slice(0, 20).map(([id]) => row(id))
      for (const one of again) rows.set(Number(one.id), one)
      if (again.length > 0) await table.merge(arrowOf(again))
      t.is((await table.info()).numRows, rows.size)
    }
    await table.close()
  })
}

const small = (from: number, to: number, v: string) =>
  new Table({
    id: vectorFromArray(
      Array.from({ length: to - from }, (_, i) => from + i),
      new Int32(),
    ),
    v: vectorFromArray(
      Array.from({ length: to - from }, () => v),
      new Utf8(),
    ),
  })

test('columns come in their order, by their names in any case', async (t) => {
  const path = join(folder, 'columns')
  const table = await DeltaTable.open({ path, primaryKey: ['id'] })
  await table.merge(small(0, 3, 'a'))
  const read = await table.scan({ columns: ['V', 'id'] }).toTable()
  t.deepEqual(read.schema.names, ['v', 'id'])
  t.deepEqual((await table.scan({ columns: ['v'], where: 'id = 7' }).schema()).names, ['v'])
  t.is((await table.scan({ columns: ['v'], where: 'id = 7' }).toTable()).numRows, 0)
  await table.close()
})

test('versions and times', async (t) => {
  const path = join(folder, 'versions')
  const table = await DeltaTable.open({ path, primaryKey: ['id'] })
  await table.merge(small(0, 3, 'a'))
  await sleep(20)
  const between = new Date()
  await sleep(20)
  await table.merge(small(2, 5, 'b'))
  const at = async (options: object) =>
    (await readRows(path, { ...options, orderBy: ['id'] })).map(({ id, v }) => `${id}${v}`).join()
  t.is(await at({}), '0a,1a,2b,3b,4b')
  t.is(await at({ version: 1 }), '0a,1a,2b,3b,4b')
  t.is(await at({ version: 0 }), '0a,1a,2a')
  t.is(await at({ timestamp: between }), '0a,1a,2a')
  t.is(await at({ timestamp: new Date(), where: "v = 'b'" }), '2b,3b,4b')
  await t.throwsAsync(at({ version: 2 }), { code: 'VERSION_MISSING', message: /has no version 2: its newest one is 1/ })
  await t.throwsAsync(at({ timestamp: new Date(0) }), { code: 'VERSION_MISSING' })
  t.throws(() => scanTable(path, { version: 0, timestamp: between }), { code: 'CONFIG_INVALID' })
  await table.close()
})

test('the change data feed', async (t) => {
  const path = join(folder, 'feed')
  const tableProperties = { 'delta.enableChangeDataFeed': 'true' }
  const table = await DeltaTable.open({ path, primaryKey: ['id'], tableProperties })
  await table.merge(small(0, 3, 'a'))
  await table.merge(small(2, 4, 'b'))
  await table.deleteWhere('id = 0')
  const changes = async (from: number, to?: number) => {
    const found: string[] = []
    for await (const batch of table.changes(from, to === undefined ? {} : { to })) {
      for (const row of batch) found.push(`${row._commit_version} ${row._change_type} ${row.id}${row.v}`)
    }
    return found.sort()
  }
  t.deepEqual(await changes(1), ['1 insert 3b', '1 update_postimage 2b', '1 update_preimage 2a', '2 delete 0a'])
  t.deepEqual(await changes(0, 0), ['0 insert 0a', '0 insert 1a', '0 insert 2a'])
  await t.throwsAsync(changes(7), { code: 'VERSION_MISSING' })
  await table.close()
  const none = await DeltaTable.open({ path: join(folder, 'no-feed'), primaryKey: ['id'] })
  await none.merge(small(0, 1, 'a'))
  const read = async () => {
    for await (const _ of none.changes(0)) t.fail()
  }
  await t.throwsAsync(read, { code: 'TABLE_UNSUPPORTED', message: /keeps no change data feed.*enableChangeDataFeed/ })
  await none.close()
})

test('rows are appended without a look at keys', async (t) => {
  const path = join(folder, 'append')
  const table = await DeltaTable.open({ path, writeMode: 'append' })
  await table.append(small(0, 2, 'a'))
  await table.append(small(0, 2, 'a'))
  t.deepEqual(ids((await readRows(path)) as { id: unknown }[]), [0, 0, 1, 1])
  await table.close()
  const keyed = await DeltaTable.open({ path: join(folder, 'keyed'), primaryKey: ['id'] })
  await t.throwsAsync(keyed.append(small(0, 1, 'a')), { code: 'CONFIG_INVALID', message: /use merge\(\)/ })
  await keyed.close()
})

test('what is wrong is said', async (t) => {
  const path = join(folder, 'wrong')
  const table = await DeltaTable.open({ path, primaryKey: ['id'] })
  await t.throwsAsync(table.deleteWhere('id = 1'), { code: 'STORAGE_DENIED', message: /no Delta table/ })
  await t.throwsAsync(readTable(path), { code: 'STORAGE_DENIED', message: /no Delta table/ })
  await table.merge(small(0, 3, 'a'))
  const wrong = async (options: Parameters<typeof readTable>[1], message: RegExp) =>
    t.throwsAsync(readTable(path, options), { code: 'EXPRESSION_INVALID', message })
  await wrong({ columns: ['w'] }, /no column 'w'; its columns are id, v/)
  await wrong({ where: 'w = 1' }, /w/)
  await wrong({ where: 'id +' }, /`id \+`/)
  await wrong({ where: 'id + 1' }, /condition/)
  await t.throwsAsync(table.deleteWhere('id ='), { code: 'EXPRESSION_INVALID' })
  await table.close()
})

/** A table of several files, of which each takes a moment to be read. */
async function large(t: ExecutionContext, name: string): Promise<string> {
  t.timeout(60_000)
  const path = join(folder, name)
  const table = await DeltaTable.open({ path, writeMode: 'append' })
  for (let i = 0; i < 40; i++) await table.append(small(i * 20_000, (i + 1) * 20_000, 'x'.repeat(50)))
  await table.close()
  return path
}

test.serial('leaving the loop and aborting stop the readers', async (t) => {
  const path = await large(t, 'large')
  let batches = 0
  for await (const batch of scanTable(path)) {
    t.true(batch.numRows > 0)
    if (++batches === 2) break
  }
  const controller = new AbortController()
  const read = async () => {
    for await (const _ of scanTable(path, { signal: controller.signal })) controller.abort(new Error('enough'))
  }
  await t.throwsAsync(read, { message: 'enough' })
  const aborted = scanTable(path, { signal: AbortSignal.abort(new Error('before')) })
  await t.throwsAsync(aborted.toTable(), { message: 'before' })
  // Nobody holds a file open.
  await sleep(100)
  const open = readdirSync('/proc/self/fd').length
  t.true(open < 200, `${open} open files`)
  let rows = 0
  for await (const batch of scanTable(path)) rows += batch.numRows
  t.is(rows, 800_000)
})

test('tableChanges needs no open table', async (t) => {
  const changes = tableChanges(join(folder, 'feed-alone'), 0)
  await t.throwsAsync(changes.toTable(), { code: 'STORAGE_DENIED' })
})
