/** Writes a random topic to a table, in the micro-batches of the program's own queue, with restarts between them. */

import { appendFileSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { TableDecoder } from '../../../src/debezium/decoder.js'
import { KeyUpdates } from '../../../src/debezium/key-updates.js'
import type { DecodeOptions } from '../../../src/debezium/options.js'
import { DeltaTable, type DeltaTableOptions } from '../../../src/delta/table.js'
import { Messages } from '../../../src/kafka/messages.js'
import type { MicroBatch } from '../../../src/kafka/micro-batch.js'
import { TopicQueue } from '../../../src/kafka/topic-queue.js'
import { schemaSource } from '../../debezium/support.js'
import type { Random } from '../../helpers/random.js'
import type { OracleJob } from './oracle.js'
import type { RandomTopic, TopicMessage } from './random-topic.js'

const QUERY_NAME = 'random'

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
  const job: RandomOptions['job'] = { source_order: true }
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
  if (chance(0.25) && !topic.grows && !topic.reuses && !topic.hasIncremental) {
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
  const keyPartitions = topic.keyTypes.filter(([, kind]) => /^(text|int|long|short|uuid|date|boolean)$/.test(kind))
  if (topic.partitionsByKey) {
    if (keyPartitions.length > 0) table.partitionCols = [random.pick(keyPartitions)[0]]
  } else if (dates.length > 0 && chance(0.3)) {
    const [name] = random.pick(dates)
    used.add(name)
    table.additionalCols = [`YEAR(${name}) AS year_of`, `MONTH(${name}) AS month_of`]
    job.additional = [...table.additionalCols]
    if (chance(0.7)) table.partitionCols = ['month_of']
  } else if (plain.length > 0 && chance(0.2)) {
    const [name] = random.pick(plain)
    used.add(name)
    table.partitionCols = [name]
    job.partition = [name]
  }
  if (chance(0.1) && history.length > 1) {
    const names = history.map(([name]) => name).filter((name) => !used.has(name))
    decode.excludeColumns = [random.pick(names)]
    job.exclude = decode.excludeColumns
  }
  if (chance(0.1) && topic.partitions === 1) {
    // In one partition, the order only spares readers a stale moment.
    decode.orderGuard = 'off'
  }
  if (chance(0.3)) table.targetFileSize = 20_000
  // What is known of deleted keys is kept with the index.
  if (chance(0.2) && !(topic.grows && topic.restarts > 0)) table.keyIndex = 'none'
  return { decode, table, job }
}

/** Writes the topic as a captured set, for the oracle, in the source's order. */
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
  const lines = placed.map(({ partition, offset, time, key, value, full, headers, what }) =>
    JSON.stringify({
      partition,
      offset,
      timestamp: time,
      key_b64: base64(key),
      value_b64: base64(value),
      ...(full === null ? {} : { full_b64: base64(full) }),
      headers: Object.fromEntries(Object.entries(headers).map(([name, bytes]) => [name, base64(bytes)])),
      what: words(what),
    }),
  )
  writeFileSync(join(dir, `${topic.topic}.jsonl`), `${lines.join('\n')}\n`)
  return placed
}

/** A change for whoever looks at a failure. */
function words({ op, leftOut, oldKey, position }: TopicMessage['what']): string {
  const from = oldKey === undefined ? '' : ` was ${oldKey}`
  return `${op}${leftOut > 0 ? ` leaves out ${leftOut}` : ''}${from} ${position}`
}

/** What waits in Kafka, and the program's queue of it: made anew with each start. */
class Feed {
  readonly #waiting: Placed[]
  readonly #queue: TopicQueue
  constructor(
    private readonly topic: RandomTopic,
    messages: readonly Placed[],
    stored: ReadonlyMap<number, bigint>,
    private readonly random: Random,
    /** How many partitions the program knows of: it learns of new ones late. */
    private readonly known: { partitions: number },
    private readonly most: number,
  ) {
    this.#waiting = messages.filter(({ partition, offset }) => BigInt(offset) > (stored.get(partition) ?? -1n))
    // A queue that is full takes its partitions in turns, and so not in the source's order.
    const maxBatchMessages = topic.readsInOrder ? 100_000 : random.pick([1, 2, 10, 100_000])
    const limits = { maxBatchMessages, maxBatchBytes: 1e9, maxQueueBytes: 1e9 }
    this.#queue = new TopicQueue(topic.topic, limits as never, new KeyUpdates(schemaSource(topic.schemas)).pairMemberOf)
  }

  /** Nothing waits in Kafka. */
  get isRead(): boolean {
    return this.#waiting.length === 0
  }

  get isEmpty(): boolean {
    return this.isRead && this.#queue.isEmpty
  }

