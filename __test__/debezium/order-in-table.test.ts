/** The order of changes as a table shows it: what decode says of it, and what the engine makes of that. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { TableDecoder } from '../../src/debezium/decoder.js'
import type { DecodeOptions } from '../../src/debezium/options.js'
import { DeltaTable } from '../../src/delta/table.js'
import { readRows } from '../helpers/read.js'
import { batchOf, encode, schemaSource, type TestMessage } from './support.js'

const folder = mkdtempSync(join(tmpdir(), 'kafka2delta-order-'))
test.after.always(() => rmSync(folder, { recursive: true, force: true }))

type Field = { name: string; type: unknown }
const optional = (type: unknown) => ['null', type]
const fields = (...pairs: [string, unknown][]): Field[] => pairs.map(([name, type]) => ({ name, type }))
const KEY = { type: 'record', name: 'Key', fields: fields(['id', 'int']) }
const envelope = (source: Field[]) => ({
  type: 'record',
  name: 'Envelope',
  fields: fields(
    ['before', optional({ type: 'record', name: 'Row', fields: fields(['id', 'int'], ['v', optional('string')]) })],
    ['after', optional('Row')],
    [
      'source',
      {
        type: 'record',
        name: 'Source',
        fields: [...fields(['connector', 'string'], ['snapshot', optional('string')]), ...source],
      },
    ],
    ['op', 'string'],
  ),
})

interface Change {
  id?: number
  v: string
  /** Batches are of one topic each: that of their first change. */
  topic?: string
  op?: string
  partition?: number
  /** Of the message; by default later messages have later ones. */
  time?: number
  source: Record<string, unknown>
}

let tables = 0

/**
 * Applies the batches, each one commit; returns what the table holds and how many changes were dropped as old.
 * @param restarts whether table and decoder are opened anew for each batch
 */
async function applyAll(source: Field[], batches: Change[][], options: Partial<DecodeOptions> = {}, restarts = false) {
  const schema = envelope(source)
  const newDecoder = (topic = 't') => new TableDecoder({ topic, ...options }, schemaSource({ 1: KEY, 2: schema }))
  const path = join(folder, String(tables++))
  const decoders = new Map<string, TableDecoder>()
  let table = await DeltaTable.open({ path })
  let dropped = 0
  let sent = 1000
  const onlyRemoves: (boolean | undefined)[] = []
  try {
    for (const batch of batches) {
      if (restarts) {
        await table.close()
        table = await DeltaTable.open({ path })
        decoders.clear()
      }
      const topic = batch[0]?.topic ?? 't'
      const decoder = decoders.get(topic) ?? newDecoder(topic)
      decoders.set(topic, decoder)
      const messages = batch.map(({ id = 1, v, op = 'u', partition = 0, time = sent++, source: own }): TestMessage => {
        const row = { id, v }
        const event = {
          before: op === 'd' ? row : null,
          after: op === 'd' || op === 't' ? null : row,
          source: { connector: 'x', snapshot: null, ...own },
          op,
        }
        const timestamp = String(time)
        const key = op === 't' ? null : encode(1, KEY, { id })
        return { partition, timestamp, key, value: encode(2, schema, event) }
      })
      const changes = await decoder.decode(batchOf(topic, messages, 4))
      onlyRemoves.push(changes.onlyRemoves)
      dropped += (await table.merge(changes.ipc, { primaryKey: changes.primaryKey })).numDroppedStale
    }
  } finally {
    await table.close()
  }
  const rows = await readRows(path, { columns: ['id', 'v'], orderBy: ['id'] })
  return { rows: rows.map(({ id, v }) => `${id}=${v}`), dropped, onlyRemoves }
}

async function apply(...given: Parameters<typeof applyAll>) {
  const { rows, dropped } = await applyAll(...given)
  return { rows, dropped }
}

/**
 * As one commit, and as one for each change. Dropped ones are counted in the latter: in one commit, changes of several
 * partitions are brought in order by their timestamps instead.
 */
async function expect(
  t: ExecutionContext,
  source: Field[],
  changes: Change[],
  wanted: { rows: string[]; dropped: number },
  options: Partial<DecodeOptions> = {},
) {
  const single = changes.map((change) => [change])
  t.deepEqual(await apply(source, single, options), wanted)
  t.deepEqual((await apply(source, [changes], options)).rows, wanted.rows)
}

