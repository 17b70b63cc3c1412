/** Builders of lists, maps and structs, out of the builders of their items and fields. */

import { type Data, Field, List, Map_, makeData, Struct } from 'apache-arrow'
import { KafkaToDeltaError } from '../errors.js'
import { BytesBuilder, ColumnBuilder, FixedBuilder, MAX_INT32, OffsetsBuilder } from './builders.js'
import type { ColumnType } from './types.js'

/** Arrays, and maps as arrays of entries. `count` is the number of items appended so far. */
export class ListBuilder extends OffsetsBuilder {
  count = 0
  #marked = 0
  readonly child: ColumnBuilder

  constructor(type: ColumnType, path: string, child: ColumnBuilder) {
    super(type, path)
    this.child = child
  }

  override get heldBytes(): number {
    return super.heldBytes + this.child.heldBytes
  }

  override reset(capacity: number): void {
    super.reset(capacity)
    this.child.reset(Math.max(64, this.count))
    this.count = 0
  }

  override release(): void {
    super.release()
    this.child.release()
  }

  /** Makes room for `more` items. */
  reserve(more: number): void {
    const wanted = this.count + more
    if (wanted > this.child.capacity) this.child.grow(Math.max(wanted, this.child.capacity * 2))
  }

  protected override cutTo(count: number): void {
    this.child.truncate(count, this.count)
    this.count = count
  }

  override mark(): void {
    this.#marked = this.count
    this.child.mark()
  }

  override utf8SinceMark(): boolean {
    return this.child.utf8SinceMark(this.#marked, this.count)
  }

  override finish(rows: number): Data | null {
    const child = this.child.finish(this.count)
    if (child === null) return null
    if (this.count > MAX_INT32) {
      throw new KafkaToDeltaError('BAD_RECORD', `the column ${this.path} has too many items in one batch`)
    }
    const valueOffsets = new Int32Array(this.closedOffsets(rows).buffer, 0, rows + 1)
    const { nullCount, nullBitmap } = this.validity(rows)
    const type =
      this.type.kind === 'map'
        ? new Map_(new Field('entries', child.type, false) as never)
        : new List(new Field('element', child.type, true))
    return makeData({ type, length: rows, nullCount, nullBitmap, valueOffsets, child } as never) as Data
  }
}

/** Structs. Children share the struct's row index. */
export class StructBuilder extends ColumnBuilder {
  readonly names: string[]
  readonly children: ColumnBuilder[]
  /** Of a map's entries: the key is never null. */
  readonly #entries: boolean

  constructor(type: ColumnType, path: string, names: string[], children: ColumnBuilder[], entries = false) {
    super(type, path)
    this.names = names
    this.children = children
    this.#entries = entries
  }

  override get heldBytes(): number {
    return this.children.reduce((sum, child) => sum + child.heldBytes, super.heldBytes)
  }

  override reset(capacity: number): void {
    super.reset(capacity)
    for (const child of this.children) child.reset(this.capacity)
  }

  override release(): void {
    super.release()
    for (const child of this.children) child.release()
  }

  override grow(capacity: number): void {
    super.grow(capacity)
    for (const child of this.children) if (child.capacity < capacity) child.grow(capacity)
  }

  override clear(row: number): void {
    this.valid[row] = 0
    for (const child of this.children) child.clear(row)
  }

  override truncate(from: number, to: number): void {
    this.valid.fill(0, from, to)
    for (const child of this.children) child.truncate(from, to)
  }

  override mark(): void {
    for (const child of this.children) child.mark()
  }

  override utf8SinceMark(from: number, to: number): boolean {
    return this.children.every((child) => child.utf8SinceMark(from, to))
  }

  override finish(rows: number): Data | null {
    const children: Data[] = []
    for (const child of this.children) {
      const data = child.finish(rows)
      if (data === null) return null
      children.push(data)
    }
    const type = new Struct(
      children.map((data, i) => new Field(this.names[i] as string, data.type, !(this.#entries && i === 0))),
    )
    const { nullCount, nullBitmap } = this.#entries ? { nullCount: 0, nullBitmap: null } : this.validity(rows)
    return makeData({ type, length: rows, nullCount, nullBitmap, children } as never) as Data
  }
}

/** A builder for columns of this type. */
export function builderFor(type: ColumnType, path: string): ColumnBuilder {
  switch (type.kind) {
    case 'string':
    case 'binary':
      return new BytesBuilder(type, path)
    case 'array':
      return new ListBuilder(type, path, builderFor(type.items, `${path}[]`))
    case 'map': {
      const key = new BytesBuilder({ kind: 'string' }, `${path}.key`)
      const value = builderFor(type.values, `${path}.value`)
      const fields = [
        { name: 'key', type: key.type },
        { name: 'value', type: type.values },
      ]
      const entries = new StructBuilder({ kind: 'struct', fields }, path, ['key', 'value'], [key, value], true)
      return new ListBuilder(type, path, entries)
    }
    case 'struct':
      return new StructBuilder(
        type,
        path,
        type.fields.map((field) => field.name),
        type.fields.map((field) => builderFor(field.type, `${path}.${field.name}`)),
      )
    default:
      return new FixedBuilder(type, path)
  }
}
