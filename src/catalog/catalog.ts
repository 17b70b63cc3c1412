/** What a catalog is to the rest of the program: the place where readers find tables by name. */

import type { DeltaType } from '../delta/schema-json.js'

export interface CatalogColumn {
  name: string
  /** Delta's type, as in the table's schema JSON. */
  type: DeltaType
  nullable: boolean
  comment?: string
}

/** What a table is called, and where it lies. */
export interface TablePlace {
  schema: string
  name: string
  /** A URL, in the form that the catalog's readers take. */
  location: string
}

/** A table as it should stand in a catalog: an external Delta table. */
export interface CatalogTable extends TablePlace {
  columns: readonly CatalogColumn[]
  partitionColumns: readonly string[]
  comment?: string
  /** The Delta table's own properties. */
  properties: Readonly<Record<string, string>>
}

/** A table as a catalog has it. A catalog may keep more in it: what {@link Catalog.find} gave is what the other calls get. */
export interface FoundTable {
  location: string
  columns: readonly { name: string; type: string }[]
  properties: Readonly<Record<string, string>>
}

/** Credentials for a table's files. */
export interface VendedCredentials {
  /** Options of the object store, by the names that `storageOptions` have. */
  options: Record<string, string>
  /** Null: that is not told. */
  expires: Date | null
}

/**
 * A catalog of tables. Every call may be made again after it failed, and does no harm where it was done before. A catalog
 * writes entries alone: it never touches a table's files, not even where it takes an entry away to write it anew.
 *
 * @throws CATALOG_UNAVAILABLE where it does not answer or fails: the call is made again
 * @throws CATALOG_DENIED where it refuses our credentials or rights
 * @throws CATALOG_CONFLICT where the name stands for something else, with both
 */
export interface Catalog {
  /** The entry of that name; null where there is none, and where the schema is not there. */
  find(schema: string, name: string, signal: AbortSignal): Promise<FoundTable | null>
  /** Creates the schema where it is not there. */
  ensureSchema(schema: string, signal: AbortSignal): Promise<void>
  /** Creates the entry, in a schema that is there. Where another process was faster, there is nothing left to do. */
  create(table: CatalogTable, signal: AbortSignal): Promise<void>
  /** Brings columns, comments and properties up to date, and leaves what others have put beside them. */
  update(table: CatalogTable, found: FoundTable, signal: AbortSignal): Promise<void>
  /** Whether the found entry says what the table says (types in the catalog's own words). Where it lies is not asked here. */
  matches(table: CatalogTable, found: FoundTable): boolean
  /**
   * Credentials for the files of a table that is written, where the catalog gives them. Where it has no entry of that name yet,
   * they are those that a table may be made with at the location.
   */
  credentials?(table: TablePlace, signal: AbortSignal): Promise<VendedCredentials>
  close(): Promise<void>
}
