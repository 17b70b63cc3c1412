/** How messages of one pair of schemas, key and value, are decoded. */

import type { ColumnBuilder } from '../arrow/builders.js'
import { type Reader, ReaderCompiler } from '../avro/reader-compiler.js'
import { type AvroNode, type AvroRecord, branchOf, withoutNull } from '../avro/schema.js'
import { fault } from '../avro/wire.js'
import { KafkaToDeltaError } from '../errors.js'
import type { Message } from '../kafka/message.js'
import { BareKey } from './bare-key.js'
import { compileEnvelope, compileRow, compileRowKey, type EnvelopeShape, envelopeShape, KeySpans } from './envelope.js'
import { compileFlattened, type FlattenedShape, flattenedShape, isStored, type RowTarget } from './flattened.js'
import { ownTopicOf } from './ignored.js'
import { emitExactness, type KeyField, type KeyShape, keyShapeOf, refuseLeftOut } from './keys.js'
import type { LayoutColumn } from './layout.js'
import type { MessageColumns, MetadataSpec } from './metadata.js'
import { type Capture, RowState } from './row-state.js'
import { payloadStart } from './schema-ids.js'

export interface SchemaOf {
  id: number
  node: AvroNode
}

export type PlanKind = 'flattened' | 'envelope' | 'tombstone' | 'ignored' | 'bad'

/** What finds and reads a key that an update changed. */
export interface MovedKey {
  before: KeySpans
  after: KeySpans
  /** Reads the row before into `_old_key`. */
  readOldKey: Reader
  /** Reads what the message's key gives into `_old_key`; null where it gives nothing. */
  readOldKeyOfKey: Reader | null
}

/** What all plans of a decoder share. */
export interface PlanContext extends Omit<RowTarget, 'fromKey'> {
  metadata: MetadataSpec[]
  messageColumns: MessageColumns
}

/** The plan for one pair of schemas. Readers are compiled when the layout is complete, and again when it changes. */
export class Plan {
  kind: PlanKind = 'bad'
  /** Why messages of this pair are bad, for `bad`; for envelopes and tombstones, why those are that need a key. */
  reason = ''
  /** What the messages are, for those of the connector's own topics. */
  ownTopic: string | null = null
  readonly state = new RowState()
  key: KeyShape | null = null
  shape: FlattenedShape | EnvelopeShape | null = null
  readKey: Reader | null = null
  readValue: Reader | null = null
  readBeforeKey: Reader | null = null
  /** Reads all of the row before; where each change is a row. */
  readBefore: Reader | null = null
  /** What compares a key that is one value with the column of the row that it stands for; null where nothing is to compare. */
  bareKey: BareKey | null = null
  /** For keys that may change without a delete of the old one: null where the connector knows the whole key. */
  movedKey: MovedKey | null = null
  /** The columns of the primary key. */
  keyColumns: LayoutColumn[] = []
  /** Columns whose values a delete does not tell. */
  unknownToDelete: LayoutColumn[] = []
  /** Names of columns that tell of the change, not of the row. */
  #companions = new Set<string>()
  #stateReader: Reader | null = null
  #compiledVersion = -1
  #fromKey = new Map<string, AvroNode>()
  /** The record's number, where the value is a union; -1 where it is the record itself. */
  readonly #branch: number
  readonly keySchema: SchemaOf | null
  readonly valueSchema: SchemaOf | null
  readonly #context: PlanContext
  readonly #target: RowTarget

  constructor(keySchema: SchemaOf | null, valueSchema: SchemaOf | null, context: PlanContext) {
    this.keySchema = keySchema
    this.valueSchema = valueSchema
    this.#context = context
    this.#target = { ...context, fromKey: this.#fromKey }
    this.#branch = valueSchema === null ? -1 : branchOf(valueSchema.node, 'record')
    this.#classify()
  }

