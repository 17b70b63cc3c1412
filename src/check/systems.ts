/** Whether each system that a configuration names can be reached, and how long that takes. */

import { accessSync, constants, statSync } from 'node:fs'
import { dirname } from 'node:path'
import type { Kafka } from 'kafkajs'
import type { OpenCatalogs } from '../catalog/open-catalogs.js'
import { DeltaTable } from '../delta/table.js'
import { KafkaToDeltaError } from '../errors.js'
import { askKafka } from '../kafka/ask.js'
import { isKafkaInstance } from '../kafka/client.js'
import type { KafkaOptions } from '../options/sasl.js'
import type { CatalogOptions, ResolvedCatalog, ResolvedOptions } from '../options/types.js'
import { checkRegistry } from '../stream/connect.js'
import { sideBySide, within } from '../waits.js'
import { failure } from './findings.js'
import type { SystemReport } from './report.js'

/** Systems that are asked at a time. */
const MAX_ASKED = 16

/** Milliseconds for the answer of a store. */
const STORE_MS = 15_000

type Kind = SystemReport['kind']

/** Times a question; the answer is the detail that is told. Never rejects. */
async function ask(kind: Kind, name: string, question: () => Promise<string | null>): Promise<SystemReport> {
  const begun = performance.now()
  const took = () => Math.round(performance.now() - begun)
  try {
    const detail = await question()
    return { kind, name, ok: true, ms: took(), detail, finding: null }
  } catch (error) {
    return { kind, name, ok: false, ms: took(), detail: null, finding: failure(error) }
  }
}

/** Of several that stand for each other, one that answers is enough. */
function leniently(reports: SystemReport[]): SystemReport[] {
  const isUp = reports.some(({ ok }) => ok)
  return reports.map((report) =>
    report.finding && isUp ? { ...report, finding: { ...report.finding, severity: 'warning' } } : report,
  )
}

/** Brokers that are named, then those that the cluster says it has. */
export async function askBrokers({ kafka, queryName }: ResolvedOptions): Promise<SystemReport[]> {
  const advertised = new Set<string>()
  const look = (of: KafkaOptions | Kafka, name: string) =>
    ask('broker', name, async () => {
      const asked = { kafka: of, queryName, retry: { initialRetryTime: 200, maxRetryTime: 500, retries: 1 } }
      const { brokers } = await askKafka(asked, `cannot connect to ${name}`, (admin) => admin.describeCluster())
      for (const { host, port } of brokers) advertised.add(`${host}:${port}`)
      return `${brokers.length} ${brokers.length === 1 ? 'broker' : 'brokers'} in the cluster`
    })
  if (isKafkaInstance(kafka)) return [await look(kafka, 'kafka')]
  const named = Array.isArray(kafka.brokers) ? kafka.brokers : []
  const first = await sideBySide(MAX_ASKED, named, (broker) => look({ ...kafka, brokers: [broker] }, broker))
  const others = [...advertised].filter((broker) => !named.includes(broker))
  const rest = await sideBySide(MAX_ASKED, others, (broker) => look({ ...kafka, brokers: [broker] }, broker))
  const noWay = (report: SystemReport) =>
    report.finding ? { ...report, detail: 'advertised by the cluster, and not reachable from here' } : report
  return [...leniently(first), ...rest.map(noWay)]
}

export async function askRegistries({ schemaRegistry }: ResolvedOptions): Promise<SystemReport[]> {
  const { url, urls, ...rest } = schemaRegistry
  const all = urls ?? (url === undefined ? [] : [url])
  const reports = await sideBySide(MAX_ASKED, all, (one) =>
    ask('registry', withoutSecrets(one), async () => {
      await checkRegistry({ schemaRegistry: { ...rest, url: one } })
      return null
    }),
  )
  return leniently(reports)
}

function withoutSecrets(url: string): string {
  const parsed = new URL(url)
  parsed.username = ''
  parsed.password = ''
  return parsed.href.replace(/\/$/, '')
}

/** Milliseconds for the answer of a catalog. */
const CATALOG_MS = 15_000

/** A catalog for people. */
export function catalogName(options: CatalogOptions): string {
  if (options.type === 'hive') return options.uri
  if (options.type === 'unity') return `${withoutSecrets(options.url)} ${options.catalog}`
  return ['glue', options.region, options.endpoint && withoutSecrets(options.endpoint)].filter(Boolean).join(' ')
}

/** One question for each catalog: whether it has one of the tables. */
export function askCatalogs(entries: readonly ResolvedCatalog[], catalogs: OpenCatalogs): Promise<SystemReport[]> {
  const distinct = new Map(entries.map((entry) => [JSON.stringify(entry.options), entry]))
  return sideBySide(MAX_ASKED, [...distinct.values()], ({ options, schema, tableName }) =>
    ask('catalog', catalogName(options), async () => {
      const signal = AbortSignal.timeout(CATALOG_MS)
      const asked = catalogs.of(options).then((catalog) => catalog.find(schema, tableName, signal))
      await within(asked, CATALOG_MS, () => new KafkaToDeltaError('CATALOG_UNAVAILABLE', 'it does not answer'))
      return null
    }),
  )
}

/** What is asked for at a store: where it is, and a place in it. */
export interface StorePlace {
  uri: string
  storageOptions: Readonly<Record<string, string>>
}

/** A bucket; of tables on the local disk, the folder that they lie in. */
export function storeOf(uri: string): string {
  const [, bucket] = /^([a-z][a-z0-9+.-]+:\/\/[^/]+)/i.exec(uri) ?? []
  return bucket ?? dirname(uri)
}

/** One question for each store: buckets with the same options are one. */
export function askStores(places: readonly StorePlace[]): Promise<SystemReport[]> {
  const stores = new Map<string, StorePlace>()
  for (const place of places) {
    const key = JSON.stringify([storeOf(place.uri), place.storageOptions])
    if (!stores.has(key)) stores.set(key, place)
  }
  return sideBySide(MAX_ASKED, [...stores.values()], (place) => {
    const store = storeOf(place.uri)
    return ask('store', store, async () => (store.includes('://') ? readable(place) : writable(store)))
  })
}

/** The folder, or the nearest one above it that is there. */
function existingFolder(path: string): string {
  for (let at = path; ; at = dirname(at)) {
    if (statSync(at, { throwIfNoEntry: false })?.isDirectory() || at === dirname(at)) return at
  }
}

/** Whether a folder, or the nearest one above it, can be read and written to. */
function writable(wanted: string): string | null {
  const folder = existingFolder(wanted)
  try {
    accessSync(folder, constants.R_OK | constants.W_OK | constants.X_OK)
    return folder === wanted ? null : `not there yet; ${folder} can be written to`
  } catch (error) {
    const message = `this user may not read and write in the folder ${folder}`
    throw new KafkaToDeltaError('STORAGE_DENIED', message, { cause: error })
  }
}

/** Whether a table's folder can be read. Whether it can be written to is not tried: that would write. */
async function readable({ uri, storageOptions }: StorePlace): Promise<null> {
  const table = await DeltaTable.open({ path: uri, storageOptions, signal: AbortSignal.timeout(STORE_MS) })
  await table.close()
  return null
}
