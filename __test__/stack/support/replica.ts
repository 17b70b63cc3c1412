/** One connector and the stream behind it: tables of a source, and the Delta tables that must become equal to them. */

import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Kafka, logLevel } from 'kafkajs'
import { type Connector, deleteConnector, putConnector } from '../../../scripts/stack/connectors.mjs'
import { ENDPOINTS } from '../../../scripts/stack/settings.mjs'
import { type ScanOptions, type StreamOptions, streamToDelta, type TableOptions } from '../../../src/index.js'
import { readRows } from '../../helpers/read.js'
import type { Comparison, SourceOracle, SourceRow } from './source-oracle.js'

export interface SourceTable {
  /** With its schema or database: `public.users`. */
  name: string
  keys: string[]
  options?: Partial<TableOptions>
}

export const S3_OPTIONS = {
  AWS_ENDPOINT_URL: ENDPOINTS.S3_ENDPOINT,
  AWS_ACCESS_KEY_ID: ENDPOINTS.S3_ACCESS_KEY,
  AWS_SECRET_ACCESS_KEY: ENDPOINTS.S3_SECRET_KEY,
  AWS_REGION: 'us-east-1',
  AWS_ALLOW_HTTP: 'true',
}

const WAIT_MS = 90_000

/** What a replica needs of its query. */
export interface Stream {
  readonly exception: Error | null
  processAllAvailable(): Promise<void>
  stop(): Promise<void>
  /** Ends it in the middle of whatever it does. */
  kill?(): Promise<void>
}

export class Replica {
  #query: Stream | null = null
  /** Options of the tables' object store; empty for those in a folder. */
  readonly storage: Record<string, string>

  /**
   * @param prefix of the topics, and the connector's name
   * @param lake folder or URL of the Delta tables
   * @param stream starts the query
   * @param byPattern whether one pattern takes the topics of the tables without options of their own
   */
  constructor(
    readonly prefix: string,
    private readonly connector: Connector,
    private readonly lake: string,
    private readonly tables: readonly SourceTable[],
    private readonly stream: (options: StreamOptions) => Promise<Stream> = streamToDelta,
    private readonly byPattern = false,
  ) {
    this.storage = lake.startsWith('s3://') ? S3_OPTIONS : {}
  }

  uri(table: string): string {
    return this.lake.startsWith('s3://') ? `${this.lake}/${table}` : join(this.lake, table)
  }

  async connect(): Promise<void> {
    await putConnector({ ...this.connector, name: this.prefix })
  }

  /** Waits until the snapshot has made the topics, and starts the stream. */
  async start(): Promise<void> {
    const topics = this.tables.map(({ name }) => `${this.prefix}.${name}`)
    const admin = new Kafka({ brokers: [ENDPOINTS.KAFKA_BOOTSTRAP], logLevel: logLevel.NOTHING }).admin()
    await admin.connect()
    const until = Date.now() + WAIT_MS
    for (;;) {
      const known = new Set(await admin.listTopics())
      const missing = topics.filter((topic) => !known.has(topic))
      if (missing.length === 0) break
      if (Date.now() > until) throw new Error(`no topics ${missing.join(', ')}`)
      await sleep(200)
    }
    await admin.disconnect()
    this.#query = await this.stream(this.options)
  }

  /** What the stream is made with. */
  get options(): StreamOptions {
    return {
      queryName: this.prefix,
      kafka: { brokers: [ENDPOINTS.KAFKA_BOOTSTRAP] },
      schemaRegistry: { url: ENDPOINTS.REGISTRY_URL },
      trigger: { processingTime: '200 ms' },
      storageOptions: this.storage,
      tables: this.#tables(),
    }
  }

  #tables(): StreamOptions['tables'] {
    const isNamed = ({ options = {} }: SourceTable) => !this.byPattern || Object.keys(options).length > 0
    const named = this.tables
      .filter(isNamed)
      .map(({ name, options }) => [`${this.prefix}.${name}`, { path: this.uri(name), ...options }])
    const pattern = [`/${this.prefix}\\.(.*)/`, { path: this.uri('$1') }]
    return Object.fromEntries(this.byPattern ? [...named, pattern] : named)
  }

  async rows(table: string, options: ScanOptions): Promise<Record<string, unknown>[]> {
    return readRows(this.uri(table), { ...options, storageOptions: this.storage })
  }

  /** Waits until a row of the marker table has come through: what was committed before it has come, too. */
  async untilMarked(table: string, n: number): Promise<void> {
    const until = Date.now() + WAIT_MS
    for (;;) {
      try {
        if ((await this.rows(table, { columns: ['n'], where: `n >= ${n}` })).length > 0) break
      } catch (error) {
        // The table is made by the first batch.
        if (Date.now() > until) throw error
      }
      if (this.#query?.exception) throw this.#query.exception
      if (Date.now() > until) throw new Error(`${this.prefix}: marker ${n} does not come`)
      await sleep(100)
    }
    await this.#query?.processAllAvailable()
  }

  async compare(oracle: SourceOracle, name: string, rows: readonly SourceRow[], file: string): Promise<Comparison> {
    const keys = this.tables.find((table) => table.name === name)?.keys ?? []
    const { rows: count, differences } = await oracle.compare(this.uri(name), this.storage, keys, rows, file)
    return { rows: count, differences: differences.map((text) => `${this.prefix} ${name}: ${text}`) }
  }

  /** Ends the stream and starts it again: in order, or in the middle of whatever it does. */
  async restart(how: 'stop' | 'kill' = 'stop'): Promise<void> {
    await this.#query?.[how]?.()
    this.#query = await this.stream(this.options)
  }

  async stop(): Promise<void> {
    await this.#query?.stop()
    await deleteConnector(this.prefix)
  }
}
