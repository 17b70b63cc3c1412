/** Where topics start that have no row yet: the same at each start, whatever comes and whatever ends meanwhile. */

import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { NOTE_FOLDER, StartNote } from '../../src/delta/start-note.js'
import { DeltaTable } from '../../src/delta/table.js'
import { EmbeddedBroker } from '../../src/demo/broker/index.js'
import { EmbeddedRegistry } from '../../src/demo/registry.js'
import { streamToDelta } from '../../src/index.js'
import type { StreamOptions } from '../../src/options/types.js'
import { encode } from '../debezium/support.js'
import { readRows } from '../helpers/read.js'
import { startChild } from './support/children.js'

const KEY = { type: 'record', name: 'Key', fields: [{ name: 'id', type: 'int' }] }
const VALUE = { ...KEY, name: 'Value' }
const FUTURE = '2100-01-01'

/** A broker with topics, and a folder with a table of each. */
async function world(t: ExecutionContext, topics: readonly string[], more: Partial<StreamOptions> = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'kafka2delta-starts-'))
  const broker = await EmbeddedBroker.start()
  const registry = await EmbeddedRegistry.start()
  t.teardown(async () => {
    await broker.close()
    await registry.close()
    rmSync(folder, { recursive: true, force: true })
  })
  registry.setSchema(1, KEY as never)
  registry.setSchema(2, VALUE as never)
  for (const topic of topics) broker.createTopic(topic)
  const path = (topic: string) => join(folder, topic)
  const options: StreamOptions = {
    queryName: 'starts',
    kafka: { brokers: broker.brokers },
    schemaRegistry: { url: registry.url },
    startingOffsets: 'latest',
    trigger: { processingTime: 0 },
    tables: Object.fromEntries(topics.map((topic) => [topic, { path: path(topic) }])),
    ...more,
  }
  const append = (topic: string, id: number, isDelete = false) => {
    const value = isDelete ? null : encode(2, VALUE as never, { id })
    broker.append(topic, 0, [{ key: encode(1, KEY as never, { id }), value }])
  }
  /** Runs until what is there is applied; `during` it, messages may come. */
  const run = async (during: () => void = () => {}, over: Partial<StreamOptions> = {}) => {
    const query = await streamToDelta({ ...options, ...over })
    during()
    if ('availableNow' in (over.trigger ?? {})) await query.awaitTermination()
    else await query.processAllAvailable()
    await query.stop()
  }
  const ids = async (topic: string) => {
    if (!existsSync(join(path(topic), '_delta_log'))) return null
    const rows = await readRows(path(topic))
    return rows.map(({ id }) => Number(id)).sort((a, b) => a - b)
  }
  return { broker, options, path, append, run, ids }
}

for (const startingOffsets of ['latest', FUTURE]) {
  test(`${startingOffsets}: what comes between two runs is applied, though the first one had no row of it`, async (t) => {
    const { append, run, ids, path } = await world(t, ['a', 'b'], { startingOffsets })
    append('a', 0)
    append('b', 0)
    await run(() => append('a', 1))
    t.deepEqual(await ids('a'), [1])
    t.is(await ids('b'), null)
    await t.throwsAsync(readRows(path('b')), undefined, 'the folder is no table')
    append('b', 5)
    append('a', 2)
    await run(() => {
      append('a', 3)
      append('b', 6)
    })
    t.deepEqual(await ids('a'), [1, 2, 3])
    t.deepEqual(await ids('b'), [5, 6])
  })
}

test('with availableNow each run applies what came since the first one', async (t) => {
  const { append, run, ids } = await world(t, ['a'], { trigger: { availableNow: true } })
  const trigger = { availableNow: true } as const
  append('a', 0)
  await run(undefined, { trigger })
  t.is(await ids('a'), null)
  append('a', 1)
  await run(undefined, { trigger })
  append('a', 2)
  await run(undefined, { trigger })
  t.deepEqual(await ids('a'), [1, 2])
})

