#!/usr/bin/env node
/** The command `kafka2delta`. */

import { readFileSync } from 'node:fs'
import { Command, CommanderError, Option } from 'commander'
import { realSystems } from '../stream/real-systems.js'
import { processOutput } from '../terminal/output.js'
import type { ResyncFlags } from './commands/resync.js'
import { type RunFlags, run } from './commands/run.js'
import type { VerifyFlags } from './commands/verify.js'
import { exitCodeOf, formatError } from './errors.js'
import type { CompactFlags, TableFlags, VacuumFlags } from './table-commands.js'

const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
  version: string
}

// As a program ends whose reader has gone (`… | head`); by default Node shows a stack.
process.stdout.on('error', ({ code }: NodeJS.ErrnoException) => process.exit(code === 'EPIPE' ? 128 + 13 : 1))

let exitCode = 0
let verbose = false

const program = new Command('kafka2delta')
  .description('Keeps Delta Lake tables equal to database tables, from Debezium change events in Kafka.')
  .version(version, '-V, --version', 'print the version')
  .helpOption('-h, --help', 'print what the command can do')
  .helpCommand('help [command]', 'print what a command can do')
  .showHelpAfterError('(kafka2delta --help tells more)')
  .exitOverride()

const verboseOption = () => new Option('--verbose', 'print stacks of errors').default(false)

const wrong = (message: string) => new CommanderError(2, 'kafka2delta.invalidNumber', `error: ${message}`)

const storageOption = (text: string, before: Record<string, string>) => {
  const at = text.indexOf('=')
  if (at < 1) throw wrong('--storage-option must be name=value')
  return { ...before, [text.slice(0, at)]: text.slice(at + 1) }
}

const share = (text: string) => {
  const value = Number(text)
  if (!(value > 0 && value <= 1)) throw wrong('--deleted-share must be above 0 and at most 1')
  return value
}

program
  .command('run')
  .description('apply the topics of a configuration file to their tables, until stopped')
  .addOption(
    // biome-ignore lint/suspicious/noTemplateCurlyInString: what the file may hold
    new Option('-c, --config <file>', 'the configuration: YAML, with ${NAME} and ${NAME:-default}')
      .env('KAFKA2DELTA_CONFIG')
      .default('kafka2delta.yaml'),
  )
  .option('--available-now', 'apply what is there now, then end')
  .option('--trigger <interval>', 'time between two batches, as "1 second"')
  .option('--query-name <name>', 'names the offsets in the tables')
  .option('--brokers <list>', 'host:port, several with commas between')
  .option('--registry-url <url>', 'of the schema registry')
  .option('--starting-offsets <where>', 'earliest, latest or a time, for partitions that the table holds no offset of')
  .option('--no-live', 'JSON lines also on a terminal')
  .addOption(
    new Option('--http <address>', 'serve /healthz, /readyz, /status and /metrics there, as ":8080"').env(
      'KAFKA2DELTA_HTTP',
    ),
  )
  .addOption(
    new Option('--log-level <level>', 'of the log on standard error')
      .choices(['trace', 'debug', 'info', 'warn', 'error', 'silent'])
      .env('KAFKA2DELTA_LOG_LEVEL'),
  )
  .addOption(verboseOption())
  .action(async (flags: RunFlags) => {
    verbose = flags.verbose === true
    exitCode = await run(flags, processOutput, { systems: realSystems })
  })

const number = (name: string, minimum: number) => (text: string) => {
  const value = Number(text)
  if (!Number.isSafeInteger(value) || value < minimum) {
    throw wrong(`${name} must be a whole number of at least ${minimum}`)
  }
  return value
}

const onTable = (name: string, description: string) =>
  program
    .command(name)
    .description(description)
    .argument('<table>', 'folder or s3://, gs://, az:// URL; with --config a topic, name or path of the file')
    .option('-c, --config <file>', 'takes storage and layout from this configuration')
    .option('--storage-option <name=value>', 'for the object store; may be given several times', storageOption, {})
    .option('--json', 'one JSON value')
    .addOption(verboseOption())

onTable('describe', 'what a table is and holds').action(async (path: string, flags: TableFlags) => {
  verbose = flags.verbose === true
  exitCode = await (await import('./table-commands.js')).describe(path, flags, processOutput)
})

