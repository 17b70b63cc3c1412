/** Starts a query over given systems. */

import { asKafkaToDeltaError } from '../errors.js'
import type { Logger } from '../log.js'
import type { ResolvedOptions } from '../options/types.js'
import { type RetryOptions, withRetries } from '../retry.js'
import { onAbort, settled, unlessAborted } from '../waits.js'
import type { StreamSource, StreamTable, Systems } from './dependencies.js'
import { StreamingQuery } from './query.js'
import { TableLoop } from './table/loop.js'
import type { StreamPolicies } from './table/retries.js'

export interface StartOptions {
  options: ResolvedOptions
  systems: Systems
  logger: Logger
  /** Ends a start that is under way. */
  signal?: AbortSignal
  /** Replaces the policies, for tests. */
  retryPolicies?: StreamPolicies
}

/** Milliseconds in which a start that failed lets go of what it had opened. */
const LET_GO_MS = 2_000

/** Opens all tables and the source. What was opened is closed where a later step fails. */
export async function startQuery({
  options: given,
  systems,
  logger,
  signal,
  retryPolicies,
}: StartOptions): Promise<StreamingQuery> {
  let options = given
  const opened: StreamTable[] = []
  const retry: RetryOptions = {
    ...(signal ? { signal } : {}),
    ...(retryPolicies ? { policies: retryPolicies.bounded } : {}),
    onRetry: (error, attempt, delayMs) => logger.warn({ code: error.code, attempt, delayMs }, error.message),
  }
  const until = <T>(promise: Promise<T>) => unlessAborted(promise, signal)
  let query: StreamingQuery | null = null
  let loops: TableLoop[] = []
  try {
    const startingOffsets = await withRetries(() => until(startingOffsetsOf(systems, given)), retry)
    if (startingOffsets) options = { ...given, startingOffsets }
    const results = await Promise.allSettled(
      options.tables.map(async (table) => {
        const open = async () => {
          const delta = await systems.table(table, signal)
          opened.push(delta)
          return delta
        }
        const delta = await withRetries(() => until(open()), retry)
        return new TableLoop({
          query: options,
          table,
          delta,
          decoder: systems.decoder(table, options),
          deadLetters: systems.deadLetters?.(table) ?? null,
          logger,
          onProgress: (progress) => query?.noteProgress(progress),
          onCompaction: (step) => query?.noteCompaction(step),
          ...(retryPolicies ? { retryPolicies } : {}),
        })
      }),
    )
    loops = results.map((result) => {
      if (result.status === 'rejected') throw result.reason
      return result.value
    })
    signal?.throwIfAborted()
    const byTopic = new Map(loops.map((loop) => [loop.topic, loop]))
    const source = systems.source(options, async (topic) => (byTopic.get(topic) as TableLoop).storedOffsets())
    await startSource(source, systems, signal)
    query = new StreamingQuery({ name: options.queryName, loops, source, tables: opened, systems, logger })
    return query
  } catch (error) {
    for (const loop of loops) loop.stop(0)
    const letGo = Promise.allSettled([...opened.map((table) => table.close()), systems.close?.()])
    if (!(await settled(letGo, LET_GO_MS))) logger.warn({}, 'a system did not answer at the end of the start')
    throw signal?.aborted ? signal.reason : asKafkaToDeltaError(error)
  }
}

async function startingOffsetsOf(systems: Systems, options: ResolvedOptions) {
  return systems.startingOffsets?.(options)
}

/** Stopped by the signal wherever it is. */
async function startSource(source: StreamSource, systems: Systems, signal: AbortSignal | undefined): Promise<void> {
  const ended = onAbort(signal, () => void source.stop().catch(() => {}))
  try {
    await source.start()
    await unlessAborted(systems.check?.(signal) ?? Promise.resolve(), signal)
    signal?.throwIfAborted()
  } catch (error) {
    await source.stop().catch(() => {})
    throw error
  } finally {
    ended()
  }
}
