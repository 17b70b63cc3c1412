import test from 'ava'
import { statusLines } from '../../src/status/print.js'

test('a worker tells what it holds in memory', (t) => {
  const memory = {
    limit: 2 ** 30,
    queued: 200 * 2 ** 20,
    decoding: 1536,
    merging: 0,
    indexes: 3 * 2 ** 20,
    compaction: 0,
  }
  const worker = { query: 'shop', state: 'running', memory, tables: [], problems: [] }
  t.deepEqual(statusLines(worker), [
    'memory: 200 MB queued, 1.5 KB decoding, 0 B merging, 3.0 MB indexes, 0 B compaction of 1.0 GB',
    'query shop (running): 0 tables',
  ])
  t.is(statusLines({ ...worker, state: null, memory: null }).length, 1)
})
