import test from 'ava'
import avsc from 'avsc'
import { ConfluentEncoder } from '../../src/demo/shop-encoder.js'

const SCHEMA: avsc.Schema = { type: 'record', name: 'Row', fields: [{ name: 'text', type: 'string' }] }

test('messages of all sizes hold what was encoded, also those before a larger one', (t) => {
  const type = avsc.Type.forSchema(SCHEMA)
  const encoder = new ConfluentEncoder(SCHEMA as object, 7)
  // Around the 64 KB of a block, and far beyond.
  const sizes = [10, 65_520, 65_523, 65_524, 65_525, 65_528, 65_536, 3, 200_000, 0, 30_000, 30_000, 30_000, 1_000_000]
  const texts = sizes.map((size, n) => String.fromCharCode(97 + n).repeat(size))
  const messages = texts.map((text) => encoder.encode({ text }))
  for (const [n, message] of messages.entries()) {
    t.is(message.readUInt8(0), 0)
    t.is(message.readInt32BE(1), 7)
    t.true((type.fromBuffer(message.subarray(5)) as { text: string }).text === texts[n], `${sizes[n]} characters`)
  }
})
