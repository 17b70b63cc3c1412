/**
 * Makes a Delta table equal to its source where they differ, in one commit. The commit is fenced by the offsets that the
 * table held before the source's rows were looked at: a source's row is as new as those at least, and what the stream
 * applies afterwards comes later. Where the stream was faster, the rows are looked at again.
 */

import { Bool, type Data, Field, makeData, Struct, Uint8 } from 'apache-arrow'
import { writeIpc } from '../arrow/ipc.js'
import { isOffset, lostEntries, otherPartitions } from '../delta/offset-entries.js'
import type { TableOffset } from '../delta/results.js'
import type { DeltaTable } from '../delta/table.js'
import { KafkaToDeltaError } from '../errors.js'
import { columnOf, columnType } from './columns.js'
import { computedColumns, NO_RULES, type TableShape } from './compared-columns.js'
import type { Differences, Found, Verification } from './verify.js'

export interface RepairResult {
  /** The table's version with the repair; null where nothing differed any more. */
  version: number | null
  upserted: number
  deleted: number
}

/** How long it is tried to commit between two commits of the stream, in milliseconds and in times. */
const MIN_TIME_MS = 60_000
const MIN_TRIES = 30

/**
 * @param open opens the table, which is closed here; with an index of its keys once the stream was faster without one
 * @throws FENCED where the stream commits between each look and each commit, CONFIG_INVALID
 */
export async function repair(
  open: (indexed: boolean) => Promise<DeltaTable>,
  verification: Verification,
  shape: TableShape,
): Promise<RepairResult> {
  const done: RepairResult = { version: null, upserted: 0, deleted: 0 }
  let table = await open(false)
  try {
    let most = Number.POSITIVE_INFINITY
    let until = Date.now() + MIN_TIME_MS
    for (let tries = 1; ; tries++) {
      const { rows, isLast, merge } = await nextStep(table, verification, shape, most)
      try {
        if (merge !== null) done.version = (await table.merge(...merge)).version
      } catch (error) {
        if (!(error instanceof KafkaToDeltaError) || error.code !== 'FENCED') throw error
        if (tries >= MIN_TRIES && Date.now() > until) throw tooBusy(error, done)
        // Fewer rows are looked at and written sooner, before the stream's next commit, and an index finds them sooner.
        if (most === Number.POSITIVE_INFINITY) table = await reopened(table, open)
        most = Math.ceil(rows.length / 2) || 1
        continue
      }
      for (const [text, { kind }] of rows) {
        verification.forget(text)
        done[kind === 'extra' ? 'deleted' : 'upserted']++
      }
      if (isLast) return done
      tries = 0
      until = Date.now() + MIN_TIME_MS
    }
  } finally {
    await table.close()
  }
}

async function reopened(table: DeltaTable, open: (indexed: boolean) => Promise<DeltaTable>): Promise<DeltaTable> {
  const next = await open(true)
  await table.close()
  return next
}

interface Step {
  rows: readonly Row[]
  /** Whether no other rows are left. */
  isLast: boolean
  /** Null where nothing is to be written. */
  merge: Parameters<DeltaTable['merge']> | null
}

async function nextStep(table: DeltaTable, verification: Verification, shape: TableShape, most: number): Promise<Step> {
  let stored: Awaited<ReturnType<DeltaTable['offsets']>> = new Map()
  // Reading the table takes longest, and the stream must not commit between the offsets and the repair: rows of the
  // table from before the offsets do no harm, since what is written is the source's.
  const differences = await verification.differencesNow(most, async () => {
    stored = await table.offsets()
  })
  const rows = [...differences.found]
  const isLast = differences.more === 0
  mustKnowAll(rows, differences)
  // With the last rows the table is whole again, whatever was lost.
  const lost = isLast ? lostEntries(stored) : []
  if (rows.length === 0 && lost.length === 0) return { rows, isLast, merge: null }
  const offsets: TableOffset[] = [...stored]
    .filter(([appId]) => isOffset(appId))
    .map(([appId, last]) => ({ appId, expected: last, last }))
  const changes = rows.length === 0 ? null : changesOf(rows, differences, shape)
  offsets.push(...otherPartitions(stored), ...lost)
  const options = { primaryKey: shape.primaryKey, offsets, transfer: true }
  return { rows, isLast, merge: [changes, options] }
}

