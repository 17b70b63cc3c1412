import { EventEmitter } from 'node:events'
import test from 'ava'
import { KafkaToDeltaError } from '../../src/errors.js'
import { HttpServer, parseHttpAddress } from '../../src/http/server.js'
import type { StreamingQuery } from '../../src/index.js'

test('addresses', (t) => {
  t.deepEqual(parseHttpAddress('8080'), { port: 8080 })
  t.deepEqual(parseHttpAddress(':8080'), { port: 8080 })
  t.deepEqual(parseHttpAddress('127.0.0.1:0'), { host: '127.0.0.1', port: 0 })
  t.deepEqual(parseHttpAddress('[::1]:80'), { host: '::1', port: 80 })
  for (const wrong of ['', 'x', ':', '1:2:3', '127.0.0.1', ':70000', '[::1]x:80']) t.is(parseHttpAddress(wrong), null)
})

class FakeQuery extends EventEmitter {
  name = 'shop'
  isActive = true
  exception: KafkaToDeltaError | null = null
  lastProgress = null
  table = {
    table: 'lake.orders',
    state: 'waiting',
    lag: 7,
    numBadRecords: 0,
    needsResync: true,
    waitingFor: null as unknown,
    catalog: null as unknown,
    error: null as unknown,
  }
  get status() {
    const memory = { limit: 8192, queued: 4096, decoding: 300, merging: 200, indexes: 100, compaction: 50 }
    return { message: '', isDataAvailable: false, isTriggerActive: false, memory, tables: { orders: this.table } }
  }
}

const progress = {
  topic: 'orders',
  table: 'lake.orders',
  timestamp: '2026-01-01T00:00:00.000Z',
  version: 3,
  numInputRows: 10,
  numInputBytes: 1000,
  numBadRecords: 0,
  numRowsInserted: 4,
  numRowsUpdated: 5,
  numRowsDeleted: 1,
  numDroppedStale: 0,
  numMissingValues: 0,
  bytesWritten: 5000,
  durationMs: { total: 30 },
}

test('the life of a worker', async (t) => {
  const http = await HttpServer.listen({ host: '127.0.0.1', port: 0 })
  const get = async (path: string, method = 'GET') => {
    const response = await fetch(`http://127.0.0.1:${http.port}${path}`, { method })
    return { status: response.status, body: await response.text() }
  }
  t.deepEqual(await get('/healthz'), { status: 200, body: 'starting\n' })
  t.is((await get('/readyz')).status, 503)
  t.is((await get('/metrics')).status, 200)

  const query = new FakeQuery()
  http.watch(query as unknown as StreamingQuery)
  t.deepEqual(await get('/healthz?probe=1'), { status: 200, body: 'ok\n' })
  t.deepEqual(await get('/readyz'), { status: 200, body: 'ok\n' })
  t.like(JSON.parse((await get('/status')).body), {
    state: 'running',
    name: 'shop',
    memory: { limit: 8192, queued: 4096, decoding: 300, merging: 200, indexes: 100, compaction: 50 },
    tables: { orders: { lag: 7 } },
  })

  query.emit('progress', progress)
  query.emit('progress', progress)
  query.emit('compaction', progress)
  query.emit('dataLoss', { topic: 'orders', lost: 12n })
  const { body } = await get('/metrics')
  const labels = 'topic="orders",table="lake.orders"'
  for (const line of [
    `kafka2delta_messages_total{${labels}} 20`,
    `kafka2delta_rows_total{${labels},operation="update"} 10`,
    'kafka2delta_queued_bytes 4096',
    'kafka2delta_decoding_bytes 300',
    'kafka2delta_merging_bytes 200',
    'kafka2delta_indexes_bytes 100',
    'kafka2delta_compaction_bytes 50',
    `kafka2delta_lag_messages{${labels}} 7`,
    `kafka2delta_table_ended{${labels}} 0`,
    `kafka2delta_table_needs_resync{${labels}} 1`,
    `kafka2delta_table_version{${labels}} 3`,
    `kafka2delta_compactions_total{${labels}} 1`,
    `kafka2delta_lost_offsets_total{${labels}} 12`,
    `kafka2delta_batch_duration_seconds_bucket{le="0.05",${labels}} 2`,
    `kafka2delta_last_commit_timestamp_seconds{${labels}} 1767225600`,
  ]) {
    t.true(body.split('\n').includes(line), `${line}\n${body}`)
  }
  t.true(body.includes('process_cpu_seconds_total'))

  const since = new Date(Date.now() - 600_000).toISOString()
  query.table.waitingFor = { since, message: 'the registry does not answer' }
  const told = `orders waits since ${since}: the registry does not answer\n`
  t.deepEqual(await get('/readyz'), { status: 503, body: told })
  t.deepEqual(await get('/healthz'), { status: 200, body: `ok\n${told}` })
  t.regex((await get('/metrics')).body, /kafka2delta_table_retrying_seconds\{[^}]*\} 60\d/)
  query.table.waitingFor = null

  // Its entry in a catalog holds up nothing.
  t.false((await get('/metrics')).body.includes('kafka2delta_catalog_failing{'))
  query.table.catalog = { name: 'lake.orders', state: 'registered', error: null }
  t.true((await get('/metrics')).body.includes(`kafka2delta_catalog_failing{${labels}} 0`))
  query.table.catalog = {
    name: 'lake.orders',
    state: 'failing',
    error: { code: 'CATALOG_DENIED', message: 'no', since },
  }
  t.is((await get('/readyz')).status, 200)
  const metrics = (await get('/metrics')).body
  t.true(metrics.includes(`kafka2delta_catalog_failing{${labels}} 1`))
  t.regex(metrics, /kafka2delta_catalog_failing_seconds\{[^}]*\} 60\d/)
  t.like(JSON.parse((await get('/status')).body).tables.orders.catalog, { state: 'failing' })

  // A table that failed: the others go on, but somebody has to look.
  query.exception = new KafkaToDeltaError('BAD_RECORD', 'no header byte')
  query.emit('tableFailed', { topic: 'orders', table: 'lake.orders', error: query.exception })
  query.table.error = { code: 'BAD_RECORD', message: 'no header byte' }
  t.deepEqual(await get('/readyz'), { status: 503, body: 'no header byte\n' })
  t.deepEqual(await get('/healthz'), { status: 200, body: 'ok\norders was stopped by BAD_RECORD: no header byte\n' })
  t.true((await get('/metrics')).body.includes(`kafka2delta_table_failures_total{${labels},code="BAD_RECORD"} 1`))

  query.isActive = false
  query.emit('terminated', { name: 'shop', exception: query.exception })
  t.is((await get('/healthz')).status, 503)
  t.is((await get('/nothing')).status, 404)
  t.is((await get('/healthz', 'POST')).status, 405)
  t.deepEqual(await get('/readyz', 'HEAD'), { status: 503, body: '' })

  await t.throwsAsync(HttpServer.listen({ host: '127.0.0.1', port: http.port }), { code: 'CONFIG_INVALID' })
  await http.close()
  await t.throwsAsync(get('/healthz'))
})
