/** Tables that the Spark job has begun, continued by kafka2delta from the offset where the job has ended. */

import type { TableRead } from './difference.js'
import { writeOurs } from './ours.js'
import type { Scenario } from './scenarios.js'

export interface Takeover {
  /** The job's replay whose table is continued. */
  begun: string
  /** The whole topic, as kafka2delta alone has written it. */
  whole: string
  /** The first offset that the job has not applied. */
  from: number
  /** Columns where the job has lost something for good. */
  lost: readonly string[]
  /** The code of the error where such a table cannot be continued; null: it can. */
  refused: string | null
}

export const TAKEOVERS: readonly Takeover[] = [
  {
    begun: 'postgres.public.orders, first 7',
    whole: 'postgres.public.orders',
    from: 7,
    // 3.1415 was rounded to 3.14.
    lost: ['total_amount'],
    refused: null,
  },
  {
    begun: 'flat.public.toasted, first 4',
    whole: 'flat.public.toasted',
    from: 4,
    lost: [],
    refused: null,
  },
  {
    begun: 'postgres.public.orders, first 7, by is_large',
    whole: 'postgres.public.orders',
    from: 7,
    lost: [],
    refused: 'TABLE_UNSUPPORTED',
  },
  {
    begun: 'flat.public.all_types',
    whole: 'flat.public.all_types',
    from: 1,
    lost: [],
    refused: 'SCHEMA_INCOMPATIBLE',
  },
]

/** Streams the rest of the topic into the job's table. Returns the code of the error, or null. */
export async function takeOver(
  { from }: Takeover,
  begun: Scenario,
  whole: Scenario,
  path: string,
  folder: string,
): Promise<string | null> {
  const { additionalCols, partitionCols } = begun
  const startingOffsets = { [whole.topic]: { 0: from } }
  try {
    await writeOurs({ ...whole, additionalCols, partitionCols }, path, folder, { startingOffsets })
    return null
  } catch (error) {
    return (error as { code?: string }).code ?? String(error)
  }
}

/** Some columns of a table. */
export function without<T extends Pick<TableRead, 'rows'> & { columns: { name: string }[] }>(
  read: T,
  names: readonly string[],
): T {
  const kept = read.columns.flatMap(({ name }, i) => (names.includes(name) ? [] : [i]))
  const columns = kept.map((i) => read.columns[i])
  return { ...read, columns, rows: read.rows.map((row) => kept.map((i) => row[i] ?? null)) }
}
