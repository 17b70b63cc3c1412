/** `kafka2delta describe`: what a table is and holds. */

import { isCompanionEntry, lostEntries } from '../../delta/offset-entries.js'
import { formatBytes, formatCount } from '../../terminal/format.js'
import type { Output } from '../../terminal/output.js'
import type { Register } from '../command.js'
import { withTable } from '../configured-table.js'
import { onTable, type TableFlags } from '../flags.js'
import { json, lines } from '../print.js'

async function describe(path: string, flags: TableFlags, output: Output): Promise<number> {
  return withTable(path, flags, {}, async (_table, info) => {
    const schema = JSON.parse(info.schemaJson ?? '{"fields":[]}') as {
      fields: { name: string; type: unknown; nullable: boolean }[]
    }
    if (flags.json) {
      const { schemaJson: _, ...rest } = info
      output.stdout.write(json({ ...rest, schema }))
      return
    }
    lines(output, [
      ['path', info.uri],
      ['name', info.name ?? '-'],
      ['version', formatCount(info.version ?? 0)],
      ['rows', formatCount(info.numRows)],
      ['files', `${formatCount(info.numFiles)}, ${formatBytes(info.sizeBytes)}`],
      ['merge mode', info.mergeMode],
      ['partitioned by', info.partitionColumns.join(', ') || '-'],
    ])
    const type = (value: unknown) => (typeof value === 'string' ? value : JSON.stringify(value))
    const columns = schema.fields.map(({ name, type: of, nullable }) => [
      `  ${name}`,
      `${type(of)}${nullable ? '' : ' not null'}`,
    ])
    output.stdout.write('columns\n')
    lines(output, columns)
    const properties = Object.entries(info.properties).sort(([a], [b]) => (a < b ? -1 : 1))
    if (properties.length > 0) output.stdout.write('properties\n')
    lines(
      output,
      properties.map(([name, value]) => [`  ${name}`, value]),
    )
    const offsets = info.offsets.filter(({ appId }) => !isCompanionEntry(appId))
    if (offsets.length > 0) output.stdout.write('last offsets applied\n')
    lines(
      output,
      offsets.map(({ appId, version }) => [`  ${appId}`, String(version)]),
      new Set([1]),
    )
    const lost = lostEntries(new Map(info.offsets.map(({ appId, version }) => [appId, version])))
    if (lost.length > 0) output.stdout.write('messages were lost: make it equal to its source with verify --repair\n')
  })
}

export const register: Register = (program, act) =>
  void onTable(program, 'describe', 'what a table is and holds').action(act(describe))
