/** The source's side of a comparison: rows as text, in the order of the key's bytes. */

import type { DeltaType } from '../../delta/schema-json.js'
import type { ResolvedColumn } from '../../options/types.js'
import type { Cells } from '../database-text.js'
import type { Range } from '../ranges.js'
import type { Parse } from '../source-text.js'

/** What the table makes of a column of the source. */
export interface Target {
  type: DeltaType
  /** What the type does not tell: the unit of a number, the form of a text. Empty where the table names none. */
  form: string
  options: ResolvedColumn
}

/** A side of a comparison of keys in SQL. */
export interface KeySide {
  sql: string
  /** The other side, of a placeholder. */
  parameter(placeholder: string): string
  /** The parameter of a compared value. Null where no row of the source can have it. */
  from(value: string): string | null
}

/** How a key column is asked for. */
export interface KeyReading {
  /** In the order of the stored values. */
  order: KeySide
  /** To find rows by an index. It may find more: texts that differ only in case. */
  find: KeySide
}

/** How a column is read, so that its text gives the value that the stream stores. */
export interface Reading {
  /** An expression of the text. */
  sql: string
  value: Parse
  /** Whether another stored text is the same value: it is no difference. */
  isSame?(stored: string, source: string): boolean
  /** Whether the stream may have made another stored value of the source's: it cannot be told then, and is not written. */
  mayBe?(stored: string, source: string): boolean
  /** Whether a snapshot may have left digits of the source's value out, which later changes bring. */
  mayLack?(stored: string, source: string): boolean
  /** The same text from the Delta table; left out where that is not sure to be the same. */
  hash?: { cells: Cells /** The text may hold anything. */; sized: boolean }
  /** Left out for types that databases order otherwise than tables. */
  key?: KeyReading
}

/** Texts of the columns that were asked for, in their order. */
export type SourceRow = readonly (string | null)[]

/** A chunk of the source, in order of the key; keys are compared values. */
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

/** Columns that are read of a table. */
export interface Selection {
  columns: readonly { field: string; reading: Reading }[]
  /** The key's columns, by their numbers in `columns`; each has a {@link KeyReading}. */
  key: readonly number[]
}

export interface SourceTable {
  /** Columns in the table's order. */
  readonly columns: readonly string[]
  /** How a column is read for a table that makes `target` of it; null where that is not proven to give what it stores. */
  reading(column: string, target: Target): Reading | null
  /** All rows as of one moment, ordered by the key columns as the table orders them. */
  rows(selection: Selection, fetchSize: number): AsyncIterable<readonly SourceRow[]>
  /**
   * The table to be compared by hashes of chunks, each an MD5 of a row's texts, summed up. Null where that could tell
   * otherwise than {@link rows}: a key that is not surely unique, columns whose texts are not sure to be the same.
   */
  hashed?(selection: Selection, chunkRows: number): Promise<HashedTable | null>
  /** The rows of some keys as they are now, also while {@link rows} are read; rows of other keys may be among them. */
  rowsOf(selection: Selection, keys: readonly (readonly string[])[]): Promise<readonly SourceRow[]>
  /** Brings forward what is not asked anew each time. */
  refresh?(): Promise<void>
  close(): Promise<void>
}
