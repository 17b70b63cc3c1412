/**
 * Random schemas of every semantic type, encoded by avsc, decoded by the generated code, and compared value by value
 * with a second reading of the same rules.
 *
 * SEED gives a run again; ROUNDS=10 does ten times as many schemas.
 */

import test from 'ava'
import { TableDecoder } from '../../src/debezium/decoder.js'
import { batchOf, confluent, decodeWith, encode, schemaSource } from '../debezium/support.js'
import { wrappedType } from '../helpers/avsc-long.js'
import { generator, ROUNDS, SEED } from '../helpers/random.js'
import { difference, Malformed, Outside, reference } from '../helpers/reference.js'
import { randomTable } from './schemas.js'

const KEY = { type: 'record', name: 'Key', fields: [{ name: 'id', type: 'long' }] }

test(`random schemas of every type, value by value (SEED=${SEED})`, async (t) => {
  const random = generator(SEED)
  let bad = 0
  let good = 0
  for (let round = 0; round < 400 * ROUNDS; round++) {
    const table = randomTable(random, round % 100 === 0 ? 120 : 1 + random.below(8))
    const type = wrappedType(table.schema)
    const columns = Object.fromEntries(table.columns.map(({ name, options }) => [name, options]))
    const decoder = new TableDecoder(
      { topic: 't', onBadRecord: 'skip', columns },
      schemaSource({ 1: KEY, 2: table.schema }),
    )
    const columnsOf = table.columns.map(({ name, kind, options }) => ({ name, of: reference(kind.schema, options) }))
    // Outside values make rows bad: few of them in wide tables.
    const values = { random, outside: random.pick([0, 2, 20]) / Math.sqrt(table.columns.length) }
    const rows = Array.from({ length: 1 + random.below(30) }, (_, id) => table.row(id, values))
    const messages = rows.map((row) => ({
      key: encode(1, KEY, { id: row.id }),
      value: confluent(2, type.toBuffer(row)),
    }))
    const decoded = await decodeWith(decoder, batchOf('t', messages))
    const types = new Map(decoder.describe()?.columns.map(({ name, deltaType }) => [name, deltaType]))
    for (const { name, of } of columnsOf) {
      if (types.get(name) !== of.type) t.is(types.get(name), of.type, `round ${round}: the type of ${name}`)
    }
    const found = new Map(decoded.rows.map((row) => [row.id, row]))
    const badOffsets = new Map(decoded.batch.badRecords.map((record) => [record.offset, record.reason]))
    for (const row of rows) {
      const expected = expectedRow(row, columnsOf)
      const actual = found.get(row.id)
      const where = `round ${round}, row ${row.id}`
      if (expected instanceof Error) {
        bad++
        if (actual !== undefined || !badOffsets.has(String(row.id)))
          t.fail(`${where} is taken, but ${expected.message}`)
        continue
      }
      good++
      if (actual === undefined) t.fail(`${where} is refused: ${badOffsets.get(String(row.id))}`)
      else {
        const different = difference(expected, actual)
        if (different !== null) {
          const column = table.columns.find(({ name }) => new RegExp(`^\\.${name}\\b`).test(different))
          const { schema } = column?.kind ?? table
          t.fail(`${where}: ${different}: ${JSON.stringify(schema)} ${JSON.stringify(column?.options)}`)
          return
        }
      }
    }
    if (decoded.rows.length + badOffsets.size !== rows.length) t.fail(`round ${round}: rows are lost`)
  }
  t.log(`${good} rows equal, ${bad} refused as they should`)
  t.true(good > 1000 && bad > 20)
})

function expectedRow(
  row: Record<string, unknown>,
  columns: { name: string; of: ReturnType<typeof reference> }[],
): Record<string, unknown> | Error {
  try {
    return Object.fromEntries(columns.map(({ name, of }) => [name, of.convert(row[name])]))
  } catch (error) {
    if (error instanceof Outside || error instanceof Malformed) return error
    throw error
  }
}
