/** `kafka2delta verify`: a Delta table beside the table of the database that it is kept equal to. */

import { tableHistory } from '../delta/table.js'
import { parseDuration } from '../options/units.js'
import type { ResolvedOptions, ResolvedTable } from '../options.js'
import { openDeltaTable } from '../stream/real-systems.js'
import {
  type Difference,
  messagesBehind,
  openSource,
  type RepairResult,
  repair,
  Verification,
} from '../verify/index.js'
import { formatCount, formatMs } from './format.js'
import type { Output } from './output.js'
import { configuredTable, invalid, json, type TableFlags, tableOptions, withTable } from './table-commands.js'

export interface VerifyFlags extends TableFlags {
  source: string
  sourceTable: string
  key?: string
  chunkRows: number
  settle: string
  repair?: boolean
}

/** Keys that are printed of each kind. */
const SHOWN = 20

function shown({ key, kind, columns }: Difference): string {
  const values = (columns ?? []).map(({ name, table, source }) => `${name} is ${table}, at the source ${source}`)
  return `  ${kind} ${key.join(', ')}${values.length > 0 ? `: ${values.join('; ')}` : ''}\n`
}

/** The configuration that a repair needs: what is computed, and how rows are written. */
export function repairable(path: string, { config }: { config?: string }): ResolvedTable {
  if (config === undefined) {
    throw invalid('a repair needs --config: the configuration says which columns are computed and how rows are written')
  }
  const { table } = configuredTable(path, config)
  if (table.writeMode !== 'upsert' || table.deletes !== 'hard' || table.shared) {
    throw invalid('a repair is for tables that equal one source table: not with writeMode, deletes or shared')
  }
  return table
}

/** The name after `AS`. */
const nameOf = (expression: string) => (/\s([^\s]+)\s*$/.exec(expression)?.[1] ?? '').replaceAll(/["`]/g, '')

async function repaired(
  table: ResolvedTable,
  verification: Verification,
  options: Omit<Parameters<typeof repair>[2], 'computed'>,
): Promise<RepairResult> {
  // A few keys: looking through the files' key columns costs less than an index of all.
  const delta = await openDeltaTable({ ...table, keyIndex: 'none', indexDir: null, onMissingValue: 'null' })
  try {
    return await repair(delta, verification, { ...options, computed: new Set(table.additionalCols.map(nameOf)) })
  } finally {
    await delta.close()
  }
}

/** What is known of the topic's end: nothing where Kafka does not answer. */
async function behind(options: ResolvedOptions, topic: string, offsets: Parameters<typeof messagesBehind>[2]) {
  try {
    return await messagesBehind(options, topic, offsets)
  } catch {
    return null
  }
}

/** Exit code 1 where anything differs, and was not repaired. */
export async function verify(path: string, flags: VerifyFlags, output: Output): Promise<number> {
  const settle = parseDuration(flags.settle)
  if (settle === null) throw invalid(`--settle: expected a duration such as "10 seconds", got ${flags.settle}`)
  const { storageOptions } = tableOptions(path, flags)
  const repairTable = flags.repair ? repairable(path, flags) : null
  let code = 0
  await withTable(path, flags, {}, async (table, info) => {
    const stored = info.properties['kafka2delta.primaryKey']
    const primaryKey =
      flags.key?.split(',').map((name) => name.trim()) ?? (stored ? (JSON.parse(stored) as string[]) : [])
    if (primaryKey.length === 0) throw invalid('the table does not say what its key is: name it with --key')
    const { fields } = JSON.parse(info.schemaJson ?? '{"fields":[]}')
    const began = Date.now()
    const source = await openSource(flags.source, flags.sourceTable)
    try {
      const verification = new Verification(source, {
        path: table.uri,
        ...(storageOptions ? { storageOptions } : {}),
        fields,
        primaryKey,
        chunkRows: flags.chunkRows,
        settle,
      })
      const result = await verification.run()
      const [last] = await tableHistory(table.uri, { limit: 1, ...(storageOptions ? { storageOptions } : {}) })
      const lastCommit = last?.timestamp === undefined ? null : new Date(last.timestamp).toISOString()
      code = result.differences.length > 0 && repairTable === null ? 1 : 0
      let messages: number | null = null
      if (flags.config !== undefined) {
        const configured = configuredTable(path, flags.config)
        messages = await behind(configured.options, configured.table.topic, (await table.refresh()).offsets)
      }
      const { notCompared } = result
      const mended = repairTable ? await repaired(repairTable, verification, { fields, primaryKey, notCompared }) : null
      if (flags.json) {
        output.stdout.write(json({ ...result, lastCommit, messagesBehind: messages, repaired: mended }))
        return
      }
      const counts: string[] = []
      for (const kind of ['missing', 'extra', 'different']) {
        const found = result.differences.filter((difference) => difference.kind === kind)
        counts.push(`${found.length} ${kind}`)
        for (const difference of found.slice(0, SHOWN)) output.stdout.write(shown(difference))
        if (found.length > SHOWN) output.stdout.write(`  and ${formatCount(found.length - SHOWN)} more ${kind}\n`)
      }
      if (notCompared.length > 0) output.stdout.write(`not compared: ${notCompared.join(', ')}\n`)
      const verdict = result.differences.length === 0 ? 'equal' : counts.join(', ')
      const onTheWay = result.settled > 0 ? `; ${formatCount(result.settled)} rows were on their way` : ''
      output.stdout.write(
        `${formatCount(result.rows)} rows of ${flags.sourceTable}: ${verdict}${onTheWay}; ` +
          `last commit ${lastCommit ?? 'unknown'}${messages === null ? '' : `, ${formatCount(messages)} messages behind`}; ` +
          `in ${formatMs(Date.now() - began)}\n`,
      )
      if (mended === null) return
      output.stdout.write(
        mended.version === null
          ? 'nothing to repair\n'
          : `repaired in version ${mended.version}: ${formatCount(mended.upserted)} rows written, ${formatCount(mended.deleted)} deleted\n`,
      )
    } finally {
      await source.close()
    }
  })
  return code
}
