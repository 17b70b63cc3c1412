/** `kafka2delta history`: the newest commits of a table. */

import { tableHistory } from '../../delta/table.js'
import type { Output } from '../../terminal/output.js'
import type { Register } from '../command.js'
import { tableOptions } from '../configured-table.js'
import { number, onTable, type TableFlags } from '../flags.js'
import { json, lines } from '../print.js'

interface HistoryFlags extends TableFlags {
  limit: number
}

async function history(path: string, flags: HistoryFlags, output: Output): Promise<number> {
  const { path: uri, storageOptions } = await tableOptions(path, flags)
  const entries = await tableHistory(uri, { limit: flags.limit, ...(storageOptions ? { storageOptions } : {}) })
  if (flags.json) {
    output.stdout.write(json(entries))
    return 0
  }
  const rows = entries.map(({ version, timestamp, operation, engineInfo, operationMetrics = {} }) => {
    const metric = (name: string) => operationMetrics[name] ?? ''
    return [
      String(version),
      timestamp === undefined ? '-' : new Date(timestamp).toISOString(),
      operation ?? '-',
      metric('numTargetRowsInserted'),
      metric('numTargetRowsUpdated'),
      metric('numTargetRowsDeleted'),
      engineInfo ?? '-',
    ]
  })
  const head = ['version', 'time', 'operation', 'inserted', 'updated', 'deleted', 'by']
  lines(output, [head, ...rows], new Set([0, 3, 4, 5]))
  return 0
}

export const register: Register = (program, act) =>
  void onTable(program, 'history', 'the newest commits of a table')
    .option('--limit <n>', 'how many', number('--limit', 1), 20)
    .action(act(history))
