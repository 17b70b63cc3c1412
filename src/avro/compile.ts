/**
 * Generates JavaScript that reads Avro bytes straight into column builders.
 *
 * Generated code has the shape `(buf, pos, end, row) => pos`. A byte beyond the end reads as undefined, which counts as
 * zero in bit operations: the caller's check of the final position finds it. Lengths are checked where they are used.
 */
import { type ColumnBuilder, FixedBuilder, ListBuilder, StructBuilder } from '../arrow/builders.js'
import type { Placeholder } from '../debezium/placeholder.js'
import { bytesEqual } from '../debezium/placeholder.js'
import { meaningOf, type OutOfRange } from '../debezium/types.js'
import { KafkaToDeltaError } from '../errors.js'
import { decimalTarget, putDecimal, putDecimalDouble, putDecimalText } from './decimals.js'
import { putBytes, putDouble, putFloat, putFloatAsDouble } from './put.js'
import type { AvroNode, AvroRecord } from './schema.js'
import { putDate, putIsoDate, putIsoTimestamp, putTimestamp, putTimeText } from './times.js'
import { fault, readBlockCount, readLength, skipBytes, skipVarint } from './wire.js'

/** Reads one value and returns the position after it. */
export type Reader = (buf: Buffer, pos: number, end: number, row: number) => number

/** How one column is read. */
export interface ReadOptions {
  outOfRange: OutOfRange
  /** Where given, values that are the placeholder are left null, and `onLeftOut` is run with the row. */
  leftOut?: { placeholder: Placeholder; onLeftOut: (row: number) => void }
}

const RUNTIME = {
  bytesEqual,
  fault,
  putBytes,
  putDate,
  putDecimal,
  putDecimalDouble,
  putDecimalText,
  putDouble,
  putFloat,
  putFloatAsDouble,
  putIsoDate,
  putIsoTimestamp,
  putTimestamp,
  putTimeText,
  readBlockCount,
  readLength,
  skipBytes,
  skipVarint,
}

/** Code of one function at most: V8 does not optimise very long ones. */
const MAX_FUNCTION_CHARS = 12_000

/** Collects the code of one reader. Each step is code for one field, in the order of the bytes. */
export class ReaderCompiler {
  private readonly steps: string[] = []
  private readonly functions: string[] = []
  private readonly skippers = new Map<AvroNode, string>()
  private readonly constants: unknown[] = []
  private code = ''
  private names = 0

  /** A name for a value in the generated code. */
  constant(value: unknown): string {
    const at = this.constants.indexOf(value)
    return at >= 0 ? `K${at}` : `K${this.constants.push(value) - 1}`
  }

  fresh(prefix: string): string {
    return `${prefix}${this.names++}`
  }

  emit(code: string): void {
    this.code += `${code}\n`
  }

  /** Ends the code of a field. */
  endStep(): void {
    if (this.code !== '') this.steps.push(this.code)
    this.code = ''
  }

  /** Code that `run` emits, taken out of the current step. */
  private capture(run: () => void): string {
    const before = this.code
    this.code = ''
    run()
    const code = this.code
    this.code = before
    return code
  }

  build(): Reader {
    this.endStep()
    const groups: string[] = []
    let group = ''
    for (const step of this.steps) {
      if (group !== '' && group.length + step.length > MAX_FUNCTION_CHARS) {
        groups.push(group)
        group = ''
      }
      group += step
    }
    groups.push(group)
    const head = 'let b = 0, n = 0, lo = 0, hi = 0, r = null\n'
    const parts = groups.map((code, i) => `function g${i}(buf, pos, end, row) {\n${head}${code}return pos\n}`)
    const calls = groups.map((_, i) => `pos = g${i}(buf, pos, end, row)`).join('\n')
    const main =
      groups.length === 1 ? 'return g0' : `return function read(buf, pos, end, row) {\n${calls}\nreturn pos\n}`
    const source = ["'use strict'", ...this.functions, ...parts, main].join('\n')
    const constantNames = this.constants.map((_, i) => `K${i}`)
    const make = new Function(...Object.keys(RUNTIME), ...constantNames, source)
    return make(...Object.values(RUNTIME), ...this.constants) as Reader
  }

  /** Reads an int into `n`. */
  int(): void {
    this.emit(`b = buf[pos++]; n = b & 127
if (b > 127) { b = buf[pos++]; n |= (b & 127) << 7
if (b > 127) { b = buf[pos++]; n |= (b & 127) << 14
if (b > 127) { b = buf[pos++]; n |= (b & 127) << 21
if (b > 127) { b = buf[pos++]; if (b > 15) fault('an int of more than 32 bits'); n |= b << 28 } } } }
n = (n >>> 1) ^ -(n & 1)`)
  }

