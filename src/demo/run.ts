/** The demo: Kafka, the schema registry, a shop's life and the real stream, all in one process. */

import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import kafkajs, { type Kafka } from 'kafkajs'
import { DeltaTable, type TableInfo } from '../delta/table.js'
import { KafkaToDeltaError } from '../errors.js'
import type { Logger } from '../log.js'
import type { StreamOptions, TableOptions } from '../options/types.js'
import { type StreamingQuery, streamToDelta } from '../stream/index.js'
import { unlessAborted } from '../waits.js'
import { EmbeddedBroker } from './broker/index.js'
import { type Comparison, compareTable, firstRows } from './compare.js'
import { fixtureTopics, loadFixtureSet } from './fixtures.js'
import { EmbeddedRegistry } from './registry.js'
import { type ShopCounts, ShopLife, type ShopProgress } from './shop.js'
import { resumingKafka } from './skip-sent.js'

const PARTITIONS = 3

export interface DemoOptions {
  orders: number
  changes: number
  seed: number
  /** Messages per second after the snapshot, at most. */
  rate?: number
  /** Null: a new folder. */
  dir: string | null
  /** Keep Kafka's and the registry's data also in a new folder. */
  keep: boolean
  /** A captured set instead of the shop. */
  fixtures: string | null
  logger: Logger
  signal: AbortSignal
}

export interface DemoEvents {
  /** Everything runs; `resumed` says how often the demo in this folder was started before. */
  started?: (query: StreamingQuery, dir: string, resumed: number) => void
  produced?: (progress: ShopProgress) => void
}

export interface DemoTable {
  topic: string
  path: string
  info: TableInfo
  /** Null where there is nothing to compare with, or the demo was stopped. */
  comparison: Comparison | null
  /** The header, then some rows. */
  firstRows: string[][]
}

export interface DemoResult {
  dir: string
  /** Whether a signal ended it before the end. */
  stopped: boolean
  /** How often the demo in this folder was started before. */
  resumed: number
  /** Topics without a table: none of their messages could be applied. */
  withoutTable: string[]
  tables: DemoTable[]
  /** Of this run. */
  messages: number
  skippedRecords: number
  /** Milliseconds from the first batch to the last commit. */
  applyMs: number
  /** Of the whole life; null for a captured set. */
  counts: ShopCounts | null
}

/** What is kept of a demo, so that one that was ended can go on. */
interface DemoState {
  seed: number
  orders: number
  changes: number
  fixtures: string | null
  /** Milliseconds since 1970: the shop's clock begins here. */
  begins: number
  starts: number
  /** The captured set is in the broker as a whole. */
  loaded: boolean
}

const stateFile = (dir: string) => join(dir, 'demo.json')

function saveState(dir: string, state: DemoState): void {
  const file = stateFile(dir)
  writeFileSync(`${file}.new`, `${JSON.stringify(state, null, 2)}\n`)
  renameSync(`${file}.new`, file)
}

function loadState(dir: string, options: DemoOptions): DemoState {
  const fixtures = options.fixtures === null ? null : resolve(options.fixtures)
  const { seed, orders, changes } = options
  const fresh: DemoState = { seed, orders, changes, fixtures, begins: Date.now(), starts: 0, loaded: false }
  if (!existsSync(stateFile(dir))) return fresh
  const saved = JSON.parse(readFileSync(stateFile(dir), 'utf8')) as DemoState
  for (const name of ['seed', 'orders', 'changes', 'fixtures'] as const) {
    if (saved[name] === fresh[name]) continue
    throw new KafkaToDeltaError(
      'CONFIG_INVALID',
      `${dir} holds a demo with ${name} ${saved[name]}, not ${fresh[name]}: give the same ${name}, or another folder`,
    )
  }
  return saved
}

interface Stage {
  dir: string
  state: DemoState
  broker: EmbeddedBroker
  registry: EmbeddedRegistry
  kafka: Kafka
  shop: ShopLife | null
}

async function prepare(dir: string, options: DemoOptions): Promise<Stage> {
  const state = loadState(dir, options)
  const resumed = { ...state, starts: state.starts + 1 }
  saveState(dir, resumed)
  const broker = await EmbeddedBroker.start({ dataDir: join(dir, 'kafka') })
  try {
    const registry = await EmbeddedRegistry.start({ dataFile: join(dir, 'registry.json') })
    const kafka = new kafkajs.Kafka({
      clientId: 'kafka2delta-demo',
      brokers: broker.brokers,
      logLevel: kafkajs.logLevel.NOTHING,
    })
    let shop: ShopLife | null = null
    if (state.fixtures !== null) await loadFixtures(dir, resumed, broker, registry)
    else shop = makeShop(state, options, broker)
    return { dir, state: resumed, broker, registry, kafka, shop }
  } catch (error) {
    await broker.close()
    throw error
  }
}

function makeShop(state: DemoState, options: DemoOptions, broker: EmbeddedBroker): ShopLife {
  let clock = state.begins
  const shop = new ShopLife({
    seed: state.seed,
    orders: state.orders,
    changes: state.changes,
    partitions: PARTITIONS,
    // Not the system's clock: a life that goes on must be the same life.
    clock: () => clock++,
    ...(options.rate === undefined ? {} : { rate: options.rate }),
  })
  const existing = new Set(broker.topics.map(({ name }) => name))
  for (const { topic } of shop.tables) if (!existing.has(topic)) broker.createTopic(topic, PARTITIONS)
  return shop
}

