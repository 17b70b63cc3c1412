/**
 * Every error that kafka2delta throws: one closed list of codes, each with the
 * exit code of the command and who tries again.
 */

/**
 * Who tries again after an error. `outage`, `conflict` and `access` name the policies of src/retry.ts, by which the program
 * does so itself; `access` only where the same was allowed before in this run: tokens expire and are renewed. `caller`:
 * the same call may succeed later, and whoever made it decides. False: somebody has to act first.
 */
type Retry = 'outage' | 'conflict' | 'access' | 'caller' | false

/** What each code means for a program: the command's exit code, and who tries again. */
export const ERROR_CODES = {
  /** The configuration is wrong: an unknown option, a bad value, broken YAML. */
  CONFIG_INVALID: { exit: 2, retry: false },
  /** The configuration file cannot be read. */
  CONFIG_UNREADABLE: { exit: 2, retry: false },
  /** No broker answers, or it refuses us. */
  KAFKA_UNREACHABLE: { exit: 3, retry: 'outage' },
  /** No worker answers at the address that was given. */
  WORKER_UNREACHABLE: { exit: 3, retry: 'caller' },
  /** The broker refuses our credentials. */
  KAFKA_AUTH: { exit: 3, retry: 'access' },
  /** A topic that is configured does not exist. */
  TOPIC_NOT_FOUND: { exit: 2, retry: false },
  /** The consumer stopped by itself and cannot go on. */
  KAFKA_CONSUMER_CRASHED: { exit: 1, retry: 'caller' },
  /** The topic no longer has offsets that we have not applied. */
  DATA_LOSS: { exit: 1, retry: false },
  /** The table has our commits but no offset for a partition. */
  OFFSET_MISSING: { exit: 1, retry: false },
  /** The schema registry does not answer or fails. */
  REGISTRY_UNREACHABLE: { exit: 3, retry: 'outage' },
  /** The schema registry refuses our credentials. */
  REGISTRY_AUTH: { exit: 3, retry: 'access' },
  /** A schema cannot be understood. */
  SCHEMA_UNSUPPORTED: { exit: 1, retry: false },
  /** A message cannot be applied: no header, unknown schema, truncated Avro, a value outside its type, no key. */
  BAD_RECORD: { exit: 1, retry: false },
  /** The change of a column cannot be made without loss. */
  SCHEMA_INCOMPATIBLE: { exit: 1, retry: false },
  /** A left-out value has no stored value, and the options say to fail. */
  MISSING_VALUE: { exit: 1, retry: false },
  /** The table's path cannot be read or written. */
  STORAGE: { exit: 3, retry: 'outage' },
  /** The path refuses us, or cannot be a table. */
  STORAGE_DENIED: { exit: 3, retry: 'access' },
  /** The Delta table has what we cannot write to: an unknown feature, a constraint, a wrong property. */
  TABLE_UNSUPPORTED: { exit: 1, retry: false },
  /** The table was replaced, restored or overwritten by another writer. */
  TABLE_REPLACED: { exit: 1, retry: false },
  /** The table is damaged: a file that the log names is missing or unreadable. */
  TABLE_CORRUPT: { exit: 1, retry: false },
  /** The log does not have the version that is asked for. */
  VERSION_MISSING: { exit: 1, retry: false },
  /** Another worker has already committed these offsets. */
  FENCED: { exit: 1, retry: false },
  /** Other writers won every attempt to commit. */
  COMMIT_CONFLICT: { exit: 1, retry: 'conflict' },
  /** An additional column's SQL expression is wrong or differs between engines. */
  EXPRESSION_INVALID: { exit: 2, retry: false },
  /** A change batch does not have the layout that the engine expects. */
  BATCH_INVALID: { exit: 1, retry: false },
  /** The call was cancelled; what it did stands in the log. */
  CANCELLED: { exit: 1, retry: false },
  /** The native addon cannot be loaded. */
  ADDON_UNAVAILABLE: { exit: 1, retry: false },
  /** The source database does not answer or refuses us. */
  SOURCE_UNREACHABLE: { exit: 3, retry: 'caller' },
  /** The table has other rows than its source. */
  SOURCE_DIFFERS: { exit: 1, retry: false },
  /** The catalog does not answer or fails, or the package that speaks to it is not installed. */
  CATALOG_UNAVAILABLE: { exit: 3, retry: 'outage' },
  /** The catalog refuses our credentials, or rights that they need. */
  CATALOG_DENIED: { exit: 3, retry: false },
  /** The table's name stands for something else in the catalog: another location, or no external Delta table. */
  CATALOG_CONFLICT: { exit: 1, retry: false },
  /** A defect of kafka2delta. */
  INTERNAL: { exit: 1, retry: false },
} as const satisfies Record<string, { exit: number; retry: Retry }>

