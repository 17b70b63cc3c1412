/** The connector's own topics, whose messages change no row, and what the user is told of them. */

import type { AvroNode } from '../avro/schema.js'
import type { DecoderSettings } from './options.js'

const OWN: [RegExp, string][] = [
  [/^io\.debezium\.connector\.[\w.]*SchemaChange(Key|Value)$/, 'changes of the schema (DDL)'],
  [/^io\.debezium\.connector\.common\.(Heartbeat|ServerNameKey)$/, 'heartbeats'],
  [/^io\.debezium\.connector\.common\.TransactionMetadata(Key|Value)$/, 'the begins and ends of transactions'],
  [/^io\.debezium\.connector\.common\.Notification(Key|Value)?$/, 'notifications of the connector'],
  [/^io\.debezium\.connector\.[\w.]*\.Message(Key|Value)$/, 'logical decoding messages'],
]

/** What the messages with this schema are, by the names that Debezium gives their records; null for rows. */
export function ownTopicOf(node: AvroNode | null): string | null {
  if (node?.kind !== 'record') return null
  const names = [node.connectName ?? '', node.name]
  return OWN.find(([pattern]) => names.some((name) => pattern.test(name)))?.[1] ?? null
}

/** Things to tell the user, each once. */
export class Notes {
  readonly #said = new Set<string>()
  #waiting: string[] = []

  add(note: string): void {
    if (this.#said.has(note)) return
    this.#said.add(note)
    this.#waiting.push(note)
  }

  /** What was not told yet. */
  take(): string[] {
    const notes = this.#waiting
    this.#waiting = []
    return notes
  }
}

/** A name that no field has may be a mistake that shows what should be hidden. */
export function noteUnknownNames(options: DecoderSettings, fields: ReadonlySet<string>, notes: Notes): void {
  const { topic, includeColumns = [], excludeColumns, renameColumns, columns } = options
  const given = {
    includeColumns,
    excludeColumns,
    renameColumns: Object.keys(renameColumns),
    columns: Object.keys(columns),
  }
  for (const [option, names] of Object.entries(given)) {
    for (const name of names) {
      if (fields.has(name)) continue
      notes.add(`${topic}: ${option} names ${JSON.stringify(name)}, which no field of its messages has so far`)
    }
  }
}
