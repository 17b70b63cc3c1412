/**
 * The keys that a topic shows since its last full snapshot began, as the source's side of a comparison: what the table has
 * beyond them was removed while nobody told (a truncate of a flattened stream, rows deleted while a slot was lost).
 *
 * A query of its own writes keys, operations and positions of the topic to a changelog in a local folder, and goes on while
 * the comparison runs.
 */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Table, tableFromIPC } from 'apache-arrow'
import { readTable } from '../delta/table.js'
import { KafkaToDeltaError } from '../errors.js'
import { createClient, kafkaError } from '../kafka/client.js'
import { fetchWatermarks } from '../kafka/positions.js'
import { createLogger } from '../log.js'
import type { ResolvedOptions, ResolvedTable } from '../options/types.js'
import type { StreamingQuery } from '../stream/query.js'
import { realSystems } from '../stream/real-systems.js'
import { startQuery } from '../stream/start.js'
import type { SourceRow, SourceTable } from '../verify/sources/source.js'
import { comparable, type DeltaType, quote, sourceText } from '../verify/values.js'

const METADATA = ['source.snapshot', 'operation', 'kafka.partition', 'kafka.offset', 'kafka.timestamp']
const SNAPSHOT = '`__source_snapshot`'
/** Microseconds since 1970. */
const TIME = 'CAST(`__kafka_timestamp` AS BIGINT)'

export interface TopicSourceOptions {
  options: ResolvedOptions
  table: ResolvedTable
  /** The key's columns, with their types in the table. */
  key: readonly { name: string; type: DeltaType }[]
  /** When the snapshot began, in milliseconds since 1970. Null: at the first marker of the last one that is whole. */
  since: number | null
}

export class TopicSource implements SourceTable {
  readonly columns: readonly string[]
  readonly #given: TopicSourceOptions
  readonly #folder: string
  readonly #query: StreamingQuery
  /** When the snapshot began, in microseconds since 1970. */
  #start = 0n

  private constructor(given: TopicSourceOptions, folder: string, query: StreamingQuery) {
    this.#given = given
    this.#folder = folder
    this.#query = query
    this.columns = given.key.map(({ name }) => name)
  }

  /**
   * Reads the topic up to its end as it is now.
   * @throws CONFIG_INVALID where the topic has no whole snapshot, and what the stream of the topic throws
   */
  static async open(given: TopicSourceOptions): Promise<TopicSource> {
    const folder = mkdtempSync(join(tmpdir(), 'kafka2delta-resync-'))
    const { options, table } = given
    const changelog: ResolvedTable = {
      ...table,
      uri: join(folder, 'changelog'),
      storageOptions: {},
      writeMode: 'append',
      metadataColumns: METADATA,
      // Key columns always are there; flattened values have the marker as a field.
      includeColumns: ['__source_snapshot'],
      excludeColumns: [],
      additionalCols: [],
      partitionCols: [],
      clusterBy: [],
      tableProperties: {},
      maintenance: null,
      indexDir: null,
      deadLetter: null,
      onBadRecord: 'fail',
    }
    const logger = createLogger('silent')
    const own: ResolvedOptions = {
      ...options,
      queryName: `${options.queryName}-resync`,
      tables: [changelog],
      startingOffsets: 'earliest',
      trigger: { processingTime: 50 },
    }
    try {
      const query = await startQuery({ options: own, systems: realSystems(own, logger), logger })
      const source = new TopicSource(given, folder, query)
      try {
        await source.refresh()
        source.#start = given.since === null ? await source.#lastSnapshot() : BigInt(given.since) * 1000n
        await source.#mustBeWhole()
        return source
      } catch (error) {
        await query.stop()
        throw error
      }
    } catch (error) {
      rmSync(folder, { recursive: true, force: true })
      throw error
    }
  }

  /** When the snapshot began. */
  get start(): Date {
    return new Date(Number(this.#start / 1000n))
  }

  /** Reads on, to the topic's end as it is now. */
  async refresh(): Promise<void> {
    await this.#query.processAllAvailable()
  }

  async *rows(_key: readonly string[], fetchSize: number): AsyncIterable<readonly SourceRow[]> {
    const columns = this.#given.key.map(({ name }) => quote(name))
    const numbered = `SELECT *, row_number() OVER (ORDER BY ${columns.join(', ')}) AS number FROM (${this.#live()}) AS live`
    for (let from = 0; ; from += fetchSize) {
      const rows = this.#asRows(
        await this.#select(
          `SELECT ${this.#selected} FROM (${numbered}) AS n WHERE number > ${from} AND number <= ${from + fetchSize} ORDER BY number`,
        ),
      )
      if (rows.length > 0) yield rows
      if (rows.length < fetchSize) return
    }
  }