onTable('history', 'the newest commits of a table')
  .option('--limit <n>', 'how many', number('--limit', 1), 20)
  .action(async (path: string, flags: TableFlags & { limit: number }) => {
    verbose = flags.verbose === true
    exitCode = await (await import('./table-commands.js')).history(path, flags, processOutput)
  })

onTable('compact', 'rewrite small files and files with many deleted rows, also beside a running stream')
  .option('--full', 'every small file and every deleted row, whether it pays or not')
  .option('--min-files <n>', 'small files from which on they become one (default: 8)', number('--min-files', 2))
  .option('--max-bytes <size>', 'that one step reads (default: 1 GB)')
  .option('--deleted-share <share>', 'of rows from which on a file is rewritten (default: 0.3)', share)
  .option('--cluster-by <columns>', 'sort rows by these, with commas between')
  .action(async (path: string, flags: CompactFlags) => {
    verbose = flags.verbose === true
    exitCode = await (await import('./table-commands.js')).compact(path, flags, processOutput)
  })

onTable('checkpoint', "write a checkpoint and clean the log up by the table's properties").action(
  async (path: string, flags: TableFlags) => {
    verbose = flags.verbose === true
    exitCode = await (await import('./table-commands.js')).checkpoint(path, flags, processOutput)
  },
)

onTable('vacuum', 'remove files that no reader within the retention needs')
  .option('--retention <duration>', "such as 7 days (default: the table's delta.deletedFileRetentionDuration)")
  .option('--dry-run', 'say what would be removed')
  .option('--force', 'also with a retention below a day')
  .action(async (path: string, flags: VacuumFlags) => {
    verbose = flags.verbose === true
    exitCode = await (await import('./table-commands.js')).vacuum(path, flags, processOutput)
  })

onTable('verify', 'compare every value of a table with the table of the database; exit code 1 where they differ')
  .addOption(
    new Option('--source <url>', 'postgres://user:password@host/database or mysql://…')
      .env('KAFKA2DELTA_SOURCE')
      .makeOptionMandatory(),
  )
  .requiredOption('--source-table <name>', 'schema.table, with MySQL database.table')
  .option('--key <columns>', 'key columns, with commas between (default: those that the table names)')
  .option('--chunk-rows <n>', 'rows that are compared at once', number('--chunk-rows', 1), 50_000)
  .option('--settle <duration>', 'time that a row has to become equal, for changes on their way', '10 seconds')
  .option('--repair', 'make the table equal to the source, in one commit beside the stream; needs --config')
  .action(async (path: string, flags: VerifyFlags) => {
    verbose = flags.verbose === true
    exitCode = await (await import('./commands/verify.js')).verify(path, flags, processOutput)
  })

program
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
  .action(async (topic: string, flags: ResyncFlags) => {
    verbose = flags.verbose === true
    exitCode = await (await import('./commands/resync.js')).resync(topic, flags, processOutput)
  })

program
  .command('demo')
  .description('a shop from its snapshot on, with Kafka and the schema registry inside of this process')
  .option('--orders <n>', 'orders in the snapshot', number('--orders', 1), 100_000)
  .option('--changes <n>', 'changes after it', number('--changes', 0), 50_000)
  .option('--seed <n>', 'the same seed gives the same shop', number('--seed', 0), 42)
  .option('--rate <n>', 'messages per second after the snapshot, at most', number('--rate', 1))
  .option('--dir <folder>', 'where everything lies; a demo that was ended there goes on (default: a new folder)')
  .option('--keep', 'keep the folder also where it was not named')
  .option(
    '--fixtures [folder]',
    'replay a captured set of topics instead of the shop (default: the set in the package)',
  )
  .option('--no-live', 'no live view')
  .addOption(verboseOption())
  .action(async (flags) => {
    verbose = flags.verbose === true
    const { demo } = await import('./commands/demo.js')
    exitCode = await demo(flags, processOutput)
  })

try {
  await program.parseAsync()
} catch (error) {
  if (error instanceof CommanderError) {
    // Commander has written help and its own messages; ours it has not seen.
    if (error.code === 'kafka2delta.invalidNumber') process.stderr.write(`${error.message}\n`)
    exitCode = error.exitCode === 0 ? 0 : 2
  } else {
    process.stderr.write(`${formatError(error, { verbose })}\n`)
    exitCode = exitCodeOf(error)
  }
}
// Not process.exit: what is still being written would be lost, and a native call under way would look like success.
process.exitCode = exitCode
