/** Topics that Debezium writes for itself: they hold no rows. */

import { schemaIdOf } from '../avro/wire.js'
import type { RawMessage } from '../kafka/micro-batch.js'
import type { SchemaSource } from '../registry/schema-source.js'

/** The table that tells a connector what to do, by the name that Debezium's documentation gives it. */
const SIGNALS = /(^|\.)debezium_signals?$/i

/**
 * Names that Debezium gives its own topics: `<prefix>.transaction`, `<prefix>` alone for schema changes. A table may have
 * such a name, too: what is in the topic decides.
 */
const MAYBE_OWN = /(^|\.)transaction$|^[^.]+$/

/** Schemas of transactions, schema changes and heartbeats are in this namespace, those of rows in one named by the prefix. */
const NAMESPACE = /^io\.debezium\./

/** What a topic holds, as far as its name tells. */
export function kindByName(topic: string): 'rows' | 'signals' | 'unknown' {
  if (SIGNALS.test(topic)) return 'signals'
  return MAYBE_OWN.test(topic) ? 'unknown' : 'rows'
}

/** Whether a message is one of Debezium's own, by the name of its schema. Throws what the registry does. */
export async function isOwnMessage({ key, value }: RawMessage, schemas: SchemaSource): Promise<boolean> {
  for (const bytes of [key, value]) {
    const id = bytes === null ? -1 : schemaIdOf(bytes)
    if (id < 0) continue
    const schema = await schemas.get(id)
    for (const type of Array.isArray(schema) ? schema : [schema]) {
      const { name, namespace } = type as { name?: string; namespace?: string }
      if (NAMESPACE.test(namespace === undefined ? (name ?? '') : `${namespace}.${name}`)) return true
    }
  }
  return false
}
