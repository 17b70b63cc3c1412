/** `kafka2delta run`: keeps the tables of a configuration file up to date. */

import { Option } from 'commander'
import pc from 'picocolors'
import { KafkaToDeltaError } from '../../errors.js'
import { HttpServer, parseHttpAddress } from '../../http/server.js'
import { createLogger, type Logger, type LogLevel } from '../../log.js'
import type { ResolvedOptions, ResolvedTable } from '../../options/types.js'
import { realSystems } from '../../stream/connect.js'
import type { Systems } from '../../stream/dependencies.js'
import { startQuery } from '../../stream/start.js'
import { showLive } from '../../terminal/live-view.js'
import type { Output } from '../../terminal/output.js'
import { SIGNAL_EXIT, watchSignals } from '../../terminal/signals.js'
import { quote } from '../../verify/comparable.js'
import { onAbort } from '../../waits.js'
import type { Register } from '../command.js'
import { type Environment, loadConfig, type Override } from '../config.js'
import { exitCodeOf, formatError } from '../errors.js'
import { verboseOption } from '../flags.js'

export interface RunFlags {
  config: string
  availableNow?: boolean
  trigger?: string
  queryName?: string
  brokers?: string
  registryUrl?: string
  startingOffsets?: string
  /** False: JSON lines also on a terminal. */
  live?: boolean
  logLevel?: LogLevel
  verbose?: boolean
  /** Where `/healthz`, `/readyz`, `/status` and `/metrics` are served. */
  http?: string
}

async function serve(address: string | undefined): Promise<HttpServer | null> {
  if (address === undefined || address === '') return null
  const parsed = parseHttpAddress(address)
  if (parsed !== null) return HttpServer.listen(parsed)
  throw new KafkaToDeltaError('CONFIG_INVALID', `--http: expected an address such as ":8080", got ${address}`)
}

export function flagOverrides(flags: RunFlags): Override[] {
  const overrides: Override[] = []
  const add = (origin: string, path: string[], value: unknown) => {
    if (value !== undefined) overrides.push({ origin, path, value })
  }
  add('--query-name', ['queryName'], flags.queryName)
  add('--brokers', ['kafka', 'brokers'], flags.brokers)
  add('--registry-url', ['schemaRegistry', 'url'], flags.registryUrl)
  add('--starting-offsets', ['startingOffsets'], flags.startingOffsets)
  add('--trigger', ['trigger', 'processingTime'], flags.trigger)
  if (flags.availableNow) add('--available-now', ['trigger', 'availableNow'], true)
  return overrides
}

/** The SQL that registers a table in a metastore by hand. */
export function createTableSql(table: Pick<ResolvedTable, 'name' | 'topic' | 'uri'>): string {
  const name = table.name ?? (table.topic.split('.').at(-1) as string)
  const quoted = name.split('.').map(quote)
  return `CREATE TABLE IF NOT EXISTS ${quoted.join('.')} USING DELTA LOCATION '${table.uri.replaceAll("'", "\\'")}'`
}

export interface RunSystems {
  systems: (options: ResolvedOptions, logger: Logger) => Systems
  env?: Environment
  /** Milliseconds between two looks for topics that patterns take, for tests. */
  lookEveryMs?: number
}

/** Runs until the end, an error or a signal. Returns the exit code; errors of the configuration are thrown. */
export async function run(flags: RunFlags, output: Output, given: RunSystems): Promise<number> {
  const { systems, env, ...looks } = given
  const options = loadConfig(flags.config, flagOverrides(flags), env)
  const isLive = output.stdout.isTTY === true && flags.live !== false
  const level = flags.logLevel ?? (isLive ? 'error' : 'info')
  const logger = createLogger(level, output.stderr as unknown as { write(text: string): void })
  const signals = watchSignals((name) => {
    output.stderr.write(`${name}: finishing the batches in hand; once more to end at once\n`)
  })
  let http: HttpServer | null = null
  try {
    http = await serve(flags.http)
    const { signal } = signals
    const query = await startQuery({ options, systems: systems(options, logger), logger, signal, ...looks })
    http?.watch(query)
    onAbort(signal, () => void query.stop())
    const unregistered = options.tables.filter(({ catalog }) => catalog === null)
    if (output.stdout.isTTY && unregistered.length > 0) {
      output.stdout.write(pc.dim('To query the tables by name in Spark, Trino and others:\n'))
      for (const table of unregistered) output.stdout.write(`  ${createTableSql(table)};\n`)
    }
    const view = isLive ? showLive(query, output) : null
    const report = (error: KafkaToDeltaError) => formatError(error, { verbose: flags.verbose === true })
    query.on('tableFailed', ({ topic, error }) => {
      if (query.isActive && view) view.print(`${pc.red(topic)}\n${report(error)}`)
    })
    if (!view) {
      query.on('compaction', (step) => {
        output.stdout.write(`${JSON.stringify({ event: 'compaction', ...step })}\n`)
      })
      query.on('progress', (progress) => {
        output.stdout.write(`${JSON.stringify({ event: 'progress', ...progress })}\n`)
      })
    }
    let failure: unknown = null
    try {
      await query.awaitTermination()
    } catch (error) {
      failure = error
    }
    view?.end()
    if (!view) {
      const code = query.exception?.code ?? null
      output.stdout.write(`${JSON.stringify({ event: 'terminated', name: query.name, error: code })}\n`)
    }
    if (failure !== null) {
      output.stderr.write(`${report(failure as KafkaToDeltaError)}\n`)
      return exitCodeOf(failure)
    }
    return signals.received ? SIGNAL_EXIT[signals.received] : 0
  } catch (error) {
    // A start that was stopped has nothing to finish.
    if (signals.received) return SIGNAL_EXIT[signals.received]
    throw error
  } finally {
    await http?.close()
    signals.end()
  }
}

export const register: Register = (program, act) =>
  void program
    .command('run')
    .description('apply the topics of a configuration file to their tables, until stopped')
    .addOption(
      // biome-ignore lint/suspicious/noTemplateCurlyInString: what the file may hold
      new Option('-c, --config <file>', 'the configuration: YAML, with ${NAME} and ${NAME:-default}')
        .env('KAFKA2DELTA_CONFIG')
        .default('kafka2delta.yaml'),
    )
    .option('--available-now', 'apply what is there now, then end')
    .option('--trigger <interval>', 'time between two batches, as "1 second", or adaptive')
    .option('--query-name <name>', 'names the offsets in the tables')
    .option('--brokers <list>', 'host:port, several with commas between')
    .option('--registry-url <url>', 'of the schema registry')
    .option(
      '--starting-offsets <where>',
      'earliest, latest or a time, for partitions that the table holds no offset of',
    )
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
    .action(act((flags: RunFlags, output: Output) => run(flags, output, { systems: realSystems })))
