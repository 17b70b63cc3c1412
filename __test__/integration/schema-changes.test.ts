/** Schemas that change under way, from messages in a broker into tables, with a new start between the batches. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { StructRowProxy } from 'apache-arrow'
import test, { type ExecutionContext } from 'ava'
import { decimalText } from '../../src/arrow/raw-values.js'
import { DeltaTable } from '../../src/delta/table.js'
import { EmbeddedBroker } from '../../src/demo/broker/index.js'
import { EmbeddedRegistry } from '../../src/demo/registry.js'
import { streamToDelta } from '../../src/index.js'
import type { TableOptions } from '../../src/options/types.js'
import { encode } from '../debezium/support.js'
import { readRows } from '../helpers/read.js'

const folder = mkdtempSync(join(tmpdir(), 'kafka2delta-changes-'))
let broker: EmbeddedBroker
let registry: EmbeddedRegistry
let schemaId = 0

test.before(async () => {
  broker = await EmbeddedBroker.start()
  registry = await EmbeddedRegistry.start()
})

test.after.always(async () => {
  await broker.close()
  await registry.close()
  rmSync(folder, { recursive: true, force: true })
})

const record = (name: string, fields: Record<string, unknown>) => ({
  type: 'record',
  name,
  fields: Object.entries(fields).map(([field, type]) => ({ name: field, type })),
})

/** A topic, its table, and messages by their schemas. */
class Case {
  readonly path: string

  constructor(
    readonly topic: string,
    public key: Record<string, unknown>,
    readonly table: Omit<TableOptions, 'path'> = {},
  ) {
    this.path = join(folder, topic)
    broker.createTopic(topic)
  }

  #register(schema: object): number {
    registry.setSchema(++schemaId, schema)
    return schemaId
  }

  /** Appends rows of a schema, each with its key; a null for a tombstone. */
  append(fields: Record<string, unknown> | null, rows: { key: object; value: object | null }[]): void {
    const keySchema = record('Key', this.key)
    const keyId = this.#register(keySchema)
    const schema = fields === null ? null : record('Value', fields)
    const valueId = schema === null ? 0 : this.#register(schema)
    const records = rows.map(({ key, value }) => ({
      key: encode(keyId, keySchema, key),
      value: value === null ? null : encode(valueId, schema, value),
    }))
    broker.append(this.topic, 0, records)
  }

  /** Starts a query that ends when it has applied what is there. */
  async run(more: Partial<TableOptions> = {}): Promise<void> {
    const query = await streamToDelta({
      queryName: 'changes',
      kafka: { brokers: broker.brokers },
      schemaRegistry: { url: registry.url },
      tables: { [this.topic]: { path: this.path, ...this.table, ...more } },
      trigger: { availableNow: true },
    })
    await query.awaitTermination()
  }

  /** The rows in the order of their ids, with some columns or all. */
  async read(...columns: string[]): Promise<Record<string, unknown>[]> {
    const rows = await readRows(this.path, { ...(columns.length > 0 && { columns }), orderBy: ['id'] })
    return rows.map((row) => JSON.parse(JSON.stringify(row, (_, v) => (typeof v === 'bigint' ? Number(v) : v))))
  }

  async exists(): Promise<boolean> {
    const table = await DeltaTable.open({ path: this.path })
    try {
      return (await table.info()).exists
    } finally {
      await table.close()
    }
  }
}

const ID = { id: 'int' }

test.serial('tombstones come before the first row: the table waits for the row, and each start ends', async (t) => {
  const table = { additionalCols: ['YEAR(created) AS year'], partitionCols: ['year'] }
  const topic = new Case('changes.public.late', ID, table)
  topic.append(null, [
    { key: { id: 1 }, value: null },
    { key: { id: 2 }, value: null },
  ])
  for (let start = 0; start < 2; start++) {
    await topic.run()
    t.false(await topic.exists())
  }
  const created = { type: 'long', 'connect.name': 'io.debezium.time.Timestamp' }
  topic.append({ id: 'int', created }, [
    { key: { id: 1 }, value: { id: 1, created: 1_714_979_289_000n } },
    { key: { id: 3 }, value: { id: 3, created: 1_614_979_289_000n } },
  ])
  topic.append(null, [{ key: { id: 3 }, value: null }])
  await topic.run()
  const rows = [{ id: 1, year: 2024 }]
  t.deepEqual(await topic.read('id', 'year'), rows)
  const delta = await DeltaTable.open({ path: topic.path })
  const { offsets, version } = await delta.info()
  t.deepEqual(
    offsets.filter(({ appId }) => appId.endsWith(':0')).map(({ version }) => version),
    [4n],
  )
  await topic.run()
  t.is((await delta.refresh()).version, version)
  await delta.close()
})

