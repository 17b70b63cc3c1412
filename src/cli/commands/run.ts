/** `kafka2delta run`: keeps the tables of a configuration file up to date. */

import pc from 'picocolors'
import { KafkaToDeltaError } from '../../errors.js'
import { HttpServer, parseHttpAddress } from '../../http/server.js'
import { createLogger, type Logger, type LogLevel } from '../../log.js'
import type { ResolvedOptions, ResolvedTable } from '../../options/types.js'
import { startQuery } from '../../stream/start.js'
import type { Systems } from '../../stream/systems.js'
import { showLive } from '../../terminal/live-view.js'
import type { Output } from '../../terminal/output.js'
import { SIGNAL_EXIT, watchSignals } from '../../terminal/signals.js'
import { type Environment, loadConfig, type Override } from '../config.js'
import { exitCodeOf, formatError } from '../errors.js'

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
  const quoted = name.split('.').map((part) => `\`${part.replaceAll('`', '``')}\``)
  return `CREATE TABLE IF NOT EXISTS ${quoted.join('.')} USING DELTA LOCATION '${table.uri.replaceAll("'", "\\'")}'`
}

export interface RunSystems {
  systems: (options: ResolvedOptions, logger: Logger) => Systems
  env?: Environment
}

/** Runs until the end, an error or a signal. Returns the exit code; errors of the configuration are thrown. */
export async function run(flags: RunFlags, output: Output, { systems, env }: RunSystems): Promise<number> {
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
    const query = await startQuery({ options, systems: systems(options, logger), logger, signal: signals.signal })
    http?.watch(query)
    const stop = () => void query.stop()
    if (signals.signal.aborted) stop()
    else signals.signal.addEventListener('abort', stop, { once: true })
    if (output.stdout.isTTY) {
      output.stdout.write(pc.dim('To query the tables by name in Spark, Trino and others:\n'))
      for (const table of options.tables) output.stdout.write(`  ${createTableSql(table)};\n`)
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
