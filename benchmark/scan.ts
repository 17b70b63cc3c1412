/**
 * Reads a table of some million rows whole and by conditions: ours, delta-rs (DataFusion) and DuckDB, each in a process
 * of its own, one after another. Prints seconds and peak memory, and how they compare.
 *
 *   npm run bench:scan -- [--rows 10000000] [--times 3] [--json]
 */

import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { Float64, Int32, Int64, makeData, makeVector, Table, Utf8, vectorFromArray } from 'apache-arrow'
import { DeltaTable, scanTable } from '../src/delta/index.js'

/** Rows of a commit. */
const STEP = 500_000
const STATES = ['new', 'paid', 'sent', 'back']

interface Query {
  name: string
  columns: string[] | null
  /** In a form that Spark, DataFusion and DuckDB read alike. */
  where: string | null
}

interface Measured {
  rows: number
  seconds: number
  /** Bytes. */
  peak: number
}

const queries = (rows: number): Query[] => [
  { name: 'all rows, all columns', columns: null, where: null },
  { name: 'all rows, the key', columns: ['id'], where: null },
  { name: 'one key', columns: null, where: `id = ${Math.floor(rows / 3)}` },
  { name: '1 % of the keys', columns: null, where: `id >= ${rows / 2} AND id < ${rows / 2 + rows / 100}` },
  { name: '0.1 % by another column', columns: null, where: 'amount >= 999' },
  { name: 'a quarter by a text', columns: ['id', 'amount'], where: "state = 'paid'" },
]

/** Rows of the ids, spread over `step`. */
function batch(from: number, count: number, step: number, version: number): Table {
  const ids = BigInt64Array.from({ length: count }, (_, i) => BigInt(from + i * step))
  const numbers = (make: (i: number) => number) => Array.from({ length: count }, (_, i) => make(from + i * step))
  const data = (type: Int64 | Int32 | Float64, values: ArrayBufferView) =>
    makeVector(makeData({ type, length: count, nullCount: 0, data: values } as never) as never)
  return new Table({
    id: data(new Int64(), ids),
    customer: data(new Int32(), Int32Array.from(numbers((id) => (id * 7919) % 100_003))),
    amount: data(new Float64(), Float64Array.from(numbers((id) => ((id * 7919) % 1_000_003) / 1000))),
    version: data(new Int32(), new Int32Array(count).fill(version)),
    state: vectorFromArray(
      numbers((id) => id % 4).map((at) => STATES[at] as string),
      new Utf8(),
    ),
    note: vectorFromArray(
      numbers((id) => id).map((id) => `note ${(id * 31) % 65_537} of ${id % 977}`),
      new Utf8(),
    ),
  })
}

async function makeTable(path: string, rows: number): Promise<void> {
  const table = await DeltaTable.open({ path, primaryKey: ['id'] })
  for (let from = 0; from < rows; from += STEP) await table.merge(batch(from, Math.min(STEP, rows - from), 1, 0))
  // Updates all over the table: new small files, and deletion vectors on the others.
  for (let version = 1; version <= 5; version++) {
    await table.merge(batch(version, Math.floor(rows / 200), 200, version))
  }
  const { numFiles, sizeBytes } = await table.info()
  process.stderr.write(`${rows} rows in ${numFiles} files, ${(sizeBytes / 2 ** 20).toFixed(0)} MiB\n`)
  await table.close()
}

async function readOurs(path: string, { columns, where }: Query): Promise<Measured> {
  const began = performance.now()
  let rows = 0
  for await (const found of scanTable(path, { ...(columns && { columns }), ...(where && { where }) })) {
    rows += found.numRows
  }
  const seconds = (performance.now() - began) / 1000
  return { rows, seconds, peak: peakMemory() }
}

/** Bytes. The resource usage of a process begins with that of its parent. */
const peakMemory = () => Number(/VmHWM:\s*(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]) * 1024

/** A reader of its own process, the best of several times. */
function measure(program: string, args: readonly string[], times: number): Measured {
  const runs = Array.from({ length: times }, () => {
    const { status, stdout } = spawnSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] })
    if (status !== 0) throw new Error(`${program} ${args.join(' ')} ended with ${status}`)
    return JSON.parse(stdout) as Measured
  })
  return runs.reduce((best, run) => (run.seconds < best.seconds ? run : best))
}

const { values } = parseArgs({
  options: {
    rows: { type: 'string', default: '10000000' },
    times: { type: 'string', default: '3' },
    json: { type: 'boolean', default: false },
    // For the process of a reader.
    read: { type: 'string' },
    table: { type: 'string' },
  },
})
const own = fileURLToPath(import.meta.url)

if (values.read !== undefined) {
  console.log(JSON.stringify(await readOurs(values.table as string, JSON.parse(values.read) as Query)))
} else {
  const folder = mkdtempSync(join(tmpdir(), 'kafka2delta-scan-'))
  try {
    const path = join(folder, 'table')
    const rows = Number(values.rows)
    await makeTable(path, rows)
    const python = process.env.ORACLE_PYTHON
    const readers: [string, (query: string) => [string, string[]]][] = [
      ['ours', (query) => [process.execPath, ['--import', 'tsx', own, '--table', path, '--read', query]]],
    ]
    for (const peer of python ? ['delta-rs', 'duckdb'] : []) {
      const script = fileURLToPath(new URL('scan_peers.py', import.meta.url))
      readers.push([peer, (query) => [python as string, [script, peer, path, query]]])
    }
    const results = []
    for (const query of queries(rows)) {
      const found = readers.map(([name, command]) => {
        const [program, args] = command(JSON.stringify(query))
        return { name, ...measure(program, args, Number(values.times)) }
      })
      const [ours] = found as [Measured & { name: string }]
      for (const other of found) {
        if (other.rows !== ours.rows) throw new Error(`${query.name}: ours ${ours.rows}, ${other.name} ${other.rows}`)
      }
      results.push({ query: query.name, where: query.where, rows: ours.rows, readers: found })
      if (values.json) continue
      console.log(`${query.name}: ${ours.rows} rows`)
      for (const { name, seconds, peak } of found) {
        const ratio = (ours.seconds / seconds).toFixed(2)
        console.log(
          `  ${name.padEnd(9)} ${seconds.toFixed(3)} s  ${(peak / 2 ** 20).toFixed(0)} MiB  ours/its ${ratio}`,
        )
      }
    }
    if (values.json) console.log(JSON.stringify(results, null, 2))
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
