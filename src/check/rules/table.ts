/** What is to be known of a Delta table before it is written to. */

import { lostEntries } from '../../delta/offset-entries.js'
import type { TableInfo } from '../../delta/table.js'
import type { StoredOffsets } from '../../kafka/positions.js'
import type { ResolvedTable } from '../../options/types.js'
import { otherQueries } from '../../status/from-tables.js'
import { formatBytes, formatCount } from '../../terminal/format.js'
import { type Finding, finding } from '../findings.js'
import type { ColumnReport } from '../report.js'

/** Readers of docs/readers.md that refuse what a table has. A test holds the two together. */
export const REFUSED_BY = {
  deletionVectors: [
    'Daft read_deltalake',
    'delta-rs, Python to_pyarrow_dataset',
    'Polars read_delta(use_pyarrow=True)',
  ],
  v2Checkpoint: ['Polars scan_delta'],
} as const

/** The table as it is, beside its columns. */
export function tableFindings(
  info: TableInfo,
  table: ResolvedTable,
  queryName: string,
  stored: StoredOffsets,
): Finding[] {
  const others = otherQueries(info, queryName)
  const found: (Finding | null)[] = [foreign(info, stored, others, table)]
  if (others.length > 0 && !table.shared) {
    found.push(
      finding(
        'OTHER_QUERY',
        `the table is also written by the ${others.length === 1 ? 'query' : 'queries'} ${others.join(', ')}`,
        'where that is the same query under a former name, keep the former queryName: offsets are stored by it; otherwise ' +
          'give each query a table of its own',
      ),
    )
  }
  const lost = lostEntries(new Map(info.offsets.map(({ appId, version }) => [appId, version])))
  if (lost.length > 0) {
    const message = 'messages were lost (failOnDataLoss: false), and the table was not made equal to its source since'
    found.push(finding('NEEDS_RESYNC', message, 'verify --repair, or resync after a new snapshot'))
  }
  found.push(properties(info, table))
  return found.filter((one) => one !== null)
}

function foreign(
  info: TableInfo,
  stored: StoredOffsets,
  others: readonly string[],
  table: ResolvedTable,
): Finding | null {
  if (stored.exists || others.length > 0 || table.shared || info.numRows === 0) return null
  return finding(
    'TABLE_FOREIGN',
    `a table with ${formatCount(info.numRows)} rows lies there, and nothing of it is kafka2delta's: the topic is applied to it by key, ` +
      'from startingOffsets on',
    'name another path, unless this is the table of the job that is replaced: then see docs/spark.md for where to begin',
  )
}

/** `tableProperties` are set when a table is made. */
function properties(info: TableInfo, { tableProperties }: ResolvedTable): Finding | null {
  const differ = Object.entries(tableProperties).filter(([name, value]) => info.properties[name] !== value)
  if (differ.length === 0) return null
  const text = differ.map(([name, value]) => `${name} is ${info.properties[name] ?? 'not set'}, and not ${value}`)
  return finding(
    'PROPERTIES_DIFFER',
    `tableProperties are set when a table is made, and this one has others: ${text.join('; ')}`,
    'ALTER TABLE … SET TBLPROPERTIES, with Spark or delta-rs',
  )
}

/** Of a table that is there, or would be made. */
export function readers({ mergeMode, properties: of }: Pick<TableInfo, 'mergeMode' | 'properties'>): Finding | null {
  const refused: string[] = mergeMode === 'merge-on-read' ? [...REFUSED_BY.deletionVectors] : []
  if (of['delta.checkpointPolicy'] === 'v2') refused.push(...REFUSED_BY.v2Checkpoint)
  if (refused.length === 0) return null
  return finding(
    'READERS',
    `readers that refuse this table: ${refused.join(', ')}`,
    'docs/readers.md has all that were tried; mergeMode: copy-on-write makes tables without deletion vectors',
  )
}

/** Columns whose type grows have the whole table written anew. */
export function rewrites(
  columns: readonly ColumnReport[],
  info: TableInfo,
  { maxRewriteBytes }: ResolvedTable,
): Finding[] {
  const widened = columns.filter(({ change }) => change === 'widened')
  if (widened.length === 0 || info.numFiles === 0) return []
  const names = widened.map(({ name, before, deltaType }) => `${name} (${before} to ${deltaType})`).join(', ')
  const size = formatBytes(info.sizeBytes)
  return [
    info.sizeBytes > maxRewriteBytes
      ? finding(
          'REWRITE_TOO_LARGE',
          `${names} needs a wider type, and the table's ${size} would be rewritten, more than maxRewriteBytes (${formatBytes(maxRewriteBytes)})`,
          'raise maxRewriteBytes, or store the values from now on in another column (renameColumns)',
        )
      : finding(
          'TABLE_REWRITTEN',
          `${names} needs a wider type: the next batch rewrites the table's ${size} in one commit`,
          'nothing, if that may happen; renameColumns stores the values in a column of their own',
        ),
  ]
}