test.serial('rows of an older schema come before the column that the table is partitioned by', async (t) => {
  const table = { additionalCols: ['upper(name) AS loud'], partitionCols: ['region'], clusterBy: 'name' }
  const topic = new Case('changes.public.older', ID, table)
  topic.append({ id: 'int' }, [
    { key: { id: 1 }, value: { id: 1 } },
    { key: { id: 2 }, value: { id: 2 } },
  ])
  await topic.run()
  topic.append({ id: 'int', name: 'string', region: 'int' }, [
    { key: { id: 2 }, value: { id: 2, name: 'b', region: 7 } },
  ])
  await topic.run()
  t.deepEqual(await topic.read('id', 'loud', 'region'), [
    { id: 1, loud: null, region: null },
    { id: 2, loud: 'B', region: 7 },
  ])
})

const geometry = (more: Record<string, unknown>) => ({
  ...record('Geometry', { wkb: 'bytes', srid: ['null', 'int'], ...more }),
  'connect.name': 'io.debezium.data.geometry.Geometry',
})

for (const restarts of [true, false]) {
  test.serial(`fields within records, arrays and maps change, ${restarts ? 'new starts' : 'one start'}`, async (t) => {
    const topic = new Case(`changes.public.nested${restarts ? 1 : 2}`, ID)
    const next = async () => (restarts ? topic.run() : undefined)
    const old = geometry({})
    const counts = (type: string) => ({ type: 'array', items: type })
    topic.append({ id: 'int', place: old, counts: counts('int') }, [
      { key: { id: 1 }, value: { id: 1, place: { wkb: Buffer.from('a'), srid: 1 }, counts: [1] } },
    ])
    await next()
    const wider = { ...geometry({ extensions: ['null', 'string'] }) }
    wider.fields.reverse()
    topic.append({ id: 'int', place: wider, counts: counts('long') }, [
      {
        key: { id: 2 },
        value: { id: 2, place: { extensions: 'e', srid: null, wkb: Buffer.from('b') }, counts: [2n ** 40n] },
      },
    ])
    await next()
    topic.append({ id: 'int', place: old, counts: counts('int') }, [
      { key: { id: 3 }, value: { id: 3, place: { wkb: Buffer.from('c'), srid: 3 }, counts: [3] } },
    ])
    await topic.run()
    const rows = await readRows(topic.path, { columns: ['id', 'place', 'counts'], orderBy: ['id'] })
    const shown = rows.map(({ id, place, counts }) => {
      const { wkb, srid, extensions: ext } = (place as StructRowProxy).toJSON()
      return { id, wkb: Buffer.from(wkb).toString(), srid, ext, n: Number([...(counts as Iterable<bigint>)][0]) }
    })
    t.deepEqual(shown, [
      { id: 1, wkb: 'a', srid: 1, ext: null, n: 1 },
      { id: 2, wkb: 'b', srid: null, ext: 'e', n: 2 ** 40 },
      { id: 3, wkb: 'c', srid: 3, ext: null, n: 3 },
    ])
  })
}

test.serial('a key with an empty text in the column that the table is partitioned by is one row', async (t) => {
  const key = { region: 'string', id: 'int' }
  const topic = new Case('changes.public.empty', key, { partitionCols: ['region'] })
  for (const name of ['first', 'second', 'third']) {
    const of = { region: '', id: 1 }
    topic.append({ ...key, name: 'string' }, [{ key: of, value: { ...of, name } }])
    await topic.run()
  }
  t.deepEqual(await topic.read(), [{ region: null, id: 1, name: 'third' }])
})

