/** All captured topics, compared value by value with avsc's objects and conversions of the test's own. */

import test from 'ava'
import { Op } from '../../src/debezium/change-batch.js'
import { avscType, decimalText, decodeAll, fixtureMessages, fixtureSchemas, fixtureTopics } from './support.js'

const SETS = [
  'flat',
  'flat-adaptive',
  'hard',
  'hard-seq',
  'hard-env',
  'envelope',
  'mariadb-flat',
  'mariadb-flat-adaptive',
  'mariadb-envelope',
]

const PLACEHOLDER = '__debezium_unavailable_value'
const PLACEHOLDER_BYTES = [...Buffer.from(PLACEHOLDER)]
const LEFT_OUT = Symbol('left out')

type Schema = string | Schema[] | { type: Schema; [key: string]: unknown }

interface Context {
  names: Map<string, Schema>
  namespace: string
}

function unscaled(bytes: Uint8Array): bigint {
  return BigInt.asIntN(bytes.length * 8, BigInt(`0x${Buffer.from(bytes).toString('hex')}`))
}

function fixedText(value: bigint, scale: number): string {
  const digits = (value < 0n ? -value : value).toString().padStart(scale + 1, '0')
  const text = scale === 0 ? digits : `${digits.slice(0, digits.length - scale)}.${digits.slice(digits.length - scale)}`
  return value < 0n ? `-${text}` : text
}

function inRange(micros: bigint): bigint | null {
  return micros >= -62_135_596_800_000_000n && micros <= 253_402_300_799_999_999n ? micros : null
}

function isoMicros(text: string): bigint | null {
  const parts = /^(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d)(?::(\d\d)(?:\.(\d+))?)?Z$/.exec(text)
  if (parts === null) return null
  const [, y, mo, d, h, mi, s = '0', fraction = ''] = parts
  const millis = Date.UTC(2000, Number(mo) - 1, Number(d), Number(h), Number(mi), Number(s))
  const date = new Date(millis)
  date.setUTCFullYear(Number(y), Number(mo) - 1, Number(d))
  return BigInt(date.getTime()) * 1000n + BigInt(fraction.padEnd(6, '0').slice(0, 6))
}

/** What a value must be in Arrow, by the types table. Values out of range are null: the test's option says so. */
function expected(schema: Schema, value: unknown, context: Context): unknown {
  if (value === null || value === undefined) return null
  if (Array.isArray(schema)) {
    const branch = schema.find((item) => item !== 'null') as Schema
    return expected(branch, value, context)
  }
  if (typeof schema === 'string') {
    const named = context.names.get(schema) ?? context.names.get(`${context.namespace}.${schema}`)
    if (named !== undefined) return expected(named, value, context)
    schema = { type: schema }
  }
  const name = String(schema['connect.name'] ?? '').replace(/^.*\./, '')
  switch (name) {
    case 'Date': {
      const days = Number(value)
      return days >= -719162 && days <= 2932896 ? days : null
    }
    case 'Timestamp':
      return inRange((value as bigint) * 1000n)
    case 'MicroTimestamp':
      return inRange(value as bigint)
    case 'ZonedTimestamp':
      return isoMicros(value as string)
    case 'VariableScaleDecimal': {
      const { scale, value: bytes } = value as { scale: number; value: Buffer }
      return fixedText(unscaled(bytes), scale)
    }
    case 'Decimal': {
      const [precision, scale] = [Number(schema.precision), Number(schema.scale)]
      const number = unscaled(value as Buffer)
      if (scale > 1023) return decimalText(number / 10n ** BigInt(scale), 0)
      const money = precision === 64
      return precision > 38 && !money ? fixedText(number, scale) : decimalText(number, scale)
    }
  }
  switch (schema.type) {
    case 'bytes':
      return Buffer.from(value as Buffer).toString('hex')
    case 'array':
      return (value as unknown[]).map((item) => expected(schema.items as Schema, item, context))
    case 'record':
      return Object.fromEntries(
        (schema.fields as { name: string; type: Schema }[]).map((field) => [
          field.name,
          expected(field.type, (value as Record<string, unknown>)[field.name], context),
        ]),
      )
    default:
      return value
  }
}

/** By the raw value, whether it is the placeholder in one of its forms. */
function isLeftOut(value: unknown): boolean {
  if (value === PLACEHOLDER || value === JSON.stringify({ [PLACEHOLDER]: PLACEHOLDER })) return true
  if (value instanceof Uint8Array) return Buffer.from(value).toString() === PLACEHOLDER
  if (!Array.isArray(value)) return false
  if (value.length === 1) return isLeftOut(value[0]) || value[0] === 'b68a35a7-17ad-35b3-af2a-ae46edb4545a'
  return value.length === PLACEHOLDER_BYTES.length && value.every((item, i) => Number(item) === PLACEHOLDER_BYTES[i])
}

function collectNames(schema: Schema, names: Map<string, Schema>, namespace: string): void {
  if (typeof schema === 'string') return
  if (Array.isArray(schema)) {
    for (const item of schema) collectNames(item, names, namespace)
    return
  }
  if (schema.type === 'record') {
    const inner = String(schema.namespace ?? namespace)
    names.set(`${inner}.${String(schema.name)}`, schema)
    for (const field of schema.fields as { type: Schema }[]) collectNames(field.type, names, inner)
  } else if (schema.type === 'array') collectNames(schema.items as Schema, names, namespace)
  else if (typeof schema.type === 'object') collectNames(schema.type, names, namespace)
}

