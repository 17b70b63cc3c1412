/** Avro schemas as a resolved tree: names looked up, Connect's and Avro's annotations at hand. */

import { KafkaToDeltaError } from '../errors.js'

/** An Avro schema as JSON, as the registry gives it. */
export type AvroSchemaJson = string | AvroSchemaJson[] | { [key: string]: unknown }

interface Annotations {
  /** `connect.name`: the semantic type that Debezium or Connect gave. */
  connectName?: string
  /** `connect.type`: int8 or int16 where Avro has only int. */
  connectType?: string
  /** `connect.parameters`. */
  parameters?: Record<string, string>
  logicalType?: string
  precision?: number
  scale?: number
}

export type AvroPrimitive = 'null' | 'boolean' | 'int' | 'long' | 'float' | 'double' | 'bytes' | 'string'

export interface AvroField {
  name: string
  type: AvroNode
}

export type AvroNode = Annotations &
  (
    | { kind: AvroPrimitive }
    | { kind: 'record'; name: string; fields: AvroField[] }
    | { kind: 'enum'; name: string; symbols: string[] }
    | { kind: 'fixed'; name: string; size: number }
    | { kind: 'array'; items: AvroNode }
    | { kind: 'map'; values: AvroNode }
    | { kind: 'union'; branches: AvroNode[] }
  )

export type AvroRecord = Extract<AvroNode, { kind: 'record' }>

const PRIMITIVES = new Set<string>(['null', 'boolean', 'int', 'long', 'float', 'double', 'bytes', 'string'])

/**
 * Parses a schema. Names that are used again, also recursively, are the same node.
 * @throws SCHEMA_UNSUPPORTED where it is not a valid Avro schema
 */
export function parseAvroSchema(json: AvroSchemaJson): AvroNode {
  const names = new Map<string, AvroNode>()
  return parse(json, '', names, 0)
}

function invalid(what: string): never {
  throw new KafkaToDeltaError('SCHEMA_UNSUPPORTED', `not a valid Avro schema: ${what}`)
}

function parse(json: unknown, namespace: string, names: Map<string, AvroNode>, depth: number): AvroNode {
  if (depth > 200) invalid('nested more than 200 levels deep')
  if (typeof json === 'string') {
    if (PRIMITIVES.has(json)) return { kind: json as AvroPrimitive }
    return (
      names.get(json.includes('.') || namespace === '' ? json : `${namespace}.${json}`) ??
      names.get(json) ??
      invalid(`the type ${JSON.stringify(json)} is not defined`)
    )
  }
  if (Array.isArray(json)) {
    if (json.length === 0) invalid('a union of no types')
    return { kind: 'union', branches: json.map((branch) => parse(branch, namespace, names, depth + 1)) }
  }
  if (typeof json !== 'object' || json === null) invalid(`${JSON.stringify(json)} is not a type`)
  const object = json as Record<string, unknown>
  const type = object.type
  if (typeof type === 'object' && type !== null) {
    // {"type": {"type": "int", ...}, ...}: the outer annotations add to the inner ones.
    return { ...parse(type, namespace, names, depth + 1), ...annotations(object) }
  }
  if (typeof type !== 'string') invalid('a type without a name')
  if (PRIMITIVES.has(type)) return { kind: type as AvroPrimitive, ...annotations(object) }
  switch (type) {
    case 'array':
      return { kind: 'array', items: parse(object.items, namespace, names, depth + 1), ...annotations(object) }
    case 'map':
      return { kind: 'map', values: parse(object.values, namespace, names, depth + 1), ...annotations(object) }
    case 'record':
    case 'error':
    case 'enum':
    case 'fixed':
      return parseNamed(type, object, namespace, names, depth)
    default: {
      const found = parse(type, namespace, names, depth + 1)
      const extra = annotations(object)
      return Object.keys(extra).length === 0 ? found : { ...found, ...extra }
    }
  }
}

