/** Structs, lists and maps whose fields come, go, change their order and grow. */

import type { Random } from '../../helpers/random.js'
import { type ColumnType, double, float, int, long, same, text } from './random-columns.js'

interface Field {
  name: string
  type: ColumnType
}

const string = (): ColumnType => ({
  kind: 'string',
  schema: 'string',
  make: text,
  avro: same,
  fits: (value) => typeof value === 'string',
  madeUp: '',
})
const inner = (random: Random): ColumnType => random.pick([int, long, float, double, string])()

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null

const newName = (random: Random) => `S${random.below(1e9)}`

/** A column with parts. */
export function nested(random: Random): ColumnType {
  const field = (name: string): Field => ({ name, type: inner(random) })
  const fields = Array.from({ length: 1 + random.below(3) }, (_, i) => field(`f${i}`))
  const make = random.pick([
    () => struct(newName(random), fields, 3),
    () => list(random.pick([int, float])()),
    () => map(random.pick([int, float])()),
    () => list(struct(newName(random), fields, 3)),
    () => struct(newName(random), [...fields, { name: 'inner', type: struct(newName(random), [field('g0')], 1) }], 3),
  ])
  return make()
}

function struct(name: string, fields: readonly Field[], nextField: number): ColumnType {
  const schema = {
    type: 'record',
    name,
    namespace: 'random',
    fields: fields.map((f) => ({ name: f.name, type: ['null', f.type.schema], default: null })),
  }
  const each = (make: (field: Field) => unknown) => Object.fromEntries(fields.map((f) => [f.name, make(f)]))
  const fits = (value: unknown) => {
    if (!isRecord(value)) return false
    return fields.every((f) => f.name in value && (value[f.name] === null || f.type.fits(value[f.name])))
  }
  const grow = (random: Random): ColumnType => {
    const next = [...fields]
    const at = random.below(next.length)
    const one = next[at] as Field
    const what = random.pick(['add', 'add', 'drop', 'order', 'widen', 'widen'])
    if (what === 'add') {
      next.splice(random.below(next.length + 1), 0, { name: `f${nextField}`, type: inner(random) })
    } else if (what === 'drop' && next.length > 1) next.splice(at, 1)
    else if (what === 'order') next.reverse()
    else next[at] = { ...one, type: one.type.grow?.(random) ?? one.type.wider?.() ?? one.type }
    return struct(name, next, nextField + 1)
  }
  return {
    kind: `struct(${fields.map((f) => `${f.name} ${f.type.kind}`).join(', ')})`,
    schema,
    make: (random) => each((f) => (random.next() < 0.15 ? null : f.type.make(random))),
    avro: (value) => each((f) => (isRecord(value) && value[f.name] !== null ? f.type.avro(value[f.name]) : null)),
    fits,
    madeUp: each(() => null),
    grow,
  }
}

function list(item: ColumnType): ColumnType {
  return {
    kind: `list(${item.kind})`,
    schema: { type: 'array', items: ['null', item.schema] },
    make: (random) => Array.from({ length: random.below(4) }, () => (random.next() < 0.2 ? null : item.make(random))),
    avro: (value) => (value as unknown[]).map((one) => (one === null ? null : item.avro(one))),
    fits: (value) => Array.isArray(value) && value.every((one) => one === null || item.fits(one)),
    madeUp: [],
    grow: (random) => list(item.grow?.(random) ?? item.wider?.() ?? item),
  }
}

function map(value: ColumnType): ColumnType {
  const each = (entries: unknown, make: (one: unknown) => unknown) =>
    Object.fromEntries(Object.entries(entries as object).map(([key, one]) => [key, one === null ? null : make(one)]))
  return {
    kind: `map(${value.kind})`,
    schema: { type: 'map', values: ['null', value.schema] },
    make: (random) =>
      Object.fromEntries(
        Array.from({ length: random.below(4) }, (_, i) => [`k${i}`, random.next() < 0.2 ? null : value.make(random)]),
      ),
    avro: (entries) => each(entries, value.avro),
    fits: (entries) => isRecord(entries) && Object.values(entries).every((one) => one === null || value.fits(one)),
    madeUp: {},
    grow: () => map(value.wider?.() ?? value),
  }
}
