/** Keys and values of a random topic as Debezium's converters write them, with their schemas. */

import { avscType, confluent } from '../../debezium/support.js'
import type { Random } from '../../helpers/random.js'
import { type Column, fieldOf, namedOnce } from './random-columns.js'
import { type HeaderForm, type KeyColumn, keyHeader } from './random-keys.js'
import { CONNECTORS, type Flavour, type Position, SNAPSHOT } from './random-source.js'

export type Row = Record<string, unknown>
/** Where null stands in the value's schema. */
export type Union = 'none' | 'null first' | 'null last'
/** Which fields `add.fields` gives to flattened values. */
export type Added = 'all' | 'spark' | 'op' | 'none'

export interface MessageShape {
  topic: string
  flavour: Flavour
  shape: 'flattened' | 'envelope'
  added: Added
  /** The key is null. */
  keyless: boolean
  /** A logical-table router adds a field to the key. */
  router: boolean
  headerForm: HeaderForm
  deletedType: unknown
  /** The value's schema is a union of null and the record, in this order. */
  union: Union
  sourceFields: [string, string][]
}

/** A row version as it is to be written. */
export interface Written {
  before: Row | null
  after: Row | null
  version: readonly Column[]
  position: Position
  leftOut: ReadonlySet<string>
}

const optional = (name: string, type: unknown) => ({ name, type: ['null', type], default: null })

export class RandomMessages {
  readonly schemas: Record<number, unknown> = {}
  readonly #ids = new Map<string, number>()
  #lastUnion: unknown = null
  readonly #types = new Map<number, { toBuffer(value: unknown): Buffer }>()

  constructor(
    private readonly shape: MessageShape,
    private readonly random: Random,
  ) {}

  #encode(schema: unknown, value: unknown): Buffer {
    const text = JSON.stringify(schema)
    let id = this.#ids.get(text)
    if (id === undefined) {
      id = this.#ids.size + 1
      this.#ids.set(text, id)
      this.schemas[id] = schema
      this.#types.set(id, avscType(schema))
    }
    return confluent(id, (this.#types.get(id) as { toBuffer(value: unknown): Buffer }).toBuffer(value))
  }

  key(keys: readonly KeyColumn[], row: Row): Buffer {
    const once = namedOnce()
    const fields = keys.map((column) => fieldOf(column, once))
    if (this.shape.router) fields.push({ name: '__router', type: 'string' })
    const value = Object.fromEntries(keys.map(({ name, type }) => [name, type.avro(row[name])]))
    const schema = { type: 'record', name: 'Key', namespace: this.shape.topic, fields }
    return this.#encode(schema, { ...value, __router: row.__router })
  }

  /** The other key of a key update. */
  header(keys: readonly KeyColumn[], row: Row): Buffer {
    const { headerForm, router } = this.shape
    if (headerForm === 'avro') return this.key(keys, row)
    const text: KeyColumn['type'] = { json: JSON.stringify, simple: JSON.stringify, schema: 'string' } as never
    const all = router ? [...keys, { name: '__router', type: text, null: 'never' as const }] : keys
    return Buffer.from(keyHeader(headerForm, all, row))
  }

  /** The schema of a value as Connect writes it for a struct that is required, or optional. */
  #ofValue(record: unknown): unknown {
    const { union } = this.shape
    if (union === 'none') return record
    const schema = union === 'null first' ? ['null', record] : [record, 'null']
    this.#lastUnion = schema
    return schema
  }

  /** What stands for no value: nothing, or a null in the union. */
  tombstone(): Buffer | null {
    const schema = this.#lastUnion
    return schema === null || this.random.next() < 0.5 ? null : this.#encode(schema, null)
  }

