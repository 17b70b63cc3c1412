/** The log: pino, on standard error, without secrets. */

import { type DestinationStream, type Logger, pino } from 'pino'

export type { Logger } from 'pino'

const REDACTED = [
  'password',
  'token',
  'secret',
  'sasl',
  'auth',
  'secretAccessKey',
  'storageOptions',
  '*.password',
  '*.token',
  '*.secret',
  '*.sasl',
  '*.auth',
  '*.secretAccessKey',
  '*.storageOptions',
  'err.config',
]

export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'silent'

/** A logger. Default: standard error, so that standard output stays for results. */
export function createLogger(level: LogLevel = 'info', destination?: DestinationStream): Logger {
  return pino(
    { name: 'kafka2delta', level, redact: { paths: REDACTED, censor: '[hidden]' } },
    destination ?? pino.destination({ dest: 2, sync: true }),
  )
}

/** Logs nothing: what the library does unless it is given a logger. */
export const silentLogger: Logger = pino({ level: 'silent' })
