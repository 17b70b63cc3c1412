/** `kafka2delta check`: whether a configuration will work, and what it would do. */

import { Option } from 'commander'
import { check } from '../../check/check.js'
import { checkLines } from '../../check/print.js'
import { allFindings, numberOf } from '../../check/report.js'
import { KafkaToDeltaError } from '../../errors.js'
import type { Output } from '../../terminal/output.js'
import type { Register } from '../command.js'
import { loadConfig } from '../config.js'
import { verboseOption } from '../flags.js'
import { json } from '../print.js'

interface CheckFlags {
  config: string
  table?: string
  all?: boolean
  /** False: no messages are read. */
  sample: boolean
  json?: boolean
}

/** Exit code 1 where there is an error; warnings and notes do not count. */
async function run({ config, table, all, sample, json: asJson }: CheckFlags, output: Output): Promise<number> {
  const options = loadConfig(config)
  const isWanted = ({ topic, name, uri }: { topic: string; name: string | null; uri: string }) =>
    table === undefined || [topic, name, uri].includes(table)
  const report = await check(options, { sample, isWanted })
  const isKnown = report.tables.length > 0 || report.entries.length === 0
  if (table !== undefined && !isKnown) {
    throw new KafkaToDeltaError('CONFIG_INVALID', `there is no table ${JSON.stringify(table)}: name one by its topic`)
  }
  const numErrors = numberOf(allFindings(report), 'error')
  if (asJson) output.stdout.write(json({ ok: numErrors === 0, ...report }))
  else output.stdout.write(`${checkLines(report, all === true || table !== undefined).join('\n')}\n`)
  return numErrors > 0 ? 1 : 0
}

export const register: Register = (program, act) =>
  void program
    .command('check')
    .description('whether a configuration will work, and what it would do; nothing is written')
    .addOption(
      new Option('-c, --config <file>', 'the configuration').env('KAFKA2DELTA_CONFIG').default('kafka2delta.yaml'),
    )
    .option('--table <table>', 'one table alone, by its topic, name or path, with all details')
    .option('--all', 'every table with all details, notes too; default: the tables with errors and warnings')
    .option('--no-sample', 'read no messages: schemas are those that the registry has for the topics')
    .option('--json', 'one JSON value')
    .addOption(verboseOption())
    .action(act(run))
