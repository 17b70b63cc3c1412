/** Captured topics on a real broker, of whatever version: all codecs, transactions, control records, compaction. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'
import { CompressionTypes } from 'kafkajs'
import { streamToDelta } from '../../../src/index.js'
import { registerCodecs } from '../../../src/kafka/codecs.js'
import { readRows } from '../../helpers/read.js'
import { closeAll, needs, serve } from './captured-sets.js'
import { NO_ORACLE, Oracle, oraclePython } from './oracle.js'
import { capturedMessages, NO_KAFKA, RealKafka } from './real-kafka.js'

const QUERY_NAME = 'real'

const TOPICS = [
  ['flat', 'postgres.public.users', CompressionTypes.None],
  ['flat', 'flat.public.all_types', CompressionTypes.GZIP],
  ['hard', 'hard.public.pkt', CompressionTypes.Snappy],
  ['hard', 'hard.public.arr', CompressionTypes.LZ4],
  ['hard-env', 'henv.public.openx', CompressionTypes.ZSTD],
  ['mariadb-envelope', 'myenv.shop.users', CompressionTypes.None],
] as const

/** What the tests of one broker share. */
export interface OnBroker {
  /** Registers a test that is left out, with the reason in its title, where the tools are missing. */
  run: (title: string, implementation: (t: ExecutionContext) => Promise<void>) => void
  kafka: () => RealKafka
  /** A folder that is removed at the end. */
  folder: string
}

/**
 * Registers the tests of a broker, which is started before and ended after all tests of the file.
 * @param jars the folder of the broker's jars, or null
 */
export function testsOnBroker(jars: string | null): OnBroker {
  const folder = mkdtempSync(join(tmpdir(), 'kafka2delta-real-'))
  const python = oraclePython()
  const reason = jars ? (python ? '' : ` (${NO_ORACLE})`) : ` (${NO_KAFKA})`
  const run: OnBroker['run'] = (title, implementation) =>
    (jars && python ? test.serial : test.serial.skip)(`${title}${reason}`, implementation)

  let kafka: RealKafka
  let oracle: Oracle
  test.before(async (t) => {
    if (!jars || !python) return
    // For the producer here; the stream's own client does it by itself.
    registerCodecs()
    t.timeout(120_000)
    kafka = await RealKafka.start(jars, join(folder, 'kafka'))
    oracle = new Oracle(python)
  })

  test.after.always(async () => {
    await oracle?.close()
    await kafka?.stop()
    await closeAll()
    rmSync(folder, { recursive: true, force: true })
  })

  /** Applies what is in a topic to a table. Returns the number of messages. */
  const replay = async (set: string, topic: string, path: string): Promise<number> => {
    const { registry } = await serve(set)
    const query = await streamToDelta({
      queryName: QUERY_NAME,
      kafka: { brokers: kafka.brokers },
      schemaRegistry: { url: registry.url },
      tables: { [topic]: { path, ...needs(topic).table } },
      trigger: { availableNow: true },
    })
    let read = 0
    query.on('progress', ({ numInputRows }) => {
      read += numInputRows
    })
    await query.awaitTermination()
    return read
  }

  const replayAndCheck = async (t: ExecutionContext, set: string, topic: string): Promise<void> => {
    const table = join(folder, 'tables', topic)
    await replay(set, topic, table)
    const { dir } = await serve(set)
    const job = { set: dir, topic, table, query_name: QUERY_NAME, source_rows: true, ...needs(topic).job }
    t.deepEqual(await oracle.differences(job), [])
  }

  for (const [set, topic, compression] of TOPICS) {
    run(`${set}: ${topic}, codec ${compression}`, async (t) => {
      t.timeout(60_000)
      await kafka.produceCaptured((await serve(set)).dir, topic, compression)
      await replayAndCheck(t, set, topic)
    })
  }

  run('transactions: aborted messages stay out, and control records do not keep a query waiting', async (t) => {
    t.timeout(60_000)
    const [set, topic] = ['flat', 'inc.public.inc'] as const
    const { dir } = await serve(set)
    const messages = capturedMessages(dir, topic)
    await kafka.createTopic(topic, 1)
    const producer = kafka.client.producer({ transactionalId: 'test', idempotent: true, maxInFlightRequests: 1 })
    await producer.connect()
    for (let i = 0; i < messages.length; i += 4) {
      const aborted = await producer.transaction()
      await aborted.send({ topic, messages: messages.slice(0, 3) })
      await aborted.abort()
      const committed = await producer.transaction()
      await committed.send({ topic, messages: messages.slice(i, i + 4) })
      await committed.commit()
    }
    await producer.disconnect()
    await replayAndCheck(t, set, topic)
  })

  run('a compacted topic: batches that are empty or have gaps keep nothing waiting', async (t) => {
    t.timeout(120_000)
    const [set, topic] = ['flat', 'postgres.public.users'] as const
    // By the captured timestamps, no segment would ever be closed.
    const closing = { 'segment.ms': '100', 'message.timestamp.type': 'LogAppendTime' }
    const compacted = { 'cleanup.policy': 'compact', 'min.cleanable.dirty.ratio': '0.001', ...closing }
    await kafka.client.admin().deleteTopics({ topics: [topic] })
    await sleep(1000)
    const { dir } = await serve(set)
    const messages = capturedMessages(dir, topic)
    await kafka.createTopic(topic, 1, { ...compacted, 'delete.retention.ms': '0', 'max.compaction.lag.ms': '100' })
    // A producer with an id: compaction leaves its last batch as an empty one.
    for (let round = 0; round < 3; round++) {
      const producer = kafka.client.producer({ idempotent: true, maxInFlightRequests: 1 })
      await producer.connect()
      for (const message of messages) {
        await producer.send({ topic, messages: [{ ...message, partition: 0 }] })
      }
      await producer.disconnect()
      await sleep(300)
    }
    const admin = kafka.client.admin()
    await admin.connect()
    const [{ high = '0' } = {}] = await admin.fetchTopicOffsets(topic)
    t.is(Number(high), messages.length * 3)
    const before = join(folder, 'tables', 'before')
    await replay(set, topic, before)
    // Columns that only messages had which were compacted away are in the table before alone.
    const columns = ['id', 'name', 'email', 'created_at', 'phone_number', '__log_sequence_number']
    // Segments are closed by a later message; these are the topic's last ones again, so that the rows stay.
    let read = messages.length * 3
    for (let tries = 0; tries < 60 && read > messages.length * 2; tries++) {
      const producer = kafka.client.producer({ idempotent: true, maxInFlightRequests: 1 })
      await producer.connect()
      await producer.send({ topic, messages: messages.slice(-1).map((message) => ({ ...message, partition: 0 })) })
      await producer.disconnect()
      await sleep(500)
      read = await replay(set, topic, join(folder, 'tables', `compacted-${tries}`))
      const rows = async (path: string) =>
        (await readRows(path, { columns, orderBy: ['id'] })).map((row) => Object.values(row).map(String))
      t.deepEqual(await rows(join(folder, 'tables', `compacted-${tries}`)), await rows(before))
    }
    t.true(read <= messages.length * 2, `compaction took nothing: ${read} of ${high}`)
    t.log(`${read} of ${high} messages are left`)
    await admin.disconnect()
  })

  return { run, kafka: () => kafka, folder }
}