  #rowFields(keys: readonly KeyColumn[], version: readonly Column[], once = namedOnce()): object[] {
    return [...keys, ...version].map((column) => fieldOf(column, once))
  }

  /** The row as one version of the table has it; values that do not fit there are given anew. */
  #written(keys: readonly KeyColumn[], row: Row, version: readonly Column[], leftOut: ReadonlySet<string>): Row {
    const out: Row = Object.fromEntries(keys.map(({ name, type }) => [name, type.avro(row[name])]))
    for (const { name, type } of version) {
      out[name] = leftOut.has(name) ? type.leftOut : row[name] === null ? null : type.avro(row[name])
    }
    return out
  }

  #madeUp(keys: readonly KeyColumn[], row: Row, version: readonly Column[]): Row {
    const out: Row = Object.fromEntries(keys.map(({ name, type }) => [name, type.avro(row[name])]))
    for (const { name, type, null: nulls } of version) out[name] = nulls === 'never' ? type.avro(type.madeUp) : null
    return out
  }

  /** Gives the row values for columns that it lacks, or that do not hold what it has. */
  complete(row: Row, version: readonly Column[]): void {
    const { random } = this
    for (const { name, type, null: nulls } of version) {
      const known = row[name]
      if (known === undefined || (known === null ? nulls === 'never' : !type.fits(known))) {
        row[name] = nulls !== 'never' && random.next() < 0.25 ? null : type.make(random)
      }
    }
  }

  #addedFields(op: string, position: Position): [field: object, value: unknown][] {
    const { added, flavour, sourceFields } = this.shape
    switch (added) {
      case 'none':
        return []
      case 'op':
        return [[optional('__op', 'string'), op]]
      case 'spark':
        return [
          [optional('__timestamp', 'long'), position.ts_ms],
          [optional('__log_sequence_number', 'long'), flavour === 'postgres' ? position.lsn : null],
        ]
      case 'all':
        return [
          [optional('__op', 'string'), op],
          [optional('__source_ts_ms', 'long'), position.ts_ms],
          [optional('__source_snapshot', SNAPSHOT), position.snapshot],
          ...sourceFields.map(
            ([name, type]) => [optional(`__source_${name}`, type), position[name]] as [object, unknown],
          ),
        ]
    }
  }

  /** The same change with, and without, the values that it leaves out. */
  value(op: string, keys: readonly KeyColumn[], written: Written): { value: Buffer; full: Buffer | null } {
    const { version, before, after, leftOut } = written
    if (before !== null) this.complete(before, version)
    if (after !== null) this.complete(after, version)
    const write =
      this.shape.shape === 'flattened' ? this.#flattened(op, keys, written) : this.#envelope(op, keys, written)
    return { value: write(leftOut), full: leftOut.size === 0 ? null : write(new Set()) }
  }

  #flattened(op: string, keys: readonly KeyColumn[], { version, before, after, position }: Written) {
    const { topic, deletedType } = this.shape
    const added = this.#addedFields(op, position)
    const fields = [
      ...this.#rowFields(keys, version),
      { name: '__deleted', type: deletedType, ...(Array.isArray(deletedType) ? { default: null } : {}) },
      ...added.map(([field]) => field),
    ]
    const deleted = op === 'd'
    const row = (deleted ? before : after) as Row
    const madeUp = deleted && this.random.next() < 0.7 ? this.#madeUp(keys, row, version) : null
    const metadata = Object.fromEntries(added.map(([field, value]) => [(field as { name: string }).name, value]))
    const own = { __deleted: deletedType === 'boolean' ? deleted : String(deleted), ...metadata }
    const schema = this.#ofValue({ type: 'record', name: 'Value', namespace: topic, fields })
    return (leftOut: ReadonlySet<string>) =>
      this.#encode(schema, { ...(madeUp ?? this.#written(keys, row, version, leftOut)), ...own })
  }

  #envelope(op: string, keys: readonly KeyColumn[], { version, before, after, position }: Written) {
    const { topic, flavour, keyless, sourceFields } = this.shape
    const rowSchema = { type: 'record', name: 'Value', namespace: topic, fields: this.#rowFields(keys, version) }
    const source = {
      type: 'record',
      name: 'Source',
      namespace: `io.debezium.connector.${flavour}`,
      fields: [
        ...['version', 'connector', 'name'].map((name) => ({ name, type: 'string' })),
        { name: 'ts_ms', type: 'long' },
        { name: 'snapshot', type: [SNAPSHOT, 'null'], default: 'false' },
        { name: 'db', type: 'string' },
        ...sourceFields.map(([name, type]) => optional(name, type)),
      ],
    }
    const schema = this.#ofValue({
      type: 'record',
      name: 'Envelope',
      namespace: topic,
      fields: [
        optional('before', rowSchema),
        optional('after', `${topic}.Value`),
        { name: 'source', type: source },
        optional('transaction', 'string'),
        { name: 'op', type: 'string' },
        optional('ts_ms', 'long'),
      ],
    })
    // Without full replica identity, `before` has the key alone, or is not there at all.
    const old = before !== null && (keyless || op === 'd' || this.random.next() < 0.4) ? before : null
    const isMadeUp = !keyless && this.random.next() < 0.7
    return (leftOut: ReadonlySet<string>) =>
      this.#encode(schema, {
        before: old && (isMadeUp ? this.#madeUp(keys, old, version) : this.#written(keys, old, version, new Set())),
        after: after && this.#written(keys, after, version, leftOut),
        source: { version: '3', connector: CONNECTORS[flavour], name: 'srv', db: 'db', ...position },
        transaction: null,
        op,
        ts_ms: position.ts_ms + 5n,
      })
  }
}