  /** Reads the kind off the schemas and adds their columns to the layout. */
  #classify(): void {
    const { layout, options, metadata } = this.#context
    const record = this.valueSchema === null ? null : withoutNull(this.valueSchema.node)
    this.ownTopic = ownTopicOf(record) ?? ownTopicOf(this.keySchema === null ? null : withoutNull(this.keySchema.node))
    if (this.ownTopic !== null) {
      this.kind = 'ignored'
      return
    }
    if (record !== null && record.kind !== 'record') {
      this.reason = `the value is a single ${record.kind}, not a record`
      return
    }
    if (this.valueSchema !== null && record === null) {
      this.reason = 'the value is one of several types, not a record'
      return
    }
    if (this.keySchema !== null) {
      const shape = keyShapeOf(this.keySchema.node, this.keySchema.id, layout, options)
      if (typeof shape === 'string') {
        this.reason = shape
        return
      }
      this.key = shape
      for (const field of shape.fields) this.#fromKey.set(field.column, field.type)
    }
    if (record === null) {
      this.#classifyTombstone()
      return
    }

    const envelope = envelopeShape(record, metadata, options)
    if (typeof envelope === 'string') {
      this.reason = envelope
      return
    }
    const row = envelope?.after ?? record
    const problem = this.#choosePrimaryKey(new Set(row.fields.map((field) => layout.nameOf(field.name))))
    if (problem !== null && envelope === null) {
      this.reason = problem
      return
    }
    // Truncates have no key: an envelope without one can still be read.
    this.reason = problem ?? ''
    const shape = envelope ?? flattenedShape(record, options)
    this.shape = shape
    this.kind = envelope === null ? 'flattened' : 'envelope'
    for (const { name } of row.fields) layout.fields.add(name)
    for (const { field } of this.key?.fields ?? []) layout.fields.add(field)
    for (const { column } of metadata) layout.fields.add(column)
    this.#checkKeyColumnsKept(row)
    this.#checkNames(row)
    this.#addColumns(row, (this.valueSchema as SchemaOf).id)
    for (const { column, type } of envelope?.metadata ?? []) {
      layout.add(column, type, (this.valueSchema as SchemaOf).id, column)
      this.#companions.add(column)
    }
    if ('companions' in shape) for (const field of shape.companions) this.#companions.add(layout.nameOf(field))
    this.#context.messageColumns.register()
    this.#tellApart(row, 'added' in shape ? shape.added : new Set())
  }

  /** @param added fields of the row that a transform has added */
  #tellApart(row: AvroRecord, added: ReadonlySet<string>): void {
    const { layout, messageColumns } = this.#context
    const columns = (wanted: boolean) =>
      row.fields.filter(({ name }) => added.has(name) === wanted).map(({ name }) => layout.nameOf(name))
    layout.tellApart([...this.#companions, ...messageColumns.ofTheChange, ...columns(true)], columns(false))
  }

  #checkKeyColumnsKept(row: AvroRecord | null): void {
    const { layout, options } = this.#context
    const names = [
      ...(this.key?.fields.map(({ field }) => field) ?? []),
      ...(row?.fields.map(({ name }) => name) ?? []),
    ]
    const excluded = names.find((name) => layout.isKey(layout.nameOf(name)) && options.excludeColumns.includes(name))
    if (excluded !== undefined) {
      throw new KafkaToDeltaError(
        'CONFIG_INVALID',
        `excludeColumns names ${excluded}, which is part of the primary key`,
        {
          topic: options.topic,
          column: excluded,
        },
      )
    }
  }

  /** Two fields of one message must not share a column, nor a field one of ours. */
  #checkNames(row: AvroRecord): void {
    const { layout, messageColumns } = this.#context
    const taken = new Map<string, string>()
    const claim = (column: string, what: string) => {
      const other = taken.get(column)
      if (other !== undefined) throw layout.takenName(column, other, what)
      taken.set(column, what)
    }
    const inRow = new Set<string>()
    for (const { name } of row.fields) {
      if (!isStored(name, layout, this.#rowCaptures)) continue
      claim(layout.nameOf(name), `the field ${name}`)
      inRow.add(name)
    }
    // A field of the key is the one of the row, where that has it.
    for (const { field, column } of this.#keyFields()) if (!inRow.has(field)) claim(column, `the key’s field ${field}`)
    if (this.shape !== null && 'metadata' in this.shape) {
      for (const { path, column } of this.shape.metadata) claim(column, `the event’s ${path} (metadataColumns)`)
    }
    for (const [column, what] of messageColumns.sources) claim(column, `“${what}”`)
  }

  #classifyTombstone(): void {
    this.kind = 'tombstone'
    this.reason = this.#choosePrimaryKey(new Set()) ?? ''
    if (this.reason !== '') {
      this.reason =
        `a tombstone tells alone of a delete here, but of which row it does not say (${this.reason}): make the key wider ` +
        '(message.key.columns in the connector), or let deletes keep their values (delete.tombstone.handling.mode=rewrite ' +
        'in the transform ExtractNewRecordState)'
      return
    }
    this.#checkKeyColumnsKept(null)
    this.#addKeyColumns()
    this.#context.messageColumns.register()
  }

  /** The reason where this pair of schemas does not give the primary key. */
  #choosePrimaryKey(inValue: Set<string>): string | null {
    const { layout, options } = this.#context
    if (options.primaryKey === undefined) {
      if (this.key === null) return 'the message has no key: name the key columns with the option primaryKey'
      layout.setPrimaryKey(
        this.key.fields.map((field) => field.column),
        this.key.schemaId,
      )
      return null
    }
    const names = options.primaryKey.map((name) => layout.nameOf(name))
    const missing = names.find((name) => !this.#fromKey.has(name) && !inValue.has(name))
    if (missing !== undefined)
      return `the key column ${missing} (option primaryKey) is ${this.valueSchema === null ? 'not in the key' : 'neither in the key nor in the value'}`
    layout.setPrimaryKey(names, this.valueSchema?.id ?? this.key?.schemaId ?? -1)
    return null
  }

  /** The key's fields that become columns: those of the primary key, and others that the options keep. */
  #keyFields(): KeyField[] {
    const { layout } = this.#context
    return (this.key?.fields ?? []).filter(({ field, column }) => layout.isKey(column) || layout.keeps(field))
  }

  /** What is read of the row beside its columns; an envelope has that outside of its rows. */
  get #rowCaptures(): ReadonlyMap<string, Capture> | undefined {
    return this.kind === 'flattened' ? this.shape?.guard.captures : undefined
  }

  /** Adds the row's columns to the layout; those that the key gives have the key's type. */
  #addColumns(row: AvroRecord, schemaId: number): void {
    const { layout } = this.#context
    const ofKey = new Map(this.#keyFields().map((field) => [field.column, field]))
    for (const { name, type } of row.fields) {
      const field = ofKey.get(layout.nameOf(name))
      if (field !== undefined) layout.add(field.field, field.type, this.key?.schemaId ?? schemaId)
      else if (isStored(name, layout, this.#rowCaptures)) layout.add(name, type, schemaId)
    }
    this.#addKeyColumns()
  }

  #addKeyColumns(): void {
    for (const { field, type } of this.#keyFields()) this.#context.layout.add(field, type, this.key?.schemaId ?? -1)
  }

  /** Compiles the readers for the layout as it is now. */
  prepare(): void {
    const { shape } = this
    const { layout, options, messageColumns } = this.#context
    if (this.#compiledVersion === layout.version || this.kind === 'bad' || this.kind === 'ignored') return
    if (this.kind === 'tombstone' && this.reason !== '') return
    this.#compiledVersion = layout.version
    const keepsRow = this.#deletesAreRows
    this.unknownToDelete = layout.columns.filter(({ name }) => {
      if (layout.isKey(name) || this.#fromKey.has(name)) return false
      return !keepsRow || !(this.#companions.has(name) || messageColumns.sources.has(name))
    })
    this.readKey = this.key === null ? null : this.#compileKey(this.key, (column) => this.#builderOf(column))
    this.keyColumns = layout.columns.filter(({ name }) => layout.isKey(name))
    this.#stateReader = null
    if (shape === null) return
    this.bareKey =
      this.key === null ? null : BareKey.of(this.key, 'after' in shape ? shape.after : shape.record, layout)
    if ('after' in shape) {
      this.readValue = compileEnvelope(shape, this.#target, this.state)
      const builderOf = (column: string) => layout.find(column).builder
      this.readBeforeKey = compileRowKey(shape.before, this.#target, builderOf)
      this.readBefore = options.mode.rowPerChange ? compileRow(shape.before, this.#target) : null
      this.movedKey = this.reason === '' && this.keyIsInValue ? this.#compileMovedKey(shape) : null
    } else {
      this.readValue = compileFlattened(shape, this.#target, this.state)
    }
  }

  /**
   * Where the value's record begins: behind the number of its branch, where the value is a union (Connect writes one for an
   * optional struct). All that reads the value begins here. A null never comes: it is a tombstone.
   */
  recordStart(message: Message): number {
    const start = payloadStart(message, 'value')
    if (this.#branch < 0) return start
    const { valueBytes, valueEnd } = message
    if (start >= valueEnd || valueBytes[start] !== 2 * this.#branch) {
      fault(
        start < valueEnd
          ? 'the value is a union without such a branch, or a null with bytes left over'
          : 'the message ends before its value does',
      )
    }
    return start + 1
  }

  #compileMovedKey({ before, after }: EnvelopeShape): MovedKey {
    const { layout } = this.#context
    const oldKey = layout.oldKeyBuilder()
    const child = (column: string) => oldKey.children[oldKey.names.indexOf(column)]
    return {
      before: new KeySpans(before, this.#fromKey, layout),
      after: new KeySpans(after, this.#fromKey, layout),
      readOldKey: compileRowKey(before, this.#target, (column) => child(column) as ColumnBuilder),
      readOldKeyOfKey: this.key === null ? null : this.#compileKey(this.key, child),
    }
  }

  #builderOf(column: string): LayoutColumn['builder'] | undefined {
    const { layout } = this.#context
    return layout.has(column) ? layout.find(column).builder : undefined
  }

  /** Whether the message's key, where there is one, has the columns of the primary key and no others. */
  get keyIsPrimaryKey(): boolean {
    if (this.kind === 'tombstone' && this.reason !== '') return false
    const { primaryKey } = this.#context.layout
    if (this.key === null || primaryKey === null) return true
    const { fields } = this.key
    return fields.length === primaryKey.length && fields.every(({ column }) => primaryKey.includes(column))
  }

  /** Whether deletes are messages with a value, which a tombstone only follows. */
  get deletesHaveValues(): boolean {
    if (this.kind === 'envelope') return true
    const captures = this.kind === 'flattened' ? [...(this.shape?.guard.captures.values() ?? [])] : []
    return captures.some((capture) => 'flag' in capture && capture.flag === 'deleted')
  }

  /** Whether the deletes of this plan need `before` for their key. */
  get keyIsInValue(): boolean {
    return (this.#context.layout.primaryKey ?? []).some((name) => !this.#fromKey.has(name))
  }

  /** Whether a row tells of a delete: what else its message says is stored then. */
  get #deletesAreRows(): boolean {
    const { deletes, mode } = this.#context.options
    return deletes === 'soft' || mode.rowPerChange
  }

  /** Reads what a delete tells, where the row's values cannot be read; flattened values only. */
  get readDelete(): Reader {
    const { primaryKey } = this.#context.layout
    const columns = new Set([...(primaryKey ?? []), ...(this.#deletesAreRows ? this.#companions : [])])
    this.#stateReader ??= compileFlattened(this.shape as FlattenedShape, this.#target, this.state, columns)
    return this.#stateReader
  }

  #compileKey(key: KeyShape, builderOf: (column: string) => LayoutColumn['builder'] | undefined): Reader {
    const { layout, placeholder } = this.#context
    const compiler = new ReaderCompiler()
    const fields = new Map(key.fields.map((field) => [field.field, field]))
    const read = (name: string, type: AvroNode) => {
      const field = fields.get(name)
      const builder = field === undefined ? undefined : builderOf(field.column)
      compiler.emit('{')
      if (field === undefined || builder === undefined) compiler.skip(type)
      else {
        const isKey = layout.isKey(field.column)
        if (isKey) emitExactness(compiler, type, builder)
        compiler.read(type, builder, 'row', {
          outOfRange: layout.optionsOf(name, field.column).outOfRange ?? 'fail',
          ...(isKey ? refuseLeftOut(placeholder, field.column) : {}),
        })
      }
      compiler.emit('}')
    }
    const record = withoutNull(key.node)
    if (record?.kind !== 'record') {
      const [only] = key.fields
      if (only === undefined) compiler.skip(key.node)
      else read(only.field, key.node)
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
    const { layout } = this.#context
    if (this.key === null || this.keyIsInValue) return null
    const builder = layout.oldKeyBuilder()
    return this.#compileKey(this.key, (column) => builder.children[builder.names.indexOf(column)])
  }
}