async function loadFixtures(dir: string, state: DemoState, broker: EmbeddedBroker, registry: EmbeddedRegistry) {
  const set = state.fixtures as string
  if (!existsSync(set) || fixtureTopics(set).length === 0) {
    throw new KafkaToDeltaError('CONFIG_INVALID', `${set} holds no captured topics (<topic>.jsonl and schemas.json)`)
  }
  if (state.loaded) return
  // One that was cut off is loaded anew; nothing has read it yet.
  for (const { name } of broker.topics) broker.deleteTopic(name)
  await loadFixtureSet(set, broker, registry)
  state.loaded = true
  saveState(dir, state)
}

function streamOptions({ dir, state, broker, registry, shop }: Stage): StreamOptions {
  const tables: Record<string, TableOptions> = {}
  for (const table of shop?.tables ?? []) {
    tables[table.topic] = {
      path: join(dir, 'tables', table.name),
      schema: 'shop',
      tableName: table.name,
      additionalCols: [...table.additionalCols],
      ...(table.partitionCols.length > 0 ? { partitionCols: [...table.partitionCols] } : {}),
    }
  }
  for (const topic of state.fixtures === null ? [] : fixtureTopics(state.fixtures)) {
    tables[topic] = { path: join(dir, 'tables', topic), tableName: topic.split('.').at(-1) as string }
  }
  return {
    queryName: 'demo',
    kafka: { brokers: broker.brokers, logLevel: kafkajs.logLevel.NOTHING },
    schemaRegistry: { url: registry.url },
    tables,
    trigger: { processingTime: '250 ms' },
    // A captured set holds what no table can: values out of range, messages without a key.
    ...(state.fixtures === null ? {} : { onBadRecord: 'skip', columnDefaults: { outOfRange: 'null' } }),
  }
}

/** Runs the demo to its end, or until the signal. */
export async function runDemo(options: DemoOptions, events: DemoEvents = {}): Promise<DemoResult> {
  const dir = options.dir === null ? mkdtempSync(join(tmpdir(), 'kafka2delta-demo-')) : resolve(options.dir)
  mkdirSync(join(dir, 'tables'), { recursive: true })
  const stage = await prepare(dir, options)
  const { broker, registry, state, shop } = stage
  try {
    const stream = streamOptions(stage)
    const query = await streamToDelta(stream, { logger: options.logger, signal: options.signal })
    const totals = { messages: 0, skipped: 0, first: 0, last: 0 }
    query.on('progress', (progress) => {
      totals.messages += progress.numInputRows
      totals.first ||= Date.parse(progress.timestamp)
      totals.last = Date.now()
    })
    events.started?.(query, dir, state.starts - 1)
    try {
      if (shop) await produce(stage, shop, options.signal, events)
      await untilApplied(query, options.signal)
    } finally {
      await query.stop()
    }
    if (query.exception) throw query.exception
    for (const { numBadRecords } of Object.values(query.status.tables)) totals.skipped += numBadRecords
    const stopped = options.signal.aborted
    const read = await readBack(stream, shop, stopped)
    if (options.dir === null && !options.keep && !stopped) await removeKafka(stage)
    return {
      dir,
      stopped,
      resumed: state.starts - 1,
      ...read,
      messages: totals.messages,
      skippedRecords: totals.skipped,
      applyMs: Math.max(0, totals.last - totals.first),
      counts: shop?.counts ?? null,
    }
  } finally {
    await Promise.allSettled([broker.close(), registry.close()])
  }
}

async function produce({ kafka, registry, broker }: Stage, shop: ShopLife, signal: AbortSignal, events: DemoEvents) {
  // As it was at the start: what is sent now comes on top.
  const held = new Map<string, number>()
  for (const { name, partitions } of broker.topics) {
    for (let partition = 0; partition < partitions; partition++) {
      held.set(`${name}/${partition}`, broker.offsets(name, partition).high)
    }
  }
  const resuming = resumingKafka(
    kafka,
    () => PARTITIONS,
    (topic, partition) => held.get(`${topic}/${partition}`) ?? 0,
  )
  await shop.produce(resuming, registry.url, (progress) => events.produced?.(progress), { signal })
}

/** Waits for the tables to hold all that is there. After a stop, nobody waits, nor is told of what failed then. */
async function untilApplied(query: StreamingQuery, signal: AbortSignal): Promise<void> {
  try {
    await unlessAborted(query.processAllAvailable(), signal)
  } catch (error) {
    if (!signal.aborted) throw error
  }
}

/** What the tables hold. After a stop, people want the end, and no reading of whole tables. */
async function readBack(
  stream: StreamOptions,
  shop: ShopLife | null,
  stopped: boolean,
): Promise<Pick<DemoResult, 'tables' | 'withoutTable'>> {
  const tables: DemoTable[] = []
  const withoutTable: string[] = []
  for (const [topic, { path }] of Object.entries(stream.tables)) {
    await using table = await DeltaTable.open({ path })
    const info = await table.info()
    if (!info.exists) {
      withoutTable.push(topic)
      continue
    }
    const known = shop?.tables.find((candidate) => candidate.topic === topic)
    tables.push({
      topic,
      path,
      info,
      comparison: shop && known && !stopped ? await compareTable(path, known, shop.truth(known.name)) : null,
      firstRows: stopped ? [] : await firstRows(path, 3, known?.key[0] ?? null),
    })
  }
  return { tables, withoutTable }
}

/** The topics have done their work; the tables stay. */
async function removeKafka({ dir, broker, registry }: Stage): Promise<void> {
  await Promise.all([broker.close(), registry.close()])
  rmSync(join(dir, 'kafka'), { recursive: true, force: true })
  rmSync(join(dir, 'registry.json'), { force: true })
  rmSync(stateFile(dir), { force: true })
}
