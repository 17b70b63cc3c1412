#!/usr/bin/env node
/** The command `kafka2delta`: registers the commands, runs the one that is asked for, and sets the exit code. */

import { readFileSync } from 'node:fs'
import { Command, CommanderError } from 'commander'
import { processOutput } from '../terminal/output.js'
import type { Act, Register } from './command.js'
import { exitCodeOf, formatError } from './errors.js'
import { INVALID_FLAG } from './flags.js'

/** In the order of the help. Only what is asked for is loaded: the drivers of databases and the demo take their time. */
const COMMANDS: Readonly<Record<string, () => Promise<{ register: Register }>>> = {
  run: () => import('./commands/run.js'),
  check: () => import('./commands/check.js'),
  catalog: () => import('./commands/catalog.js'),
  status: () => import('./commands/status.js'),
  describe: () => import('./commands/describe.js'),
  history: () => import('./commands/history.js'),
  compact: () => import('./commands/compact.js'),
  checkpoint: () => import('./commands/checkpoint.js'),
  vacuum: () => import('./commands/vacuum.js'),
  verify: () => import('./commands/verify.js'),
  resync: () => import('./commands/resync.js'),
  demo: () => import('./commands/demo.js'),
}

const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
  version: string
}

// As a program ends whose reader has gone (`… | head`); by default Node shows a stack.
process.stdout.on('error', ({ code }: NodeJS.ErrnoException) => process.exit(code === 'EPIPE' ? 128 + 13 : 1))

/** Milliseconds that the process has to end by itself. */
const LINGER_MS = 2_000

let exitCode = 0
let verbose = false

const act: Act =
  (run) =>
  async (...args) => {
    // Commander hands over the arguments, the flags and the command.
    const given = args.slice(0, -1)
    verbose = (given.at(-1) as { verbose?: boolean }).verbose === true
    exitCode = await run(...(given as never), processOutput)
  }

const program = new Command('kafka2delta')
  .description('Keeps Delta Lake tables equal to database tables, from Debezium change events in Kafka.')
  .version(version, '-V, --version', 'print the version')
  .helpOption('-h, --help', 'print what the command can do')
  .helpCommand('help [command]', 'print what a command can do')
  .showHelpAfterError('(kafka2delta --help tells more)')
  .exitOverride()

const [, , named = ''] = process.argv
const wanted = Object.hasOwn(COMMANDS, named) ? [COMMANDS[named]] : Object.values(COMMANDS)
for (const load of wanted) (await load?.())?.register(program, act)

try {
  await program.parseAsync()
} catch (error) {
  if (error instanceof CommanderError) {
    // Commander has written help and its own messages; ours it has not seen.
    if (error.code === INVALID_FLAG) process.stderr.write(`${error.message}\n`)
    exitCode = error.exitCode === 0 ? 0 : 2
  } else {
    process.stderr.write(`${formatError(error, { verbose })}\n`)
    exitCode = exitCodeOf(error)
  }
}
// Not process.exit at once: what is still being written would be lost.
process.exitCode = exitCode
// The command is done. What still waits for a system that does not answer must not keep the process.
setTimeout(() => process.exit(exitCode), LINGER_MS).unref()
