/** Starts a query over given systems. */

import { asKafkaToDeltaError } from '../errors.js'
import type { Logger } from '../log.js'
import type { ResolvedOptions } from '../options/types.js'
import { type RetryOptions, withRetries } from '../retry.js'
import type { StreamTable, Systems } from './dependencies.js'
import { StreamingQuery } from './query.js'
import { TableLoop } from './table-loop.js'

export interface StartOptions {
  options: ResolvedOptions
  systems: Systems
  logger: Logger
  /** Ends a start that is under way. */
  signal?: AbortSignal
  /** Replaces the policies, for tests. */
  retryPolicies?: RetryOptions['policies']
}

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
    ...(retryPolicies ? { policies: retryPolicies } : {}),
    onRetry: (error, attempt, delayMs) => logger.warn({ code: error.code, attempt, delayMs }, error.message),
  }
  let query: StreamingQuery | null = null
  try {
    const startingOffsets = await withRetries(async () => systems.startingOffsets?.(given), retry)
    if (startingOffsets) options = { ...given, startingOffsets }
    const results = await Promise.allSettled(
      options.tables.map(async (table) => {
        const delta = await withRetries(() => systems.table(table), retry)
        opened.push(delta)
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
    const loops = results.map((result) => {
      if (result.status === 'rejected') throw result.reason
      return result.value
    })
    signal?.throwIfAborted()
    const byTopic = new Map(loops.map((loop) => [loop.topic, loop]))
    const source = systems.source(options, async (topic) => (byTopic.get(topic) as TableLoop).storedOffsets())
    try {
      await source.start()
      await systems.check?.()
      signal?.throwIfAborted()
    } catch (error) {
      await source.stop().catch(() => {})
      throw error
    }
    query = new StreamingQuery({ name: options.queryName, loops, source, tables: opened, systems, logger })
    return query
  } catch (error) {
    await Promise.allSettled([...opened.map((table) => table.close()), systems.close?.()])
    throw signal?.aborted ? signal.reason : asKafkaToDeltaError(error)
  }
}
