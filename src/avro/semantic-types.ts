/** What a source type means, and which Delta type it becomes (docs/types.md). */

import { type ColumnType, deltaTypeName } from '../arrow/types.js'
import { KafkaToDeltaError } from '../errors.js'
import type { ResolvedColumn } from '../options/types.js'
import { type AvroNode, describeAvro } from './schema.js'

export type TimeUnit = 'ms' | 'us' | 'ns'

/** What a record of `time.precision.mode=structured` stands for. */
export type StructuredKind = 'date' | 'time' | 'timestamp' | 'zonedTime' | 'zonedTimestamp'

export type Meaning =
  | { is: 'plain' | 'date' | 'isoDate' | 'isoTimestamp' | 'zonedTimestamp' | 'variableDecimal' }
  | { is: 'timestamp' | 'time'; unit: TimeUnit }
  | { is: 'structured'; kind: StructuredKind }
  /** `declared`: the precision is the source's own, not the converter's stand-in for none. */
  | { is: 'decimal'; precision: number; scale: number; declared: boolean }

/** What to do with a value outside its column's type. */
export type OutOfRange = NonNullable<ResolvedColumn['outOfRange']>

const CONNECT = 'org.apache.kafka.connect.data.'
const TIME = 'io.debezium.time.'

const INT_MEANINGS = new Map<string, Meaning>([
  [`${CONNECT}Date`, { is: 'date' }],
  [`${TIME}Date`, { is: 'date' }],
  [`${CONNECT}Time`, { is: 'time', unit: 'ms' }],
  [`${TIME}Time`, { is: 'time', unit: 'ms' }],
])

const LONG_MEANINGS = new Map<string, Meaning>([
  [`${CONNECT}Timestamp`, { is: 'timestamp', unit: 'ms' }],
  [`${TIME}Timestamp`, { is: 'timestamp', unit: 'ms' }],
  [`${TIME}MicroTimestamp`, { is: 'timestamp', unit: 'us' }],
  [`${TIME}NanoTimestamp`, { is: 'timestamp', unit: 'ns' }],
  [`${TIME}MicroTime`, { is: 'time', unit: 'us' }],
  [`${TIME}NanoTime`, { is: 'time', unit: 'ns' }],
])

const STRING_MEANINGS = new Map<string, Meaning>([
  [`${TIME}IsoDate`, { is: 'isoDate' }],
  [`${TIME}IsoTimestamp`, { is: 'isoTimestamp' }],
  [`${TIME}ZonedTimestamp`, { is: 'zonedTimestamp' }],
])

const STRUCTURED_MEANINGS = new Map<string, Meaning>([
  [`${TIME}StructuredDate`, { is: 'structured', kind: 'date' }],
  [`${TIME}StructuredTime`, { is: 'structured', kind: 'time' }],
  [`${TIME}StructuredTimestamp`, { is: 'structured', kind: 'timestamp' }],
  [`${TIME}StructuredZonedTime`, { is: 'structured', kind: 'zonedTime' }],
  [`${TIME}StructuredZonedTimestamp`, { is: 'structured', kind: 'zonedTimestamp' }],
])

const INT_LOGICAL = new Map<string, Meaning>([
  ['date', { is: 'date' }],
  ['time-millis', { is: 'time', unit: 'ms' }],
])

const LONG_LOGICAL = new Map<string, Meaning>([
  ['timestamp-millis', { is: 'timestamp', unit: 'ms' }],
  ['timestamp-micros', { is: 'timestamp', unit: 'us' }],
  ['timestamp-nanos', { is: 'timestamp', unit: 'ns' }],
  ['local-timestamp-millis', { is: 'timestamp', unit: 'ms' }],
  ['local-timestamp-micros', { is: 'timestamp', unit: 'us' }],
  ['local-timestamp-nanos', { is: 'timestamp', unit: 'ns' }],
  ['time-micros', { is: 'time', unit: 'us' }],
])

const PLAIN: Meaning = { is: 'plain' }

