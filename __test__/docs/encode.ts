/** The messages of an example as Kafka has them: real Avro behind Confluent's header. */

import avsc from 'avsc'
import { Placeholder } from '../../src/avro/placeholder.js'
import type { RawMessage } from '../../src/kafka/micro-batch.js'
import { DECODER_DEFAULTS } from '../../src/options/defaults.js'
import { confluent, schemaSource } from '../debezium/support.js'
import { bigLong } from '../helpers/avsc-long.js'
import type { Example, FieldSpec, Message } from './parse.js'

type Json = string | Json[] | { [name: string]: unknown }
type Values = Record<string, unknown>

/** In an example's row: the change leaves the value out. */
const LEFT_OUT = '<unchanged>'

const optional = (type: Json): Json => ['null', type]

/** Of the flattened fields and of `source`: what `add.fields` names. */
const SOURCE_TYPES: Record<string, Json> = {
  connector: 'string',
  name: 'string',
  db: 'string',
  snapshot: optional('string'),
  sequence: optional('string'),
  lsn: optional('long'),
  file: optional('string'),
  pos: optional('long'),
  row: optional('int'),
  server_id: optional('long'),
}
const OF_POSTGRES = ['snapshot', 'sequence', 'lsn']
const OF_MYSQL = ['snapshot', 'file', 'pos', 'row', 'server_id']

function avroType(type: string): Json {
  const list = /^(.*)\[\]$/.exec(type)
  if (list !== null) return { type: 'array', items: avroType(list[1] as string) }
  const decimal = /^decimal\((\d+),(\d+)\)$/.exec(type)
  if (decimal === null) return type
  return {
    type: 'bytes',
    'connect.name': 'org.apache.kafka.connect.data.Decimal',
    'connect.parameters': { scale: decimal[2], 'connect.decimal.precision': decimal[1] },
    'connect.version': 1,
    logicalType: 'decimal',
    precision: Number(decimal[1]),
    scale: Number(decimal[2]),
  }
}

function decimalBytes(text: string, scale: number): Buffer {
  const [whole = '0', fraction = ''] = text.split('.')
  const unscaled = BigInt(whole + fraction.padEnd(scale, '0'))
  const hex = BigInt.asUintN(128, unscaled).toString(16).padStart(32, '0')
  return Buffer.from(hex, 'hex')
}

const TYPES = new Map<string, avsc.Type>()

function typeFor(schema: Json): avsc.Type {
  const text = JSON.stringify(schema)
  let type = TYPES.get(text)
  if (type === undefined) {
    const typeHook = (json: unknown) => {
      if (json === 'long') return bigLong
      const logical = json as { logicalType?: string } | null
      // Without its logical type, which avsc does not have: bytes.
      return logical?.logicalType === 'decimal' ? avsc.Type.forSchema('bytes') : undefined
    }
    type = avsc.Type.forSchema(schema as never, { registry: {}, wrapUnions: 'never', typeHook } as never)
    TYPES.set(text, type)
  }
  return type
}

export class Encoder {
  readonly schemas: Record<number, unknown> = {}
  /** As a registry: the same schema has the same id. */
  readonly source = schemaSource(this.schemas)
  private readonly ids = new Map<string, number>()
  private readonly offsets = new Map<number, number>()
  private readonly placeholder: Placeholder
  private position = 1000
  private sent = 1000

  constructor(private readonly example: Example) {
    const { unavailableValuePlaceholder = DECODER_DEFAULTS.unavailableValuePlaceholder } = example.options
    this.placeholder = new Placeholder(unavailableValuePlaceholder as string)
  }

  private encode(schema: Json, value: unknown): Buffer {
    const text = JSON.stringify(schema)
    let id = this.ids.get(text)
    if (id === undefined) {
      id = this.ids.size + 1
      this.ids.set(text, id)
      this.schemas[id] = schema
    }
    return confluent(id, typeFor(schema).toBuffer(value))
  }

  message(message: Message): RawMessage {
    const { partition, op, about } = message
    const offset = this.offsets.get(partition) ?? 0
    this.offsets.set(partition, offset + 1)
    const headers: Record<string, Buffer> = {}
    for (const [name, key] of [
      ['__debezium.newkey', about.newkey],
      ['__debezium.oldkey', about.oldkey],
    ] as const) {
      if (key !== undefined) headers[name] = this.key(message, key)
    }
    return {
      offset: String(offset),
      // Later messages have later ones, unless the example says.
      timestamp: String(about.time ?? this.sent++),
      key: message.key === null ? null : this.key(message, message.key),
      value: op === 'tombstone' ? null : op === 'raw' ? Buffer.from(String(message.row.raw)) : this.value(message),
      headers,
    }
  }

  private key({ keySpec: spec }: Message, key: unknown): Buffer {
    if (spec === null) throw new Error('the example has no key')
    if (typeof spec === 'string') return this.encode(spec, this.valueOf(key, spec))
    const schema = { type: 'record', name: 'Key', fields: spec.map(({ name, type }) => ({ name, type })) }
    return this.encode(schema, this.record(spec, key as Values))
  }

