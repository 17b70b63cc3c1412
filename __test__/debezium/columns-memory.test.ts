/** What the decoder keeps of memory, and how long it keeps others waiting. */

import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises'
import { tableFromIPC } from 'apache-arrow'
import test from 'ava'
import { TableDecoder } from '../../src/debezium/decoder.js'
import { bufferBytes, MB } from '../helpers/memory.js'
import { batchOf, encode, schemaSource } from './support.js'

const KEY = { type: 'record', name: 'Key', fields: [{ name: 'id', type: 'long' }] }
const columns = (count: number) => ({
  type: 'record',
  name: 'Value',
  fields: [
    { name: 'id', type: 'long' },
    ...Array.from({ length: count }, (_, i) => ({ name: `c${i}`, type: ['null', 'double'], default: null })),
  ],
})

function wide(numColumns: number, numRows: number) {
  const schema = columns(numColumns)
  const empty = Object.fromEntries(Array.from({ length: numColumns }, (_, i) => [`c${i}`, null]))
  const messages = Array.from({ length: numRows }, (_, id) => ({
    key: encode(1, KEY, { id: BigInt(id) }),
    value: id < 10 ? encode(2, schema, { ...empty, id: BigInt(id), c0: id / 2 }) : VALUE(schema, empty, id),
  }))
  return { source: schemaSource({ 1: KEY, 2: schema }), batch: batchOf('t', messages) }
}

const cache = new Map<object, Buffer>()
const VALUE = (schema: object, empty: object, id: number) => {
  const known = cache.get(schema) ?? encode(2, schema, { ...empty, id: BigInt(id) })
  cache.set(schema, known)
  return known
}

test('tables that have nothing to decode keep no columns', async (t) => {
  const { source, batch } = wide(30, 20_000)
  const before = await bufferBytes()
  const decoders = Array.from({ length: 40 }, () => new TableDecoder({ topic: 't' }, source))
  for (const decoder of decoders) await decoder.decode(batch)
  for (let round = 0; round < 100 && (await bufferBytes()) - before > 10 * MB; round++) await sleep(100)
  t.true((await bufferBytes()) - before < 10 * MB)
  // They go on with new columns.
  const again = await decoders[0]?.decode(batch)
  t.is(tableFromIPC(again?.ipc as Uint8Array).numRows, 20_000)
})

test('the decoder tells what its columns hold', async (t) => {
  const { source, batch } = wide(30, 20_000)
  const decoder = new TableDecoder({ topic: 't' }, source)
  const told: number[] = []
  decoder.onHeld = (bytes) => told.push(bytes)
  await decoder.decode(batch)
  const held = told.at(-1) ?? 0
  // 30 columns of eight bytes, each with a byte for null; keys and controls.
  t.true(held > 20_000 * 30 * 9 && held < 20_000 * 30 * 11, `${held} bytes`)
  while (told.at(-1) !== 0) await sleep(50)
  t.deepEqual(told, [held, 0])
})

test('a message that is too large is a bad record by the option', async (t) => {
  const { source, batch } = wide(600, 20)
  const [first] = batch.ranges[0]?.messages ?? []
  const size = (first?.key?.length ?? 0) + (first?.value?.length ?? 0)
  const decoder = (onBadRecord: 'fail' | 'skip' | 'collect') =>
    new TableDecoder({ topic: 't', onBadRecord, maxMessageBytes: size - 1 }, source)
  // The first ten have a value more.
  const { numRows, badRecords } = await decoder('collect').decode(batch)
  t.deepEqual([numRows, badRecords.length], [10, 10])
  t.deepEqual(badRecords[0]?.value, first?.value)
  t.regex(badRecords[0]?.reason ?? '', /^its \d+ bytes are more than a message may have.*limits\.maxMemory/)
  t.like(await decoder('skip').decode(batch), { numRows: 10 })
  await t.throwsAsync(decoder('fail').decode(batch), { code: 'BAD_RECORD', message: /offset 0: its/ })
})

test('a long decode lets others have their turn', async (t) => {
  const { source, batch } = wide(600, 20_000)
  const decoder = new TableDecoder({ topic: 't' }, source)
  let isDone = false
  const decoding = decoder.decode(batch).finally(() => {
    isDone = true
  })
  let turns = 0
  while (!isDone) {
    await nextTurn()
    turns++
  }
  await decoding
  // Turns before the schemas are there do not count.
  t.true(turns > 5, `${turns} turns`)
})

test('calls that overlap fill the columns one after another', async (t) => {
  const { source, batch } = wide(100, 5_000)
  const decoder = new TableDecoder({ topic: 't' }, source)
  const all = await Promise.all([decoder.decode(batch), decoder.decode(batch), decoder.decode(batch)])
  for (const { ipc } of all) {
    const table = tableFromIPC(ipc as Uint8Array)
    t.is(table.numRows, 5_000)
    t.deepEqual([table.getChild('c0')?.get(9), table.getChild('id')?.get(9)], [4.5, 9n])
  }
})