for (const set of SETS) {
  for (const topic of fixtureTopics(set)) {
    test(`${set}: ${topic}`, async (t) => {
      const schemas = fixtureSchemas(set)
      const parsed = new Map<number, { schema: Schema; context: Context; type: ReturnType<typeof avscType> }>()
      const read = (bytes: Buffer) => {
        const id = bytes.readInt32BE(1)
        let known = parsed.get(id)
        if (known === undefined) {
          const raw = schemas[id]
          const schema = (typeof raw === 'string' ? JSON.parse(raw) : raw) as Schema & { namespace?: string }
          const names = new Map<string, Schema>()
          collectNames(schema, names, schema.namespace ?? '')
          known = { schema, context: { names, namespace: schema.namespace ?? '' }, type: avscType(schema) }
          parsed.set(id, known)
        }
        return { ...known, value: known.type.fromBuffer(bytes.subarray(5)) as Record<string, unknown> }
      }
      const messages = fixtureMessages(set, topic)
      const primaryKey = topic.endsWith('.nopk') ? ['x', 'y'] : undefined
      const { batch, rows } = await decodeAll(
        {
          topic,
          orderGuard: 'off',
          defaults: { outOfRange: 'null' },
          ...(primaryKey === undefined ? {} : { primaryKey }),
        },
        schemas,
        messages,
      )
      t.deepEqual(batch.badRecords, [])
      const byPartition = [...new Set(messages.map((message) => message.partition))].flatMap((partition) =>
        messages.filter((message) => message.partition === partition),
      )
      let at = 0
      let ignored = 0
      for (const { key, value, headers } of byPartition) {
        const keyed = key === null ? null : read(key)
        const event = value === null ? null : read(value)
        if (event !== null && 'ddl' in event.value) {
          ignored++
          continue
        }
        if (event === null && primaryKey !== undefined) {
          ignored++
          continue
        }
        const row = rows[at++] as Record<string, unknown>
        const envelope = event !== null && 'after' in event.value
        const source = envelope ? (event.value.after as Record<string, unknown> | null) : (event?.value ?? null)
        const operation = envelope ? event.value.op : source?.__deleted === 'true' ? 'd' : 'u'
        const deleted = event === null || operation === 'd'
        const removal = headers?.['__debezium.newkey'] === undefined ? Op.delete : Op.moved
        t.is(row._op, operation === 't' ? Op.truncate : deleted ? removal : Op.upsert)
        const fields = fieldsOf(event, envelope)
        const leftOut = (row._left_out ?? {}) as Record<string, boolean>
        for (const [name, stored] of Object.entries(row)) {
          if (name.startsWith('_') && ['_op', '_part', '_seq', '_epoch', '_old_key', '_left_out'].includes(name))
            continue
          const raw = keyed !== null && name in keyed.value ? keyed.value[name] : source?.[name]
          const isKey = keyed === null ? (primaryKey?.includes(name) ?? false) : name in keyed.value
          const before = envelope && deleted && isKey ? (event.value.before as Record<string, unknown>)[name] : raw
          let wanted: unknown = null
          if (operation !== 't' && (isKey || !deleted)) {
            wanted = fields.has(name)
              ? expected(fields.get(name) as Schema, before, (event ?? keyed)?.context as Context)
              : before
          }
          if (!isKey && !deleted && isLeftOut(raw)) wanted = LEFT_OUT
          t.is(leftOut[name] ?? false, wanted === LEFT_OUT, `${name} left out`)
          // A column that a later schema widened to long holds the int as a BigInt.
          if (typeof stored === 'bigint' && typeof wanted === 'number') wanted = BigInt(wanted)
          t.deepEqual(stored, wanted === LEFT_OUT ? null : (wanted ?? null), `${name} of row ${at - 1}`)
        }
        const otherKey = headers?.['__debezium.oldkey'] ?? headers?.['__debezium.newkey']
        const before = envelope ? (event.value.before as Record<string, unknown> | null) : null
        // Without a message key, the connector sends no delete of the key that an update changed.
        if (
          primaryKey !== undefined &&
          operation === 'u' &&
          before &&
          primaryKey.some((n) => before[n] !== source?.[n])
        ) {
          const wanted = Object.fromEntries(primaryKey.map((name) => [name, before[name]]))
          t.deepEqual(row._old_key, wanted)
          const moved = rows[at++] as Record<string, unknown>
          t.is(moved._op, Op.moved)
          for (const name of fields.keys()) t.deepEqual(moved[name], wanted[name] ?? null, `${name} of the old row`)
        } else if (otherKey !== undefined && primaryKey === undefined && event !== null) {
          // A tombstone follows a delete that told it.
          t.deepEqual(row._old_key, JSON.parse(String(otherKey)), 'the key of the other half')
        } else t.is(row._old_key ?? null, null)
      }
      t.is(at, rows.length)
      t.is(batch.numIgnored, ignored)
      t.false(
        rows.some((row) =>
          JSON.stringify(row, (_, v) => (typeof v === 'bigint' ? String(v) : v)).includes(PLACEHOLDER),
        ),
      )
    })
  }
}

function fieldsOf(event: { schema: Schema; context: Context } | null, envelope: boolean): Map<string, Schema> {
  if (event === null) return new Map()
  let schema = event.schema as unknown as { fields: { name: string; type: Schema }[] }
  if (envelope) {
    const before = schema.fields.find((field) => field.name === 'before')?.type as Schema[]
    schema = before.find((item) => item !== 'null') as unknown as typeof schema
  }
  return new Map(schema.fields.map((field) => [field.name, field.type]))
}
