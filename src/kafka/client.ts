/** Creates the kafkajs client, maps its errors and its log, and guarantees that it is closed. */

import net from 'node:net'
import tls from 'node:tls'
import kafkajs, { type ISocketFactory, type Kafka, type LogEntry, type RetryOptions } from 'kafkajs'
import { type ErrorCode, type ErrorPosition, KafkaToDeltaError } from '../errors.js'
import type { KafkaOptions } from '../options/sasl.js'
import { settled } from '../waits.js'
import { registerCodecs } from './codecs.js'
import { readAsColumns } from './fetch-decoder.js'
import { fixKafkajs } from './kafkajs-fixes.js'
import type { SourceLogger } from './options.js'
import { kafkajsSasl } from './sasl.js'

const KEEP_ALIVE_MS = 60_000

/** Below the 10 seconds in which an unreachable broker has to be reported. */
const CONNECTION_TIMEOUT_MS = 3_000

/** kafkajs waits no longer between two tries: it does so, too, where its client was closed meanwhile. */
const MAX_RETRY_TIME_MS = 3_000

export interface KafkaClient {
  kafka: Kafka
  /** Replaces the configuration's secrets in a text. */
  redact(text: string): string
  /**
   * Waits for consumers and others to close, no longer than `ms`, then destroys the sockets that are still open; none is
   * opened any more. Those of a `Kafka` instance that the user made are not known. False where it took longer.
   */
  close(closing: Promise<unknown>[], ms: number): Promise<boolean>
}

/** A `Kafka` instance of any copy of kafkajs. */
export function isKafkaInstance(kafka: KafkaOptions | Kafka): kafka is Kafka {
  return typeof (kafka as Kafka).consumer === 'function' && typeof (kafka as Kafka).admin === 'function'
}

function secretsOf({ ssl }: KafkaOptions): string[] {
  const secrets: unknown[] = typeof ssl === 'object' ? [ssl.passphrase, ssl.key, ssl.pfx] : []
  return secrets.filter((secret): secret is string => typeof secret === 'string' && secret.length > 0)
}

/** What kafkajs says of REBALANCE_IN_PROGRESS. */
const REBALANCING = 'The group is rebalancing, so a rejoin is needed'

/** kafkajs reports what it retries as errors, and each pause as information: one level down each. */
function logTo(logger: SourceLogger | undefined, redact: (text: string) => string) {
  const { ERROR, WARN } = kafkajs.logLevel
  return ({ namespace, level, log }: LogEntry): void => {
    if (!logger) return
    const { message, timestamp: _timestamp, logger: _logger, stack: _stack, error, ...rest } = log
    const fields: Record<string, unknown> = { component: 'kafkajs', namespace }
    for (const [key, value] of Object.entries(rest)) {
      fields[key] = typeof value === 'string' ? redact(value) : value
    }
    if (error !== undefined) fields.error = redact(error instanceof Error ? error.message : String(error))
    const text = redact(typeof message === 'string' ? message : String(message))
    // Each heartbeat is answered so while a worker comes or goes; that the group is joined anew is told once, at the end.
    if (fields.error === REBALANCING) logger.debug(fields, text)
    else if (level === ERROR) logger.warn(fields, text)
    else if (level === WARN) logger.info(fields, text)
    else logger.debug(fields, text)
  }
}

const defaultSocket: ISocketFactory = ({ host, port, ssl, onConnect }) => {
  const socket = ssl
    ? tls.connect({ host, port, ...(net.isIP(host) ? {} : { servername: host }), ...ssl }, onConnect)
    : net.connect({ host, port }, onConnect)
  socket.setKeepAlive(true, KEEP_ALIVE_MS)
  return socket
}

/** Makes the client; connects to nothing. `retry` goes before the configuration's. */
export function createClient(
  kafka: KafkaOptions | Kafka,
  queryName: string,
  logger?: SourceLogger,
  retry?: RetryOptions,
): KafkaClient {
  registerCodecs()
  fixKafkajs()
  if (isKafkaInstance(kafka)) {
    const close = (closing: Promise<unknown>[], ms: number) => settled(Promise.allSettled(closing), ms)
    return { kafka, redact: (text) => text, close }
  }

  const secrets = secretsOf(kafka)
  /** Of the login, by name: files and tokens change. */
  const current = new Map<string, string>()
  const redact = (text: string): string =>
    [...secrets, ...current.values()].reduce((clean, secret) => clean.replaceAll(secret, '***'), text)
  const { sasl, ...config } = kafka
  const sockets = new Set<net.Socket>()
  let isClosed = false
  const makeSocket = kafka.socketFactory ?? defaultSocket
  const client = new kafkajs.Kafka({
    clientId: `kafka2delta-${queryName}`,
    connectionTimeout: CONNECTION_TIMEOUT_MS,
    logCreator: () => {
      const log = logTo(logger, redact)
      return (entry) => {
        if (!isClosed) log(entry)
      }
    },
    ...config,
    ...(sasl ? { sasl: kafkajsSasl(sasl, (name, secret) => current.set(name, secret)) } : {}),
    retry: { maxRetryTime: MAX_RETRY_TIME_MS, ...kafka.retry, ...retry },
    socketFactory: readAsColumns((args: Parameters<ISocketFactory>[0]) => {
      // kafkajs tries again whatever it was doing.
      if (isClosed) throw new Error('the client was closed')
      const socket = makeSocket(args)
      sockets.add(socket)
      // kafkajs disconnects a broken connection again and again, and each time adds a listener.
      socket.setMaxListeners(0)
      socket.once('close', () => sockets.delete(socket))
      return socket
    }),
  })
  return {
    kafka: client,
    redact,
    close: async (closing, ms) => {
      const isInTime = await settled(Promise.allSettled(closing), ms)
      isClosed = true
      // With an error: kafkajs forgets connections of brokers that it lost, and without one they keep their timers.
      for (const socket of sockets) socket.destroy(new Error('closed'))
      sockets.clear()
      return isInTime
    },
  }
}