  async rowsOf(_key: readonly string[], values: readonly (readonly string[])[]): Promise<readonly SourceRow[]> {
    const same = (key: readonly string[]) =>
      this.#given.key.map(({ name, type }, i) => `${quote(name)} = ${comparable(type)?.literal(key[i] as string)}`)
    const where = values.map((key) => `(${same(key).join(' AND ')})`).join(' OR ')
    return this.#asRows(await this.#select(`SELECT ${this.#selected} FROM (${this.#live()}) AS live WHERE ${where}`))
  }

  async close(): Promise<void> {
    await this.#query.stop()
    rmSync(this.#folder, { recursive: true, force: true })
  }

  /** The keys whose last change since the snapshot's beginning is no delete. */
  #live(): string {
    const key = this.#given.key.map(({ name }) => quote(name)).join(', ')
    const order = '`__kafka_timestamp` DESC, `__kafka_offset` DESC'
    const since = `${TIME} >= ${this.#start} AND ${this.#given.key.map(({ name }) => `${quote(name)} IS NOT NULL`).join(' AND ')}`
    const last = `SELECT ${key}, \`__operation\` AS op, row_number() OVER (PARTITION BY ${key} ORDER BY ${order}) AS nth FROM t WHERE ${since}`
    return `SELECT ${key} FROM (${last}) AS last WHERE nth = 1 AND (op IS NULL OR op <> 'd')`
  }

  /** The key's columns in the form that a comparison reads. */
  get #selected(): string {
    return this.#given.key.map(({ name, type }) => `${comparable(type)?.select(name)} AS ${quote(name)}`).join(', ')
  }

  async #select(sql: string): Promise<Table> {
    return tableFromIPC(await readTable(join(this.#folder, 'changelog'), { sql }))
  }

  #asRows(table: Table): SourceRow[] {
    const columns = this.#given.key.map(({ name, type }) => {
      const how = comparable(type)
      return { name, type, how, values: table.getChild(name) }
    })
    return Array.from({ length: table.numRows }, (_, row) =>
      Object.fromEntries(
        columns.map(({ name, type, how, values }) => [name, sourceText(type, how?.stored(values?.get(row)) ?? '')]),
      ),
    )
  }

  /** When the last snapshot began that is whole: its markers are in the topic, from the first one to the last one. */
  async #lastSnapshot(): Promise<bigint> {
    const { topic } = this.#given.table
    const refused = (why: string) =>
      new KafkaToDeltaError('CONFIG_INVALID', `${why}: say when the snapshot began, with --since`, { topic })
    const { schema } = await this.#select('SELECT * FROM t LIMIT 0')
    if (!schema.fields.some(({ name }) => name === '__source_snapshot')) {
      throw refused(`topic ${topic} does not tell which rows are a snapshot's (source.snapshot in add.fields)`)
    }
    const one = async (sql: string) => (await this.#select(sql)).getChild('found')?.get(0) as bigint | null
    const last = `${SNAPSHOT} IN ('last', 'last_in_data_collection')`
    const end = await one(`SELECT max(${TIME}) AS found FROM t WHERE ${last}`)
    if (end === null) throw refused(`topic ${topic} holds no snapshot that is whole`)
    const before = (await one(`SELECT max(${TIME}) AS found FROM t WHERE ${last} AND ${TIME} < ${end}`)) ?? -1n
    const within = `${TIME} > ${before} AND ${TIME} <= ${end}`
    const first = `${SNAPSHOT} IN ('first', 'first_in_data_collection')`
    const start = await one(`SELECT max(${TIME}) AS found FROM t WHERE ${first} AND ${within}`)
    if (start !== null) return start
    // A table of one row has no other marker.
    const others = await one(`SELECT count(*) AS found FROM t WHERE ${SNAPSHOT} = 'true' AND ${within}`)
    if (others !== 0n) throw refused(`the beginning of the last snapshot is not in topic ${topic} any more`)
    return end
  }

  /** No partition may have lost messages since the snapshot began: their keys would be taken for removed ones. */
  async #mustBeWhole(): Promise<void> {
    const { options, table } = this.#given
    const client = createClient(options.kafka, options.queryName, undefined, { retries: 2 })
    const admin = client.kafka.admin()
    try {
      await admin.connect()
      const found = await this.#select(
        `SELECT \`__kafka_partition\` AS p, min(${TIME}) AS first FROM t GROUP BY \`__kafka_partition\``,
      )
      const first = new Map(found.toArray().map((row) => [Number(row.p), row.first as bigint]))
      for (const [partition, { low, high }] of await fetchWatermarks(admin, table.topic)) {
        const since = first.get(partition)
        if (low === 0n || low === high || (since !== undefined && since < this.#start)) continue
        throw new KafkaToDeltaError(
          'DATA_LOSS',
          `topic ${table.topic}, partition ${partition} begins at offset ${low}, and no message there is from before ` +
            `${this.start.toISOString()}: what it held of the snapshot may be gone; take a new one`,
          { topic: table.topic, partition },
        )
      }
    } catch (error) {
      throw kafkaError(error, `topic ${table.topic} cannot be looked at`, client.redact)
    } finally {
      await admin.disconnect().catch(() => {})
      client.destroySockets()
    }
  }
}
