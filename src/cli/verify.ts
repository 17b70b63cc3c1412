/** `kafka2delta verify`: a Delta table beside the table of the database that it is kept equal to. */

import { tableHistory } from '../delta/table.js'
import { parseDuration } from '../options/units.js'
import { type Difference, openSource, Verification } from '../verify/index.js'
import { formatCount, formatMs } from './format.js'
import type { Output } from './output.js'
import { invalid, json, type TableFlags, tableOptions, withTable } from './table-commands.js'

export interface VerifyFlags extends TableFlags {
  source: string
  sourceTable: string
  key?: string
  chunkRows: number
  settle: string
}

/** Keys that are printed of each kind. */
const SHOWN = 20

function shown({ key, kind, columns }: Difference): string {
  const values = (columns ?? []).map(({ name, table, source }) => `${name} is ${table}, at the source ${source}`)
  return `  ${kind} ${key.join(', ')}${values.length > 0 ? `: ${values.join('; ')}` : ''}\n`
}

/** Exit code 1 where anything differs. */
export async function verify(path: string, flags: VerifyFlags, output: Output): Promise<number> {
  const settle = parseDuration(flags.settle)
  if (settle === null) throw invalid(`--settle: expected a duration such as "10 seconds", got ${flags.settle}`)
  const { storageOptions } = tableOptions(path, flags)
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
      const result = await new Verification(source, {
        path: table.uri,
        ...(storageOptions ? { storageOptions } : {}),
        fields,
        primaryKey,
        chunkRows: flags.chunkRows,
        settle,
      }).run()
      const [last] = await tableHistory(table.uri, { limit: 1, ...(storageOptions ? { storageOptions } : {}) })
      const lastCommit = last?.timestamp === undefined ? null : new Date(last.timestamp).toISOString()
      code = result.differences.length > 0 ? 1 : 0
      if (flags.json) {
        output.stdout.write(json({ ...result, lastCommit }))
        return
      }
      const counts: string[] = []
      for (const kind of ['missing', 'extra', 'different']) {
        const found = result.differences.filter((difference) => difference.kind === kind)
        counts.push(`${found.length} ${kind}`)
        for (const difference of found.slice(0, SHOWN)) output.stdout.write(shown(difference))
        if (found.length > SHOWN) output.stdout.write(`  and ${formatCount(found.length - SHOWN)} more ${kind}\n`)
      }
      if (result.notCompared.length > 0) output.stdout.write(`not compared: ${result.notCompared.join(', ')}\n`)
      const verdict = code === 0 ? 'equal' : counts.join(', ')
      const behind = result.settled > 0 ? `; ${formatCount(result.settled)} rows were on their way` : ''
      output.stdout.write(
        `${formatCount(result.rows)} rows of ${flags.sourceTable}: ${verdict}${behind}; ` +
          `last commit ${lastCommit ?? 'unknown'}; in ${formatMs(Date.now() - began)}\n`,
      )
    } finally {
      await source.close()
    }
  })
  return code
}