  /** Reads a long into `lo` and `hi`. */
  long(): void {
    this.emit(`b = buf[pos++]; lo = b & 127; hi = 0
if (b > 127) { b = buf[pos++]; lo |= (b & 127) << 7
if (b > 127) { b = buf[pos++]; lo |= (b & 127) << 14
if (b > 127) { b = buf[pos++]; lo |= (b & 127) << 21
if (b > 127) { b = buf[pos++]; lo |= b << 28; hi = (b & 127) >> 4
if (b > 127) { b = buf[pos++]; hi |= (b & 127) << 3
if (b > 127) { b = buf[pos++]; hi |= (b & 127) << 10
if (b > 127) { b = buf[pos++]; hi |= (b & 127) << 17
if (b > 127) { b = buf[pos++]; hi |= (b & 127) << 24
if (b > 127) { b = buf[pos++]; if (b > 1) fault('a long of more than 64 bits'); hi |= b << 31 } } } } } } } } }
n = -(lo & 1); lo = ((lo >>> 1) | (hi << 31)) ^ n; hi = (hi >>> 1) ^ n`)
  }

  /** Reads a length into `n`, and checks that so many bytes follow. */
  length(): void {
    this.emit(`b = buf[pos++]
if (b < 128 && (b & 1) === 0) n = b >> 1
else { r = readLength(buf, pos - 1, end); n = r.value; pos = r.next }
if (n > end - pos) fault('the message ends before its value does')`)
  }

  /** Passes over a value. */
  skip(node: AvroNode): void {
    switch (node.kind) {
      case 'null':
        return
      case 'boolean':
        this.emit('pos++')
        return
      case 'int':
      case 'long':
      case 'enum':
        this.emit('if (buf[pos++] > 127) pos = skipVarint(buf, pos - 1)')
        return
      case 'float':
        this.emit('pos += 4')
        return
      case 'double':
        this.emit('pos += 8')
        return
      case 'fixed':
        this.emit(`pos += ${node.size}`)
        return
      case 'bytes':
      case 'string':
        this.emit('pos = skipBytes(buf, pos, end)')
        return
      case 'record':
        this.emit(`pos = ${this.skipperOf(node)}(buf, pos, end)`)
        return
      case 'union':
        this.union(node.branches, (branch) => this.skip(branch), '')
        return
      case 'array':
      case 'map': {
        const item = node.kind === 'array' ? node.items : node.values
        const i = this.fresh('i')
        const count = this.fresh('c')
        this.emit(`for (;;) { r = readBlockCount(buf, pos, end, ${node.kind === 'array' && isZeroWidth(item)})
const ${count} = r.value; pos = r.next; if (${count} === 0) break
for (let ${i} = 0; ${i} < ${count}; ${i}++) {`)
        if (node.kind === 'map') this.emit('pos = skipBytes(buf, pos, end)')
        this.skip(item)
        this.emit('} }')
      }
    }
  }

  /** A function per record, since records may contain themselves. */
  private skipperOf(node: AvroRecord): string {
    const known = this.skippers.get(node)
    if (known !== undefined) return known
    const name = this.fresh('skip')
    this.skippers.set(node, name)
    const body = this.capture(() => {
      for (const field of node.fields) this.skip(field.type)
    })
    this.functions.push(
      `function ${name}(buf, pos, end) { let b = 0, r = null\nif (pos > end) fault('the message ends before its value does')\n${body}return pos }`,
    )
    return name
  }

  /** Reads a union's branch and runs the code for it; `onNull` is code for null. */
  union(branches: AvroNode[], read: (branch: AvroNode, index: number) => void, onNull: string): void {
    if (branches.length > 64) throw new KafkaToDeltaError('SCHEMA_UNSUPPORTED', 'a union of more than 64 types')
    const which = this.fresh('u')
    this.emit(`const ${which} = buf[pos++]`)
    // Values come more often than nulls: test for them first.
    const order = branches.map((_, i) => i).sort((a, b) => rank(branches[a]) - rank(branches[b]) || a - b)
    for (const index of order) {
      const branch = branches[index] as AvroNode
      this.emit(`if (${which} === ${index * 2}) {`)
      if (branch.kind === 'null') this.emit(onNull)
      else read(branch, index)
      this.emit('} else')
    }
    this.emit("fault(pos > end ? 'the message ends before its value does' : 'a union without such a branch')")
  }

