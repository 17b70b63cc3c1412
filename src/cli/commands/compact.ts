/** `kafka2delta compact`: rewrites files, step by step, until nothing is due. */

import type { CompactOptions, CompactResult } from '../../delta/table.js'
import { pick } from '../../objects.js'
import { COMPACT_DEFAULTS } from '../../options/defaults.js'
import { parseSize } from '../../options/units.js'
import { formatBytes, formatMs } from '../../terminal/format.js'
import type { Output } from '../../terminal/output.js'
import type { Register } from '../command.js'
import { withTable } from '../configured-table.js'
import { invalid, number, onTable, type TableFlags, wrongFlag } from '../flags.js'
import { json } from '../print.js'

interface CompactFlags extends TableFlags, Omit<CompactOptions, 'signal'> {
  clusterBy?: string
}

/** A stream's table may get a column of `clusterBy` later; what is named by hand must be there. */
function mustHaveColumns(names: readonly string[], schemaJson: string | null): void {
  const { fields } = JSON.parse(schemaJson ?? '{"fields":[]}') as { fields: { name: string }[] }
  const missing = names.find((name) => !fields.some((field) => field.name === name))
  if (missing !== undefined) throw invalid(`--cluster-by names ${missing}, which is no column of the table`)
}

async function compact(path: string, flags: CompactFlags, output: Output): Promise<number> {
  const more = flags.clusterBy === undefined ? {} : { clusterBy: flags.clusterBy.split(',').map((name) => name.trim()) }
  const total = { steps: 0, filesRemoved: 0, filesAdded: 0, bytesRead: 0, bytesWritten: 0, duration: 0 }
  return withTable(path, flags, more, async (table, { schemaJson, sizeBytes }) => {
    mustHaveColumns(more.clusterBy ?? [], schemaJson)
    for (;;) {
      const result = await table.compact({ ...pick(flags, COMPACT_DEFAULTS), full: flags.full ?? false })
      if (result === null) break
      total.steps++
      for (const name of ['filesRemoved', 'filesAdded', 'bytesRead', 'bytesWritten', 'duration'] as const) {
        total[name] += result[name]
      }
      if (!flags.json) output.stdout.write(line(result))
      // Beside a busy stream there are new files and deleted rows after each step.
      if (flags.full && total.bytesRead > 2 * sizeBytes) break
    }
    if (flags.json) output.stdout.write(json(total))
    else if (total.steps === 0) output.stdout.write('nothing is due\n')
  })
}

const line = ({ version, filesRemoved, filesAdded, bytesRead, bytesWritten, duration }: CompactResult): string =>
  `version ${version}: ${filesRemoved} files (${formatBytes(bytesRead)}) became ${filesAdded} (${formatBytes(bytesWritten)}) in ${formatMs(duration)}\n`

const size = (text: string) => {
  const bytes = parseSize(text)
  if (bytes === null) throw wrongFlag(`--max-bytes: expected a size such as "1 GB", got ${text}`)
  return bytes
}

const share = (text: string) => {
  const value = Number(text)
  if (!(value > 0 && value <= 1)) throw wrongFlag('--deleted-share must be above 0 and at most 1')
  return value
}

export const register: Register = (program, act) =>
  void onTable(program, 'compact', 'rewrite small files and files with many deleted rows, also beside a running stream')
    .option('--full', 'every small file and every deleted row, whether it pays or not')
    .option('--min-files <n>', 'small files from which on they become one (default: 8)', number('--min-files', 2))
    .option('--max-bytes <size>', 'that one step reads (default: 1 GB)', size)
    .option('--deleted-share <share>', 'of rows from which on a file is rewritten (default: 0.3)', share)
    .option('--cluster-by <columns>', 'sort rows by these, with commas between')
    .action(act(compact))
