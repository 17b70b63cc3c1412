/**
 * Decoding alone: rows per CPU second of the columnar decoder, of avsc's objects and of the registry client's `decode`.
 *
 *   npx tsx benchmark/decode.ts [rows] [rounds]
 *
 * The columnar decoder reads key and value and writes the Arrow IPC stream; the others read key and value to objects and
 * nothing more. All run in this process, one after another, on the same messages; the best round of each counts.
 */

import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { SchemaRegistry } from '@kafkajs/confluent-schema-registry'
import avsc from 'avsc'
import { bigLong } from '../__test__/helpers/avsc-long.js'
import { TableDecoder } from '../src/debezium/decoder.js'
import type { RawMessage } from '../src/kafka/micro-batch.js'

const ROWS = Number(process.argv[2] ?? 100_000)
const ROUNDS = Number(process.argv[3] ?? 7)

const nullable = (type: unknown) => ['null', type]
const DECIMAL = {
  type: 'bytes',
  logicalType: 'decimal',
  precision: 10,
  scale: 2,
  'connect.name': 'org.apache.kafka.connect.data.Decimal',
  'connect.parameters': { scale: '2', 'connect.decimal.precision': '10' },
}
const DATE = { type: 'int', logicalType: 'date', 'connect.name': 'org.apache.kafka.connect.data.Date' }
const MICROS = { type: 'long', 'connect.name': 'io.debezium.time.MicroTimestamp' }
const ZONED = { type: 'string', 'connect.name': 'io.debezium.time.ZonedTimestamp' }

interface Shape {
  name: string
  fields: [string, unknown][]
  row: (i: number) => Record<string, unknown>
}

const control = (i: number) => ({
  __deleted: i % 50 === 49 ? 'true' : 'false',
  __timestamp: 1_795_424_574_300 + i,
  __log_sequence_number: 22_503_360 + i * 8,
})
const CONTROL: [string, unknown][] = [
  ['__deleted', nullable('string')],
  ['__timestamp', nullable('long')],
  ['__log_sequence_number', nullable('long')],
]

const narrow: Shape = {
  name: 'narrow (7 columns)',
  fields: [['id', 'long'], ['name', 'string'], ['email', nullable('string')], ['created_at', DATE], ...CONTROL],
  row: (i) => ({
    id: i,
    name: `Customer ${i}`,
    email: `customer${i}@example.com`,
    created_at: 19_000 + (i % 700),
    ...control(i),
  }),
}

const wide: Shape = {
  name: 'wide (22 columns)',
  fields: [
    ['id', 'long'],
    ...['first_name', 'last_name', 'street', 'city', 'note', 'sku'].map((name): [string, unknown] => [
      name,
      nullable('string'),
    ]),
    ...['quantity', 'status', 'version'].map((name): [string, unknown] => [name, nullable('int')]),
    ...['price', 'tax'].map((name): [string, unknown] => [name, nullable(DECIMAL)]),
    ['ordered', DATE],
    ['created', nullable(MICROS)],
    ['updated', nullable(ZONED)],
    ['weight', nullable('double')],
    ['ratio', nullable('float')],
    ['active', nullable('boolean')],
    ['tags', nullable({ type: 'array', items: nullable('string') })],
    ...CONTROL,
  ],
  row: (i) => ({
    id: i,
    first_name: `First ${i}`,
    last_name: `Last ${i}`,
    street: `${i} Long Street Name`,
    city: i % 3 === 0 ? null : 'Amsterdam',
    note: i % 2 === 0 ? null : 'a note of about forty characters, mostly',
    sku: `SKU-${i % 1000}`,
    quantity: i % 100,
    status: i % 7,
    version: i,
    price: Buffer.from([1, 2, i & 255]),
    tax: Buffer.from([i & 127]),
    ordered: 19_000 + (i % 700),
    created: 1_709_212_455_123_456 + i,
    updated: '2024-02-29T11:14:15.123456Z',
    weight: i / 3,
    ratio: i / 2,
    active: i % 2 === 0,
    tags: ['red', 'blue'],
    ...control(i),
  }),
}

const record = (name: string, fields: [string, unknown][]) => ({
  type: 'record',
  name,
  fields: fields.map(([field, type]) => ({ name: field, type })),
})

