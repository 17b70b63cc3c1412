/** `kafka2delta vacuum`: removes files that no reader needs any more. */

import { parseDuration } from '../../options/units.js'
import { formatBytes, formatCount } from '../../terminal/format.js'
import type { Output } from '../../terminal/output.js'
import type { Register } from '../command.js'
import { withTable } from '../configured-table.js'
import { invalid, onTable, type TableFlags } from '../flags.js'
import { json } from '../print.js'

/** Milliseconds below which vacuum asks for `--force`. */
const SAFE_RETENTION_MS = 24 * 3600 * 1000

interface VacuumFlags extends TableFlags {
  retention?: string
  dryRun?: boolean
  force?: boolean
}

async function vacuum(path: string, flags: VacuumFlags, output: Output): Promise<number> {
  const retention = flags.retention === undefined ? undefined : parseDuration(flags.retention)
  if (retention === null) throw invalid(`--retention: expected a duration such as "7 days", got ${flags.retention}`)
  if (retention !== undefined && retention < SAFE_RETENTION_MS && !flags.force && !flags.dryRun) {
    throw invalid(
      '--retention below a day takes files that queries may still read, and below the time that a commit takes damages ' +
        'the table; with --force it is done all the same',
    )
  }
  return withTable(path, flags, {}, async (table) => {
    const result = await table.vacuum({
      dryRun: flags.dryRun ?? false,
      ...(retention === undefined ? {} : { retention }),
    })
    if (flags.json) {
      output.stdout.write(json(result))
      return
    }
    if (flags.dryRun) for (const file of result.files) output.stdout.write(`${file}\n`)
    const done = flags.dryRun ? 'would be removed' : 'removed'
    output.stdout.write(`${formatCount(result.numFiles)} files, ${formatBytes(result.bytes)}, ${done}\n`)
  })
}

export const register: Register = (program, act) =>
  void onTable(program, 'vacuum', 'remove files that no reader within the retention needs')
    .option('--retention <duration>', "such as 7 days (default: the table's delta.deletedFileRetentionDuration)")
    .option('--dry-run', 'say what would be removed')
    .option('--force', 'also with a retention below a day')
    .action(act(vacuum))
