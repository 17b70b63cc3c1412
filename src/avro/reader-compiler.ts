/** Generates JavaScript that reads Avro bytes straight into column builders. */

import { type ColumnBuilder, FixedBuilder } from '../arrow/builders.js'
import { ListBuilder, StructBuilder } from '../arrow/nested-builders.js'
import { KafkaToDeltaError } from '../errors.js'
import { CodeWriter, type Reader } from './codegen.js'
import {
  decimalTarget,
  putDecimal,
  putDecimalDouble,
  putDecimalText,
  putIntAsDecimal,
  putWholeText,
} from './decimals.js'
import { checkMapKeys } from './map-keys.js'
import type { Placeholder } from './placeholder.js'
import { bytesEqual } from './placeholder.js'
import { type AvroNode, type AvroRecord, minWidth } from './schema.js'
import { isNegativeScale, meaningOf, type OutOfRange } from './semantic-types.js'
import { putBytes, putDouble, putFloat, putFloatAsDouble, putIntAsDouble, putIntAsFloat } from './store-values.js'
import { NUMBER_FIELDS, putStructured, StructuredParts } from './structured.js'
import {
  putBooleanText,
  putDateText,
  putDoubleText,
  putFloatText,
  putIntText,
  putLongText,
  putTimestampText,
  putTimeText,
} from './text-values.js'
import { putDate, putIsoDate, putIsoTimestamp, putTimestamp } from './times.js'

export type { Reader }

/** How one column is read. */
export interface ReadOptions {
  outOfRange: OutOfRange
  /** Where given, values that are the placeholder are left null, and `onLeftOut` is run with the row. */
  leftOut?: { placeholder: Placeholder; onLeftOut: (row: number) => void }
}

const RUNTIME = {
  bytesEqual,
  checkMapKeys,
  putBooleanText,
  putBytes,
  putDate,
  putDateText,
  putDecimal,
  putDecimalDouble,
  putDecimalText,
  putDouble,
  putDoubleText,
  putFloat,
  putFloatAsDouble,
  putFloatText,
  putIntAsDecimal,
  putIntAsDouble,
  putIntAsFloat,
  putIntText,
  putIsoDate,
  putIsoTimestamp,
  putLongText,
  putStructured,
  putTimestamp,
  putTimestampText,
  putTimeText,
  putWholeText,
}

const PARTS = new StructuredParts()

/** Adds values and their types to the code: each column's value goes into its builder. */
export class ReaderCompiler extends CodeWriter {
  constructor() {
    super(RUNTIME)
  }

