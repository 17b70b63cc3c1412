/** Random schemas and values, encoded by avsc and read back from Arrow; and messages cut off or changed. */
import test from 'ava'
import { TableDecoder } from '../../src/debezium/decoder.js'
import { avscType, batchOf, confluent, decodeAll, decodeWith, encode, schemaSource } from '../debezium/support.js'

const SEED = Number(process.env.SEED ?? Date.now() % 1_000_000_000)

function generator(seed: number) {
  let state = seed >>> 0
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
  const below = (n: number) => Math.floor(next() * n)
  const pick = <T>(items: readonly T[]): T => items[below(items.length)] as T
  return { next, below, pick }
}

type Random = ReturnType<typeof generator>

interface Kind {
  schema: unknown
  value: (random: Random) => unknown
  /** The value as the tests read it from Arrow. */
  plain: (value: never) => unknown
}

const INTS = [0, 1, -1, 63, 64, -64, -65, 8191, 8192, 1048575, 1048576, 134217727, 134217728, 2147483647, -2147483648]
const LONGS = [0n, 1n, -1n, 2n ** 31n, -(2n ** 31n), 2n ** 53n + 1n, -(2n ** 53n) - 1n, 2n ** 63n - 1n, -(2n ** 63n)]
const TEXTS = [
  '',
  'a',
  'é',
  '日本語',
  '🎉🎉',
  'x'.repeat(47),
  'y'.repeat(48),
  'long '.repeat(300),
  '\u0000',
  'false',
  'true',
]

const same = (value: unknown) => value
const plainFloat = (value: number) => Math.fround(value)

const SCALARS: ((random: Random, name: () => string) => Kind)[] = [
  () => ({ schema: 'boolean', value: (r) => r.below(2) === 1, plain: same }),
  () => ({ schema: 'int', value: (r) => (r.below(2) ? r.pick(INTS) : r.below(4294967296) | 0), plain: same }),
  () => ({
    schema: 'long',
    value: (r) => {
      if (r.below(2)) return r.pick(LONGS)
      const bits = BigInt(r.below(64))
      return BigInt.asIntN(64, (BigInt(r.below(4294967296)) << 32n) | BigInt(r.below(4294967296))) >> bits
    },
    plain: same,
  }),
  () => ({
    schema: 'float',
    value: (r) => Math.fround(r.pick([0, 1.5, -3.25, 1e30, Infinity, r.next()])),
    plain: plainFloat,
  }),
  () => ({
    schema: 'double',
    value: (r) => r.pick([0, -1.5, 1e300, -Infinity, r.next(), Number.MIN_VALUE]),
    plain: same,
  }),
  () => ({ schema: 'string', value: (r) => r.pick(TEXTS), plain: same }),
  () => ({
    schema: 'bytes',
    value: (r) => Buffer.from(Array.from({ length: r.below(70) }, () => r.below(256))),
    plain: (v: Buffer) => v.toString('hex'),
  }),
  (_, name) => ({
    schema: { type: 'enum', name: name(), symbols: ['A', 'B', 'LONGER'] },
    value: (r) => r.pick(['A', 'B', 'LONGER']),
    plain: same,
  }),
  (r, name) => {
    const size = 1 + r.below(20)
    return {
      schema: { type: 'fixed', name: name(), size },
      value: (q) => Buffer.from(Array.from({ length: size }, () => q.below(256))),
      plain: (v: Buffer) => v.toString('hex'),
    }
  },
]

function randomKind(random: Random, depth: number, name: () => string): Kind {
  const shape = depth > 0 ? random.below(10) : 0
  if (shape < 5) return random.pick(SCALARS)(random, name)
  if (shape === 5 || shape === 6) {
    const inner = randomKind(random, depth - 1, name)
    if (Array.isArray(inner.schema)) return inner
    const nullFirst = random.below(2) === 0
    return {
      schema: nullFirst ? ['null', inner.schema] : [inner.schema, 'null'],
      value: (r) => (r.below(3) === 0 ? null : inner.value(r)),
      plain: (v: unknown) => (v === null ? null : inner.plain(v as never)),
    }
  }
  if (shape === 7) {
    const inner = randomKind(random, depth - 1, name)
    return {
      schema: { type: 'array', items: inner.schema },
      value: (r) => Array.from({ length: r.pick([0, 1, 2, 5, 100]) }, () => inner.value(r)),
      plain: (v: unknown[]) => v.map((item) => inner.plain(item as never)),
    }
  }
  if (shape === 8) {
    const inner = randomKind(random, depth - 1, name)
    return {
      schema: { type: 'map', values: inner.schema },
      value: (r) => Object.fromEntries(Array.from({ length: r.below(4) }, (_, i) => [`k${i}`, inner.value(r)])),
      plain: (v: Record<string, unknown>) =>
        Object.entries(v).map(([key, value]) => ({ key, value: inner.plain(value as never) })),
    }
  }
  const fields = Array.from({ length: 1 + random.below(4) }, (_, i) => ({
    name: `f${i}`,
    kind: randomKind(random, depth - 1, name),
  }))
  return {
    schema: { type: 'record', name: name(), fields: fields.map((f) => ({ name: f.name, type: f.kind.schema })) },
    value: (r) => Object.fromEntries(fields.map((f) => [f.name, f.kind.value(r)])),
    plain: (v: Record<string, unknown>) =>
      Object.fromEntries(fields.map((f) => [f.name, f.kind.plain(v[f.name] as never)])),
  }
}

