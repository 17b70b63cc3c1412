/** Values of every type, through the addon into a Delta table and back. SEED gives a run again. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Data, Table } from 'apache-arrow'
import test from 'ava'
import { TableDecoder } from '../../src/debezium/decoder.js'
import { DeltaTable } from '../../src/delta/table.js'
import { batchOf, confluent, decodeWith, encode, plainAt, schemaSource } from '../debezium/support.js'
import { wrappedType } from '../helpers/avsc-long.js'
import { generator, ROUNDS, SEED } from '../helpers/random.js'
import { readTable } from '../helpers/read.js'
import { difference } from '../helpers/reference.js'
import { type RandomTable, randomTable, SCALARS } from './schemas.js'

const KEY = { type: 'record', name: 'Key', fields: [{ name: 'id', type: 'long' }] }
const CONTROL = ['_op', '_part', '_seq', '_epoch', '_old_key', '_left_out']

/** One column of each type, each nullable. */
function everyType(): RandomTable {
  const random = generator(SEED)
  let names = 0
  const columns = SCALARS.map((make, i) => {
    const kind = make(random, () => `E${names++}`)
    return {
      name: `c${i}`,
      kind,
      options: { outOfRange: 'null' as const, time: 'string' as const, smallIntegers: true },
    }
  })
  return {
    columns,
    schema: {
      type: 'record',
      name: 'Value',
      fields: [{ name: 'id', type: 'long' }, ...columns.map((c) => ({ name: c.name, type: c.kind.schema }))],
    },
    row: (id, values) => ({
      id: BigInt(id),
      ...Object.fromEntries(columns.map((c) => [c.name, c.kind.value(values)])),
    }),
  }
}

function rowsById(table: Table): Map<unknown, Record<string, unknown>> {
  const rows = new Map<unknown, Record<string, unknown>>()
  for (const batch of table.batches) {
    for (let row = 0; row < batch.numRows; row++) {
      const value = Object.fromEntries(
        table.schema.fields.map((field, i) => [field.name, plainAt(batch.data.children[i] as Data, row)]),
      )
      rows.set(value.id, value)
    }
  }
  return rows
}

function typeOf({ columns }: RandomTable, different: string): unknown {
  return columns.find(({ name }) => new RegExp(`^\\.${name}\\b`).test(different))?.kind.schema
}

test(`what is decoded is what a reader of the table finds (SEED=${SEED})`, async (t) => {
  const random = generator(SEED)
  const folder = mkdtempSync(join(tmpdir(), 'kafka2delta-types-'))
  try {
    for (let round = 0; round < 6 * ROUNDS; round++) {
      const shape = round === 0 ? everyType() : randomTable(random, 1 + random.below(10))
      const type = wrappedType(shape.schema)
      const columns = Object.fromEntries(shape.columns.map(({ name, options }) => [name, options]))
      const decoder = new TableDecoder(
        { topic: 't', onBadRecord: 'skip', columns },
        schemaSource({ 1: KEY, 2: shape.schema }),
      )
      const messages = Array.from({ length: 60 }, (_, id) => ({
        key: encode(1, KEY, { id: BigInt(id) }),
        value: confluent(2, type.toBuffer(shape.row(id, { random, outside: 1 }))),
      }))
      const { batch, rows } = await decodeWith(decoder, batchOf('t', messages))
      if (batch.ipc === null) continue
      const path = join(folder, String(round))
      const table = await DeltaTable.open({ path, primaryKey: ['id'] })
      await table.merge(batch.ipc)
      await table.close()
      const stored = rowsById(await readTable(path))
      t.is(stored.size, rows.length)
      for (const row of rows) {
        const expected = Object.fromEntries(Object.entries(row).filter(([name]) => !CONTROL.includes(name)))
        const different = difference(expected, stored.get(row.id))
        if (different === null) continue
        t.fail(`round ${round}, row ${row.id}: ${different}: ${JSON.stringify(typeOf(shape, different))}`)
        return
      }
    }
  } finally {
    rmSync(folder, { recursive: true })
  }
})