  /** Reads a value into `builder` at the index `row` (code). */
  read(node: AvroNode, builder: ColumnBuilder, row: string, options: ReadOptions, nested = false): void {
    const meaning = meaningOf(node)
    switch (meaning.is) {
      case 'plain':
        this.readPlain(node, builder, row, options, nested)
        return
      case 'date':
        this.int()
        this.put('putDate', builder, row, 'n', JSON.stringify(options.outOfRange))
        return
      case 'isoDate':
      case 'isoTimestamp':
      case 'zonedTimestamp': {
        const put = meaning.is === 'isoDate' ? 'putIsoDate' : 'putIsoTimestamp'
        this.readBytes(node, builder, row, options, () =>
          this.put(put, builder, row, 'buf', 'pos', 'n', JSON.stringify(options.outOfRange)),
        )
        return
      }
      case 'timestamp':
        this.long()
        this.put(
          'putTimestamp',
          builder,
          row,
          'lo',
          'hi',
          JSON.stringify(meaning.unit),
          JSON.stringify(options.outOfRange),
        )
        return
      case 'time':
        if (builder.type.kind !== 'string') {
          this.readPlain(node, builder, row, options, nested)
          return
        }
        if (node.kind === 'long') this.long()
        else {
          this.int()
          this.emit('lo = n; hi = n >> 31')
        }
        this.put('putTimeText', builder, row, 'lo', 'hi', JSON.stringify(meaning.unit))
        return
      case 'decimal':
        if (node.kind === 'fixed') {
          this.emit(`n = ${node.size}; if (n > end - pos) fault('the message ends before its value does')`)
        } else this.length()
        this.putDecimal(builder, row, String(meaning.scale), options)
        this.emit('pos += n')
        return
      case 'variableDecimal': {
        const scale = this.fresh('s')
        this.int()
        this.emit(`const ${scale} = n`)
        this.length()
        this.putDecimal(builder, row, scale, options)
        this.emit('pos += n')
        return
      }
    }
  }

  private put(name: keyof typeof RUNTIME, builder: ColumnBuilder, row: string, ...rest: string[]): void {
    this.emit(`${name}(${[this.constant(builder), row, ...rest].join(', ')})`)
  }

  private putDecimal(builder: ColumnBuilder, row: string, scale: string, options: ReadOptions): void {
    const { type } = builder
    if (type.kind === 'string') {
      this.put('putDecimalText', builder, row, 'buf', 'pos', 'n', scale)
      return
    }
    if (type.kind === 'double') {
      this.put('putDecimalDouble', builder, row, 'buf', 'pos', 'n', scale)
      return
    }
    if (type.kind !== 'decimal') {
      mismatch(builder)
      return
    }
    const target = this.constant(decimalTarget(type.precision, type.scale, options.outOfRange))
    this.put('putDecimal', builder, row, 'buf', 'pos', 'n', scale, target)
  }

  /** Reads a length, and stores the bytes unless they are the placeholder. */
  private readBytes(
    node: AvroNode,
    builder: ColumnBuilder,
    row: string,
    options: ReadOptions,
    store: () => void = () => this.put('putBytes', builder, row, 'buf', 'pos', 'n'),
  ): void {
    this.length()
    if (options.leftOut !== undefined) {
      const { placeholder, onLeftOut } = options.leftOut
      const forms = node.connectName === 'io.debezium.data.Json' ? ['text', 'json'] : ['text']
      const tests = forms.map((form) => {
        const bytes = placeholder[form as 'text' | 'json']
        return `(n === ${bytes.length} && bytesEqual(buf, pos, ${this.constant(bytes)}))`
      })
      this.emit(`if (${tests.join(' || ')}) ${this.constant(onLeftOut)}(${row})\nelse`)
    }
    store()
    this.emit('pos += n')
  }