/** The name `connect.name` decides before Avro's logical type. */
export function meaningOf(node: AvroNode): Meaning {
  const name = node.connectName ?? ''
  const logical = node.logicalType ?? ''
  switch (node.kind) {
    case 'int':
      return INT_MEANINGS.get(name) ?? (name === '' ? INT_LOGICAL.get(logical) : undefined) ?? PLAIN
    case 'long':
      return LONG_MEANINGS.get(name) ?? (name === '' ? LONG_LOGICAL.get(logical) : undefined) ?? PLAIN
    case 'string':
      return STRING_MEANINGS.get(name) ?? PLAIN
    case 'bytes':
    case 'fixed':
      return decimalMeaning(node) ?? PLAIN
    case 'record':
      if (isVariableDecimal(node)) return { is: 'variableDecimal' }
      return STRUCTURED_MEANINGS.get(name) ?? PLAIN
    default:
      return PLAIN
  }
}

/** What Connect's Avro converter writes where a decimal has no precision. */
const CONVERTER_PRECISION = 64

function decimalMeaning(node: AvroNode): Meaning | null {
  const connect = node.connectName === `${CONNECT}Decimal`
  if (!connect && node.logicalType !== 'decimal') return null
  const given = Number(node.parameters?.['connect.decimal.precision'])
  const scale = node.scale ?? Number(node.parameters?.scale ?? 0)
  const precision = node.precision ?? (given || CONVERTER_PRECISION)
  // Connect's decimals may have a negative scale (Oracle's NUMBER(5,-2)); Avro has none.
  if (!Number.isInteger(scale) || (scale < 0 && !connect) || !Number.isInteger(precision) || precision < 1) return null
  // Avro says to ignore a decimal without precision, Connect always knows its scale.
  if (!connect && node.precision === undefined) return null
  return { is: 'decimal', precision, scale, declared: !connect || !Number.isNaN(given) }
}

function isVariableDecimal(node: AvroNode): boolean {
  if (node.kind !== 'record' || node.connectName !== 'io.debezium.data.VariableScaleDecimal') return false
  const [scale, value] = node.fields
  return node.fields.length === 2 && scale?.type.kind === 'int' && value?.type.kind === 'bytes'
}

function unsupported(path: string, what: string): never {
  throw new KafkaToDeltaError(
    'SCHEMA_UNSUPPORTED',
    `the column ${path} ${what}: name it in excludeColumns to leave it out`,
    { column: path },
  )
}

/**
 * The type of the column that stores values of `node`.
 * @throws SCHEMA_UNSUPPORTED where Delta has none
 */
export function columnTypeOf(
  node: AvroNode,
  options: ResolvedColumn,
  path: string,
  within: AvroNode[] = [],
): ColumnType {
  if (options.type === 'string') return textType(node, path)
  const meaning = meaningOf(node)
  switch (meaning.is) {
    case 'date':
    case 'isoDate':
      return { kind: 'date' }
    case 'timestamp':
    case 'isoTimestamp':
      return { kind: 'timestamp', utc: options.timestampNtz !== true }
    case 'zonedTimestamp':
      return { kind: 'timestamp', utc: true }
    case 'time':
      return { kind: options.time === 'string' ? 'string' : node.kind === 'int' ? 'integer' : 'long' }
    case 'structured':
      return structuredType(meaning.kind, options)
    case 'decimal':
      return decimalType(meaning, options)
    case 'variableDecimal':
      return unboundedType(options)
    case 'plain':
      return plainType(node, options, path, within)
  }
}

function structuredType(kind: StructuredKind, options: ResolvedColumn): ColumnType {
  switch (kind) {
    case 'date':
      return { kind: 'date' }
    case 'timestamp':
      return { kind: 'timestamp', utc: options.timestampNtz !== true }
    case 'zonedTimestamp':
      return { kind: 'timestamp', utc: true }
    case 'time':
      return { kind: options.time === 'string' ? 'string' : 'long' }
    case 'zonedTime':
      return { kind: 'string' }
  }
}

/** Kinds without a text that is theirs alone. */
const WITHOUT_TEXT = ['binary', 'array', 'map', 'struct']

function textType(node: AvroNode, path: string): ColumnType {
  const type = columnTypeOf(node, {}, path)
  if (WITHOUT_TEXT.includes(type.kind)) {
    throw new KafkaToDeltaError(
      'CONFIG_INVALID',
      `columns.${path} says type "string", which is for single values with a text of their own; ` +
        `${path} is ${deltaTypeName(type)}: leave that option out`,
      { column: path },
    )
  }
  return { kind: 'string' }
}

