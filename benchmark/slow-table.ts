/**
 * One slow table among many: tables of one process in an S3 store (versitygw, on local disk), all of them under a steady load.
 * A proxy before the store answers one table late, or refuses it, while the others' latency is measured.
 *
 *   npm run bench:slow-table -- [--tables 50] [--rate 500] [--seconds 30] [--delay 2000] [--json]
 */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { createServer, request as httpRequest, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { freePort, untilOpen } from '../__test__/helpers/free-port.js'
import { versitygw } from '../scripts/stack/install.mjs'
import { type Commit, MIB, quantile, startWorker, type Told, Topics } from './many-topics.js'
import { steadily } from './support/steadily.js'
import type { Worker } from './support/worker.js'

const HOST = '127.0.0.1'
const BUCKET = 'lake'
const KEYS = { access: 'bench', secret: 'bench-secret' }
/** The table that is answered late. */
const SLOW = 't0'
const SLOW_TOPIC = `shop.public.${SLOW}`

/** What happens to the requests of the slow table. */
type Fault = { delayMs: number; status?: never } | { status: 403 | 503 } | null

/** S3 behind a proxy that knows tables by the first folder of their path. */
class Store {
  fault: Fault = null
  /** Requests of the slow table, and of the others. */
  readonly requests = { slow: 0, others: 0 }

  private constructor(
    private readonly port: number,
    private readonly end: () => Promise<void>,
  ) {}

  static async start(folder: string): Promise<Store> {
    mkdirSync(join(folder, BUCKET), { recursive: true })
    const inner = await freePort()
    const args = [
      '--access',
      KEYS.access,
      '--secret',
      KEYS.secret,
      '--region',
      'us-east-1',
      '--port',
      `${HOST}:${inner}`,
    ]
    const gateway = spawn(await versitygw(), [...args, '--quiet', 'posix', folder], { stdio: 'ignore' })
    const server = createServer((request, response) => void store.#serve(request, response, inner))
    server.listen(0, HOST)
    await once(server, 'listening')
    const store: Store = new Store((server.address() as AddressInfo).port, async () => {
      server.closeAllConnections()
      server.close()
      const ended = once(gateway, 'exit')
      gateway.kill()
      await ended
    })
    await untilOpen(inner)
    return store
  }

  get options(): Record<string, string> {
    return {
      endpoint: `http://${HOST}:${this.port}`,
      access_key_id: KEYS.access,
      secret_access_key: KEYS.secret,
      region: 'us-east-1',
      allow_http: 'true',
    }
  }

  async #serve(request: IncomingMessage, response: ServerResponse, port: number): Promise<void> {
    const { pathname, searchParams } = new URL(request.url ?? '', 'http://store')
    const key = `${pathname.slice(BUCKET.length + 2)}${searchParams.get('prefix') ?? ''}`
    const isSlow = key.startsWith(`${SLOW}/`)
    this.requests[isSlow ? 'slow' : 'others']++
    const { fault } = this
    if (isSlow && fault?.status) {
      request.resume()
      response.writeHead(fault.status, { 'content-type': 'application/xml' }).end('<Error><Code>Refused</Code></Error>')
      return
    }
    if (isSlow && fault && 'delayMs' in fault) await sleep(fault.delayMs)
    const { method, url, headers } = request
    const inner = httpRequest({ host: HOST, port, method, path: url, headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 500, answer.headers)
      answer.pipe(response)
    })
    inner.on('error', () => response.destroy())
    request.pipe(inner)
  }

  close(): Promise<void> {
    return this.end()
  }
}

interface Options {
  tables: number
  rate: number
  seconds: number
  delay: number
}

/** Sends changes to all tables in turn for a while; what the others' commits waited, and what became of the slow one's. */
async function phase(name: string, { rate, seconds }: Options, topics: Topics, worker: Worker<Told>) {
  let resident = 0
  let retrying = false
  const done: Commit[] = []
  for await (const { count } of steadily(rate, seconds, 50)) {
    const told = await worker.ask()
    done.push(...told.done)
    resident = Math.max(resident, told.resident)
    retrying ||= told.retrying.includes(SLOW_TOPIC)
    topics.sendInTurn(count)
  }
  const isSlow = ([topic]: Commit) => topic === SLOW_TOPIC
  const others = done.filter((commit) => !isSlow(commit))
  const waits = topics.waits(others)
  return {
    phase: name,
    others: {
      commits: others.length,
      changes: others.reduce((sum, [, , count]) => sum + count, 0),
      p50: quantile(waits, 0.5),
      p99: quantile(waits, 0.99),
      max: waits.at(-1) ?? Number.NaN,
    },
    slow: { commits: done.length - others.length, retrying },
    resident: resident / MIB,
  }
}

async function measure(options: Options, folder: string) {
  const store = await Store.start(folder)
  const topics = await Topics.start(options.tables, 10)
  try {
    const worker = startWorker({
      topics: options.tables,
      options: {
        queryName: 'slow',
        kafka: { brokers: topics.broker.brokers },
        schemaRegistry: { url: topics.registry.url },
        storageOptions: store.options,
        tables: { '/shop\\.public\\.(.*)/': { path: `s3://${BUCKET}/$1` } },
      },
    })
    await worker.until(({ rows }) => rows === topics.total)
    const phases: Awaited<ReturnType<typeof phase>>[] = []
    const run = async (name: string, fault: Fault) => {
      store.fault = fault
      phases.push(await phase(name, options, topics, worker))
      console.error(JSON.stringify(phases.at(-1)))
    }
    await run('all well', null)
    await run(`one answers after ${options.delay} ms a request`, { delayMs: options.delay })
    await run('one is refused: 403', { status: 403 })
    await run('one is refused: 503', { status: 503 })
    await run('all well again', null)
    const ended = Date.now()
    const { total } = topics
    await worker.until(({ rows }) => rows === total)
    const caughtUp = (Date.now() - ended) / 1000
    await worker.stop()
    return { phases, caughtUp, requests: store.requests }
  } finally {
    await topics.close()
    await store.close()
  }
}

const { values } = parseArgs({
  options: {
    tables: { type: 'string', default: '50' },
    rate: { type: 'string', default: '500' },
    seconds: { type: 'string', default: '30' },
    delay: { type: 'string', default: '2000' },
    json: { type: 'boolean', default: false },
  },
})

const options: Options = {
  tables: Number(values.tables),
  rate: Number(values.rate),
  seconds: Number(values.seconds),
  delay: Number(values.delay),
}
const folder = mkdtempSync(join(tmpdir(), 'kafka2delta-slow-'))
try {
  const measured = await measure(options, folder)
  if (values.json) console.log(JSON.stringify(measured, null, 2))
  else {
    const number = (value: number) => value.toFixed(0)
    console.log(`${options.tables} tables in an S3 store, ${options.rate} changes a second over all of them`)
    for (const { phase, others, slow, resident } of measured.phases) {
      console.log(
        `  ${phase}: the others' commits ${others.commits}, waited ${number(others.p50)} ms (p50), ` +
          `${number(others.p99)} ms (p99), ${number(others.max)} ms (longest); its own ${slow.commits}` +
          `${slow.retrying ? ', waits for its store' : ''}; ${number(resident)} MiB`,
      )
    }
    console.log(`  all had everything ${measured.caughtUp.toFixed(1)} s after the end`)
  }
} finally {
  rmSync(folder, { recursive: true, force: true })
}
