/** A program that uses the addon ends by itself, and a worker thread can load it. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { EmbeddedBroker } from '../../src/demo/broker/index.js'
import { EmbeddedRegistry } from '../../src/demo/registry.js'
import { startChild } from './support/children.js'
import { GeneratedTopic, randomNumbers, testSeed } from './support/generated-topic.js'

/** Longer than a start takes, shorter than a process that hangs. */
const TIMEOUT_MS = 60_000

test.beforeEach((t) => {
  t.timeout(TIMEOUT_MS * 2)
  t.context = mkdtempSync(join(tmpdir(), 'kafka2delta-exit-'))
})
test.afterEach.always((t) => rmSync(t.context as string, { recursive: true, force: true }))

test.serial('a program that loads the addon and opens a table ends by itself', async (t) => {
  const child = startChild('addon-child.mjs', ['main', join(t.context as string, 'table')])
  const { code } = await child.exit
  t.is(code, 0, child.output())
  t.regex(child.output(), /main: exists false/)
})

test.serial('worker threads can load the addon, one after the other and together', async (t) => {
  const child = startChild('addon-child.mjs', ['workers', join(t.context as string, 'table')])
  const { code } = await child.exit
  t.is(code, 0, child.output())
  t.is(child.output().match(/worker: exists false/g)?.length, 4, child.output())
})

test.serial('a stream that has applied all that was there ends, and the program with it', async (t) => {
  const folder = t.context as string
  const broker = await EmbeddedBroker.start()
  const registry = await EmbeddedRegistry.start()
  t.teardown(async () => {
    await broker.close()
    await registry.close()
  })
  const seed = testSeed()
  t.log(`seed ${seed}`)
  const topic = 'gen.public.rows'
  const random = randomNumbers(seed)
  const generated = new GeneratedTopic({
    dir: join(folder, 'set'),
    topic,
    broker,
    registry,
    random,
    partitions: 1,
    keys: 50,
  })
  generated.append(200)
  const options = {
    queryName: 'exit',
    kafka: { brokers: broker.brokers },
    schemaRegistry: { url: registry.url },
    tables: { [topic]: { path: join(folder, 'table') } },
  }
  const finished = startChild('stream-child.ts', [JSON.stringify({ ...options, trigger: { availableNow: true } })])
  t.is((await finished.exit).code, 0, finished.output())
  t.regex(finished.output(), /committed/)

  const running = startChild('stream-child.ts', [JSON.stringify(options)])
  await running.printed('started')
  running.process.kill('SIGTERM')
  t.is((await running.exit).code, 0, running.output())
  t.regex(running.output(), /ended/)
})