const KEY_ID = 1
const VALUE_ID = 2

async function measure(run: () => Promise<unknown> | unknown): Promise<number> {
  let best = 0
  for (let round = 0; round < ROUNDS; round++) {
    const before = process.cpuUsage()
    await run()
    const { user, system } = process.cpuUsage(before)
    best = Math.max(best, ROWS / ((user + system) / 1e6))
  }
  return best
}

async function bench(shape: Shape): Promise<void> {
  const keySchema = record('Key', shape.fields.slice(0, 1))
  const valueSchema = record('Value', shape.fields)
  const keyType = avsc.Type.forSchema(keySchema as never)
  const valueType = avsc.Type.forSchema(valueSchema as never)
  const exact = { registry: {}, typeHook: (schema: unknown) => (isLong(schema) ? bigLong : undefined) }
  const exactKey = avsc.Type.forSchema(keySchema as never, { ...exact, registry: {} } as never)
  const exactValue = avsc.Type.forSchema(valueSchema as never, { ...exact, registry: {} } as never)

  const header = (id: number) => Buffer.from([0, 0, 0, 0, id])
  const pieces: Buffer[] = []
  for (let i = 0; i < ROWS; i++) {
    const row = shape.row(i)
    pieces.push(Buffer.concat([header(KEY_ID), keyType.toBuffer({ id: row.id })]))
    pieces.push(Buffer.concat([header(VALUE_ID), valueType.toBuffer(row)]))
  }
  // Slices of one buffer, as in a fetch response.
  const all = Buffer.concat(pieces)
  const messages: RawMessage[] = []
  let at = 0
  for (let i = 0; i < ROWS; i++) {
    const keyEnd = at + (pieces[2 * i] as Buffer).length
    const end = keyEnd + (pieces[2 * i + 1] as Buffer).length
    messages.push({
      offset: String(i),
      timestamp: '0',
      key: all.subarray(at, keyEnd),
      value: all.subarray(keyEnd, end),
      headers: {},
    })
    at = end
  }

  const schemas = new Map<number, unknown>([
    [KEY_ID, keySchema],
    [VALUE_ID, valueSchema],
  ])
  const decoder = new TableDecoder({ topic: 'bench' }, { get: async (id) => schemas.get(id) as never })
  const batch = {
    topic: 'bench',
    ranges: [{ partition: 0, firstOffset: 0n, lastOffset: BigInt(ROWS - 1), messages }],
    numMessages: ROWS,
    numPartitions: 1,
    numBytes: all.length,
  }
  const ours = await measure(() => decoder.decode(batch))

  const objects = await measure(() => {
    for (const { key, value } of messages) {
      exactKey.fromBuffer((key as Buffer).subarray(5))
      exactValue.fromBuffer((value as Buffer).subarray(5))
    }
  })

  const server = createServer((request, response) => {
    const id = Number(request.url?.split('/').pop())
    response.setHeader('content-type', 'application/json')
    response.end(JSON.stringify({ schema: JSON.stringify(schemas.get(id)) }))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const registry = new SchemaRegistry({ host: `http://127.0.0.1:${(server.address() as AddressInfo).port}` })
  const client = await measure(async () => {
    for (const { key, value } of messages) {
      await registry.decode(key as Buffer)
      await registry.decode(value as Buffer)
    }
  })
  server.close()
  server.closeAllConnections()

  const line = (name: string, rate: number) =>
    console.log(
      `  ${name.padEnd(34)} ${Math.round(rate).toLocaleString('en').padStart(12)} rows/CPU s   ours is ${(ours / rate).toFixed(1)}x`,
    )
  console.log(`${shape.name}: ${ROWS.toLocaleString('en')} rows, ${Math.round(all.length / ROWS)} bytes each`)
  line('columns to Arrow IPC (ours)', ours)
  line('avsc objects, 64-bit exact', objects)
  line('registry client decode', client)
}

function isLong(schema: unknown): boolean {
  return (
    schema === 'long' ||
    (typeof schema === 'object' && schema !== null && (schema as { type?: unknown }).type === 'long')
  )
}

await bench(narrow)
await bench(wide)
