/**
 * Generates the code of functions that walk through Avro bytes.
 *
 * Generated code has the shape `(buf, pos, end, row) => pos`. A byte beyond the end reads as undefined, which counts as
 * zero in bit operations: the caller's check of the final position finds it. Lengths are checked where they are used.
 */

import { KafkaToDeltaError } from '../errors.js'
import { type AvroNode, type AvroRecord, minWidth } from './schema.js'
import { fault, readBlockCount, readLength, skipBytes, skipVarint } from './wire.js'

/** Reads one value and returns the position after it. */
export type Reader = (buf: Buffer, pos: number, end: number, row: number) => number

const WIRE = { fault, readBlockCount, readLength, skipBytes, skipVarint }

/** Code of one function at most: V8 does not optimise very long ones. */
const MAX_FUNCTION_CHARS = 12_000

/** Collects the code of one reader. Each step is code for one field, in the order of the bytes. */
export class CodeWriter {
  readonly #steps: string[] = []
  readonly #functions: string[] = []
  readonly #skippers = new Map<AvroNode, string>()
  readonly #constants: unknown[] = []
  #code = ''
  #names = 0
  readonly #runtime: Record<string, unknown>

  /** @param runtime functions that the code may call, by the names that it has for them */
  constructor(runtime: Record<string, unknown> = {}) {
    this.#runtime = runtime
  }

  /** A name for a value in the generated code. */
  constant(value: unknown): string {
    const at = this.#constants.indexOf(value)
    return at >= 0 ? `K${at}` : `K${this.#constants.push(value) - 1}`
  }

  fresh(prefix: string): string {
    return `${prefix}${this.#names++}`
  }

  emit(code: string): void {
    this.#code += `${code}\n`
  }

  /** Ends the code of a field. */
  endStep(): void {
    if (this.#code !== '') this.#steps.push(this.#code)
    this.#code = ''
  }

  /** Code that `run` emits, taken out of the current step. */
  #capture(run: () => void): string {
    const before = this.#code
    this.#code = ''
    run()
    const code = this.#code
    this.#code = before
    return code
  }

  build(): Reader {
    this.endStep()
    const groups: string[] = []
    let group = ''
    for (const step of this.#steps) {
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
    const source = ["'use strict'", ...this.#functions, ...parts, main].join('\n')
    const constantNames = this.#constants.map((_, i) => `K${i}`)
    const runtime = { ...WIRE, ...this.#runtime }
    const make = new Function(...Object.keys(runtime), ...constantNames, source)
    return make(...Object.values(runtime), ...this.#constants) as Reader
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
        this.emit(`pos = ${this.#skipperOf(node)}(buf, pos, end)`)
        return
      case 'union':
        this.union(node.branches, (branch) => this.skip(branch), '')
        return
      case 'array':
      case 'map': {
        const item = node.kind === 'array' ? node.items : node.values
        const i = this.fresh('i')
        const count = this.fresh('c')
        this.emit(`for (;;) { r = readBlockCount(buf, pos, end, ${minWidth(item) + (node.kind === 'map' ? 1 : 0)})
const ${count} = r.value; pos = r.next; if (${count} === 0) break
for (let ${i} = 0; ${i} < ${count}; ${i}++) {`)
        if (node.kind === 'map') this.emit('pos = skipBytes(buf, pos, end)')
        this.skip(item)
        this.emit('} }')
      }
    }
  }

  /** A function per record, since records may contain themselves. */
  #skipperOf(node: AvroRecord): string {
    const known = this.#skippers.get(node)
    if (known !== undefined) return known
    const name = this.fresh('skip')
    this.#skippers.set(node, name)
    const body = this.#capture(() => {
      for (const field of node.fields) this.skip(field.type)
    })
    this.#functions.push(
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
}

function rank(branch: AvroNode | undefined): number {
  return branch?.kind === 'null' ? 1 : 0
}
