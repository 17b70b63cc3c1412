/** The state of a running worker, by its `/status`. */

import { KafkaToDeltaError } from '../errors.js'
import type { StreamingQueryStatus } from '../stream/index.js'
import type { StatusReport, TableReport } from './report.js'

const ANSWER_MS = 10_000

/** What `/status` holds. Before the query has started there is only the state. */
interface WorkerStatus extends Partial<StreamingQueryStatus> {
  state: string
  name?: string
  error?: { code: string; message: string } | null
}

/**
 * @param address `http://host:port`, or `host:port`
 * @throws CONFIG_INVALID for what is no address; WORKER_UNREACHABLE where nothing of ours answers there
 */
export async function statusOfWorker(address: string): Promise<StatusReport> {
  const url = statusUrl(address)
  let status: WorkerStatus
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(ANSWER_MS) })
    status = (await response.json()) as WorkerStatus
    if (!response.ok || typeof status?.state !== 'string')
      throw new Error(`the answer is not a worker's (HTTP ${response.status})`)
  } catch (error) {
    const { message, cause } = error as Error
    const why = cause instanceof Error ? cause.message : message
    throw new KafkaToDeltaError('WORKER_UNREACHABLE', `no worker answers at ${url}: ${why}`, { cause: error })
  }
  const { state, name = '', error = null, tables = {}, memory = null } = status
  return {
    query: name,
    state,
    memory,
    tables: Object.entries(tables).map(([topic, table]) => reportOf(topic, table)),
    problems: error && !isOfTable(error, tables) ? [error] : [],
  }
}

/** What ended a query may be what stopped one of its tables, and is told there. */
const isOfTable = (error: { message: string }, tables: NonNullable<WorkerStatus['tables']>): boolean =>
  Object.values(tables).some((table) => table.error?.message === error.message)

function statusUrl(address: string): string {
  const given = /^https?:\/\//.test(address)
    ? address
    : `http://${address.startsWith(':') ? '127.0.0.1' : ''}${address}`
  try {
    return new URL('/status', given).href
  } catch {
    throw new KafkaToDeltaError(
      'CONFIG_INVALID',
      `--url: expected an address such as "http://worker:8080", got ${address}`,
    )
  }
}

function reportOf(topic: string, table: StreamingQueryStatus['tables'][string]): TableReport {
  const { waitingFor, error, lastCommit, catalog = null } = table
  return {
    topic,
    table: table.table,
    path: null,
    state: table.state,
    version: lastCommit?.version ?? null,
    lag: table.lag,
    partitions: [],
    lastChange: null,
    lastCommit: lastCommit && { time: lastCommit.timestamp, by: null },
    rows: null,
    files: null,
    bytes: null,
    needsResync: table.needsResync,
    otherQueries: [],
    catalog: catalog && {
      ...catalog,
      error: catalog.error && { code: catalog.error.code, message: catalog.error.message },
    },
    trouble: error ?? (waitingFor && { code: waitingFor.code, message: waitingFor.message }),
  }
}
