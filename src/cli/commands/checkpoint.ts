/** `kafka2delta checkpoint`: writes a checkpoint and cleans the log up. */

import { formatBytes, formatCount, formatMs } from '../../terminal/format.js'
import type { Output } from '../../terminal/output.js'
import type { Register } from '../command.js'
import { withTable } from '../configured-table.js'
import { onTable, type TableFlags } from '../flags.js'
import { json } from '../print.js'

async function checkpoint(path: string, flags: TableFlags, output: Output): Promise<number> {
  return withTable(path, flags, {}, async (table) => {
    const result = await table.checkpoint()
    if (flags.json) output.stdout.write(json(result))
    else
      output.stdout.write(
        `checkpoint of version ${result.version}, ${formatBytes(result.bytes)}, in ${formatMs(result.duration)}; ${formatCount(result.logFilesRemoved)} log files removed\n`,
      )
  })
}

export const register: Register = (program, act) =>
  void onTable(program, 'checkpoint', "write a checkpoint and clean the log up by the table's properties").action(
    act(checkpoint),
  )
