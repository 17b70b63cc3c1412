/** `kafka2delta resync`: after a new snapshot, removes the keys that it did not show and no later change brought. */

import { Option } from 'commander'
import type { DeltaType } from '../../delta/schema-json.js'
import { storedKey } from '../../delta/table.js'
import { TopicSource } from '../../resync/topic-source.js'
import { formatCount } from '../../terminal/format.js'
import type { Output } from '../../terminal/output.js'
import { repair, Verification } from '../../verify/index.js'
import type { Register } from '../command.js'
import { configuredTable } from '../configured-table.js'
import { invalid, verboseOption } from '../flags.js'
import { json } from '../print.js'
import { mustBeRepairable, openForRepair } from '../repairable-table.js'

export interface ResyncFlags {
  config: string
  since?: string
  dryRun?: boolean
  json?: boolean
  verbose?: boolean
}

/** Keys that are printed. */
const SHOWN = 20
const CHUNK_ROWS = 50_000
/** Beyond as many, something else is wrong. */
const MOST_KEYS = 100_000

export async function resync(topic: string, flags: ResyncFlags, output: Output): Promise<number> {
  const since = flags.since === undefined ? null : Date.parse(flags.since)
  if (Number.isNaN(since)) throw invalid(`--since: expected a time such as 2026-01-31T12:00:00Z, got ${flags.since}`)
  const { options, table } = await configuredTable(topic, flags.config)
  mustBeRepairable(table)
  const delta = await openForRepair(table)
  try {
    const info = await delta.info()
    const primaryKey = storedKey(info)
    if (!info.exists || primaryKey.length === 0) throw invalid(`there is no table of ours at ${delta.uri}`)
    const { fields } = JSON.parse(info.schemaJson ?? '{"fields":[]}') as { fields: { name: string; type: DeltaType }[] }
    const key = primaryKey.map((name) => ({
      name,
      type: fields.find((field) => field.name === name)?.type ?? 'string',
    }))
    const source = await TopicSource.open({ options, table, key, since, stored: info.offsets })
    try {
      const verification = new Verification(source, {
        path: delta.uri,
        storageOptions: table.storageOptions,
        fields,
        primaryKey,
        chunkRows: CHUNK_ROWS,
        settle: 0,
        kinds: ['extra'],
        maxDifferences: MOST_KEYS,
      })
      const { differences, rows } = await verification.run()
      const shape = { fields, primaryKey, rules: table }
      const done = flags.dryRun ? null : await repair((indexed) => openForRepair(table, indexed), verification, shape)
      const snapshot = source.start.toISOString()
      const uncertain = source.numUncertain
      if (flags.json) {
        const extra = differences.map((difference) => difference.key)
        output.stdout.write(json({ snapshot, rows, uncertain, extra, ...done }))
        return 0
      }
      for (const difference of differences.slice(0, SHOWN)) output.stdout.write(`  ${difference.key.join(', ')}\n`)
      if (differences.length > SHOWN) output.stdout.write(`  and ${formatCount(differences.length - SHOWN)} more\n`)
      const verdict = done
        ? `${formatCount(done.deleted)} removed${done.version === null ? '' : ` in version ${done.version}`}`
        : `${formatCount(differences.length)} would be removed`
      output.stdout.write(
        `${formatCount(rows)} keys since the snapshot of ${snapshot}; of the table's other keys ${verdict}\n`,
      )
      if (uncertain > 0) {
        const why = 'their last messages are from before it by their times, which does not prove that they are gone'
        output.stdout.write(`${formatCount(uncertain)} of these keys are kept although ${why}\n`)
      }
      return 0
    } finally {
      await source.close()
    }
  } finally {
    await delta.close()
  }
}

export const register: Register = (program, act) =>
  void program
    .command('resync')
    .description('after a new snapshot, remove the keys that it did not show and no later change brought')
    .argument('<table>', 'a topic, name or path of the configuration')
    .addOption(
      new Option('-c, --config <file>', 'the configuration').env('KAFKA2DELTA_CONFIG').default('kafka2delta.yaml'),
    )
    .option('--since <time>', 'when the snapshot began (default: at the first marker of the last whole one)')
    .option('--dry-run', 'say what would be removed')
    .option('--json', 'one JSON value')
    .addOption(verboseOption())
    .action(act(resync))
