/**
 * Tries a batch of changes on an empty table with the schema of the real one, in a local folder that is removed: what a
 * run would say of expressions, columns and types, and what the table's columns become. The real table is not touched.
 */

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ChangeBatch } from '../debezium/change-batch.js'
import type { MergeResult, TableInfo } from '../delta/table.js'
import type { ResolvedTable } from '../options/types.js'
import { openDeltaTable } from '../stream/connect.js'

export interface Trial {
  result: MergeResult
  /** JSON of the Delta schema that the table gets. */
  schemaJson: string
  info: TableInfo
}

/** Null where the changes make no table: there is no row in them. */
export async function tryChanges(
  table: ResolvedTable,
  info: TableInfo | null,
  changes: ChangeBatch,
): Promise<Trial | null> {
  const { ipc, onlyRemoves, primaryKey } = changes
  if (ipc === null || (onlyRemoves && !info?.exists)) return null
  const uri = mkdtempSync(join(tmpdir(), 'kafka2delta-check-'))
  try {
    if (info?.exists) writeEmptyTable(uri, info)
    // The table's rows are not there: what changes leave out cannot be found.
    const own = { uri, storageOptions: {}, indexDir: null, onMissingValue: 'null' } as const
    const scratch = await openDeltaTable({ ...table, ...own })
    try {
      const result = await scratch.merge(ipc, { primaryKey })
      const after = await scratch.info()
      return after.schemaJson === null ? null : { result, schemaJson: after.schemaJson, info: after }
    } finally {
      await scratch.close()
    }
  } finally {
    rmSync(uri, { recursive: true, force: true })
  }
}

/** Features that the table's columns or the way of its merges may need. */
const FEATURES = ['deletionVectors', 'timestampNtz']

/** A table with the columns, key and merge mode of another, and no rows. */
function writeEmptyTable(uri: string, { schemaJson, partitionColumns, properties, mergeMode }: TableInfo): void {
  const own = Object.entries(properties).filter(([name]) => name.startsWith('kafka2delta.'))
  const configuration = {
    ...Object.fromEntries(own),
    'delta.enableDeletionVectors': String(mergeMode === 'merge-on-read'),
  }
  const protocol = {
    minReaderVersion: 3,
    minWriterVersion: 7,
    readerFeatures: FEATURES,
    writerFeatures: [...FEATURES, 'appendOnly', 'invariants'],
  }
  const format = { provider: 'parquet', options: {} }
  const metaData = { id: 'trial', format, schemaString: schemaJson, partitionColumns, configuration }
  const log = join(uri, '_delta_log')
  mkdirSync(log)
  const actions = [{ protocol }, { metaData }].map((action) => JSON.stringify(action))
  writeFileSync(join(log, '00000000000000000000.json'), `${actions.join('\n')}\n`)
}
