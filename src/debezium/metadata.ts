/** Columns that belong to the message of a change, not to the row: where it lay in Kafka, and what it did. */

import { BytesBuilder, type FixedBuilder } from '../arrow/builders.js'
import type { ColumnType } from '../arrow/types.js'
import type { OutOfRange } from '../avro/semantic-types.js'
import { putBytes } from '../avro/store-values.js'
import { putTimestamp } from '../avro/times.js'
import { KafkaToDeltaError } from '../errors.js'
import type { Message } from '../kafka/message.js'
import type { LayoutColumn, TableLayout } from './layout.js'
import type { DecoderSettings } from './options.js'

/**
 * One entry of the option `metadataColumns`, `path` or `path:name`. The column is `__name`, or `__` and the path with
 * `_` for `.`, as Debezium's `add.fields` does; `renameColumns` may name it otherwise.
 */
export interface MetadataSpec {
  path: string
  column: string
}

type MessagePath = 'kafka.topic' | 'kafka.partition' | 'kafka.offset' | 'kafka.timestamp' | 'operation'

const MESSAGE_TYPES: Record<MessagePath, ColumnType> = {
  'kafka.topic': { kind: 'string' },
  'kafka.partition': { kind: 'integer' },
  'kafka.offset': { kind: 'long' },
  'kafka.timestamp': { kind: 'timestamp', utc: true },
  operation: { kind: 'string' },
}

/** Paths that every message answers, whatever its value is. */
export function isMessagePath(path: string): path is MessagePath {
  return Object.hasOwn(MESSAGE_TYPES, path)
}

/**
 * Reads the option `metadataColumns`.
 * @throws CONFIG_INVALID for paths below `kafka.` that there are not, and names given twice
 */
export function parseMetadataColumns(options: DecoderSettings): MetadataSpec[] {
  const seen = new Map<string, string>()
  return options.metadataColumns.map((spec) => {
    const colon = spec.indexOf(':')
    const path = (colon < 0 ? spec : spec.slice(0, colon)).trim()
    const name = colon < 0 ? path.replaceAll('.', '_') : spec.slice(colon + 1).trim()
    if (path === '' || name === '') invalid(`has ${JSON.stringify(spec)}, which is not "path" or "path:name"`)
    if (path.startsWith('kafka.') && !isMessagePath(path)) {
      invalid(`names ${path}: there are kafka.topic, kafka.partition, kafka.offset and kafka.timestamp`)
    }
    const given = `__${name}`
    const column = Object.hasOwn(options.renameColumns, given) ? (options.renameColumns[given] as string) : given
    const other = seen.get(column.toLowerCase())
    if (other !== undefined)
      invalid(`makes the column ${column} of ${other} and of ${spec}: name one of them otherwise, as "${path}:name"`)
    seen.set(column.toLowerCase(), spec)
    return { path, column }
  })
}

function invalid(what: string): never {
  throw new KafkaToDeltaError('CONFIG_INVALID', `the option metadataColumns ${what}`)
}

/** Rows' operations, as `op` has them. */
const CODES = Buffer.from('crudt')

/** The columns `kafka.…` and `operation`, and the flag of soft deletes. */
export class MessageColumns {
  /** By column name: what people are told of it. */
  readonly sources = new Map<string, string>()
  readonly #specs: { path: MessagePath; column: string }[] = []
  readonly #flag: string | null
  #targets: { path: MessagePath; column: LayoutColumn }[] = []
  #flagColumn: LayoutColumn | null = null
  #version = -1
  #topic = Buffer.alloc(0)
  readonly #layout: TableLayout
  readonly #options: DecoderSettings

  constructor(specs: MetadataSpec[], layout: TableLayout, options: DecoderSettings) {
    this.#layout = layout
    this.#options = options
    for (const { path, column } of specs) {
      if (!isMessagePath(path)) continue
      this.#specs.push({ path, column })
      this.sources.set(column, path === 'operation' ? 'operation of the change' : `${path} of the message`)
    }
    this.#flag = options.deletes === 'soft' ? options.softDeleteColName : null
    if (this.#flag === null) return
    if (this.sources.has(this.#flag)) invalid(`makes the column ${this.#flag}, which softDeleteColName names too`)
    this.sources.set(this.#flag, 'whether the row is deleted')
  }

  /** Adds the columns to the layout, after those of the first row. */
  register(): void {
    for (const { path, column } of this.#specs) {
      this.#layout.addOwn(column, MESSAGE_TYPES[path], this.sources.get(column) as string)
    }
    if (this.#flag !== null) this.#layout.addOwn(this.#flag, { kind: 'boolean' }, 'whether the row is deleted')
  }

  /** The columns that tell of the message alone. The operation is what makes a change another one. */
  get ofTheChange(): string[] {
    return this.#specs.filter(({ path }) => path !== 'operation').map(({ column }) => column)
  }

  /** Before the rows of a batch. */
  prepare(topic: string): void {
    if (this.sources.size === 0) return
    this.#topic = Buffer.from(topic)
    if (this.#version === this.#layout.version) return
    this.#version = this.#layout.version
    this.#targets = this.#specs
      .filter(({ column }) => this.#layout.has(column))
      .map(({ path, column }) => ({ path, column: this.#layout.find(column) }))
    this.#flagColumn = this.#flag !== null && this.#layout.has(this.#flag) ? this.#layout.find(this.#flag) : null
  }

  /** @param operation the character of `op`; 0 where it is not known, which is stored as null */
  write(row: number, partition: number, message: Message, operation: number, deleted: boolean): void {
    for (const { path, column } of this.#targets) {
      const { builder } = column
      if (builder instanceof BytesBuilder) {
        if (path === 'kafka.topic') putBytes(builder, row, this.#topic, 0, this.#topic.length)
        else {
          const at = CODES.indexOf(operation)
          if (operation !== 0 && at >= 0) putBytes(builder, row, CODES, at, 1)
        }
      } else this.#writeNumber(path, builder as FixedBuilder, row, partition, message)
    }
    const flag = this.#flagColumn?.builder as FixedBuilder | undefined
    if (flag !== undefined) {
      flag.u8[row] = deleted ? 1 : 0
      flag.valid[row] = 1
    }
  }

  #writeNumber(path: MessagePath, to: FixedBuilder, row: number, partition: number, message: Message): void {
    if (path === 'kafka.partition') {
      to.i32[row] = partition
      to.valid[row] = 1
      return
    }
    const value = path === 'kafka.offset' ? message.position : message.exactTime
    // Kafka's -1 is a message without timestamp.
    if (value < 0n) return
    const low = Number(value & 0xffffffffn) | 0
    const high = Number(value >> 32n)
    if (path === 'kafka.timestamp') {
      const outOfRange: OutOfRange = this.#options.defaults.outOfRange ?? 'fail'
      putTimestamp(to, row, low, high, 'ms', outOfRange)
      return
    }
    to.i32[2 * row] = low
    to.i32[2 * row + 1] = high
    to.valid[row] = 1
  }
}
