/**
 * Makes a Delta table equal to its source where they differ, in one commit. The commit is fenced by the offsets that the
 * table held before the source's rows were looked at: a source's row is as new as those at least, and what the stream
 * applies afterwards comes later. Where the stream was faster, the rows are looked at again.
 */

import { Bool, type Data, Field, makeData, Struct, Uint8 } from 'apache-arrow'
import { writeIpc } from '../arrow/ipc.js'
import { isOffset, lostEntries } from '../delta/offset-entries.js'
import type { DeltaTable } from '../delta/table.js'
import { KafkaToDeltaError } from '../errors.js'
import { columnOf, columnType } from './columns.js'
import type { DeltaType } from './comparable.js'
import type { Found, Verification } from './verify.js'

export interface RepairOptions {
  /** Columns of the Delta table's schema. */
  fields: readonly { name: string; type: DeltaType }[]
  primaryKey: readonly string[]
  /** Columns that the engine computes. */
  computed: ReadonlySet<string>
  /** Columns of the source that could not be compared. */
  notCompared: readonly string[]
}

export interface RepairResult {
  /** The table's version with the repair; null where nothing differed any more. */
  version: number | null
  upserted: number
  deleted: number
}

/** Tries, and the time for them in milliseconds, before the stream is too fast: a busy machine needs more of either. */
const MIN_TRIES = 30
const MIN_TIME_MS = 60_000

/** @throws FENCED where the stream commits between each look and each commit, CONFIG_INVALID */
export async function repair(
  table: DeltaTable,
  verification: Verification,
  options: RepairOptions,
): Promise<RepairResult> {
  const until = Date.now() + MIN_TIME_MS
  for (let tries = 1; ; tries++) {
    let stored: Awaited<ReturnType<DeltaTable['offsets']>> = new Map()
    // Reading the table takes longest, and the stream must not commit between the offsets and the repair: rows of the
    // table from before the offsets do no harm, since what is written is the source's.
    const { columns, found } = await verification.differencesNow(async () => {
      stored = await table.offsets()
    })
    const offsets = [...stored]
      .filter(([appId]) => isOffset(appId))
      .map(([appId, last]) => ({ appId, expected: last, last }))
    // The table is whole again, whatever was lost.
    const lost = lostEntries(stored)
    const rows = [...found]
    const deleted = rows.filter(([, { kind }]) => kind === 'extra').length
    if (deleted < rows.length) mustKnowAll(options)
    try {
      if (rows.length === 0 && lost.length === 0) return { version: null, upserted: 0, deleted: 0 }
      const changes = rows.length === 0 ? null : changesOf(rows, columns, options)
      const { primaryKey } = options
      const { version } = await table.merge(changes, { primaryKey, offsets: [...offsets, ...lost], transfer: true })
      return { version, upserted: rows.length - deleted, deleted }
    } catch (error) {
      const isOver = tries >= MIN_TRIES && Date.now() > until
      if (!(error instanceof KafkaToDeltaError) || error.code !== 'FENCED' || isOver) throw error
    }
  }
}

/** A row that is written whole needs every value that the source has for it. */
function mustKnowAll({ fields, notCompared }: RepairOptions): void {
  const unknown = fields.filter(({ name }) => notCompared.includes(name)).map(({ name }) => name)
  if (unknown.length === 0) return
  throw new KafkaToDeltaError(
    'CONFIG_INVALID',
    `rows cannot be repaired, since the values of ${unknown.join(', ')} cannot be read from the source's text: ` +
      'update these rows at the source, so that they come through the stream',
  )
}

/** The change batch: rows of the source are upserts, other columns stay as they are; rows without a source are deletes. */
function changesOf(
  rows: readonly (readonly [string, Found])[],
  compared: readonly string[],
  { fields, primaryKey, computed }: RepairOptions,
): Uint8Array {
  const columns: { name: string; data: Data; nullable: boolean }[] = []
  const leftOut: { name: string; data: Data }[] = []
  const keys = rows.map(([text]) => JSON.parse(text) as (string | null)[])
  const bits = () => new Uint8Array(((rows.length + 63) >> 6) << 3).fill(255)
  for (const { name, type } of fields) {
    if (computed.has(name)) continue
    const of = columnType(type)
    if (of === null) throw new KafkaToDeltaError('CONFIG_INVALID', `the column ${name} has a type that is not known`)
    const at = primaryKey.indexOf(name)
    const value = ([, { values }]: readonly [string, Found], row: number) =>
      at >= 0 ? (keys[row]?.[at] ?? null) : (values?.get(name) ?? null)
    columns.push({ name, data: columnOf(of, rows.map(value)), nullable: true })
    if (compared.includes(name)) continue
    leftOut.push({
      name,
      data: makeData({ type: new Bool(), length: rows.length, nullCount: 0, data: bits() }) as Data,
    })
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