  /** Reads a value into `builder` at the index `row` (code). */
  read(node: AvroNode, builder: ColumnBuilder, row: string, options: ReadOptions, nested = false): void {
    const meaning = meaningOf(node)
    switch (meaning.is) {
      case 'plain':
        this.#readPlain(node, builder, row, options, nested)
        return
      case 'date':
        this.int()
        if (builder.type.kind === 'string') this.#put('putDateText', builder, row, 'n')
        else this.#put('putDate', builder, row, 'n', JSON.stringify(options.outOfRange))
        return
      case 'isoDate':
      case 'isoTimestamp':
      case 'zonedTimestamp': {
        if (builder.type.kind === 'string') {
          this.#readBytes(node, builder, row, options)
          return
        }
        const put = meaning.is === 'isoDate' ? 'putIsoDate' : 'putIsoTimestamp'
        this.#readBytes(node, builder, row, options, () =>
          this.#put(put, builder, row, 'buf', 'pos', 'n', JSON.stringify(options.outOfRange)),
        )
        return
      }
      case 'timestamp': {
        const unit = JSON.stringify(meaning.unit)
        this.long()
        if (builder.type.kind === 'string') this.#put('putTimestampText', builder, row, 'lo', 'hi', unit)
        else this.#put('putTimestamp', builder, row, 'lo', 'hi', unit, JSON.stringify(options.outOfRange))
        return
      }
      case 'time':
        if (builder.type.kind !== 'string') {
          this.#readPlain(node, builder, row, options, nested)
          return
        }
        if (node.kind === 'long') this.long()
        else {
          this.int()
          this.emit('lo = n; hi = n >> 31')
        }
        this.#put('putTimeText', builder, row, 'lo', 'hi', JSON.stringify(meaning.unit))
        return
      case 'structured':
        this.#put(
          'putStructured',
          builder,
          row,
          this.structuredParts(node as AvroRecord),
          JSON.stringify(meaning.kind),
          JSON.stringify(options.outOfRange),
        )
        return
      case 'decimal':
        if (node.kind === 'fixed') {
          this.emit(`n = ${node.size}; if (n > end - pos) fault('the message ends before its value does')`)
        } else this.length()
        this.#putDecimal(builder, row, String(meaning.scale), options, isNegativeScale(meaning.scale))
        this.emit('pos += n')
        return
      case 'variableDecimal': {
        const scale = this.fresh('s')
        this.int()
        this.emit(`const ${scale} = n`)
        this.length()
        this.#putDecimal(builder, row, scale, options)
        this.emit('pos += n')
        return
      }
    }
  }

  #put(name: keyof typeof RUNTIME, builder: ColumnBuilder, ...rest: string[]): void {
    this.emit(`${name}(${[this.constant(builder), ...rest].join(', ')})`)
  }

  /** Reads the fields of a structured date or time; returns the name of what holds them ({@link StructuredParts}). */
  structuredParts(node: AvroRecord): string {
    const parts = this.constant(PARTS)
    const field = (name: string, type: AvroNode): void => {
      const at = (NUMBER_FIELDS as readonly string[]).indexOf(name)
      if (type.kind === 'union') this.union(type.branches, (branch) => field(name, branch), '')
      else if (at >= 0 && type.kind === 'int') {
        this.int()
        this.emit(`${parts}.numbers[${at}] = n`)
      } else if (name === 'specialValue' && type.kind === 'string') {
        this.length()
        this.emit(`${parts}.special = n === 0 ? 0 : buf[pos]; pos += n`)
      } else this.skip(type)
    }
    this.emit(`${parts}.reset()`)
    for (const { name, type } of node.fields) {
      this.emit('{')
      field(name, type)
      this.emit('}')
    }
    return parts
  }

  #putDecimal(builder: ColumnBuilder, row: string, scale: string, options: ReadOptions, negativeScale = false): void {
    const { type } = builder
    if (type.kind === 'string') {
      this.#put(negativeScale ? 'putWholeText' : 'putDecimalText', builder, row, 'buf', 'pos', 'n', scale)
      return
    }
    if (type.kind === 'double') {
      this.#put('putDecimalDouble', builder, row, 'buf', 'pos', 'n', scale, JSON.stringify(options.outOfRange))
      return
    }
    if (type.kind !== 'decimal') {
      mismatch(builder)
      return
    }
    const target = this.constant(decimalTarget(type.precision, type.scale, options.outOfRange))
    this.#put('putDecimal', builder, row, 'buf', 'pos', 'n', scale, target)
  }

  /** Reads a length, and stores the bytes unless they are the placeholder. */
  #readBytes(
    node: AvroNode,
    builder: ColumnBuilder,
    row: string,
    options: ReadOptions,
    store: () => void = () => this.#put('putBytes', builder, row, 'buf', 'pos', 'n'),
  ): void {
    this.length()
    if (options.leftOut !== undefined) {
      const { placeholder, onLeftOut } = options.leftOut
      const tests = placeholder
        .formsOf(node)
        .map((bytes) => `(n === ${bytes.length} && bytesEqual(buf, pos, ${this.constant(bytes)}))`)
      this.emit(`if (${tests.join(' || ')}) ${this.constant(onLeftOut)}(${row})\nelse`)
    }
    store()
    this.emit('pos += n')
  }

  #readPlain(node: AvroNode, builder: ColumnBuilder, row: string, options: ReadOptions, nested: boolean): void {
    const to = this.constant(builder)
    const { kind } = builder.type
    switch (node.kind) {
      case 'null':
        return
      case 'boolean':
        this.emit(`b = buf[pos++]; if (b > 1) fault('a boolean that is neither 0 nor 1', ${to}.path)`)
        if (kind === 'string') this.#put('putBooleanText', builder, row, 'b')
        else this.emit(`${to}.u8[${row}] = b; ${to}.valid[${row}] = 1`)
        return
      case 'int':
        this.int()
        this.#storeInt(builder, row, options)
        return
      case 'long':
        this.long()
        if (kind === 'string') {
          this.#put('putLongText', builder, row, 'lo', 'hi')
          return
        }
        if (builder.type.kind === 'decimal') {
          this.#putIntAsDecimal(builder, row, 'lo', 'hi', builder.type, options)
          return
        }
        if (kind !== 'long') mismatch(builder)
        this.emit(`${to}.i32[2 * ${row}] = lo; ${to}.i32[2 * ${row} + 1] = hi; ${to}.valid[${row}] = 1`)
        return
      case 'float':
        if (kind === 'string') this.#put('putFloatText', builder, row, 'buf', 'pos')
        else this.#put(kind === 'double' ? 'putFloatAsDouble' : 'putFloat', builder, row, 'buf', 'pos')
        this.emit('pos += 4')
        return
      case 'double':
        this.#put(kind === 'string' ? 'putDoubleText' : 'putDouble', builder, row, 'buf', 'pos')
        this.emit('pos += 8')
        return
      case 'string':
      case 'bytes':
        this.#readBytes(node, builder, row, options)
        return
      case 'fixed':
        this.emit(`if (${node.size} > end - pos) fault('the message ends before its value does')`)
        this.#put('putBytes', builder, row, 'buf', 'pos', String(node.size))
        this.emit(`pos += ${node.size}`)
        return
      case 'enum': {
        const symbols = this.constant(node.symbols.map((symbol) => Buffer.from(symbol)))
        this.int()
        this.emit(`if (!(n >= 0 && n < ${node.symbols.length})) fault('an enum without such a symbol', ${to}.path)`)
        this.#put('putBytes', builder, row, `${symbols}[n]`, '0', `${symbols}[n].length`)
        return
      }
      case 'record':
        if (!(builder instanceof StructBuilder)) {
          mismatch(builder)
          return
        }
        this.emit(`${to}.valid[${row}] = 1`)
        for (const field of node.fields) {
          const child = builder.children[builder.names.indexOf(field.name)]
          this.emit('{')
          if (child === undefined) this.skip(field.type)
          else this.read(field.type, child, row, { outOfRange: options.outOfRange }, nested)
          this.emit('}')
        }
        return
      case 'union':
        this.#readUnion(node.branches, builder, row, options, nested)
        return
      case 'array':
      case 'map':
        this.#readItems(node, builder, row, options)
        return
    }
  }

  /** Stores the int in `n`, in the column's type where that is wider. */
  #storeInt(builder: ColumnBuilder, row: string, options: ReadOptions): void {
    const to = this.constant(builder)
    const { type } = builder
    switch (type.kind) {
      case 'string':
        this.#put('putIntText', builder, row, 'n')
        return
      case 'decimal':
        this.#putIntAsDecimal(builder, row, 'n', 'n >> 31', type, options)
        return
      case 'double':
        this.#put('putIntAsDouble', builder, row, 'n')
        return
      case 'float':
        this.#checkSize('short', to)
        this.#put('putIntAsFloat', builder, row, 'n')
        return
      case 'long':
        this.emit(`${to}.i32[2 * ${row}] = n; ${to}.i32[2 * ${row} + 1] = n >> 31; ${to}.valid[${row}] = 1`)
        return
      case 'byte':
      case 'short':
        this.#checkSize(type.kind, to)
        break
      case 'integer':
        break
      default:
        mismatch(builder)
    }
    this.emit(`${to}.i32[${row}] = n; ${to}.valid[${row}] = 1`)
  }

  #checkSize(kind: 'byte' | 'short', to: string): void {
    const shift = kind === 'byte' ? 24 : 16
    this.emit(`if (n << ${shift} >> ${shift} !== n) fault(n + ' does not fit a ${kind}', ${to}.path)`)
  }

  #putIntAsDecimal(
    builder: ColumnBuilder,
    row: string,
    low: string,
    high: string,
    { precision, scale }: { precision: number; scale: number },
    { outOfRange }: ReadOptions,
  ): void {
    const target = this.constant(decimalTarget(precision, scale, outOfRange))
    this.#put('putIntAsDecimal', builder, row, low, high, target)
  }

  #readUnion(branches: AvroNode[], builder: ColumnBuilder, row: string, options: ReadOptions, nested: boolean): void {
    const to = this.constant(builder)
    const others = branches.filter((branch) => branch.kind !== 'null')
    // An array's items are found by their offsets when it is taken back: a null one keeps its own.
    let onNull = ''
    if (nested && builder instanceof ListBuilder) onNull = `${to}.offsets[${row} + 1] = ${to}.count`
    else if (nested && 'data' in builder) onNull = `${to}.offsets[${row} + 1] = ${to}.length`
    if (others.length > 1 && builder instanceof StructBuilder) {
      this.union(
        branches,
        (branch) => {
          this.emit(`${to}.valid[${row}] = 1`)
          // By its name: the struct may have fields of a record, or of a union with other members, before it.
          const at = builder.names.indexOf(`member${others.indexOf(branch)}`)
          this.read(branch, builder.children[at] as ColumnBuilder, row, { outOfRange: options.outOfRange }, nested)
        },
        onNull,
      )
      return
    }
    this.union(branches, (branch) => this.read(branch, builder, row, options, nested), onNull)
  }

  #readItems(
    node: Extract<AvroNode, { kind: 'array' | 'map' }>,
    builder: ColumnBuilder,
    row: string,
    options: ReadOptions,
  ): void {
    if (!(builder instanceof ListBuilder)) {
      mismatch(builder)
      return
    }
    const to = this.constant(builder)
    const [count, i, item] = [this.fresh('c'), this.fresh('j'), this.fresh('i')]
    // Items of no bytes are taken for as many as the message has bytes: without a bound they could fill the memory.
    const width = node.kind === 'map' ? 1 + minWidth(node.values) : Math.max(1, minWidth(node.items))
    const leftOut = options.leftOut?.placeholder.listsOf(node) ?? []
    for (const bytes of leftOut) {
      this.emit(`if (bytesEqual(buf, pos, ${this.constant(bytes)})) {
${this.constant(options.leftOut?.onLeftOut)}(${row}); pos += ${bytes.length} } else`)
    }
    this.emit('{')
    this.emit(`${to}.start = ${to}.count; ${to}.startRow = ${row}
for (;;) { r = readBlockCount(buf, pos, end, ${width})
const ${count} = r.value; pos = r.next; if (${count} === 0) break
${to}.reserve(${count})
for (let ${i} = 0; ${i} < ${count}; ${i}++) { const ${item} = ${to}.count++`)
    const inner = { outOfRange: options.outOfRange }
    if (node.kind === 'map') {
      const { children } = builder.child as StructBuilder
      const [key, value] = children as [ColumnBuilder, ColumnBuilder]
      this.length()
      this.#put('putBytes', key, item, 'buf', 'pos', 'n')
      this.emit('pos += n')
      this.read(node.values, value, item, inner, true)
    } else this.read(node.items, builder.child, item, inner, true)
    this.emit('} }')
    if (node.kind === 'map') this.#put('checkMapKeys', builder)
    this.emit(`${to}.offsets[${row} + 1] = ${to}.count; ${to}.valid[${row}] = 1 }`)
  }
}

function mismatch(builder: ColumnBuilder): never {
  const shape = builder instanceof FixedBuilder ? builder.type.kind : builder.constructor.name
  throw new KafkaToDeltaError('INTERNAL', `the column ${builder.path} has a builder of another type (${shape})`)
}
