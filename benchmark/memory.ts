/**
 * Memory over time: many tables in one process under a small `limits.maxMemory`, wide ones and large messages among them.
 *
 *   npm run bench:memory -- [--tables N] [--rows N] [--max-memory MB] [--seconds N] [--svg FILE] [--json]
 *
 * The topics have a backlog when the query begins, and get changes until the time is over. Kafka and the registry are the
 * embedded ones, in a process of their own: the resident memory is that of the query alone. What is counted is what `/status`
 * tells, each 100 ms.
 */

import { type ChildProcess, fork } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import avsc from 'avsc'
import { EmbeddedBroker } from '../src/demo/broker/index.js'
import { EmbeddedRegistry } from '../src/demo/registry.js'
import { streamToDelta } from '../src/stream/index.js'

const MB = 2 ** 20
const { values: given } = parseArgs({
  options: {
    tables: { type: 'string', default: '60' },
    rows: { type: 'string', default: '20000' },
    'max-memory': { type: 'string', default: '256' },
    seconds: { type: 'string', default: '120' },
    svg: { type: 'string' },
    json: { type: 'boolean', default: false },
    topics: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
})
const TABLES = Number(given.tables)
const ROWS = Number(given.rows)
const MAX_MEMORY = Number(given['max-memory'])
const SECONDS = Number(given.seconds)

const WIDE_COLUMNS = 600
/** Large messages: a little less than what a message may have. */
const LARGE_BYTES = Math.floor((MAX_MEMORY / 8) * 0.9) * MB
const LARGE_MESSAGES = 20

const KEY = { type: 'record', name: 'Key', fields: [{ name: 'id', type: 'long' }] }
const FIELDS = [
  { name: 'id', type: 'long' },
  { name: 'v', type: 'string' },
]
const NARROW = { type: 'record', name: 'Narrow', fields: FIELDS }
const wideFields = Array.from({ length: WIDE_COLUMNS }, (_, i) => ({
  name: `c${i}`,
  type: ['null', i % 2 === 0 ? 'double' : 'string'],
  default: null,
}))
const WIDE = { type: 'record', name: 'Wide', fields: [...FIELDS, ...wideFields] }
const SCHEMAS = [KEY, NARROW, WIDE]

/** Topics by what their rows are: one with large messages, one of ten with wide rows. */
const kindOf = (table: number) => (table === 0 ? 'large' : table % 10 === 1 ? 'wide' : 'narrow')
const topicOf = (table: number) => `bench.${kindOf(table)}.t${table}`

interface Ready {
  brokers: string[]
  url: string
}

/** Kafka and the registry, with the backlog; then changes to all tables, one after another, until the process is ended. */
async function serveTopics(): Promise<void> {
  const [broker, registry] = await Promise.all([EmbeddedBroker.start(), EmbeddedRegistry.start()])
  const types = SCHEMAS.map((schema, id) => {
    registry.setSchema(id + 1, schema)
    return avsc.Type.forSchema(schema as avsc.Schema)
  })
  const encode = (id: number, row: object) => {
    const header = Buffer.alloc(5)
    header.writeInt32BE(id, 1)
    return Buffer.concat([header, (types[id - 1] as avsc.Type).toBuffer(row)])
  }
  const value = (table: number, id: number, n: number) => {
    const kind = kindOf(table)
    if (kind === 'large') return encode(2, { id, v: 'x'.repeat(LARGE_BYTES) })
    if (kind === 'narrow') return encode(2, { id, v: `change ${n} ${'x'.repeat(n % 200)}` })
    const columns = wideFields.map(({ name }, i) => [name, i % 2 === 0 ? n / 7 : `text ${n}`])
    return encode(3, { id, v: `change ${n}`, ...Object.fromEntries(columns) })
  }
  const send = (table: number, ids: readonly number[], n: number) =>
    broker.append(
      topicOf(table),
      0,
      ids.map((id) => ({ key: encode(1, { id }), value: value(table, id, n) })),
    )
  const range = (from: number, count: number) => Array.from({ length: count }, (_, i) => from + i)
  for (let table = 0; table < TABLES; table++) {
    broker.createTopic(topicOf(table), 1)
    const kind = kindOf(table)
    const rows = kind === 'large' ? LARGE_MESSAGES : kind === 'wide' ? ROWS / 10 : ROWS
    const part = kind === 'large' ? 1 : kind === 'wide' ? 100 : 2_000
    for (let from = 0; from < rows; from += part) send(table, range(from, Math.min(part, rows - from)), table)
  }
  process.send?.({ brokers: broker.brokers, url: registry.url } satisfies Ready)
  for (let n = 0; ; n++) {
    await sleep(20)
    const table = 1 + (n % (TABLES - 1))
    send(table, range((n * 131) % (ROWS / 10), kindOf(table) === 'wide' ? 20 : 200), n)
  }
}

function startTopics(): Promise<{ child: ChildProcess; ready: Ready }> {
  const child = fork(fileURLToPath(import.meta.url), ['--topics', ...process.argv.slice(2)], {
    execArgv: ['--import', 'tsx', '--max-old-space-size=4096'],
  })
  return new Promise((resolve, reject) => {
    child.once('message', (ready) => resolve({ child, ready: ready as Ready }))
    child.once('exit', (code) => reject(new Error(`the process with the topics ended (${code})`)))
  })
}

const KINDS = ['queued', 'decoding', 'merging', 'indexes', 'compaction'] as const

interface Sample {
  /** Seconds since the start. */
  at: number
  rss: number
  /** Of it: buffers of JavaScript, and its heap. */
  buffers: number
  heap: number
  counted: number
  kinds: Record<(typeof KINDS)[number], number>
  lag: number
}

async function measure(folder: string, { brokers, url }: Ready): Promise<{ samples: Sample[]; messages: number }> {
  const samples: Sample[] = []
  const begun = Date.now()
  const rssBefore = process.memoryUsage.rss()
  say(`${TABLES} tables, maxMemory ${MAX_MEMORY} MB, resident before the start ${megabytes(rssBefore)} MB`)
  const query = await streamToDelta({
    queryName: 'memory',
    kafka: { brokers },
    schemaRegistry: { url },
    tables: Object.fromEntries(
      Array.from({ length: TABLES }, (_, table) => [topicOf(table), { path: join(folder, String(table)) }]),
    ),
    limits: { maxMemory: MAX_MEMORY * MB },
  })
  let messages = 0
  query.on('progress', ({ numInputRows }) => {
    messages += numInputRows
  })
  query.on('tableFailed', ({ error }) => say(error.message))
  const head = ['s', ...KINDS, 'counted', 'buffers', 'heap', 'resident', 'lag', 'messages']
  say(head.map((name) => name.padStart(11)).join(''))
  let told = 0
  while (Date.now() - begun < SECONDS * 1000) {
    await sleep(100)
    const { memory, tables } = query.status
    const { rss, external, heapTotal } = process.memoryUsage()
    const kinds = Object.fromEntries(KINDS.map((kind) => [kind, memory[kind]])) as Sample['kinds']
    const sample = {
      at: (Date.now() - begun) / 1000,
      rss,
      buffers: external,
      heap: heapTotal,
      counted: KINDS.reduce((sum, kind) => sum + kinds[kind], 0),
      kinds,
      lag: Object.values(tables).reduce((sum, { lag }) => sum + (lag ?? 0), 0),
    }
    samples.push(sample)
    if (sample.at < told) continue
    told = sample.at + Math.max(1, SECONDS / 24)
    const sizes = [...KINDS.map((kind) => kinds[kind]), sample.counted, sample.buffers, sample.heap, sample.rss].map(
      megabytes,
    )
    say([sample.at.toFixed(0), ...sizes, sample.lag, messages].map((cell) => String(cell).padStart(11)).join(''))
  }
  await query.stop()
  return { samples, messages }
}

const megabytes = (bytes: number): string => (bytes / MB).toFixed(bytes < 10 * MB ? 1 : 0)
const say = (line: string): void => {
  if (!given.json) console.log(line)
}

/** Resident and counted memory over time, with the limit. */
function picture(samples: readonly Sample[]): string {
  const [width, height, left, bottom] = [900, 360, 70, 40]
  const most = Math.max(MAX_MEMORY * MB, ...samples.map(({ rss }) => rss)) * 1.1
  const last = samples.at(-1)?.at ?? 1
  const x = (at: number) => left + (at / last) * (width - left - 10)
  const y = (bytes: number) => height - bottom - (bytes / most) * (height - bottom - 10)
  const line = (of: (sample: Sample) => number, color: string) =>
    `<polyline fill="none" stroke="${color}" points="${samples.map((s) => `${x(s.at).toFixed(1)},${y(of(s)).toFixed(1)}`).join(' ')}"/>`
  const text = (at: number, bytes: number, what: string, color = '#333') =>
    `<text x="${at}" y="${bytes}" fill="${color}" font-family="sans-serif" font-size="12">${what}</text>`
  const limit = y(MAX_MEMORY * MB)
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">`,
    '<rect width="100%" height="100%" fill="white"/>',
    `<line x1="${left}" x2="${width - 10}" y1="${y(0)}" y2="${y(0)}" stroke="#333"/>`,
    `<line x1="${left}" x2="${width - 10}" y1="${limit}" y2="${limit}" stroke="#c00" stroke-dasharray="6 4"/>`,
    text(5, limit + 4, `${MAX_MEMORY} MB`, '#c00'),
    text(5, y(most / 1.1) + 4, `${megabytes(most / 1.1)} MB`),
    text(left, height - 12, '0 s'),
    text(width - 60, height - 12, `${last.toFixed(0)} s`),
    line(({ rss }) => rss, '#06c'),
    text(left + 20, 20, 'resident', '#06c'),
    line(({ counted }) => counted, '#090'),
    text(left + 90, 20, 'counted', '#090'),
    text(left + 160, 20, 'limits.maxMemory', '#c00'),
    '</svg>\n',
  ].join('\n')
}