const MYSQL = fields(['file', 'string'], ['pos', 'long'], ['row', 'int'], ['server_id', 'long'])
const binlog = (file: number, pos: number, server = 1) => ({
  file: `binlog.${String(file).padStart(6, '0')}`,
  pos: BigInt(pos),
  row: 0,
  server_id: BigInt(server),
})
const POSTGRES = fields(['sequence', optional('string')], ['lsn', optional('long')])
const lsn = (commit: number | null, own: number) => ({
  sequence: `[${commit === null ? 'null' : `"${commit}"`},"${own}"]`,
  lsn: BigInt(own),
})

test('within a partition no position makes a change old', async (t) => {
  // Of a replica under the same server_id, of a transaction whose events share a position, and going back.
  const changes: Change[] = [
    { v: 'before', source: binlog(900, 5000) },
    { v: 'replica', source: binlog(10, 4) },
    { v: 'same', source: binlog(10, 4) },
    { v: 'lower', source: binlog(10, 2) },
  ]
  await expect(t, MYSQL, changes, { rows: ['1=lower'], dropped: 0 })
  const gone: Change = { v: 'lower', op: 'd', source: binlog(9, 1) }
  await expect(t, MYSQL, [...changes, gone], { rows: [], dropped: 0 })
  const SQLSERVER = fields(['commit_lsn', 'string'], ['change_lsn', 'string'], ['event_serial_no', 'long'])
  const at = (change: number) => ({
    commit_lsn: '00000000:00000000:0010',
    change_lsn: `00000000:00000000:000${change}`,
    event_serial_no: 2n,
  })
  const statements: Change[] = [
    { v: 'first', source: at(7) },
    { v: 'second', source: at(4) },
  ]
  await expect(t, SQLSERVER, statements, { rows: ['1=second'], dropped: 0 })
  const first: Change[] = [
    { v: 'old', source: lsn(300, 350) },
    { v: 'new', source: lsn(null, 900) },
  ]
  await expect(t, POSTGRES, first, { rows: ['1=new'], dropped: 0 })
})

test('after a failover to another server, whose positions are lower, the timestamps count', async (t) => {
  const changes = (partition: number): Change[] => [
    { v: 'before', source: binlog(900, 5000), partition: 0 },
    { v: 'after', source: binlog(1, 4, 2), partition },
    { v: 'later', source: binlog(1, 90, 2), partition },
  ]
  await expect(t, MYSQL, changes(0), { rows: ['1=later'], dropped: 0 })
  const single = (list: Change[]) => list.map((change) => [change])
  t.deepEqual(await apply(MYSQL, single(changes(1))), { rows: ['1=later'], dropped: 0 })
  // On the new server, its own positions count again.
  const late = [...changes(1), { v: 'late', source: binlog(1, 50, 2), partition: 0 }]
  t.deepEqual(await apply(MYSQL, single(late)), { rows: ['1=later'], dropped: 1 })
})

test('file numbers are numbers: 10 follows 9, and 1000000 follows 999999', async (t) => {
  for (const [low, high] of [
    [9, 10],
    [999_999, 1_000_000],
  ] as const) {
    const changes: Change[] = [
      { v: 'new', source: binlog(high, 4), partition: 1 },
      { v: 'old', source: binlog(low, 9000), partition: 0 },
    ]
    t.deepEqual(await apply(MYSQL, [changes]), { rows: ['1=new'], dropped: 1 })
    t.deepEqual((await apply(MYSQL, [changes.slice(0, 1), changes.slice(1)])).rows, ['1=new'])
  }
})

test('partitions were added: what is left in the old one comes late, deletes included', async (t) => {
  const first: Change = { v: 'first', op: 'c', source: lsn(null, 10), partition: 0 }
  const late: Change = { v: 'late', source: lsn(10, 20), partition: 0 }
  const moved: Change = { v: 'moved', source: lsn(20, 30), partition: 3 }
  const gone: Change = { v: 'moved', op: 'd', source: lsn(20, 30), partition: 3 }
  await expect(t, POSTGRES, [first, moved, late], { rows: ['1=moved'], dropped: 1 })
  await expect(t, POSTGRES, [first, gone, late], { rows: [], dropped: 1 })
})

test('where positions tell nothing the timestamps do, and where these are equal the arrival', async (t) => {
  const unknown = { sequence: null, lsn: 99n }
  for (const [one, other] of [
    [lsn(5, 50), unknown],
    [unknown, lsn(1, 1)],
    [unknown, unknown],
    [lsn(5, 50), lsn(5, 50)],
  ] as const) {
    const late: Change[] = [
      { v: 'a', source: one, partition: 1, time: 20 },
      { v: 'b', source: other, partition: 0, time: 10 },
    ]
    await expect(t, POSTGRES, late, { rows: ['1=a'], dropped: 1 })
    const tie: Change[] = [
      { v: 'a', source: one, partition: 1, time: 20 },
      { v: 'b', source: other, partition: 0, time: 20 },
    ]
    await expect(t, POSTGRES, tie, { rows: ['1=b'], dropped: 0 })
  }
})

