/**
 * What each failure of a store does to a query that writes to it, by the addon itself: what the status, /healthz and the
 * metrics say, what waits, and that all is applied once when the store works again.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'
import { EmbeddedBroker } from '../../src/demo/broker/index.js'
import type { ErrorCode } from '../../src/errors.js'
import { HttpServer } from '../../src/http/server.js'
import { streamToDelta } from '../../src/index.js'
import { readRows } from '../helpers/read.js'
import { S3Server, type StoreFault, type StoreRequest } from './support/s3-server.js'
import { SlowServer } from './support/slow-server.js'

const TOPIC = 'rows'
/** Confluent's format: the schema 7, `{id}`. */
const record = (id: number) => Buffer.from([0, 0, 0, 0, 7, id * 2])
const SCHEMA = { type: 'record', name: 'r', fields: [{ name: 'id', type: 'int' }] }

/** The client tries again once; by itself it does so ten times, in up to three minutes. */
const FEW_TRIES = { max_retries: '1', 'backoff_config.init_backoff': '10ms' }

async function world(t: ExecutionContext, timeout = '20s') {
  const broker = await EmbeddedBroker.start()
  broker.createTopic(TOPIC)
  const registry = await SlowServer.start(() => ({ json: { schema: JSON.stringify(SCHEMA) } }))
  const store = await S3Server.start()
  const http = await HttpServer.listen({ host: '127.0.0.1', port: 0 })
  const storageOptions = store.storageOptions({ ...FEW_TRIES, timeout })
  const path = 's3://lake/rows'
  const start = async () => {
    const query = await streamToDelta({
      queryName: 'failing',
      kafka: { brokers: broker.brokers },
      schemaRegistry: { url: registry.url },
      tables: { [TOPIC]: { path, storageOptions } },
      trigger: { processingTime: 10 },
    })
    t.teardown(() => query.stop())
    http.watch(query)
    return query
  }
  t.teardown(async () => {
    await http.close()
    await broker.close()
    registry.close()
    store.close()
  })
  const send = (id: number) => broker.append(TOPIC, 0, [{ key: record(id), value: record(id) }])
  const ids = async () => (await readRows(path, { storageOptions, orderBy: ['id'] })).map(({ id }) => id)
  const get = async (page: string) => {
    const response = await fetch(`http://127.0.0.1:${http.port}${page}`)
    return `${response.status} ${await response.text()}`
  }
  return { store, start, send, ids, get }
}

const isWrite = ({ method }: StoreRequest) => method === 'PUT'

interface Expected {
  code: ErrorCode
  message: RegExp
  /** Default: writes. */
  fails?: (request: StoreRequest) => boolean
}

/** What a query waits for, however long it lasts. */
const WAITED_FOR: [name: string, fault: StoreFault, expected: Expected][] = [
  ['429', { status: 429, code: 'TooManyRequests' }, { code: 'STORAGE', message: /429 Too Many Requests/ }],
  ['500', { status: 500, code: 'InternalError' }, { code: 'STORAGE', message: /500 Internal Server Error/ }],
  ['503 SlowDown', { status: 503, code: 'SlowDown' }, { code: 'STORAGE', message: /503 Service Unavailable/ }],
  ['a connection that is reset', 'reset', { code: 'STORAGE', message: /does not answer/ }],
  ['no answer', 'silent', { code: 'STORAGE', message: /does not answer/ }],
  ['403', { status: 403, code: 'AccessDenied' }, { code: 'STORAGE_DENIED', message: /no permission for|refuses us/ }],
  [
    'credentials that have expired',
    { status: 400, code: 'ExpiredToken', message: 'The provided token has expired.' },
    { code: 'STORAGE', message: /ExpiredToken: The provided token has expired/, fails: () => true },
  ],
]

for (const [name, fault, { code, message, fails = isWrite }] of WAITED_FOR) {
  test.serial(`a store that answers with ${name} is waited for, and told`, async (t) => {
    t.timeout(120_000)
    const { store, start, send, ids, get } = await world(t, fault === 'silent' ? '3s' : undefined)
    send(1)
    const query = await start()
    await query.processAllAvailable()
    store.failing = (request) => (fails(request) ? fault : null)
    send(2)
    while (query.status.tables[TOPIC]?.waitingFor == null) {
      if (!query.isActive || query.status.tables[TOPIC]?.error) break
      await sleep(20)
    }
    t.like(query.status.tables[TOPIC], { error: null })
    t.is(query.status.tables[TOPIC]?.waitingFor?.code, code)
    t.regex(query.status.tables[TOPIC]?.waitingFor?.message ?? '', message)
    t.regex(await get('/healthz'), /^200 ok\nrows waits since /)
    t.regex(await get('/readyz'), /^503 rows waits since /)
    t.regex(await get('/metrics'), /kafka2delta_table_retrying\{[^}]*\} 1/)
    store.failing = () => null
    await query.processAllAvailable()
    t.is(await get('/healthz'), '200 ok\n')
    t.deepEqual(await ids(), [1, 2])
  })
}

test.serial('credentials that never were enough refuse the start', async (t) => {
  const { store, start } = await world(t)
  store.failing = () => ({ status: 403, code: 'InvalidAccessKeyId', message: 'There is no such key.' })
  await t.throwsAsync(start(), { code: 'STORAGE_DENIED', message: /refuses us|no permission/ })
})

test.serial('an answer that is lost is no failure: the rows are there once', async (t) => {
  t.timeout(60_000)
  const { store, start, send, ids } = await world(t)
  send(1)
  const query = await start()
  await query.processAllAvailable()
  let lost = 0
  store.lost = ({ method, key }) => method === 'PUT' && key.endsWith('.json') && lost++ < 2
  send(2)
  await query.processAllAvailable()
  t.true(lost > 0)
  t.deepEqual(await ids(), [1, 2])
})