async function main(): Promise<void> {
  if (given.help) {
    console.log('npm run bench:memory -- [--tables N] [--rows N] [--max-memory MB] [--seconds N] [--svg FILE] [--json]')
    return
  }
  const folder = mkdtempSync(join(tmpdir(), 'kafka2delta-memory-'))
  const { child, ready } = await startTopics()
  try {
    const { samples, messages } = await measure(folder, ready)
    const most = (of: (sample: Sample) => number) => Math.max(...samples.map(of))
    const half = samples.slice(Math.floor(samples.length / 2))
    const result = {
      tables: TABLES,
      maxMemory: MAX_MEMORY * MB,
      messages,
      most: Object.fromEntries(KINDS.map((kind) => [kind, most(({ kinds }) => kinds[kind])])),
      counted: most(({ counted }) => counted),
      resident: most(({ rss }) => rss),
      residentInSecondHalf: Math.max(...half.map(({ rss }) => rss)),
      lagAtTheEnd: samples.at(-1)?.lag,
    }
    if (given.svg) writeFileSync(given.svg, picture(samples))
    if (given.json) console.log(JSON.stringify(result))
    else {
      const kinds = KINDS.map((kind) => `${kind} ${megabytes(result.most[kind] ?? 0)}`).join(', ')
      say(`most, in MB: ${kinds}; counted together ${megabytes(result.counted)} of ${MAX_MEMORY}`)
      say(`resident ${megabytes(result.resident)} MB, in the second half ${megabytes(result.residentInSecondHalf)} MB`)
    }
  } finally {
    child.removeAllListeners('exit')
    child.kill()
    rmSync(folder, { recursive: true, force: true })
  }
}

if (given.topics) await serveTopics()
else await main()
