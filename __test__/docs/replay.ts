/** Runs an example: decoded and merged as a stream does it, and read back. */

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { DataType, type RecordBatch, Table } from 'apache-arrow'
import { TableDecoder } from '../../src/debezium/decoder.js'
import type { DeltaTable } from '../../src/delta/table.js'
import { KafkaToDeltaError } from '../../src/errors.js'
import { type GivenBatch, inColumns, type OffsetRange, type RawMessage } from '../../src/kafka/micro-batch.js'
import { resolveOptions } from '../../src/options/resolve.js'
import { decodeOptions, openDeltaTable } from '../../src/stream/connect.js'
import { batchRange, Positions } from '../../src/stream/table/positions.js'
import { rowsOf } from '../debezium/support.js'
import { Encoder } from './encode.js'
import type { Example, Message } from './parse.js'

const TOPIC = 'shop.public.t'
const QUERY = 'shop'

/** A table's options as a query has them: unknown names are errors. */
export function tableOptions(path: string, options: Record<string, unknown>) {
  const { tables } = resolveOptions({
    queryName: QUERY,
    kafka: { brokers: ['localhost:9092'] },
    schemaRegistry: { url: 'http://localhost:8081' },
    tables: { [TOPIC]: { path, ...options } },
  })
  return tables[0] as (typeof tables)[0]
}

export interface Outcome {
  columns: Map<string, string>
  rows: Record<string, unknown>[]
  /** By the name that the document gives it. */
  facts: Map<string, string>
}

class Replay {
  readonly facts = new Map<string, string>()
  private readonly encoder: Encoder
  private decoder: TableDecoder | null = null
  private table: DeltaTable | null = null
  private positions = new Positions(QUERY, TOPIC)
  private options: Record<string, unknown>

  constructor(
    private readonly example: Example,
    private readonly path: string,
    mergeMode: string,
  ) {
    this.encoder = new Encoder(example)
    this.options = { ...example.options, mergeMode }
  }

  async start(extra: Record<string, unknown> = {}): Promise<void> {
    await this.close()
    const table = tableOptions(this.path, { ...this.options, ...extra })
    this.decoder = new TableDecoder(decodeOptions(table), this.encoder.source)
    this.table = await openDeltaTable(table)
    const { offsets } = await this.table.refresh()
    this.positions = new Positions(QUERY, TOPIC)
    this.positions.reset(offsets)
  }

  async apply(messages: Message[]): Promise<void> {
    if (messages.length === 0) return
    const read = inColumns(this.batchOf(messages))
    const batch = this.positions.accept(read, true) ?? read
    const changes = await (this.decoder as TableDecoder).decode(batch)
    const ranges = batch.ranges.map((range) => batchRange(range, changes.lastDeletes))
    this.count('skipped', changes.badRecords.length)
    this.count('ignored', changes.numIgnored)
    if (changes.ipc === null) {
      this.positions.keep(ranges)
      return
    }
    const offsets = this.positions.offsetsFor(ranges)
    const result = await (this.table as DeltaTable).merge(changes.ipc, { primaryKey: changes.primaryKey, offsets })
    this.positions.committed(offsets)
    this.count('dropped as old', result.numDroppedStale)
    this.count('missing values', result.numMissingValues)
  }

  private count(name: string, more: number): void {
    this.facts.set(name, String(Number(this.facts.get(name) ?? 0) + more))
  }

  private batchOf(messages: Message[]): GivenBatch {
    const ranges = new Map<number, OffsetRange<RawMessage[]>>()
    for (const message of messages) {
      const raw = this.encoder.message(message)
      const offset = BigInt(raw.offset)
      const { partition } = message
      const range = ranges.get(partition) ?? { partition, firstOffset: offset, lastOffset: offset, messages: [] }
      range.messages.push(raw)
      range.lastOffset = offset
      ranges.set(partition, range)
    }
    const partitions = this.example.steps.map((step) => (step.kind === 'message' ? step.partition : 0))
    const numPartitions = 1 + Math.max(...partitions)
    return { topic: TOPIC, ranges: [...ranges.values()], numMessages: messages.length, numPartitions, numBytes: 0 }
  }

  async read(): Promise<Outcome> {
    const info = await (this.table as DeltaTable).refresh()
    if (!info.exists) return { columns: new Map(), rows: [], facts: this.facts }
    this.facts.set('table property', Object.keys(info.properties).filter(isOurs).sort().join(', '))
    this.facts.set('hidden columns', this.hiddenColumns(info.schemaJson ?? ''))
    const { show } = this.example
    const table = await (this.table as DeltaTable).scan(show ?? {}).toTable()
    const { fields } = JSON.parse(info.schemaJson ?? '{}') as { fields: { name: string; type: unknown }[] }
    const types = new Map(fields.map(({ name, type }) => [name, typeof type === 'string' ? type : '']))
    const columns = new Map(table.schema.fields.map(({ name }) => [name, types.get(name) ?? '']))
    const rows = table.batches.flatMap(plainRows)
    return { columns, rows, facts: this.facts }
  }

  /** Names in the data files' footers that the table's schema does not have. */
  private hiddenColumns(schemaJson: string): string {
    const found = new Set<string>()
    for (const file of readdirSync(this.path, { recursive: true }) as string[]) {
      if (!file.endsWith('.parquet') || file.includes('_delta_log')) continue
      const text = readFileSync(join(this.path, file)).toString('latin1')
      for (const [name] of text.matchAll(/_kafka2delta_[a-z]+(?:_\d)?/g)) found.add(name)
    }
    return [...found]
      .filter((name) => !schemaJson.includes(name))
      .sort()
      .join(', ')
  }

  async close(): Promise<void> {
    await this.table?.close()
    this.table = null
  }
}

/** DataFusion reads columns that a table is partitioned by as dictionaries. */
function plainRows(batch: RecordBatch): Record<string, unknown>[] {
  const rows = rowsOf(new Table([batch]))
  for (const { name, type } of batch.schema.fields) {
    if (!DataType.isDictionary(type)) continue
    rows.forEach((row, i) => {
      row[name] = batch.getChild(name)?.get(i)
    })
  }
  return rows
}

const isOurs = (property: string) => property.startsWith('kafka2delta.')

/**
 * @param single each message as its own batch
 * @returns what the table holds at the end, or before the batch that failed
 */
export async function replay(example: Example, path: string, mergeMode: string, single: boolean): Promise<Outcome> {
  const run = new Replay(example, path, mergeMode)
  try {
    await run.start()
    let batch: Message[] = []
    const flush = async () => {
      const messages = batch
      batch = []
      await run.apply(messages)
    }
    try {
      for (const step of example.steps) {
        if (step.kind === 'message') {
          batch.push(step)
          if (single) await flush()
          continue
        }
        await flush()
        if (step.kind === 'restart') await run.start(step.options)
      }
      await flush()
    } catch (error) {
      if (!(error instanceof KafkaToDeltaError)) throw error
      run.facts.set('error', error.code)
      run.facts.set('message', error.message)
    }
    return await run.read()
  } finally {
    await run.close()
  }
}