function randomTable(random: Random, columns: number) {
  let names = 0
  const fields = Array.from({ length: columns }, (_, i) => ({
    name: `c${i}`,
    kind: randomKind(random, 3, () => `N${names++}`),
  }))
  return {
    fields,
    schema: {
      type: 'record',
      name: 'Value',
      fields: [{ name: 'id', type: 'long' }, ...fields.map((f) => ({ name: f.name, type: f.kind.schema }))],
    },
  }
}

const KEY = { type: 'record', name: 'Key', fields: [{ name: 'id', type: 'long' }] }

test(`random schemas and values come back as they went (SEED=${SEED})`, async (t) => {
  const random = generator(SEED)
  for (let round = 0; round < 60; round++) {
    const { fields, schema } = randomTable(random, round % 20 === 0 ? 150 : 1 + random.below(12))
    const values = Array.from({ length: 1 + random.below(80) }, (_, i) => ({
      id: BigInt(i),
      ...Object.fromEntries(fields.map((f) => [f.name, f.kind.value(random)])),
    })) as Record<string, unknown>[]
    const { rows } = await decodeAll(
      { topic: 't' },
      { 1: KEY, 2: schema },
      values.map((value) => ({ key: encode(1, KEY, { id: value.id }), value: encode(2, schema, value) })),
    )
    t.is(rows.length, values.length)
    for (const [i, value] of values.entries()) {
      for (const { name, kind } of fields) {
        t.deepEqual(
          rows[i]?.[name],
          kind.plain(value[name] as never),
          `round ${round}, row ${i}, ${name}: ${JSON.stringify(kind.schema)}`,
        )
      }
    }
  }
})

test(`cut or changed messages are bad records or rows, and harm no other (SEED=${SEED})`, async (t) => {
  const random = generator(SEED + 1)
  const deadline = Date.now() + 4000
  let bad = 0
  let taken = 0
  for (let round = 0; round < 200 && Date.now() < deadline; round++) {
    const { fields, schema } = randomTable(random, 1 + random.below(8))
    const type = avscType(schema)
    const value = (id: number) => ({
      id: BigInt(id),
      ...Object.fromEntries(fields.map((f) => [f.name, f.kind.value(random)])),
    })
    const decoder = new TableDecoder({ topic: 't', onBadRecord: 'collect' }, schemaSource({ 1: KEY, 2: schema }))
    const good: { id: number; value: Record<string, unknown> }[] = []
    const messages = []
    for (let id = 0; id < 60; id++) {
      const row = value(id) as Record<string, unknown>
      let payload = Buffer.from(type.toBuffer(row))
      if (random.below(2) === 0 && payload.length > 0) {
        const way = random.below(3)
        if (way === 0) payload = payload.subarray(0, random.below(payload.length))
        else if (way === 1) payload[random.below(payload.length)] = random.pick([0x80, 0xff, 0x7f, random.below(256)])
        else payload = Buffer.concat([payload, Buffer.from([random.below(256)])])
      } else good.push({ id, value: row })
      messages.push({ key: encode(1, KEY, { id: BigInt(id) }), value: confluent(2, payload) })
    }
    const { batch, rows } = await decodeWith(decoder, batchOf('t', messages))
    t.is(rows.length + batch.badRecords.length, messages.length)
    bad += batch.badRecords.length
    taken += rows.length
    for (const { id, value: row } of good) {
      const found = rows.find((candidate) => candidate.id === BigInt(id)) as Record<string, unknown>
      t.truthy(found, `the row ${id} is lost`)
      for (const { name, kind } of fields) t.deepEqual(found[name], kind.plain(row[name] as never))
    }
  }
  t.true(bad > 100 && taken > 100)
})
