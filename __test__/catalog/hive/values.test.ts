import test from 'ava'
import thrift from 'thrift'
import {
  bool,
  i32,
  readStruct,
  type Struct,
  struct,
  structs,
  TYPE,
  text,
  textMap,
  texts,
  writeStruct,
} from '../../../src/catalog/hive/values.js'

function written(value: Struct): Buffer {
  let bytes: Buffer = Buffer.alloc(0)
  const protocol = new thrift.TBinaryProtocol(
    new thrift.TBufferedTransport(undefined, (all) => {
      bytes = all
    }),
    true,
    true,
  )
  writeStruct(protocol, value)
  protocol.flush()
  return bytes
}

function read(bytes: Buffer): Struct {
  let value: Struct = new Map()
  thrift.TBufferedTransport.receiver((transport) => {
    value = readStruct(new thrift.TBinaryProtocol(transport, true, true))
  })(bytes)
  return value
}

test('a struct of all types comes back as it was', (t) => {
  const value: Struct = new Map([
    [1, text('größe')],
    [2, bool(true)],
    [3, i32(-7)],
    [4, { type: TYPE.byte, value: 3 }],
    [5, { type: TYPE.i16, value: -300 }],
    [6, { type: TYPE.double, value: 0.1 }],
    [7, struct(new Map([[300, text('')]]))],
    [8, structs([new Map(), new Map([[1, bool(false)]])])],
    [9, texts(['a', 'b'])],
    [10, textMap({ k: 'v', e: '' })],
    [11, { type: TYPE.set, value: { of: TYPE.i32, items: [1, 2] } }],
  ])
  t.deepEqual(read(written(value)), value)
})

test('bytes that are no text, and numbers of 64 bits, are written as they were read', (t) => {
  const fields: Struct = new Map([
    [1, { type: TYPE.string, value: Buffer.from([0xff, 0x00, 0xc3]) }],
    [2, text('after')],
  ])
  const bytes = written(fields)
  t.deepEqual(written(read(bytes)), bytes)
  const long = Buffer.from([TYPE.i64, 0, 19, 0x81, 2, 3, 4, 5, 6, 7, 0xff, TYPE.stop])
  t.deepEqual(written(read(long)), long)
})
