/** What the rooms of a table's loop share. */

import type { DeadLetterSink } from '../../dead-letter/dead-letter.js'
import type { Logger } from '../../log.js'
import type { ResolvedOptions, ResolvedTable } from '../../options/types.js'
import type { EntryKeeper, StreamDecoder, StreamTable } from '../dependencies.js'
import type { CompactionStep, StreamingQueryProgress } from '../progress.js'
import type { Flow } from './flow.js'
import type { Lag } from './lag.js'
import type { Lifetime } from './lifetime.js'
import type { Positions } from './positions.js'
import type { Retries, StreamPolicies, TableLabel } from './retries.js'

export interface TableLoopOptions {
  query: ResolvedOptions
  table: ResolvedTable
  delta: StreamTable
  decoder: StreamDecoder
  /** Where bad records go; null where they are skipped or stop the table. */
  deadLetters: DeadLetterSink | null
  /** Keeps the table's entry in its catalog. Left out: it stands in none. */
  catalogs?: EntryKeeper | undefined
  logger: Logger
  onProgress: (progress: StreamingQueryProgress) => void
  onCompaction?: (step: CompactionStep) => void
  /** The start of the query is under way, and has an end. Default: until the loop runs. */
  isStarting?: () => boolean
  /** Replaces the policies, for tests. */
  retryPolicies?: StreamPolicies
}

export interface TableParts {
  options: TableLoopOptions
  label: TableLabel
  positions: Positions
  flow: Flow
  lag: Lag
  lifetime: Lifetime
  retries: Retries
}