function tooBusy(cause: KafkaToDeltaError, { upserted, deleted }: RepairResult): KafkaToDeltaError {
  const before = upserted + deleted === 0 ? 'nothing was repaired' : `${upserted + deleted} rows were repaired before`
  return new KafkaToDeltaError(
    'FENCED',
    `the stream has committed between each look at the rows and each commit of the repair, for a minute: ${before}; ` +
      'stop the stream, repair, and start it again',
    { cause },
  )
}

/** A new row needs every value that the stream would give it. */
function mustKnowAll(rows: readonly Row[], { columns, withoutSource, unknown }: Differences): void {
  const missing = rows.filter(([, { kind }]) => kind === 'missing')
  if (missing.length === 0) return
  const remedy = 'touch these rows at the source (an UPDATE that changes nothing), so that they come through the stream'
  if (withoutSource.length > 0) {
    throw new KafkaToDeltaError(
      'CONFIG_INVALID',
      `rows that are missing cannot be written, since the source has no column for ${withoutSource.join(', ')}: if the ` +
        `options of the table name it otherwise (renameColumns, additionalCols), give its configuration; else ${remedy}`,
    )
  }
  const names = columns.map(({ name }) => name)
  const inRows = names.filter((name) => missing.some(([, { values }]) => !values?.has(name)))
  const all = [...new Set([...unknown, ...inRows])]
  if (all.length === 0) return
  throw new KafkaToDeltaError(
    'CONFIG_INVALID',
    `rows that are missing cannot be written, since what the source holds does not tell what the stream would store in ` +
      `${all.join(', ')}: ${remedy}`,
  )
}

type Row = readonly [string, Found]

const booleans = (values: readonly boolean[]): Data => {
  const data = new Uint8Array(((values.length + 63) >> 6) << 3)
  values.forEach((value, i) => {
    if (value) data[i >> 3] = (data[i >> 3] as number) | (1 << (i & 7))
  })
  return makeData({ type: new Bool(), length: values.length, nullCount: 0, data }) as Data
}

/**
 * The change batch: rows of the source are upserts, and rows without a source are deletes. What the source does not tell
 * stays as it is stored.
 */
function changesOf(
  rows: readonly Row[],
  { unknown }: Differences,
  { fields, primaryKey, rules }: TableShape,
): Uint8Array {
  const columns: { name: string; data: Data; nullable: boolean }[] = []
  const leftOut: { name: string; data: Data }[] = []
  const computed = computedColumns(rules ?? NO_RULES)
  for (const { name, type } of fields) {
    if (computed.has(name)) continue
    const of = columnType(type)
    if (of === null) throw new KafkaToDeltaError('CONFIG_INVALID', `the column ${name} has a type that is not known`)
    const at = primaryKey.indexOf(name)
    const value = ([, { values, keyValues }]: Row) => (at >= 0 ? keyValues[at] : values?.get(name)) ?? null
    const stays = rows.map(([, { values }]) => at < 0 && (unknown.includes(name) || !values?.has(name)))
    const written = rows.map((row, i) => (stays[i] ? null : value(row)))
    columns.push({ name, data: columnOf(of, written), nullable: true })
    if (stays.includes(true)) leftOut.push({ name, data: booleans(stays) })
  }
  const ops = Uint8Array.from(rows, ([, { kind }]) => (kind === 'extra' ? 1 : 0))
  columns.push({
    name: '_op',
    data: makeData({ type: new Uint8(), length: rows.length, nullCount: 0, data: ops }) as Data,
    nullable: false,
  })
  if (leftOut.length > 0) {
    const type = new Struct(leftOut.map(({ name }) => new Field(name, new Bool(), false)))
    const children = leftOut.map(({ data }) => data)
    const data = makeData({ type, length: rows.length, nullCount: 0, children }) as Data
    columns.push({ name: '_left_out', data, nullable: false })
  }
  return writeIpc(columns, rows.length)
}