/** An error and its causes, outermost first. */
function* chain(error: unknown): Generator<Record<string, unknown>> {
  let at = error
  for (let depth = 0; depth < 10 && at !== null && typeof at === 'object'; depth++) {
    yield at as Record<string, unknown>
    at = (at as { cause?: unknown }).cause
  }
}

const UNREACHABLE = new Set([
  'KafkaJSConnectionError',
  'KafkaJSConnectionClosedError',
  'KafkaJSRequestTimeoutError',
  'KafkaJSBrokerNotFound',
  'KafkaJSNoBrokerAvailableError',
  'KafkaJSNumberOfRetriesExceeded',
  'KafkaJSMetadataNotLoaded',
  'KafkaJSTopicMetadataNotLoaded',
  'KafkaJSLockTimeout',
  'KafkaJSGroupCoordinatorNotFound',
])

/** What an error of kafkajs means; null where it says nothing of the kind. */
export function classify(error: unknown): ErrorCode | null {
  let unreachable = false
  for (const { name, type } of chain(error)) {
    const kind = typeof type === 'string' ? type : ''
    if (
      name === 'KafkaJSSASLAuthenticationError' ||
      kind.startsWith('SASL_') ||
      kind === 'UNSUPPORTED_SASL_MECHANISM'
    ) {
      return 'KAFKA_AUTH'
    }
    if (kind.endsWith('AUTHORIZATION_FAILED')) return 'KAFKA_AUTH'
    if (kind === 'UNKNOWN_TOPIC_OR_PARTITION') return 'TOPIC_NOT_FOUND'
    if (typeof name === 'string' && UNREACHABLE.has(name)) unreachable = true
  }
  return unreachable ? 'KAFKA_UNREACHABLE' : null
}

/** Whether the user may not see or read some topic. kafkajs does not say which. */
export function isTopicDenied(error: unknown): boolean {
  for (const { type } of chain(error)) if (type === 'TOPIC_AUTHORIZATION_FAILED') return true
  return false
}

/** Whether a partition of some topic has no leader. kafkajs does not say which. */
export function isLeaderless(error: unknown): boolean {
  for (const { type } of chain(error)) if (type === 'LEADER_NOT_AVAILABLE') return true
  return false
}

/** Whether the same request may succeed later: the connection, a leader that moves. */
export function isTransient(error: unknown): boolean {
  if (error instanceof KafkaToDeltaError) return error.canRetry
  const code = classify(error)
  if (code === 'KAFKA_AUTH' || code === 'TOPIC_NOT_FOUND') return false
  if (code === 'KAFKA_UNREACHABLE') return true
  for (const { retriable, name } of chain(error)) {
    if (retriable === true) return true
    // kafkajs reads its metadata without a check while a connection is being replaced.
    if (name === 'TypeError') return true
  }
  return false
}

function reasonOf(error: unknown): string {
  let reason = error instanceof Error ? error.message : String(error)
  for (const link of chain(error)) if (typeof link.message === 'string' && link.message !== '') reason = link.message
  return reason
}

const REMEDY: Partial<Record<ErrorCode, string>> = {
  KAFKA_AUTH: 'check sasl, ssl and the ACLs of this user',
  KAFKA_UNREACHABLE: 'check brokers, and whether they want TLS (ssl) or SASL (sasl)',
}

/** What an error says itself that is to be done. */
function remedyOf(error: unknown): string | undefined {
  for (const { remedy } of chain(error)) if (typeof remedy === 'string') return remedy
  return undefined
}

/** An error of kafkajs in our terms: what was tried, why it failed, what to check. */
export function kafkaError(
  error: unknown,
  doing: string,
  redact: (text: string) => string,
  fallback: ErrorCode = 'KAFKA_UNREACHABLE',
  position: ErrorPosition = {},
): KafkaToDeltaError {
  if (error instanceof KafkaToDeltaError) return error
  const code = classify(error) ?? fallback
  const remedy = remedyOf(error) ?? REMEDY[code]
  const reason = reasonOf(error)
  const clean = redact(reason)
  // A cause whose text holds a secret is not passed on: its message would be printed with ours.
  const cause = clean === reason ? error : new Error(clean)
  return new KafkaToDeltaError(code, `${doing}: ${clean}${remedy ? ` (${remedy})` : ''}`, { cause, ...position })
}
