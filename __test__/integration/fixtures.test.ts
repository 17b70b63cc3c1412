/**
 * Every captured topic through the whole path, from a broker to a Delta table, checked by the oracle: other readers,
 * another Avro decoder, the rules of replay written a second time.
 */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { KafkaToDeltaError } from '../../src/errors.js'
import { streamToDelta } from '../../src/index.js'
import type { StreamOptions, TableOptions } from '../../src/options/types.js'
import { closeAll, needs, SETS, serve, tableTopics } from './support/captured-sets.js'
import { NO_ORACLE, Oracle, type OracleJob, oraclePython } from './support/oracle.js'

const QUERY_NAME = 'fixtures'
const folder = mkdtempSync(join(tmpdir(), 'kafka2delta-fixtures-'))
const python = oraclePython()
const oracle = python ? new Oracle(python) : null
const checked = oracle ? test.serial : test.serial.skip

test.after.always(async () => {
  await oracle?.close()
  await closeAll()
  rmSync(folder, { recursive: true, force: true })
})

let tables = 0

interface Replay {
  set: string
  topic: string
  table?: Partial<TableOptions>
  stream?: Partial<StreamOptions>
  /** Where an earlier replay has written; default: a new table. */
  path?: string
}

/** Replays a topic into a table and returns its path. */
async function replay({ set, topic, table, stream, path = join(folder, String(tables++)) }: Replay): Promise<string> {
  const { broker, registry } = await serve(set)
  const query = await streamToDelta({
    queryName: QUERY_NAME,
    kafka: { brokers: broker.brokers },
    schemaRegistry: { url: registry.url },
    tables: { [topic]: { path, ...needs(topic).table, ...table } },
    trigger: { availableNow: true },
    ...stream,
  })
  await query.awaitTermination()
  return path
}

async function check(t: ExecutionContext, set: string, topic: string, table: string, job: Partial<OracleJob> = {}) {
  const { dir } = await serve(set)
  const all = { set: dir, topic, table, query_name: QUERY_NAME, source_rows: true, ...needs(topic).job, ...job }
  t.deepEqual(await (oracle as Oracle).differences(all), [])
}

const reason = oracle ? '' : ` (${NO_ORACLE})`

for (const set of SETS) {
  // The sets that hold every type and every trap, in both ways of writing.
  const modes = /^(flat|hard)/.test(set) ? (['merge-on-read', 'copy-on-write'] as const) : (['merge-on-read'] as const)
  for (const mode of modes) {
    for (const topic of tableTopics(set)) {
      checked(`${set}: ${topic}, ${mode}${reason}`, async (t) => {
        await check(t, set, topic, await replay({ set, topic, table: { mergeMode: mode } }))
      })
    }
  }
}

for (const set of ['flat', 'hard', 'hard-seq', 'hard-env']) {
  for (const topic of tableTopics(set)) {
    // Which of several partitions comes first is chance here: see partition-order.test.ts.
    if (set === 'hard-env' && topic.endsWith('.pkt')) continue
    checked(`${set}: ${topic}, a commit for every message${reason}`, async (t) => {
      const stream = { limits: { maxBatchMessages: 1 } }
      await check(t, set, topic, await replay({ set, topic, stream }))
    })
  }
}

/** Deleted rows stay, and each row tells of its last change. */
const FLAG = 'is_deleted'
const MESSAGE_COLUMNS = {
  __kafka_topic: 'kafka.topic',
  __kafka_partition: 'kafka.partition',
  __kafka_offset: 'kafka.offset',
  __kafka_timestamp: 'kafka.timestamp',
  __operation: 'operation',
}

for (const set of ['flat', 'envelope', 'hard', 'hard-seq', 'hard-env', 'mariadb-envelope']) {
  const ofEvents = /env/.test(set) ? { __op: 'op', __source_ts_ms: 'source.ts_ms' } : {}
  const metadata = { ...MESSAGE_COLUMNS, ...ofEvents }
  const table = { deletes: 'soft', softDeleteColName: FLAG, metadataColumns: Object.values(metadata) } as const
  const job = { soft_delete: FLAG, metadata, source_rows: false }
  for (const topic of tableTopics(set)) {
    checked(`${set}: ${topic}, soft deletes and metadata columns${reason}`, async (t) => {
      await check(t, set, topic, await replay({ set, topic, table }), job)
    })
    // Which of several partitions comes first is chance here: see partition-order.test.ts.
    if (set === 'hard-env' && topic.endsWith('.pkt')) continue
    checked(`${set}: ${topic}, soft deletes, a commit for every message${reason}`, async (t) => {
      const stream = { limits: { maxBatchMessages: 1 } }
      await check(t, set, topic, await replay({ set, topic, table, stream }), job)
    })
  }
}

checked(`a key that the connector does not know moves${reason}`, async (t) => {
  const [set, topic] = ['envelope', 'env.public.nopk']
  for (const soft of [false, true]) {
    const table = { primaryKey: ['x', 'y'], ...(soft ? { deletes: 'soft' as const } : {}) }
    const job = { primary_key: ['x', 'y'], ...(soft ? { soft_delete: '__deleted' } : {}) }
    for (const maxBatchMessages of [1, 1000]) {
      const path = await replay({ set, topic, table, stream: { limits: { maxBatchMessages } } })
      await check(t, set, topic, path, job)
    }
  }
})

checked(`a second start finds nothing to do${reason}`, async (t) => {
  const [set, topic] = ['flat', 'postgres.public.users']
  const path = await replay({ set, topic })
  await replay({ set, topic, path })
  await check(t, set, topic, path)
})

checked(`rows move between partitions of the table${reason}`, async (t) => {
  const [set, topic] = ['flat', 'postgres.public.orders']
  const additionalCols = ['YEAR(order_date) AS year', 'MONTH(order_date) AS month']
  for (const mergeMode of ['merge-on-read', 'copy-on-write'] as const) {
    for (const maxBatchMessages of [1, 1000]) {
      const table = { mergeMode, additionalCols, partitionCols: ['year', 'month'] }
      const path = await replay({ set, topic, table, stream: { limits: { maxBatchMessages } } })
      await check(t, set, topic, path, { additional: additionalCols })
    }
  }
})

for (const set of ['flat', 'flat-adaptive', 'envelope']) {
  const topic = tableTopics(set).find((name) => name.endsWith('.specials')) as string
  checked(`${set}: values out of range are clamped${reason}`, async (t) => {
    const path = await replay({ set, topic, table: needs(topic, 'clamp').table })
    await check(t, set, topic, path, needs(topic, 'clamp').job)
  })
  test.serial(`${set}: values out of range are bad records by default`, async (t) => {
    const error = await t.throwsAsync(replay({ set, topic, table: { columns: {} } }), { instanceOf: KafkaToDeltaError })
    t.is(error?.code, 'BAD_RECORD')
    t.is(error?.position.offset, '0')
  })
}
