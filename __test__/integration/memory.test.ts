/** Many topics under a small `limits.maxMemory`: what is counted stays within it, and all rows arrive. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { engineMemory } from '../../src/delta/memory.js'
import { EmbeddedBroker } from '../../src/demo/broker/index.js'
import { EmbeddedRegistry } from '../../src/demo/registry.js'
import type { MemoryUse } from '../../src/kafka/memory-budget.js'
import { MEMORY_SHARES } from '../../src/kafka/memory-shares.js'
import { silentLogger } from '../../src/log.js'
import { resolveOptions } from '../../src/options/resolve.js'
import { realSystems } from '../../src/stream/connect.js'
import type { StreamSource, Systems } from '../../src/stream/dependencies.js'
import { startQuery } from '../../src/stream/start.js'
import { avscType, confluent } from '../debezium/support.js'
import { MB } from '../helpers/memory.js'
import { generator, SEED } from '../helpers/random.js'
import { readRows } from '../helpers/read.js'

const MEMORY = 24 * MB
const WIDE_COLUMNS = 600

const KEY = { type: 'record', name: 'Key', fields: [{ name: 'id', type: 'int' }] }
const FIELDS = [
  { name: 'id', type: 'int' },
  { name: 'v', type: 'string' },
]
const NARROW = { type: 'record', name: 'Narrow', fields: FIELDS }
const WIDE = {
  type: 'record',
  name: 'Wide',
  fields: [
    ...FIELDS,
    ...Array.from({ length: WIDE_COLUMNS }, (_, i) => ({ name: `c${i}`, type: ['null', 'double'], default: null })),
  ],
}
const IDS = { key: 1, narrow: 2, wide: 3 }
const types = { key: avscType(KEY), narrow: avscType(NARROW), wide: avscType(WIDE) }
const empty = Object.fromEntries(Array.from({ length: WIDE_COLUMNS }, (_, i) => [`c${i}`, null]))

function record(id: number, v: string, kind: 'narrow' | 'wide' = 'narrow') {
  const row = kind === 'wide' ? { ...empty, id, v } : { id, v }
  return {
    key: confluent(IDS.key, types.key.toBuffer({ id })),
    value: confluent(IDS[kind], types[kind].toBuffer(row)),
  }
}

let folder: string
let broker: EmbeddedBroker
let registry: EmbeddedRegistry

test.before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'kafka2delta-memory-'))
  broker = await EmbeddedBroker.start()
  registry = await EmbeddedRegistry.start()
  for (const [id, schema] of [
    [IDS.key, KEY],
    [IDS.narrow, NARROW],
    [IDS.wide, WIDE],
  ] as const)
    registry.setSchema(id, schema)
})

test.after.always(async () => {
  await broker?.close()
  await registry?.close()
  rmSync(folder, { recursive: true, force: true })
})

/** Looks at what is counted whenever that changes. */
class Watched {
  readonly most = { queued: 0, decoding: 0, merging: 0, batches: 0, indexes: 0, compaction: 0, limit: 0 }
  readonly batchSizes = new Map<string, number[]>()
  last: MemoryUse | null = null
  /** Topics with a batch that is not committed, or with columns. */
  readonly #holders = new Map<string, number>()

  source(of: StreamSource, t: ExecutionContext): StreamSource {
    const hold = (topic: string, more: number) => {
      this.#holders.set(topic, (this.#holders.get(topic) ?? 0) + more)
      this.#look(of.memory, t)
    }
    const columns = new Set<string>()
    const own: Partial<StreamSource> = {
      next: async (topic) => {
        const batch = await of.next(topic)
        if (batch && batch.numMessages > 0) {
          this.batchSizes.set(topic, [...(this.batchSizes.get(topic) ?? []), batch.numMessages])
          hold(topic, 1)
        }
        return batch
      },
      decoded: (batch, bytes) => {
        of.decoded(batch, bytes)
        this.#look(of.memory, t)
      },
      noteColumns: (topic, bytes) => {
        of.noteColumns(topic, bytes)
        const had = columns.has(topic)
        if (bytes > 0) columns.add(topic)
        else columns.delete(topic)
        hold(topic, Number(columns.has(topic)) - Number(had))
      },
      committed: (batch) => {
        of.committed(batch)
        hold(batch.topic, batch.numMessages > 0 ? -1 : 0)
      },
    }
    return new Proxy(of, {
      get: (target, name) => {
        const value = own[name as keyof StreamSource] ?? target[name as keyof StreamSource]
        return typeof value === 'function' ? value.bind(target) : value
      },
    })
  }

  #look(use: MemoryUse, t: ExecutionContext): void {
    this.last = use
    const batches = use.decoding + use.merging
    const most = this.most
    most.queued = Math.max(most.queued, use.queued)
    most.decoding = Math.max(most.decoding, use.decoding)
    most.merging = Math.max(most.merging, use.merging)
    const { indexes, compaction } = engineMemory()
    most.limit = Math.max(most.limit, use.limit)
    most.indexes = Math.max(most.indexes, indexes)
    most.compaction = Math.max(most.compaction, compaction)
    if (batches <= MEMORY * MEMORY_SHARES.batches) most.batches = Math.max(most.batches, batches)
    else {
      const holders = [...this.#holders].filter(([, count]) => count > 0).map(([topic]) => topic)
      if (holders.length > 1) t.fail(`${batches} bytes of batches, held by ${holders.join(', ')}`)
    }
  }
}

