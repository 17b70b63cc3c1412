/**
 * One worker of a chaos run, until it is ended: `worker.ts START`, a {@link WorkerStart} as JSON. Prints a JSON object for its
 * start, each commit, and what fails; its log goes to standard error. It reaches Kafka through a proxy.
 */

import { connect, type Socket } from 'node:net'
import type { ISocketFactory } from 'kafkajs'
import type { WorkerStart } from './workers.js'

const tell = (event: string, more: object = {}) => console.log(JSON.stringify({ event, ...more }))

const stopping = new AbortController()
process.once('SIGTERM', () => stopping.abort())
tell('listening')

// It does not outlive its parent.
const parent = process.stdin as Socket
parent
  .on('end', () => process.exit(1))
  .resume()
  .unref()

// What takes long to load comes after it: the program is told to end at any time.
const { createLogger } = await import('../../../src/log.js')
const { resolveOptions } = await import('../../../src/options/resolve.js')
const { realSystems } = await import('../../../src/stream/connect.js')
const { startQuery } = await import('../../../src/stream/start.js')

const { options: given, broker, proxy, lookEveryMs } = JSON.parse(process.argv[2] ?? '') as WorkerStart

/** The broker names its own address; what goes there goes through the proxy. */
const socketFactory: ISocketFactory = ({ host, port, onConnect }) =>
  connect({ host, port: port === broker ? proxy : port }, onConnect)

const options = resolveOptions({ ...given, kafka: { ...given.kafka, socketFactory } })
const logger = createLogger('info')
try {
  const { signal } = stopping
  const query = await startQuery({ options, systems: realSystems(options, logger), logger, lookEveryMs, signal })
  query.on('progress', ({ topic, version, offsets }) => tell('committed', { topic, version, offsets }))
  query.on('tableFailed', ({ topic, error }) => tell('failed', { topic, code: error.code, message: error.message }))
  if (signal.aborted) void query.stop()
  else signal.addEventListener('abort', () => void query.stop())
  for (const [topic, { error }] of Object.entries(query.status.tables)) if (error) tell('failed', { topic, ...error })
  tell('started')
  await query.awaitTermination()
} catch (error) {
  if (!stopping.signal.aborted) throw error
}
