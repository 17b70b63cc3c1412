/** A query's figures for Prometheus. Labels are `topic` and `table`, as many as the configuration has. */

import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'
import { MERGE_FIGURES, type MergeCounter, type MergeFigure } from '../delta/results.js'
import type { MemoryStatus, StreamingQuery } from '../stream/index.js'

const LABELS = ['topic', 'table'] as const

export class Metrics {
  readonly #registry = new Registry()
  #query: StreamingQuery | null = null

  constructor() {
    const registers = [this.#registry]
    collectDefaultMetrics({ register: this.#registry })
    const perTable = (name: string, help: string, value: (table: Status) => number | null) => {
      const query = () => this.#query
      new Gauge({
        name: `kafka2delta_${name}`,
        help,
        labelNames: LABELS,
        registers,
        collect() {
          this.reset()
          for (const [topic, table] of Object.entries(query()?.status.tables ?? {})) {
            const of = value(table)
            if (of !== null) this.set({ topic, table: table.table }, of)
          }
        },
      })
    }
    this.#addMemory('queued', 'Memory of messages of all topics that wait, or are being decoded.')
    this.#addMemory('decoding', 'Memory of the columns that batches are decoded into.')
    this.#addMemory(
      'merging',
      'Memory of decoded batches that are not committed, and of what the engine makes of them.',
    )
    this.#addMemory('indexes', 'Memory of the key indexes.')
    this.#addMemory('compaction', 'Memory of steps of compaction that are under way, as expected.')
    this.#addAssigned()
    perTable('lag_messages', 'Offsets between the table and the end of its topic.', ({ lag }) => lag)
    perTable('table_ended', '1 where the table gets no changes any more.', ({ state }) => (state === 'ended' ? 1 : 0))
    perTable('table_needs_resync', '1 where messages were lost and not made good.', ({ needsResync }) =>
      needsResync ? 1 : 0,
    )
    perTable('table_retrying', '1 where a system fails that the table waits for.', ({ waitingFor }) =>
      waitingFor ? 1 : 0,
    )
    perTable(
      'catalog_failing',
      '1 where the entry in the catalog could not be brought up to date.',
      ({ catalog }) => catalog && (catalog.error ? 1 : 0),
    )
    perTable(
      'catalog_failing_seconds',
      'For how long it could not.',
      ({ catalog }) => catalog && (catalog.error ? (Date.now() - Date.parse(catalog.error.since)) / 1000 : 0),
    )
    perTable('table_retrying_seconds', 'How long the table has waited for it.', ({ waitingFor }) =>
      waitingFor ? (Date.now() - Date.parse(waitingFor.since)) / 1000 : 0,
    )
  }

  #addMemory(kind: keyof MemoryStatus, help: string): void {
    const query = () => this.#query
    new Gauge({
      name: `kafka2delta_${kind}_bytes`,
      help,
      registers: [this.#registry],
      collect() {
        this.set(query()?.status.memory[kind] ?? 0)
      },
    })
  }

  #addAssigned(): void {
    const query = () => this.#query
    new Gauge({
      name: 'kafka2delta_tables_assigned',
      help: 'Tables of this worker, by topic: all of them, or those that the group gives it (workers: many).',
      registers: [this.#registry],
      collect() {
        this.set(Object.keys(query()?.status.tables ?? {}).length)
      },
    })
  }

  /** Begins to count what a query does. */
  watch(query: StreamingQuery): void {
    this.#query = query
    const registers = [this.#registry]
    const counter = (name: string, help: string, more: readonly string[] = []) =>
      new Counter({ name: `kafka2delta_${name}`, help, labelNames: [...LABELS, ...more], registers })
    const gauge = (name: string, help: string) =>
      new Gauge({ name: `kafka2delta_${name}`, help, labelNames: LABELS, registers })
    const messages = counter('messages_total', 'Messages that were committed.')
    const bytes = counter('message_bytes_total', 'Bytes of their keys and values.')
    const commits = counter('commits_total', 'Commits with changes.')
    const bad = counter('bad_records_total', 'Messages that could not be applied.')
    const addFigures = this.#mergeFigures()
    const compactions = counter('compactions_total', 'Steps of compaction.')
    const lostOffsets = counter('lost_offsets_total', 'Offsets that were gone before they were applied.')
    const failed = counter('table_failures_total', 'Errors that stopped a table.', ['code'])
    const version = gauge('table_version', 'Version of the table.')
    const time = gauge('last_commit_timestamp_seconds', 'When the last commit with changes was begun.')
    const duration = new Histogram({
      name: 'kafka2delta_batch_duration_seconds',
      help: 'Decoding and merging of a batch.',
      labelNames: LABELS,
      buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
      registers,
    })
    query.on('progress', (progress) => {
      const labels = { topic: progress.topic, table: progress.table }
      messages.inc(labels, progress.numInputRows)
      bytes.inc(labels, progress.numInputBytes)
      commits.inc(labels)
      bad.inc(labels, progress.numBadRecords)
      addFigures(labels, progress)
      version.set(labels, progress.version)
      time.set(labels, Date.parse(progress.timestamp) / 1000)
      duration.observe(labels, progress.durationMs.total / 1000)
    })
    query.on('compaction', ({ topic, table }) => compactions.inc({ topic, table }))
    const moved = (name: string, help: string) => new Counter({ name: `kafka2delta_${name}`, help, registers })
    const gained = moved('topics_gained_total', 'Topics that came to this worker (workers: many).')
    const lost = moved('topics_lost_total', 'Topics that went to other workers.')
    query.on('tablesMoved', (moves) => {
      gained.inc(moves.gained.length)
      lost.inc(moves.lost.length)
    })
    const tableOf = (topic: string) => query.status.tables[topic]?.table ?? topic
    query.on('dataLoss', ({ topic, lost: count }) =>
      lostOffsets.inc({ topic, table: tableOf(topic) }, Number(count ?? 1n)),
    )
    query.on('tableFailed', ({ topic, table, error }) => failed.inc({ topic, table, code: error.code }))
  }

  /** Makes the counters of {@link MERGE_FIGURES}, and gives what adds the figures of a merge to them. */
  #mergeFigures() {
    const figures = (Object.entries(MERGE_FIGURES) as [MergeFigure, MergeCounter | null][]).flatMap(([figure, of]) =>
      of === null ? [] : [{ figure, labels: {}, ...of }],
    )
    const counters = new Map<string, Counter>()
    for (const { counter, help, labels } of figures) {
      if (counters.has(counter)) continue
      const labelNames = [...LABELS, ...Object.keys(labels)]
      const registers = [this.#registry]
      counters.set(counter, new Counter({ name: `kafka2delta_${counter}`, help, labelNames, registers }))
    }
    return (of: Record<string, string>, result: Record<MergeFigure, number>) => {
      for (const { figure, counter, labels } of figures)
        counters.get(counter)?.inc({ ...of, ...labels }, result[figure])
    }
  }

  get contentType(): string {
    return this.#registry.contentType
  }

  /** Prometheus's text. */
  async text(): Promise<string> {
    return this.#registry.metrics()
  }
}

type Status = StreamingQuery['status']['tables'][string]
