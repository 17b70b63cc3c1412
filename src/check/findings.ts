/** What a check may find: a closed list of codes. docs/check.md has the same, with what to do. */

import { causes } from '../delta/addon.js'
import { asKafkaToDeltaError, type ErrorCode, HINTS, type KafkaToDeltaError } from '../errors.js'

/** An error stops the query or one of its tables, or makes it wrong; a warning may; a note is worth knowing. */
export type Severity = 'error' | 'warning' | 'note'

/** Beside these, any error code of the program: what a run would end with. */
export const FINDINGS = {
  NO_TABLE: 'error',
  NO_KEY: 'error',
  KEY_COLUMN_MISSING: 'error',
  NOT_AVRO: 'error',
  PLACEHOLDER_STORED: 'error',
  REWRITE_TOO_LARGE: 'error',
  PATTERN_TAKES_NOTHING: 'warning',
  PATHS_NESTED: 'warning',
  LOGIN_NOT_ENCRYPTED: 'warning',
  DEAD_LETTER_TOPIC_MISSING: 'warning',
  VALUE_NOT_DEBEZIUM: 'warning',
  DELETES_NOT_TOLD: 'warning',
  POSITIONS_MISSING: 'warning',
  LEFT_OUT_AS_NULL: 'warning',
  UNKNOWN_COLUMN: 'warning',
  COLUMN_MISSING: 'warning',
  TABLE_REWRITTEN: 'warning',
  TABLE_FOREIGN: 'warning',
  OTHER_QUERY: 'warning',
  NEEDS_RESYNC: 'warning',
  RETENTION_NEAR: 'warning',
  TOPIC_CUT: 'warning',
  COMPACTED_HISTORY: 'warning',
  ROWS_EXPIRE: 'warning',
  TOMBSTONES_EXPIRE: 'warning',
  MESSAGE_TOO_LARGE: 'warning',
  TOPIC_EMPTY: 'note',
  SCHEMA_NEWER: 'note',
  SETTINGS_HIDDEN: 'note',
  TRUNCATES_NOT_TOLD: 'note',
  DECIMAL_AS_TEXT: 'note',
  TIME_PRECISION: 'note',
  CATALOG_ENTRY: 'note',
  PROPERTIES_DIFFER: 'note',
  READERS: 'note',
} as const satisfies Record<string, Severity>

export type FindingCode = keyof typeof FINDINGS | ErrorCode

export interface Finding {
  code: FindingCode
  severity: Severity
  message: string
  /** What to do. */
  remedy: string
}

export function finding(
  code: keyof typeof FINDINGS,
  message: string,
  remedy: string,
  severity: Severity = FINDINGS[code],
): Finding {
  return { code, severity, message, remedy }
}

/** What a run would end with, or what could not be looked at. */
export function failure(thrown: unknown, severity: Severity = 'error'): Finding {
  const error = asKafkaToDeltaError(thrown)
  const { code } = error
  const message = withCause(error)
  return { code, severity, message, remedy: causeRemedy(message) ?? HINTS[code] ?? 'the message says what to do' }
}

/** With the innermost cause, where the message does not have it already: what matters of it stands at its end. */
function withCause(error: KafkaToDeltaError): string {
  const cause = causes(error).at(-1)
  const text = cause instanceof Error ? cause.message.split('\n')[0] : undefined
  const end = text?.split(': ').at(-1)
  return end === undefined || end === '' || error.message.includes(end) ? error.message : `${error.message}: ${text}`
}

/** What an error of a connection asks for, by what the system itself said. */
const CAUSES: readonly (readonly [RegExp, string])[] = [
  [/ENOTFOUND|EAI_AGAIN/, 'no such host is known here: check its name, and the DNS or the network that knows it'],
  [/ECONNREFUSED/, 'nothing listens there: check the port, and that the system runs'],
  [/ETIMEDOUT|EHOSTUNREACH|ENETUNREACH/, 'no way leads there: check firewalls, security groups and the network'],
  [
    /self[- ]signed|unable to (get|verify)|certificate/i,
    'the certificate is not trusted here: name its authority (kafka.ssl.ca, schemaRegistry.tls.ca), and the host as the ' +
      'certificate has it',
  ],
  [
    /wrong version number|EPROTO|packet length|socket disconnected|Connection closed|ECONNRESET/i,
    'one side speaks TLS and the other does not, or the listener wants SASL: check kafka.ssl, kafka.sasl and the port; ' +
      'for a registry, http or https',
  ],
  [
    /unknown schema id/,
    "compare schemaRegistry.url with the address that the connector's converter has; a schema that was deleted there must " +
      'be registered again',
  ],
  [
    /NoSuchBucket|bucket does not exist/i,
    'make the bucket, or correct its name in path; the region may be another one',
  ],
]

const causeRemedy = (message: string): string | undefined => CAUSES.find(([cause]) => cause.test(message))?.[1]

/** Errors first. */
export const bySeverity = (a: Finding, b: Finding): number => RANK[a.severity] - RANK[b.severity]

const RANK: Record<Severity, number> = { error: 0, warning: 1, note: 2 }