test('rows of snapshots have no position, whatever the event says', async (t) => {
  for (const snapshot of ['true', 'incremental']) {
    const changes: Change[] = [
      { v: 'streamed', source: lsn(90, 100), partition: 1 },
      { v: 'snapshot', op: 'r', source: { ...lsn(200, 210), snapshot }, partition: 1 },
      { v: 'open across the snapshot', source: lsn(40, 50), partition: 0 },
    ]
    await expect(t, POSTGRES, changes, { rows: ['1=open across the snapshot'], dropped: 0 })
  }
})

test('after a truncate, a source whose positions begin anew is applied as it comes', async (t) => {
  const ids = [1, 2, 3, 4, 5, 6]
  const of = (v: string, at: number, list: number[]): Change[] =>
    list.map((id, i) => ({ id, v, op: 'c', source: lsn(at + i, at + i), partition: id % 2 }))
  const before = of('before', 5000, ids)
  const truncate: Change = { v: '', op: 't', source: lsn(6000, 6000), partition: 0 }
  const after = of('after', 7000, [1, 2])
  const anew = of('anew', 100, ids)
  for (const restarts of [false, true]) {
    for (const move of [(change: Change) => ({ ...change, partition: 0 }), (change: Change) => change]) {
      const batches = [before, [truncate], after, anew].map((batch) => batch.map(move))
      const wanted = { rows: ids.map((id) => `${id}=anew`), dropped: 0 }
      t.deepEqual(await apply(POSTGRES, batches, {}, restarts), wanted)
      t.deepEqual(await apply(POSTGRES, [batches.flat()], {}, restarts), wanted)
    }
  }
})

test('a truncate that comes before there is a table makes one, and holds back what is older', async (t) => {
  const gone: Change = { id: 2, v: 'gone', op: 'd', source: lsn(400, 400), partition: 0, time: 40 }
  const truncate: Change = { v: '', op: 't', source: lsn(500, 500), partition: 0, time: 50 }
  const late: Change = { v: 'late', op: 'c', source: lsn(300, 300), partition: 1, time: 30 }
  const after: Change = { id: 3, v: 'after', op: 'c', source: lsn(600, 600), partition: 1, time: 60 }
  for (const restarts of [false, true]) {
    const { rows, dropped, onlyRemoves } = await applyAll(POSTGRES, [[gone, truncate], [late], [after]], {}, restarts)
    t.deepEqual({ rows, dropped }, { rows: ['3=after'], dropped: 1 })
    t.deepEqual(onlyRemoves, [false, false, false])
  }
})

test('of topics that share a table, the one that arrives last counts, and each has its own order', async (t) => {
  const unknown = { sequence: null, lsn: 99n }
  const shared = (changes: Change[], restarts = false) =>
    apply(
      POSTGRES,
      changes.map((change) => [change]),
      { shared: true },
      restarts,
    )
  for (const restarts of [false, true]) {
    for (const [one, other] of [
      [lsn(20, 30), lsn(10, 20)],
      [unknown, unknown],
      [unknown, lsn(10, 20)],
    ] as const) {
      for (const partition of [0, 1]) {
        const first: Change = { v: 'a', topic: 'a', source: one, partition: 0, time: 20 }
        const last: Change = { v: 'b', topic: 'b', source: other, partition, time: 10 }
        t.deepEqual(await shared([first, last], restarts), { rows: ['1=b'], dropped: 0 })
        t.deepEqual(await shared([{ ...first, op: 'd' }, last], restarts), { rows: ['1=b'], dropped: 0 })
      }
    }
    for (const [one, other] of [
      [lsn(20, 30), lsn(10, 20)],
      [unknown, unknown],
    ] as const) {
      const newest: Change = { v: 'newest', topic: 'a', source: one, partition: 0, time: 20 }
      const late: Change = { v: 'late', topic: 'a', source: other, partition: 1, time: 10 }
      t.deepEqual(await shared([newest, late], restarts), { rows: ['1=newest'], dropped: 1 })
    }
  }
})

test('the guard off: only the order of arrival counts', async (t) => {
  const changes: Change[] = [
    { v: 'newer', source: lsn(90, 100), partition: 1 },
    { v: 'older', source: lsn(40, 50), partition: 0, time: 1 },
  ]
  await expect(t, POSTGRES, changes, { rows: ['1=older'], dropped: 0 }, { orderGuard: 'off' })
  await expect(t, POSTGRES, changes, { rows: ['1=newer'], dropped: 1 })
})
