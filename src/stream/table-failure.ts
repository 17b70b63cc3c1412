import type { KafkaToDeltaError } from '../errors.js'

/** A table that stopped, while the others go on. */
export interface TableFailure {
  topic: string
  table: string
  error: KafkaToDeltaError
}
