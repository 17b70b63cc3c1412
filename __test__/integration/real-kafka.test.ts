/** Captured topics on a real broker: all codecs, transactions, control records. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { CompressionTypes } from 'kafkajs'
import { streamToDelta } from '../../src/index.js'
import { registerCodecs } from '../../src/kafka/codecs.js'
import { closeAll, needs, serve } from './support/captured-sets.js'
import { NO_ORACLE, Oracle, oraclePython } from './support/oracle.js'
import { capturedMessages, kafkaJars, NO_KAFKA, RealKafka } from './support/real-kafka.js'

const QUERY_NAME = 'real'
const folder = mkdtempSync(join(tmpdir(), 'kafka2delta-real-'))
const jars = kafkaJars()
const python = oraclePython()
const run = jars && python ? test.serial : test.serial.skip
const reason = jars ? (python ? '' : ` (${NO_ORACLE})`) : ` (${NO_KAFKA})`

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

async function replayAndCheck(t: ExecutionContext, set: string, topic: string): Promise<void> {
  const { dir, registry } = await serve(set)
  const path = join(folder, 'tables', topic)
  const query = await streamToDelta({
    queryName: QUERY_NAME,
    kafka: { brokers: kafka.brokers },
    schemaRegistry: { url: registry.url },
    tables: { [topic]: { path, ...needs(topic).table } },
    trigger: { availableNow: true },
  })
  await query.awaitTermination()
  const job = { set: dir, topic, table: path, query_name: QUERY_NAME, source_rows: true, ...needs(topic).job }
  t.deepEqual(await oracle.differences(job), [])
}

const TOPICS = [
  ['flat', 'postgres.public.users', CompressionTypes.None],
  ['flat', 'flat.public.all_types', CompressionTypes.GZIP],
  ['hard', 'hard.public.pkt', CompressionTypes.Snappy],
  ['hard', 'hard.public.arr', CompressionTypes.LZ4],
  ['hard-env', 'henv.public.openx', CompressionTypes.ZSTD],
  ['mariadb-envelope', 'myenv.shop.users', CompressionTypes.None],
] as const

for (const [set, topic, compression] of TOPICS) {
  run(`${set}: ${topic}, codec ${compression}${reason}`, async (t) => {
    t.timeout(60_000)
    await kafka.produceCaptured((await serve(set)).dir, topic, compression)
    await replayAndCheck(t, set, topic)
  })
}

run(`transactions: aborted messages stay out, and control records do not keep a query waiting${reason}`, async (t) => {
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