  private record(fields: FieldSpec[], values: Values): Values {
    return Object.fromEntries(fields.map(({ name, type }) => [name, this.valueOf(values[name] ?? null, type)]))
  }

  private valueOf(value: unknown, type: string): unknown {
    if (value === null) return null
    const list = /^(.*)\[\]$/.exec(type)
    const { bytes: text } = this.placeholder
    if (list !== null) {
      const items = value === LEFT_OUT ? (list[1] === 'string' ? [text.toString()] : [...text]) : (value as unknown[])
      return items.map((item) => this.valueOf(item, list[1] as string))
    }
    const decimal = /^decimal\(\d+,(\d+)\)$/.exec(type)
    if (decimal !== null) return decimalBytes(String(value), Number(decimal[1]))
    if (type === 'long') return BigInt(value as number)
    if (type === 'bytes') return value === LEFT_OUT ? text : Buffer.from(String(value))
    if (type === 'string') return value === LEFT_OUT ? text.toString() : String(value)
    return value
  }

  /** The row's fields: those of the key, and those that the example names. */
  private row({ key, row, fields }: Message, values: Values = row): Values {
    const { primaryKey } = this.example.options
    const bare = typeof primaryKey === 'string' ? { [primaryKey]: key } : {}
    const ofKey = typeof key === 'object' && key !== null ? key : bare
    return this.record(fields, { ...ofKey, ...values })
  }

  private value(message: Message): Buffer {
    const { keySpec } = message
    const ofKey = Array.isArray(keySpec) ? keySpec.map(({ name }) => name) : []
    const fields = message.fields.map(({ name, type }) => ({
      name,
      type: ofKey.includes(name) ? avroType(type) : optional(avroType(type)),
      ...(ofKey.includes(name) ? {} : { default: null }),
    }))
    return this.example.envelope ? this.envelope(message, fields) : this.flattened(message, fields)
  }

  private flattened(message: Message, fields: Values[]): Buffer {
    const { added, source } = this.example
    const names = added ?? ['op', 'connector', 'name', 'db', ...(source === 'mysql' ? OF_MYSQL : OF_POSTGRES)]
    const about = this.about(message)
    const own = names.map((name) => ({ name: this.addedName(name), type: SOURCE_TYPES[name] ?? optional('string') }))
    const schema = { type: 'record', name: 'Value', fields: [...fields, { name: '__deleted', type: 'string' }, ...own] }
    return this.encode(schema, {
      ...this.row(message),
      __deleted: String(message.op === 'd'),
      ...Object.fromEntries(names.map((name) => [this.addedName(name), about[name] ?? null])),
    })
  }

  private addedName(name: string): string {
    return name === 'op' ? '__op' : `__source_${name}`
  }

  private envelope(message: Message, fields: Values[]): Buffer {
    const { op, about } = message
    const names = ['connector', 'name', 'db', ...(this.example.source === 'mysql' ? OF_MYSQL : OF_POSTGRES)]
    const given = this.about(message)
    const row = optional({ type: 'record', name: 'Row', fields })
    const source = names.map((name) => ({ name, type: SOURCE_TYPES[name] }))
    const schema = {
      type: 'record',
      name: 'Envelope',
      fields: [
        { name: 'before', type: row },
        { name: 'after', type: optional('Row') },
        { name: 'source', type: { type: 'record', name: 'Source', fields: source } },
        { name: 'op', type: 'string' },
        { name: 'ts_ms', type: optional('long') },
      ],
    }
    const before = op === 'd' ? this.row(message) : about.before ? this.row(message, about.before as Values) : null
    return this.encode(schema, {
      before,
      after: 'cur'.includes(op) ? this.row(message) : null,
      source: Object.fromEntries(names.map((name) => [name, given[name] ?? null])),
      op,
      ts_ms: 0n,
    })
  }

  /** `source` and `op`. Streamed changes get the next position, unless the example gives one. */
  private about({ op, about }: Message): Values {
    const next = BigInt(this.position++)
    const lsn = about.lsn === undefined ? next : BigInt(about.lsn as number)
    const commit = about.commit === undefined ? lsn : about.commit === null ? null : BigInt(about.commit as number)
    const sequence = `[${commit === null ? 'null' : `"${commit}"`},"${lsn}"]`
    return {
      op,
      connector: this.example.source === 'mysql' ? 'mysql' : 'postgresql',
      name: 'shop',
      db: (about.db as string | undefined) ?? 'shop',
      snapshot: (about.snapshot as string | undefined) ?? (op === 'r' ? 'true' : 'false'),
      sequence: about.sequence === null ? null : sequence,
      lsn,
      file: (about.file as string | undefined) ?? 'binlog.000001',
      pos: about.pos === undefined ? next : BigInt(about.pos as number),
      row: 0,
      server_id: BigInt((about.server as number | undefined) ?? 1),
    }
  }
}
