import test from 'ava'
import { crc32c } from '../../../src/demo/broker/crc32c.js'
import { KafkaProtocolError } from '../../../src/demo/broker/protocol.js'
import {
  buildBatch,
  buildControlBatch,
  buildEmptyBatch,
  isAbortMarker,
  readBatchHeader,
  readRecordPositions,
  setBatchPosition,
} from '../../../src/demo/broker/record-batch.js'
import { WireError, WireReader, WireWriter } from '../../../src/demo/broker/wire.js'

test('CRC-32C gives the published check values', (t) => {
  t.is(crc32c(Buffer.from('123456789')), 0xe3069283)
  t.is(crc32c(Buffer.alloc(32)), 0x8a9136aa)
  t.is(crc32c(Buffer.alloc(32, 0xff)), 0x62a8ab43)
  t.is(crc32c(Buffer.from('xx123456789'), 2), 0xe3069283)
})

test('a batch tells its offsets and timestamps, with gaps and times out of order', (t) => {
  const value = Buffer.from('v')
  const records = [
    { key: null, value, offset: 7, timestamp: 5000 },
    { key: value, value: null, offset: 300, timestamp: 4000 },
    { key: value, value: null, offset: 301, timestamp: 2 ** 41 },
  ]
  const batch = buildBatch(records, 3)
  const header = readBatchHeader(batch)
  t.like(header, { baseOffset: 7, lastOffset: 301, recordCount: 3, baseTimestamp: 5000, maxTimestamp: 2 ** 41 })
  t.deepEqual(
    readRecordPositions(batch, header),
    records.map(({ offset, timestamp }) => ({ offset, timestamp })),
  )
  setBatchPosition(batch, 1000)
  t.like(readBatchHeader(batch), { baseOffset: 1000, lastOffset: 1294 })
  t.throws(() => buildBatch(records, 8), { message: /offset 7 is taken/ })
})

test('empty and control batches', (t) => {
  t.like(readBatchHeader(buildEmptyBatch(100, 10)), { baseOffset: 100, lastOffset: 109, recordCount: 0 })
  for (const outcome of ['commit', 'abort'] as const) {
    const batch = buildControlBatch(5, 77, outcome)
    t.like(readBatchHeader(batch), { control: true, transactional: true, producerId: 77, lastOffset: 5 })
    t.is(isAbortMarker(batch), outcome === 'abort')
  }
})

test('every damaged byte of a batch is noticed', (t) => {
  const batch = buildBatch([{ key: Buffer.from('k'), value: Buffer.from('value'), timestamp: 1 }], 0)
  for (let i = 0; i < batch.length; i++) {
    // Base offset and leader epoch are outside of the CRC.
    if (i < 8 || (i >= 12 && i < 16)) continue
    const damaged = Buffer.from(batch)
    damaged.writeUInt8(damaged.readUInt8(i) ^ 0x10, i)
    t.throws(() => readBatchHeader(damaged), { instanceOf: KafkaProtocolError }, `byte ${i}`)
  }
  for (let length = 0; length < batch.length; length++) {
    t.throws(() => readBatchHeader(batch.subarray(0, length)), { instanceOf: KafkaProtocolError })
  }
})

test('protocol types come back as written, and short input is an error', (t) => {
  const written = new WireWriter(4)
  written
    .int8(-1)
    .int16(-2)
    .int32(-3)
    .int64(-(2 ** 50))
    .boolean(true)
    .string('ä🎉')
    .string(null)
  written
    .bytes(Buffer.from('b'))
    .bytes(null)
    .array([1, 2], (w, n) => void w.int32(n))
  written.blocks([Buffer.from('one'), Buffer.from('two')])
  const size = written.size
  const bytes = written.toBuffer()
  t.is(bytes.length, size)
  const read = (input: Buffer) => {
    const r = new WireReader(input)
    return [
      r.int8(),
      r.int16(),
      r.int32(),
      r.int64(),
      r.boolean(),
      r.string(),
      r.nullableString(),
      r.bytes(),
      r.nullableBytes(),
      r.array((item) => item.int32()),
      r.bytes(),
      r.remaining,
    ]
  }
  t.deepEqual(read(bytes), [
    -1,
    -2,
    -3,
    -(2 ** 50),
    true,
    'ä🎉',
    null,
    Buffer.from('b'),
    null,
    [1, 2],
    Buffer.from('onetwo'),
    0,
  ])
  for (let length = 0; length < bytes.length; length++) {
    t.throws(() => read(bytes.subarray(0, length)), { instanceOf: WireError })
  }
})