async function run(
  t: ExecutionContext,
  topics: readonly string[],
  options: object,
  watched = new Watched(),
): Promise<Watched> {
  const resolved = resolveOptions({
    queryName: 'memory',
    kafka: { brokers: broker.brokers },
    schemaRegistry: { url: registry.url },
    tables: Object.fromEntries(topics.map((topic) => [topic, { path: join(folder, topic) }])),
    limits: { maxMemory: MEMORY },
    trigger: { availableNow: true },
    ...options,
  })
  const real = realSystems(resolved, silentLogger)
  const systems: Systems = { ...real, source: (...given) => watched.source(real.source(...given), t) }
  const query = await startQuery({ options: resolved, systems, logger: silentLogger })
  await query.awaitTermination()
  return watched
}

test.serial(`many topics, wide ones and large messages: all arrive within the memory (SEED=${SEED})`, async (t) => {
  t.timeout(240_000)
  const random = generator(SEED)
  const expected = new Map<string, Map<number, string>>()
  const send = (topic: string, id: number, v: string, kind: 'narrow' | 'wide' = 'narrow') => {
    const rows = expected.get(topic) ?? expected.set(topic, new Map()).get(topic)
    if (rows?.size === 0) broker.createTopic(topic, 1)
    rows?.set(id, v)
    return record(id, v, kind)
  }
  for (let at = 0; at < 40; at++) {
    const topic = `small-${at}`
    const count = 1 + random.below(3_000)
    const records = Array.from({ length: count }, (_, n) =>
      send(topic, random.below(1_000), `${n} ${'x'.repeat(random.below(200))}`),
    )
    broker.append(topic, 0, records)
  }
  for (let at = 0; at < 40; at++) {
    const records = Array.from({ length: 100 }, (_, n) => send('wide', at * 100 + n, `${n}`, 'wide'))
    broker.append('wide', 0, records)
  }
  // Decoded, each takes more than all batches have in common, as far as that is known before the first one.
  for (let id = 0; id < 12; id++) broker.append('large', 0, [send('large', id, String(id).padEnd(MB + id, 'y'))])
  const tooLarge = record(99, 'z'.repeat(MEMORY / 8))
  broker.append('large', 0, [tooLarge])
  broker.append('large', 0, [send('large', 12, 'after it')])

  const dead = join(folder, 'dead')
  const watched = await run(t, [...expected.keys()], { onBadRecord: 'dead-letter', deadLetter: { path: dead } })
  t.log(watched.most)

  for (const [topic, rows] of expected) {
    const found = await readRows(join(folder, topic), { columns: ['id', 'v'] })
    t.is(found.length, rows.size, topic)
    t.true(
      found.every(({ id, v }) => rows.get(id as number) === v),
      topic,
    )
  }
  const [letter, ...more] = await readRows(dead)
  t.is(more.length, 0)
  t.deepEqual(Buffer.from(letter?.value as Uint8Array), tooLarge.value)
  t.regex(letter?.reason as string, /^its \d+ bytes are more than a message may have, which are 3145728/)

  const { most } = watched
  t.true(most.batches > 0 && most.queued > 0)
  const sizes = watched.batchSizes.get('wide') ?? []
  t.true(sizes.length > 5, `the wide table came as ${sizes.length} batches`)
  t.like(watched.last, { queued: 0, merging: 0 })
})

test.serial('a message beyond the memory is what onBadRecord says: skipped, or the end of its table', async (t) => {
  const topics = ['skips', 'fails']
  for (const topic of topics) {
    broker.createTopic(topic, 1)
    broker.append(topic, 0, [record(1, 'before')])
    broker.append(topic, 0, [record(2, 'z'.repeat(MEMORY / 8))])
    broker.append(topic, 0, [record(3, 'after')])
  }
  await run(t, ['skips'], { onBadRecord: 'skip' })
  const rows = await readRows(join(folder, 'skips'), { orderBy: ['id'] })
  t.deepEqual(
    rows.map(({ v }) => v),
    ['before', 'after'],
  )
  const failed = run(t, ['fails'], { queryName: 'fails' })
  await t.throwsAsync(failed, { code: 'BAD_RECORD', message: /offset 1: its \d+ bytes.*limits\.maxMemory/ })
})

test.serial(`two queries of a process share the memory (SEED=${SEED})`, async (t) => {
  t.timeout(120_000)
  const random = generator(SEED)
  const topics = Array.from({ length: 24 }, (_, at) => `of-two-${at}`)
  const counts = topics.map((topic) => {
    broker.createTopic(topic, 1)
    const count = 1_000 + random.below(2_000)
    const records = Array.from({ length: count }, (_, id) => record(id, 'x'.repeat(random.below(400))))
    broker.append(topic, 0, records)
    return count
  })
  const watched = new Watched()
  const halves = [topics.slice(0, 12), topics.slice(12)]
  const both = halves.map((half, at) =>
    run(t, half, { queryName: `half-${at}`, limits: { maxMemory: MEMORY / (1 + at) } }, watched),
  )
  await Promise.all(both)
  t.log(watched.most)
  for (const [at, topic] of topics.entries()) {
    t.is((await readRows(join(folder, topic), { columns: ['id'] })).length, counts[at] ?? 0, topic)
  }
  t.is(watched.most.limit, MEMORY)
  t.true(watched.most.indexes > 0)
  t.like(watched.last, { queued: 0, merging: 0 })
})