  /** Some messages of some partition, or, where the order counts between them, of all. */
  fetch(isOrdered: boolean): void {
    const { random, known } = this
    const [first] = this.#waiting
    if (first === undefined) return
    if (random.next() < 0.1) known.partitions = this.topic.partitions
    const partitions = [...new Set(this.#waiting.map(({ partition }) => partition))]
    const readable = partitions.filter((partition) => partition < known.partitions)
    const partition = isOrdered || readable.length === 0 ? null : random.pick(readable)
    for (let count = 1 + random.below(this.most); count > 0; count--) {
      const at = partition === null ? 0 : this.#waiting.findIndex((message) => message.partition === partition)
      const [message] = at < 0 ? [] : this.#waiting.splice(at, 1)
      if (message === undefined) return
      if (message.partition >= known.partitions) known.partitions = this.topic.partitions
      const offset = BigInt(message.offset)
      const { key, value, headers } = message
      const raw = { offset: String(offset), timestamp: String(message.time), key, value, headers }
      this.#queue.push({
        partition: message.partition,
        firstOffset: offset,
        lastOffset: offset,
        messages: Messages.of([raw]),
      })
    }
  }

  /**
   * The next micro-batch; null where something has to wait.
   * @param end of a partition that was read to its end: more may come of it, where the program runs on
   */
  cut(end: 'end' | 'done'): MicroBatch | null {
    const behind = new Set(this.#waiting.map(({ partition }) => partition))
    const reach = (partition: number) => (behind.has(partition) ? 'behind' : end)
    const partitions = Array.from({ length: this.known.partitions }, (_, i) => i)
    const batch = this.#queue.cut(new Map(partitions.map((partition) => [partition, reach(partition)])))
    if (batch !== null) this.#queue.committed(batch)
    return batch
  }
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
  const most = random.pick([1, 1, 5, 25, 1000])
  // A truncate that came through another partition would not know what is older.
  const isOld = topic.hasTruncates || random.next() < 0.5
  const known = { partitions: isOld ? topic.partitions : (messages[0]?.partitions ?? 1) }
  /** Chances of another fetch before a micro-batch. */
  const eager = random.pick([0, 0.5, 0.9])
  const isLive = random.next() < 0.5
  const compacts = random.pick([0, 0, 0.2])
  const indexDir = random.next() < 0.3 || topic.grows ? join(dir, 'index') : null
  const open = () => DeltaTable.open({ path, indexDir, ...options.table })
  const newDecoder = () => new TableDecoder({ topic: topic.topic, ...options.decode }, schemaSource(topic.schemas))
  const stored = new Map<number, bigint>()
  const newFeed = () => new Feed(topic, messages, stored, random, known, most)
  let [table, decoder, feed] = [await open(), newDecoder(), newFeed()]
  /** Positions of messages that came before there was a table. */
  const pending = new Map<number, bigint>()
  let exists = false
  const lines = [...topic.log]
  try {
    while (!feed.isEmpty) {
      // Where there is no table yet, nothing is known of a truncate.
      do feed.fetch(topic.readsInOrder || (topic.hasTruncates && !exists))
      while (random.next() < eager)
      // The queue looks schemas up.
      await new Promise(setImmediate)
      // Halves that wait for others in vain are let go in the end.
      const batch = (isLive && feed.cut('end')) || feed.cut(isLive && !feed.isRead ? 'end' : 'done')
      if (batch === null) continue
      const { ipc, primaryKey } = await decoder.decode(batch)
      const ends = new Map(batch.ranges.map(({ partition, lastOffset }) => [partition, lastOffset]))
      const name = batch.ranges.map((r) => `${r.partition}/${r.firstOffset}-${r.lastOffset}`).join(' ')
      if (!exists && (ipc === null || primaryKey.length === 0)) {
        // As the stream does: positions alone make no table.
        lines.push(`no table yet: ${name}`)
        for (const [partition, last] of ends) pending.set(partition, last)
        continue
      }
      for (const [partition, last] of pending) if (!ends.has(partition)) ends.set(partition, last)
      pending.clear()
      const offsets = [...ends].map(([partition, last]) => {
        const appId = `${QUERY_NAME}:${topic.topic}:${partition}`
        return { appId, expected: stored.get(partition) ?? null, last }
      })
      const { version } = await table.merge(ipc, { primaryKey, offsets })
      exists = true
      for (const [partition, last] of ends) stored.set(partition, last)
      lines.push(`version ${version}: ${name}`)
      if (random.next() < compacts) {
        const result = await table.compact({ full: random.next() < 0.5, minFiles: 2 })
        if (result !== null) lines.push('compacted')
      }
      if (random.next() < topic.restarts) {
        lines.push('restart')
        await table.close()
        ;[table, decoder, feed] = [await open(), newDecoder(), newFeed()]
      }
    }
  } finally {
    await table.close()
    appendFileSync(join(dir, 'log.txt'), `${lines.join('\n')}\n`)
  }
  return { set: dir, topic: topic.topic, table: path, query_name: QUERY_NAME, ...options.job }
}
