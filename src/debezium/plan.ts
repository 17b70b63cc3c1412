/** How messages of one pair of schemas, key and value, are decoded. */
import { type Reader, ReaderCompiler } from '../avro/compile.js'
import { type AvroNode, withoutNull } from '../avro/schema.js'
import { KafkaToDeltaError } from '../errors.js'
import { compileBeforeKey, compileEnvelope, type EnvelopeShape, envelopeShape } from './envelope.js'
import { compileFlattened, compileStateOnly, type FlattenedShape, flattenedShape, registerRow } from './flattened.js'
import { type KeyShape, keyShapeOf } from './keys.js'
import type { LayoutColumn, TableLayout } from './layout.js'
import { columnOptions, type ResolvedOptions } from './options.js'
import type { Placeholder } from './placeholder.js'
import { RowState } from './row-state.js'

export interface SchemaOf {
  id: number
  node: AvroNode
}

export type PlanKind = 'flattened' | 'envelope' | 'tombstone' | 'ignored' | 'bad'

/** Topics of the connector itself: heartbeats, transactions' begin and end, schema changes, logical messages. */
const IGNORED =
  /^io\.debezium\.connector\.(common\.(Heartbeat|TransactionMetadataValue)|[\w.]*SchemaChangeValue|[\w.]*MessageValue)$/

/** The plan for one pair of schemas. Readers are compiled when the layout is complete, and again when it changes. */
export class Plan {
  kind: PlanKind = 'bad'
  /** Why messages of this pair are bad, for `bad`; for envelopes, why those are that need a key. */
  reason = ''
  readonly state = new RowState()
  key: KeyShape | null = null
  shape: FlattenedShape | EnvelopeShape | null = null
  readKey: Reader | null = null
  readValue: Reader | null = null
  readBeforeKey: Reader | null = null
  /** Columns that a delete leaves null. */
  nonKey: LayoutColumn[] = []
  private stateReader: Reader | null = null
  private compiledVersion = -1
  private fromKey = new Map<string, AvroNode>()

  constructor(
    readonly keySchema: SchemaOf | null,
    readonly valueSchema: SchemaOf | null,
    private readonly layout: TableLayout,
    private readonly options: ResolvedOptions,
    private readonly placeholder: Placeholder,
  ) {
    this.classify()
  }

  /** Reads the kind off the schemas and adds their columns to the layout. */
  private classify(): void {
    const record = this.valueSchema === null ? null : withoutNull(this.valueSchema.node)
    if (record !== null && record.kind !== 'record') {
      this.reason = `the value is a single ${record.kind}, not a record`
      return
    }
    if (this.valueSchema !== null && record === null) {
      this.reason = 'the value is one of several types, not a record'
      return
    }
    if (record !== null && (IGNORED.test(record.connectName ?? '') || IGNORED.test(record.name))) {
      this.kind = 'ignored'
      return
    }
    if (this.keySchema !== null) {
      const shape = keyShapeOf(this.keySchema.node, this.keySchema.id, this.layout, this.options)
      if (typeof shape === 'string') {
        this.reason = shape
        return
      }
      this.key = shape
      for (const field of shape.fields) this.fromKey.set(field.column, field.type)
    }
    this.checkKeyColumnsKept()
    if (record === null) {
      this.classifyTombstone()
      return
    }

    const envelope = envelopeShape(record, this.options)
    const row = envelope?.after ?? record
    const problem = this.choosePrimaryKey(new Set(row.fields.map((field) => this.layout.nameOf(field.name))))
    if (problem !== null && envelope === null) {
      this.reason = problem
      return
    }
    // Truncates have no key: an envelope without one can still be read.
    this.reason = problem ?? ''
    this.shape = envelope ?? flattenedShape(record, this.options)
    this.kind = envelope === null ? 'flattened' : 'envelope'
    this.addColumns(row, (this.valueSchema as SchemaOf).id)
    for (const column of envelope?.metadata ?? []) {
      this.layout.add(column.column, column.type, (this.valueSchema as SchemaOf).id, column.column)
    }
  }

  private checkKeyColumnsKept(): void {
    const excluded = (this.key?.fields ?? []).find((field) => this.options.excludeColumns.includes(field.field))
    const named = this.options.primaryKey?.find((name) => this.options.excludeColumns.includes(name))
    const column = named ?? (this.options.primaryKey === undefined ? excluded?.field : undefined)
    if (column !== undefined) {
      throw new KafkaToDeltaError(
        'CONFIG_INVALID',
        `excludeColumns names ${column}, which is part of the primary key`,
        {
          topic: this.options.topic,
          column,
        },
      )
    }
  }