function parseNamed(
  type: 'record' | 'error' | 'enum' | 'fixed',
  object: Record<string, unknown>,
  outer: string,
  names: Map<string, AvroNode>,
  depth: number,
): AvroNode {
  const given = object.name
  if (typeof given !== 'string' || given === '') invalid(`a ${type} without a name`)
  const dot = given.lastIndexOf('.')
  const own = typeof object.namespace === 'string' ? object.namespace : outer
  const namespace = dot >= 0 ? given.slice(0, dot) : own
  const name = dot >= 0 || namespace === '' ? given : `${namespace}.${given}`
  if (type === 'enum') {
    const symbols = object.symbols
    if (!Array.isArray(symbols) || symbols.some((s) => typeof s !== 'string')) invalid(`enum ${name} without symbols`)
    const node: AvroNode = { kind: 'enum', name, symbols: symbols as string[], ...annotations(object) }
    names.set(name, node)
    return node
  }
  if (type === 'fixed') {
    const size = object.size
    if (typeof size !== 'number' || !Number.isInteger(size) || size < 0) invalid(`fixed ${name} without a size`)
    const node: AvroNode = { kind: 'fixed', name, size, ...annotations(object) }
    names.set(name, node)
    return node
  }
  const fields = object.fields
  if (!Array.isArray(fields)) invalid(`record ${name} without fields`)
  const node: AvroRecord = { kind: 'record', name, fields: [], ...annotations(object) }
  names.set(name, node)
  const seen = new Set<string>()
  for (const field of fields) {
    const fieldName = (field as Record<string, unknown> | null)?.name
    if (typeof fieldName !== 'string') invalid(`record ${name} has a field without a name`)
    if (seen.has(fieldName)) invalid(`record ${name} has the field ${fieldName} twice`)
    seen.add(fieldName)
    node.fields.push({ name: fieldName, type: parse((field as { type: unknown }).type, namespace, names, depth + 1) })
  }
  return node
}

function annotations(object: Record<string, unknown>): Annotations {
  const found: Annotations = {}
  if (typeof object['connect.name'] === 'string') found.connectName = object['connect.name']
  if (typeof object['connect.type'] === 'string') found.connectType = object['connect.type']
  if (typeof object.logicalType === 'string') found.logicalType = object.logicalType
  if (typeof object.precision === 'number') found.precision = object.precision
  if (typeof object.scale === 'number') found.scale = object.scale
  const parameters = object['connect.parameters']
  if (typeof parameters === 'object' && parameters !== null) found.parameters = parameters as Record<string, string>
  return found
}

/** The type's name for messages: `array of long`, `io.debezium.time.Date (int)`. */
export function describeAvro(node: AvroNode): string {
  const base =
    node.kind === 'union'
      ? node.branches.map(describeAvro).join(' or ')
      : node.kind === 'array'
        ? `array of ${describeAvro(node.items)}`
        : node.kind === 'map'
          ? `map of ${describeAvro(node.values)}`
          : node.kind === 'record'
            ? `record ${node.name}`
            : node.kind
  const named = node.connectName ?? node.logicalType
  return named === undefined || node.kind === 'record' ? base : `${named} (${base})`
}

/** The one type beside null of a union, or the node itself; null where the union has several. */
export function withoutNull(node: AvroNode): AvroNode | null {
  if (node.kind !== 'union') return node
  const others = node.branches.filter((branch) => branch.kind !== 'null')
  return others.length === 1 ? (others[0] as AvroNode) : null
}

/** The number of a union's first branch of this kind; -1 where there is none, or the node is no union. */
export function branchOf(node: AvroNode, kind: AvroNode['kind']): number {
  return node.kind === 'union' ? node.branches.findIndex((branch) => branch.kind === kind) : -1
}

const widths = new WeakMap<AvroNode, number>()

/** The fewest bytes that a value of this type takes; 0 where its number says nothing about the message's size. */
export function minWidth(node: AvroNode): number {
  switch (node.kind) {
    case 'null':
      return 0
    case 'float':
      return 4
    case 'double':
      return 8
    case 'fixed':
      return node.size
    case 'union':
      return 1 + Math.min(...node.branches.map(minWidth))
    case 'record': {
      const known = widths.get(node)
      if (known !== undefined) return known
      // For a record within itself; too small is safe.
      widths.set(node, 1)
      const width = node.fields.reduce((sum, field) => sum + minWidth(field.type), 0)
      widths.set(node, width)
      return width
    }
    default:
      return 1
  }
}
