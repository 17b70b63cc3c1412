import test from 'ava'
import { BytesBuilder, FixedBuilder, packBits, packValidity } from '../../src/arrow/builders.js'
import { builderFor, type ListBuilder } from '../../src/arrow/nested-builders.js'
import { type ColumnType, deltaTypeName, widen } from '../../src/arrow/types.js'
import { putBytes } from '../../src/avro/store-values.js'
import { plainAt } from '../debezium/support.js'

const put = (builder: BytesBuilder, row: number, text: string) =>
  putBytes(builder, row, Buffer.from(text), 0, Buffer.byteLength(text))

test('rows that nothing was written to are null, also in a builder that is used again', (t) => {
  const builder = new BytesBuilder({ kind: 'string' }, 'c')
  for (const rows of [5, 3, 5000, 2]) {
    builder.reset(rows)
    put(builder, 1, 'text')
    const data = builder.finish(rows)
    t.is(data?.length, rows)
    t.is(data?.nullCount, rows - 1)
    t.is(data && plainAt(data, 0), null)
    t.is(data && plainAt(data, 1), 'text')
  }
})

test('a row that is taken back leaves no trace', (t) => {
  const builder = new BytesBuilder({ kind: 'string' }, 'c')
  builder.reset(4)
  put(builder, 0, 'keep')
  put(builder, 1, 'gone')
  builder.clear(1)
  builder.clear(2)
  put(builder, 1, 'new')
  const data = builder.finish(3)
  t.deepEqual(data && [0, 1, 2].map((row) => plainAt(data, row)), ['keep', 'new', null])
  t.is(data?.values.length, 'keepnew'.length)
})

test('an array that is taken back takes its items along', (t) => {
  const builder = builderFor({ kind: 'array', items: { kind: 'string' } }, 'c') as ListBuilder
  const items = builder.child as BytesBuilder
  const append = (row: number, texts: string[], whole = true) => {
    builder.start = builder.count
    builder.startRow = row
    builder.reserve(texts.length)
    for (const text of texts) put(items, builder.count++, text)
    if (!whole) return
    builder.offsets[row + 1] = builder.count
    builder.valid[row] = 1
  }
  builder.reset(4)
  append(0, ['a', 'b'])
  append(1, ['c', 'd', 'e'], false)
  builder.clear(1)
  append(
    1,
    Array.from({ length: 100 }, (_, i) => `n${i}`),
  )
  const data = builder.finish(3)
  t.deepEqual(data && plainAt(data, 0), ['a', 'b'])
  t.deepEqual(
    data && plainAt(data, 1),
    Array.from({ length: 100 }, (_, i) => `n${i}`),
  )
  t.is(data && plainAt(data, 2), null)
})

test('a character split between two values is not UTF-8', (t) => {
  const builder = new BytesBuilder({ kind: 'string' }, 'c')
  builder.reset(2)
  putBytes(builder, 0, Buffer.from([0xc3]), 0, 1)
  putBytes(builder, 1, Buffer.from([0xa9]), 0, 1)
  t.is(builder.finish(2), null)
})

test('bits are packed, the lowest first', (t) => {
  const bytes = Uint8Array.from({ length: 21 }, (_, i) => (i % 3 === 0 ? 1 : 0))
  const bits = packBits(bytes, 21)
  for (let i = 0; i < 21; i++) t.is(((bits[i >> 3] as number) >> (i & 7)) & 1, bytes[i] as number)
  t.is(packValidity(bytes, 21).nullCount, 14)
  t.is(packValidity(new Uint8Array(9).fill(1), 9).nullBitmap, null)
})

test('small integers are narrowed', (t) => {
  const builder = new FixedBuilder({ kind: 'short' }, 'c')
  builder.reset(1)
  builder.i32[0] = -32768
  builder.valid[0] = 1
  t.deepEqual(builder.finish(1).values, Int16Array.of(-32768))
})

test('types widen only where nothing is lost', (t) => {
  const decimal = (precision: number, scale: number): ColumnType => ({ kind: 'decimal', precision, scale })
  const name = (a: ColumnType, b: ColumnType) => {
    const wider = widen(a, b)
    return wider && deltaTypeName(wider)
  }
  t.is(name({ kind: 'integer' }, { kind: 'long' }), 'long')
  t.is(name({ kind: 'double' }, { kind: 'float' }), 'double')
  t.is(name(decimal(10, 2), decimal(8, 4)), 'decimal(12,4)')
  t.is(name(decimal(38, 0), decimal(38, 2)), null)
  // Whole numbers, in either order, where the other type has room for all of their digits.
  for (const [whole, digits] of [
    ['byte', 3],
    ['short', 5],
    ['integer', 10],
    ['long', 19],
  ] as const) {
    for (const [type, isHeld] of [
      [{ kind: 'float' }, digits <= 5],
      [{ kind: 'double' }, digits <= 10],
      [decimal(digits + 2, 2), true],
      [decimal(digits + 1, 2), false],
      [{ kind: 'string' }, false],
      [{ kind: 'boolean' }, false],
    ] as [ColumnType, boolean][]) {
      const wanted = isHeld ? deltaTypeName(type) : null
      t.deepEqual(
        [name({ kind: whole }, type), name(type, { kind: whole })],
        [wanted, wanted],
        `${whole}, ${type.kind}`,
      )
    }
  }
  t.is(name(decimal(38, 2), { kind: 'double' }), null)
  t.is(name({ kind: 'timestamp', utc: true }, { kind: 'timestamp', utc: false }), null)
  t.is(
    name(
      { kind: 'struct', fields: [{ name: 'a', type: { kind: 'integer' } }] },
      {
        kind: 'struct',
        fields: [
          { name: 'a', type: { kind: 'long' } },
          { name: 'b', type: { kind: 'string' } },
        ],
      },
    ),
    'struct<a:long,b:string>',
  )
})
