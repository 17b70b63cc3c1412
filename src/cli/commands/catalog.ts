/** `kafka2delta catalog`: how the tables of a configuration stand in their catalogs, and what brings them there. */

import { Option } from 'commander'
import pc from 'picocolors'
import { OpenCatalogs } from '../../catalog/open-catalogs.js'
import { type EntryReport, reportEntry } from '../../catalog/report.js'
import { withVended } from '../../catalog/vended.js'
import { DeltaTable } from '../../delta/table.js'
import { asKafkaToDeltaError } from '../../errors.js'
import { silentLogger } from '../../log.js'
import type { ResolvedCatalog, ResolvedOptions, ResolvedTable } from '../../options/types.js'
import { askedSystems } from '../../status/asked-systems.js'
import { formatTable } from '../../terminal/format.js'
import type { Output } from '../../terminal/output.js'
import { sideBySide } from '../../waits.js'
import type { Register } from '../command.js'
import { loadConfig } from '../config.js'
import { invalid, verboseOption } from '../flags.js'
import { json } from '../print.js'

/** Tables that are looked at at a time. */
const MAX_LOOKS = 4

interface CatalogFlags {
  config: string
  json?: boolean
}

type Registered = ResolvedTable & { catalog: ResolvedCatalog }

interface CatalogReport {
  entries: EntryReport[]
  /** What could not be asked. */
  problems: { code: string; message: string }[]
}

const problemOf = (thrown: unknown) => {
  const { code, message } = asKafkaToDeltaError(thrown)
  return { code, message }
}

/** Those that are named, and those of topics that patterns take now. */
async function tablesOf(options: ResolvedOptions, problems: CatalogReport['problems']): Promise<ResolvedTable[]> {
  if (options.patterns.length === 0) return [...options.tables]
  const systems = askedSystems(options, silentLogger)
  try {
    const found = await systems.findTables()
    problems.push(...found.failures.map(({ error }) => problemOf(error)))
    return [...options.tables, ...found.tables]
  } catch (error) {
    problems.push(problemOf(error))
    return [...options.tables]
  } finally {
    await systems.close()
  }
}

async function reportOf(table: Registered, catalogs: OpenCatalogs, mends: boolean): Promise<EntryReport> {
  const { uri, storageOptions } = await withVended(table, catalogs)
  const delta = await DeltaTable.open({ path: uri, storageOptions })
  try {
    const info = await delta.info()
    return await reportEntry(table, info.exists ? info : null, catalogs, { mends })
  } finally {
    await delta.close()
  }
}

/** Exit code 1 where an entry could not be looked at or made, or is not as it should be. */
async function run(
  { mends }: { mends: boolean },
  wanted: string | undefined,
  flags: CatalogFlags,
  output: Output,
): Promise<number> {
  const options = loadConfig(flags.config)
  const report: CatalogReport = { entries: [], problems: [] }
  const known = await tablesOf(options, report.problems)
  const isWanted = ({ topic, name, uri }: ResolvedTable) => wanted === undefined || [topic, name, uri].includes(wanted)
  const tables = known.filter(isWanted)
  if (wanted !== undefined && tables.length === 0 && report.problems.length === 0) {
    throw invalid(`there is no table ${JSON.stringify(wanted)}: name one by its topic`)
  }
  const registered = tables.filter((table): table is Registered => table.catalog !== null)
  if (registered.length === 0 && report.problems.length === 0) {
    throw invalid('no table stands in a catalog: name one with the option catalog')
  }
  const catalogs = new OpenCatalogs()
  try {
    await sideBySide(MAX_LOOKS, registered, async (table) => {
      await reportOf(table, catalogs, mends).then(
        (entry) => report.entries.push(entry),
        (error) => report.problems.push(problemOf(error)),
      )
    })
  } finally {
    await catalogs.close()
  }
  report.entries.sort((a, b) => (a.name < b.name ? -1 : 1))
  output.stdout.write(flags.json ? json(report) : `${catalogLines(report, mends).join('\n')}\n`)
  const isRight = ({ error, need }: EntryReport) => error === null && (mends || need === 'none' || need === null)
  return report.problems.length === 0 && report.entries.every(isRight) ? 0 : 1
}

const SAID: Record<'show' | 'sync', Record<'none' | 'create' | 'update', string>> = {
  show: { none: 'up to date', create: 'would be created', update: 'would be updated' },
  sync: { none: 'up to date', create: 'created', update: 'updated' },
}

function wordOf({ error, need, found }: EntryReport, mends: boolean): string {
  if (error) return pc.red(error.code)
  if (need === null) return found ? pc.yellow('no table there yet, and an entry') : pc.dim('no table there yet')
  const word = SAID[mends ? 'sync' : 'show'][need]
  return need === 'none' ? pc.dim(word) : mends ? pc.green(word) : pc.yellow(word)
}

/** A line for each table, then what differs, then each trouble. */
function catalogLines({ entries, problems }: CatalogReport, mends: boolean): string[] {
  const rows = entries.map((entry) => [entry.name, entry.catalog, entry.location, wordOf(entry, mends)])
  return [
    ...(rows.length === 0
      ? []
      : formatTable([['table', 'catalog', 'location', ''].map((head) => pc.dim(head)), ...rows])),
    ...entries.flatMap((entry) => (mends ? [] : differences(entry).map((line) => `${entry.name}: ${line}`))),
    ...entries.flatMap(({ name, error }) => (error ? [`${pc.red(error.code)} ${name}: ${error.message}`] : [])),
    ...problems.map(({ code, message }) => `${pc.red(code)} ${message}`),
  ]
}

/** What an update would change of the columns. Types are the catalog's words there, and Delta's here. */
function differences({ need, found, wanted }: EntryReport): string[] {
  if (need !== 'update' || found === null || wanted === null) return []
  const names = (columns: readonly { name: string }[]) => columns.map(({ name }) => name.toLowerCase())
  const [has, should] = [names(found.columns), names(wanted.columns)]
  const added = wanted.columns.filter((_, i) => !has.includes(should[i] as string)).map(({ name }) => name)
  const gone = found.columns.filter((_, i) => !should.includes(has[i] as string)).map(({ name }) => name)
  const lines = [
    ...(added.length > 0 ? [`lacks ${added.join(', ')}`] : []),
    ...(gone.length > 0 ? [`has ${gone.join(', ')} beside the table's`] : []),
  ]
  return lines.length > 0 ? lines : ['types, order, comments or properties differ']
}

export const register: Register = (program, act) => {
  const catalog = program.command('catalog').description('the entries of the tables in their catalogs')
  const command = (name: string, description: string, mends: boolean) =>
    catalog
      .command(name)
      .description(description)
      .argument('[table]', 'one table alone, by its topic, name or path')
      .addOption(
        new Option('-c, --config <file>', 'the configuration').env('KAFKA2DELTA_CONFIG').default('kafka2delta.yaml'),
      )
      .option('--json', 'one JSON value')
      .addOption(verboseOption())
      .action(
        act((wanted: string | undefined, flags: CatalogFlags, output: Output) => run({ mends }, wanted, flags, output)),
      )
  command('show', 'what the entries are, and what they lack; exit code 1 where they are not as they should be', false)
  command('sync', 'creates the entries that are not there, and brings the others up to date', true)
}
