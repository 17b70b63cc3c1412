/** `kafka2delta status`: how far the tables of a query are. */

import { Option } from 'commander'
import { KafkaToDeltaError } from '../../errors.js'
import { silentLogger } from '../../log.js'
import { askedSystems } from '../../status/asked-systems.js'
import { statusOfTables } from '../../status/from-tables.js'
import { statusOfWorker } from '../../status/from-worker.js'
import { partitionLines, statusLines } from '../../status/print.js'
import { needsHelp, type StatusReport } from '../../status/report.js'
import type { Output } from '../../terminal/output.js'
import type { Register } from '../command.js'
import { loadConfig } from '../config.js'
import { verboseOption } from '../flags.js'
import { json } from '../print.js'

interface StatusFlags {
  config: string
  url?: string
  json?: boolean
}

/** The report on the tables that have this topic, name or path; on all where none is wanted. */
async function reportOf(wanted: string | undefined, { config, url }: StatusFlags): Promise<StatusReport> {
  const isWanted = (...names: (string | null)[]) => wanted === undefined || names.includes(wanted)
  if (url !== undefined) {
    const report = await statusOfWorker(url)
    return { ...report, tables: report.tables.filter(({ topic, table }) => isWanted(topic, table)) }
  }
  const options = loadConfig(config)
  const systems = askedSystems(options, silentLogger)
  try {
    return await statusOfTables(options, systems, ({ topic, name, uri }) => isWanted(topic, name, uri))
  } finally {
    await systems.close()
  }
}

/** Exit code 1 where a table needs help, or something could not be asked. */
async function status(wanted: string | undefined, flags: StatusFlags, output: Output): Promise<number> {
  const report = await reportOf(wanted, flags)
  // A system that does not answer, or a worker that starts, leaves it open which tables there are.
  const knowsAll = report.problems.length === 0 && report.state !== 'starting'
  if (wanted !== undefined && report.tables.length === 0 && knowsAll) {
    throw new KafkaToDeltaError('CONFIG_INVALID', `there is no table ${JSON.stringify(wanted)}: name one by its topic`)
  }
  if (flags.json) output.stdout.write(json(report))
  else {
    const lines = statusLines(report)
    const [only] = report.tables
    if (wanted !== undefined && only && only.partitions.length > 0) lines.push(...partitionLines(only))
    output.stdout.write(`${lines.join('\n')}\n`)
  }
  return report.problems.length > 0 || report.tables.some(needsHelp) ? 1 : 0
}

export const register: Register = (program, act) =>
  void program
    .command('status')
    .description('how far the tables are: version, lag, age of the last change, what is wrong')
    .argument('[table]', 'one table alone, by its topic, name or path, with its partitions')
    .addOption(
      new Option('-c, --config <file>', 'asks the tables and Kafka, whether or not a worker runs')
        .env('KAFKA2DELTA_CONFIG')
        .default('kafka2delta.yaml'),
    )
    .option('--url <address>', 'asks a running worker instead, where it was started with --http')
    .option('--json', 'one JSON value')
    .addOption(verboseOption())
    .action(act(status))
