/**
 * Latency: how long changes of a large table wait, from their message's timestamp until they are committed, with the adaptive
 * pace and with fixed ones beside it.
 *
 *   npm run bench:latency -- [--rows 1000000] [--rate 200] [--seconds 30] [--paces 'adaptive,100 ms,1 second'] [--json]
 */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { type Commit, MIB, quantile, startWorker, Topics } from './many-topics.js'
import { steadily } from './support/steadily.js'

interface Options {
  rows: number
  rate: number
  seconds: number
}

/** A worker that has all rows gets changes, some at each 10 ms. */
async function measure(pace: string, { rate, seconds }: Options, topics: Topics, folder: string) {
  const worker = startWorker({
    topics: 1,
    options: {
      queryName: 'latency',
      kafka: { brokers: topics.broker.brokers },
      schemaRegistry: { url: topics.registry.url },
      tables: { [topics.names[0] as string]: { path: join(folder, pace.replace(' ', '-')) } },
      trigger: { processingTime: pace },
    },
  })
  const { total } = topics
  await worker.until(({ rows }) => rows === total)
  await sleep(2_000)
  const before = await worker.ask()
  for await (const { count } of steadily(rate, seconds, 10)) topics.sendInTurn(count)
  const done: Commit[] = []
  const last = await worker.until(({ done: more, rows }) => {
    done.push(...more)
    return rows === topics.total
  })
  await worker.stop()
  const waits = topics.waitsOfAll(done)
  return {
    pace,
    changes: waits.length,
    commits: last.commits - before.commits,
    cpuShare: (last.cpu - before.cpu) / ((last.now - before.now) / 1000),
    resident: last.resident / MIB,
    p50: quantile(waits, 0.5),
    p99: quantile(waits, 0.99),
    max: waits.at(-1) ?? Number.NaN,
  }
}

const { values } = parseArgs({
  options: {
    rows: { type: 'string', default: '1000000' },
    rate: { type: 'string', default: '200' },
    seconds: { type: 'string', default: '30' },
    paces: { type: 'string', default: 'adaptive,100 ms,1 second' },
    json: { type: 'boolean', default: false },
  },
})

const options: Options = { rows: Number(values.rows), rate: Number(values.rate), seconds: Number(values.seconds) }
const folder = mkdtempSync(join(tmpdir(), 'kafka2delta-latency-'))
const topics = await Topics.start(1, options.rows)
try {
  const results: Awaited<ReturnType<typeof measure>>[] = []
  for (const pace of values.paces.split(',')) results.push(await measure(pace, options, topics, folder))
  if (values.json) console.log(JSON.stringify(results, null, 2))
  else {
    console.log(`${options.rate} changes a second into ${options.rows} rows: from a message's timestamp to its commit`)
    const number = (value: number, digits = 0) => value.toFixed(digits)
    for (const { pace, p50, p99, max, commits, cpuShare, resident } of results) {
      console.log(
        `  ${pace.padEnd(9)} p50 ${number(p50)} ms, p99 ${number(p99)} ms, longest ${number(max)} ms; ${commits} commits, ` +
          `${number(cpuShare * 100)} % of one CPU, ${number(resident)} MiB; p99 is ` +
          `${number(p99 / (results[0] as (typeof results)[0]).p99, 2)} of the first's`,
      )
    }
  }
} finally {
  await topics.close()
  rmSync(folder, { recursive: true, force: true })
}
