/** The source's side of a comparison: rows as text, in the order of the key's bytes. */

import type { DeltaType } from '../comparable.js'
import type { Cells } from '../database-text.js'
import type { Range } from '../ranges.js'

/** A row of the source: what the database writes as text; binary values are `\x` and hexadecimal digits. */
export type SourceRow = Readonly<Record<string, string | null>>

/** A chunk of the source, in order of the key. */
export interface HashedChunk extends Range {
  rows: number
  /** Of all compared values ({@link hashOf}). */
  hash: string
}

/** The table as of one moment, of which the database hashes chunks. */
export interface HashedTable {
  /** What makes the same texts of the stored values, for each column that was asked for. */
  readonly cells: readonly Cells[]
  /** All chunks, each after the one before; the last one has no end. None where there are no rows. */
  chunks(): AsyncIterable<HashedChunk>
  /** The rows of some chunks, in their order, chunk by chunk, after all chunks were asked for. */
  rows(chunks: readonly HashedChunk[]): AsyncIterable<readonly SourceRow[]>
  end(): Promise<void>
}

export interface SourceTable {
  /** Columns in the table's order. */
  readonly columns: readonly string[]
  /** Whether a column holds decimals each with a scale of its own, which are stored as texts. */
  isUnscaled?(column: string): boolean
  /** All rows as of one moment, ordered by the key columns, texts by their UTF-8 bytes. */
  rows(key: readonly string[], fetchSize: number): AsyncIterable<readonly SourceRow[]>
  /**
   * The table to be compared by hashes of chunks, each an MD5 of a row's texts, summed up. Null where that could tell
   * otherwise than {@link rows}: a key that is not surely unique, columns whose texts are not sure to be the same.
   */
  hashed?(
    key: readonly string[],
    columns: readonly { name: string; type: DeltaType }[],
    chunkRows: number,
  ): Promise<HashedTable | null>
  /** The rows of some keys as they are now. */
  rowsOf(key: readonly string[], values: readonly (readonly string[])[]): Promise<readonly SourceRow[]>
  /** Brings forward what is not asked anew each time. */
  refresh?(): Promise<void>
  close(): Promise<void>
}
