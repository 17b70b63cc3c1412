/** Schemas that refer to names that other subjects define. */

import type { AvroSchemaJson } from '../avro/schema.js'

export interface SchemaReference {
  /** The name that the schema uses. */
  name: string
  subject: string
  version: number
}

/** The schema with each referenced name replaced, where it is first used, by its definition. */
export function inlineReferences(schema: AvroSchemaJson, definitions: Map<string, AvroSchemaJson>): AvroSchemaJson {
  const open = new Map(definitions)
  const visit = (json: unknown, namespace: string): unknown => {
    if (typeof json === 'string') {
      const full = json.includes('.') || namespace === '' ? json : `${namespace}.${json}`
      const name = open.has(full) ? full : json
      const definition = open.get(name)
      if (definition === undefined) return json
      // Avro allows one definition of a name; it is known from here on.
      open.delete(name)
      return visit(definition, '')
    }
    if (Array.isArray(json)) return json.map((item) => visit(item, namespace))
    if (typeof json !== 'object' || json === null) return json
    const object = json as Record<string, unknown>
    const own = typeof object.namespace === 'string' ? object.namespace : namespace
    const name = typeof object.name === 'string' ? object.name : ''
    const inner = name.includes('.') ? name.slice(0, name.lastIndexOf('.')) : own
    const result: Record<string, unknown> = { ...object }
    if ('type' in object && !isNamed(object.type)) result.type = visit(object.type, namespace)
    if ('items' in object) result.items = visit(object.items, namespace)
    if ('values' in object) result.values = visit(object.values, namespace)
    if (Array.isArray(object.fields)) {
      result.fields = object.fields.map((field: Record<string, unknown>) => ({
        ...field,
        type: visit(field.type, inner),
      }))
    }
    return result
  }
  return visit(schema, '') as AvroSchemaJson
}

const NAMED = new Set<unknown>(['record', 'error', 'enum', 'fixed', 'array', 'map'])

function isNamed(type: unknown): boolean {
  return NAMED.has(type)
}
