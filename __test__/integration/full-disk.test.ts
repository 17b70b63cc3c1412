/** A disk that is full is an outage: it is told, waited for, and over when there is room. */

import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { EmbeddedBroker } from '../../src/demo/broker/index.js'
import { startChild } from './support/children.js'
import { SlowServer } from './support/slow-server.js'

const TOPIC = 'rows'
/** Confluent's format: the schema 7, `{id}`. */
const record = (id: number) => Buffer.from([0, 0, 0, 0, 7, id * 2])
const SCHEMA = { type: 'record', name: 'r', fields: [{ name: 'id', type: 'int' }] }

/** A process with a file system of its own, which is in memory and small. */
const own = (folder: string) => ['-Urm', 'sh', '-c', `mount -t tmpfs -o size=400k tmpfs '${folder}' && exec "$@"`, 'sh']
const probe = mkdtempSync(join(tmpdir(), 'kafka2delta-disk-'))
const isPossible = process.platform === 'linux' && spawnSync('unshare', [...own(probe), 'true']).status === 0
test.after.always(() => rmSync(probe, { recursive: true, force: true }))
const run = isPossible ? test : test.skip

run(
  `a disk that is full is waited for, and told${isPossible ? '' : ' (no file system can be mounted here)'}`,
  async (t) => {
    t.timeout(120_000)
    const broker = await EmbeddedBroker.start()
    broker.createTopic(TOPIC)
    const registry = await SlowServer.start(() => ({ json: { schema: JSON.stringify(SCHEMA) } }))
    t.teardown(async () => {
      await broker.close()
      registry.close()
    })
    const send = (id: number) => broker.append(TOPIC, 0, [{ key: record(id), value: record(id) }])
    send(1)
    const options = {
      queryName: 'full',
      kafka: { brokers: broker.brokers },
      schemaRegistry: { url: registry.url },
      tables: { [TOPIC]: { path: join(probe, 'rows') } },
      trigger: { processingTime: 10 },
    }
    const child = startChild('full-disk-child.ts', [probe, JSON.stringify(options)], ['unshare', ...own(probe)])
    t.teardown(() => void child.process.kill('SIGKILL'))
    await child.printed('full')
    send(2)
    await child.printed('told')
    t.regex(child.output(), /"waitingFor":\{"code":"STORAGE"/)
    t.regex(child.output(), /"error":null/)
    child.process.kill('SIGUSR2')
    t.like(await child.exit, { code: 0, signal: null }, child.output())
    t.regex(child.output(), /rows \[1,2\]/)
  },
)
