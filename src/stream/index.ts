/** `streamToDelta`: from Kafka topics to Delta tables, until stopped. */

export type { EntryStatus } from '../catalog/keeper.js'
export type { Waiting } from '../errors.js'

import { createLogger, type Logger, type LogLevel, silentLogger } from '../log.js'
import { resolveOptions } from '../options/resolve.js'
import type { StreamOptions } from '../options/types.js'
import { realSystems } from './connect.js'
import type { StreamingQuery } from './query.js'

export type { TopicMoves } from '../kafka/sharing.js'
export type { TableFailure } from './table-failure.js'

import { startQuery } from './start.js'

export type { CompactionStep, OffsetProgress, StreamingQueryProgress } from './progress.js'
export {
  type MemoryStatus,
  StreamingQuery,
  type StreamingQueryEvents,
  type StreamingQueryStatus,
  type StreamingQueryTermination,
  type TableStatus,
} from './query.js'

/** What is not part of a configuration file. */
export interface StreamContext {
  /** A pino logger, or a level to log to standard error with. Default: nothing is logged. */
  logger?: Logger | LogLevel
  /** Ends a start that is under way, at once: it rejects with the signal's reason. A running query is ended by `stop`. */
  signal?: AbortSignal
}

/**
 * Keeps Delta tables equal to the database tables whose changes Debezium writes to Kafka. Each table runs as soon as it is open
 * and its partitions' positions are confirmed; resolves when that is so of all of them, or, where some take long, ten seconds
 * after the first. Events of before are told then.
 *
 * Each commit holds the rows of a batch and the Kafka offsets that they came from: after a crash or a stop, the
 * next start with the same `queryName` goes on exactly after them.
 *
 * Fails where no table can go on; a topic that was deleted or has lost offsets ends its own table alone (`tableFailed`).
 *
 * @throws CONFIG_INVALID before anything is connected; ADDON_UNAVAILABLE, KAFKA_UNREACHABLE, KAFKA_AUTH,
 *   TOPIC_NOT_FOUND, DATA_LOSS, OFFSET_MISSING, STORAGE, STORAGE_DENIED, TABLE_UNSUPPORTED
 */
export async function streamToDelta(options: StreamOptions, context: StreamContext = {}): Promise<StreamingQuery> {
  const resolved = resolveOptions(options)
  const logger = typeof context.logger === 'string' ? createLogger(context.logger) : (context.logger ?? silentLogger)
  return startQuery({
    options: resolved,
    systems: realSystems(resolved, logger),
    logger,
    ...(context.signal ? { signal: context.signal } : {}),
  })
}