test.serial('key columns in another order, in one run and after a new start', async (t) => {
  for (const restarts of [true, false]) {
    const topic = new Case(`changes.public.turned_${restarts}`, { a: 'int', b: 'int' })
    const fields = { a: 'int', b: 'int', v: 'string' }
    const rows = [
      { a: 1, b: 2, v: 'x' },
      { a: 2, b: 1, v: 'y' },
    ]
    topic.append(
      fields,
      rows.map((value) => ({ key: { a: value.a, b: value.b }, value })),
    )
    if (restarts) await topic.run()
    topic.key = { b: 'int', a: 'int' }
    topic.append(fields, [{ key: { a: 1, b: 2 }, value: { a: 1, b: 2, v: 'z' } }])
    topic.append(null, [{ key: { a: 2, b: 1 }, value: null }])
    await topic.run()
    const stored = await readRows(topic.path)
    t.deepEqual(
      stored.map(({ a, b, v }) => [a, b, v]),
      [[1, 2, 'z']],
    )
  }
})

/** The remedies that a refusal names, each tried. */
const numeric = (name: string, more: object) => ({ 'connect.name': name, ...more })
const DECIMAL = numeric('org.apache.kafka.connect.data.Decimal', {
  type: 'bytes',
  scale: 2,
  precision: 10,
  logicalType: 'decimal',
  'connect.parameters': { scale: '2', 'connect.decimal.precision': '10' },
})
const VARIABLE = numeric('io.debezium.data.VariableScaleDecimal', record('Variable', { scale: 'int', value: 'bytes' }))

async function refused(t: ExecutionContext, topic: Case, says: string): Promise<void> {
  const error = await t.throwsAsync(topic.run())
  t.true(error?.message.includes(says), error?.message)
}

test.serial('a numeric that loses its scale: the refusal names the option, which works', async (t) => {
  const topic = new Case('changes.public.numeric', ID)
  topic.append({ id: 'int', p: DECIMAL }, [{ key: { id: 1 }, value: { id: 1, p: Buffer.from([125]) } }])
  await topic.run()
  const value = { scale: 1, value: Buffer.from([25]) }
  topic.append({ id: 'int', p: VARIABLE }, [{ key: { id: 2 }, value: { id: 2, p: value } }])
  await refused(t, topic, `columns: { "p": { decimal: 'decimal(10,2)' } }`)
  await topic.run({ columns: { p: { decimal: 'decimal(10,2)' } } })
  const rows = await readRows(topic.path, { columns: ['id', 'p'], orderBy: ['id'] })
  t.deepEqual(
    rows.map(({ p }) => decimalText(p as Uint32Array, 2)),
    ['1.25', '2.50'],
  )
})

test.serial('a column that becomes another type: a column of its own is named, which works', async (t) => {
  const topic = new Case('changes.public.other', ID)
  topic.append({ id: 'int', v: 'int' }, [{ key: { id: 1 }, value: { id: 1, v: 1 } }])
  await topic.run()
  topic.append({ id: 'int', v: 'boolean' }, [{ key: { id: 2 }, value: { id: 2, v: true } }])
  await refused(t, topic, 'renameColumns: { "v": <new name> }')
  await topic.run({ renameColumns: { v: 'v2' } })
  t.deepEqual(await topic.read('id', 'v', 'v2'), [
    { id: 1, v: 1, v2: null },
    { id: 2, v: null, v2: true },
  ])
})

test.serial('an additional column with the name of the topic’s: renameColumns is named, which works', async (t) => {
  const topic = new Case('changes.public.named', ID, { additionalCols: ['upper(v) AS w', 'id + 1 AS year'] })
  topic.append({ id: 'int', v: 'string', year: 'int' }, [{ key: { id: 1 }, value: { id: 1, v: 'a', year: 5 } }])
  await refused(t, topic, "renameColumns: { 'year': <new name> }")
  await topic.run({ renameColumns: { year: 'year_of_source' } })
  t.deepEqual(await topic.read('year', 'year_of_source', 'w'), [{ year: 2, year_of_source: 5, w: 'A' }])
})