  private classifyTombstone(): void {
    // Without a usable key nothing says which row is meant; a delete came before it.
    this.kind = 'ignored'
    if (this.key === null || this.choosePrimaryKey(new Set()) !== null) return
    this.kind = 'tombstone'
    this.addKeyColumns()
  }

  /** The reason where this pair of schemas does not give the primary key. */
  private choosePrimaryKey(inValue: Set<string>): string | null {
    const { layout, options } = this
    if (options.primaryKey === undefined) {
      if (this.key === null) return 'the message has no key: name the key columns with the option primaryKey'
      layout.setPrimaryKey(
        this.key.fields.map((field) => field.column),
        this.key.schemaId,
      )
      return null
    }
    const names = options.primaryKey.map((name) => layout.nameOf(name))
    const missing = names.find((name) => !this.fromKey.has(name) && !inValue.has(name))
    if (missing !== undefined)
      return `the key column ${missing} (option primaryKey) is neither in the key nor in the value`
    layout.setPrimaryKey(names, this.valueSchema?.id ?? this.key?.schemaId ?? -1)
    return null
  }

  private addColumns(record: Parameters<typeof registerRow>[0], schemaId: number): void {
    const fromKey = this.key?.fields ?? []
    registerRow(record, this.fromKey, this.layout, this.options, schemaId, (column) => {
      const field = fromKey.find((candidate) => candidate.column === column)
      if (field !== undefined) this.layout.add(field.field, field.type, this.key?.schemaId ?? schemaId)
    })
    this.addKeyColumns()
  }

  private addKeyColumns(): void {
    for (const field of this.key?.fields ?? []) {
      this.layout.add(field.field, field.type, this.key?.schemaId ?? -1)
    }
  }

  /** Compiles the readers for the layout as it is now. */
  prepare(): void {
    const { layout, options, placeholder, shape } = this
    if (this.compiledVersion === layout.version || this.kind === 'bad' || this.kind === 'ignored') return
    this.compiledVersion = layout.version
    this.nonKey = layout.columns.filter((column) => !layout.isKey(column.name) && !this.fromKey.has(column.name))
    this.readKey = this.key === null ? null : this.compileKey(this.key, (column) => layout.find(column).builder)
    if (shape === null) return
    if ('after' in shape) {
      this.readValue = compileEnvelope(shape, this.fromKey, layout, options, placeholder, this.state)
      this.readBeforeKey = compileBeforeKey(shape, layout, options, placeholder)
    } else {
      this.readValue = compileFlattened(shape, this.fromKey, layout, options, placeholder, this.state)
    }
  }

  /** Whether the deletes of this plan need `before` for their key. */
  get keyIsInValue(): boolean {
    return (this.layout.primaryKey ?? []).some((name) => !this.fromKey.has(name))
  }

  /** Reads deleted and op, where the row's values cannot be read; flattened values only. */
  get readState(): Reader {
    this.stateReader ??= compileStateOnly(this.shape as FlattenedShape, this.state)
    return this.stateReader
  }

  private compileKey(key: KeyShape, builderOf: (column: string) => LayoutColumn['builder'] | undefined): Reader {
    const compiler = new ReaderCompiler()
    const fields = new Map(key.fields.map((field) => [field.field, field]))
    const read = (name: string, type: AvroNode) => {
      const field = fields.get(name)
      const builder = field === undefined ? undefined : builderOf(field.column)
      compiler.emit('{')
      if (builder === undefined) compiler.skip(type)
      else compiler.read(type, builder, 'row', { outOfRange: columnOptions(this.options, name).outOfRange ?? 'fail' })
      compiler.emit('}')
    }
    const record = withoutNull(key.node)
    if (record?.kind !== 'record') {
      const only = key.fields[0] as KeyShape['fields'][number]
      read(only.field, key.node)
    } else if (key.node.kind === 'union') {
      compiler.union(
        key.node.branches,
        () => {
          for (const field of record.fields) read(field.name, field.type)
        },
        "fault('the key is null')",
      )
    } else {
      for (const field of record.fields) {
        read(field.name, field.type)
        compiler.endStep()
      }
    }
    return compiler.build()
  }

  /** Reads a key of this plan's key schema into `_old_key`; null where such keys do not give all key columns. */
  oldKeyReader(): Reader | null {
    const { layout, key } = this
    if (key === null || this.keyIsInValue) return null
    const builder = layout.oldKeyBuilder()
    return this.compileKey(key, (column) => builder.children[builder.names.indexOf(column)])
  }
}
