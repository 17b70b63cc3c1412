/** Reads Delta tables back in tests. */
import type { Table } from 'apache-arrow'
import { type ScanOptions, type StoreOptions, scanTable } from '../../src/delta/scan.js'

type Row = Record<string, unknown>

/** The rows of a table, or those that are wanted, in one Arrow table. */
export const readTable = (path: string, options: ScanOptions & StoreOptions = {}): Promise<Table> =>
  scanTable(path, options).toTable()

/** Rows as objects, ordered by a column where one is named. */
export async function readRows(
  path: string,
  { orderBy = [], ...options }: ScanOptions & StoreOptions & { orderBy?: readonly string[] } = {},
): Promise<Row[]> {
  const rows = (await readTable(path, options)).toArray().map((row) => row.toJSON() as Row)
  return rows.sort((a, b) => orderBy.map((name) => compare(a[name], b[name])).find((order) => order !== 0) ?? 0)
}

/** Null comes last. */
function compare(a: unknown, b: unknown): number {
  if (a === b) return 0
  if (a === null || b === null) return a === null ? 1 : -1
  return (a as number) < (b as number) ? -1 : 1
}
