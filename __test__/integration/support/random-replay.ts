/** Writes a random topic to a table, in random batches, with restarts between them. */

import { appendFileSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { TableDecoder } from '../../../src/debezium/decoder.js'
import type { DecodeOptions } from '../../../src/debezium/options.js'
import { DeltaTable, type DeltaTableOptions } from '../../../src/delta/table.js'
import type { OffsetRange } from '../../../src/kafka/micro-batch.js'
import { schemaSource } from '../../debezium/support.js'
import type { Random } from '../../helpers/random.js'
import type { OracleJob } from './oracle.js'
import type { RandomTopic, TopicMessage } from './random-topic.js'

const QUERY_NAME = 'random'
/** When the first message was produced; each comes a millisecond after the one before. */
const FIRST_TIMESTAMP = 1_750_000_000_000

interface Placed extends TopicMessage {
  offset: number
}

/** How a topic is written, for the program and for the oracle. */
export interface RandomOptions {
  decode: Omit<DecodeOptions, 'topic'>
  table: Omit<DeltaTableOptions, 'path'>
  job: Partial<OracleJob>
}

const MESSAGE_PATHS = ['kafka.topic', 'kafka.partition', 'kafka.offset', 'kafka.timestamp', 'operation']

export function randomOptions(topic: RandomTopic, random: Random): RandomOptions {
  const chance = (p: number) => random.next() < p
  const decode: RandomOptions['decode'] = {}
  const table: RandomOptions['table'] = { mergeMode: random.pick(['merge-on-read', 'copy-on-write']) }
  const job: RandomOptions['job'] = {}
  if (topic.keyless) {
    decode.primaryKey = topic.keyNames
    job.primary_key = topic.keyNames
  } else if (chance(0.1)) {
    const names = [...topic.keyNames].reverse()
    decode.primaryKey = names
    job.primary_key = names
  }
  // A soft delete that comes before its row has nothing to mark. The kept row of a key that was updated to, deleted and
  // sent again has the values of whichever row its old key has then; that of one which an incremental snapshot read, those
  // of the snapshot.
  if (chance(0.25) && !topic.rehashes && !topic.reuses && !topic.hasIncremental) {
    const flag = random.pick(['is_deleted', '__deleted'])
    Object.assign(decode, { deletes: 'soft', softDeleteColName: flag })
    table.softDeleteColumn = flag
    job.soft_delete = flag
  }
  if (chance(0.25)) {
    const paths = MESSAGE_PATHS.filter(() => chance(0.5))
    if (topic.shape === 'envelope') paths.push(...['op', 'source.ts_ms', 'source.snapshot'].filter(() => chance(0.6)))
    decode.metadataColumns = paths
    job.metadata = Object.fromEntries(paths.map((path) => [`__${path.replaceAll('.', '_')}`, path]))
  }
  const history = [...topic.columnHistory]
  const isSteady = ([name, versions]: (typeof history)[number]) =>
    topic.firstColumns.has(name) && new Set(versions.map(({ type }) => type.kind)).size === 1
  const steady = history.filter(isSteady)
  const dates = steady.filter(([, [column]]) => column?.type.isDate)
  const plain = steady.filter(([, [column]]) =>
    /^(boolean|int|short|long|date|uuid|enum|json)$/.test(column?.type.kind ?? ''),
  )
  const used = new Set<string>()
  if (dates.length > 0 && chance(0.3)) {
    const [name] = random.pick(dates)
    used.add(name)
    table.additionalCols = [`YEAR(${name}) AS year_of`, `MONTH(${name}) AS month_of`]
    job.additional = [...table.additionalCols]
    if (chance(0.7)) table.partitionCols = ['month_of']
  } else if (plain.length > 0 && chance(0.2)) {
    const [name] = random.pick(plain)
    used.add(name)
    table.partitionCols = [name]
  }
  if (chance(0.1) && history.length > 1) {
    const names = history.map(([name]) => name).filter((name) => !used.has(name))
    decode.excludeColumns = [random.pick(names)]
    job.exclude = decode.excludeColumns
  }
  const truncates = topic.log.some((line) => line.endsWith('truncate'))
  if (chance(0.1) && topic.partitions === 1 && !truncates) {
    // In one partition, the order only spares readers a stale moment.
    decode.orderGuard = 'off'
  }
  if (chance(0.3)) table.targetFileSize = 20_000
  return { decode, table, job }
}

/** Writes the topic as a captured set, for the oracle. */
export function writeSet(dir: string, topic: RandomTopic): Placed[] {
  const next = new Map<number, number>()
  const placed = topic.messages.map((message) => {
    const offset = next.get(message.partition) ?? 0
    next.set(message.partition, offset + 1)
    return { ...message, offset }
  })
  rmSync(dir, { recursive: true, force: true })
  mkdirSync(dir, { recursive: true })
  writeFileSync(join(dir, 'schemas.json'), JSON.stringify(topic.schemas))
  const base64 = (bytes: Buffer | null) => (bytes === null ? null : bytes.toString('base64'))
  const lines = placed.map(({ partition, offset, at, key, value, headers }) =>
    JSON.stringify({
      partition,
      offset,
      timestamp: FIRST_TIMESTAMP + at,
      key_b64: base64(key),
      value_b64: base64(value),
      headers: Object.fromEntries(Object.entries(headers).map(([name, bytes]) => [name, base64(bytes)])),
    }),
  )
  writeFileSync(join(dir, `${topic.topic}.jsonl`), `${lines.join('\n')}\n`)
  return placed
}

/** The messages in batches: slices of what was produced or, where only each partition's order matters, any progress. */
export function randomBatches(topic: RandomTopic, messages: readonly Placed[], random: Random): Placed[][] {
  const most = random.pick([1, 5, 25, 1000])
  const size = () => 1 + random.below(most)
  const independent = topic.partitions > 1 && !messages.some(({ ordered }) => ordered)
  if (independent && random.next() < 0.6) {
    const queues = Array.from({ length: topic.partitions }, (_, i) => messages.filter((m) => m.partition === i))
    const batches: Placed[][] = []
    while (queues.some((queue) => queue.length > 0)) {
      const batch = queues
        .filter((queue) => queue.length > 0 && random.next() < 0.6)
        .sort(() => random.next() - 0.5)
        .flatMap((queue) => queue.splice(0, size()))
      if (batch.length > 0) batches.push(batch)
    }
    return batches
  }
  const batches: Placed[][] = []
  for (let from = 0; from < messages.length; ) {
    const slice = messages.slice(from, from + size())
    from += slice.length
    batches.push(...(slice.some(({ ordered }) => ordered) ? inOrder(slice) : [slice]))
  }
  return batches
}

/** Cuts a slice so that going through its partitions one after the other keeps the order. */
function inOrder(slice: readonly Placed[]): Placed[][] {
  const batches: Placed[][] = [[]]
  for (const message of slice) {
    const batch = batches.at(-1) as Placed[]
    const returns =
      batch.at(-1)?.partition !== message.partition && batch.some((m) => m.partition === message.partition)
    if (returns) batches.push([message])
    else batch.push(message)
  }
  return batches
}

function rangesOf(batch: readonly Placed[]): OffsetRange[] {
  const ranges = new Map<number, OffsetRange>()
  for (const { partition, offset, at, key, value, headers } of batch) {
    const first = BigInt(offset)
    const range = ranges.get(partition) ?? { partition, firstOffset: first, lastOffset: first, messages: [] }
    range.lastOffset = first
    range.messages.push({ offset: String(offset), timestamp: String(FIRST_TIMESTAMP + at), key, value, headers })
    ranges.set(partition, range)
  }
  return [...ranges.values()]
}

/** Writes the topic; returns what the oracle needs to check the table. */
export async function replayRandom(
  folder: string,
  topic: RandomTopic,
  options: RandomOptions,
  random: Random,
): Promise<OracleJob> {
  const dir = join(folder, topic.topic)
  const path = join(dir, 'table')
  const messages = writeSet(dir, topic)
  const batches = randomBatches(topic, messages, random)
  const restarts = random.pick([0, 0.15, 0.6])
  const open = () => DeltaTable.open({ path, ...options.table })
  const newDecoder = () => new TableDecoder({ topic: topic.topic, ...options.decode }, schemaSource(topic.schemas))
  let table = await open()
  let decoder = newDecoder()
  const stored = new Map<string, bigint>()
  /** Positions of messages that came before there was a table. */
  const pending = new Map<string, bigint>()
  let exists = false
  const log = (line: string) => appendFileSync(join(dir, 'log.txt'), `${line}\n`)
  for (const line of topic.log) log(line)
  try {
    for (const batch of batches) {
      const ranges = rangesOf(batch)
      const { ipc, primaryKey } = await decoder.decode({
        topic: topic.topic,
        ranges,
        numMessages: batch.length,
        numPartitions: topic.partitions,
        numBytes: 0,
      })
      const offsets = ranges.map(({ partition, lastOffset }) => {
        const appId = `${QUERY_NAME}:${topic.topic}:${partition}`
        return { appId, expected: stored.get(appId) ?? null, last: lastOffset }
      })
      if (!exists && (ipc === null || primaryKey.length === 0)) {
        // As the stream does: positions alone make no table.
        log(`no table yet: ${batch.length} messages`)
        for (const { appId, last } of offsets) pending.set(appId, last)
        continue
      }
      const own = new Set(offsets.map(({ appId }) => appId))
      for (const [appId, last] of pending) if (!own.has(appId)) offsets.push({ appId, expected: null, last })
      pending.clear()
      const { version } = await table.merge(ipc, { primaryKey, offsets })
      exists = true
      for (const { appId, last } of offsets) stored.set(appId, last)
      log(`version ${version}: ${ranges.map((r) => `${r.partition}/${r.firstOffset}-${r.lastOffset}`).join(' ')}`)
      // A tombstone whose delete was written before the restart is taken for a delete of its own: harmless, unless
      // the key has moved to another partition.
      if (!topic.rehashes && random.next() < restarts) {
        log('restart')
        await table.close()
        table = await open()
        decoder = newDecoder()
      }
    }
  } finally {
    await table.close()
  }
  return { set: dir, topic: topic.topic, table: path, query_name: QUERY_NAME, ...options.job }
}
