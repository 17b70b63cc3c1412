/** `kafka2delta verify`: a Delta table beside the table of the database that it is kept equal to. */

import { Option } from 'commander'
import { storedForms, storedKey, tableHistory } from '../../delta/table.js'
import type { ResolvedOptions, ResolvedTable } from '../../options/types.js'
import { parseDuration } from '../../options/units.js'
import { formatCount, formatMs } from '../../terminal/format.js'
import type { Output } from '../../terminal/output.js'
import {
  type Difference,
  messagesBehind,
  openSource,
  repair,
  Verification,
  type VerifyOptions,
} from '../../verify/index.js'
import type { Register } from '../command.js'
import { configuredTable, tableOptions, withTable } from '../configured-table.js'
import { invalid, number, onTable, type TableFlags } from '../flags.js'
import { json } from '../print.js'
import { mustBeComparable, mustBeRepairable, openForRepair } from '../repairable-table.js'

export interface VerifyFlags extends TableFlags {
  source: string
  sourceTable: string
  key?: string
  except?: string
  chunkRows: number
  settle: string
  repair?: boolean
}

const names = (list = '') =>
  list
    .split(',')
    .map((name) => name.trim())
    .filter(Boolean)

/** Keys that are printed of each kind. */
const SHOWN = 20

function shown({ key, kind, columns }: Difference): string {
  const values = (columns ?? []).map(({ name, table, source }) => `${name} is ${table}, at the source ${source}`)
  return `  ${kind} ${key.join(', ')}${values.length > 0 ? `: ${values.join('; ')}` : ''}\n`
}

/** What a table's deletes leave of it, as a comparison has it. */
const rulesOf = (table: ResolvedTable | undefined): Partial<VerifyOptions> => ({
  rules: table ?? null,
  ...(table?.deletes === 'soft' ? { deletedColumn: table.softDeleteColName } : {}),
  // Rows that are gone at the source, or those of other sources.
  ...(table?.deletes === 'ignore' || table?.shared ? { kinds: ['missing', 'different'] } : {}),
})

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
  const { storageOptions } = await tableOptions(path, flags)
  const configured = flags.config === undefined ? null : await configuredTable(path, flags.config)
  if (flags.repair && configured === null) {
    throw invalid('a repair needs --config: the configuration says which columns are computed and how rows are written')
  }
  const repairTable = flags.repair && configured ? configured.table : null
  if (configured) mustBeComparable(configured.table)
  if (repairTable) mustBeRepairable(repairTable)
  let code = 0
  await withTable(path, flags, {}, async (table, info) => {
    const primaryKey = flags.key === undefined ? storedKey(info) : names(flags.key)
    if (primaryKey.length === 0) throw invalid('the table does not say what its key is: name it with --key')
    const { fields } = JSON.parse(info.schemaJson ?? '{"fields":[]}')
    const shape = {
      fields,
      primaryKey,
      forms: storedForms(info),
      except: names(flags.except),
      ...rulesOf(configured?.table),
    }
    const began = Date.now()
    const source = await openSource(flags.source, flags.sourceTable)
    try {
      const verification = new Verification(source, {
        path: table.uri,
        ...(storageOptions ? { storageOptions } : {}),
        ...shape,
        chunkRows: flags.chunkRows,
        settle,
      })
      const result = await verification.run()
      const [last] = await tableHistory(table.uri, { limit: 1, ...(storageOptions ? { storageOptions } : {}) })
      const lastCommit = last?.timestamp === undefined ? null : new Date(last.timestamp).toISOString()
      code = result.differences.length > 0 && repairTable === null ? 1 : 0
      const messages =
        configured && (await behind(configured.options, configured.table.topic, (await table.refresh()).offsets))
      const { notCompared } = result
      const mended = repairTable
        ? await repair((indexed) => openForRepair(repairTable, indexed), verification, shape)
        : null
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

export const register: Register = (program, act) =>
  void onTable(
    program,
    'verify',
    'compare every value of a table with the table of the database; exit code 1 where they differ',
  )
    .addOption(
      new Option('--source <url>', 'postgres://user:password@host/database or mysql://…')
        .env('KAFKA2DELTA_SOURCE')
        .makeOptionMandatory(),
    )
    .requiredOption('--source-table <name>', 'schema.table, with MySQL database.table')
    .option('--key <columns>', 'key columns, with commas between (default: those that the table names)')
    .option(
      '--except <columns>',
      'columns that the connector changes (column.mask…), with commas between: not compared',
    )
    .option('--chunk-rows <n>', 'rows that are compared at once', number('--chunk-rows', 1), 50_000)
    .option('--settle <duration>', 'time that a row has to become equal, for changes on their way', '10 seconds')
    .option('--repair', 'make the table equal to the source, in one commit beside the stream; needs --config')
    .action(act(verify))