function plainType(node: AvroNode, options: ResolvedColumn, path: string, within: AvroNode[]): ColumnType {
  if (within.includes(node)) unsupported(path, `has a type that contains itself (${describeAvro(node)})`)
  const inner = [...within, node]
  switch (node.kind) {
    case 'boolean':
    case 'long':
    case 'float':
    case 'double':
    case 'string':
      return { kind: node.kind }
    case 'enum':
      return { kind: 'string' }
    case 'bytes':
    case 'fixed':
      return { kind: 'binary' }
    case 'int':
      if (options.smallIntegers && node.connectType === 'int8') return { kind: 'byte' }
      if (options.smallIntegers && node.connectType === 'int16') return { kind: 'short' }
      return { kind: 'integer' }
    case 'array':
      return { kind: 'array', items: columnTypeOf(node.items, options, `${path}[]`, inner) }
    case 'map':
      return { kind: 'map', values: columnTypeOf(node.values, options, `${path}.value`, inner) }
    case 'record':
      return structOf(node.fields, options, path, inner)
    case 'union':
      return unionType(node.branches, options, path, inner)
    case 'null':
      return unsupported(path, 'has the type null alone')
  }
}

function structOf(
  members: { name: string; type: AvroNode }[],
  options: ResolvedColumn,
  path: string,
  within: AvroNode[],
): ColumnType {
  if (members.length === 0) unsupported(path, 'is a record without fields')
  const seen = new Map<string, string>()
  const fields = members.map(({ name, type }) => {
    const other = seen.get(name.toLowerCase())
    if (other !== undefined) unsupported(path, `has the fields ${other} and ${name}, which differ only in case`)
    seen.set(name.toLowerCase(), name)
    return { name, type: columnTypeOf(type, options, `${path}.${name}`, within) }
  })
  return { kind: 'struct', fields }
}

function unionType(branches: AvroNode[], options: ResolvedColumn, path: string, within: AvroNode[]): ColumnType {
  const others = branches.filter((branch) => branch.kind !== 'null')
  if (others.length === 0) unsupported(path, 'has the type null alone')
  const types = others.map((branch) => columnTypeOf(branch, options, path, within))
  if (types.length === 1) return types[0] as ColumnType
  const number = numberOfUnion(branches)
  if (number !== null) return { kind: number }
  return { kind: 'struct', fields: types.map((type, i) => ({ name: `member${i}`, type })) }
}

/** The type that holds a union of two numbers, as Spark's Avro reader has it; null for other unions. */
export function numberOfUnion(branches: AvroNode[]): 'long' | 'double' | null {
  const others = branches.filter((branch) => branch.kind !== 'null')
  const kinds = others.map((branch) => (meaningOf(branch).is === 'plain' ? branch.kind : 'other')).sort()
  return kinds.join() === 'int,long' ? 'long' : kinds.join() === 'double,float' ? 'double' : null
}

/** Scales above this are negative ones that a reader took for 11 unsigned bits. */
const MAX_SCALE = 1023

/** Whether the scale of a column of decimals is a negative one, from -1024 to -1: `numeric(3,-2)` says 2046. */
export function isNegativeScale(scale: number): boolean {
  return scale > MAX_SCALE && scale < 2048
}

/** Postgres' money has the converter's precision and at most 19 digits. */
const MAX_MONEY_SCALE = 4

function decimalType(
  { precision, scale, declared }: { precision: number; scale: number; declared: boolean },
  options: ResolvedColumn,
): ColumnType {
  if (scale < 0 || isNegativeScale(scale)) {
    const digits = precision - (scale < 0 ? scale : scale - 2048)
    return digits <= 38 ? { kind: 'decimal', precision: digits, scale: 0 } : unboundedType(options)
  }
  if (!declared && precision === CONVERTER_PRECISION && scale <= MAX_MONEY_SCALE) {
    return { kind: 'decimal', precision: 38, scale }
  }
  const digits = Math.max(precision, scale)
  return digits <= 38 ? { kind: 'decimal', precision: digits, scale } : unboundedType(options)
}

function unboundedType(options: ResolvedColumn): ColumnType {
  const wanted = options.decimal ?? 'string'
  return typeof wanted === 'string' ? { kind: wanted } : { kind: 'decimal', ...wanted }
}