  private readPlain(node: AvroNode, builder: ColumnBuilder, row: string, options: ReadOptions, nested: boolean): void {
    const to = this.constant(builder)
    const { kind } = builder.type
    switch (node.kind) {
      case 'null':
        return
      case 'boolean':
        this.emit(
          `b = buf[pos++]; if (b > 1) fault('a boolean that is neither 0 nor 1', ${to}.path); ${to}.u8[${row}] = b; ${to}.valid[${row}] = 1`,
        )
        return
      case 'int':
        this.int()
        if (kind === 'long') this.emit(`${to}.i32[2 * ${row}] = n; ${to}.i32[2 * ${row} + 1] = n >> 31`)
        else if (kind === 'byte' || kind === 'short') {
          const shift = kind === 'byte' ? 24 : 16
          this.emit(`if (n << ${shift} >> ${shift} !== n) fault(n + ' does not fit a ${kind}', ${to}.path)`)
          this.emit(`${to}.i32[${row}] = n`)
        } else if (kind === 'integer') this.emit(`${to}.i32[${row}] = n`)
        else mismatch(builder)
        this.emit(`${to}.valid[${row}] = 1`)
        return
      case 'long':
        if (kind !== 'long') mismatch(builder)
        this.long()
        this.emit(`${to}.i32[2 * ${row}] = lo; ${to}.i32[2 * ${row} + 1] = hi; ${to}.valid[${row}] = 1`)
        return
      case 'float':
        this.put(kind === 'double' ? 'putFloatAsDouble' : 'putFloat', builder, row, 'buf', 'pos')
        this.emit('pos += 4')
        return
      case 'double':
        this.put('putDouble', builder, row, 'buf', 'pos')
        this.emit('pos += 8')
        return
      case 'string':
      case 'bytes':
        this.readBytes(node, builder, row, options)
        return
      case 'fixed':
        this.emit(`if (${node.size} > end - pos) fault('the message ends before its value does')`)
        this.put('putBytes', builder, row, 'buf', 'pos', String(node.size))
        this.emit(`pos += ${node.size}`)
        return
      case 'enum': {
        const symbols = this.constant(node.symbols.map((symbol) => Buffer.from(symbol)))
        this.int()
        this.emit(`if (!(n >= 0 && n < ${node.symbols.length})) fault('an enum without such a symbol', ${to}.path)`)
        this.put('putBytes', builder, row, `${symbols}[n]`, '0', `${symbols}[n].length`)
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
        this.readUnion(node.branches, builder, row, options, nested)
        return
      case 'array':
      case 'map':
        this.readItems(node, builder, row, options)
        return
    }
  }

  private readUnion(
    branches: AvroNode[],
    builder: ColumnBuilder,
    row: string,
    options: ReadOptions,
    nested: boolean,
  ): void {
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
          const child = builder.children[others.indexOf(branch)] as ColumnBuilder
          this.read(branch, child, row, { outOfRange: options.outOfRange }, nested)
        },
        onNull,
      )
      return
    }
    this.union(branches, (branch) => this.read(branch, builder, row, options, nested), onNull)
  }

  private readItems(
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
    this.emit(`${to}.start = ${to}.count; ${to}.startRow = ${row}
for (;;) { r = readBlockCount(buf, pos, end, false)
const ${count} = r.value; pos = r.next; if (${count} === 0) break
${to}.reserve(${count})
for (let ${i} = 0; ${i} < ${count}; ${i}++) { const ${item} = ${to}.count++`)
    const inner = { outOfRange: options.outOfRange }
    if (node.kind === 'map') {
      const { children } = builder.child as StructBuilder
      const [key, value] = children as [ColumnBuilder, ColumnBuilder]
      this.length()
      this.put('putBytes', key, item, 'buf', 'pos', 'n')
      this.emit('pos += n')
      this.read(node.values, value, item, inner, true)
    } else this.read(node.items, builder.child, item, inner, true)
    this.emit(`} }
${to}.offsets[${row} + 1] = ${to}.count; ${to}.valid[${row}] = 1`)
    if (options.leftOut === undefined) return
    const { placeholder, onLeftOut } = options.leftOut
    this.emit(
      `if (${this.constant(placeholder)}.isIn(${to})) { ${to}.clear(${row}); ${this.constant(onLeftOut)}(${row}) }`,
    )
  }
}

function rank(branch: AvroNode | undefined): number {
  return branch?.kind === 'null' ? 1 : 0
}

function mismatch(builder: ColumnBuilder): never {
  const shape = builder instanceof FixedBuilder ? builder.type.kind : builder.constructor.name
  throw new KafkaToDeltaError('INTERNAL', `the column ${builder.path} has a builder of another type (${shape})`)
}

/** Whether values of this type take no bytes, so that their number says nothing about the message's size. */
function isZeroWidth(node: AvroNode, within: AvroNode[] = []): boolean {
  if (node.kind === 'null') return true
  if (node.kind === 'fixed') return node.size === 0
  if (node.kind !== 'record' || within.includes(node)) return false
  return node.fields.every((field) => isZeroWidth(field.type, [...within, node]))
}