export type ErrorCode = keyof typeof ERROR_CODES

/** What to do, where the message does not say it. */
export const HINTS: Partial<Record<ErrorCode, string>> = {
  CONFIG_INVALID: 'all options: resources/kafka2delta.schema.json, which editors read too',
  KAFKA_UNREACHABLE:
    'check kafka.brokers and, for TLS, kafka.ssl; listeners must be reachable by the names they advertise',
  KAFKA_AUTH: 'check kafka.sasl and the rights of its user',
  REGISTRY_UNREACHABLE: 'check schemaRegistry.url',
  REGISTRY_AUTH: 'check schemaRegistry.auth',
  TOPIC_NOT_FOUND: "check the topic's name under tables, and that the connector has written to it",
  DATA_LOSS: 'take a new snapshot of the table with Debezium, then run with failOnDataLoss: false once',
  BAD_RECORD: 'onBadRecord: skip counts such messages and goes on',
  STORAGE: 'check the path and storageOptions; what was committed stays, the next start goes on after it',
  STORAGE_DENIED: 'check the rights on the path and storageOptions',
  TABLE_CORRUPT:
    'bring back the files that are missing; or move the folder away, and let the query make the table anew',
  CATALOG_UNAVAILABLE: 'check catalog; the tables themselves are written on',
  CATALOG_DENIED: 'check catalog.auth, and the rights of its user on the schema',
  CATALOG_CONFLICT: 'drop the entry in the catalog, or give the table another schema or tableName',
  EXPRESSION_INVALID: 'docs/sql-functions.md lists what additionalCols may use',
  FENCED: 'each query of a table needs a queryName of its own and runs once',
  INTERNAL: 'this is a defect of kafka2delta: please report it with the output of --verbose',
}

/** The name of a policy by which the program tries again. */
export type RetryPolicyName = Exclude<Retry, 'caller' | false>

/** The policy by which the program tries again after this error; null where it does not. */
export function retryPolicyOf(code: ErrorCode): RetryPolicyName | null {
  const { retry } = ERROR_CODES[code]
  return retry === 'caller' || retry === false ? null : retry
}

/** Where an error happened, as far as it is known. */
export interface ErrorPosition {
  topic?: string
  partition?: number
  /** Offset in the partition; decimal text, since it may exceed 2^53. */
  offset?: string
  table?: string
  version?: number
  column?: string
  schemaId?: number
}

/** A failure after which something is tried again. Only plain values. */
export interface Waiting {
  code: ErrorCode
  message: string
  /** ISO 8601. */
  since: string
  /** Tries so far. */
  attempts: number
}

export interface ErrorDetails extends ErrorPosition {
  cause?: unknown
}

/** An error of kafka2delta. `code` says what, the position says where, `cause` says why. */
export class KafkaToDeltaError extends Error {
  override readonly name = 'KafkaToDeltaError'
  readonly code: ErrorCode
  readonly position: ErrorPosition

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    const { cause, ...position } = details
    super(message, cause === undefined ? undefined : { cause })
    this.code = code
    this.position = position
  }

  /** Whether the same call may succeed later without anyone changing anything. */
  get canRetry(): boolean {
    const { retry } = ERROR_CODES[this.code]
    return retry !== false && retry !== 'access'
  }

  /** The exit code of the command for this error. */
  get exitCode(): number {
    return ERROR_CODES[this.code].exit
  }
}

/** The error itself where it is ours, otherwise a new one that has it as its cause. */
export function asKafkaToDeltaError(
  error: unknown,
  code: ErrorCode = 'INTERNAL',
  details: ErrorDetails = {},
): KafkaToDeltaError {
  if (error instanceof KafkaToDeltaError) return error
  const message = error instanceof Error ? error.message : String(error)
  return new KafkaToDeltaError(code, message, { cause: error, ...details })
}
