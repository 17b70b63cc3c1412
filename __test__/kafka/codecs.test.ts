import { randomBytes } from 'node:crypto'
import test from 'ava'
import kafkajs from 'kafkajs'
import * as snappy from 'snappy'
import { lz4Codec, registerCodecs, snappyCodec, zstdCodec } from '../../src/kafka/codecs.js'
import { drain, FakeTable, makeSource, startBroker, TOPIC } from './support.js'

const { CompressionCodecs, CompressionTypes, Kafka, logLevel, Partitioners } = kafkajs

for (const [name, codec] of Object.entries({ snappy: snappyCodec, lz4: lz4Codec, zstd: zstdCodec })) {
  test(`${name} gives back what it compressed`, async (t) => {
    for (const size of [0, 1, 100, 32 * 1024, 200_000]) {
      const buffer = Buffer.concat([randomBytes(size), Buffer.alloc(size, 'a')])
      t.true(buffer.equals(await codec.decompress(await codec.compress({ buffer }))), `${size} bytes`)
    }
  })

  test(`${name} refuses damaged bytes with an error`, async (t) => {
    const good = await codec.compress({ buffer: Buffer.alloc(100_000, 'abc') })
    await t.throwsAsync(codec.decompress(good.subarray(0, good.length - 7)))
    await t.throwsAsync(codec.decompress(randomBytes(64)))
  })
}

test('snappy reads a bare block, as librdkafka sends it', async (t) => {
  const buffer = Buffer.from('hello hello hello')
  t.deepEqual(await snappyCodec.decompress(await snappy.compress(buffer)), buffer)
})

test.serial('a codec that the program registered stays', (t) => {
  const registered = CompressionCodecs as unknown as Record<number, () => unknown>
  const mine = { compress: async () => Buffer.alloc(0), decompress: async () => Buffer.alloc(0) }
  const before = registered[CompressionTypes.LZ4]
  registered[CompressionTypes.LZ4] = () => mine
  registerCodecs()
  t.is(registered[CompressionTypes.LZ4]?.(), mine)
  t.is(registered[CompressionTypes.ZSTD]?.(), zstdCodec)
  registered[CompressionTypes.LZ4] = before as () => unknown
  registerCodecs()
  t.is(registered[CompressionTypes.LZ4]?.(), lz4Codec)
})

test.serial('a source reads every compression', async (t) => {
  registerCodecs()
  const broker = await startBroker(t)
  const producer = new Kafka({ brokers: broker.brokers, logLevel: logLevel.NOTHING }).producer({
    createPartitioner: Partitioners.DefaultPartitioner,
  })
  await producer.connect()
  const { None, GZIP, Snappy, LZ4, ZSTD } = CompressionTypes
  for (const compression of [None, GZIP, Snappy, LZ4, ZSTD]) {
    await producer.send({
      topic: TOPIC,
      compression,
      messages: [{ value: `a${compression}` }, { value: `b${compression}` }],
    })
  }
  await producer.disconnect()
  const table = new FakeTable()
  const source = makeSource(t, broker, { trigger: { availableNow: true } }, table.stored)
  await source.start()
  await drain(source, table)
  t.deepEqual(
    table.values,
    [0, 1, 2, 3, 4].flatMap((c) => [`a${c}`, `b${c}`]),
  )
})
