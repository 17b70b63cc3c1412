/** A stream that is killed at random moments and started again: nothing lost, nothing doubled. */

import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'
import { tableHistory } from '../../src/delta/table.js'
import { EmbeddedBroker } from '../../src/demo/broker/index.js'
import { EmbeddedRegistry } from '../../src/demo/registry.js'
import { startChild } from './support/children.js'
import { GeneratedTopic, randomNumbers, testSeed } from './support/generated-topic.js'
import { NO_ORACLE, Oracle, oraclePython } from './support/oracle.js'

const KILLS = 6
const QUERY_NAME = 'killed'
const python = oraclePython()
const run = python ? test.serial : test.serial.skip
const reason = python ? '' : ` (${NO_ORACLE})`

for (const mergeMode of ['merge-on-read', 'copy-on-write'] as const) {
  run(`kill -9 at ${KILLS} random moments, ${mergeMode}${reason}`, async (t) => {
    t.timeout(240_000)
    const seed = testSeed()
    t.log(`seed ${seed}`)
    const random = randomNumbers(seed)
    const folder = mkdtempSync(join(tmpdir(), 'kafka2delta-kill-'))
    const broker = await EmbeddedBroker.start()
    const registry = await EmbeddedRegistry.start()
    const topic = 'gen.public.rows'
    const generated = new GeneratedTopic({
      dir: join(folder, 'set'),
      topic,
      broker,
      registry,
      random,
      partitions: 2,
      keys: 300,
    })
    const path = join(folder, 'table')
    const options = {
      queryName: QUERY_NAME,
      kafka: { brokers: broker.brokers },
      schemaRegistry: { url: registry.url },
      tables: {
        [topic]: {
          path,
          mergeMode,
          // Compaction, checkpoints and saved indexes are killed, too.
          maintenance: { minFiles: 3 },
          indexDir: join(folder, 'index'),
          tableProperties: { 'delta.checkpointInterval': '10' },
        },
      },
      trigger: { processingTime: '20 ms' },
      limits: { maxBatchMessages: 200 },
    }
    // Changes keep coming, whether a stream is there or not.
    const producing = new AbortController()
    const producer = (async () => {
      while (!producing.signal.aborted) {
        generated.append(1 + Math.floor(random() * 60))
        await sleep(10 + random() * 30)
      }
    })()
    try {
      for (let kill = 0; kill < KILLS; kill++) {
        const child = startChild('stream-child.ts', [JSON.stringify(options)])
        await child.printed('committed')
        await sleep(random() * 400)
        child.process.kill('SIGKILL')
        const { signal } = await child.exit
        t.is(signal, 'SIGKILL', child.output())
      }
      producing.abort()
      await producer
      const last = startChild('stream-child.ts', [JSON.stringify({ ...options, trigger: { availableNow: true } })])
      t.is((await last.exit).code, 0, last.output())
      t.log(`${generated.count} messages`)
      const oracle = new Oracle(python as string)
      const job = { set: generated.dir, topic, table: path, query_name: QUERY_NAME }
      t.deepEqual(await oracle.differences(job), [])
      await oracle.close()
      const operations = (await tableHistory(path, { limit: 10_000 })).map(({ operation }) => operation)
      t.log(`${operations.length} commits, ${operations.filter((name) => name === 'OPTIMIZE').length} of compaction`)
      if (mergeMode === 'merge-on-read') t.true(operations.includes('OPTIMIZE'))
      t.true(readdirSync(join(path, '_delta_log')).some((name) => name.endsWith('.checkpoint.parquet')))
    } finally {
      producing.abort()
      await producer
      await broker.close()
      await registry.close()
      rmSync(folder, { recursive: true, force: true })
    }
  })
}
