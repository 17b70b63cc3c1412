/** What a source asks and tells of the tables of its worker, where many workers share the tables of a query. */

/** A table of this worker's configuration. */
export interface KnownTable {
  readonly path: string
  readonly topics: readonly string[]
  /** How much work it is, where this worker has it; null where it has not. */
  readonly load: number | null
}

/** Topics that came to this worker, and topics that went. */
export interface TopicMoves {
  gained: string[]
  lost: string[]
}

export interface Sharing {
  /** All tables that the worker knows, whoever has them. */
  tables(): readonly KnownTable[]
  /** Told before anything is asked of the topics that came. */
  moved(moves: TopicMoves): void
  /** A topic that is another worker's was deleted, or may not be read any more. */
  unreadable(topic: string, error: Error): void
}