test('deletes alone make no table, and rows after them are applied by a later run', async (t) => {
  const { append, run, ids } = await world(t, ['a'])
  append('a', 0)
  await run(() => append('a', 0, true))
  append('a', 1)
  await run()
  t.deepEqual(await ids('a'), [1])
})

test('kill -9 before the first commit: what comes afterwards is applied', async (t) => {
  const { options, append, run, ids } = await world(t, ['a'])
  append('a', 0)
  const child = startChild('stream-child.ts', [JSON.stringify(options)])
  await child.printed('started')
  child.process.kill('SIGKILL')
  await child.exit
  append('a', 1)
  await run(() => append('a', 2))
  t.deepEqual(await ids('a'), [1, 2])
})

test('messages that were lost before the first row are told', async (t) => {
  const { broker, append, run, ids, path } = await world(t, ['a'])
  append('a', 0)
  await run()
  append('a', 1)
  append('a', 2)
  broker.setLogStart('a', 0, 2)
  await t.throwsAsync(run(), { code: 'DATA_LOSS', message: /offsets 1 to 1 \(1\) are gone/ })
  await run(undefined, { failOnDataLoss: false })
  t.deepEqual(await ids('a'), [2])
  const table = await DeltaTable.open({ path: path('a') })
  t.is((await table.offsets()).get('starts:a:0:lost'), 2n)
  await table.close()
})

test('the start is that of the query, and a configuration that asks for more gets it', async (t) => {
  const { append, run, ids } = await world(t, ['a'])
  append('a', 0)
  await run()
  append('a', 1)
  await run(undefined, { queryName: 'another' })
  t.is(await ids('a'), null)
  await run(undefined, { startingOffsets: 'earliest' })
  t.deepEqual(await ids('a'), [0, 1])
})

test('a partition that was added before the first row is read from its beginning', async (t) => {
  const { broker, append, run, ids } = await world(t, ['a'])
  append('a', 0)
  await run()
  broker.addPartitions('a', 2)
  broker.append('a', 1, [{ key: encode(1, KEY as never, { id: 7 }), value: encode(2, VALUE as never, { id: 7 }) }])
  await run()
  t.deepEqual(await ids('a'), [7])
})

test('topics of one folder keep their starts side by side', async (t) => {
  const { path } = await world(t, [])
  const noteOf = (topic: string) =>
    new StartNote({ uri: path('shared'), storageOptions: async () => ({}), queryName: 'starts', topic })
  const topics = ['a', 'b', 'c', 'd']
  const starts = (i: number) => new Map([[0, BigInt(i)]])
  await Promise.all(topics.map((topic, i) => noteOf(topic).keep(starts(i), new Map())))
  for (const [i, topic] of topics.entries()) t.deepEqual(await noteOf(topic).read(), starts(i))
})

test('of two workers the first one counts, and vacuum leaves the note alone', async (t) => {
  const { path, append, run, ids } = await world(t, ['a'])
  const of = { uri: path('a'), storageOptions: async () => ({}), queryName: 'starts', topic: 'a' }
  const none = new Map()
  t.deepEqual(await new StartNote(of).read(), none)
  t.false(existsSync(path('a')), 'reading writes nothing')
  const [one, other] = await Promise.all([
    new StartNote(of).keep(new Map([[0, 1n]]), none),
    new StartNote(of).keep(new Map([[0, 2n]]), none),
  ])
  t.deepEqual(one, other)
  const kept = await new StartNote(of).keep(new Map([[0, 0n]]), one as ReadonlyMap<number, bigint>)
  t.deepEqual(kept, new Map([[0, 0n]]))
  append('a', 3)
  await run()
  t.deepEqual(await ids('a'), [3])
  const table = await DeltaTable.open({ path: path('a'), tableProperties: {} })
  await table.vacuum({ retention: 0 })
  await table.close()
  t.true(existsSync(join(path('a'), NOTE_FOLDER, '_delta_log')))
  t.deepEqual(await new StartNote(of).read(), kept)
})
